"""
Two nodes, each a process with 32 threads, on one small pool and a real etcd.

What happened is read from etcd's own history, revision by revision; what the clients were told,
from their logs.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poolmgr.core import records
from poolmgr.core.audit import invariants
from poolmgr.core.request import ReleaseByHandle
from poolmgr.core.txn import Range
from poolmgr.ipam import IPAM
from poolmgr.store.embedded import EmbeddedEtcd, EtcdBinary
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.port import Store, pages
from poolmgr.store.settings import Settings
from tests.support import worker
from tests.support.history import BLOCK, HANDLE, History
from tests.support.rawetcd import RawEtcd

ROOT = Path(__file__).resolve().parents[2]
NODES = ("alder", "birch")
THREADS = 32
POOL = """{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"pods"},
"spec":{"cidr":"10.64.0.0/%d","blockSize":26,"nodeSelector":"all()"}}"""
CONFIG = '{"auto_allocate_blocks":true,"maxBlocksPerHost":-1,"ipCooldownSeconds":%d}'
STORED = Range.prefix("/calico/")


class Cluster:
    """An etcd of its own, a pool, and the workers of its nodes."""

    def __init__(self, etcd: EmbeddedEtcd, logs: Path, size: int, cooldown_s: int) -> None:
        self.endpoint = etcd.endpoint
        self.store: Store = EtcdStore(Settings(endpoints=(etcd.endpoint,)))
        self._logs = logs
        raw = RawEtcd(etcd.endpoint)
        raw.put(records.CONFIG_KEY, CONFIG % cooldown_s)
        self.first = raw.put(records.resource_key("ippools", "pods"), POOL % size) + 1
        raw.close()

    def start(
        self, node: str, *, calls: int, window: int, prefix: str
    ) -> subprocess.Popen[str]:
        """Start a node's worker; see tests/support/worker.py."""
        numbers = (THREADS, calls, window)
        return subprocess.Popen(
            [
                sys.executable,
                worker.__file__,
                self.endpoint,
                node,
                self.log(node),
                *map(str, numbers),
                prefix,
            ],
            env={**os.environ, "PYTHONPATH": f"{ROOT}"},
            stderr=subprocess.PIPE,
            text=True,
        )

    def log(self, node: str) -> Path:
        return self._logs / node

    def calls(self) -> list[list[str]]:
        """Return what workers, and who cleaned up after them, noted: event, handle, address, time."""
        lines = [line for log in self._logs.iterdir() for line in log.read_text().splitlines()]
        return sorted((line.split() for line in lines), key=lambda words: int(words[3]))

    def audit(self) -> list[str]:
        """Return what is wrong with what is stored, at one revision."""
        return [str(finding) for finding in invariants(self.stored(STORED))]

    def stored(self, range_: Range) -> list[tuple[str, bytes]]:
        return [(key, kv.value) for page in pages(self.store, range_) for key, kv in page.items]

    def history(self) -> History:
        return History().replay(self.endpoint, self.first)


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest, etcd_binary: EtcdBinary, tmp_path: Path
) -> Iterator[Cluster]:
    """A fresh cluster; its parameters are the pool's prefix length, and the seconds for which
    released addresses rest."""
    with EmbeddedEtcd(etcd_binary) as etcd:
        made = Cluster(etcd, tmp_path, *request.param)
        yield made
        made.store.close()


def overlaps(calls: list[list[str]]) -> list[str]:
    """
    Say which addresses two clients held at the same time, by what they knew: from the return of an
    assignment to the call of its release.

    Args:
        calls: In order of time.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    addresses: dict[str, str] = {}
    found = []
    for event, handle, address, _ in calls:
        if event == "got":
            found += [f"{address}: {other} and {handle}" for other in holders[address]]
            holders[address].append(handle)
            addresses[handle] = address
        elif event == "drop" and handle in addresses:
            holders[addresses.pop(handle)].remove(handle)
    return found


def assert_history_agrees(cluster: Cluster, history: History) -> None:
    calls = cluster.calls()
    got = [(handle, [address]) for event, handle, address, _ in calls if event == "got"]
    asked = {handle for event, handle, _, _ in calls if event == "ask"}

    assert history.wrong == []
    assert overlaps(calls) == []
    # Everybody was told what is stored, and nobody was given a second address.
    assert [(handle, history.grants[handle]) for handle, _ in got] == got
    assert [handle for handle, given in history.grants.items() if len(given) > 1] == []
    assert history.grants.keys() <= asked


def assert_nothing_is_left(cluster: Cluster) -> None:
    blocks = cluster.stored(records.BLOCKS[4])

    assert cluster.audit() == []
    assert cluster.stored(records.HANDLES) == []
    assert [key for key, raw in blocks if b"handle_id" in raw] == []


def tell(text: str) -> None:
    print(text)


def run_both(cluster: Cluster, calls: int, window: int) -> None:
    running = [cluster.start(node, calls=calls, window=window, prefix=node) for node in NODES]
    try:
        for process in running:
            _, said = process.communicate(timeout=1000)

            assert (process.returncode, said) == (0, "")
    finally:
        for process in running:
            process.kill()
            process.wait()


def check_both(cluster: Cluster, calls: int, window: int) -> None:
    run_both(cluster, calls, window)
    history = cluster.history()
    held = len(history.grants)
    tell(
        f"{held} assignments of {len(history.given)} addresses, {history.busiest} at once, "
        f"{history.passed_on} passed on within a transaction"
    )

    assert held == len(NODES) * THREADS * calls
    assert_history_agrees(cluster, history)
    assert history.owner == {}
    assert_nothing_is_left(cluster)


def kill_at_random(cluster: Cluster, node: str, kills: int, seed: str) -> None:
    """Kill a node's worker again and again, each time in the midst of its calls, then start the next."""
    dice = random.Random(seed)
    for life in range(kills):
        before = _answers(cluster.log(node))
        process = cluster.start(node, calls=0, window=2, prefix=f"{node}{life}")
        try:
            deadline = time.monotonic() + 60
            while _answers(cluster.log(node)) == before:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "the next worker is never given an address"
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.3))
        finally:
            process.kill()
            process.communicate()

        assert cluster.audit() == []
        release_left(cluster, f"{worker.NETWORK}.{node}{life - 1}-")


