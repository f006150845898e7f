"""
Calls that end at a deadline, whatever the server does.

Each runs in a thread of its own, whose sockets are shut down then. The HTTP client's own
timeouts are for each read, so a server that sends a byte now and then would never meet them.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


class Calls:
    """
    The calls of one client.

    Attributes:
        timeout_s: For each of them.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._sockets: list[socket.socket] = []

    def note(self, opened: socket.socket) -> None:
        """Note a socket that a call has opened."""
        self._sockets[:] = [each for each in self._sockets if each.fileno() >= 0]
        self._sockets.append(opened)

    def answer(self, ask: Callable[[], _T]) -> _T:
        """
        Return what `ask` returns, or raise what it raises.

        Raises:
            TimeoutError: It took too long; what it waits for is cut off.
        """
        answer: Future[_T] = Future()

        def run() -> None:
            try:
                answer.set_result(ask())
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
                answer.set_exception(error)

        threading.Thread(target=run, name="kubernetes", daemon=True).start()
        try:
            return answer.result(self.timeout_s)
        except TimeoutError:
            self._cut_off()
            raise

    def _cut_off(self) -> None:
        """Wake the thread that still waits for the server, so that it ends."""
        while self._sockets:
            with contextlib.suppress(OSError):  # It was closed just now.
                self._sockets.pop().shutdown(socket.SHUT_RDWR)
