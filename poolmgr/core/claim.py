"""
Finding blocks: the host's own, a free one to claim, and others to borrow from.

Theory: a block that nobody has claimed has no key. Candidates come in the order of the host's
walk through the pool,
so hosts seldom meet; a few dozen are probed by keys-only reads, and only a pool that is nearly
full is listed. Probes are hints: the claim compares block and affinity to absent, and loses
cleanly to whoever was first.

Rules (Calico libcalico-go/lib/ipam, findOrClaimBlock, findUsableBlock):

1. A claim writes block and affinity (`confirmed`) in the transaction that assigns the first
   address.
2. Pools are filled in order; a wholly reserved or withheld block is skipped.
3. A claim compares the host's affinities of the family as a range: a block claimed beside us
   counts for the limit.
4. At a host's first claim in a pool with a gateway, nobody may hold the gateway address.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from poolmgr.cidr import IPNetwork, contains, network, walk_blocks, walk_start
from poolmgr.core import records
from poolmgr.core.affinity import TRANSITIONS, Affinity, owner
from poolmgr.core.block import Block, new_block
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.link import GATEWAY
from poolmgr.core.pools import Candidate
from poolmgr.core.reservation import blocks_outside
from poolmgr.core.snapshot import probe
from poolmgr.core.txn import Fetch
from poolmgr.errors import AddressInUseError

PROBES = 50
"""Candidates probed per read; two families fit in one read of 120 operations."""

ROUNDS = 2
LONGEST_WALK = 4096
PAGE = 1000
"""Keys per page once a pool has to be listed."""

BORROW_ADDRESSES = 4096
"""
Addresses in the blocks that one read fetches to borrow from.

