"""Section 7: releases by handle, handles with a limit, and who an address is stored for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni import verbs
from poolmgr.cni.args import Args
from poolmgr.cni.netconf import Call, Command
from poolmgr.core.outcome import Owner
from poolmgr.core.request import (
    Attachment,
    AutoAssign,
    HeldBy,
    OwnerCheck,
    OwnerOf,
    SetOwner,
    Use,
)
from poolmgr.errors import (
    AddressInUseError,
    InvalidRequestError,
    OwnerChangedError,
    PoolmgrError,
    RefusedError,
)
from tests.behaviours.row import Row, each
from tests.support.site import texts

V4, V6 = "10.0.0.0/24", "fd80:24e2:f998:72d6::/120"
BLOCK = "100.64.0.0/24"
HANDLE, FIRST = "vmi-handle-owner-attrs", "10.0.0.9"


@dataclass(frozen=True, slots=True)
class InBlock(Row):
    """
    A release of `handle` in block 100.64.0.0/24.

    Attributes:
        handles: Of the attributes stored.
        taken: Ordinal -> index of its attribute.
        freed: Ordinals that are free again, and the last of the queue.
        number: Of the assignments meant; None = any.
        numbers: Ordinal -> number of the assignment, where it is not 10.
    """

    handles: tuple[str, ...]
    taken: Mapping[int, int]
    handle: str
    freed: tuple[int, ...]
    number: int | None = None
    numbers: Mapping[int, int] = field(default_factory=dict)


IN_BLOCK = (
    InBlock("RH-05", ("fifteen", "twenty"), {15: 0, 20: 1}, "fifteen", (15,)),
    InBlock(
        "RH-06",
        ("teens",),
        {15: 0, 16: 0, 17: 0, 18: 0},
        "teens",
        (15, 16, 18),
        number=10,
        numbers={17: 999},
    ),
    InBlock("RH-07", ("several",) * 3, {15: 0, 25: 1, 35: 2}, "several", (15, 25, 35)),
    InBlock("RH-08", ("several",), {15: 0, 25: 0, 35: 0}, "several", (15, 25, 35)),
)


@dataclass(frozen=True, slots=True)
class Legacy(Row):
    """An address that an older Calico stored under another handle than today's."""

    handle: str
    args: Args = field(default_factory=Args)


LEGACY = (
    Legacy("RH-11", "cid"),
    Legacy("RH-12", "net1.cid"),
    Legacy("RH-13", "prod.web-0", Args(pod="web-0", namespace="prod")),
)

A, B = {"pod": "pod-a", "namespace": "ns-a"}, {"pod": "pod-b", "namespace": "ns-b"}
IS_A, IS_B = OwnerCheck(**A), OwnerCheck(**B)
WRONG, NOBODY = OwnerCheck(pod="pod-wrong", namespace="ns-wrong"), OwnerCheck()
CLEAR: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Step(Row):
    """
    A change of who an address is stored for.

    Attributes:
        before: Active and alternate owner that are stored.
        asked: What `SetOwner` is given beside address and handle.
        after: Active and alternate owner then.
        error: How it is refused; then nothing changes.
    """

    asked: Mapping[str, object]
    after: tuple[Mapping[str, str], Mapping[str, str]] = (CLEAR, CLEAR)
    before: tuple[Mapping[str, str], Mapping[str, str]] = (CLEAR, CLEAR)
    error: type[PoolmgrError] | None = None


def refused(id_: str, asked: Mapping[str, object], before=(CLEAR, CLEAR), error=None) -> Step:
    return Step(id_, asked, before, before, error or OwnerChangedError)


