"""
IPAM: the library's face, one method per verb, over the only retry loop of the system.

Theory: read what the planner asks for, plan, commit; on a conflict, or when nobody knows
whether a commit happened,
learn what is true now and plan again. Conflict, unknown outcome and stale knowledge are one
event. It ends because plans are idempotent (requests with an attachment) or recognise their own
write, and because every caller has a deadline.

Rules:

1. Never undo after an unknown outcome: only look and plan again.
2. Once a caller's outcome is unknown, nothing turns it into a clean failure: it ends with an
   answer or with `CommitUnknownError`.
3. Attempts are bounded by the caller's deadline, not by a count; between them the loop backs
   off, 5 to 200 ms.
4. Before each commit the callers must be alive and in time; others are dropped before planning,
   not after.
5. Facts are kept for one batch only. (A cache would have to check its answers.)
"""

import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from poolmgr.batch import Batcher, Ticket
from poolmgr.core import records
from poolmgr.core.plan import Plan, plan
from poolmgr.core.recognise import Answer, completed, is_provable, partial, recognised
from poolmgr.core.request import (
    AffinitiesReleased,
    Assigned,
    AssignIP,
    AutoAssign,
    Held,
    HeldBy,
    Outcome,
    Refused,
    ReleaseByHandle,
    Released,
    ReleaseIPs,
    ReleasePoolAffinities,
    Request,
)
from poolmgr.core.session import Session, admit
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Conflict, Fetch
from poolmgr.errors import (
    CommitUnknownError,
    ContentionError,
    CorruptStateError,
    PoolmgrError,
    StoreError,
    StoreUnavailableError,
)
from poolmgr.store.port import Store