def _answers(log: Path) -> int:
    return log.read_text().count("got ") if log.exists() else 0


def release_left(cluster: Cluster, prefix: str = "") -> None:
    """Release by handle what killed workers left behind, as whoever cleans up after a node does."""
    keys = cluster.stored(Range.prefix(records.HANDLES.start + prefix))
    handles = tuple(key.removeprefix(HANDLE) for key, _ in keys)
    with cluster.log(f"sweeper {prefix}").open("w") as log:
        log.writelines(f"drop {handle} - {time.monotonic_ns()}\n" for handle in handles)
    IPAM(cluster.store).release_by_handle(ReleaseByHandle(handles=handles), timeout_s=60)


@pytest.mark.parametrize(
    ("cluster", "kills"),
    [((24, 0), 25), pytest.param((24, 1), 100, marks=pytest.mark.slow)],
    indirect=["cluster"],
)
@pytest.mark.timeout(900)
def test_a_worker_killed_at_any_moment_leaves_nothing_that_harms_the_next(cluster, kills):
    """Each node is killed `kills` times, at its own moments; so small is the pool that they borrow."""
    seed = os.environ.get("POOLMGR_TEST_SEED") or f"{random.SystemRandom().randrange(10**6)}"
    tell(f"POOLMGR_TEST_SEED={seed}")
    with ThreadPoolExecutor() as pool:
        killers = [
            pool.submit(kill_at_random, cluster, node, kills, f"{seed}{node}") for node in NODES
        ]
        for killer in killers:
            killer.result()
    history = cluster.history()
    left = list(history.owner.values())
    release_left(cluster)
    told = {handle for event, handle, *_ in cluster.calls() if event == "got"}
    tell(
        f"{len(history.grants)} assignments, {history.passed_on} passed on within a transaction, "
        f"{len(left)} addresses left behind, {len(set(left) - told)} of which nobody was told"
    )

    assert_history_agrees(cluster, history)
    assert_nothing_is_left(cluster)


@pytest.mark.parametrize("cluster", [(20, 0)], indirect=True)
@pytest.mark.timeout(300)
def test_no_address_is_ever_held_twice_by_two_nodes_with_32_threads_each(cluster):
    check_both(cluster, calls=157, window=62)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cluster", [(20, 0), (20, 1)], indirect=True)
def test_no_address_is_ever_held_twice_in_a_pool_that_is_full(cluster):
    check_both(cluster, calls=400, window=80)


def block(*handles: str) -> bytes:
    """Write a block of four addresses; "" = free."""
    attributes = [{"handle_id": handle} for handle in handles]
    allocations = [index if handle else None for index, handle in enumerate(handles)]
    value = {"cidr": "10.64.0.0/30", "allocations": allocations, "attributes": attributes}
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("then", "wrong"),
    [
        ({BLOCK: block("a", "b"), HANDLE + "b": b"{}"}, []),
        ({BLOCK: block("", "b"), HANDLE + "a": None, HANDLE + "b": b"{}"}, []),
        ({BLOCK: block("b"), HANDLE + "a": None, HANDLE + "b": b"{}"}, []),
        (
            {BLOCK: block("b"), HANDLE + "b": b"{}"},
            ["2: 10.64.0.0 taken from a, which was not released"],
        ),
        ({BLOCK: None}, ["2: 10.64.0.0 taken from a, which was not released"]),
        ({BLOCK: block("a", "b")}, ["2: 10.64.0.1 given to b, which does not count it"]),
    ],
)
def test_the_replay_sees_what_must_not_happen(then, wrong):
    history = History()
    history.take(1, {BLOCK: block("a"), HANDLE + "a": b"{}"})

    history.take(2, then)

    assert history.wrong == wrong


def test_the_logs_show_two_clients_with_one_address():
    calls = [
        ["got", "a", "10.64.0.0", "10"],
        ["got", "b", "10.64.0.0", "20"],
        ["drop", "b", "10.64.0.0", "30"],
        ["got", "c", "10.64.0.0", "40"],
    ]

    assert overlaps(calls) == ["10.64.0.0: a and b", "10.64.0.0: a and c"]
