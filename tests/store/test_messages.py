"""What is said to etcd: requests made without one, and keys that come back as they went."""

import pytest

from poolmgr.core.txn import EPOCH_KEY, KeyValue, Range, Txn
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.messages import commit_request, range_request, read_request
from poolmgr.store.port import pages
from tests.store.contract import committed
from tests.support.rawetcd import RawEtcd

KEYS, RANGE = ("/a", "/b"), Range.prefix("/r/")


def test_a_key_that_is_not_utf8_goes_there_and_back(store: EtcdStore, raw: RawEtcd):
    revision = raw.put(b"/r/\xff", "1")
    raw.put(b"/r/\xff\xff", "2")

    first, second = pages(store, Range.prefix("/r/"), page_size=1)

    ((key, found),) = first.items
    assert found == KeyValue(value=b"1", mod_revision=revision)
    committed(store.commit(Txn(expect={key: revision}, deletes=frozenset({key}))))
    assert raw.get(b"/r/\xff") is None
    assert raw.get(b"/r/\xff\xff") == b"2"
    assert len(second.items) == 1


def test_a_read_asks_for_keys_and_ranges_of_the_present():
    request = read_request(KEYS, [RANGE])

    asked = [each.request_range for each in request.success]
    assert [b"/a", b"/b", b"/r/"] == [each.key for each in asked]
    assert [b"", b"", b"/r0"] == [each.range_end for each in asked]
    assert {0} == {each.revision for each in asked}
    assert (0, 0) == (len(request.compare), len(request.failure))
    assert 7 == range_request(RANGE, 7).revision


@pytest.mark.parametrize("epoch", [None, b"e"])
def test_a_commit_compares_the_epoch_keys_and_ranges_and_else_reads(epoch):
    txn = Txn(
        expect={"/a": 5},
        unchanged={RANGE: 8},
        epoch=epoch,
        puts={"/a": b"1"},
        deletes=frozenset({"/b"}),
    )

    request = commit_request(txn, KEYS, [RANGE])

    first, key, range_ = request.compare
    assert EPOCH_KEY.encode() == first.key
    assert (epoch or b"") == first.value
    assert (b"/a", 5) == (key.key, key.mod_revision)
    assert (b"/r/", b"/r0", 9) == (range_.key, range_.range_end, range_.mod_revision)
    assert b"/a" == request.success[0].request_put.key
    assert b"/b" == request.success[1].request_delete_range.key
    assert 3 == len(request.failure)
