"""
Which addresses belong to pods that exist.

Theory: there may be a million of either, so of a pod only numbers are kept: hashes of its name,
of its name and node, and of its name and each address. Two that are equal by chance (of a
million pods, once in ten million runs) hide a leak; they never make one.

Rules:

1. Pods are listed before blocks are read, and a pod exists before its address is assigned. So
   who is not in the list was gone by then, but for what was assigned around that time: entries
   younger than a minute before the list are not judged.
2. Only an entry that names a pod can be leaked. A sticky one is kept for its owner.
3. A pod that exists keeps what names it on its node. On another node than the entry's it does
   only while that node runs no pods, for then it may be a node that Calico calls otherwise.
4. A pod that has finished, or that uses its node's network, has no address.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from poolmgr.cidr import IPAddress, IPNetwork, address_at, contains
from poolmgr.core.block import Attribute, time_ns
from poolmgr.core.borrowed import home_of
from poolmgr.core.held import is_sticky
from poolmgr.core.outline import Outline

FINISHED = frozenset({"Succeeded", "Failed"})
GRACE_NS = 60_000_000_000
"""How long an ADD may take, and clocks may differ."""

_MASK = (1 << 64) - 1
_PIECES = 251
_NOTHING: Mapping[str, str] = {}


class Verdict(StrEnum):
    """What is known of an entry."""

    LIVE = "in use"
    COOLING = "cools down"
    UNKNOWN = "cannot be judged"
    LEAKED = "leaked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One address that is not free.

    Attributes:
        handle: None = nobody counts it.
        attributes, alternate: As `secondary` and `alternate` in `Attribute`.
        cooling: It is released, and free before long.
        host: Of the block; "" = it belongs to nobody.
    """

    address: IPAddress
    handle: str | None
    sequence_number: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    alternate: Mapping[str, str] = field(default_factory=dict)
    cooling: bool = False
    host: str = ""

    @property
    def node(self) -> str:
        """Where it is used, as far as anything says so."""
        return self.attributes.get("node") or self.host

    def owners(self) -> Iterator[Mapping[str, str]]:
        """Yield what is stored of each pod that it names."""
        for owner in (self.attributes, self.alternate):
            if owner.get("pod") and owner.get("namespace"):
                yield owner


def entries(block: Outline) -> Iterator[Entry]:
    """Yield the addresses of a block that are not free, in order."""
    host = home_of(block.affinity)
    for ordinal, index in enumerate(block.allocations):
        if index is None:
            continue
        handle = block.handles[index]
        yield Entry(
            address=address_at(block.cidr, ordinal),
            handle=handle.partition("\r")[0] if handle is not None else None,
            sequence_number=block.sequence_numbers.get(ordinal, 0),
            attributes=block.secondary[index] or _NOTHING,
            alternate=block.alternate[index] or _NOTHING,
            cooling=block.released[index] is not None,
            host=host,
        )


