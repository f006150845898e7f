"""
What an ADD costs: as a process, and through the library.

Figures are ratios of one run on one machine; none is asserted. Rounds alternate between what is
compared, so that a busy moment hits all of it. The etcd is private and waits for the disk.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tabulate import tabulate

from poolctl.node.install import install
from poolmgr.core import records
from poolmgr.core.request import Attachment, AutoAssign, ReleaseByHandle
from poolmgr.core.txn import EPOCH_KEY, Committed, Conflict, Fetch, Reading, Txn
from poolmgr.ipam import IPAM
from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store
from poolmgr.store.settings import Settings

ROUNDS = 25
ALLOCATIONS = 512  # per number of threads; eight blocks
THREADS = (1, 8, 64)
HOST_LOCAL = [Path(d, "host-local") for d in ("/opt/cni/bin", "/usr/lib/cni")]
SHIM_SOCKET = '"/run/poolmgr/agent.sock"'

POOL = {
    "kind": "IPPool",
    "apiVersion": "projectcalico.org/v3",
    "metadata": {"name": "bench"},
    "spec": {"cidr": "10.0.0.0/16", "nodeSelector": "all()"},
}
# Everything that an ADD imports, but for what the interpreter itself does.
IMPORTS = (
    "import poolmgr.cni.direct, poolmgr.cni.netconf, poolmgr.cni.host, poolmgr.store.source, "
    "poolmgr.cni.verbs, poolmgr.ipam, poolmgr.store.etcd"
)
BARE = (
    "from poolmgr.store.etcd import EtcdStore; from poolmgr.store.settings import Settings; "
    "from poolmgr.core.txn import Txn; import os; "
    "EtcdStore(Settings(endpoints=({endpoint!r},))).commit("
    "Txn(expect={{}}, epoch={epoch!r}, puts={{'/bench/bare': b'x' * 4096}})); os._exit(0)"
)

Measured = dict[str, list[float]]
"""What was measured -> milliseconds, one per round."""


def say(text: str = "") -> None:
    print(text, flush=True)


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def alternate(calls: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> Measured:
    """Time each call once per round, after one round that does not count."""
    times: Measured = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            took = milliseconds(call)
            if number:
                times[name].append(took)
    return times


def show(title: str, times: Measured, base: str) -> None:
    unit = statistics.median(times[base])
    rows = []
    for name, taken in times.items():
        middle, high = statistics.median(taken), statistics.quantiles(taken, n=10)[-1]
        rows.append((name, f"{middle:.2f}", f"{high:.2f}", f"{middle / unit:.2f}"))
    say(f"\n{title}")
    say(tabulate(rows, headers=("", "median ms", "p90 ms", "ratio"), disable_numparse=True))


# Processes


class Plugin:
    """A CNI plugin, called as a runtime does; each ADD is for a new container."""

    def __init__(self, program: Path, conf: Mapping[str, object]) -> None:
        self._program = program
        self._conf = json.dumps(conf).encode()
        self._added = self._deleted = 0

    def add(self) -> None:
        self._added += 1
        self._call("ADD", self._added)

    def delete(self) -> None:
        """Delete the containers in the order in which they were added."""
        self._deleted += 1
        self._call("DEL", self._deleted)

    def version(self) -> None:
        self._call("VERSION", 0)

    def _call(self, command: str, container: int) -> None:
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"{self._program.name}-{container}",
            "CNI_NETNS": "/run/netns/bench",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
        }
        done = subprocess.run(
            [self._program], env=env, input=self._conf, capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self._program} {command}: {done.stdout + done.stderr!r}")


def python(interpreter: Sequence[str], code: str) -> Callable[[], object]:
    command = [*interpreter, "-c", code]
    return lambda: subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def answer_at_once(path: Path) -> None:
    """Listen on a Unix socket as an agent would, and answer every frame with a result."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    address = {"address": "10.0.0.1/16", "gateway": "10.0.0.0"}
    reply = b"\0" + json.dumps({"cniVersion": "1.0.0", "ips": [address]}).encode()

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                while connection.recv(65536):
                    pass
                connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()


def measure_processes(directory: Path, endpoint: str, store: EtcdStore) -> None:
    installed = install(directory)
    direct, shim = (next(p for p in installed if (p.suffix == s)) for s in (".direct", ""))
    relaying = directory / "relaying"
    agent = directory / "agent.sock"
    answer_at_once(agent)
    relaying.write_text(shim.read_text().replace(SHIM_SOCKET, json.dumps(str(agent))))
    shutil.copymode(shim, relaying)
    bare_shim_python = shim.read_text().partition("\n")[0].removeprefix("#!").split()
    ours = [sys.executable, "-I"]

    conf = {
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": "ptp",
        "etcd_endpoints": endpoint,
        "nodename": "processes",
        "ipam": {"type": "poolmgr-ipam"},
    }
    relayed, agentless = Plugin(relaying, conf), Plugin(direct, conf)
    nothing = f"{Path(bare_shim_python[0]).name} -IS -c pass"
    times = alternate(
        {
            nothing: python(bare_shim_python, "pass"),
            "shim, VERSION": relayed.version,
            "shim, ADD, an agent answers at once": relayed.add,
        }
    )
    show("The shim, whole process", times, nothing)

    commit = {"/bench/bare": b"x" * 4096}  # about a block with 16 addresses in use
    epoch = stored_epoch(store)
    bare_process = BARE.format(endpoint=endpoint, epoch=epoch)
    calls: dict[str, Callable[[], object]] = {
        "one etcd transaction": lambda: store.commit(Txn(expect={}, epoch=epoch, puts=commit)),
        "python -I -c pass": python(ours, "pass"),
        "python, all imports of an ADD": python(ours, IMPORTS),
        "python, client, one transaction": python(ours, bare_process),
        "agentless ADD": agentless.add,
        "agentless DEL": agentless.delete,
    }
    found = next((path for path in HOST_LOCAL if path.exists()), None)
    if found is not None:
        subnet = {
            "type": "host-local",
            "subnet": "10.9.0.0/16",
            "dataDir": f"{directory}/local",
        }
        local = Plugin(found, {**conf, "ipam": subnet})
        calls |= {"host-local ADD": local.add, "host-local DEL": local.delete}
    times = alternate(calls)
    show("Without an agent, whole process", times, "one etcd transaction")
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    imports = middle["python, all imports of an ADD"] - middle["python -I -c pass"]
    say(f"imports are {imports / middle['agentless ADD']:.0%} of an agentless ADD")
    if found is None:
        say("host-local is not installed here: ./dev prepare")


