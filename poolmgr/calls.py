"""
The callers of one batch: what each asked, what is known of its fate, and what it is told.

Rules:

1. A caller whose write may have been applied ends with an answer or with `CommitUnknownError`;
   a refusal of a later plan does not settle it, for the write may come yet.
2. A caller that ends early is told what earlier parts of its request gave it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from poolmgr.batch import Ticket
from poolmgr.core import records
from poolmgr.core.outcome import Assigned, Outcome, Refused
from poolmgr.core.plan import Plan
from poolmgr.core.recognise import Answer, completed, is_provable, partial, recognised
from poolmgr.core.request import AutoAssign, Request
from poolmgr.core.session import Session
from poolmgr.core.snapshot import Snapshot
from poolmgr.errors import (
    CommitUnknownError,
    ContentionError,
    CorruptStateError,
    PoolmgrError,
    StoreError,
)

ATTEMPT_S = 2.0
"""Deadline of one call to the store."""

_GAVE_UP = "the deadline passed before an answer was found; nothing was written"


@dataclass(eq=False)
class Call:
    """
    One caller's request, and what is known of its fate.

    Attributes:
        unknown: Set while a write for it may have been applied.
        last: Why the store could not be reached.
        maybe: What each such write would have answered.
    """

    request: Request
    deadline: float
    alive: Callable[[], bool] | None
    unknown: CommitUnknownError | None = None
    last: StoreError | None = None
    maybe: list[Answer] = field(default_factory=list)


CallTicket = Ticket[Call, Outcome]


def sessions(snapshot: Snapshot) -> Callable[[str], Session | None]:
    """Make the function that tells a host's session as the snapshot has it; None = unknown."""

    def session_of(host: str) -> Session | None:
        key = records.session_key(host)
        fact = snapshot.find(key)
        if fact is None:
            return None
        try:
            return records.decode_session(key, fact.value.value if fact.value else None)
        except CorruptStateError:
            return None  # the planner refuses, naming the key

    return session_of


def deliver(waiting: list[CallTicket], decided: Plan) -> list[CallTicket]:
    """Hand out the outcomes of a plan that holds, and return who still waits."""
    for ticket, outcome in zip(waiting, decided.outcomes, strict=False):
        if isinstance(outcome, Refused) and ticket.work.unknown is not None:
            # The write may come yet: a refusal compares nothing.
            ticket.fail(ticket.work.unknown)
            continue
        for planned in ticket.work.maybe:
            outcome = completed(outcome, planned)  # noqa: PLW2901 - refined, step by step
        ticket.settle(outcome)
    left = waiting[len(decided.outcomes) :]
    for ticket, request in zip(left, decided.rest, strict=True):
        if request is not ticket.work.request:  # one part is done, and its fate is known
            ticket.work.request, ticket.work.unknown = request, None
            if isinstance(request, AutoAssign):
                ticket.work.maybe = []  # a release still owes its caller what it may have freed
    return left


def end(ticket: CallTicket, error: PoolmgrError) -> None:
    """Tell a caller that it ends here, with what earlier parts gave it, if they did."""
    given = partial(ticket.work.request, error) if error.definite else None
    if given is None:
        ticket.fail(error)
    else:
        ticket.settle(given)


def note_unknown(
    waiting: list[CallTicket], decided: Plan, error: CommitUnknownError
) -> list[CallTicket]:
    """
    Remember what each caller may have been given.

    Those who cannot find out are told so at once.
    """
    planned: list[Answer] = [*decided.outcomes, *decided.rest]
    left = []
    for ticket, answer in zip(waiting, planned, strict=True):
        call = ticket.work
        if answer is not call.request and not isinstance(answer, Refused):
            call.unknown = error
            call.maybe.append(answer)
            if not is_provable(call.request):
                ticket.fail(error)
                continue
        left.append(ticket)
    return left


def settle_recognised(
    waiting: list[CallTicket], snapshot: Snapshot, now_ns: int
) -> list[CallTicket]:
    """Answer the callers without an attachment whose unknown write turns out to be stored."""
    left = []
    for ticket in waiting:
        call = ticket.work
        stored = [p for p in call.maybe if recognised(call.request, p, snapshot, now_ns)]
        if stored and isinstance(stored[0], Assigned):
            ticket.settle(stored[0])
            continue
        if stored and isinstance(stored[0], AutoAssign):
            call.request, call.unknown, call.maybe = stored[0], None, []
        left.append(ticket)
    return left


def in_time(waiting: list[CallTicket]) -> list[CallTicket]:
    """
    Return those whose deadline is ahead and whose caller lives.

    The others are told what is known.
    """
    left, now = [], time.monotonic()
    for ticket in waiting:
        call = ticket.work
        if call.alive is not None and not call.alive():
            ticket.fail(
                call.unknown or ContentionError("the caller is gone; nothing was written")
            )
        elif now >= call.deadline:
            end(ticket, call.unknown or call.last or ContentionError(_GAVE_UP))
        else:
            left.append(ticket)
    return left


def left_s(waiting: Sequence[CallTicket]) -> float:
    """Return the time until the last caller's deadline."""
    return max(0.001, max(ticket.work.deadline for ticket in waiting) - time.monotonic())


def attempt_s(waiting: Sequence[CallTicket]) -> float:
    """Return the time that one call to the store may take."""
    return min(ATTEMPT_S, left_s(waiting))