class LivePods:
    """
    The pods that exist: add them all, then judge entries.

    Args:
        pools: Of enabled pools; addresses elsewhere are none of ours.
        since_ns: When the list of pods was asked for.

    Attributes:
        count: Pods with addresses of their own.
    """

    def __init__(self, pools: Iterable[IPNetwork], *, since_ns: int) -> None:
        self._pools = tuple(pools)
        self._since_ns = since_ns
        self._names, self._places, self._uses = _Set(), _Set(), _Set()
        self._nodes: set[str] = set()
        self.count = 0

    def add(
        self, name: str, *, node: str, addresses: Iterable[IPAddress], lives: bool = True
    ) -> None:
        """
        Add a pod.

        Args:
            name: With its namespace, "default/web-0".
            lives: Whether it has addresses of its own, see rule 4.
        """
        if node:
            self._nodes.add(node)
        if lives:
            self.count += 1
            self._names.add(name)
            self._places.add((name, node))
            for address in self.ours(addresses):
                self._uses.add((name, int(address)))

    def ours(self, addresses: Iterable[IPAddress]) -> Iterator[IPAddress]:
        """Yield those that lie in an enabled pool."""
        for address in addresses:
            if any(
                pool.version == address.version and contains(pool, address)
                for pool in self._pools
            ):
                yield address

    def judge(self, entry: Entry) -> tuple[Verdict, str]:
        """
        Tell whether an entry is in use, and why not.

        Each entry is judged once, all of them after all pods were added.
        """
        if entry.cooling:
            return Verdict.COOLING, ""
        owners = [(f"{each['namespace']}/{each['pod']}", each) for each in entry.owners()]
        uses = [self._uses.see((name, int(entry.address))) for name, _ in owners]
        if any(uses) or is_sticky(Attribute(secondary=entry.attributes)):
            return Verdict.LIVE, ""
        if not owners:
            return Verdict.UNKNOWN, "it names no pod"
        if _since(entry.attributes) > self._since_ns - GRACE_NS:
            return Verdict.UNKNOWN, "it was assigned just now"
        verdicts = [self._judge(name, owner.get("node", "")) for name, owner in owners]
        return next((each for each in verdicts if each[0] is not Verdict.LEAKED), verdicts[0])

    def _judge(self, name: str, node: str) -> tuple[Verdict, str]:
        if name not in self._names:
            return (
                Verdict.LEAKED,
                f"pod {name} is gone, has finished, or has the node's address",
            )
        if (name, node) in self._places:
            return Verdict.LIVE, ""
        if node in self._nodes:
            return Verdict.LEAKED, f"pod {name} is not on node {node} any more"
        return Verdict.UNKNOWN, f"pod {name} exists, but no pod runs on node {node or '<none>'}"

    def unseen(self, name: str, address: IPAddress) -> bool:
        """Tell whether no entry gives this pod an address that it had when it was added."""
        return self._uses.is_unseen((name, int(address)))

    @property
    def all_seen(self) -> bool:
        """Whether every address of a pod has an entry that gives it to the pod."""
        return self._uses.all_seen


def _since(attributes: Mapping[str, str]) -> int:
    """Return when an entry was made; 0 = it does not say, as those of no ADD do."""
    words = attributes.get("timestamp", "").split()
    if len(words) < 3:
        return 0
    clock, _, fraction = words[1].partition(".")
    zone = f"{words[2][:3]}:{words[2][3:]}"
    return time_ns(f"{words[0]}T{clock}.{fraction[:6]:0<6}{zone}") or 0


class _Set:
    """Many things by 8 bytes each: first added, then looked for; sorted piece by piece."""

    def __init__(self) -> None:
        self._pieces = [array("Q") for _ in range(_PIECES)]
        self._seen = [bytearray()] * _PIECES
        self._sorted = True

    def add(self, thing: object) -> None:
        number = hash(thing) & _MASK
        self._pieces[number % _PIECES].append(number)
        self._sorted = False

    def __contains__(self, thing: object) -> bool:
        return self._at(thing) is not None

    def see(self, thing: object) -> bool:
        """Tell whether it is there, and remember that it was asked for."""
        found = self._at(thing)
        if found is None:
            return False
        seen, at = found
        seen[at] = 1
        return True

    def is_unseen(self, thing: object) -> bool:
        found = self._at(thing)
        return found is not None and not found[0][found[1]]

    @property
    def all_seen(self) -> bool:
        self._sort()
        return all(map(all, self._seen))

    def _at(self, thing: object) -> tuple[bytearray, int] | None:
        self._sort()
        number = hash(thing) & _MASK
        piece = self._pieces[number % _PIECES]
        at = bisect_left(piece, number)
        if at == len(piece) or piece[at] != number:
            return None
        return self._seen[number % _PIECES], at

    def _sort(self) -> None:
        if not self._sorted:
            for n, piece in enumerate(self._pieces):
                self._pieces[n] = array("Q", sorted(set(piece)))
                self._seen[n] = bytearray(len(self._pieces[n]))
            self._sorted = True
