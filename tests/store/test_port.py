"""Reading a long range in pages (that they are pinned: contract.py)."""

import pytest

from poolmgr.core.txn import Fetch, Range, Reading, Txn
from poolmgr.errors import CompactedError, StoreUnavailableError
from poolmgr.store.memory import MemoryStore
from poolmgr.store.port import PAGE_BYTES, pages
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


def test_pages_grow_until_they_are_full(store: MemoryStore):
    for n in range(100):
        put(store, {f"/r/{n:03}": "x" * (PAGE_BYTES // 25)})

    read = list(pages(store, RANGE))

    assert [len(page.items) for page in read] == [16, 25, 25, 25, 9]


def test_a_page_that_does_not_come_is_asked_for_again_with_few_keys(store: MemoryStore):
    class Clogged(CountingStore):
        def read(self, fetch: Fetch, **arguments) -> Reading:
            reading = super().read(fetch, **arguments)
            (page,) = reading.ranges.values()
            if sum(kv.value == b"large" for _, kv in page.items) > 16:
                raise StoreUnavailableError("too large")
            return reading

    for n in range(100):
        put(store, {f"/r/{n:03}": "large" if 50 <= n < 90 else ""})

    read = list(pages(Clogged(store), RANGE, page_size=40))

    assert [key for page in read for key, _ in page.items] == [f"/r/{n:03}" for n in range(100)]
    assert [len(page.items) for page in read] == [16, 40, 16, 16, 12]


def test_when_few_keys_do_not_come_either_there_is_no_answer(store: MemoryStore):
    class Broken(CountingStore):
        def read(self, fetch: Fetch, **arguments) -> Reading:
            self.reads += 1
            raise StoreUnavailableError("no answer")

    broken = Broken(store)

    with pytest.raises(StoreUnavailableError):
        list(pages(broken, RANGE))
    assert broken.reads == 1


def test_pages_of_an_older_revision_are_read_as_of_it(store: MemoryStore):
    revision = put(store, {"/r/a": "old"})
    put(store, {"/r/a": "new", "/r/b": "new"})

    (page,) = pages(store, RANGE, revision=revision)

    assert [(key, kv.value) for key, kv in page.items] == [("/r/a", b"old")]