# The library


class Watching:
    """A store that keeps the transactions that were committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.committed: list[Txn] = []

    def read(
        self, fetch: Fetch, *, timeout_s: float = ATTEMPT_TIMEOUT_S, revision: int | None = None
    ) -> Reading:
        return self._store.read(fetch, timeout_s=timeout_s, revision=revision)

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        result = self._store.commit(txn, timeout_s=timeout_s)
        if isinstance(result, Committed):
            self.committed.append(txn)
        return result

    def close(self) -> None:
        self._store.close()


def allocate(store: Watching, threads: int) -> list[float]:
    """Assign for one node, then release everything; return what each assignment took."""
    ipam, node = IPAM(store), f"library-{threads}"
    attachments = [
        Attachment(network="bench", container=f"{threads}-{number}", interface="eth0")
        for number in range(ALLOCATIONS)
    ]

    def assign(attachment: Attachment) -> float:
        request = AutoAssign(
            host=node,
            handle=attachment.handle,
            count={4: 1},
            attachment=attachment,
            attributes={"node": node, "network": "bench", "interface": "eth0"},
        )
        return milliseconds(lambda: ipam.auto_assign(request))

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        taken = list(pool.map(assign, attachments))
        seconds = time.perf_counter() - began
    assigned = list(store.committed)
    ipam.release_by_handle(
        ReleaseByHandle(handles=tuple(a.handle for a in attachments)), timeout_s=60
    )
    store.committed = assigned
    return [seconds, *taken]


def repeat_bare(store: EtcdStore, committed: Iterable[Txn]) -> float:
    """Send transactions of the same size again, one after another; return how many a second."""
    epoch = stored_epoch(store)
    bare = []
    for txn in committed:
        absent = {f"/bench/absent/{key}": 0 for key in txn.expect}
        puts = {f"/bench{key}": value for key, value in txn.puts.items() if key != EPOCH_KEY}
        bare.append(
            replace(
                txn, expect=absent, puts=puts, epoch=epoch, deletes=frozenset(), unchanged={}
            )
        )
    took = milliseconds(lambda: [store.commit(txn) for txn in bare])
    return len(bare) / took * 1000


def stored_epoch(store: Store) -> bytes | None:
    stored = store.read(Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    return None if stored is None else stored.value


def served(txn: Txn) -> int:
    return sum(key.startswith(records.HANDLES.start) for key in txn.puts)


def measure_library(store: EtcdStore) -> None:
    rows, sizes = [], {}
    bare = 0.0
    for threads in THREADS:
        watching = Watching(store)
        seconds, *taken = allocate(watching, threads)
        if threads == 1:
            bare = repeat_bare(store, watching.committed)
            rows.append(("bare, serial", f"{bare:.0f}", "1.00", "", "", "", ""))
        rate, cuts = ALLOCATIONS / seconds, statistics.quantiles(taken, n=100)
        sizes[threads] = Counter(served(txn) for txn in watching.committed)
        rows.append(
            (
                f"{threads} threads" if threads > 1 else "1 thread",
                f"{rate:.0f}",
                f"{rate / bare:.2f}",
                len(watching.committed),
                f"{ALLOCATIONS / len(watching.committed):.1f}",
                f"{cuts[49]:.1f}",
                f"{cuts[98]:.1f}",
            )
        )
    headers = ("", "per second", "ratio", "transactions", "mean batch", "median ms", "p99 ms")
    say(f"\nThe library, {ALLOCATIONS} allocations of one node")
    say(tabulate(rows, headers=headers, disable_numparse=True))
    for threads in THREADS[1:]:
        say(f"\nAllocations per transaction, {threads} threads")
        show_histogram(sizes[threads])


def show_histogram(sizes: Counter[int]) -> None:
    """Show how many transactions served so many allocations, in steps of powers of two."""
    steps: Counter[int] = Counter()
    for size, count in sizes.items():
        steps[size.bit_length()] += count
    widest = max(steps.values())
    for step in range(min(steps), max(steps) + 1):
        low, high = 1 << step >> 1, (1 << step) - 1
        label = f"{low}" if low == high else f"{low}-{high}"
        say(f"{label:>7} {steps[step]:5} {'#' * round(steps[step] / widest * 50)}")


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="poolmgr-bench-") as directory,
        EmbeddedEtcd(fsync=True) as etcd,
    ):
        say(f"etcd {etcd.version}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
        store = EtcdStore(Settings(endpoints=(etcd.endpoint,)))
        key = records.resource_key("ippools", "bench")
        store.commit(Txn(expect={key: 0}, puts={key: json.dumps(POOL).encode()}))
        measure_library(store)
        measure_processes(Path(directory), etcd.endpoint, store)
        store.close()


if __name__ == "__main__":
    main()
