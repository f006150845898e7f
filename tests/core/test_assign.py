"""Automatic assignment: own blocks, claims, borrowing, limits, and what others leave behind."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address, parse_network, walk_blocks
from poolmgr.core import records
from poolmgr.core.claim import PROBES
from poolmgr.core.outcome import Assigned
from poolmgr.core.request import AutoAssign, ReleaseByHandle
from poolmgr.errors import (
    BlockLimitError,
    CorruptStateError,
    NoMatchingPoolError,
    PoolExhaustedError,
)
from tests.support.world import World, add, claimed_elsewhere, delete

P4 = parse_network("10.0.0.0/24")


def many(count: int, host: str = "node-a", family: int = 4, **more) -> AutoAssign:
    """A library call for several addresses."""
    return AutoAssign(host=host, handle="many", count={family: count}, **more)


def first_block(pool: str, size: int, host: str = "node-a") -> str:
    return str(next(walk_blocks(parse_network(pool), size, host)))


def test_a_first_address_claims_a_block_in_one_transaction():
    world = World().pool("p4", "10.0.0.0/24", blockSize=28)

    (address,) = world.addresses(add("c1"))

    cidr = first_block("10.0.0.0/24", 28)
    assert cidr.split("/")[0] == address
    assert {cidr} == world.blocks().keys()
    assert {
        f"host/node-a/ipv4/block/{cidr.replace('/', '-')}": "confirmed"
    } == world.affinities()
    assert {parse_network(cidr): 1} == world.handles()["net1.c1"].blocks
    assert 1 == world.commits


def test_a_claim_numbers_its_first_ordinal_like_two_writes_would():
    world = World().pool("p4", "10.0.0.0/24", blockSize=28)

    world.ask(add("c1"))

    (block,) = world.blocks().values()
    assert world.now_ns + 1 == block.sequence_number
    assert {0: world.now_ns} == block.sequence_numbers


def test_own_blocks_are_tried_in_key_order_before_anything_is_claimed():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    for cidr in ("10.0.0.8/30", "10.0.0.100/30"):
        claimed_elsewhere(world, cidr, "node-a", full=False)

    (address,) = world.addresses(add("c1"))

    assert "10.0.0.100" == address  # "10.0.0.100-30" sorts before "10.0.0.8-30"


def test_both_families_come_in_one_transaction():
    world = World().pool("p4", "10.0.0.0/24").pool("p6", "fd00::/64")

    found = world.addresses(add("c1", families=(6, 4)))

    assert [4, 6] == [parse_address(a).version for a in found]
    assert 1 == world.commits


def test_a_repeated_add_answers_with_the_same_address_and_writes_nothing():
    world = World().pool("p4", "10.0.0.0/24")
    first = world.addresses(add("c1"))

    again = world.addresses(add("c1"))

    assert first == again
    assert not world.last.txn.puts


def test_a_missing_family_is_added_to_what_the_interface_holds():
    world = World().pool("p4", "10.0.0.0/24").pool("p6", "fd00::/64")
    (v4,) = world.addresses(add("c1"))

    both = world.addresses(add("c1", families=(4, 6)))

    assert v4 == both[0]
    assert 2 == len(both)


def test_interfaces_of_one_container_share_a_handle_and_hold_different_addresses():
    world = World().pool("p4", "10.0.0.0/24")

    eth0 = world.addresses(add("c1", interface="eth0"))
    net1 = world.addresses(add("c1", interface="net1"))

    assert eth0 != net1
    assert 2 == sum(world.handles()["net1.c1"].blocks.values())


def test_networks_whose_handle_ids_collide_do_not_answer_for_each_other():
    world = World().pool("p4", "10.0.0.0/24")

    first = world.addresses(add("c", network="a.b"))
    second = world.addresses(add("b.c", network="a"))

    assert first != second


def test_an_entry_of_calico_ipam_never_answers_an_add():
    world = World().pool("p4", "10.0.0.0/24")
    theirs = world.addresses(
        AutoAssign(host="node-a", handle="net1.c1", count={4: 1}, attributes={"node": "node-a"})
    )

    assert theirs != world.addresses(add("c1"))


def test_full_own_blocks_lead_to_a_second_claim():
    world = World().pool("p4", "10.0.0.0/28", blockSize=30)

    found = [world.addresses(add(f"c{n}"))[0] for n in range(5)]

    assert 5 == len(set(found))
    assert 2 == len(world.blocks())


def test_a_full_pool_borrows_from_another_host():
    world = World().pool("p4", "10.0.0.0/29", blockSize=30)
    claimed_elsewhere(world, "10.0.0.0/30", "node-a")
    claimed_elsewhere(world, "10.0.0.4/30", "node-b", full=False)

    (address,) = world.addresses(add("c1"))

    block = world.blocks()["10.0.0.4/30"]
    assert "10.0.0.4" == address
    assert "host:node-b" == block.affinity
    assert "node-a" == block.attribute_at(0).secondary["node"]


def test_a_large_pool_without_free_blocks_is_listed_in_pages_and_borrowed_from():
    world = World().pool("p4", "10.0.0.0/24", blockSize=32)
    cidrs = list(walk_blocks(P4, 32, "node-a"))
    assert len(cidrs) > sum(PROBES)
    for cidr in cidrs:
        claimed_elsewhere(world, str(cidr), "node-b", full=cidr != cidrs[200])

    (address,) = world.addresses(add("c1"))

    assert str(cidrs[200].network_address) == address


def test_a_free_block_beyond_the_probes_is_found_by_listing():
    world = World().pool("p4", "10.0.0.0/24", blockSize=32)
    cidrs = list(walk_blocks(P4, 32, "node-a"))
    for cidr in cidrs:
        if cidr != cidrs[220]:
            claimed_elsewhere(world, str(cidr), "node-b")

    assert [str(cidrs[220].network_address)] == world.addresses(add("c1"))


def test_strict_affinity_refuses_instead_of_borrowing():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30).configure(strict_affinity=True)
    claimed_elsewhere(world, "10.0.0.0/30", "node-b", full=False)

    error = world.refusal(add("c1"))

    assert isinstance(error, PoolExhaustedError)
    assert "strict affinity" in str(error)


@pytest.mark.parametrize(("configured", "owned"), [({}, 20), ({"maxBlocksPerHost": 3}, 3)])
def test_the_limit_of_blocks_is_an_error_even_where_borrowing_would_work(configured, owned):
    world = World().pool("p4", "10.0.0.0/24", blockSize=32).configure(**configured)
    claimed_elsewhere(world, "10.0.0.200/32", "node-b", full=False)
    world.ask(many(owned))

    error = world.refusal(add("c1"))

    assert isinstance(error, BlockLimitError)
    assert owned == error.limit


def test_the_limit_of_a_request_counts_when_it_is_smaller():
    world = World().pool("p4", "10.0.0.0/24", blockSize=32).configure(maxBlocksPerHost=3)

    outcome = world.ask(many(5, max_blocks=2))

    assert isinstance(outcome, Assigned)
    assert 2 == len(outcome.allocations)
    assert isinstance(outcome.shortfall[4], BlockLimitError)


def test_a_negative_limit_is_none():
    world = World().pool("p4", "10.0.0.0/24", blockSize=32).configure(maxBlocksPerHost=-1)

    assert 30 == len(world.addresses(many(30)))


def test_without_auto_allocation_full_blocks_are_an_error():
    world = World().pool("p4", "10.0.0.0/24").configure(auto_allocate_blocks=False)

    assert "autoAllocateBlocks" in str(world.refusal(add("c1")))


def test_reserved_addresses_are_skipped_and_wholly_reserved_blocks_not_claimed():
    world = (
        World().pool("p4", "10.0.0.0/29", blockSize=30).reserve("r", "10.0.0.0/30", "10.0.0.4")
    )

    found = world.addresses(many(3))

    assert ["10.0.0.5", "10.0.0.6", "10.0.0.7"] == found
    assert {"10.0.0.4/30"} == world.blocks().keys()


def test_a_pool_is_filled_before_the_next_is_touched():
    world = (
        World().pool("b", "10.0.1.0/30", blockSize=30).pool("a", "10.0.0.0/30", blockSize=30)
    )

    found = world.addresses(many(5))

    assert [f"10.0.0.{n}" for n in range(4)] + ["10.0.1.0"] == found


def test_requested_pools_are_used_in_the_order_requested():
    world = (
        World().pool("a", "10.0.0.0/30", blockSize=30).pool("b", "10.0.1.0/30", blockSize=30)
    )

    found = world.addresses(many(1, pools={4: ("10.0.1.0/30", "a")}))

    assert ["10.0.1.0"] == found


def test_a_library_call_is_given_less_with_the_reason():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)

    outcome = world.ask(many(6))

    assert isinstance(outcome, Assigned)
    assert 4 == len(outcome.allocations)
    assert isinstance(outcome.shortfall[4], PoolExhaustedError)


def test_a_call_with_an_attachment_is_given_all_or_nothing():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)

    world.refusal(replace(add("c1"), count={4: 6}))

    assert {} == world.blocks()


def test_a_large_call_is_planned_in_parts_that_add_up():
    world = World().pool("p4", "10.0.0.0/20", blockSize=26).configure(maxBlocksPerHost=-1)

    found = world.addresses(many(4096))

    assert 4096 == len(set(found))
    assert world.commits > 1
    assert () == world.findings()


def test_no_pool_of_a_family_refuses_the_whole_call():
    world = World().pool("p4", "10.0.0.0/24")

    error = world.refusal(AutoAssign(host="node-a", handle="h", count={4: 1, 6: 1}))

    assert isinstance(error, NoMatchingPoolError)
    assert {"p4": "is an IPv4 pool"} == error.reasons
    assert {} == world.blocks()


def test_an_allocation_without_handle_is_owned_by_nobody():
    world = World().pool("p4", "10.0.0.0/24")

    world.ask(AutoAssign(host="node-a", handle=None, count={4: 1}))

    (block,) = world.blocks().values()
    assert block.attribute_at(0).owner is None
    assert {} == world.handles()


# What other writers leave behind


def affinity(world: World, cidr: str, state: str, host: str = "node-a") -> str:
    key = records.affinity_key(host, parse_network(cidr))
    world.put(key, b'{"state":"%s","deleted":false}' % state.encode())
    return key


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
def test_a_half_finished_affinity_of_an_own_block_is_confirmed_on_use(state):
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    claimed_elsewhere(world, "10.0.0.8/30", "node-a", full=False)
    affinity(world, "10.0.0.8/30", state)

    assert ["10.0.0.8"] == world.addresses(add("c1"))
    assert ["confirmed"] == list(world.affinities().values())


def test_a_legacy_affinity_without_value_counts_as_confirmed():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    claimed_elsewhere(world, "10.0.0.8/30", "node-a", full=False)
    key = records.affinity_key("node-a", parse_network("10.0.0.8/30"))
    world.put(key, b"")

    assert ["10.0.0.8"] == world.addresses(add("c1"))
    assert b"" == world.value(key)


def test_an_affinity_whose_block_is_missing_gives_its_host_the_block():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    affinity(world, "10.0.0.8/30", "pending")

    assert ["10.0.0.8"] == world.addresses(add("c1"))
    assert () == world.findings()


def test_an_affinity_whose_block_is_anothers_is_deleted_as_stale():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    claimed_elsewhere(world, "10.0.0.8/30", "node-b", full=False)
    affinity(world, "10.0.0.8/30", "confirmed")

    (address,) = world.addresses(add("c1"))

    assert parse_address(address) not in parse_network("10.0.0.8/30")
    assert () == world.findings()


def test_a_block_whose_affinity_turned_out_stale_is_borrowed_from():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)
    claimed_elsewhere(world, "10.0.0.0/30", "node-b", full=False)
    world.put("/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-30", b'{"state":"pending"}')

    assert ["10.0.0.0"] == world.addresses(add("c1"))
    assert {"host/node-b/ipv4/block/10.0.0.0-30": "confirmed"} == world.affinities()


def test_a_block_that_does_not_decode_refuses_and_is_named():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    claimed_elsewhere(world, "10.0.0.8/30", "node-a", full=False)
    key = records.block_key(parse_network("10.0.0.8/30"))
    world.put(key, b"{broken")

    error = world.refusal(add("c1"))

    assert isinstance(error, CorruptStateError)
    assert key == error.key


def test_a_surplus_in_a_handle_holds_nothing_and_is_kept():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    world.put(records.handle_key("net1.c1"), b'{"block":{"10.9.9.0/30":2},"deleted":false}')

    world.addresses(add("c1"))
    world.ask(delete("c1"))

    assert {parse_network("10.9.9.0/30"): 2} == world.handles()["net1.c1"].blocks


def test_a_freed_address_is_the_last_to_be_used_again():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)
    (first,) = world.addresses(add("c0"))
    world.ask(delete("c0"))

    later = [world.addresses(add(f"c{n}"))[0] for n in range(1, 5)]

    assert first == later[-1]


def test_a_cold_address_is_collected_when_the_block_is_used():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30).configure(ipCooldownSeconds=30)
    world.ask(many(4))
    world.ask(ReleaseByHandle(handles=("many",)))
    assert isinstance(world.refusal(add("early")), PoolExhaustedError)

    world.now_ns += 32_000_000_000

    assert ["10.0.0.0"] == world.addresses(add("late"))


def test_an_affinity_of_an_earlier_pools_block_size_is_dropped_not_made_anew():
    world = World().pool("p4", "10.0.0.0/24", blockSize=28)
    claimed_elsewhere(world, "10.0.0.16/28", "node-b")
    affinity(world, "10.0.0.0/26", "confirmed")

    world.addresses(add("c1"))

    assert () == world.findings()


def test_a_stale_affinity_does_not_count_to_the_limit():
    world = World().pool("p4", "10.0.0.0/24", blockSize=28).configure(maxBlocksPerHost=1)
    claimed_elsewhere(world, "10.0.0.16/28", "node-b")
    affinity(world, "10.0.0.16/28", "pending")

    assert 1 == len(world.addresses(add("c1")))


def test_a_later_part_that_no_pool_serves_ends_the_call_with_what_it_has():
    world = World().pool("p4", "10.0.0.0/24", blockSize=28)
    (held,) = world.ask(many(1)).allocations
    world.pool("p4", "10.0.0.0/24", blockSize=28, disabled=True)

    outcome = world.ask(replace(many(5), so_far=(held,)))

    assert (held,) == outcome.allocations
    assert isinstance(outcome.shortfall[4], NoMatchingPoolError)
