"""
What a big cluster costs: `python tests/bench/bench_scale.py [--quick] [NAME ...]`.

Figures are ratios of one run on one machine; none is asserted. What is measured runs in a process
of its own, so that the peak of memory is its own, too. The etcd is private and does not wait for
the disk; at full scale it writes 3 GB.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from itertools import islice

import grpc
from tabulate import tabulate

from poolmgr.core import records
from poolmgr.core.txn import Txn
from poolmgr.drawing import map_of
from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.etcd3_compat import etcdrpc
from poolmgr.store.port import pages
from poolmgr.store.settings import Settings
from poolmgr.survey import Audit, utilization
from tests.bench import bench_add, claims
from tests.support.filler import fill, side_by_side

POOL = IPv4Network("10.128.0.0/10")
FULL_BLOCKS, QUICK_BLOCKS = 16_384, 1_024
ROUNDS = 5
TIMEOUT_S = 1200.0
PUTS_PER_REQUEST = 120

Result = dict[str, float | str]
"""Column -> figure: "seconds", "MB" and whatever a task counts."""


def say(text: str = "") -> None:
    print(text, flush=True)


# What is measured, each in a process of its own


def read_raw(store: EtcdStore, *prefixes: str) -> str:
    """Read in pages, and look at nothing."""
    ranges = {"blocks": list(records.BLOCKS.values()), "handles": [records.HANDLES]}
    count = size = 0
    for range_ in [each for prefix in prefixes for each in ranges[prefix]]:
        for page in pages(store, range_, timeout_s=5):
            count += len(page.items)
            size += sum(len(found.value) for _, found in page.items)
    return f"{count:,} values, {size / 1e6:.0f} MB"


def count_usage(store: EtcdStore, *, keep_blocks: bool) -> str:
    used = utilization(store, keep_blocks=keep_blocks, timeout_s=TIMEOUT_S)
    return f"{sum(pool.usage.in_use for pool in used.counts.pools):,} in use"


def audit(store: EtcdStore) -> str:
    check = Audit(store, now_ns=time.time_ns(), timeout_s=TIMEOUT_S)
    findings = Counter(finding.flaw.name for finding in check)
    return ", ".join(f"{count:,} {name}" for name, count in findings.items()) or "sound"


TASKS: dict[str, Callable[[EtcdStore], str]] = {
    "raw read of blocks": lambda store: read_raw(store, "blocks"),
    "raw read of blocks and handles": lambda store: read_raw(store, "blocks", "handles"),
    "utilization": lambda store: count_usage(store, keep_blocks=False),
    "utilization, block by block": lambda store: count_usage(store, keep_blocks=True),
    "map": lambda store: f"{len(map_of(store, timeout_s=TIMEOUT_S).atlas.tenants):,} nodes",
    "audit": audit,
}


def run_task(name: str, endpoint: str) -> None:
    """Do what a child is asked to, and print what it cost."""
    store = EtcdStore(Settings(endpoints=(endpoint,)))
    began, used = time.perf_counter(), time.process_time()
    note = TASKS[name](store)
    result: Result = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - used,
        "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "note": note,
    }
    store.close()
    say(json.dumps(result))


def measured(name: str, endpoint: str) -> Result:
    command = [sys.executable, __file__, "--task", name, "--endpoint", endpoint]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def compare(title: str, endpoint: str, names: Sequence[str], rounds: int = ROUNDS) -> None:
    """Run tasks in turn, and show each as ratio to the first one."""
    results: Mapping[str, list[Result]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].append(measured(name, endpoint))
    say(f"\n{title}, medians of {rounds}")
    unit = 0.0
    rows = []
    for name, taken in results.items():
        seconds, cpu, peak = (
            statistics.median(float(each[column]) for each in taken)
            for column in ("seconds", "cpu", "MB")
        )
        unit = unit or seconds
        ratio = f"{seconds / unit:.2f}"
        rows.append(
            (name, f"{seconds:.2f}", f"{cpu:.2f}", ratio, f"{peak:.0f}", taken[0]["note"])
        )
    headers = ("", "seconds", "of them CPU", "ratio", "peak MB", "")
    say(tabulate(rows, headers=headers, disable_numparse=True))


# What is stored


def put_pool(endpoint: str) -> None:
    store = EtcdStore(Settings(endpoints=(endpoint,)))
    spec = {"cidr": str(POOL), "blockSize": 26, "nodeSelector": "all()"}
    pool = {
        "kind": "IPPool",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "bench"},
        "spec": spec,
    }
    key = records.resource_key("ippools", "bench")
    store.commit(Txn(expect={key: 0}, puts={key: json.dumps(pool).encode()}))
    store.close()


def fill_handles(endpoint: str, blocks: Iterable[IPv4Network]) -> None:
    """Write the handles of full blocks that `fill` has written."""
    channel = grpc.insecure_channel(endpoint)
    stub = etcdrpc.KVStub(channel)
    puts = (
        etcdrpc.PutRequest(
            key=f"{records.HANDLES.start}pods.{int(address):064x}".encode(),
            value=f'{{"block":{{"{block}":1}},"deleted":false}}'.encode(),
        )
        for block in blocks
        for address in block
    )
    while part := list(islice(puts, PUTS_PER_REQUEST)):
        ops = [etcdrpc.RequestOp(request_put=put) for put in part]
        stub.Txn(etcdrpc.TxnRequest(success=ops), timeout=30)
    channel.close()


# The benches


def usage_and_audit(*, quick: bool) -> None:
    """Utilization and audit of full blocks, before and after their handles are written."""
    count = QUICK_BLOCKS if quick else FULL_BLOCKS
    with EmbeddedEtcd(arguments=["--quota-backend-bytes=6000000000"]) as etcd:
        put_pool(etcd.endpoint)
        fill(etcd.endpoint, side_by_side(POOL, count))
        of = f"{count:,} full blocks, {count * 64:,} addresses"
        counting = ["raw read of blocks", "utilization", "utilization, block by block", "map"]
        compare(f"{of}, no handles", etcd.endpoint, counting)
        compare(f"{of}, every handle lost", etcd.endpoint, [counting[0], "audit"], rounds=1)
        fill_handles(etcd.endpoint, (block for _, block in side_by_side(POOL, count)))
        compare(f"{of} and handles", etcd.endpoint, counting)
        both = ["raw read of blocks and handles", "audit"]
        compare(f"{of} and handles", etcd.endpoint, both, rounds=3)


def many_threads(*, quick: bool) -> None:
    """Assign for one node from many threads, against bare transactions one after another."""
    del quick  # it is quick anyway
    with EmbeddedEtcd(fsync=True) as etcd:
        put_pool(etcd.endpoint)
        store = EtcdStore(Settings(endpoints=(etcd.endpoint,)))
        bench_add.measure_library(store)
        store.close()


BENCHES: Mapping[str, Callable[..., None]] = {
    "usage": usage_and_audit,
    "claims": claims.measure_claims,
    "rush": claims.measure_rush,
    "threads": many_threads,
}
"""Name -> what to run; `quick` says that a smaller cluster will do."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What a big cluster costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="on a smaller cluster")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        run_task(given.task, given.endpoint)
        return
    if unknown := set(given.names) - BENCHES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    say(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
    for name in given.names or BENCHES:
        BENCHES[name](quick=given.quick)


if __name__ == "__main__":
    main()
