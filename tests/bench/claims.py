"""
What a claim costs beside many blocks of others: reads, bytes and transactions of one assignment.

Every figure is of one run; none is asserted. Full blocks that only stand in the way are written
with one owner for all their addresses, which keeps 100,000 of them small.
"""

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice

from tabulate import tabulate

from poolmgr.cidr import IPNetwork, walk_blocks
from poolmgr.core import records
from poolmgr.core.affinity import Affinity
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.request import Attachment, AutoAssign, ReleaseAffinities, ReleaseByHandle
from poolmgr.core.txn import EPOCH_KEY, Committed, Conflict, Fetch, Reading, Txn
from poolmgr.errors import PoolmgrError
from poolmgr.ipam import IPAM
from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.port import ATTEMPT_TIMEOUT_S
from poolmgr.store.settings import Settings
from tests.support.filler import fill, side_by_side

CLAIMANT = "claimant"
IN_THE_WAY = 120
"""Full blocks at the start of the claimant's walk."""

LONG_S = 120.0
EPOCH = b"of-the-bench"
NOW_NS = 1_795_000_000_000_000_000


@dataclass(slots=True)
class Cost:
    """What one call asked of the store."""

    reads: int = 0
    commits: int = 0
    size_bytes: int = 0
    seconds: float = 0.0

    def row(self) -> tuple[str, ...]:
        return (
            f"{self.reads}",
            f"{self.commits}",
            f"{self.size_bytes / 1024:,.1f}",
            f"{self.seconds * 1000:,.1f}",
        )


class Counting(EtcdStore):
    """A store that counts what it is asked; the first commit may have to wait for others."""

    def __init__(self, settings: Settings, together: threading.Barrier | None = None) -> None:
        super().__init__(settings)
        self.cost = Cost()
        self._together = together

    def read(
        self, fetch: Fetch, *, timeout_s: float = ATTEMPT_TIMEOUT_S, revision: int | None = None
    ) -> Reading:
        reading = super().read(fetch, timeout_s=timeout_s, revision=revision)
        self.cost.reads += 1
        self.cost.size_bytes += sum(
            len(key) + len(found.value)
            for page in reading.ranges.values()
            for key, found in page.items
        ) + sum(len(key) + len(v.value) for key, v in reading.found.items() if v is not None)
        return reading

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        if self._together is not None and not self.cost.commits:
            self._together.wait()
        self.cost.commits += 1
        return super().commit(txn, timeout_s=timeout_s)


def measure_claims(*, quick: bool) -> None:
    """Claim a first block beside more and more full ones, and in pools with hardly any left."""
    sizes = (100, 1_000) if quick else (100, 1_000, 10_000, 100_000)
    rows = []
    with _etcd("10.0.0.0/8") as (etcd, store):
        pool = IPv4Network("10.0.0.0/8")
        in_the_way = list(islice(walk_blocks(pool, 26, CLAIMANT), IN_THE_WAY))
        others = (block for block in pool.subnets(new_prefix=26) if block not in in_the_way)
        present = 0
        for size in sizes:
            wanted = size - present
            first = in_the_way[:wanted] if not present else in_the_way[present:][:wanted]
            _put_full(store, [*first, *islice(others, wanted - len(first))])
            present = size
            rows.append((f"{size:,} full blocks", *_first_claim(etcd.endpoint).row(), "block"))
    count = 1_024 if quick else 16_384
    pool = IPv4Network("10.0.0.0/16" if quick else "10.0.0.0/12")
    with _etcd(str(pool)) as (etcd, _):
        fill(etcd.endpoint, side_by_side(pool, count - 1))
        store = Counting(Settings(endpoints=(etcd.endpoint,)))
        answer = _add(store, "first")
        rows.append((f"1 free block of {count:,}", *store.cost.row(), answer))
        store.cost = Cost()
        answer = _add(store, "second")
        rows.append(("the same, an own block", *store.cost.row(), answer))
        for number in range(62):
            _add(store, f"filling-{number}")
        store.cost = Cost()
        answer = _add(store, "last")
        rows.append((f"{count:,} full blocks, none free", *store.cost.row(), answer))
    headers = ("", "reads", "transactions", "KiB read", "ms", "answer")
    print("\nOne assignment, by what is in its way")
    print(tabulate(rows, headers=headers, disable_numparse=True), flush=True)


