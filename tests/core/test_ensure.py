"""A block for a host before anybody asks for an address."""

import pytest

from poolmgr.cidr import parse_network, walk_blocks
from poolmgr.core import records
from poolmgr.core.block import HostReserved, release
from poolmgr.core.outcome import BlocksEnsured
from poolmgr.core.request import AutoAssign, EnsureBlock
from poolmgr.errors import InvalidRequestError, NoMatchingPoolError, PoolExhaustedError
from tests.support.world import World, add, claimed_elsewhere

NONE = HostReserved(first=0, last=0, handle="")
KEPT = HostReserved(first=1, last=2, handle="kept", note="by the host")
POOL = parse_network("10.0.0.0/28")


@pytest.fixture
def world():
    return World().pool("p4", str(POOL), blockSize=30)


def ensure(reserved: HostReserved = NONE, host: str = "node-a", **more) -> EnsureBlock:
    return EnsureBlock(host=host, reserved={4: reserved}, **more)


def walk(host: str = "node-a") -> list[str]:
    return [str(cidr) for cidr in walk_blocks(POOL, 30, host)]


def ensured(world: World, request: EnsureBlock) -> list[str]:
    outcome = world.ask(request)
    assert isinstance(outcome, BlocksEnsured), outcome
    return [str(cidr) for cidr in outcome.blocks.values()]


def full_block(world: World) -> str:
    """Give the host a block without a free address."""
    world.addresses(AutoAssign(host="node-a", handle="h", count={4: 4}))
    (cidr,) = world.blocks()
    return cidr


def test_a_host_without_a_block_claims_one_and_no_address(world):
    (cidr,) = ensured(world, ensure())

    block = world.blocks()[cidr]
    assert walk()[0] == cidr
    assert ("host:node-a", (0, 1, 2, 3)) == (block.affinity, block.unallocated)
    assert {} == world.handles()
    assert () == world.findings()


def test_a_block_per_family_is_ensured_that_is_asked_for():
    world = World().pool("p4", "10.0.0.0/28", blockSize=30).pool("p6", "fd00::/120")

    both = ensured(world, EnsureBlock(host="node-a", reserved={6: KEPT, 4: KEPT}))
    one = ensured(world, EnsureBlock(host="node-b", reserved={6: KEPT}))

    assert [4, 6, 6] == [parse_network(cidr).version for cidr in (*both, *one)]
    assert 3 == len(world.blocks())


def test_what_the_host_keeps_is_taken_in_the_new_block(world):
    (cidr,) = ensured(world, ensure(KEPT))

    block = world.blocks()[cidr]
    assert (0, 2, 3) == block.ordinals_of("kept")
    assert {"note": "by the host"} == block.attribute_at(0).secondary


def test_the_first_block_that_serves_is_the_answer_even_if_it_is_full(world):
    first = full_block(world)
    before = world.content()

    assert [first] == ensured(world, ensure())
    assert before == world.content()


def test_the_answer_holds_only_while_the_block_is_the_hosts(world):
    cidr = full_block(world)
    decided, _ = world.decide([ensure()])
    world.remove(records.block_key(parse_network(cidr)))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.configure(strict_affinity=True),
        lambda w: w.node("node-a", rack="r9"),
        lambda w: w.pool("a-first", "10.99.0.0/24"),
        lambda w: w.remove(records.resource_key("ippools", "p4")),
        lambda w: w.reserve("late", str(POOL)),
    ],
    ids=["configuration", "node", "another pool", "pool deleted", "reservation"],
)
def test_a_claim_depends_on_what_it_was_decided_on(world, change):
    decided, _ = world.decide([ensure()])
    change(world)

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


@pytest.mark.parametrize("spec", [{"disabled": True}, {"nodeSelector": "rack == 'r1'"}])
def test_a_block_in_a_pool_that_does_not_serve_is_passed_over(world, spec):
    full_block(world)
    world.node("node-a").pool("p4", str(POOL), blockSize=30, **spec)
    world.pool("q4", "10.1.0.0/28", blockSize=30)

    (cidr,) = ensured(world, ensure())

    assert cidr.startswith("10.1.0.")


def test_a_wholly_reserved_block_is_passed_over(world):
    first = full_block(world)
    world.reserve("r", first)

    assert [walk()[1]] == ensured(world, ensure())


