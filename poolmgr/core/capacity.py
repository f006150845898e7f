"""
Will it fit: how many nodes with so many pods a pool can carry, by size of its blocks.

Theory: a node claims whole blocks, so what counts is how many blocks a node needs, and how many
are left. Most blocks are alike; the few that reservations, prefix or gateway touch are counted
one by one. All numbers are exact, also those of IPv6.

Rules:

1. Nodes are the planned ones in all: those that own blocks of the pool already are among them,
   and need what they lack.
2. Borrowing is not counted on: a node needs blocks of its own for all of its pods. Blocks that
   are less than whole are used last.
3. A block that overlaps one that exists is not available, whatever is free in it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPNetwork, contains, network_at
from poolmgr.core.link import Link
from poolmgr.core.reservation import AddressSet, interval_of

DEAR = 3
"""One address stranded for so many pods is what a plan may waste for fewer blocks."""

_Runs = list[tuple[int, int]]
"""First and last index of blocks, disjoint and in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """
    Where blocks can be claimed.

    Attributes:
        reserved: Addresses that no pod gets.
        link: What prefix and gateway keep from pods.
        taken: Blocks that exist.
        owned: Per node that has blocks, these.
    """

    pool: IPNetwork
    reserved: AddressSet = field(default_factory=AddressSet)
    link: Link = field(default_factory=lambda: Link(prefix_length=None))
    taken: AddressSet = field(default_factory=AddressSet)
    owned: tuple[tuple[IPNetwork, ...], ...] = ()

    def pods_in(self, block: IPNetwork) -> int:
        """Count the addresses of a block that pods may have."""
        kept = self.reserved | self.link.withheld_in(block)
        return block.num_addresses - kept.count_in(block)

    @property
    def withheld(self) -> int:
        """Count what prefix and gateway keep from pods, ends of blocks not included."""
        return self.link.withheld.count_in(self.pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """
    What is to fit.

    Attributes:
        limit: Blocks that a node may own; None = any number.
    """

    nodes: int
    pods: int
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """
    What blocks of one size make of a goal.

    Attributes:
        size: Prefix length.
        per_node: Blocks that a new node needs.
        blocks: Those of the pool.
        available: Those that can be claimed and have an address for a pod.
        nodes: That fit in all; 0 = none, or the limit of blocks is too low.
        stranded: Unused addresses in the blocks of the nodes that are planned and fit.
        most_pods: Pods that each node of the goal could have; 0 = not even one.
    """

    size: int
    addresses: int
    per_node: int
    blocks: int
    available: int
    nodes: int
    stranded: int
    most_pods: int
    goal: Goal

    @property
    def limited(self) -> bool:
        """Whether a new node would need more blocks than it may own."""
        return self.goal.limit is not None and self.per_node > self.goal.limit

    @property
    def fits(self) -> bool:
        """Whether the goal is met."""
        return self.nodes >= self.goal.nodes


@dataclass(frozen=True, slots=True)
class _Supply:
    """
    Blocks of one size that can be claimed.

    Attributes:
        each: Pods in a whole one.
        whole: How many there are.
        lean: Pods in each of the others, most first.
    """

    each: int
    whole: int
    lean: tuple[int, ...]


def sizes(pool: IPNetwork) -> range:
    """Return the block sizes that a pool can have."""
    known = BLOCK_SIZES[pool.version]
    return range(max(known.start, pool.prefixlen), known.stop)


def fit(space: Space, size: int, goal: Goal) -> Fit:
    """
    Find out what blocks of one size make of a goal.

    Args:
        size: One of `sizes`.
    """
    supply = _supply(space, size)
    owned = sorted(
        ((len(blocks), sum(map(space.pods_in, blocks))) for blocks in space.owned),
        key=lambda each: (-each[1], each[0]),
    )
    nodes, stranded = _fill(supply, owned, goal)
    return Fit(
        size=size,
        addresses=1 << (space.pool.max_prefixlen - size),
        per_node=_per_node(supply, goal.pods),
        blocks=1 << (size - space.pool.prefixlen),
        available=supply.whole + len(supply.lean),
        nodes=nodes,
        stranded=stranded,
        most_pods=_most_pods(supply, owned, goal),
        goal=goal,
    )


def recommended(fits: Iterable[Fit]) -> tuple[Fit | None, str]:
    """
    Choose a block size.

    Returns:
        The choice and its reason; None = nothing fits.
    """
    able = [each for each in fits if each.fits]
    thrifty = [
        each for each in able if each.stranded * DEAR <= each.goal.nodes * each.goal.pods
    ]
    if thrifty:
        best = min(thrifty, key=lambda each: (each.per_node, each.size))
        return best, (
            "the fewest blocks per node, and so the fewest routes, among the sizes that strand "
            f"at most one address for {DEAR} pods"
        )
    if able:
        best = min(able, key=lambda each: (each.stranded, each.per_node))
        return best, "it strands the fewest addresses of the sizes that fit"
    return None, ""


def _per_node(supply: _Supply, pods: int) -> int:
    """Count the blocks of a new node; where no block is whole, those like the best."""
    each = supply.each if supply.whole or not supply.lean else supply.lean[0]
    return -(-pods // each)


def _fill(supply: _Supply, owned: Sequence[tuple[int, int]], goal: Goal) -> tuple[int, int]:
    """
    Give nodes their blocks: those that have some first, who lacks least before the others.

    Args:
        owned: Per node, blocks and pods in them, most pods first.

    Returns:
        How many nodes get all that they need, and what the planned ones of them leave unused.
    """
    nodes, stranded, left = 0, 0, supply.whole
    for blocks, pods in owned:
        need = -(-max(0, goal.pods - pods) // supply.each)
        too_many = goal.limit is not None and need and blocks + need > goal.limit
        if too_many or need > left:
            continue
        left -= need
        nodes += 1
        if nodes <= goal.nodes:
            stranded += pods + need * supply.each - goal.pods
    need = -(-goal.pods // supply.each)
    if goal.limit is not None and need > goal.limit:
        return nodes, stranded
    more, left = divmod(left, need)
    planned = max(0, min(more, goal.nodes - nodes))
    nodes += more
    stranded += planned * (need * supply.each - goal.pods)
    for unused in _from_rest(supply, left, goal):
        nodes += 1
        if nodes <= goal.nodes:
            stranded += unused
    return nodes, stranded


def _from_rest(supply: _Supply, left: int, goal: Goal) -> Iterator[int]:
    """
    Yield what is unused of each node that the last blocks, largest first, are enough for.

    Args:
        left: Whole blocks, too few for a node.
    """
    have, count = left * supply.each, left
    for pods in supply.lean:
        have, count = have + pods, count + 1
        if goal.limit is not None and count > goal.limit:
            return
        if have >= goal.pods:
            yield have - goal.pods
            have, count = 0, 0


def _most_pods(supply: _Supply, owned: Sequence[tuple[int, int]], goal: Goal) -> int:
    """Find the largest number of pods per node with which the planned nodes still fit."""
    best = max((pods for _, pods in owned), default=0)
    least = 0
    most = supply.each * supply.whole + sum(supply.lean) + best
    while least < most:
        middle = (least + most + 1) // 2
        wanted = Goal(nodes=goal.nodes, pods=middle, limit=goal.limit)
        if _fill(supply, owned, wanted)[0] >= goal.nodes:
            least = middle
        else:
            most = middle - 1
    return least


def _supply(space: Space, size: int) -> _Supply:
    """Count the blocks that can be claimed, whole ones and others."""
    pool, step = space.pool, 1 << (space.pool.max_prefixlen - size)
    count = 1 << (size - pool.prefixlen)
    taken = [(first, last) for first, last, _ in _places(space.taken, pool, step)]
    covered: _Runs = []
    partly: set[int] = set()
    for first, last, ends in _places(space.reserved | space.link.withheld, pool, step):
        covered.append((first, last))
        partly |= ends
    inside = _merged(taken)
    lean = [
        pods
        for index in partly - _within(partly, inside)
        if (pods := space.pods_in(_block(pool, size, index)))
    ]
    whole = count - _length(_merged([*taken, *covered]))
    return _Supply(_pods_in_whole(space, size), whole, tuple(sorted(lean, reverse=True)))


def _pods_in_whole(space: Space, size: int) -> int:
    """Count the pods of a block that nothing but its own ends is kept of."""
    block = network_at(space.pool.version, int(space.pool.network_address), size)
    if not space.link.by_block:
        return block.num_addresses
    edges = Link(prefix_length=None, by_block=True).withheld_in(block)
    return block.num_addresses - edges.count_in(block)


def _places(
    kept: AddressSet, pool: IPNetwork, step: int
) -> Iterator[tuple[int, int, set[int]]]:
    """Yield the blocks that each interval touches, and those that it covers only in part."""
    family, low, high = interval_of(pool)
    for version, start, end in kept.intervals:
        if version != family or end < low or start > high:
            continue
        first, last = max(start, low) - low, min(end, high) - low
        ends = set()
        if first % step:
            ends.add(first // step)
        if (last + 1) % step:
            ends.add(last // step)
        yield first // step, last // step, ends


def _merged(runs: _Runs) -> _Runs:
    merged: _Runs = []
    for first, last in sorted(runs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _length(runs: _Runs) -> int:
    return sum(last - first + 1 for first, last in runs)


def _within(indexes: set[int], runs: _Runs) -> set[int]:
    """Return those of `indexes` that lie in one of `runs`."""
    found, ordered, at = set(), sorted(indexes), 0
    for index in ordered:
        while at < len(runs) and runs[at][1] < index:
            at += 1
        if at < len(runs) and runs[at][0] <= index:
            found.add(index)
    return found


def _block(pool: IPNetwork, size: int, index: int) -> IPNetwork:
    step = 1 << (pool.max_prefixlen - size)
    return network_at(pool.version, int(pool.network_address) + index * step, size)


def taken_by(pool: IPNetwork, blocks: Iterable[IPNetwork]) -> AddressSet:
    """Return the addresses of the blocks that lie in a pool, or around it."""
    return AddressSet.union_of(
        interval_of(block) for block in blocks if contains(pool, block) or contains(block, pool)
    )
