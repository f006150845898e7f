"""Half of the nodes run calico-ipam, which writes key by key and stops anywhere; ours do the rest."""

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from poolmgr.core.flaws import Flaw
from poolmgr.core.request import Attachment, AutoAssign, ReleaseByHandle
from poolmgr.ipam import IPAM
from poolmgr.store.etcd import EtcdStore
from tests.support.calico_writer import Calico, StoppedError
from tests.support.cluster import Cluster
from tests.support.world import stored_resource

POOL, LATE_POOL, SIZE = "10.9.0.0/25", "10.9.1.0/26", 29
THEIRS = ("calico-a", "calico-b", "calico-lost")
OURS = ("ours-a", "ours-b", "calico-b")
"""On calico-b both programs are at work."""

THREADS = 2
"""Per host and program."""

ROUNDS, CONTAINERS = 60, 5
HALF_DONE = {Flaw.AFFINITY_WITHOUT_BLOCK, Flaw.AFFINITY_UNFINISHED}
COUNTED = {Flaw.HANDLE_TOO_HIGH, Flaw.HANDLE_WITHOUT_ADDRESS}
"""What Calico leaves."""

HOUR_NS = 3600 * 1_000_000_000


class Mixed:
    """
    The nodes, and what their containers were told.

    Attributes:
        sure: Handle -> address; None = it has none for certain.
        unknown: Calico's handles that may hold anything, since their plugin was stopped.
    """

    def __init__(self, endpoint: str, store: EtcdStore, seed: int) -> None:
        self.endpoint, self.store, self.seed = endpoint, store, seed
        self.sure: dict[str, str | None] = {}
        self.unknown: set[str] = set()
        self.stops = 0
        self.lock = threading.Lock()

    def engine(self) -> IPAM:
        """Make an engine whose blocks are old enough to be reclaimed by anybody."""
        return IPAM(self.store, clock=lambda: time.time_ns() - HOUR_NS)

    def run(self) -> None:
        engines = [(host, self.engine()) for host in OURS]
        with ThreadPoolExecutor() as threads:
            work = [
                *(
                    threads.submit(self._ours, host, engine, n)
                    for host, engine in engines
                    for n in range(THREADS)
                ),
                *(
                    threads.submit(self._theirs, host, n)
                    for host in THEIRS
                    for n in range(THREADS)
                ),
            ]
            for each in work:
                each.result()

    def stop_half_way(self, pool: str) -> None:
        """Let every node of Calico's leave each state that its writes go through."""
        for host in THEIRS:
            theirs = [
                h
                for h, a in self.sure.items()
                if a and h.startswith(f"net.{host}-") and "ours" not in h
            ]
            self.unknown.update(theirs[:1])
            for handle in theirs[:1]:
                self._stop_after(1, host, POOL, partial(Calico.assign, handle=handle))
            self._stop_after(1, host, pool, Calico.claim)
            self._stop_after(2, host, pool, Calico.claim)
            self._stop_after(1, host, pool, Calico.give_up_blocks)

    def _stop_after(
        self, writes: int, host: str, pool: str, work: Callable[[Calico], object]
    ) -> None:
        done = itertools.count()

        def before_write() -> None:
            if next(done) == writes:
                raise StoppedError

        calico = Calico(self.endpoint, host, pool, SIZE, before_write)
        with suppress(StoppedError):  # unless all is done already
            work(calico)
        calico.close()

    def _ours(self, host: str, engine: IPAM, thread: int) -> None:
        chance = random.Random(f"{self.seed} ours {host} {thread}")
        for _ in range(ROUNDS):
            container = f"{host}-ours-{thread}-{chance.randrange(CONTAINERS)}"
            at = attachment(container)
            if chance.random() < 0.6:
                given = engine.auto_assign(add(at, host)).allocations[0].address
                assert self.sure.get(at.handle) in (None, str(given))
                self.sure[at.handle] = str(given)
            else:
                self.sure[at.handle] = None
                engine.release_by_handle(delete(at, host))

    def _theirs(self, host: str, thread: int) -> None:
        chance = random.Random(f"{self.seed} theirs {host} {thread}")

        def before_write() -> None:
            if chance.random() < 0.05:
                raise StoppedError
            time.sleep(chance.choice((0, 0, 0, 0.001, 0.02)))

        calico = Calico(self.endpoint, host, POOL, SIZE, before_write)
        for n in range(ROUNDS):
            slot = f"net.{host}-{thread}-{chance.randrange(CONTAINERS)}"
            handle = next(
                (h for h, a in self.sure.copy().items() if a and h.startswith(f"{slot}-")),
                f"{slot}-{n}",
            )
            try:
                if chance.random() < 0.05:
                    calico.give_up_blocks()
                elif self.sure.get(handle) is None:
                    self.unknown.add(handle)
                    self.sure[handle] = calico.assign(handle)
                    self.unknown.discard(handle)
                else:
                    self.sure[handle] = None
                    self.unknown.add(handle)
                    calico.release(handle)
                    self.unknown.discard(handle)
            except StoppedError:
                with self.lock:
                    self.stops += 1
        calico.close()


