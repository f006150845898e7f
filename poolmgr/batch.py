"""
Group commit.

The first caller leads, and serves with itself everybody who waits.

Theory: a commit costs a round trip and a disk sync, whatever it carries. So only one commit is
in flight; while it is, callers queue. The leader hands its callers their answers and then
passes the lead to one of those who came meanwhile, who takes the whole queue. There is no
timer: a lone caller is served at once, and those who come during a commit are the next batch.

Rules:

1. A caller returns as soon as its own answer is there, the leader when its batch is done; or
   its deadline has passed while it was still queued.
2. The leader serves others only in the batch that holds its own request.
3. An unexpected error of the worker reaches every caller of the batch; none waits for ever.

Invariant: at most one worker runs; a queue that is not empty has a leader or a caller that is
about to become it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
A = TypeVar("A")


@dataclass(eq=False)
class Ticket(Generic[T, A]):
    """
    One caller's work; `settle` or `fail` answers it, once.

    Attributes:
        woken: Set when it is answered, or its caller is to lead.
    """

    work: T
    answer: A | None = None
    error: BaseException | None = None
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def settled(self) -> bool:
        """Whether it was answered."""
        return self.answer is not None or self.error is not None

    def settle(self, answer: A) -> None:
        """Answer the caller."""
        self.answer = answer
        self.woken.set()

    def fail(self, error: BaseException) -> None:
        """Raise `error` at the caller."""
        self.error = error
        self.woken.set()


class Batcher(Generic[T, A]):
    """
    Leader and followers over one worker.

    Args:
        run: Works on tickets until each is settled or failed.
        largest: Tickets per batch at most.
    """

    def __init__(
        self, run: Callable[[Sequence[Ticket[T, A]]], None], *, largest: int = 64
    ) -> None:
        self._run = run
        self._largest = largest
        self._lock = threading.Lock()
        self._queue: list[Ticket[T, A]] = []
        self._led = False

    def submit(self, work: T, *, timeout_s: float) -> A:
        """
        Have `work` done, alone or with others, and return its answer or raise its error.

        Args:
            timeout_s: How long to wait for a turn; once work has begun, its worker keeps time.

        Raises:
            TimeoutError: The turn did not come, and will not: nothing was begun.
        """
        ticket: Ticket[T, A] = Ticket(work)
        with self._lock:
            self._queue.append(ticket)
            lead = not self._led
            self._led = True
        if not lead:
            self._await_turn(ticket, timeout_s)
        if not ticket.settled:  # woken to lead
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.answer is not None
        return ticket.answer

    def _await_turn(self, ticket: Ticket[T, A], timeout_s: float) -> None:
        try:
            if not ticket.woken.wait(timeout_s):
                self._withdraw(ticket)
                ticket.woken.wait()
        except KeyboardInterrupt:
            self._abandon(ticket)
            raise

    def _withdraw(self, ticket: Ticket[T, A]) -> None:
        """Leave the queue, unless a leader has taken the ticket or it is to lead itself."""
        with self._lock:
            if ticket in self._queue and not ticket.woken.is_set():
                self._queue.remove(ticket)
                raise TimeoutError

    def _abandon(self, ticket: Ticket[T, A]) -> None:
        """Leave the queue even with the lead in hand; a leader who has the ticket keeps it."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
                if ticket.woken.is_set():
                    self._pass_lead()

    def _pass_lead(self) -> None:
        self._led = bool(self._queue)
        if self._led:
            self._queue[0].woken.set()

    def _lead(self) -> None:
        with self._lock:
            batch = self._queue[: self._largest]
            self._queue = self._queue[self._largest :]
        try:
            self._run(batch)
        except BaseException as error:
            for ticket in batch:
                if not ticket.settled:
                    ticket.fail(error)
            if not isinstance(error, Exception):  # Ctrl-C is the leader's, whatever its answer
                raise
        finally:
            with self._lock:
                self._pass_lead()