BOTH, CLEAR_BOTH = {"active": A, "alternate": B}, {"active": CLEAR, "alternate": CLEAR}
STEPS = (
    Step("RH-18", {"active": A}, (A, CLEAR)),
    Step("RH-19", {"alternate": B}, (CLEAR, B)),
    Step("RH-20", BOTH, (A, B)),
    Step("RH-21", {"active": CLEAR}, before=(A, CLEAR)),
    Step("RH-22", {"alternate": CLEAR}, before=(CLEAR, B)),
    Step("RH-23", CLEAR_BOTH, before=(A, B)),
    Step("RH-24", {"active": B}, (B, CLEAR), (A, CLEAR)),
    Step("RH-25", {"active": B}, (B, B), (A, B)),
    Step("RH-26", {"alternate": A}, (A, A), (A, B)),
    refused("RH-28", {"active": CLEAR, "active_is": WRONG}, (A, CLEAR)),
    Step("RH-29", {"alternate": CLEAR, "alternate_is": IS_B}, before=(CLEAR, B)),
    refused("RH-30", {"alternate": CLEAR, "alternate_is": WRONG}, (CLEAR, B)),
    Step("RH-31", {"active": A, "active_is": NOBODY}, (A, CLEAR)),
    refused("RH-32", {"active": A, "active_is": NOBODY}, (B, CLEAR)),
    refused("RH-34", {"alternate": A, "alternate_is": NOBODY}, (CLEAR, B)),
    refused("RH-35", {}, (A, B), InvalidRequestError),
    refused("RH-40", {**BOTH, "handle": "wrong-handle"}),
    refused("RH-41", {**BOTH, "address": "10.0.0.200"}, error=RefusedError),
    refused("RH-42", {**BOTH, "address": "192.168.1.1"}, error=RefusedError),
    Step("RH-44", {**CLEAR_BOTH, "active_is": IS_A, "alternate_is": IS_B}, before=(A, B)),
    refused("RH-45", {**CLEAR_BOTH, "active_is": IS_A, "alternate_is": WRONG}, (A, B)),
)

MIGRATION = (
    Step("RH-43", {"active": A}, (A, CLEAR)),
    Step("RH-43", {"alternate": B, "alternate_is": NOBODY}, (A, B)),
    Step("RH-43", {"active": CLEAR, "active_is": IS_A}, (CLEAR, B)),
    Step(
        "RH-43",
        {"active": B, "alternate": CLEAR, "active_is": NOBODY, "alternate_is": IS_B},
        (B, CLEAR),
    ),
)

UNUSED, USED, RELEASED, FOUND, TUNNEL = map(Row, ("RH-01", "RH-02", "RH-03", "RH-09", "RH-14"))
ONE_EACH, ONE_NAMED, TWO = map(Row, ("RH-15", "RH-16", "RH-17"))

ROWS = (
    *(UNUSED, USED, RELEASED, FOUND, TUNNEL, ONE_EACH, ONE_NAMED, TWO),
    *(*IN_BLOCK, *LEGACY, *STEPS, MIGRATION[0]),
)


def held(site, handle: str) -> list[str]:
    found = site.ipam().held_by(HeldBy(handle=handle)).allocations
    return texts(allocation.address for allocation in found)


# Handles


@each([UNUSED])
def test_a_handle_that_is_not_used_holds_nothing(row, site):
    site.pool("pool-a", V4, 26)

    assert [] == held(site, "test-handle")


@each([USED])
def test_a_handle_holds_what_was_assigned_to_it(row, site):
    site.pool("pool-a", V4, 26)

    assert site.addresses(handle="test-handle") == held(site, "test-handle")
    assert [site.add("c1")] == held(site, "net1.c1")


@each([RELEASED])
def test_a_released_handle_is_gone(row, site):
    site.pool("pool-a", V4, 26)
    given = site.addresses(handle="test-handle")
    site.add("c1")

    freed = site.release_handle("test-handle").released
    site.delete("c1")

    assert given == texts(freed)
    assert set() == site.handles()
    assert [] == held(site, "test-handle")


@each(IN_BLOCK)
def test_a_handle_is_released_and_its_ordinals_queue_up(row, site):
    site.pool("pool-a", "100.64.0.0/16", 24)
    attributes = [
        {"handle_id": handle, "secondary": {"n": str(n)}}
        for n, handle in enumerate(row.handles)
    ]
    numbers = {ordinal: row.numbers.get(ordinal, 10) for ordinal in row.taken}
    site.seed(BLOCK, attributes, row.taken, number=1000, numbers=numbers)

    answer = site.release_handle(row.handle, sequence_number=row.number)

    block = site.blocks()[BLOCK]
    assert [f"100.64.0.{n}" for n in row.freed] == texts(answer.released)
    assert list(row.freed) == block["unallocated"][-len(row.freed) :]
    assert set(row.taken) - set(row.freed) == {
        n for n, index in enumerate(block["allocations"]) if index is not None
    }


@each([FOUND])
@pytest.mark.parametrize(
    ("handle", "ordinals"),
    [("no-such-handle", []), ("singleton", [3]), ("tens", [10, 20]), ("thirties", [33, 34])],
)
def test_a_handle_is_found_whatever_entries_it_has(row, handle, ordinals, site):
    site.pool("pool-a", "100.64.0.0/16", 24)
    attributes = [
        {"handle_id": name, "secondary": {"n": str(n)}}
        for n, name in enumerate(["singleton", "tens", "thirties", "thirties"])
    ]
    site.seed(BLOCK, attributes, {3: 0, 10: 1, 20: 1, 33: 2, 34: 3})

    assert [f"100.64.0.{n}" for n in ordinals] == held(site, handle)


