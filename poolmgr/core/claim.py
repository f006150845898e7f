"""
Finding blocks to assign from: the host's own, and one that nobody has claimed.

Theory: a block that nobody has claimed has no key. Candidates come in the order of the host's
walk through the pool, so hosts seldom meet; a few dozen are probed by keys-only reads, and only
a pool that is nearly full is listed. Probes are hints: the claim compares block and affinity to
absent, and loses cleanly to whoever was first.

Rules (Calico libcalico-go/lib/ipam, findOrClaimBlock, findUsableBlock):

1. A claim writes block and affinity (`confirmed`) in the transaction that assigns the first
   address.
2. Pools are filled in order; a wholly reserved or withheld block is skipped.
3. The host's affinities of the family are compared as a range, so that a parallel claim cannot
   get past the limit of blocks.
4. A host claims its first block of a pool only while the pool's gateway address is nobody's.
5. An own block in a pool that no longer selects the host is not used; once it is empty, the
   next assignment of the host takes block and affinity away.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice

from poolmgr.cidr import IPNetwork, contains, network, walk_blocks
from poolmgr.core import records
from poolmgr.core.affinity import TRANSITIONS, Affinity, Claimant
from poolmgr.core.block import Block, HostReserved, new_block
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.link import GATEWAY
from poolmgr.core.pools import Candidate
from poolmgr.core.reservation import blocks_outside
from poolmgr.core.snapshot import probe
from poolmgr.core.txn import Fetch, Range
from poolmgr.errors import AddressInUseError

PROBES = (50, 80)
"""Candidates probed by one read after another; of the first, two families fit in one read."""

LONGEST_WALK = 4096
PAGE = 1000
"""Keys per page once a pool has to be listed."""

CHOICE = 2048
"""Unclaimed blocks, in the order of the walk, that are remembered of a listed pool."""


def own_blocks(draft: Draft, who: Claimant, family: int) -> tuple[IPNetwork, ...]:
    """Return the blocks a host has affinity for, in key order, skipping malformed keys."""
    return _blocks(draft.affinities(records.affinity_range(who.host, family, who.kind)))


@lru_cache(maxsize=256)
def _blocks(keys: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(block for key in keys if (block := records.block_of_key(key)) is not None)


def keys_of_own(who: Claimant, cidr: IPNetwork) -> tuple[str, str]:
    """Return the keys of a block and of the host's affinity for it."""
    return records.block_key(cidr), records.affinity_key(who.host, cidr, who.kind)


def use_own(
    draft: Draft,
    who: Claimant,
    cidr: IPNetwork,
    block_size: int,
    reserved: HostReserved | None = None,
) -> Block | None:
    """
    Return the host's own block, ready to be assigned from.

    None = it turned out to be another's.

    What interrupted writers left is repaired on the way: see core/affinity.py.
    """
    block_key, key = keys_of_own(who, cidr)
    draft.need(key, block_key)
    block = draft.block(cidr)
    affinity = draft.affinity(who.host, cidr, who.kind) or Affinity()
    if block is None and cidr.prefixlen != block_size:
        draft.compare(block_key)  # it may be made before we call it stale
        draft.delete(key)
        return None  # of an earlier pool; made anew, it could lie over blocks of this one
    if block is None:
        draft.compare(key)  # somebody may be taking the affinity away
        block = new_block(cidr, who.owner, draft.now_ns, reserved)
    elif block.affinity != who.owner:
        # The block may become ours before we call the affinity stale.
        draft.compare(block_key)
        draft.delete(key)
        return None
    state = TRANSITIONS[affinity.state]
    if state is not None:
        draft.put(key, Affinity(state=state, extra=affinity.extra))
    return block


def confirm(draft: Draft, who: Claimant, cidr: IPNetwork) -> None:
    """Write the affinity of a block of one's own as it should be, if it is not."""
    block_key, key = keys_of_own(who, cidr)
    draft.need(block_key, key)
    found = draft.affinity(who.host, cidr, who.kind)
    if found is None or TRANSITIONS[found.state] is not None:
        draft.compare(block_key)  # the block may be taken away while the affinity is written
        draft.put(key, Affinity(extra=found.extra if found else {}))


def drop_stray(draft: Draft, who: Claimant, cidr: IPNetwork) -> None:
    """Take away the host's claim to a block that it must not use, unless it holds addresses."""
    block_key, key = keys_of_own(who, cidr)
    block = draft.block(cidr)
    if block is not None and block.affinity == who.owner:
        if not block.empty:
            return
        draft.delete(block_key)
    else:
        draft.compare(block_key)  # the block may become ours before its affinity goes
    draft.delete(key)


def claim(
    draft: Draft, who: Claimant, cidr: IPNetwork, reserved: HostReserved | None = None
) -> Block:
    """Claim a block that does not exist; the caller writes it with its first address."""
    range_ = records.affinity_range(who.host, cidr.version, who.kind)
    block_key, key = keys_of_own(who, cidr)
    draft.need(block_key, key, ranges=(range_,))
    draft.compare_range(range_)  # a parallel claim could exceed the host's limit of blocks
    found = draft.affinity(who.host, cidr, who.kind)
    draft.put(key, Affinity(extra=found.extra if found else {}))
    return new_block(cidr, who.owner, draft.now_ns, reserved)


