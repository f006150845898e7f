"""
Utilization: how many addresses there are, in use, reserved and free, per pool and per block.

Theory: allocation happens in blocks, so what is in use is counted there; the space of a pool
that no block has claimed yet is free but for what reservations cover. Sizes are Python
integers: an IPv6 pool has more addresses than 64 bits can count.

Rules (Calico libcalico-go/lib/ipam, GetUtilization; counts here are exact):

1. In use = not in a block's free list; addresses that cool down count as in use.
2. Reserved = covered by the union of all reservations; an address may be reserved and in use.
3. Free = neither. So the three need not add up to the total.
4. A block belongs to the first pool, in the order given, that it overlaps, and counts there
   with the addresses they share; blocks without a pool are orphans.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from poolmgr.api import IPPool
from poolmgr.cidr import HOST_PREFIX, IPNetwork, address_at, contains
from poolmgr.core.reservation import AddressSet


class Counted(Protocol):
    """What counts in a block: `Block` has it, and `Outline`."""

    @property
    def cidr(self) -> IPNetwork:
        """The block."""

    @property
    def unallocated(self) -> Sequence[int]:
        """Its free ordinals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Counts of addresses."""

    total: int
    in_use: int
    reserved: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockUsage:
    """Counts of one block."""

    cidr: IPNetwork
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """
    Counts of one pool.

    Attributes:
        blocks: In the order given; () where they are not kept.
    """

    name: str
    cidr: IPNetwork
    usage: Usage
    blocks: tuple[BlockUsage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """
    Counts of everything.

    Attributes:
        pools: In the order given.
        orphans: Blocks outside every pool; () where they are not kept.
    """

    pools: tuple[PoolUsage, ...]
    orphans: tuple[BlockUsage, ...]


def utilization(
    pools: Sequence[IPPool],
    reserved: AddressSet,
    blocks: Iterable[Counted],
    *,
    keep_blocks: bool = True,
) -> Utilization:
    """
    Count.

    Args:
        pools: All pools, in name order.
        reserved: Union of all reservations.
        blocks: All blocks; read once, so that they need not be in memory together.
        keep_blocks: Whether the counts of each block are wanted, too.
    """
    home_of = Homes([pool.spec.cidr for pool in pools])
    sums = [_Sum() for _ in pools]
    orphans = _Sum()
    for block in blocks:
        home = home_of.first(block.cidr)
        pool = block.cidr if home is None else pools[home].spec.cidr
        whole = count(block, block.cidr, reserved)
        inside = home is None or contains(pool, block.cidr)
        total = orphans if home is None else sums[home]
        total.add(whole if inside else count(block, pool, reserved))
        if keep_blocks:
            total.blocks.append(BlockUsage(cidr=block.cidr, usage=whole))
    return Utilization(
        pools=tuple(_pool_usage(*each, reserved) for each in zip(pools, sums, strict=True)),
        orphans=tuple(orphans.blocks),
    )


@dataclass(slots=True)
class _Sum:
    """Of a pool's blocks; `unreserved` are addresses, free or not."""

    in_use: int = 0
    free: int = 0
    unreserved: int = 0
    blocks: list[BlockUsage] = field(default_factory=list)

    def add(self, share: Usage) -> None:
        self.in_use += share.in_use
        self.free += share.free
        self.unreserved += share.total - share.reserved


def _pool_usage(pool: IPPool, claimed: _Sum, reserved: AddressSet) -> PoolUsage:
    cidr = pool.spec.cidr
    total, withheld = cidr.num_addresses, reserved.count_in(cidr)
    usage = Usage(
        total=total,
        in_use=claimed.in_use,
        reserved=withheld,
        free=total - withheld - claimed.unreserved + claimed.free,
    )
    return PoolUsage(
        name=pool.metadata.name, cidr=cidr, usage=usage, blocks=tuple(claimed.blocks)
    )


def count(block: Counted, within: IPNetwork, reserved: AddressSet) -> Usage:
    """Count the addresses of `block` in `within`, which is the block or smaller than it."""
    first = int(within.network_address) - int(block.cidr.network_address)
    window = range(first, first + within.num_addresses)
    free = [ordinal for ordinal in block.unallocated if ordinal in window]
    withheld = reserved.count_in(within)
    usable = (
        sum(address_at(block.cidr, ordinal) not in reserved for ordinal in free)
        if withheld
        else len(free)
    )
    return Usage(
        total=len(window), in_use=len(window) - len(free), reserved=withheld, free=usable
    )


class Homes:
    """Finds the first network of a list that overlaps a given one, without trying them all."""

    def __init__(self, networks: Sequence[IPNetwork]) -> None:
        self._by_prefix: dict[tuple[int, int], dict[int, int]] = {}
        for at, network in enumerate(networks):
            same_size = self._by_prefix.setdefault((network.version, network.prefixlen), {})
            same_size.setdefault(_head(network, network.prefixlen), at)

    def first(self, network: IPNetwork) -> int | None:
        """Return the place of that network in the list; None = there is none."""
        return min(self._overlapping(network), default=None)

    def _overlapping(self, network: IPNetwork) -> Iterator[int]:
        for (version, prefix), heads in self._by_prefix.items():
            if version != network.version:
                continue
            if prefix <= network.prefixlen:
                at = heads.get(_head(network, prefix))
                if at is not None:
                    yield at
            else:
                shift, head = prefix - network.prefixlen, _head(network, network.prefixlen)
                yield from (at for small, at in heads.items() if small >> shift == head)


def _head(network: IPNetwork, prefix: int) -> int:
    """Return the first `prefix` bits of the network's address."""
    return int(network.network_address) >> (HOST_PREFIX[network.version] - prefix)
