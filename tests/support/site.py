"""One etcd, seen by all who use it: the library, CNI, poolctl, and programs with literal JSON."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from poolmgr.cidr import IPNetwork, parse_address, parse_network
from poolmgr.cni import verbs
from poolmgr.cni.netconf import Call, Command
from poolmgr.core import records
from poolmgr.core.flaws import Flaw
from poolmgr.core.outcome import Assigned, Released
from poolmgr.core.request import (
    AssignIP,
    Attachment,
    AutoAssign,
    Release,
    ReleaseByHandle,
    ReleaseIPs,
)
from poolmgr.core.txn import Committed, Conflict, Fetch, Reading, Txn
from poolmgr.ipam import IPAM
from poolmgr.store.port import Store
from tests.support.cluster import Cluster
from tests.support.poolctl import Poolctl, on
from tests.support.rawetcd import RawEtcd
from tests.support.world import NOON_NS

T = TypeVar("T")
CLAIMED_AT = "2026-11-18T12:26:40Z"
TICK_NS = 1_000_000


def texts(addresses: Iterable[object]) -> list[str]:
    return [str(address) for address in addresses]


def literal_block(
    cidr: str,
    attributes: Sequence[Mapping[str, object]] = (),
    allocated: Mapping[int, int] | None = None,
    *,
    affinity: str | None = "host:node-a",
    number: int = 0,
    numbers: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """
    Return a block as another program stores it.

    Args:
        allocated: Ordinal -> index into `attributes`; the others are free, in order.
        number: Of the block.
        numbers: Ordinal -> number under which it was assigned, if not the block's.
    """
    taken, size = allocated or {}, parse_network(cidr).num_addresses
    return {
        "cidr": cidr,
        "affinity": affinity,
        **({"affinity_claim_time": CLAIMED_AT} if affinity else {}),
        "allocations": [taken.get(ordinal) for ordinal in range(size)],
        "unallocated": [ordinal for ordinal in range(size) if ordinal not in taken],
        "attributes": [dict(attribute) for attribute in attributes],
        "sequenceNumber": number,
        "sequenceNumberForAllocation": {
            str(ordinal): (numbers or {}).get(ordinal, number) for ordinal in taken
        },
        "deleted": False,
    }


def block_key(cidr: str) -> str:
    family = 6 if ":" in cidr else 4
    return f"/calico/ipam/v2/assignment/ipv{family}/block/{cidr.replace('/', '-')}"


def affinity_key(host: str, cidr: str) -> str:
    family = 6 if ":" in cidr else 4
    return f"/calico/ipam/v2/host/{host}/ipv{family}/block/{cidr.replace('/', '-')}"


@dataclass
class Meddled:
    """
    A store in which something happens just before a commit.

    Attributes:
        before: Called once, before the first commit for which `when` holds.
        commits: What was sent, in order.
    """

    store: Store
    before: Callable[[], object] | None = None
    when: Callable[[Txn], bool] = lambda _: True
    commits: list[Txn] = field(default_factory=list)

    def read(self, fetch: Fetch, **options) -> Reading:
        return self.store.read(fetch, **options)

    def commit(self, txn: Txn, **options) -> Committed | Conflict:
        if self.before is not None and self.when(txn):
            meddle, self.before = self.before, None
            meddle()
        self.commits.append(txn)
        return self.store.commit(txn, **options)

    def close(self) -> None:
        self.store.close()


class Site(Cluster):
    """
    What a test does at an etcd, and finds there.

    Attributes:
        now_ns: The library's clock; it ticks whenever it is looked at.
        left: Flaws that the test leaves behind on purpose.
    """

    def __init__(self, raw: RawEtcd, store: Store) -> None:
        super().__init__(raw)
        self.raw, self.store = raw, store
        self.now_ns = NOON_NS
        self.left: set[Flaw] = set()

    def ipam(self, store: Store | None = None) -> IPAM:
        """Return another program with the library."""
        return IPAM(store or self.store, clock=self._tick)

    def _tick(self) -> int:
        self.now_ns += TICK_NS
        return self.now_ns

    @property
    def poolctl(self) -> Poolctl:
        return on(self.store)

    # What other programs write

    def put(self, key: str, value: object) -> None:
        self.raw.put(key, value if isinstance(value, (str, bytes)) else json.dumps(value))

    def config(self, **fields: object) -> None:
        self.put(records.CONFIG_KEY, {"auto_allocate_blocks": True, **fields})

    def seed(self, cidr: str, *content, host: str | None = "node-a", **more) -> None:
        """Store a block with `literal_block`, its affinity, and the handles it needs."""
        block = literal_block(cidr, *content, affinity=host and f"host:{host}", **more)
        self.put(block_key(cidr), block)
        if host:
            self.put(affinity_key(host, cidr), {"state": "confirmed", "deleted": False})
        held: dict[str, int] = {}
        for index in block["allocations"]:
            handle = None if index is None else block["attributes"][index].get("handle_id")
            if handle:
                held[handle] = held.get(handle, 0) + 1
        for handle, count in held.items():
            value = {"block": {cidr: count}, "deleted": False}
            self.put(records.handle_key(handle), value)

    # What is asked

    def auto(
        self, count: int = 1, *, host: str = "node-a", handle: str | None = None, **more
    ) -> Assigned:
        family = more.pop("family", 4)
        request = AutoAssign(host=host, handle=handle, count={family: count}, **more)
        return self.ipam().auto_assign(request)

    def addresses(self, count: int = 1, **more) -> list[str]:
        return texts(a.address for a in self.auto(count, **more).allocations)

    def assign(
        self, address: str, *, host: str = "node-a", handle: str | None = None, **more
    ) -> Assigned:
        wanted = (parse_address(address),)
        request = AssignIP(addresses=wanted, host=host, handle=handle, **more)
        return self.ipam().assign_ip(request)

    def release(self, *addresses: str, **guards) -> Released:
        asked = (Release(address=parse_address(address), **guards) for address in addresses)
        return self.ipam().release_ips(ReleaseIPs(releases=tuple(asked)))

    def release_handle(self, *handles: str, **more) -> Released:
        return self.ipam().release_by_handle(ReleaseByHandle(handles=handles, **more))

    def add(self, container: str, *, node: str = "node-a", address: str = "", **keys) -> str:
        """Run a CNI ADD and return its address."""
        named = (parse_address(address),) if address else ()
        call = _call(Command.ADD, container, addresses=named, **keys)
        result: Any = verbs.add(call, node, self.ipam())
        (found,) = result["ips"]
        return found["address"].partition("/")[0]

    def delete(self, container: str, *, node: str = "node-a") -> None:
        """Run a CNI DEL."""
        verbs.delete(_call(Command.DEL, container), node, self.ipam())

    # What is stored

    def blocks(self) -> dict[str, dict]:
        """Return every block as JSON."""
        values = (
            json.loads(value)
            for key, value in self.content().items()
            if any(key in range_ for range_ in records.BLOCKS.values())
        )
        return {value["cidr"]: value for value in values}

    def affinities(self) -> dict[str, dict[str, str]]:
        """Return host -> block -> state of its affinity."""
        found: dict[str, dict[str, str]] = {}
        for key, value in self.content().items():
            named = records.host_of_key(key)
            if named:
                state = json.loads(value or b"{}").get("state", "")
                found.setdefault(named[1], {})[str(records.block_of_key(key))] = state
        return found

    def counts(self) -> dict[str, int]:
        """Return how many addresses each handle counts."""
        start = records.HANDLES.start
        return {
            key.removeprefix(start): sum(json.loads(value)["block"].values())
            for key, value in self.content().items()
            if key.startswith(start)
        }


def _call(command: Command, container: str, **keys) -> Call:
    attachment = Attachment(network="net1", container=container, interface="eth0")
    return Call(command=command, version="1.0.0", network="net1", attachment=attachment, **keys)


def at_once(*jobs: Callable[[], T]) -> list[T]:
    """Run each job in a thread of its own, and return the results in order."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        return [future.result() for future in [threads.submit(job) for job in jobs]]


def assert_valid(block: Mapping[str, Any]) -> None:
    """Check what Calico's audit checks of a stored block (RI-20)."""
    cidr, free = parse_network(block["cidr"]), block["unallocated"]
    taken = {n: i for n, i in enumerate(block["allocations"]) if i is not None}

    assert set(range(len(block["attributes"]))) == set(taken.values())
    assert sorted(set(free)) == sorted(free)
    assert set(free).isdisjoint(taken)
    assert cidr.num_addresses == len(free) + len(taken)


def subnets(pool: str, length: int) -> list[IPNetwork]:
    return list(parse_network(pool).subnets(new_prefix=length))
