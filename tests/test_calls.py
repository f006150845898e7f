"""Callers of one batch: what is known of their fate, and what each is told."""

import time
from dataclasses import replace

import pytest

from poolmgr.batch import Ticket
from poolmgr.calls import (
    ATTEMPT_S,
    Call,
    CallTicket,
    attempt_s,
    deliver,
    end,
    in_time,
    left_s,
    note_unknown,
    sessions,
    settle_recognised,
)
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.link import Link
from poolmgr.core.outcome import Allocation, Assigned, Refused, Released
from poolmgr.core.plan import Plan
from poolmgr.core.request import AutoAssign, Release, ReleaseByHandle, ReleaseIPs
from poolmgr.core.session import Session
from poolmgr.core.snapshot import Snapshot
from poolmgr.errors import (
    CommitUnknownError,
    ContentionError,
    PoolExhaustedError,
    StoreUnavailableError,
)
from tests.support.facts import known, stored_block
from tests.support.world import NOON_NS, add

CIDR = parse_network("10.0.0.0/30")
FIRST, SECOND = CIDR[0], CIDR[1]
UNKNOWN, NO = CommitUnknownError("lost"), PoolExhaustedError("full")
PLAIN = AutoAssign(host="node-a", handle="h", count={4: 2})
FREEING = ReleaseIPs(releases=(Release(address=FIRST), Release(address=SECOND)))


def ticket(request=PLAIN, *, s: float = 60, **more) -> CallTicket:
    made = {"alive": None, **more}
    return Ticket(Call(request=request, deadline=time.monotonic() + s, **made))


def allocation(ordinal: int) -> Allocation:
    return Allocation(
        address=CIDR[ordinal],
        block=CIDR,
        pool="p4",
        link=Link(prefix_length=32),
        sequence_number=NOON_NS,
    )


def given(*ordinals: int) -> Assigned:
    return Assigned(allocations=tuple(map(allocation, ordinals)))


# Sessions


@pytest.mark.parametrize(
    ("stored", "session"),
    [
        ({}, None),
        ({records.session_key("node-a"): None}, Session()),
        ({records.session_key("node-a"): b'{"n":3,"deleted":[]}'}, Session(n=3)),
        ({records.session_key("node-a"): b"{broken"}, None),
    ],
    ids=["unknown", "absent", "stored", "corrupt"],
)
def test_a_session_is_told_as_far_as_it_is_known(stored, session):
    assert session == sessions(known(stored))("node-a")


# Outcomes


def test_everybody_gets_the_outcome_of_the_own_request_and_the_rest_waits():
    one, two, three = ticket(), ticket(), ticket()
    decided = Plan(txn=None, outcomes=(given(0), Refused(error=NO)), rest=(PLAIN,))

    left = deliver([one, two, three], decided)

    assert [three] == left
    assert (given(0), Refused(error=NO)) == (one.answer, two.answer)
    assert not three.settled


@pytest.mark.parametrize("unknown", [None, UNKNOWN])
def test_a_refusal_does_not_settle_a_write_that_may_come_yet(unknown):
    asked = ticket(unknown=unknown)

    deliver([asked], Plan(txn=None, outcomes=(Refused(error=NO),)))

    assert unknown is asked.error
    assert (None if unknown else Refused(error=NO)) == asked.answer


def test_a_release_is_told_what_its_unknown_predecessor_freed():
    asked = ticket(FREEING, unknown=UNKNOWN, maybe=[Released(released=(FIRST,))])

    answer = Released(released=(SECOND,), unallocated=(FIRST,))
    deliver([asked], Plan(txn=None, outcomes=(answer,)))

    assert Released(released=(FIRST, SECOND)) == asked.answer


def test_a_part_that_is_done_settles_what_was_unknown():
    asked = ticket(unknown=UNKNOWN, maybe=[given(0)])
    rest = replace(PLAIN, so_far=(allocation(0),))

    deliver([asked], Plan(txn=None, outcomes=(), rest=(rest,)))

    assert (rest, None, []) == (asked.work.request, asked.work.unknown, asked.work.maybe)


def test_a_release_still_owes_its_caller_what_an_unknown_part_freed():
    maybe = [Released(released=(FIRST,))]
    asked = ticket(FREEING, unknown=UNKNOWN, maybe=list(maybe))
    rest = replace(FREEING, releases=FREEING.releases[1:], so_far=Released(released=()))

    deliver([asked], Plan(txn=None, outcomes=(), rest=(rest,)))

    assert (None, maybe) == (asked.work.unknown, asked.work.maybe)


