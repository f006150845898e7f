"""
What poolctl costs: `python tests/bench/bench_cli.py [--quick] [NAME ...]`.

Figures are ratios of one run on one machine; none is asserted. Each measurement is a process of
its own, from its start to its end: Python starting, or a paged read of the same keys through the
same client, is the unit. The peak of memory is the kernel's, and no lower than that of this
program, which starts them. The etcd is private and does not wait for the disk; at full scale it
writes 3 GB.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings
from tests.bench.bench_scale import (
    FULL_BLOCKS,
    POOL,
    QUICK_BLOCKS,
    fill_handles,
    put_pool,
    read_raw,
    say,
)
from tests.support.filler import fill, side_by_side

ROOT = Path(__file__).resolve().parents[2]
POOLCTL = [sys.executable, "-m", "poolctl.main"]
PYTHON = [sys.executable, "-c"]
STARTS, ROUNDS = 21, 3
TIMEOUT_S = 1200


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took; `status` is its exit status."""

    seconds: float
    cpu: float
    megabytes: float
    status: int


def cost_of(command: Sequence[str], endpoint: str = "") -> Cost:
    """Run a process, its output thrown away."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
        "ETCD_ENDPOINTS": endpoint,
    }
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=None)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds, cpu, usage.ru_maxrss / 1024, process.returncode)


def compare(
    title: str, commands: Mapping[str, Sequence[str]], rounds: int, endpoint: str = ""
) -> None:
    """Run commands in turn, and show each as ratio to the first one."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(cost_of(command, endpoint))
    rows: list[tuple[object, ...]] = []
    unit = 0.0
    for name, taken in costs.items():
        seconds = statistics.median(each.seconds for each in taken)
        cpu = statistics.median(each.cpu for each in taken)
        peak = max(each.megabytes for each in taken)
        unit = unit or seconds
        ratio = f"{seconds / unit:.2f}"
        rows.append(
            (name, f"{seconds:.3f}", f"{cpu:.3f}", ratio, f"{peak:.0f}", taken[0].status)
        )
    say(f"\n{title}, medians of {rounds}, highest peak")
    headers = ("", "seconds", "of them CPU", "ratio", "peak MB", "exit")
    say(tabulate(rows, headers=headers, disable_numparse=True))


def poolctl(*args: str) -> list[str]:
    return [*POOLCTL, "--timeout", str(TIMEOUT_S), *args]


def raw(*prefixes: str) -> list[str]:
    return [sys.executable, __file__, "--raw", *prefixes]


@contextmanager
def full(*, quick: bool, handles: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the endpoint of an etcd with full blocks, and what is in it."""
    count = QUICK_BLOCKS if quick else FULL_BLOCKS
    with EmbeddedEtcd(arguments=["--quota-backend-bytes=6000000000"]) as etcd:
        put_pool(etcd.endpoint)
        fill(etcd.endpoint, side_by_side(POOL, count))
        of = f"{count:,} full blocks, {count * 64:,} addresses"
        if handles:
            fill_handles(etcd.endpoint, (block for _, block in side_by_side(POOL, count)))
        yield etcd.endpoint, f"{of}{' and handles' if handles else ''}"


# The measurements


def start(*, quick: bool) -> None:
    """Start-up of what needs no etcd."""
    commands = {
        "python3 -c 'import click'": [*PYTHON, "import click"],
        "poolctl --help": [*POOLCTL, "--help"],
        "poolctl ipam show --help": [*POOLCTL, "ipam", "show", "--help"],
        "poolctl version": [*POOLCTL, "version"],
    }
    compare("Start-up", commands, rounds=5 if quick else STARTS)


def show(*, quick: bool) -> None:
    """Reading all blocks: `ipam show` in its forms, and `ipam map`."""
    with full(quick=quick) as (endpoint, of):
        commands = {
            "raw paged read of blocks": raw("blocks"),
            "ipam show": poolctl("ipam", "show"),
            "ipam show --show-blocks": poolctl("ipam", "show", "--show-blocks"),
            "ipam show --show-blocks -o json": poolctl(
                *("ipam", "show", "--show-blocks", "-o", "json")
            ),
            "ipam show --show-borrowed": poolctl("ipam", "show", "--show-borrowed"),
            "ipam map": poolctl("ipam", "map"),
        }
        compare(of, commands, ROUNDS, endpoint)


def check(*, quick: bool) -> None:
    """Reading everything: `ipam check`."""
    with full(quick=quick, handles=True) as (endpoint, of):
        commands = {
            "raw paged read of blocks and handles": raw("blocks", "handles"),
            "ipam check": poolctl("ipam", "check"),
        }
        compare(of, commands, ROUNDS, endpoint)


MEASUREMENTS: Mapping[str, Callable[..., None]] = {
    "start": start,
    "show": show,
    "check": check,
}
"""Name -> what to run; `quick` says that a smaller cluster will do."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What poolctl costs.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="on a smaller cluster")
    parser.add_argument("--raw", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.raw:
        store = EtcdStore(Settings(endpoints=(os.environ["ETCD_ENDPOINTS"],)))
        say(read_raw(store, *given.raw))
        store.close()
        return
    if unknown := set(given.names) - MEASUREMENTS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    say(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs")
    for name in given.names or MEASUREMENTS:
        MEASUREMENTS[name](quick=given.quick)


if __name__ == "__main__":
    main()
