from poolmgr.copies.order import ORDER
from poolmgr.copies.present import block_since, stored_counts
from poolmgr.core.records import BLOCKS
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.store.memory import MemoryStore
from tests.support.filled import fill
from tests.support.poolctl import put, stored


def test_what_is_stored_is_counted_by_what_it_is():
    store = MemoryStore()
    fill(store)
    counts = stored_counts(store, timeout_s=1)

    assert (3, 3, 7, 1) == (
        counts["pools"],
        counts["IPv4 blocks"],
        counts["handles"],
        counts["other keys"],
    )
    assert len(stored(store).keys() - {EPOCH_KEY}) == counts.total()
    assert len(counts) <= len(ORDER)


def test_a_block_of_either_family_that_is_newer_is_found():
    for range_ in BLOCKS.values():
        store = MemoryStore()
        first, second = f"{range_.start}a", f"{range_.start}b"
        put(store, {first: b"{}"})
        before = store._revision
        put(store, {"/calico/other": b"{}"})

        assert block_since(store, before, timeout_s=1) is None
        put(store, {second: b"{}"})
        assert second == block_since(store, before, timeout_s=1)
