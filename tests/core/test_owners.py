"""Single addresses: who holds one, who it is stored for, and when it is free again."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, assign, new_block
from poolmgr.core.outcome import Collected, Owner
from poolmgr.core.request import AutoAssign, CollectCold, OwnerCheck, OwnerOf, SetOwner
from poolmgr.errors import InvalidRequestError, OwnerChangedError, RefusedError
from tests.support.facts import SECOND
from tests.support.world import NOON_NS, World, add, add_ip, delete

CIDR = parse_network("10.0.0.0/30")
FIRST = CIDR.network_address
KEY = records.block_key(CIDR)
A, B = {"pod": "pod-a", "namespace": "ns-a"}, {"pod": "pod-b", "namespace": "ns-b"}


@pytest.fixture
def world():
    return World().pool("p4", str(CIDR), blockSize=30)


def held(world: World, count: int = 1, **attributes: str) -> None:
    """Give the first addresses to the handle "h"."""
    world.ask(
        AutoAssign(host="node-a", handle="h", count={4: count}, attributes=attributes or {})
    )


def owner_of(world: World, address=FIRST) -> Owner:
    outcome = world.ask(OwnerOf(address=address))
    assert isinstance(outcome, Owner), outcome
    return outcome


def set_owner(**more) -> SetOwner:
    return SetOwner(**{"address": FIRST, "handle": "h", **more})


# Asking


def test_the_owner_of_an_address_is_told_without_a_transaction(world):
    held(world, **A)

    owner = owner_of(world)

    assert (
        Owner(
            address=FIRST,
            block=CIDR,
            handle="h",
            attributes=A,
            alternate={},
            sequence_number=NOON_NS,
        )
        == owner
    )
    assert world.last.txn is None


def test_an_address_that_nobody_counts_has_no_handle(world):
    world.ask(AutoAssign(host="node-a", handle=None, count={4: 1}))

    assert owner_of(world).handle is None


def test_a_block_without_numbers_says_zero(world):
    block = replace(
        assign(new_block(CIDR, "host:node-a", 5), 0, Attribute(handle="h\r\njunk")),
        sequence_numbers={},
    )
    world.put(KEY, records.encode_block(block))

    assert ("h", 0) == (owner_of(world).handle, owner_of(world).sequence_number)


@pytest.mark.parametrize("address", ["10.0.0.1", "10.77.0.1", "fd00::1"])
def test_an_address_that_nobody_holds_is_refused(world, address):
    held(world)

    refusal = world.refusal(OwnerOf(address=parse_address(address)))

    assert f"address {address} is not assigned" == str(refusal)


@pytest.mark.parametrize("request_", [OwnerOf(address=FIRST), set_owner(active=A)])
def test_an_address_that_cools_down_has_no_owner(world, request_):
    world.configure(ipCooldownSeconds=60)
    world.addresses(add_ip("c1", str(FIRST)))
    world.ask(delete("c1"))

    refusal = world.refusal(request_)

    assert isinstance(refusal, RefusedError)
    assert "cools down since 2026-" in str(refusal)


# Rewriting


def test_what_is_not_named_is_left_as_it_is(world):
    held(world, **A)

    outcome = world.ask(set_owner(alternate=B))

    assert (A, B) == (outcome.attributes, outcome.alternate)
    assert outcome == owner_of(world)
    assert () == world.findings()


@pytest.mark.parametrize("field", ["active", "alternate"])
def test_an_owner_is_cleared(world, field):
    held(world)
    world.ask(set_owner(active=A, alternate=B))

    world.ask(set_owner(**{field: {}}))

    owner = owner_of(world)
    assert ({}, B) == (owner.attributes, owner.alternate) or field == "alternate"
    assert (A, {}) == (owner.attributes, owner.alternate) or field == "active"


def test_the_block_is_numbered_anew_and_the_address_is_not(world):
    held(world)
    (before,) = world.blocks().values()

    world.ask(set_owner(active=A))

    (after,) = world.blocks().values()
    assert before.sequence_number + 1 == after.sequence_number
    assert before.sequence_numbers == after.sequence_numbers


def test_addresses_that_share_the_entry_change_with_it_and_others_do_not(world):
    held(world, 2)
    world.addresses(add("other"))

    world.ask(set_owner(active=A))

    assert A == owner_of(world, FIRST + 1).attributes
    assert "net1" == owner_of(world, FIRST + 2).attributes["network"]


def test_what_we_do_not_know_of_an_entry_survives(world):
    entry = Attribute(handle="h", extra={"new": 1})
    world.put(KEY, records.encode_block(assign(new_block(CIDR, "host:a", 5), 0, entry)))

    world.ask(set_owner(active=A))

    assert {"new": 1} == world.blocks()[str(CIDR)].attribute_at(0).extra


@pytest.mark.parametrize(
    ("checks", "why"),
    [
        ({"active_is": OwnerCheck(pod="pod-a", namespace="ns-a")}, ""),
        ({"active_is": OwnerCheck(pod="pod-a", namespace="ns-b")}, "its owner is {'namespace'"),
        ({"active_is": OwnerCheck(pod="pod-a")}, "its owner is {'namespace'"),
        ({"active_is": OwnerCheck()}, "its owner is {'namespace'"),
        ({"alternate_is": OwnerCheck()}, ""),
        (
            {"alternate_is": OwnerCheck(pod="pod-b", namespace="ns-b")},
            "its alternate owner is nobody",
        ),
        (
            {"active_is": OwnerCheck(), "alternate_is": OwnerCheck()},
            "its owner is {'namespace'",
        ),
    ],
)
def test_every_check_comes_before_any_change(world, checks, why):
    held(world, **A)
    before = world.content()
    asked = set_owner(active=B, alternate=A, **checks)

    if why:
        refusal = world.refusal(asked)

        assert isinstance(refusal, OwnerChangedError)
        assert why in str(refusal)
        assert before == world.content()
    else:
        outcome = world.ask(asked)

        assert (B, A) == (outcome.attributes, outcome.alternate)


def test_another_handle_may_not_rewrite_the_owner(world):
    held(world)

    refusal = world.refusal(set_owner(handle="other", active=A))

    assert isinstance(refusal, OwnerChangedError)
    assert "handle h holds it, not other" in str(refusal)


def test_junk_behind_a_handle_does_not_matter(world):
    held(world)

    assert A == world.ask(set_owner(handle="h\rjunk", active=A)).attributes


def test_a_request_that_changes_nothing_is_the_callers_fault(world):
    assert isinstance(world.refusal(set_owner()), InvalidRequestError)


def test_an_owner_is_rewritten_only_while_the_block_is_as_it_was(world):
    held(world)
    decided, _ = world.decide([set_owner(active=A)])
    world.addresses(add("c1"))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


# Collecting


def cooling(world: World, *containers: str, keep: bool = True) -> None:
    """Release these addresses into a cooldown of a minute."""
    world.configure(ipCooldownSeconds=60)
    for container in containers:
        world.addresses(add(container))
    if keep:
        world.addresses(add("kept"))
    for container in containers:
        world.ask(delete(container))


def test_what_has_cooled_down_is_free_and_named(world):
    cooling(world, "c1", "c2")
    (before,) = world.blocks().values()
    world.now_ns += 61 * SECOND

    outcome = world.ask(CollectCold(block=CIDR))

    (after,) = world.blocks().values()
    assert Collected(addresses=(FIRST, FIRST + 1)) == outcome
    assert (3, 0, 1) == after.unallocated
    assert before.sequence_number + 1 == after.sequence_number
    assert () == world.findings()


@pytest.mark.parametrize("block", [CIDR, parse_network("10.9.9.0/30")])
def test_nothing_is_written_before_the_time_or_without_a_block(world, block):
    cooling(world, "c1")
    world.commits = 0
    world.now_ns += 60 * SECOND

    assert Collected(addresses=()) == world.ask(CollectCold(block=block))
    assert world.last.txn is None


def test_an_empty_block_of_nobody_goes_when_its_last_address_is_cold(world):
    cooling(world, "c1", keep=False)
    (block,) = world.blocks().values()
    ownerless = replace(block, affinity=None, claimed_at=None)
    world.put_all(
        {KEY: records.encode_block(ownerless)}, [records.affinity_key("node-a", CIDR)]
    )
    world.now_ns += 61 * SECOND

    assert Collected(addresses=(FIRST,)) == world.ask(CollectCold(block=CIDR))
    assert {} == world.blocks()


def test_an_empty_block_of_a_host_stays(world):
    cooling(world, "c1", keep=False)
    world.now_ns += 61 * SECOND

    world.ask(CollectCold(block=CIDR))

    assert world.blocks()[str(CIDR)].empty


def test_what_is_collected_depends_on_the_cooldown_that_was_read(world):
    cooling(world, "c1")
    world.now_ns += 61 * SECOND
    decided, _ = world.decide([CollectCold(block=CIDR)])
    world.configure(ipCooldownSeconds=600)

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"