64 blocks of a /26, about a megabyte when full.
"""


def own_blocks(draft: Draft, host: str, family: int) -> list[IPNetwork]:
    """Return the blocks a host has affinity for, in key order, skipping malformed keys."""
    keys = draft.affinities(records.affinity_range(host, family))
    return [block for key in keys if (block := records.block_of_key(key)) is not None]


def use_own(draft: Draft, host: str, cidr: IPNetwork, block_size: int) -> Block | None:
    """
    Return the host's own block, ready to be assigned from.

    None = it turned out to be another's.

    What interrupted writers left is repaired on the way: see core/affinity.py.
    """
    key = records.affinity_key(host, cidr)
    draft.need(key, records.block_key(cidr))
    block, affinity = draft.block(cidr), draft.affinity(host, cidr) or Affinity()
    if block is None and cidr.prefixlen != block_size:
        draft.compare(records.block_key(cidr))  # it may be made before we call it stale
        draft.delete(key)
        return None  # of an earlier pool; made anew, it could lie over blocks of this one
    if block is None:
        draft.compare(key)  # somebody may be taking the affinity away
        block = new_block(cidr, owner(host), draft.now_ns)
    elif block.affinity != owner(host):
        draft.compare(
            records.block_key(cidr)
        )  # the block may become ours before we call the affinity stale
        draft.delete(key)
        return None
    state = TRANSITIONS[affinity.state]
    if state is not None:
        draft.put(key, Affinity(state=state, extra=affinity.extra))
    return block


def claim(draft: Draft, host: str, cidr: IPNetwork) -> Block:
    """Claim a block that does not exist; the caller writes it with its first address."""
    range_ = records.affinity_range(host, cidr.version)
    draft.need(records.block_key(cidr), records.affinity_key(host, cidr), ranges=(range_,))
    draft.compare_range(range_)  # a block claimed beside us would break the host's limit unseen
    draft.put(records.affinity_key(host, cidr), draft.affinity(host, cidr) or Affinity())
    return new_block(cidr, owner(host), draft.now_ns)


def find_claimable(
    draft: Draft, host: str, candidate: Candidate, own: list[IPNetwork]
) -> IPNetwork | None:
    """
    Check the pool's gateway and find a free block, with one read for the first look at both.

    Raises:
        Missing, AddressInUseError: As `check_gateway` and `find_free`.
    """
    try:
        check_gateway(draft, own, candidate)
    except Missing as missing:
        first = islice(_usable_walk(draft, host, candidate), PROBES)
        raise Missing(missing.fetch | _probes(first)) from None
    return find_free(draft, host, candidate)


def find_free(draft: Draft, host: str, candidate: Candidate) -> IPNetwork | None:
    """
    Find a block of the pool that nobody has claimed; None = there is none.

    Raises:
        Missing: More of the pool must be looked at.
    """
    usable = _usable_walk(draft, host, candidate)
    for _ in range(ROUNDS):
        batch = list(islice(usable, PROBES))
        unknown = [cidr for cidr in batch if draft.exists(records.block_key(cidr)) is None]
        if unknown:
            raise Missing(_probes(unknown))
        for cidr in batch:
            if not draft.exists(records.block_key(cidr)):
                return cidr
        if len(batch) < PROBES:
            return None
    taken = set(listed(draft, candidate))
    for cidr in usable:
        if cidr not in taken and not draft.exists(records.block_key(cidr)):
            return cidr
    return None


def _probes(blocks: Iterable[IPNetwork]) -> Fetch:
    return Fetch(ranges=frozenset(probe(records.block_key(block)) for block in blocks))


def _usable_walk(draft: Draft, host: str, candidate: Candidate) -> Iterator[IPNetwork]:
    """
    Walk the blocks of a pool that are not wholly reserved or withheld.

    After `LONGEST_WALK` steps come the blocks between the reservations, ascending, some of them
    a second time: in a huge pool of which little is left, the walk alone would take for ever.
    """
    pool, size, reserved = candidate.cidr, candidate.pool.spec.block_size, draft.reserved()
    blocks: Iterator[IPNetwork] = islice(walk_blocks(pool, size, host), LONGEST_WALK)
    if size - pool.prefixlen > LONGEST_WALK.bit_length() - 1:
        kept = reserved | candidate.link.withheld
        blocks = chain(blocks, blocks_outside(pool, size, kept))
    for cidr in blocks:
        if not (reserved | candidate.link.withheld_in(cidr)).covers(cidr):
            yield cidr


def listed(draft: Draft, candidate: Candidate) -> list[IPNetwork]:
    """Return every block of the pool that exists, page by page."""
    found: list[IPNetwork] = []
    whole = records.blocks_within(candidate.cidr)
    range_, more = (
        type(whole)(start=whole.start, end=whole.end, limit=PAGE, keys_only=True),
        True,
    )
    while more:
        keys, more = draft.page(range_)
        blocks = (records.block_of_key(key) for key in keys)
        found.extend(
            block for block in blocks if block is not None and contains(candidate.cidr, block)
        )
        if more:
            range_ = range_.after(keys[-1])
    return found


def to_borrow(draft: Draft, host: str, candidate: Candidate) -> Iterator[Block]:
    """
    Iterate over the existing blocks of a pool, ascending from where the host's walk starts.

    Raises:
        Missing: The next blocks must be read.
    """
    size, pool = candidate.pool.spec.block_size, candidate.cidr
    count = 1 << (size - pool.prefixlen)
    start, step = walk_start(host, count), 1 << (pool.max_prefixlen - size)
    if count <= PROBES * ROUNDS:
        blocks = (
            c for c in walk_blocks(pool, size, host) if draft.exists(records.block_key(c))
        )
    else:
        blocks = (block for block in listed(draft, candidate) if block.prefixlen == size)
    first = int(pool.network_address)
    cidrs = sorted(
        blocks, key=lambda c: ((int(c.network_address) - first) // step - start) % count
    )
    chunk = max(1, BORROW_ADDRESSES // step)
    for at in range(0, len(cidrs), chunk):
        draft.need(*(records.block_key(cidr) for cidr in cidrs[at : at + chunk]))
        for cidr in cidrs[at : at + chunk]:
            block = draft.block(cidr)
            if block is not None:
                yield block


def check_gateway(draft: Draft, own: list[IPNetwork], candidate: Candidate) -> None:
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