def find_claimable(
    draft: Draft, who: Claimant, candidate: Candidate, own: Sequence[IPNetwork]
) -> IPNetwork | None:
    """
    Check the pool's gateway and find a free block, with one read for the first look at both.

    Raises:
        Missing, AddressInUseError: As `check_gateway` and `find_free`.
    """
    try:
        check_gateway(draft, own, candidate)
    except Missing as missing:
        first = islice(_usable_walk(draft, who, candidate), PROBES[0])
        raise Missing(missing.fetch | _probes(first)) from None
    return find_free(draft, who, candidate)


def find_free(draft: Draft, who: Claimant, candidate: Candidate) -> IPNetwork | None:
    """
    Find a block of the pool that nobody has claimed; None = there is none.

    Raises:
        Missing: More of the pool must be looked at.
    """
    usable = _usable_walk(draft, who, candidate)
    for probes in PROBES:
        batch = list(islice(usable, probes))
        unknown = [cidr for cidr in batch if draft.exists(records.block_key(cidr)) is None]
        if unknown:
            raise Missing(_probes(unknown))
        for cidr in batch:
            if not draft.exists(records.block_key(cidr)):
                return cidr
        if len(batch) < probes:
            return None

    def unclaimed() -> Iterator[str]:
        taken = set(listed(draft, candidate))
        keys = (records.block_key(cidr) for cidr in usable)
        return islice((key for key in keys if key not in taken), CHOICE)

    name = ("unclaimed", who, candidate.cidr, candidate.pool.spec.block_size)
    key = next((key for key in draft.remember(name, unclaimed) if not draft.exists(key)), None)
    return None if key is None else records.block_of_key(key)


def is_probed_whole(candidate: Candidate) -> bool:
    """Tell whether `find_free` has looked at every block of the pool, one by one."""
    return 1 << (candidate.pool.spec.block_size - candidate.cidr.prefixlen) <= sum(PROBES)


def _probes(blocks: Iterable[IPNetwork]) -> Fetch:
    return Fetch(ranges=frozenset(probe(records.block_key(block)) for block in blocks))


def _usable_walk(draft: Draft, who: Claimant, candidate: Candidate) -> Iterator[IPNetwork]:
    """
    Walk the blocks of a pool that are not wholly reserved or withheld.

    After `LONGEST_WALK` steps come the blocks between the reservations, ascending, some of them
    a second time: in a huge pool of which little is left, the walk alone would take for ever.
    """
    pool, size, reserved = candidate.cidr, candidate.pool.spec.block_size, draft.reserved()
    blocks: Iterator[IPNetwork] = islice(walk_blocks(pool, size, who.host), LONGEST_WALK)
    if size - pool.prefixlen > LONGEST_WALK.bit_length() - 1:
        kept = reserved | candidate.link.withheld
        blocks = chain(blocks, blocks_outside(pool, size, kept))
    for cidr in blocks:
        if not (reserved | candidate.link.withheld_in(cidr)).covers(cidr):
            yield cidr


def listed(draft: Draft, candidate: Candidate) -> tuple[str, ...]:
    """
    Return the keys of the pool's blocks that existed when it was listed, page by page.

    Raises:
        Missing: The next page must be read.
    """

    def inside() -> Iterator[str]:
        for key in keys:
            block = records.block_of_key(key)
            if block is not None and contains(candidate.cidr, block):
                yield key

    keys = _all_pages(draft, records.blocks_within(candidate.cidr))
    return draft.remember(("listed", candidate.cidr), inside)


def _all_pages(draft: Draft, whole: Range) -> list[str]:
    range_, more = replace(whole, limit=PAGE), True
    found: list[str] = []
    while more:
        keys, more = draft.page(range_)
        found += keys
        if more:
            range_ = range_.after(keys[-1])
    return found


def check_gateway(draft: Draft, own: Sequence[IPNetwork], candidate: Candidate) -> None:
    """
    Refuse a host's first claim in a pool while a pod holds the pool's gateway address.

    Raises:
        AddressInUseError: It does; the message names the remedy.
    """
    gateway = candidate.link.gateway
    if gateway is None or any(contains(candidate.cidr, cidr) for cidr in own):
        return
    if not contains(candidate.cidr, gateway):
        return
    block = draft.block(network(gateway, candidate.pool.spec.block_size))
    holder = None if block is None else block.attribute_of(gateway)
    if holder is not None and holder.released_at is None:
        raise AddressInUseError(
            str(gateway),
            holder.owner,
            note=f"it is to be the gateway of pool {candidate.name}: release it and add an "
            f"IPReservation, or name another gateway in the pool's annotation {GATEWAY}",
        )
