"""Reading a long range in pages (that they are pinned: contract.py)."""

import pytest

from poolmgr.core.txn import Range, Txn
from poolmgr.errors import CompactedError
from poolmgr.store.memory import MemoryStore
from poolmgr.store.port import pages
from tests.store.contract import put
from tests.support.counting import CountingStore

RANGE = Range.prefix("/r/")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3]), (7, [3, 3, 1])]
)
def test_pages_are_full_but_for_the_last(store: MemoryStore, count: int, sizes: list[int]):
    keys = [f"/r/{n}" for n in range(count)]
    store.commit(Txn(expect={}, puts=dict.fromkeys([*keys, "/s/other"], b"")))
    counting = CountingStore(store)

    read = list(pages(counting, RANGE, page_size=3))

    assert [key for page in read for key, _ in page.items] == keys
    assert [len(page.items) for page in read] == sizes
    assert counting.reads == len(sizes)


def test_pages_of_keys_only_have_no_values(store: MemoryStore):
    put(store, {"/r/a": "1", "/r/b": "1"})

    read = pages(store, Range.prefix("/r/", keys_only=True), page_size=1)

    assert [kv.value for page in read for _, kv in page.items] == [b"", b""]


def test_a_limit_of_the_range_itself_does_not_count(store: MemoryStore):
    put(store, {"/r/a": "1", "/r/b": "1"})

    (page,) = pages(store, Range.prefix("/r/", limit=1))

    assert len(page.items) == 2


def test_pages_whose_revision_goes_away_end_with_an_error(store: MemoryStore):
    put(store, {"/r/a": "1", "/r/b": "1"})
    reader = pages(store, RANGE, page_size=1)
    next(reader)
    store.compact(put(store, {"/r/b": "2"}))

    with pytest.raises(CompactedError):
        next(reader)
