"""A small world for planner tests: a MemoryStore, a clock that stands still, and the loop without its faults."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from poolmgr.cidr import IPAddress, parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.audit import invariants
from poolmgr.core.block import Attribute, Block, auto_assign, new_block
from poolmgr.core.flaws import Finding
from poolmgr.core.handle import Handle
from poolmgr.core.outcome import Assigned, Outcome, Refused
from poolmgr.core.plan import Plan, plan
from poolmgr.core.request import AssignIP, Attachment, AutoAssign, ReleaseByHandle, Request
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Committed, Fetch, Range, Txn
from poolmgr.store.memory import MemoryStore

EVERYTHING = Range(start="/", end="0")
SEED = b"seed-of-the-epoch"
NOON_NS = 1_795_000_000_000_000_000


def stored_resource(
    plural: str, kind: str, name: str, spec: dict, **metadata
) -> tuple[str, bytes]:
    """A v3 resource as another program stores it."""
    value = {
        "kind": kind,
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **metadata,
        },
        "spec": spec,
    }
    return records.resource_key(plural, name), json.dumps(value).encode()


def attachment(container: str, network: str = "net1", interface: str = "eth0") -> Attachment:
    return Attachment(network=network, container=container, interface=interface)


def add(
    container: str,
    host: str = "node-a",
    *,
    families: Iterable[int] = (4,),
    network: str = "net1",
    interface: str = "eth0",
    **more,
) -> AutoAssign:
    """An ADD as CNI makes it."""
    at = attachment(container, network, interface)
    return AutoAssign(
        host=host,
        handle=at.handle,
        count=dict.fromkeys(families, 1),
        attributes={"node": host, "network": network, "interface": interface},
        attachment=at,
        **more,
    )


def add_ip(container: str, *addresses: str, host: str = "node-a", **more) -> AssignIP:
    """An ADD that names its addresses."""
    at = attachment(container)
    return AssignIP(
        addresses=tuple(parse_address(a) for a in addresses),
        host=host,
        handle=at.handle,
        attributes={"node": host, "network": at.network, "interface": at.interface},
        attachment=at,
        **more,
    )


def delete(container: str, host: str = "node-a", interface: str = "eth0") -> ReleaseByHandle:
    """A DEL as CNI makes it."""
    at = attachment(container, interface=interface)
    return ReleaseByHandle(handles=(at.handle, container), attachment=at, host=host)


@dataclass
class World:
    """What is stored, and the last plan that was committed."""

    store: MemoryStore = field(default_factory=MemoryStore)
    now_ns: int = NOON_NS
    reads: int = 0
    commits: int = 0
    last: Plan | None = None

    # What others write

    def put(self, key: str, value: bytes) -> None:
        self.put_all({key: value})

    def put_all(self, puts: Mapping[str, bytes], deletes: Iterable[str] = ()) -> None:
        found = self.store.read(Fetch(keys=frozenset([*puts, *deletes]))).found
        expect = {key: (kv.mod_revision if kv else 0) for key, kv in found.items()}
        txn = Txn(expect=expect, epoch=self.epoch, puts=dict(puts), deletes=frozenset(deletes))
        assert isinstance(self.store.commit(txn), Committed)

    def remove(self, key: str) -> None:
        self.put_all({}, [key])

    @property
    def epoch(self) -> bytes | None:
        return self.value("/poolmgr/v1/epoch")

    def pool(
        self, name: str, cidr: str, *, annotations: Mapping[str, str] | None = None, **spec
    ) -> "World":
        metadata = {"annotations": dict(annotations)} if annotations else {}
        self.put(
            *stored_resource("ippools", "IPPool", name, {"cidr": cidr, **spec}, **metadata)
        )
        return self

    def node(self, name: str, **labels: str) -> "World":
        self.put(*stored_resource("nodes", "Node", name, {}, labels=labels))
        return self

    def reserve(self, name: str, *cidrs: str) -> "World":
        spec = {"reservedCIDRs": list(cidrs)}
        self.put(*stored_resource("ipreservations", "IPReservation", name, spec))
        return self

    def configure(self, **fields) -> "World":
        value = {"auto_allocate_blocks": True, **fields}
        self.put(records.CONFIG_KEY, json.dumps(value).encode())
        return self

    # What is asked

    def ask(self, request: Request) -> Outcome:
        """Plan and commit until `request` has its answer."""
        return self.ask_all([request])[0]

    def ask_all(self, requests: list[Request]) -> list[Outcome]:
        """Plan and commit a batch."""
        snapshot, outcomes, left = Snapshot(), [], tuple(requests)
        while left:
            decided = plan(left, snapshot, self.now_ns, SEED)
            if isinstance(decided, Fetch):
                snapshot = snapshot.merge(self.store.read(decided)).forget(decided.full)
                self.reads += 1
                continue
            self.last = decided
            if decided.txn is not None:
                result = self.store.commit(decided.txn)
                self.commits += 1
                assert isinstance(result, Committed), result
                snapshot = snapshot.apply(decided.txn, result.revision)
            outcomes += decided.outcomes
            left = decided.rest
        return outcomes

    def decide(self, requests: list[Request]) -> tuple[Plan, Snapshot]:
        """Plan a batch without committing it, and return the facts it was decided on."""
        snapshot = Snapshot()
        while isinstance(decided := plan(requests, snapshot, self.now_ns, SEED), Fetch):
            snapshot = snapshot.merge(self.store.read(decided)).forget(decided.full)
        return decided, snapshot

    def addresses(self, request: Request) -> list[str]:
        """Ask, expect an assignment, and return its addresses."""
        outcome = self.ask(request)
        assert isinstance(outcome, Assigned), outcome
        return [str(a.address) for a in outcome.allocations]

    def refusal(self, request: Request) -> Exception:
        """Ask, and expect a refusal."""
        outcome = self.ask(request)
        assert isinstance(outcome, Refused), outcome
        return outcome.error

    # What is stored

    def content(self) -> dict[str, bytes]:
        page = self.store.read(Fetch(ranges=frozenset([EVERYTHING]))).ranges[EVERYTHING]
        return {key: kv.value for key, kv in page.items}

    def value(self, key: str) -> bytes | None:
        return self.content().get(key)

    def blocks(self) -> dict[str, Block]:
        return {
            str(block.cidr): block
            for key, raw in self.content().items()
            if any(key in r for r in records.BLOCKS.values())
            for block in [records.decode_block(key, raw)]
        }

    def handles(self) -> dict[str, Handle]:
        start = records.HANDLES.start
        return {
            key.removeprefix(start): records.decode_handle(key, raw)
            for key, raw in self.content().items()
            if key.startswith(start)
        }

    def affinities(self) -> dict[str, str]:
        """Affinity key, without its common part -> state."""
        start = "/calico/ipam/v2/"
        return {
            key.removeprefix(start): str(records.decode_affinity(key, raw).state)
            for key, raw in self.content().items()
            if any(key in r for r in records.AFFINITIES.values())
        }

    def owner_of(self, address: str) -> str | None:
        """The handle that owns an address."""
        wanted: IPAddress = parse_address(address)
        for block in self.blocks().values():
            if wanted in block.cidr:
                attribute = block.attribute_of(wanted)
                return attribute.owner if attribute else None
        return None

    def findings(self) -> tuple[Finding, ...]:
        return invariants(self.content().items())


def claimed_elsewhere(world: World, cidr: str, host: str, *, full: bool = True) -> None:
    """Store a block of another host, full or empty, as that host would."""
    net = parse_network(cidr)
    block = new_block(net, f"host:{host}", NOON_NS)
    puts = {records.affinity_key(host, net): b'{"state":"confirmed","deleted":false}'}
    if full:
        name = f"net1.{host}-filler"
        attribute = Attribute(handle=name, secondary={"node": host})
        block, _ = auto_assign(block, block.size, attribute)
        handle = world.handles().get(name, Handle())
        puts[records.handle_key(name)] = records.encode_handle(handle.add(net, block.size))
    puts[records.block_key(net)] = records.encode_block(block)
    world.put_all(puts)
