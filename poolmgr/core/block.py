"""
An allocation block.

Which ordinals are free, which are taken, by whom, and since which sequence number.

Theory: a block is one JSON value in etcd, rewritten whole with each change. `allocations` maps
each ordinal to an entry of `attributes`; `unallocated` is a queue: ordinals leave at its head
and freed ones join its tail, so a pod in a restart loop sees an address again only once the
queue before it is used up.

Rules (Calico libcalico-go/lib/ipam/ipam_block.go):

1. Every write raises `sequence_number` by one. An assignment records the number *before* the
   write at its ordinal, so a release that names it can never hit a later owner of the same
   address.
2. One attribute entry serves all ordinals with equal contents; an entry nobody refers to is
   pruned and the allocations are renumbered.
3. A released ordinal first points to an attribute with `releasedAt`; collection frees it once
   that is older than the cooldown. With cooldown 0 both happen in one write.
4. A cooling ordinal is neither free nor owned; a block with one is not empty.

Invariant: free + allocated == size, no ordinal in both, every attribute referenced, every
reference valid.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from poolmgr.cidr import IPAddress, IPNetwork, address_at, ordinal_of
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.errors import RefusedError, StaleReleaseError

WINDOWS_RESERVED_HANDLE = "windows-reserved-ipam-handle"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReserved:
    """
    Addresses at both ends of every block that the host keeps for itself.

    Attributes:
        first: Addresses kept at the start of a block.
        last: Addresses kept at its end.
        handle: Handle id they are stored under; no handle object counts them.
        note: Stored beside it, for people.
    """

    first: int
    last: int
    handle: str
    note: str = ""

    @property
    def count(self) -> int:
        """Addresses kept in each block."""
        return self.first + self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """
    Who owns an ordinal.

    Attributes:
        handle: Handle id as stored; None = owned by nobody.
        secondary: Owner attributes: node, pod, namespace, timestamp, network, interface ...
        alternate: Calico's KubeVirt migration target.
        released_at: RFC 3339 time; present = its ordinals are cooling down.
        extra: Stored fields unknown to us; they survive a rewrite.
    """

    handle: str | None = None
    secondary: Mapping[str, str] = field(default_factory=dict)
    alternate: Mapping[str, str] = field(default_factory=dict)
    released_at: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def owner(self) -> str | None:
        """The handle id without the junk that very old data has behind a carriage return."""
        return self.handle.partition("\r")[0] if self.handle is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """
    An allocation block.

    Attributes:
        affinity: "host:<name>" or "virtual:<name>"; None = belongs to nobody.
        claimed_at: RFC 3339 time of the claim.
        allocations: One entry per ordinal: index into `attributes`; None = free.
        unallocated: Free ordinals, next one first.
        sequence_number: Raised by every write.
        sequence_numbers: Ordinal -> block number recorded when it was assigned or released.
        extra: Stored fields unknown to us; they survive a rewrite.
    """

    cidr: IPNetwork
    affinity: str | None
    claimed_at: str | None = None
    allocations: tuple[int | None, ...]
    unallocated: tuple[int, ...]
    attributes: tuple[Attribute, ...] = ()
    sequence_number: int
    sequence_numbers: Mapping[int, int] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of addresses."""
        return len(self.allocations)

    @property
    def empty(self) -> bool:
        """
        Whether nobody owns an address of it.

        Cooling ordinals count as owned, Windows' reserved ones do not.
        """
        return all(
            index is None
            or (self.attributes[index].owner or "").lower() == WINDOWS_RESERVED_HANDLE
            for index in self.allocations
        )

    def attribute_at(self, ordinal: int) -> Attribute | None:
        """Return who owns `ordinal`; None = it is free."""
        index = self.allocations[ordinal]
        return None if index is None else self.attributes[index]

    def attribute_of(self, address: IPAddress) -> Attribute | None:
        """Return who owns `address`, which lies in the block; None = it is free."""
        return self.attribute_at(ordinal_of(self.cidr, address))

    def ordinals_of(self, handle: str) -> tuple[int, ...]:
        """Return the ordinals that `handle` owns, ascending."""
        mine = {i for i, attribute in enumerate(self.attributes) if attribute.owner == handle}
        return (
            tuple(n for n, index in enumerate(self.allocations) if index in mine)
            if mine
            else ()
        )


def new_block(
    cidr: IPNetwork, affinity: str, now_ns: int, reserved: HostReserved | None = None
) -> Block:
    """
    Make the block a host claims: all ordinals free, ascending, but for those it reserves.

    Numbering starts at the time in nanoseconds: a block that is deleted and made again reuses
    no number.
    """
    size, first, last = cidr.num_addresses, 0, 0
    attributes: tuple[Attribute, ...] = ()
    if reserved is not None and reserved.count:
        note = {"note": reserved.note}
        attributes = (Attribute(handle=reserved.handle, secondary=note),)
        first, last = reserved.first, reserved.last
    return Block(
        cidr=cidr,
        affinity=affinity,
        claimed_at=rfc3339(now_ns),
        allocations=(*(0,) * first, *(None,) * (size - first - last), *(0,) * last),
        unallocated=tuple(range(first, size - last)),
        attributes=attributes,
        sequence_number=now_ns,
    )


