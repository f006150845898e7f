"""Calls that stop before and after each operation of their store, until they are told to go on."""

import threading
from collections.abc import Callable

from poolmgr.errors import StoreUnavailableError
from poolmgr.store.port import Store
from tests.support.failing import FAULTS, FailingStore


class _Died(BaseException):
    """The end of an engine, wherever it is."""


class Stepped:
    """
    A call in a thread of its own, which runs only while `step` waits for it.

    Attributes:
        has_read: Whether its engine knows anything.
        done: Whether it is over.
    """

    def __init__(self, store: Store, work: Callable[[Store], None]) -> None:
        self.has_read = self.done = False
        self._store, self._work = store, work
        self._fault: str | None = None
        self._dead = False
        self._error: BaseException | None = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self, fault: str | None = None) -> None:
        """
        Go on to the next stop, through one operation at most.

        Args:
            fault: What goes wrong with it: one of FAULTS, or "cut_off".
        """
        if self.done:
            return
        self._fault = fault
        self._go.release()
        self._stopped.acquire()
        self._look()

    def _look(self) -> None:
        if self.done:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def kill(self) -> None:
        """End the engine where it is."""
        self._dead = True
        while not self.done:
            self.step()

    # What the engine sees

    def read(self, fetch, *, timeout_s=2.0, revision=None):
        self._stop()
        found = self._store.read(fetch, timeout_s=timeout_s, revision=revision)
        self.has_read = True
        return found

    def commit(self, txn, *, timeout_s=2.0):
        self._stop()
        if self._fault in FAULTS and isinstance(self._store, FailingStore):
            self._store.fail_next(self._fault)
        try:
            return self._store.commit(txn, timeout_s=timeout_s)
        finally:
            self._pause()  # the answer is on its way

    def close(self):
        """Nothing is connected."""

    def _stop(self) -> None:
        self._pause()
        if self._fault == "cut_off":
            raise StoreUnavailableError("out of reach for a moment")

    def _pause(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._dead:
            raise _Died

    def _run(self) -> None:
        try:
            self._work(self)
        except _Died:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where somebody looks
            self._error = error
        self.done = True
        self._stopped.release()
