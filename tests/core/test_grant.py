"""What every assignment checks first: the fence, the handle, and the one pool of a bridge."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address
from poolmgr.core import records
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.request import AssignIP, AutoAssign, ReleaseByHandle
from poolmgr.core.session import KEPT, Session
from poolmgr.errors import (
    AddressInUseError,
    AttachmentDeletedError,
    InvalidRequestError,
    NoMatchingPoolError,
    RefusedError,
)
from tests.support.world import World, add, add_ip, attachment, delete

BRIDGE = LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)


def fenced(*deleted: str, n: int | None = None) -> World:
    world = World().pool("p4", "10.0.0.0/24")
    session = Session(n=len(deleted) if n is None else n, deleted=deleted)
    world.put(records.session_key("node-a"), records.encode_session(session))
    return world


def test_an_add_gives_up_when_its_own_attachment_was_deleted_after_its_first_look():
    world = fenced(f"{attachment('c1').digest}@1")

    assert isinstance(world.refusal(add("c1", since=0)), AttachmentDeletedError)
    assert {} == world.blocks()


def test_an_add_that_began_after_the_del_goes_on():
    world = fenced(f"{attachment('c1').digest}@1")

    assert world.addresses(add("c1", since=1))


def test_the_deletion_of_another_attachment_is_adopted():
    world = fenced(f"{attachment('other').digest}@1")

    assert world.addresses(add("c1", since=0))


def test_an_entry_for_every_attachment_stops_all_that_began_before():
    assert isinstance(fenced("*@1").refusal(add("c1", since=0)), AttachmentDeletedError)


def test_an_add_older_than_the_list_gives_up():
    entries = tuple(f"{n:016x}@{n + 1}" for n in range(KEPT))

    world = fenced(*entries[1:], n=KEPT)

    assert isinstance(world.refusal(add("c1", since=0)), AttachmentDeletedError)


def test_a_handle_that_is_not_the_attachments_is_the_callers_fault():
    world = World().pool("p4", "10.0.0.0/24")

    refusal = world.refusal(replace(add("c1"), handle="else"))

    assert isinstance(refusal, InvalidRequestError)
    assert "handle" == refusal.field


def test_a_bridge_stays_with_the_ipv4_pool_it_already_serves():
    world = World().pool("b", "10.0.1.0/29", blockSize=30)
    world.addresses(add("c0", link=BRIDGE))
    world.pool("a", "10.0.0.0/29", blockSize=30)

    found = [world.addresses(add(f"c{n}", link=BRIDGE))[0] for n in range(1, 5)]

    assert all(address.startswith("10.0.1.") for address in found)
    assert "takes one IPv4 gateway" in str(world.refusal(add("c9", link=BRIDGE)))


def test_a_bridge_whose_pool_no_longer_serves_is_refused_with_the_reason():
    world = World().pool("b", "10.0.1.0/29", blockSize=30)
    world.addresses(add("c0", link=BRIDGE))
    world.pool("a", "10.0.0.0/29", blockSize=30)
    world.pool("b", "10.0.1.0/29", blockSize=30, disabled=True)

    refusal = world.refusal(add("c1", link=BRIDGE))

    assert isinstance(refusal, NoMatchingPoolError)
    assert "disabled" == refusal.reasons["b"]
    assert "has that of pool b" in refusal.reasons["a"]


def test_another_network_on_the_node_may_use_another_pool():
    world = (
        World().pool("a", "10.0.0.0/29", blockSize=30).pool("b", "10.0.1.0/29", blockSize=30)
    )
    world.addresses(add("c0", link=BRIDGE, pools={4: ("b",)}))

    (address,) = world.addresses(add("c0", network="net2", link=BRIDGE))

    assert address.startswith("10.0.0.")


def test_a_bridge_takes_any_number_of_ipv6_pools():
    world = (
        World().pool("a", "fd00::/126", blockSize=126).pool("b", "fd01::/126", blockSize=126)
    )

    found = [world.addresses(add(f"c{n}", families=(6,), link=BRIDGE))[0] for n in range(3)]

    assert {"fd00:", "fd01:"} == {address[:5] for address in found}


def test_a_block_without_pool_does_not_bind_the_bridge():
    world = World().pool("b", "10.0.1.0/29", blockSize=30)
    world.addresses(add("c0", link=BRIDGE))
    world.remove(records.resource_key("ippools", "b"))
    world.pool("a", "10.0.0.0/29", blockSize=30)

    assert world.addresses(add("c1", link=BRIDGE))[0].startswith("10.0.0.")


@pytest.mark.parametrize("request_", [add("c1"), add_ip("c1", "10.0.0.9")])
def test_a_second_add_of_one_attachment_cannot_commit_beside_the_first(request_):
    world = World().pool("p4", "10.0.0.0/24")
    decided, _ = world.decide([request_])
    world.ask(add("c1"))

    assert records.handle_key("net1.c1") in decided.txn.expect
    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_a_del_that_passes_an_add_makes_its_commit_fail():
    world = World().pool("p4", "10.0.0.0/24")
    decided, _ = world.decide([add("c1")])
    world.ask(delete("c1"))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


# Handles with a limit


def ask_for(
    count: int = 1, cap: int = 1, handle: str | None = "h", family: int = 4
) -> AutoAssign:
    return AutoAssign(host="node-a", handle=handle, count={family: count}, max_per_handle=cap)


def named(address: str, cap: int = 1, handle: str | None = "h") -> AssignIP:
    return AssignIP(
        addresses=(parse_address(address),), host="node-a", handle=handle, max_per_handle=cap
    )


@pytest.fixture
def world():
    return World().pool("p4", "10.0.0.0/24").pool("p6", "fd00::/120")


def test_a_handle_at_its_limit_is_answered_with_what_it_holds(world):
    first, second = world.addresses(ask_for(2, 2)), world.addresses(ask_for(2, 2))

    assert first == second
    assert 2 == sum(world.handles()["h"].blocks.values())
    assert world.last.txn is None or not world.last.txn.puts


def test_below_the_limit_a_handle_gets_further_addresses(world):
    (one,), (two,), (three,) = (world.addresses(ask_for(cap=2)) for _ in range(3))

    assert one != two
    assert three in (one, two)


def test_the_limit_counts_each_family_for_itself(world):
    world.addresses(ask_for())

    (six,) = world.addresses(ask_for(family=6))

    assert [six] == world.addresses(ask_for(family=6))


@pytest.mark.parametrize("request_", [ask_for(handle=None), ask_for(cap=0)])
def test_without_a_limit_or_a_handle_every_call_gets_another_address(world, request_):
    assert world.addresses(request_) != world.addresses(request_)


@pytest.mark.parametrize(
    ("before", "count", "cap"), [(0, 2, 1), (1, 2, 2)], ids=["empty", "half full"]
)
def test_more_than_a_handle_may_ever_hold_is_refused(world, before, count, cap):
    if before:
        world.addresses(ask_for(before, cap))
    outcome = world.ask(ask_for(count, cap))

    assert () == outcome.allocations
    assert isinstance(outcome.shortfall[4], AddressInUseError if before else RefusedError)
    assert f"may hold {cap} per family" in str(outcome.shortfall[4])


def test_a_named_address_that_the_handle_holds_is_a_success_again(world):
    first = world.ask(named("10.0.0.9"))

    assert first == world.ask(named("10.0.0.9"))
    assert 1 == sum(world.handles()["h"].blocks.values())


def test_another_named_address_than_the_one_held_is_refused(world):
    world.ask(named("10.0.0.9"))

    refusal = world.refusal(named("10.0.0.10"))

    assert isinstance(refusal, AddressInUseError)
    assert ("10.0.0.9", "h") == (refusal.address, refusal.handle)


def test_named_addresses_below_the_limit_are_assigned(world):
    world.ask(named("10.0.0.9", cap=2))
    world.ask(named("10.0.0.10", cap=2))

    assert 2 == sum(world.handles()["h"].blocks.values())


def test_an_over_counted_handle_is_judged_by_what_it_holds(world):
    world.put(records.handle_key("h"), b'{"block":{"10.0.0.0/26":3},"deleted":false}')

    assert 1 == len(world.addresses(ask_for()))


@pytest.mark.parametrize("request_", [ask_for(), named("10.0.0.9")])
def test_two_calls_at_once_cannot_get_past_the_limit(world, request_):
    decided, _ = world.decide([request_])
    world.addresses(ask_for())

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_an_answer_with_what_a_handle_holds_depends_on_the_block(world):
    world.ask(named("10.0.0.9"))
    decided, _ = world.decide([ask_for()])
    world.ask(ReleaseByHandle(handles=("h",)))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"