@each(LEGACY)
def test_a_del_finds_what_older_calicos_stored(row, site):
    site.pool("pool-a", "192.168.0.0/16", 26)
    site.assign("192.168.123.123", handle=row.handle)
    call = Call(
        command=Command.DEL,
        version="1.0.0",
        network="net1",
        attachment=Attachment(network="net1", container="cid", interface="eth0"),
        args=row.args,
    )

    verbs.delete(call, "node-a", site.ipam())

    assert ({}, set()) == (site.assigned(), site.handles())


@each([TUNNEL])
def test_a_tunnel_address_is_given_back_before_another_is_assigned(row, site):
    handle = "ipip-tunnel-addr-node-a"
    site.pool("pool-a", "172.16.0.0/24", 26)
    site.pool("pool-b", "172.17.0.0/24", 26)
    site.assign("172.16.0.1", handle=handle, use=Use.TUNNEL)

    site.release_handle(handle)
    given = site.addresses(handle=handle, use=Use.TUNNEL, pools={4: ("pool-b",)})

    assert given == list(site.assigned())
    assert {handle: 1} == site.counts()


# Limits


@each([ONE_EACH])
def test_a_handle_limited_to_one_is_answered_with_the_same_of_each_family(row, site):
    site.pool("pool-a", V4, 26)
    site.pool("pool-b", V6, 122)
    handle = "vmi-handle-maxalloc"
    asked = AutoAssign(host="node-a", handle=handle, count={4: 1, 6: 1}, max_per_handle=1)

    first, second = (site.ipam().auto_assign(asked).allocations for _ in range(2))

    assert [4, 6] == [allocation.address.version for allocation in first]
    assert texts(a.address for a in first) == texts(a.address for a in second)
    assert {handle: 2} == site.counts()
    site.release_handle(handle)
    assert {} == site.counts()


@each([ONE_NAMED])
def test_a_handle_limited_to_one_gets_the_address_it_has_and_no_other(row, site):
    site.pool("pool-a", V4, 26)
    site.assign("10.0.0.10", handle="h", max_per_handle=1)

    again = site.assign("10.0.0.10", handle="h", max_per_handle=1)
    with pytest.raises(AddressInUseError):
        site.assign("10.0.0.11", handle="h", max_per_handle=1)

    assert ["10.0.0.10"] == texts(a.address for a in again.allocations)
    assert ({"10.0.0.10": "h"}, {"h": 1}) == (site.assigned(), site.counts())


@each([TWO])
def test_a_handle_limited_to_two_gets_one_of_the_two_at_the_third_time(row, site):
    site.pool("pool-a", V4, 26)

    (one,), (two,), (three,) = (site.addresses(handle="h", max_per_handle=2) for _ in range(3))

    assert one != two
    assert three in (one, two)
    assert {"h": 2} == site.counts()


# Owners


def owners(site) -> tuple[Mapping[str, str], Mapping[str, str]]:
    owner = site.ipam().owner_of(OwnerOf(address=parse_address(FIRST)))
    return owner.attributes, owner.alternate


def set_owner(site, asked: Mapping[str, object]) -> Owner:
    fields = {"handle": HANDLE, "address": FIRST, **asked}
    fields["address"] = parse_address(str(fields["address"]))
    return site.ipam().set_owner(SetOwner(**fields))


def prepared(site, before) -> None:
    """Assign the address, and store these owners."""
    site.pool("pool-a", V4, 26)
    site.assign(FIRST, handle=HANDLE)
    if any(before):
        set_owner(site, {"active": before[0], "alternate": before[1]})


@each(STEPS)
def test_owners_change_as_asked_or_not_at_all(row, site):
    prepared(site, row.before)
    if row.error is None:
        answer = set_owner(site, row.asked)

        assert row.after == (answer.attributes, answer.alternate)
    else:
        before = site.content()
        with pytest.raises(row.error):
            set_owner(site, row.asked)

        assert before == site.content()
    assert row.after == owners(site)
    (entry,) = site.blocks()["10.0.0.0/26"]["attributes"]
    assert row.after == (entry.get("secondary", {}), entry.get("alternateOwnerAttrs", {}))


@each([MIGRATION[0]])
def test_an_address_moves_with_a_virtual_machine(row, site):
    prepared(site, (CLEAR, CLEAR))

    states = []
    for step in MIGRATION:
        set_owner(site, step.asked)
        states.append(owners(site))

    assert [step.after for step in MIGRATION] == states
