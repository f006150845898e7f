"""
Rows told as stories: what is asked of a real etcd, step by step, and what must come of it.

A story is made of actions, which have to succeed, and of steps, which also say what is expected. A
row is told from the beginning of its story to its own last step.
"""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.block import HostReserved
from poolmgr.core.flaws import Flaw
from poolmgr.core.outcome import Assigned
from poolmgr.core.request import AssignIP, AutoAssign, OwnerOf, ReleaseByHandle, Use
from poolmgr.errors import PoolmgrError
from tests.behaviours.place import Answer, Place
from tests.behaviours.row import Row
from tests.support.world import stored_resource

BLOCKS = "/calico/ipam/v2/assignment/ipv{}/block/"
CONFIG = "/calico/ipam/v2/config"


class Action(Protocol):
    def do(self, place: Place) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Write:
    """Another program writes a key; None = deletes it."""

    key: str
    value: bytes | None

    def do(self, place: Place) -> Answer:
        if self.value is None:
            place.raw.delete(self.key)
        else:
            place.raw.put(self.key, self.value)
        return Answer()


def pool(name: str, cidr: str, block_size: int | None = None, **spec) -> Write:
    size = {} if block_size is None else {"blockSize": block_size}
    return Write(*stored_resource("ippools", "IPPool", name, {"cidr": cidr, **size, **spec}))


def no_pool(name: str) -> Write:
    return Write(pool(name, "10.0.0.0/24").key, None)


def node(name: str, /, **labels: str) -> Write:
    return Write(*stored_resource("nodes", "Node", name, {}, labels=labels))


def reserve(name: str, *cidrs: str) -> Write:
    spec = {"reservedCIDRs": list(cidrs)}
    return Write(*stored_resource("ipreservations", "IPReservation", name, spec))


def config(**fields) -> Write:
    """Return what `ipam configure` of another program stores."""
    return Write(CONFIG, json.dumps({"auto_allocate_blocks": True, **fields}).encode())


