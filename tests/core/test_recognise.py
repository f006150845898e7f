"""Recognising one's own write after an unknown outcome."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, auto_assign, new_block, release
from poolmgr.core.link import Link
from poolmgr.core.outcome import AffinitiesReleased, Allocation, Assigned, Held, Released
from poolmgr.core.recognise import Answer, completed, is_provable, partial, recognised
from poolmgr.core.request import (
    AssignIP,
    AutoAssign,
    HeldBy,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
)
from poolmgr.core.snapshot import Snapshot
from poolmgr.errors import PoolExhaustedError, StaleReleaseError
from tests.support.facts import known, stored_block
from tests.support.world import NOON_NS

CIDR = parse_network("10.0.0.0/29")
ASKED = AutoAssign(host="node-a", handle="h", count={4: 2})
NAMED = AssignIP(addresses=(parse_address("10.0.0.0"),), host="node-a", handle="h")
FREE = new_block(CIDR, "host:node-a", NOON_NS)
ASSIGNED, _ = auto_assign(FREE, 2, Attribute(handle="h"))


def allocation(ordinal: int, number: int = NOON_NS) -> Allocation:
    return Allocation(
        address=CIDR[ordinal],
        block=CIDR,
        pool="p",
        link=Link(prefix_length=32),
        sequence_number=number,
    )


PLANNED = Assigned(allocations=(allocation(0), allocation(1)))


def stored(block: Block | None) -> Snapshot:
    values: dict[str, bytes | None] = {records.CONFIG_KEY: None, records.block_key(CIDR): None}
    if block is not None:
        values |= stored_block(block)
    return known(values)


LATER, _ = auto_assign(
    release(ASSIGNED, [0, 1], now_ns=NOON_NS, cooldown_s=0, bump=True), 8, Attribute(handle="h")
)
FOREIGN, _ = auto_assign(FREE, 2, Attribute(handle="other"))
HALF, _ = auto_assign(FREE, 1, Attribute(handle="h"))
COOLING = release(ASSIGNED, [1], now_ns=NOON_NS, cooldown_s=60, bump=False)


@pytest.mark.parametrize(
    ("block", "happened"),
    [
        pytest.param(ASSIGNED, True, id="as planned"),
        pytest.param(FREE, False, id="nothing assigned"),
        pytest.param(None, False, id="no block"),
        pytest.param(FOREIGN, False, id="another handle"),
        pytest.param(LATER, False, id="the same handle, but a later assignment"),
        pytest.param(HALF, False, id="half of it"),
        pytest.param(COOLING, False, id="released meanwhile"),
    ],
)
def test_an_assignment_happened_if_every_ordinal_has_handle_and_number(block, happened):
    assert happened == recognised(ASKED, PLANNED, stored(block), NOON_NS)


def test_a_named_address_is_recognised_too():
    planned = Assigned(allocations=(allocation(0),))

    assert recognised(NAMED, planned, stored(ASSIGNED), NOON_NS)
    assert not recognised(NAMED, planned, stored(FREE), NOON_NS)


def test_what_earlier_parts_were_given_proves_nothing():
    request = replace(ASKED, so_far=(allocation(0), allocation(1)))
    more = Assigned(allocations=(*request.so_far, allocation(2, NOON_NS + 1)))
    third, _ = auto_assign(ASSIGNED, 1, Attribute(handle="h"))

    assert not recognised(request, PLANNED, stored(ASSIGNED), NOON_NS)
    assert not recognised(request, more, stored(ASSIGNED), NOON_NS)
    assert recognised(request, more, stored(third), NOON_NS)


def test_a_part_of_a_request_is_recognised_by_what_is_left_of_it():
    rest = replace(ASKED, so_far=(allocation(0), allocation(1)))

    assert recognised(ASKED, rest, stored(ASSIGNED), NOON_NS)
    assert not recognised(ASKED, rest, stored(FREE), NOON_NS)


def test_facts_that_are_lacking_prove_nothing():
    assert not recognised(ASKED, PLANNED, Snapshot(), NOON_NS)


def test_without_a_handle_there_is_no_proof():
    nobody, _ = auto_assign(FREE, 2, Attribute())

    assert not recognised(replace(ASKED, handle=None), PLANNED, stored(nobody), NOON_NS)


@pytest.mark.parametrize(
    ("request_", "planned"),
    [
        (ReleaseByHandle(handles=("h",)), Released(released=())),
        (ASKED, Released(released=())),
        (ASKED, Assigned(allocations=())),
    ],
)
def test_only_a_planned_assignment_is_recognised(request_, planned):
    assert not recognised(request_, planned, stored(ASSIGNED), NOON_NS)


@pytest.mark.parametrize(
    ("request_", "provable"),
    [
        (ASKED, True),
        (NAMED, True),
        (replace(ASKED, handle=None), False),
        (replace(NAMED, handle=None), False),
        (ReleaseByHandle(handles=("h",)), True),
        (ReleaseIPs(releases=()), True),
        (ReleaseAffinities(cidr=CIDR), True),
        (HeldBy(handle="h"), True),
    ],
)
def test_only_an_assignment_without_a_handle_cannot_be_proved(request_, provable):
    assert provable == is_provable(request_)


# Releases

A, B, C = (CIDR[n] for n in range(3))


@pytest.mark.parametrize(
    "planned",
    [
        Released(released=(A, B)),
        ReleaseByHandle(handles=("h",), so_far=(A, B)),
        ReleaseIPs(releases=(), so_far=Released(released=(A, B))),
    ],
    ids=["answer", "rest by handle", "rest by address"],
)
def test_what_the_unknown_release_was_about_to_free_counts_as_released(planned):
    again = Released(released=(B,), unallocated=(A, C))

    assert Released(released=(A, B), unallocated=(C,)) == completed(again, planned)


@pytest.mark.parametrize(
    "planned", [ReleaseIPs(releases=()), Held(allocations=()), ReleaseAffinities(cidr=CIDR)]
)
def test_a_plan_that_freed_nothing_adds_nothing(planned: Answer):
    again = Released(released=(B,), unallocated=(A,))

    assert again == completed(again, planned)


def test_other_answers_are_left_as_they_are():
    outcome = AffinitiesReleased(blocks=2)

    assert outcome is completed(outcome, Released(released=(A,)))


def test_a_call_that_ends_early_keeps_what_its_parts_were_given():
    error = PoolExhaustedError("full")
    held = Allocation(
        address=A,
        block=parse_network("10.0.0.0/30"),
        pool="p",
        link=Link(prefix_length=32),
        sequence_number=1,
    )
    assign = AutoAssign(host="node-a", handle="h", count={4: 2}, so_far=(held,))
    release = ReleaseIPs(releases=(), so_far=Released(released=(A,)))

    assert partial(replace(assign, so_far=()), error) is None
    assert Assigned(allocations=(held,), shortfall={4: error}) == partial(assign, error)
    assert Released(released=(A,), errors=(error,)) == partial(release, error)
    assert Released(released=(A,), errors=(error,)) == partial(
        ReleaseByHandle(handles=("h",), so_far=(A,)), error
    )


def test_a_block_that_was_left_alone_freed_nothing_of_what_was_planned():
    error = PoolExhaustedError("left alone")
    planned = Released(released=(A, B))

    found = completed(Released(released=(), unallocated=(B,), errors=(error,)), planned)

    assert ((B,), ()) == (found.released, found.unallocated)


def test_an_address_that_was_perhaps_freed_and_given_away_is_no_clean_refusal():
    stale = StaleReleaseError(str(A), "it belongs to another")
    other = StaleReleaseError(str(C), "it belongs to another")

    found = completed(Released(released=(B,), errors=(stale, other)), Released(released=(A, B)))

    assert [False, True] == [error.definite for error in found.errors]
    assert other is found.errors[1]