ATTEMPT_S = 2.0
"""Deadline of one call to the store."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.2

_NO_TURN = "others were being served until the deadline; nothing was written, try again"
_GAVE_UP = (
    "others kept changing the same keys until the deadline; nothing was written, try again"
)

T = TypeVar("T")


@dataclass(eq=False)
class _Call:
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


_Ticket = Ticket[_Call, Outcome]


class IPAM:
    """
    Assign and release addresses.

    One instance may be used by any number of threads; what they ask at the same time is
    committed together.

    Args:
        store: Where it is all kept.
        clock: Returns nanoseconds since 1970; written into blocks, never used for safety.
    """

    def __init__(self, store: Store, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._clock = clock
        self._epoch_seed = secrets.token_hex(16).encode()
        self._batcher: Batcher[_Call, Outcome] = Batcher(self._run)

    def auto_assign(
        self,
        request: AutoAssign,
        *,
        timeout_s: float = 10.0,
        alive: Callable[[], bool] | None = None,
    ) -> Assigned:
        """
        Assign addresses from the pools that serve the host.

        Args:
            timeout_s: How long to try, waiting for a turn included.
            alive: Asked before each commit; False drops the request.

        Raises:
            RefusedError: The present state does not grant it; nothing was written.
            CommitUnknownError: The addresses may have been assigned. Ask again with the same
                attachment.
            StoreError: Nothing was written.
        """
        return self._ask(request, Assigned, timeout_s, alive)

    def assign_ip(
        self,
        request: AssignIP,
        *,
        timeout_s: float = 10.0,
        alive: Callable[[], bool] | None = None,
    ) -> Assigned:
        """Assign the very addresses that the request names; for the rest see `auto_assign`."""
        return self._ask(request, Assigned, timeout_s, alive)

    def release_by_handle(
        self, request: ReleaseByHandle, *, timeout_s: float = 10.0
    ) -> Released:
        """
        Release what handles hold; an absent handle is a success.

        Raises:
            CommitUnknownError: It may have happened; asking again is safe.
            StoreError: Nothing was released.
        """
        return self._ask(request, Released, timeout_s)

    def release_ips(self, request: ReleaseIPs, *, timeout_s: float = 10.0) -> Released:
        """
        Release addresses, each checked against what the caller believes of it.

        Returns:
            What was released, what was not assigned, and one error per block that was left
            alone.
        """
        return self._ask(request, Released, timeout_s)

    def release_pool_affinities(
        self, request: ReleasePoolAffinities, *, timeout_s: float = 30.0
    ) -> AffinitiesReleased:
        """Take the blocks of a pool from their hosts, before the pool is deleted."""
        return self._ask(request, AffinitiesReleased, timeout_s)

    def held_by(self, request: HeldBy, *, timeout_s: float = 10.0) -> Held:
        """Tell what a handle holds, at one revision."""
        return self._ask(request, Held, timeout_s)

    def _ask(
        self,
        request: Request,
        kind: type[T],
        timeout_s: float,
        alive: Callable[[], bool] | None = None,
    ) -> T:
        call = _Call(request=request, deadline=time.monotonic() + timeout_s, alive=alive)
        try:
            outcome = self._batcher.submit(call, timeout_s=timeout_s)
        except TimeoutError:
            raise ContentionError(_NO_TURN) from None
        if isinstance(outcome, Refused):
            raise outcome.error
        assert isinstance(outcome, kind)
        return outcome

    def _run(self, tickets: Sequence[_Ticket]) -> None:
        """Work on a batch until everybody has an answer."""
        try:
            self._loop(list(tickets))
        except (KeyboardInterrupt, SystemExit):
            # Interrupted, perhaps between commit and answer: nobody may take it for a clean no.
            for ticket in tickets:
                if not ticket.settled:
                    ticket.fail(
                        CommitUnknownError("interrupted; it may have happened, ask again")
                    )
            raise

    def _loop(self, waiting: list[_Ticket]) -> None:
        """Read, plan, commit: the only retry loop of the system."""
        snapshot, pause_s = Snapshot(), 0.0
        while waiting := _in_time(waiting):
            try:
                snapshot, waiting, again = self._step(snapshot, waiting)
            except StoreUnavailableError as error:
                again = True
                for ticket in waiting:
                    ticket.work.last = error
            except StoreError as error:
                for ticket in waiting:
                    _end(ticket, ticket.work.unknown or error)
                return
            pause_s = min(max(pause_s * 2, SHORTEST_PAUSE_S), LONGEST_PAUSE_S) if again else 0.0
            if waiting and pause_s:
                jittered_s = random.uniform(0, pause_s)  # noqa: S311 - spreads rivals apart
                time.sleep(min(jittered_s, _left_s(waiting)))

    def _step(
        self, snapshot: Snapshot, waiting: list[_Ticket]
    ) -> tuple[Snapshot, list[_Ticket], bool]:
        """
        Read, or plan and commit.

        Returns:
            What is known now, who still waits, and whether nothing was gained, so that a pause
            is due.
        """
        now_ns = self._clock()
        waiting = _settle_recognised(waiting, snapshot, now_ns)
        if not waiting:
            return snapshot, waiting, False
        requests = admit([ticket.work.request for ticket in waiting], _sessions(snapshot))
        decided = plan(requests, snapshot, now_ns, self._epoch_seed)
        for ticket, request in zip(waiting, requests, strict=True):
            ticket.work.request = request
        if isinstance(decided, Fetch):
            return self._read(snapshot, decided, waiting), waiting, False
        if decided.txn is None:
            return snapshot, _deliver(waiting, decided), False
        try:
            result = self._store.commit(decided.txn, timeout_s=_attempt_s(waiting))
        except CommitUnknownError as error:
            waiting = _note_unknown(waiting, decided, error)
            return self._read(snapshot, Fetch.of(decided.txn), waiting), waiting, True
        if isinstance(result, Conflict):
            return snapshot.merge(result.current), waiting, True
        return snapshot.apply(decided.txn, result.revision), _deliver(waiting, decided), False

    def _read(self, snapshot: Snapshot, fetch: Fetch, waiting: Sequence[_Ticket]) -> Snapshot:
        if not waiting:
            return snapshot
        return snapshot.merge(self._store.read(fetch, timeout_s=_attempt_s(waiting)))


def _sessions(snapshot: Snapshot) -> Callable[[str], Session | None]:
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


def _deliver(waiting: list[_Ticket], decided: Plan) -> list[_Ticket]:
    """Hand out the outcomes of a plan that holds, and return who still waits."""
    for ticket, outcome in zip(waiting, decided.outcomes, strict=False):
        if isinstance(outcome, Refused) and ticket.work.unknown is not None:
            ticket.fail(
                ticket.work.unknown
            )  # the write may come yet: a refusal compares nothing
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


def _end(ticket: _Ticket, error: PoolmgrError) -> None:
    """Tell a caller that it ends here, with what earlier parts gave it, if they did."""
    given = partial(ticket.work.request, error) if error.definite else None
    if given is None:
        ticket.fail(error)
    else:
        ticket.settle(given)


def _note_unknown(
    waiting: list[_Ticket], decided: Plan, error: CommitUnknownError
) -> list[_Ticket]:
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


def _settle_recognised(
    waiting: list[_Ticket], snapshot: Snapshot, now_ns: int
) -> list[_Ticket]:
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


def _in_time(waiting: list[_Ticket]) -> list[_Ticket]:
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
            _end(ticket, call.unknown or call.last or ContentionError(_GAVE_UP))
        else:
            left.append(ticket)
    return left


def _left_s(waiting: Sequence[_Ticket]) -> float:
    return max(0.001, max(ticket.work.deadline for ticket in waiting) - time.monotonic())


def _attempt_s(waiting: Sequence[_Ticket]) -> float:
    return min(ATTEMPT_S, _left_s(waiting))
