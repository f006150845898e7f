"""
Taking blocks for a host, and from hosts, without assigning or releasing addresses.

Rules (Calico libcalico-go/lib/ipam, ClaimAffinity, releaseBlockAffinity and its callers):

1. A released block goes when nobody owns an address of it; otherwise it stays, belongs to no
   host, and goes with its last address.
2. The block decides whose it is: an affinity beside another host's block is stale and goes
   alone, and so does one whose block is missing.
3. What has to be left alone is said, block by block; the others are dealt with all the same.
4. A host that is forgotten is fenced like a DEL of all its attachments, before its blocks go.
5. Large requests are planned part by part, in key order; each part is complete in itself.
"""

from collections.abc import Iterator
from dataclasses import replace

from poolmgr.cidr import IPNetwork, contains, network_at
from poolmgr.core import records
from poolmgr.core.affinity import TRANSITIONS, Affinity, Claimant, owner
from poolmgr.core.claim import claim
from poolmgr.core.draft import POOLS, Draft
from poolmgr.core.grant import compare_pool
from poolmgr.core.outcome import AffinitiesClaimed, AffinitiesReleased
from poolmgr.core.parts import BLOCKS, first_part
from poolmgr.core.pools import out_of_service, pool_of
from poolmgr.core.request import ClaimAffinities, ReleaseAffinities
from poolmgr.core.session import EVERY_ATTACHMENT
from poolmgr.core.txn import EPOCH_KEY, Range
from poolmgr.errors import NoMatchingPoolError, RefusedError

PAGE = 1000
"""Affinity keys per page."""


def plan_release_affinities(
    draft: Draft, request: ReleaseAffinities
) -> AffinitiesReleased | ReleaseAffinities:
    """
    Take blocks from their hosts.

    Returns:
        The answer, or what remains to be asked.

    Raises:
        Missing: More must be known.
    """
    draft.need(EPOCH_KEY, records.CONFIG_KEY)
    if request.forget_host and request.so_far is None:
        assert request.host is not None
        _forget(draft, request.host)
    so_far = request.so_far or AffinitiesReleased(blocks=0)
    found = _next_page(draft, request)
    if found is None:
        return so_far
    keys, after = found
    part = keys[: len(first_part((cidr for _, cidr in keys), BLOCKS))]
    if len(part) < len(keys):
        after = part[-1][0]
    draft.need(*(key for name, cidr in part for key in (name, records.block_key(cidr))))
    results = [_release(draft, request, name, cidr) for name, cidr in part]
    answer = AffinitiesReleased(
        blocks=so_far.blocks + results.count(True),
        errors=(*so_far.errors, *(each for each in results if isinstance(each, RefusedError))),
    )
    return replace(request, after=after, so_far=answer)


def _next_page(
    draft: Draft, request: ReleaseAffinities
) -> tuple[list[tuple[str, IPNetwork]], str] | None:
    """Return the affinities of the next page that are meant, and where it ends; None = done."""
    if request.host is None:
        ranges = [records.AFFINITIES[request.kind]]
    else:
        ranges = [records.affinity_range(request.host, f, request.kind) for f in (4, 6)]
    range_ = next((r for r in ranges if request.after < r.end), None)
    if range_ is None:
        return None
    start = request.after + "\0" if request.after in range_ else range_.start
    asked = Range(start=start, end=range_.end, limit=PAGE, keys_only=True)
    keys, more = draft.page(asked)
    inside = [
        (key, cidr)
        for key in keys
        if (cidr := records.block_of_key(key)) is not None
        and (request.cidr is None or contains(request.cidr, cidr))
    ]
    return inside, keys[-1] if more else range_.end


