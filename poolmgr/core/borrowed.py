"""
Borrowed addresses: in use on another node than the one that owns their block.

Theory: most blocks have none, and their text tells so, at half the price of parsing it.

Rules (Calico cmd/calicoctl/commands/ipam/show.go):

1. Borrowed = the entry names a node, and the block's affinity is another one's, or nobody's.
2. An entry that names no node may be borrowed or not: it is counted, and that is all.
3. An address that cools down is in nobody's hands.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from poolmgr.cidr import IPAddress, IPNetwork, address_at
from poolmgr.core.outline import Ordinals, Outline

_OWNERS = b',"attributes":'
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """
    A borrowed address.

    Attributes:
        node: Where it is used.
        owner: Whose block it is; "" = nobody's.
        type: "vmi", "pod" or what else the entry says; "" = nothing.
        allocated_to: Namespace and name of the pod or virtual machine; "" = not known.
    """

    address: IPAddress
    node: str
    block: IPNetwork
    owner: str
    type: str
    allocated_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """
    What is not at home in a block.

    Attributes:
        without_node: How many addresses are in use, nobody knows where.
    """

    cidr: IPNetwork
    borrowed: tuple[Borrowed, ...]
    without_node: int


def home_of(affinity: str | None) -> str:
    """Return whose a block is, a node or a virtual host; "" = nobody's."""
    return (affinity or "").partition(":")[2]


def is_at_home(block: Ordinals, raw: bytes) -> bool:
    """
    Tell by the text of a block that its owner uses all of its addresses; False = look closer.

    Quotes inside of strings are escaped, so that what is counted are names of fields. There are
    as many objects as entries with a `secondary` each make, and no others, and as many of them
    name the owner: no program writes `node` anywhere else.
    """
    owner, owners = home_of(block.affinity), raw.partition(_OWNERS)[2]
    entries = owners.count(b'"secondary":{')
    return (
        owner != ""
        and owners.count(b'"sequenceNumberForAllocation":{') == 1
        and owners.count(b"{") == 2 * entries + 1
        and owners.count(b'"node":' + json.dumps(owner).encode()) == entries
    )


def away(block: Outline) -> Away:
    """Find what is not at home in a block."""
    owner = home_of(block.affinity)
    home = owner or "/"  # which no node is called
    # Nearly everything is at home: of that, no more than the name of the node is looked at.
    odd = {
        index: entry or _NOTHING
        for index, entry in enumerate(block.secondary)
        if not (entry and entry.get("node") == home) and not block.released[index]
    }
    used = [(at, odd[index]) for at, index in enumerate(block.allocations) if index in odd]
    return Away(
        cidr=block.cidr,
        borrowed=tuple(
            _borrowed(block.cidr, owner, at, entry) for at, entry in used if entry.get("node")
        ),
        without_node=sum(not entry.get("node") for _, entry in used),
    )


def _borrowed(cidr: IPNetwork, owner: str, at: int, entry: Mapping[str, str]) -> Borrowed:
    kind, holder = _holder(entry)
    return Borrowed(
        address=address_at(cidr, at),
        node=entry["node"],
        block=cidr,
        owner=owner,
        type=kind,
        allocated_to=holder,
    )


def _holder(entry: Mapping[str, str]) -> tuple[str, str]:
    namespace = entry.get("namespace", "")
    for kind, name in (("vmi", entry.get("vmi-name")), ("pod", entry.get("pod"))):
        if name:
            return kind, f"{namespace}/{name}"
    return entry.get("type", ""), entry.get("identity", "")
