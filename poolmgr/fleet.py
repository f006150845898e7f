"""
All nodes: what they have, read as of one revision.

Rules:

1. Pages are looked at and let go of; what is kept is a few numbers per node.
2. What does not decode is noted, and not counted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from poolmgr.api import IPReservation, Node
from poolmgr.cidr import IPAddress, IPNetwork, address_at
from poolmgr.core.affinity import AffinityState
from poolmgr.core.block import Attribute
from poolmgr.core.outline import Outline, outline
from poolmgr.core.records import (
    AFFINITIES,
    BLOCKS,
    SESSIONS,
    affinity_range,
    block_of_key,
    decode_affinity,
    decode_resource,
    decode_session,
    host_of_key,
    resource_key,
    resource_range,
    session_key,
)
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.core.tenancy import Addresses, Census, addresses_of, users
from poolmgr.core.txn import Fetch, KeyValue, Range
from poolmgr.errors import CorruptStateError
from poolmgr.scan import Scan
from poolmgr.store.port import Store

_NODES = resource_range(Node.plural)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """
    An address that a node uses.

    Attributes:
        affinity: Of the block.
        owner: Its handle and attributes.
        number: Sequence number recorded with the assignment; 0 = none.
    """

    address: IPAddress
    block: IPNetwork
    affinity: str | None
    owner: Attribute
    number: int


def used_in(block: Outline, name: str) -> Iterator[Usage]:
    """Yield the addresses of a block that a node uses."""
    for ordinal in users(block).get(name, ()):
        index = block.allocations[ordinal]
        assert index is not None
        stored = block.secondary[index] or {}
        yield Usage(
            address=address_at(block.cidr, ordinal),
            block=block.cidr,
            affinity=block.affinity,
            owner=Attribute(handle=block.handles[index], secondary=stored),
            number=block.sequence_numbers.get(ordinal, 0),
        )


class Fleet:
    """
    All nodes, as of one revision.

    Args:
        timeout_s: For all that is asked of it.
        advance: Called with the number of blocks looked at since the last call.

    Attributes:
        revision: As of which everything is read.
        unreadable: What did not decode so far.

    Raises:
        StoreError: There is no answer, or, from its methods, no complete one.
    """

    def __init__(
        self,
        store: Store,
        *,
        timeout_s: float,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        first = Fetch(ranges=frozenset({resource_range(IPReservation.plural)}))
        self._scan, self._advance = Scan(store, first, timeout_s), advance
        self.revision, self.unreadable = self._scan.revision, self._scan.unreadable

    def reserved(self) -> AddressSet:
        """Return what the reservations that decode cover."""
        return self._scan.reserved()

    def census(
        self,
        *,
        reserved: AddressSet = NOTHING,
        look: Callable[[Outline], None] = lambda _: None,
    ) -> Census:
        """
        Count what every node has.

        Args:
            reserved: What nobody gets, and is not free.
            look: Called with each block.
        """
        census = Census(reserved)
        for key, _ in self._scan.stored(replace(_NODES, keys_only=True)):
            census[key.removeprefix(_NODES.start)].has_resource = True
        for key, _ in self._scan.stored(replace(AFFINITIES["host"], keys_only=True)):
            named = host_of_key(key)
            if named is not None:
                census[named[1]].affinities += 1
        for key, _ in self._scan.stored(replace(SESSIONS, keys_only=True)):
            census[key.removeprefix(SESSIONS.start)].has_session = True
        for block in self.blocks():
            census.add(block)
            look(block)
        return census

    def addresses(self) -> dict[str, Addresses]:
        """Return the addresses of every node that has a resource."""
        found: dict[str, Addresses] = {}
        for key, stored in self._scan.stored(_NODES):
            name = key.removeprefix(_NODES.start)
            node = self._node(key, stored)
            found[name] = addresses_of(node) if node else {}
        return found

    def resource(self, name: str) -> Node | None:
        """Return the resource of a node; None = there is none that decodes."""
        key = resource_key(Node.plural, name)
        stored = self._one(key)
        return None if stored is None else self._node(key, stored)

    def deletions(self, name: str) -> int:
        """Return how often something was released on a node since it has a fence."""
        key = session_key(name)
        stored = self._one(key)
        return decode_session(key, stored.value if stored else None).n

    def affinities(self, name: str) -> dict[IPNetwork, AffinityState | None]:
        """Return a node's affinities: block -> state; None = it does not decode."""
        found: dict[IPNetwork, AffinityState | None] = {}
        for family in BLOCKS:
            for key, stored in self._scan.stored(affinity_range(name, family)):
                cidr = block_of_key(key)
                if cidr is not None:
                    found[cidr] = self._state(key, stored)
        return found

    def blocks(self) -> Iterator[Outline]:
        """Yield all blocks that decode, IPv4 first, in key order."""
        for range_ in BLOCKS.values():
            yield from self._scan.decoded(self._scan.items(range_), self._outline)

    def _outline(self, key: str, raw: bytes) -> Outline:
        self._advance(1)
        return outline(key, raw)

    def _node(self, key: str, stored: KeyValue) -> Node | None:
        try:
            return decode_resource(Node, key, stored.value, stored.mod_revision)
        except CorruptStateError as error:
            self.unreadable.append(error)
            return None

    def _state(self, key: str, stored: KeyValue) -> AffinityState | None:
        try:
            return decode_affinity(key, stored.value).state
        except CorruptStateError as error:
            self.unreadable.append(error)
            return None

    def _one(self, key: str) -> KeyValue | None:
        only = Range(start=key, end=f"{key}\0")
        return next((stored for _, stored in self._scan.stored(only)), None)