def measure_rush(*, quick: bool) -> None:
    """Let many nodes read before any of them claims its first block."""
    nodes = 100 if quick else 1_000
    together = threading.Barrier(nodes)
    threading.stack_size(512 * 1024)
    with _etcd("10.0.0.0/12") as (etcd, _):
        settings = Settings(endpoints=(etcd.endpoint,))

        def first(number: int) -> int:
            store = Counting(settings, together)
            _add(store, f"pod-{number}", f"node-{number}")
            store.close()
            return store.cost.commits

        began = time.perf_counter()
        with ThreadPoolExecutor(nodes) as pool:
            commits = sorted(pool.map(first, range(nodes)))
        seconds = time.perf_counter() - began
    cuts = statistics.quantiles(commits, n=100)
    print(f"\n{nodes:,} nodes claim their first block of 16,384 at once: {seconds:.1f} s")
    print(
        f"transactions: median {cuts[49]:.0f}, 99th percentile {cuts[98]:.0f}, {commits[-1]} at most"
    )
    print(dict(sorted(Counter(commits).items())), flush=True)


class _etcd:  # noqa: N801 - a context manager
    """An etcd with one pool, and room for 100,000 blocks."""

    def __init__(self, cidr: str) -> None:
        self._cidr = cidr

    def __enter__(self) -> tuple[EmbeddedEtcd, EtcdStore]:
        self._server = EmbeddedEtcd(arguments=("--quota-backend-bytes=6000000000",))
        store = EtcdStore(Settings(endpoints=(self._server.endpoint,)))
        key = records.resource_key("ippools", "bench")
        value = {
            "kind": "IPPool",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": "bench"},
            "spec": {"cidr": self._cidr, "nodeSelector": "all()"},
        }
        puts = {key: json.dumps(value).encode(), EPOCH_KEY: EPOCH}
        store.commit(Txn(expect={key: 0}, puts=puts))
        return self._server, store

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def _put_full(store: EtcdStore, blocks: Iterable[IPNetwork]) -> None:
    todo = (put for block in blocks for put in _full(block))
    while part := dict(islice(todo, 120)):
        store.commit(Txn(expect={}, epoch=EPOCH, puts=part))


def _full(cidr: IPNetwork) -> Iterator[tuple[str, bytes]]:
    node = f"full-{int(cidr.network_address) >> 10}"
    owner = Attribute(handle="pods.of-others", secondary={"node": node})
    block, _ = auto_assign(new_block(cidr, f"host:{node}", NOW_NS), 64, owner)
    yield records.block_key(cidr), records.encode_block(block)
    yield records.affinity_key(node, cidr), records.encode_affinity(Affinity())


def _first_claim(endpoint: str) -> Cost:
    """Assign as a node without blocks, then forget the node."""
    store = Counting(Settings(endpoints=(endpoint,)))
    _add(store, "first")
    cost, ipam = store.cost, IPAM(store)
    store.cost = Cost()
    ipam.release_by_handle(ReleaseByHandle(handles=("bench.first",)))
    ipam.release_affinities(ReleaseAffinities(host=CLAIMANT))
    store.close()
    return cost


def _add(store: Counting, container: str, host: str = CLAIMANT) -> str:
    at = Attachment(network="bench", container=container, interface="eth0")
    began = time.perf_counter()
    try:
        IPAM(store).auto_assign(
            AutoAssign(
                host=host,
                handle=at.handle,
                count={4: 1},
                attachment=at,
                attributes={"node": host, "network": "bench", "interface": "eth0"},
            ),
            timeout_s=LONG_S,
        )
    except PoolmgrError as error:
        return type(error).__name__
    finally:
        store.cost.seconds += time.perf_counter() - began
    return "address"
