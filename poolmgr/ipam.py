"""
IPAM: the library's face, one method per verb, over the loop that does all retrying.

Theory: read what the planner asks for, plan, commit; on a conflict, or when nobody knows
whether a commit happened, learn what is true now and plan again; knowledge that was out of date
takes the same way. It ends because plans are idempotent (requests with an attachment) or
recognise their own write, and because every caller has a deadline.

Rules:

1. Nothing is undone because its outcome is unknown: the loop looks and plans again.
2. Once a caller's outcome is unknown, nothing turns it into a clean failure: it ends with an
   answer or with `CommitUnknownError`.
3. The caller's deadline ends the attempts, however many; between them the loop backs off, 5 to
   200 ms.
4. Before each commit the callers must be alive and in time; others are dropped before planning,
   not after.
5. Facts are kept for one batch only. (A cache would have to check its answers.)
"""

import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from poolmgr.batch import Batcher
from poolmgr.calls import (
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
from poolmgr.core.config import IPAMConfig
from poolmgr.core.outcome import (
    AffinitiesClaimed,
    AffinitiesReleased,
    Assigned,
    BlocksEnsured,
    Collected,
    Config,
    Held,
    Outcome,
    Owner,
    Refused,
    Released,
)
from poolmgr.core.plan import plan
from poolmgr.core.request import (
    AssignIP,
    AutoAssign,
    ChangeConfig,
    ClaimAffinities,
    CollectCold,
    CollectGarbage,
    EnsureBlock,
    GetConfig,
    HeldBy,
    OwnerOf,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
    Request,
    SetConfig,
    SetOwner,
)
from poolmgr.core.session import admit
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Conflict, Fetch
from poolmgr.errors import (
    CommitUnknownError,
    ContentionError,
    StoreError,
    StoreUnavailableError,
)
from poolmgr.store.port import Store

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.2

_NO_TURN = "others were being served until the deadline; nothing was written"

T = TypeVar("T")


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
        self._batcher: Batcher[Call, Outcome] = Batcher(self._run)

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

    def ensure_block(self, request: EnsureBlock, *, timeout_s: float = 10.0) -> BlocksEnsured:
        """Make sure that a host has a block; claims one if need be, and assigns nothing."""
        return self._ask(request, BlocksEnsured, timeout_s)

    def claim_affinities(
        self, request: ClaimAffinities, *, timeout_s: float = 30.0
    ) -> AffinitiesClaimed:
        """Claim every block inside a CIDR for a host, and say which are somebody else's."""
        return self._ask(request, AffinitiesClaimed, timeout_s)

    def release_affinities(
        self, request: ReleaseAffinities, *, timeout_s: float = 30.0
    ) -> AffinitiesReleased:
        """Take blocks from their hosts, and say which had to be left alone."""
        return self._ask(request, AffinitiesReleased, timeout_s)

    def collect_garbage(self, request: CollectGarbage, *, timeout_s: float = 30.0) -> Released:
        """Release what attachments of a node hold that do not exist any more."""
        return self._ask(request, Released, timeout_s)

    def collect_cold(self, request: CollectCold, *, timeout_s: float = 10.0) -> Collected:
        """Free the addresses of a block whose cooldown is over."""
        return self._ask(request, Collected, timeout_s)

    def held_by(self, request: HeldBy, *, timeout_s: float = 10.0) -> Held:
        """Tell what a handle holds, at one revision."""
        return self._ask(request, Held, timeout_s)

    def owner_of(self, request: OwnerOf, *, timeout_s: float = 10.0) -> Owner:
        """Tell who holds an address; refused when nobody does."""
        return self._ask(request, Owner, timeout_s)

    def set_owner(self, request: SetOwner, *, timeout_s: float = 10.0) -> Owner:
        """Rewrite who an address is stored for, under the handle that holds it."""
        return self._ask(request, Owner, timeout_s)

    def config(self, *, timeout_s: float = 10.0) -> IPAMConfig:
        """Return the IPAM configuration, defaults applied."""
        return self._ask(GetConfig(), Config, timeout_s).config

    def set_config(self, request: SetConfig, *, timeout_s: float = 10.0) -> IPAMConfig:
        """Replace the IPAM configuration."""
        return self._ask(request, Config, timeout_s).config

    def change_config(self, request: ChangeConfig, *, timeout_s: float = 10.0) -> IPAMConfig:
        """
        Change fields of the IPAM configuration; the others stay what they are by then.

        Raises:
            InvalidRequestError: What it would be then breaks a rule.
        """
        return self._ask(request, Config, timeout_s).config

    def _ask(
        self,
        request: Request,
        kind: type[T],
        timeout_s: float,
        alive: Callable[[], bool] | None = None,
    ) -> T:
        call = Call(request=request, deadline=time.monotonic() + timeout_s, alive=alive)
        try:
            outcome = self._batcher.submit(call, timeout_s=timeout_s)
        except TimeoutError:
            raise ContentionError(_NO_TURN) from None
        if isinstance(outcome, Refused):
            raise outcome.error
        assert isinstance(outcome, kind)
        return outcome

    def _run(self, tickets: Sequence[CallTicket]) -> None:
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

    def _loop(self, waiting: list[CallTicket]) -> None:
        """Read, plan, commit: the only retry loop of the system."""
        snapshot, pause_s = Snapshot(), 0.0
        while waiting := in_time(waiting):
            try:
                snapshot, waiting, again = self._step(snapshot, waiting)
            except StoreUnavailableError as error:
                again = True
                for ticket in waiting:
                    ticket.work.last = error
            except StoreError as error:
                for ticket in waiting:
                    end(ticket, ticket.work.unknown or error)
                return
            pause_s = min(max(pause_s * 2, SHORTEST_PAUSE_S), LONGEST_PAUSE_S) if again else 0.0
            if waiting and pause_s:
                jittered_s = random.uniform(0, pause_s)  # noqa: S311 - spreads rivals apart
                time.sleep(min(jittered_s, left_s(waiting)))

    def _step(
        self, snapshot: Snapshot, waiting: list[CallTicket]
    ) -> tuple[Snapshot, list[CallTicket], bool]:
        """
        Read, or plan and commit.

        Returns:
            What is known now, who still waits, and whether nothing was gained, so that a pause
            is due.
        """
        now_ns = self._clock()
        waiting = settle_recognised(waiting, snapshot, now_ns)
        if not waiting:
            return snapshot, waiting, False
        requests = admit([ticket.work.request for ticket in waiting], sessions(snapshot))
        decided = plan(requests, snapshot, now_ns, self._epoch_seed)
        for ticket, request in zip(waiting, requests, strict=True):
            ticket.work.request = request
        if isinstance(decided, Fetch):
            return self._read(snapshot, decided, waiting), waiting, False
        if decided.txn is None:
            return snapshot, deliver(waiting, decided), False
        try:
            result = self._store.commit(decided.txn, timeout_s=attempt_s(waiting))
        except CommitUnknownError as error:
            waiting = note_unknown(waiting, decided, error)
            return self._read(snapshot, Fetch.of(decided.txn), waiting), waiting, True
        if isinstance(result, Conflict):
            return snapshot.merge(result.current), waiting, True
        return snapshot.apply(decided.txn, result.revision), deliver(waiting, decided), False

    def _read(
        self, snapshot: Snapshot, fetch: Fetch, waiting: Sequence[CallTicket]
    ) -> Snapshot:
        if not waiting:
            return snapshot
        reading = self._store.read(fetch, timeout_s=attempt_s(waiting))
        return snapshot.merge(reading).forget(fetch.full)
