"""
Looking through blocks that exist, when nothing is left to claim.

Theory: the blocks of the pools are read in the order in which each pool is walked, as many at a
time as one read takes; a look ends as soon as it has found enough. A full block is told by its
text and forgotten at once, so that memory stays flat however many there are.

Rules (Calico libcalico-go/lib/ipam, findUsableBlock and the borrowing after it):

1. What a host does with a block that has a free address, best first: it is its own, though the
   affinity is lost: use it, and write the affinity again. It is empty, and was claimed by
   another host at least `RECLAIM_AGE_NS` ago: take it over. It is another host's: borrow,
   unless StrictAffinity forbids it.
2. The better is looked for in all blocks of one read before the worse; Calico reads every block
   of the store for that. So in pools of more than `TOGETHER` addresses a host may borrow where
   it could have taken over a block further on.
3. Taking over writes a new block over the old one, compared as it was seen, with a number that
   no earlier address of it can have.
4. A block that belongs to nobody cannot be claimed again; it is borrowed from, and goes with
   its last address.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from poolmgr.cidr import IPNetwork, address_at, walk_blocks, walk_start
from poolmgr.core import records
from poolmgr.core.affinity import Claimant
from poolmgr.core.block import Block, HostReserved, time_ns
from poolmgr.core.claim import claim, is_probed_whole, listed
from poolmgr.core.draft import Draft
from poolmgr.core.pools import Candidate
from poolmgr.core.sticky import has_expired
from poolmgr.errors import CorruptStateError

RECLAIM_AGE_NS = 60 * 1_000_000_000
"""Source: Calico's EmptyBlockMinReclaimAge."""

TOGETHER = 4096
"""
Addresses in the blocks of one read.

64 blocks of a /26, about a megabyte when full.
"""

KEYS = 100
"""Blocks of one read, should they be small."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A block that exists, and the pool it lies in."""

    block: Block
    candidate: Candidate


def existing_blocks(
    draft: Draft,
    who: Claimant,
    candidates: Sequence[Candidate],
    own: Sequence[IPNetwork],
) -> Iterator[list[Existing]]:
    """
    Iterate over the blocks of the pools that are not the host's and not full, read by read.

    Raises:
        Missing: The next blocks must be read.
    """
    skipped = {records.block_key(cidr) for cidr in own}
    chunk: list[tuple[str, Candidate]] = []
    addresses = 0
    for candidate in candidates:
        each = 1 << (candidate.cidr.max_prefixlen - candidate.pool.spec.block_size)
        for key in _in_walk_order(draft, who, candidate):
            if key in skipped or draft.was_full(key):
                continue
            chunk.append((key, candidate))
            addresses += each
            if addresses >= TOGETHER or len(chunk) == KEYS:
                yield _look(draft, chunk)
                chunk, addresses = [], 0
    if chunk:
        yield _look(draft, chunk)


def _look(draft: Draft, chunk: list[tuple[str, Candidate]]) -> list[Existing]:
    draft.need(*(key for key, _ in chunk))
    found = []
    for key, candidate in chunk:
        block = None if draft.is_full(key) else _readable(draft, key)
        if block is not None and _has_room(draft, block, candidate):
            found.append(Existing(block, candidate))
    return found


def _readable(draft: Draft, key: str) -> Block | None:
    """Return a block; None = it is gone, or nobody can read it, and then it is for nobody."""
    cidr = records.block_of_key(key)
    try:
        return None if cidr is None else draft.block(cidr)
    except CorruptStateError:
        return None


def _has_room(draft: Draft, block: Block, candidate: Candidate) -> bool:
    """Tell whether an address of the block is free, or will be, that pods may have."""
    kept = draft.reserved() | candidate.link.withheld_in(block.cidr)
    if kept.covers(block.cidr):
        return False
    if any(has_expired(entry, draft.now_ns) for entry in block.attributes):
        return True
    return any(address_at(block.cidr, n) not in kept for n in block.unallocated)


def _in_walk_order(draft: Draft, who: Claimant, candidate: Candidate) -> Sequence[str]:
    """Return the pool's blocks that exist, by key, ascending from where the walk starts."""
    pool, size = candidate.cidr, candidate.pool.spec.block_size
    if is_probed_whole(candidate):
        keys = map(records.block_key, walk_blocks(pool, size, who.host))
        return _ordered((key for key in keys if draft.exists(key)), who, pool, size)
    ordered = draft.remember(
        ("walked", who, pool, size),
        lambda: _ordered(listed(draft, candidate), who, pool, size),
    )
    written = draft.written_blocks(pool)
    if not written:
        return ordered
    # Some of them the batch has claimed since.
    return (*ordered, *_ordered(set(written).difference(ordered), who, pool, size))


def _ordered(keys: Iterable[str], who: Claimant, pool: IPNetwork, size: int) -> list[str]:
    """Sort the keys of blocks of one size by the way of a host's walk."""
    count, step = 1 << (size - pool.prefixlen), 1 << (pool.max_prefixlen - size)
    first, start = int(pool.network_address), walk_start(who.host, count)
    places = {
        key: ((int(cidr.network_address) - first) // step - start) % count
        for key in keys
        if (cidr := records.block_of_key(key)) is not None and cidr.prefixlen == size
    }
    return sorted(places, key=places.__getitem__)


def is_lost(block: Block, who: Claimant) -> bool:
    """Tell whether a block that the host has no affinity for is the host's all the same."""
    return block.affinity == who.owner


def is_reclaimable(block: Block, who: Claimant, now_ns: int) -> bool:
    """Tell whether a host may take over another's block: it is empty, and not quite new."""
    kind, _, host = (block.affinity or "").partition(":")
    if kind not in records.AFFINITIES or not records.is_segment(host):
        return False  # nobody's, or of an owner that we do not understand
    if block.affinity == who.owner or not block.empty:
        return False
    if block.claimed_at is None:
        return True  # of old, as Calico takes it
    claimed_ns = time_ns(block.claimed_at)
    return claimed_ns is not None and claimed_ns <= now_ns - RECLAIM_AGE_NS


def take_over(
    draft: Draft, who: Claimant, block: Block, reserved: HostReserved | None
) -> Block:
    """
    Make another host's empty block the host's; the caller writes it with its first address.

    Raises:
        Missing: The other host's affinity must be read.
    """
    assert block.affinity is not None
    kind, _, host = block.affinity.partition(":")
    theirs = records.affinity_key(host, block.cidr, kind)
    draft.need(theirs)
    draft.delete(theirs)  # and if it is absent, it must not come back meanwhile
    taken = claim(draft, who, block.cidr, reserved)
    number = max(taken.sequence_number, block.sequence_number + 1)  # clocks differ
    return replace(taken, sequence_number=number)