def test_a_request_that_was_not_taken_stays_in_doubt():
    asked = ticket(unknown=UNKNOWN, maybe=[given(0)])

    deliver([asked], Plan(txn=None, outcomes=(), rest=(PLAIN,)))

    assert (UNKNOWN, [given(0)]) == (asked.work.unknown, asked.work.maybe)


# Ends


def test_who_ends_early_is_told_what_earlier_parts_gave():
    asked = ticket(replace(PLAIN, so_far=(allocation(0),)))

    end(asked, NO)

    assert Assigned(allocations=(allocation(0),), shortfall={4: NO}) == asked.answer


@pytest.mark.parametrize(
    ("so_far", "error"), [((), NO), ((allocation(0),), UNKNOWN)], ids=["nothing", "in doubt"]
)
def test_without_anything_certain_the_error_is_the_answer(so_far, error):
    asked = ticket(replace(PLAIN, so_far=so_far))

    end(asked, error)

    assert error is asked.error


# Unknown outcomes


def test_who_cannot_find_out_is_told_so_at_once():
    nobodys, counted = ticket(replace(PLAIN, handle=None)), ticket()
    decided = Plan(txn=None, outcomes=(given(0), given(1)))

    left = note_unknown([nobodys, counted], decided, UNKNOWN)

    assert [counted] == left
    assert UNKNOWN is nobodys.error
    assert (UNKNOWN, [given(1)]) == (counted.work.unknown, counted.work.maybe)


def test_who_was_refused_or_not_taken_is_not_in_doubt():
    refused, waiting = ticket(), ticket()
    decided = Plan(txn=None, outcomes=(Refused(error=NO),), rest=(PLAIN,))

    left = note_unknown([refused, waiting], decided, UNKNOWN)

    assert [refused, waiting] == left
    assert [None, None] == [each.work.unknown for each in left]


def test_a_part_under_way_is_in_doubt():
    asked, rest = ticket(), replace(PLAIN, so_far=(allocation(0),))

    note_unknown([asked], Plan(txn=None, outcomes=(), rest=(rest,)), UNKNOWN)

    assert (UNKNOWN, [rest]) == (asked.work.unknown, asked.work.maybe)


def stored(count: int) -> Snapshot:
    block, _ = auto_assign(
        new_block(CIDR, "host:node-a", NOON_NS), count, Attribute(handle="h")
    )
    return known({records.CONFIG_KEY: None, **stored_block(block)})


def test_a_write_that_turns_out_to_be_stored_answers_its_caller():
    done, lost = ticket(maybe=[given(0, 1)]), ticket(maybe=[given(2)])

    left = settle_recognised([done, lost], stored(2), NOON_NS)

    assert [lost] == left
    assert given(0, 1) == done.answer


def test_a_part_that_turns_out_to_be_stored_is_gone_on_from():
    rest = replace(PLAIN, so_far=(allocation(0),))
    asked = ticket(unknown=UNKNOWN, maybe=[rest])

    left = settle_recognised([asked], stored(1), NOON_NS)

    assert [asked] == left
    assert (rest, None, []) == (asked.work.request, asked.work.unknown, asked.work.maybe)


# Time


def test_who_has_time_and_lives_waits_on():
    waiting = [ticket(), ticket(alive=lambda: True)]

    assert waiting == in_time(waiting)


@pytest.mark.parametrize("unknown", [None, UNKNOWN])
def test_for_a_caller_that_is_gone_nothing_is_done_any_more(unknown):
    gone = ticket(alive=lambda: False, unknown=unknown)

    assert [] == in_time([gone])
    assert (CommitUnknownError if unknown else ContentionError) is type(gone.error)


@pytest.mark.parametrize(
    ("known_of_it", "error"),
    [
        ({}, ContentionError),
        ({"last": StoreUnavailableError("away")}, StoreUnavailableError),
        ({"last": StoreUnavailableError("away"), "unknown": UNKNOWN}, CommitUnknownError),
    ],
)
def test_at_the_deadline_the_worst_that_is_known_is_told(known_of_it, error):
    late = ticket(s=-1, **known_of_it)

    assert [] == in_time([late])
    assert error is type(late.error)


def test_at_the_deadline_earlier_parts_are_told():
    late = ticket(ReleaseByHandle(handles=("h",), so_far=(parse_address("10.0.0.0"),)), s=-1)

    in_time([late])

    assert (FIRST,) == late.answer.released


def test_the_time_left_is_that_of_the_last_caller():
    assert 50 < left_s([ticket(s=60), ticket(s=1)]) <= 60
    assert 0.001 == left_s([ticket(s=-5)])


def test_an_attempt_takes_no_longer_than_its_share():
    assert ATTEMPT_S == attempt_s([ticket(s=60)])
    assert 0.5 < attempt_s([ticket(add("c1"), s=1)]) <= 1