def auto_assign(
    block: Block, count: int, attribute: Attribute, *, blocked: AddressSet = NOTHING
) -> tuple[Block, tuple[int, ...]]:
    """
    Give the owner in `attribute` up to `count` of the block's free ordinals.

    Args:
        count: Addresses wanted, >= 0.
        blocked: Addresses to skip; their ordinals keep their place in the queue.

    Returns:
        The block as written, and its new ordinals in order of assignment. Fewer than `count`
        means that the block is full; none at all leaves the block as it was.

    Source: autoAssign.
    """
    chosen: list[int] = []
    for ordinal in block.unallocated:
        if len(chosen) == count:
            break
        if address_at(block.cidr, ordinal) not in blocked:
            chosen.append(ordinal)
    return (_take(block, chosen, attribute), tuple(chosen)) if chosen else (block, ())


def assign(block: Block, ordinal: int, attribute: Attribute) -> Block:
    """Assign a free ordinal to the owner in `attribute` and return the written block."""
    assert block.allocations[ordinal] is None
    return _take(block, [ordinal], attribute)


def _take(block: Block, ordinals: list[int], attribute: Attribute) -> Block:
    attributes = block.attributes
    try:
        index = attributes.index(attribute)
    except ValueError:
        index, attributes = len(attributes), (*attributes, attribute)
    allocations, numbers = list(block.allocations), dict(block.sequence_numbers)
    for ordinal in ordinals:
        allocations[ordinal] = index
        numbers[ordinal] = block.sequence_number
    taken = set(ordinals)
    return replace(
        block,
        allocations=tuple(allocations),
        unallocated=tuple(n for n in block.unallocated if n not in taken),
        attributes=attributes,
        sequence_number=block.sequence_number + 1,
        sequence_numbers=numbers,
    )


def release(
    block: Block, ordinals: Iterable[int], *, now_ns: int, cooldown_s: int, bump: bool
) -> Block:
    """
    Release allocated ordinals: into cooldown, and with cooldown 0 straight back into the queue.

    Args:
        bump: Record the block's number at each ordinal, as a release by address does; one by
            handle does not.

    Returns:
        The written block; the same block when `ordinals` is empty.

    Source: release, releaseByHandle.
    """
    freed = sorted(set(ordinals))
    if not freed:
        return block
    attributes = (*block.attributes, Attribute(released_at=rfc3339(now_ns)))
    allocations, numbers = list(block.allocations), dict(block.sequence_numbers)
    for ordinal in freed:
        assert allocations[ordinal] is not None
        allocations[ordinal] = len(attributes) - 1
        if bump:
            numbers[ordinal] = block.sequence_number
    cooling = replace(
        block,
        allocations=tuple(allocations),
        attributes=attributes,
        sequence_numbers=numbers,
        sequence_number=block.sequence_number + 1,
    )
    # Cooldown 0 frees at once, also within the second that `released_at` cannot tell apart.
    return _prune(_free(cooling, freed)) if cooldown_s <= 0 else _prune(cooling)


def collect(block: Block, *, now_ns: int, cooldown_s: int) -> Block:
    """
    Free every ordinal whose cooldown is over, and drop entries that nobody refers to.

    The sequence number stays: the caller writes, or nothing is stored. A block that needs
    neither is returned itself.

    Source: GarbageCollectColdIPs; the comparison is strict, a negative cooldown frees always.
    """
    cold = {
        index
        for index, attribute in enumerate(block.attributes)
        if attribute.released_at is not None
        and _is_over(attribute.released_at, now_ns, cooldown_s)
    }
    if not cold:
        unused = len(block.attributes) - len({*block.allocations} - {None})
        return _prune(block) if unused else block
    return _prune(
        _free(block, [n for n, index in enumerate(block.allocations) if index in cold])
    )


def check_release(
    block: Block, ordinal: int, *, handle: str | None, sequence_number: int | None
) -> RefusedError | None:
    """
    Say why a release of `ordinal` must not happen.

    None = it may, or the ordinal is free already.

    Args:
        handle: Owner the caller expects; None = any.
        sequence_number: Number the caller expects at the ordinal; None = any. A free ordinal
            has 0.
    """
    address = str(address_at(block.cidr, ordinal))
    stored_number = block.sequence_numbers.get(ordinal, 0)
    if sequence_number is not None and sequence_number != stored_number:
        return StaleReleaseError(
            address, f"its sequence number is {stored_number}, not {sequence_number}"
        )
    attribute = block.attribute_at(ordinal)
    if attribute is None or attribute.released_at is not None or handle is None:
        return None
    if attribute.owner != handle.partition("\r")[0]:
        return StaleReleaseError(
            address, f"it belongs to handle {attribute.owner}, not {handle}"
        )
    return None


def _free(block: Block, ordinals: list[int]) -> Block:
    gone = set(ordinals)
    return replace(
        block,
        allocations=tuple(
            None if n in gone else index for n, index in enumerate(block.allocations)
        ),
        unallocated=(*block.unallocated, *ordinals),
        sequence_numbers={
            n: number for n, number in block.sequence_numbers.items() if n not in gone
        },
    )


def _prune(block: Block) -> Block:
    used = {index for index in block.allocations if index is not None}
    kept = [index for index in range(len(block.attributes)) if index in used]
    new_index = {old: new for new, old in enumerate(kept)}
    return replace(
        block,
        attributes=tuple(block.attributes[index] for index in kept),
        allocations=tuple(
            None if index is None else new_index[index] for index in block.allocations
        ),
    )


def rfc3339(now_ns: int) -> str:
    """Write a time as Calico stores it: UTC, whole seconds."""
    moment = datetime.datetime.fromtimestamp(now_ns // 1_000_000_000, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def time_ns(text: str) -> int | None:
    """Read an RFC 3339 time; None = it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _is_over(released_at: str, now_ns: int, cooldown_s: int) -> bool:
    moment = time_ns(released_at)
    if moment is None or cooldown_s < 0:
        return cooldown_s < 0
    return moment < now_ns - cooldown_s * 1_000_000_000
