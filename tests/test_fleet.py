"""What nodes have is read in pages, as of one revision."""

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.affinity import AffinityState
from poolmgr.core.session import Session
from poolmgr.core.tenancy import Tenancy
from poolmgr.errors import CompactedError, InvalidRequestError, StoreUnavailableError
from poolmgr.fleet import Fleet, used_in
from poolmgr.store.memory import MemoryStore
from tests.support.assigned import attach
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import put, stored
from tests.support.tenants import NODE_A, settle
from tests.support.world import stored_resource


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def addresses(memory) -> list[str]:
    return settle(memory)


def test_a_census_is_of_one_revision(memory, addresses):
    fleet = Fleet(memory, timeout_s=30)
    attach(memory, "c1", node="node-c")

    census = fleet.census()

    assert {
        "node-a": Tenancy(
            has_resource=True,
            affinities=1,
            blocks={4: 1, 6: 0},
            in_use=4,
            used=5,
            borrowed=1,
        ),
        "node-b": Tenancy(
            has_resource=True,
            affinities=1,
            blocks={4: 1, 6: 0},
            in_use=2,
            free=2,
            lent=1,
            used=1,
        ),
    } == census
    assert {"node-a", "node-b", "node-c"} == set(Fleet(memory, timeout_s=30).census())


def test_every_block_is_looked_at_and_counted_as_progress(memory):
    cidrs = [str(each) for each in parse_network("10.0.0.0/20").subnets(new_prefix=30)]
    for at in range(0, len(cidrs), 100):
        blocks = (stored_block(block_of(cidr)) for cidr in cidrs[at : at + 100])
        put(memory, {key: raw for block in blocks for key, raw in block.items()})
    seen, steps = [], []

    fleet = Fleet(memory, timeout_s=30, advance=steps.append)
    fleet.census(look=lambda block: seen.append(str(block.cidr)))

    assert sorted(cidrs) == sorted(seen)
    assert len(cidrs) == sum(steps)


def test_an_address_is_told_with_what_its_release_must_know(memory, addresses):
    blocks = Fleet(memory, timeout_s=30).blocks()
    found = {str(u.address): u for block in blocks for u in used_in(block, "node-a")}

    assert set(addresses) == set(found)
    borrowed = found[addresses[-1]]
    assert ("net-a.a5", "host:node-b") == (borrowed.owner.owner, borrowed.affinity)
    key = records.block_key(borrowed.block)
    block = records.decode_block(key, stored(memory)[key])
    assert block.sequence_numbers[1] == borrowed.number


def test_affinities_resource_and_fence_of_a_node_are_told(memory):
    cidr = parse_network("10.10.0.4/30")
    session = records.encode_session(Session(n=7))
    put(
        memory,
        {
            records.affinity_key("node-a", cidr): b'{"state":"pending"}',
            "/calico/ipam/v2/host/node-a/ipv4/block/junk": b"{}",
            records.session_key("node-a"): session,
            NODE_A[0]: NODE_A[1],
        },
    )

    fleet = Fleet(memory, timeout_s=30)

    assert {cidr: AffinityState.PENDING} == fleet.affinities("node-a")
    assert (7, 0) == (fleet.deletions("node-a"), fleet.deletions("node-b"))
    node = fleet.resource("node-a")
    assert node is not None
    assert {"rack": "r1"} == node.metadata.labels
    assert fleet.resource("node-b") is None
    assert ["192.168.7.1", "fd00:7::1"] == [*map(str, fleet.addresses()["node-a"].values())]


def test_what_does_not_decode_is_noted(memory):
    broken, _ = stored_resource("nodes", "Node", "node-x", {})
    put(memory, {broken: b"{", records.block_key(parse_network("10.0.0.0/30")): b"{}"})
    fleet = Fleet(memory, timeout_s=30)

    census, addresses = fleet.census(), fleet.addresses()

    assert {"node-x": Tenancy(has_resource=True)} == census
    assert {"node-x": {}} == addresses
    assert 2 == len(fleet.unreadable)


def test_malformed_affinity_keys_are_nobodys(memory):
    put(memory, {"/calico/ipam/v2/host/legacy": b"{}"})

    assert {} == Fleet(memory, timeout_s=30).census()


def test_what_is_no_name_is_refused(memory):
    with pytest.raises(InvalidRequestError):
        Fleet(memory, timeout_s=30).affinities("a/b")


def test_a_revision_that_is_compacted_away_is_no_answer(memory, addresses):
    fleet = Fleet(memory, timeout_s=30)
    attach(memory, "c1", node="node-c")
    memory.compact(fleet.revision + 1)

    with pytest.raises(CompactedError, match="was compacted away while it was read; ask again"):
        fleet.census()


def test_there_is_no_answer_after_the_time_is_over(memory, addresses):
    fleet = Fleet(memory, timeout_s=0)

    with pytest.raises(StoreUnavailableError, match="not all was read in 0 s"):
        fleet.census()
