"""Histories are complete as far as etcd remembers, and say where that ends."""

import pytest

from poolmgr.cidr import network, parse_address, parse_network
from poolmgr.core.chronicle import What
from poolmgr.core.records import block_key
from poolmgr.core.request import Release, ReleaseAffinities, ReleaseIPs
from poolmgr.core.txn import Fetch, Txn
from poolmgr.errors import CompactedError
from poolmgr.history import Historian, History, _spread, find_block
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from tests.support.assigned import attach
from tests.support.counting import CountingStore
from tests.support.poolctl import put
from tests.support.world import stored_resource

POOL = stored_resource("ippools", "IPPool", "pool-a", {"cidr": "10.10.0.0/30", "blockSize": 30})
BLOCK = parse_network("10.10.0.0/30")
ADDRESS = parse_address("10.10.0.0")


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    put(store, dict([POOL]))
    return store


def revision(store) -> int:
    return store.read(Fetch()).revision


def history(store, *, limit: int = 1000, timeout_s: float = 30, **more) -> History:
    historian = Historian(store, BLOCK, ADDRESS, limit=limit, timeout_s=timeout_s, **more)
    return historian.history(revision(store))


def live(store, container: str, *, wait: int = 0) -> None:
    """Let the block come, be used by a container, and go; meanwhile other keys are written."""
    ipam = IPAM(store)
    address = attach(store, container)
    idle(store, wait)
    ipam.release_ips(ReleaseIPs(releases=(Release(address=parse_address(address)),)))
    ipam.release_affinities(ReleaseAffinities(host="node-a"))


def idle(store, count: int) -> None:
    """Write other keys."""
    epoch = store.read(Fetch(keys=frozenset({"/poolmgr/v1/epoch"}))).found["/poolmgr/v1/epoch"]
    for _ in range(count):
        store.commit(Txn(expect={}, epoch=epoch.value, puts={"/other": b"x"}))


def owners(found: History) -> list[str | None]:
    events = [each for each in found.events if each.what is What.ASSIGNED]
    return [each.holder.owner for each in events if each.holder]


def test_lives_of_a_block_are_one_history(memory):
    for container in ("c1", "c2", "c3"):
        live(memory, container)
    attach(memory, "c4")

    found = history(memory)

    assert ["net-a.c1", "net-a.c2", "net-a.c3", "net-a.c4"] == owners(found)
    assert 3 == sum(each.what is What.DELETED for each in found.events)
    assert (1, False, True, 0) == (found.since, found.compacted, found.complete, found.missed)
    assert [each.revision for each in found.events] == sorted(
        each.revision for each in found.events
    )


def test_a_short_life_may_be_missed_and_how_short_is_said(memory):
    live(memory, "c1", wait=600)
    idle(memory, 1311)
    live(memory, "c2")
    idle(memory, 1011)

    found = history(memory)

    assert ["net-a.c1"] == owners(found)
    assert 2 < found.missed < 30
    assert found.complete


def test_a_life_that_lasted_longer_is_found(memory):
    live(memory, "c1", wait=20)
    idle(memory, 1000)
    live(memory, "c2", wait=20)
    idle(memory, 1000)

    found = history(memory)

    assert ["net-a.c1", "net-a.c2"] == owners(found)
    assert found.missed < 20


@pytest.mark.parametrize("at", range(2, 40))
def test_a_compaction_on_the_way_moves_the_beginning_and_loses_no_more(at, memory):
    live(memory, "c1", wait=5)
    attach(memory, "c2")
    attach(memory, "c3")
    whole, newest = history(memory), revision(memory)
    reads = 0

    def compact(_: int) -> None:
        nonlocal reads
        reads += 1
        if reads == at:
            memory.compact(newest)

    found = history(memory, advance=compact)

    known = [each for each in found.events if each.what is not What.KNOWN]
    assert whole.events[len(whole.events) - len(known) :] == tuple(known)
    assert found.complete
    # Where the first revision was looked at before, what was not is told by its length.
    assert reads < at or found.compacted or found.missed


def test_what_was_compacted_is_not_known(memory):
    live(memory, "c1")
    attach(memory, "c2")
    memory.compact(revision(memory))

    found = history(memory)

    assert [What.KNOWN] == [each.what for each in found.events]
    assert (found.events[0].revision, True) == (found.since, found.compacted)


def test_an_absent_block_after_a_compaction_has_no_history(memory):
    live(memory, "c1")
    idle(memory, 10)
    memory.compact(revision(memory) - 5)

    found = history(memory)

    assert ((), revision(memory) - 5, True) == (found.events, found.since, found.compacted)


def test_a_revision_that_is_gone_at_once_is_no_answer(memory):
    attach(memory, "c1")
    first = revision(memory)
    idle(memory, 3)
    memory.compact(revision(memory))

    with pytest.raises(CompactedError):
        Historian(memory, BLOCK, ADDRESS, limit=9, timeout_s=9).history(first)


@pytest.mark.parametrize("limit", [1, 2, 5, 9])
def test_no_more_is_read_than_is_allowed(memory, limit):
    for container in ("c1", "c2"):
        live(memory, container)
    attach(memory, "c3")
    counting = CountingStore(memory)

    found = history(counting, limit=limit)

    assert limit == found.reads
    assert not found.complete


def test_no_more_time_is_used_than_there_is(memory):
    attach(memory, "c1")

    found = history(memory, timeout_s=0.1)

    assert (0, (), False) == (found.reads, found.events, found.complete)


def test_the_block_is_the_one_that_exists_or_that_the_pool_would_have(memory):
    address = parse_address("10.10.0.2")
    before, _, _ = find_block(memory, address, timeout_s=5)
    attach(memory, "c1")
    there, _, _ = find_block(memory, address, timeout_s=5)
    nowhere, _, _ = find_block(memory, parse_address("10.99.0.1"), timeout_s=5)

    assert (BLOCK, BLOCK, None) == (before, there, nowhere)


def test_a_block_is_found_without_its_pool_and_beside_a_pool_that_does_not_decode():
    store = MemoryStore()
    cidr = network(ADDRESS, 28)
    put(store, {block_key(cidr): b"{}", POOL[0]: b"{"})

    found, _, _ = find_block(store, ADDRESS, timeout_s=5)
    other, _, _ = find_block(store, parse_address("10.10.1.0"), timeout_s=5)

    assert (cidr, None) == (found, other)


@pytest.mark.parametrize(("low", "high"), [(3, 3), (1, 2), (1, 3), (5, 20), (1, 65), (1, 100)])
def test_every_revision_is_looked_at_once_far_apart_ones_first(low, high):
    found = list(_spread(low, high))

    assert list(range(low, high)) == sorted(found)
