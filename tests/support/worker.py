"""
A node in a process of its own: threads that assign and release addresses through the library.

Run as a script: worker.py ENDPOINT NODE LOG THREADS CALLS WINDOW PREFIX. Each thread makes CALLS
assignments (0 = until killed), holds up to WINDOW addresses, now and then releases all of them,
and does so in the end.
A line goes to LOG at once, whole, before and after each call, so a killed worker leaves the truth:

    ask HANDLE - TIME       drop HANDLE ADDRESS TIME
    got HANDLE ADDRESS TIME done HANDLE ADDRESS TIME

TIME is in nanoseconds of the clock that all processes share.
"""

import os
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from poolmgr.core.request import Attachment, AutoAssign, ReleaseByHandle
from poolmgr.errors import PoolExhaustedError, StoreError
from poolmgr.ipam import IPAM
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings

NETWORK = "pods"
Holding = tuple[Attachment, str]


@dataclass(frozen=True, slots=True)
class Worker:
    ipam: IPAM
    node: str
    log: int  # a file descriptor
    window: int
    prefix: str

    def work(self, thread: int, calls: int) -> None:
        dice, held = random.Random(f"{self.prefix}{thread}"), list[Holding]()
        call = 0
        while call < calls or not calls:
            attachment = Attachment(
                network=NETWORK, container=f"{self.prefix}-{thread}-{call}", interface="eth0"
            )
            try:
                address = self._assign(attachment)
            except PoolExhaustedError:
                if held:
                    self._release(held.pop(dice.randrange(len(held))))
                continue
            call += 1
            held.append((attachment, address))
            keep = self.window if dice.randrange(200) else 0
            while len(held) > keep:
                self._release(held.pop(dice.randrange(len(held))))
        for holding in held:
            self._release(holding)

    def _assign(self, attachment: Attachment) -> str:
        request = AutoAssign(
            host=self.node,
            handle=attachment.handle,
            count={4: 1},
            attachment=attachment,
            attributes={"node": self.node, "network": NETWORK, "interface": "eth0"},
        )
        self._note("ask", attachment, "-")
        while True:
            try:
                (allocation,) = self.ipam.auto_assign(request).allocations
            except StoreError:
                continue  # as a runtime does: an ADD may be repeated whatever became of it
            self._note("got", attachment, str(allocation.address))
            return str(allocation.address)

    def _release(self, holding: Holding) -> None:
        attachment, address = holding
        request = ReleaseByHandle(
            handles=(attachment.handle,), attachment=attachment, host=self.node
        )
        self._note("drop", attachment, address)
        while True:
            try:
                self.ipam.release_by_handle(request)
            except StoreError:
                continue
            self._note("done", attachment, address)
            return

    def _note(self, event: str, attachment: Attachment, address: str) -> None:
        line = f"{event} {attachment.handle} {address} {time.monotonic_ns()}\n"
        os.write(self.log, line.encode())


def main(
    endpoint: str, node: str, log: str, threads: str, calls: str, window: str, prefix: str
) -> None:
    store = EtcdStore(Settings(endpoints=(endpoint,)))
    descriptor = os.open(Path(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    worker = Worker(IPAM(store), node, descriptor, int(window), prefix)
    failures: list[BaseException] = []
    threading.excepthook = lambda failed: failures.append(failed.exc_value or KeyError())
    crew = [
        threading.Thread(target=worker.work, args=(n, int(calls)), daemon=True)
        for n in range(int(threads))
    ]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    store.close()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
