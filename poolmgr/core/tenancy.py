"""
Which node has which blocks and addresses, counted block by block, and the routes that follow.

Rules:

1. A block is its affinity's; an address is used by the node that its owner attributes name.
   Used in a block of somebody else, or of nobody, it is borrowed; seen from the block, lent.
2. An address that cools down is used by nobody, nor is one that is only kept for its owner.
3. A borrowed address has a route of its own, which is longer than that of the block around it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from poolmgr.api import Node
from poolmgr.cidr import IPAddress, IPNetwork, address_at, network, parse_address
from poolmgr.core.held import STICKY
from poolmgr.core.outline import Outline
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.core.usage import count

Addresses = Mapping[int, IPAddress]
"""Family -> address."""


@dataclass(slots=True, kw_only=True)
class Tenancy:
    """
    What one node has.

    Attributes:
        has_resource: Whether there is a Node resource.
        has_session: Whether something was ever released on the node.
        affinities: Affinity keys, also those without a block.
        blocks: Family -> blocks.
        in_use, cooling: Addresses of its blocks; `ipam show` counts both as in use.
        free, reserved: As in core/usage.py; reserved ones may be in use, too.
        lent: Those in use that another node uses.
        used: Addresses that the node uses, wherever they lie.
        borrowed: Those that do not lie in its blocks.
    """

    has_resource: bool = False
    has_session: bool = False
    affinities: int = 0
    blocks: dict[int, int] = field(default_factory=lambda: {4: 0, 6: 0})
    in_use: int = 0
    free: int = 0
    reserved: int = 0
    cooling: int = 0
    lent: int = 0
    used: int = 0
    borrowed: int = 0

    @property
    def remains(self) -> bool:
        """Whether there is anything of the node but the fence of its past."""
        held = (self.affinities, *self.blocks.values(), self.used)
        return self.has_resource or any(held)


class Census(dict[str, Tenancy]):
    """
    Node -> what it has.

    Args:
        reserved: Union of all reservations.
    """

    def __init__(self, reserved: AddressSet = NOTHING) -> None:
        super().__init__()
        self._reserved = reserved

    def __missing__(self, name: str) -> Tenancy:
        """Note a node that was not known."""
        self[name] = Tenancy()
        return self[name]

    def add(self, block: Outline) -> None:
        """Count a block."""
        owner, used = host_of(block.affinity), users(block)
        for node, ordinals in used.items():
            self[node].used += len(ordinals)
            if node != owner:
                self[node].borrowed += len(ordinals)
        if owner is not None:
            mine, cold = self[owner], cooling(block)
            mine.blocks[block.cidr.version] += 1
            usage = count(block, block.cidr, self._reserved)
            mine.free += usage.free
            mine.reserved += usage.reserved
            mine.cooling += cold
            mine.in_use += usage.in_use - cold
            mine.lent += sum(len(each) for node, each in used.items() if node != owner)


def host_of(affinity: str | None) -> str | None:
    """Return the node that an affinity names; None = it is nobody's, or no node's."""
    kind, _, host = (affinity or "").partition(":")
    return host if kind == "host" and host else None


def cooling(block: Outline) -> int:
    """Count the addresses that cool down."""
    return sum(index is not None and bool(block.released[index]) for index in block.allocations)


def users(block: Outline) -> dict[str, list[int]]:
    """Return the ordinals that each node uses."""
    nodes = [
        None if released else _node(stored or {})
        for released, stored in zip(block.released, block.secondary, strict=True)
    ]
    found: dict[str, list[int]] = {}
    for ordinal, index in enumerate(block.allocations):
        node = None if index is None else nodes[index]
        if node:
            found.setdefault(node, []).append(ordinal)
    return found


def _node(stored: Mapping[str, str]) -> str | None:
    is_kept = stored.get("type") == STICKY and not stored.get("container")
    return None if is_kept else stored.get("node")


def addresses_of(node: Node) -> Addresses:
    """Return the addresses at which others reach a node, at most one per family."""
    bgp = node.spec.bgp
    found: dict[int, IPAddress] = {}
    texts = [each.address for each in node.spec.addresses if each.type == "CalicoNodeIP"]
    texts += [each.address for each in node.spec.addresses if each.type == "InternalIP"][::-1]
    if bgp is not None:
        texts += [bgp.ipv4_address, bgp.ipv6_address]
    for text in texts:  # what comes later is better
        try:
            address = parse_address(text.partition("/")[0])
        except ValueError:
            continue
        if not address.is_link_local:  # such a one is nobody's next hop without a device
            found[address.version] = address
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    A route to another node.

    Attributes:
        via: The node's address; None = it is not known.
    """

    destination: IPNetwork
    node: str
    via: IPAddress | None


def routes(block: Outline, me: str, nodes: Mapping[str, Addresses]) -> Iterator[Route]:
    """
    Yield the routes that a node needs to a block, and to what others borrow of it.

    Args:
        me: The node.
        nodes: Node -> its addresses.
    """
    owner, family = host_of(block.affinity), block.cidr.version
    if owner not in (None, me):
        via = nodes.get(owner, {}).get(family)
        yield Route(destination=block.cidr, node=owner, via=via)
    for node, ordinals in users(block).items():
        if node in (owner, me):
            continue
        via = nodes.get(node, {}).get(family)
        for ordinal in ordinals:
            address = address_at(block.cidr, ordinal)
            host = network(address, address.max_prefixlen)
            yield Route(destination=host, node=node, via=via)


def own_borrowed(block: Outline, me: str) -> Iterator[IPAddress]:
    """Yield what a node itself uses of a block of another one."""
    if host_of(block.affinity) not in (None, me):
        for ordinal in users(block).get(me, ()):
            yield address_at(block.cidr, ordinal)