def test_only_named_pools_are_looked_at(world):
    full_block(world)
    world.pool("q4", "10.1.0.0/28", blockSize=30)

    (cidr,) = ensured(world, ensure(pools={4: ("q4",)}))

    assert cidr.startswith("10.1.0.")


def test_a_block_that_is_missing_is_made_anew_with_what_the_host_keeps(world):
    cidr = walk()[2]
    world.put(records.affinity_key("node-a", parse_network(cidr)), b'{"state":"pending"}')

    assert [cidr] == ensured(world, ensure(KEPT))
    assert (0, 2, 3) == world.blocks()[cidr].ordinals_of("kept")
    assert ["confirmed"] == list(world.affinities().values())


def test_a_stale_affinity_is_dropped_and_another_block_claimed(world):
    world.put(records.affinity_key("node-a", parse_network(walk()[0])), b"{}")
    claimed_elsewhere(world, walk()[0], "node-b")

    assert [walk()[1]] == ensured(world, ensure())
    assert () == world.findings()


def test_a_pool_whose_blocks_are_too_small_for_what_is_kept_does_not_serve(world):
    too_many = HostReserved(first=3, last=2, handle="kept")

    refusal = world.refusal(ensure(too_many))

    assert isinstance(refusal, NoMatchingPoolError)
    assert "keeps 5 addresses of each block" in refusal.reasons["p4"]


def test_no_limit_of_blocks_applies(world):
    full_block(world)
    world.configure(strict_affinity=True, maxBlocksPerHost=1)
    world.pool("q4", "10.1.0.0/28", blockSize=30)

    ensured(world, ensure(pools={4: ("q4",)}))

    assert 2 == len(world.blocks())


def test_nothing_is_claimed_while_auto_allocate_blocks_is_off(world):
    world.configure(auto_allocate_blocks=False, strict_affinity=True)

    refusal = world.refusal(ensure())

    assert isinstance(refusal, PoolExhaustedError)
    assert "node-a has no block in p4, and autoAllocateBlocks is off" == str(refusal)


def test_the_next_pool_is_claimed_from_when_the_first_has_no_block_left(world):
    for number, cidr in enumerate(walk()):
        claimed_elsewhere(world, cidr, f"node-{number}", full=False)

    refusal = world.refusal(ensure())
    world.pool("q4", "10.1.0.0/28", blockSize=30)
    (cidr,) = ensured(world, ensure())

    assert isinstance(refusal, PoolExhaustedError)
    assert "none is left to claim" in str(refusal)
    assert cidr.startswith("10.1.0.")


def test_two_hosts_never_ensure_the_same_block(world):
    decided, _ = world.decide([ensure()])
    world.addresses(add("c1", "node-b", pools={4: ("p4",)}))
    claimed = next(iter(world.blocks()))
    if claimed != walk()[0]:
        claimed_elsewhere(world, walk()[0], "node-c")

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_an_old_empty_block_of_another_host_is_taken_over_when_none_is_left():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)
    claimed_elsewhere(world, "10.0.0.0/30", "node-b", full=False)
    world.now_ns += 61 * 1_000_000_000

    outcome = world.ask(
        EnsureBlock(host="node-a", reserved={4: HostReserved(first=0, last=0, handle="h")})
    )

    assert {4: parse_network("10.0.0.0/30")} == outcome.blocks
    assert ["host/node-a/ipv4/block/10.0.0.0-30"] == list(world.affinities())
    assert () == world.findings()


def test_a_block_whose_affinity_was_lost_is_found_again():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)
    claimed_elsewhere(world, "10.0.0.0/30", "node-a")
    world.remove("/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-30")
    block = world.blocks()["10.0.0.0/30"]
    free = release(block, [3], now_ns=1, cooldown_s=0, bump=False)
    world.put(records.block_key(block.cidr), records.encode_block(free))

    outcome = world.ask(
        EnsureBlock(host="node-a", reserved={4: HostReserved(first=0, last=0, handle="h")})
    )

    assert {4: block.cidr} == outcome.blocks
    assert ["host/node-a/ipv4/block/10.0.0.0-30"] == list(world.affinities())


@pytest.mark.parametrize("ends", [(-1, 0), (0, -1)])
def test_a_negative_number_of_kept_addresses_is_refused(ends):
    world = World().pool("p4", "10.0.0.0/26")
    kept = HostReserved(first=ends[0], last=ends[1], handle="h")

    assert isinstance(
        world.refusal(EnsureBlock(host="node-a", reserved={4: kept})), InvalidRequestError
    )
    assert {} == world.blocks()