def block(cidr: str, host: str, kept: HostReserved) -> tuple[Write, Write]:
    """Return a block as another program claims it, with what the host keeps in it."""
    net = parse_network(cidr)
    size = net.num_addresses
    mine = [*range(kept.first), *range(size - kept.last, size)]
    value = {
        "cidr": cidr,
        "affinity": f"host:{host}",
        "affinity_claim_time": "2026-01-01T00:00:00Z",
        "allocations": [0 if ordinal in mine else None for ordinal in range(size)],
        "unallocated": [ordinal for ordinal in range(size) if ordinal not in mine],
        "attributes": [{"handle_id": kept.handle, "secondary": {"note": kept.note}}],
        "deleted": False,
        "sequenceNumber": 1_767_225_600_000_000_000,
        "sequenceNumberForAllocation": {},
    }
    end = cidr.replace("/", "-")
    affinity = f"/calico/ipam/v2/host/{host}/ipv{net.version}/block/{end}"
    return (
        Write(affinity, b'{"state":"confirmed","deleted":false}'),
        Write(BLOCKS.format(net.version) + end, json.dumps(value).encode()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The library assigns, without an attachment."""

    host: str = "host-a"
    v4: int = 0
    v6: int = 0
    pools: tuple[str, ...] = ()
    use: Use = Use.WORKLOAD
    handle: str | None = "asked"
    max_blocks: int = 0
    kept: HostReserved | None = None
    labels: Mapping[str, str] | None = None

    def do(self, place: Place) -> Answer:
        request = AutoAssign(
            host=self.host,
            handle=self.handle,
            count={4: self.v4, 6: self.v6},
            pools=_by_family(self.pools),
            use=self.use,
            max_blocks=self.max_blocks,
            reserved={} if self.kept is None else {4: self.kept},
            namespace_labels=self.labels,
        )
        return _answer(lambda: place.ipam.auto_assign(request, timeout_s=30))


@dataclass(frozen=True, slots=True)
class Name:
    """The library assigns a named address."""

    address: str
    host: str = "host-a"
    handle: str | None = "named"
    attributes: Mapping[str, str] = field(default_factory=dict)
    use: Use | None = Use.WORKLOAD
    max_per_handle: int = 0

    def do(self, place: Place) -> Answer:
        request = AssignIP(
            addresses=(parse_address(self.address),),
            host=self.host,
            handle=self.handle,
            attributes=self.attributes,
            use=self.use,
            max_per_handle=self.max_per_handle,
        )
        return _answer(lambda: place.ipam.assign_ip(request))


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """
    An ADD of CNI.

    Attributes:
        container: None = one that is new.
        program: Run the executable; else it is the same code in this process.
    """

    host: str = "host-a"
    families: tuple[int, ...] = (4,)
    pools: tuple[str, ...] = ()
    address: str = ""
    container: str | None = None
    program: bool = False

    def do(self, place: Place) -> Answer:
        named = {f"ipv{f}_pools": list(names) for f, names in _by_family(self.pools).items()}
        wanted = {f"assign_ipv{f}": str(f in self.families).lower() for f in (4, 6)}
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": self.container or place.new_container(),
            **({"CNI_ARGS": f"IP={self.address}"} if self.address else {}),
        }
        return place.cni(self.host, {**wanted, **named}, env, program=self.program)


@dataclass(frozen=True, slots=True)
class Delete:
    """A DEL of CNI."""

    container: str
    host: str = "host-a"

    def do(self, place: Place) -> Answer:
        env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": self.container}
        return place.cni(self.host, {}, env, program=False)


@dataclass(frozen=True, slots=True)
class Release:
    """The library releases what a handle holds."""

    handle: str

    def do(self, place: Place) -> Answer:
        request = ReleaseByHandle(handles=(self.handle,))
        return Answer(
            given=tuple(str(a) for a in place.ipam.release_by_handle(request).released)
        )


@dataclass(frozen=True, slots=True)
class Look:
    """The library tells who holds an address: `text` is handle and attributes."""

    address: str

    def do(self, place: Place) -> Answer:
        try:
            owner = place.ipam.owner_of(OwnerOf(address=parse_address(self.address)))
        except PoolmgrError as error:
            return Answer(error=type(error), text=str(error))
        return Answer(text=f"{owner.handle} {dict(owner.attributes)}")


@dataclass(frozen=True, slots=True)
class Poolctl:
    """The executable `poolctl` succeeds; `text` is what it prints."""

    call: str
    stdin: str = ""

    def do(self, place: Place) -> Answer:
        done = place.poolctl(*shlex.split(self.call), stdin=self.stdin)
        assert (0, "") == (done.returncode, done.stderr)
        return Answer(text=done.stdout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    An action, and what must come of it.

    Attributes:
        id: The row that says so; "" = it only leads to one.
        times: How often it is done, each time with the same result.
        got: Family -> number of addresses given.
        given: The very addresses given.
        within: Each address given lies in one of these.
        of: Owner of a block -> number of addresses given from such blocks.
        error, short, limit: See `Answer`.
        says: What the message names, in this order.
        owners: Owner -> number of blocks stored afterwards.
        claims: Owner -> number of affinities stored afterwards, all of them confirmed.
        used: Addresses in use afterwards, those that hosts keep for themselves included.
        stored: Address -> what is stored beside it afterwards.
        flaws: What is wrong with what is stored afterwards, and meant to be.
    """

    do: Action
    id: str = ""
    times: int = 1
    got: Mapping[int, int] | None = None
    given: tuple[str, ...] | None = None
    within: tuple[str, ...] = ()
    of: Mapping[str, int] | None = None
    error: type[PoolmgrError] | None = None
    short: type[PoolmgrError] | None = None
    limit: int | None = None
    says: tuple[str, ...] = ()
    owners: Mapping[str | None, int] | None = None
    claims: Mapping[str, int] | None = None
    used: int | None = None
    stored: Mapping[str, Mapping] = field(default_factory=dict)
    flaws: tuple[Flaw, ...] = ()


@dataclass(frozen=True, slots=True)
class Told(Row):
    """A row, and the story up to it."""

    story: tuple[Step | Action, ...]

    @property
    def by_poolctl(self) -> bool:
        """Tell whether the story needs `poolctl`."""
        actions = (item.do if isinstance(item, Step) else item for item in self.story)
        return any(isinstance(action, Poolctl) for action in actions)


def told(*story: Step | Action | tuple[Action, ...]) -> tuple[Told, ...]:
    """Return the rows of a story, in their order."""
    items: list[Step | Action] = []
    for item in story:
        items += item if isinstance(item, tuple) else [item]
    last = {item.id: at for at, item in enumerate(items) if isinstance(item, Step) and item.id}
    return tuple(Told(id_, tuple(items[: at + 1])) for id_, at in last.items())


def tell(place: Place, story: Iterable[Step | Action]) -> None:
    """Go through a story."""
    for item in story:
        if isinstance(item, Step):
            for _ in range(item.times):
                _compare(item, item.do.do(place), place)
        else:
            assert item.do(place).error is None


def check(row: Told, place: Place) -> None:
    """Tell the story of a row, and see to it that what is stored is sound in the end."""
    tell(place, row.story)

    assert set(row.story[-1].flaws) == place.flaws()


def _compare(step: Step, answer: Answer, place: Place) -> None:
    addresses = answer.addresses
    assert (step.error, step.short) == (answer.error, answer.short), answer.text
    assert len(set(addresses)) == len(addresses)
    if step.limit is not None:
        assert step.limit == answer.limit
    if step.got is not None or step.error:
        assert (step.got or {}) == Counter(parse_address(a).version for a in addresses)
    if step.given is not None:
        assert step.given == answer.given
    if step.within:
        networks = [parse_network(text) for text in step.within]
        strays = [a for a in addresses if not any(parse_address(a) in net for net in networks)]
        assert [] == strays
    at = -1
    for word in step.says:
        at = answer.text.find(word, at + 1)
        assert at >= 0, f"{word!r} is missing, or too early, in {answer.text!r}"
    _compare_stored(step, addresses, place)


def _compare_stored(step: Step, addresses: list[str], place: Place) -> None:
    if step.of is not None:
        assert step.of == Counter(place.block_of(a)["affinity"] for a in addresses)
    if step.owners is not None:
        assert step.owners == Counter(block["affinity"] for block in place.blocks().values())
    if step.claims is not None:
        affinities = place.affinities()
        assert {"confirmed"} >= set(affinities.values())
        assert step.claims == Counter(owner for owner, _ in affinities)
    if step.used is not None:
        blocks = place.blocks().values()
        assert step.used == sum(n is not None for b in blocks for n in b["allocations"])
    for address, attribute in step.stored.items():
        assert attribute == place.attribute_of(address)


def _answer(ask: Callable[[], Assigned]) -> Answer:
    try:
        outcome = ask()
    except PoolmgrError as error:
        return Answer(error=type(error), text=str(error))
    given = tuple(str(allocation.address) for allocation in outcome.allocations)
    for why in outcome.shortfall.values():
        limit = getattr(why, "limit", None)
        return Answer(given=given, short=type(why), text=str(why), limit=limit)
    return Answer(given=given)


def _by_family(pools: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """Sort CIDRs by family, none of which is left out."""
    families = {
        family: tuple(p for p in pools if (":" in p) == (family == 6)) for family in (4, 6)
    }
    return {family: names for family, names in families.items() if names}