def _release(
    draft: Draft, request: ReleaseAffinities, key: str, cidr: IPNetwork
) -> RefusedError | bool:
    """Take one block from its host, or say why not; False = it was not the host's any more."""
    kind, host = records.host_of_key(key) or ("", "")
    block = draft.block(cidr)
    if not draft.exists(key):
        return False  # gone since the page was read
    if block is None or block.affinity not in (None, owner(host, kind)):
        # The block may become that host's before its affinity goes.
        draft.compare(records.block_key(cidr))
        draft.delete(key)
        return False
    number = request.sequence_number
    if number is not None and number != block.sequence_number:
        return RefusedError(
            f"block {cidr} was not released: its sequence number is {block.sequence_number}, "
            f"not {number}"
        )
    if request.only_empty and not block.empty:
        return RefusedError(f"block {cidr} of {host} was not released: it is not empty")
    draft.compare(records.CONFIG_KEY)  # the cooldown decides what is empty
    if block.empty:
        draft.delete(records.block_key(cidr))
    else:
        bumped = block.sequence_number + 1
        draft.put_block(replace(block, affinity=None, claimed_at=None, sequence_number=bumped))
    draft.delete(key)
    return True


def _forget(draft: Draft, host: str) -> None:
    session, legacy = records.session_key(host), records.legacy_host_key(host)
    draft.need(session, legacy)
    if draft.exists(legacy):
        draft.delete(legacy)
    draft.put(session, draft.session(host).bump(EVERY_ATTACHMENT))


def plan_claim_affinities(
    draft: Draft, request: ClaimAffinities
) -> AffinitiesClaimed | ClaimAffinities:
    """
    Claim the blocks inside a CIDR for a host.

    Returns, raises:
        As `plan_release_affinities`.

    Raises:
        NoMatchingPoolError: The CIDR is not inside an enabled pool, or smaller than its blocks.
    """
    affinities = records.affinity_range(request.host, request.cidr.version, request.kind)
    draft.need(EPOCH_KEY, records.CONFIG_KEY, ranges=(POOLS, affinities))
    pool = pool_of(draft.pools(), request.cidr, enabled=True)
    size = 0 if pool is None else pool.spec.block_size
    if pool is None or request.cidr.prefixlen > size:
        raise _not_claimable(draft, request.cidr, size)
    draft.compare_range(POOLS)  # the pool may be disabled, or edited
    compare_pool(draft, pool.metadata.name)
    part = first_part(_blocks_after(request.cidr, size, request.after), BLOCKS)
    draft.need(
        *(
            key
            for cidr in part
            for key in (
                records.block_key(cidr),
                records.affinity_key(request.host, cidr, request.kind),
            )
        )
    )
    who = Claimant(request.host, request.kind)
    claimed = [cidr for cidr in part if _claim(draft, who, cidr)]
    failed = [cidr for cidr in part if cidr not in claimed]
    answer = AffinitiesClaimed(
        claimed=(*request.claimed, *claimed), failed=(*request.failed, *failed)
    )
    if next(_blocks_after(request.cidr, size, part[-1]), None) is not None:
        return replace(request, after=part[-1], claimed=answer.claimed, failed=answer.failed)
    return answer


def _not_claimable(draft: Draft, cidr: IPNetwork, block_size: int) -> NoMatchingPoolError:
    if block_size:
        return NoMatchingPoolError(
            f"{cidr} is smaller than the blocks of its pool, which are /{block_size}", {}
        )
    around = {
        p.metadata.name: out_of_service(p) for p in draft.pools() if contains(p.spec.cidr, cidr)
    }
    return NoMatchingPoolError(f"{cidr} lies in no enabled pool", around)


def _claim(draft: Draft, who: Claimant, cidr: IPNetwork) -> bool:
    block, key = draft.block(cidr), records.affinity_key(who.host, cidr, who.kind)
    affinity = draft.affinity(who.host, cidr, who.kind)
    if block is None:
        draft.put_block(claim(draft, who, cidr))
        return True
    # The answer holds only while the block says so.
    draft.compare(records.block_key(cidr))
    if block.affinity != who.owner:
        if affinity is not None:
            draft.delete(key)  # stale: an interrupted claim
        return False
    state = TRANSITIONS[affinity.state] if affinity else Affinity().state
    if state is not None:
        draft.put(key, replace(affinity or Affinity(), state=state))
    return True


def _blocks_after(cidr: IPNetwork, size: int, after: IPNetwork | None) -> Iterator[IPNetwork]:
    step = 1 << (cidr.max_prefixlen - size)
    first = int(cidr.network_address) if after is None else int(after.network_address) + step
    last = int(cidr.network_address) + cidr.num_addresses
    return (network_at(cidr.version, at, size) for at in range(first, last, step))