def attachment(container: str) -> Attachment:
    return Attachment(network="net", container=container, interface="eth0")


def add(at: Attachment, host: str) -> AutoAssign:
    named = {"node": host, "network": at.network, "interface": at.interface}
    return AutoAssign(
        host=host, handle=at.handle, count={4: 1}, attributes=named, attachment=at
    )


def delete(at: Attachment, host: str) -> ReleaseByHandle:
    return ReleaseByHandle(handles=(at.handle, at.container), attachment=at, host=host)


@pytest.fixture
def cluster(raw) -> Cluster:
    cluster = Cluster(raw)
    cluster.pool("p4", POOL, SIZE)
    for host in {*THEIRS, *OURS}:
        raw.put(*stored_resource("nodes", "Node", host, {}))
    return cluster


def check_promises(mixed: Mixed, cluster: Cluster) -> None:
    """Everybody has what he was told; who was not interrupted has nothing else."""
    stored = cluster.assigned()

    promised = {handle: address for handle, address in mixed.sure.items() if address}
    assert len(promised) == len(set(promised.values()))
    lost = {handle for handle, address in promised.items() if stored.get(address) != handle}
    assert set() == lost
    assert [] == [
        (handle, address)
        for address, handle in stored.items()
        if handle not in mixed.unknown and mixed.sure.get(handle or "") != address
    ]


def repair(mixed: Mixed, host: str) -> None:
    """The host works again, with our program: it needs all that it can get."""
    engine, handle = mixed.engine(), f"all-of-{host}"
    engine.auto_assign(AutoAssign(host=host, handle=handle, count={4: 256}))
    engine.release_by_handle(ReleaseByHandle(handles=(handle,)))


def half_done(cluster: Cluster, host: str) -> list[str]:
    found = (f for f in cluster.findings() if f.flaw in HALF_DONE)
    return [finding.key for finding in found if f"/{host}/" in finding.key]


def over_counted(cluster: Cluster) -> set[str]:
    return {f.key.rpartition("/")[2] for f in cluster.findings() if f.flaw in COUNTED}


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 20))]
)
def test_nodes_of_both_kinds_share_an_etcd_and_repair_what_was_left_half_done(
    store, cluster, etcd_endpoint, seed
):
    mixed = Mixed(etcd_endpoint, store, seed)
    mixed.run()

    assert mixed.stops > 0
    check_promises(mixed, cluster)
    found = cluster.findings()
    assert {f.flaw for f in found} <= HALF_DONE | COUNTED, found
    assert [] == [f for f in found if f.flaw in COUNTED and "ours" in f.key]

    cluster.pool("late", LATE_POOL, SIZE)
    mixed.stop_half_way(LATE_POOL)
    assert set(THEIRS) == {host for host in THEIRS if half_done(cluster, host)}

    for host in (*THEIRS[:2], *OURS):
        repair(mixed, host)
    check_promises(mixed, cluster)
    assert [] == [key for host in (*THEIRS[:2], *OURS) for key in half_done(cluster, host)]
    assert {f.flaw for f in cluster.findings()} <= HALF_DONE | COUNTED
    counted = over_counted(cluster)

    engine = mixed.engine()
    for handle in cluster.handles():
        at = attachment(handle.removeprefix("net."))
        engine.release_by_handle(delete(at, OURS[0]))
    assert {} == cluster.assigned()
    assert counted == over_counted(cluster) == cluster.handles()
    assert counted <= mixed.unknown
