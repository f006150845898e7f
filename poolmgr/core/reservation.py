"""
Sets of addresses: what IPReservations reserve, and what a prefix or gateway withholds.

Rules:

1. Entries may overlap, nest and touch; only their union counts.
2. An entry that is neither address nor CIDR is skipped, as Calico does: one typing error in a
   reservation must not stop every allocation. (Manifests with such entries are refused long
   before.)
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from poolmgr.cidr import IPAddress, IPNetwork, network_at, parse_address, parse_network

Interval = tuple[int, int, int]
"""Family, first address, last address."""


@dataclass(frozen=True, slots=True)
class AddressSet:
    """
    A set of addresses of both families.

    Attributes:
        intervals: Disjoint, not touching, in order.
    """

    intervals: tuple[Interval, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> "AddressSet":
        """
        Make the union of the addresses and CIDRs in `texts`.

        Host bits are dropped, garbage is skipped.
        """
        return cls.union_of(found for text in texts if (found := _interval(text.strip())))

    @classmethod
    def union_of(cls, intervals: Iterable[Interval]) -> "AddressSet":
        """Make the union of `intervals`, in any order."""
        merged: list[Interval] = []
        for family, first, last in sorted(intervals):
            if merged and merged[-1][0] == family and first <= merged[-1][2] + 1:
                merged[-1] = (family, merged[-1][1], max(last, merged[-1][2]))
            else:
                merged.append((family, first, last))
        return cls(tuple(merged))

    def __or__(self, other: "AddressSet") -> "AddressSet":
        """Return the union."""
        if not self.intervals or not other.intervals:
            return self if self.intervals else other
        return AddressSet.union_of((*self.intervals, *other.intervals))

    def __contains__(self, address: IPAddress) -> bool:
        """Tell whether `address` is in the set."""
        return self._covers(address.version, int(address), int(address))

    def covers(self, network: IPNetwork) -> bool:
        """Tell whether every address of `network` is in the set."""
        return self._covers(*interval_of(network))

    def count_in(self, network: IPNetwork) -> int:
        """Count the addresses of `network` that are in the set."""
        if not self.intervals:  # nearly always, and asked for every block there is
            return 0
        family, first, last = interval_of(network)
        at = max(0, bisect_right(self.intervals, (family, first, 1 << 128)) - 1)
        count = 0
        for index in range(at, len(self.intervals)):
            version, low, high = self.intervals[index]
            if (version, low) > (family, last):
                break
            if version == family:
                count += max(0, min(last, high) - max(first, low) + 1)
        return count

    def cidrs(self) -> list[str]:
        """Write the set as the fewest CIDRs."""
        ends: list[tuple[IPAddress, IPAddress]] = [
            (IPv4Address(first), IPv4Address(last))
            if family == 4
            else (IPv6Address(first), IPv6Address(last))
            for family, first, last in self.intervals
        ]
        return [str(c) for first, last in ends for c in summarize_address_range(first, last)]

    def _covers(self, family: int, first: int, last: int) -> bool:
        at = bisect_right(self.intervals, (family, first, 1 << 128)) - 1
        if at < 0:
            return False
        version, low, high = self.intervals[at]
        return version == family and low <= first and last <= high


def interval_of(network: IPNetwork) -> Interval:
    """Return the interval of a network."""
    first = int(network.network_address)
    return network.version, first, first + network.num_addresses - 1


def blocks_outside(pool: IPNetwork, block_size: int, kept: AddressSet) -> Iterator[IPNetwork]:
    """Iterate, ascending, over the blocks of `pool` that are not wholly inside `kept`."""
    base, step = int(pool.network_address), 1 << (pool.max_prefixlen - block_size)
    count, at = 1 << (block_size - pool.prefixlen), 0
    gaps = [
        (-((base - first) // step), (last + 1 - base) // step)
        for family, first, last in kept.intervals
        if family == pool.version
    ]
    for start, end in [*gaps, (count, count)]:
        while at < min(start, count):
            yield network_at(pool.version, base + at * step, block_size)
            at += 1
        at = max(at, end)


def _interval(text: str) -> Interval | None:
    try:
        if "/" in text:
            return interval_of(parse_network(text, strict=False))
        address = parse_address(text)
    except ValueError:
        return None
    return address.version, int(address), int(address)


NOTHING = AddressSet()
