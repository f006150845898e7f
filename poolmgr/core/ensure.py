"""
Making sure that a host has a block, before anybody asks for an address.

Rules (Calico libcalico-go/lib/ipam, EnsureBlock):

1. The host's first block in the pools that serve it is the answer, full or not; without one a
   block is claimed, in the first pool that has any, or taken over.
2. No limit of blocks applies; autoAllocateBlocks does.
"""

from poolmgr.cidr import IPNetwork, contains
from poolmgr.core import records
from poolmgr.core.affinity import Claimant
from poolmgr.core.claim import (
    check_gateway,
    claim,
    confirm,
    find_claimable,
    keys_of_own,
    own_blocks,
    use_own,
)
from poolmgr.core.draft import POOLS, RESERVATIONS, Draft
from poolmgr.core.existing import existing_blocks, is_lost, is_reclaimable, take_over
from poolmgr.core.grant import check_numbers, compare_pool
from poolmgr.core.outcome import BlocksEnsured
from poolmgr.core.pools import Criteria, Selection
from poolmgr.core.request import EnsureBlock
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import PoolExhaustedError


def plan_ensure_block(draft: Draft, request: EnsureBlock) -> BlocksEnsured:
    """
    Return one block of the host per family, claimed if need be.

    Raises:
        Missing: More must be known.
        RefusedError: No pool serves the host, or none has a block left.
    """
    check_numbers(request)
    who, node = Claimant(request.host), records.resource_key("nodes", request.host)
    families = sorted(request.reserved)
    affinities = tuple(records.affinity_range(who.host, family) for family in families)
    draft.need(EPOCH_KEY, records.CONFIG_KEY, node, ranges=(POOLS, RESERVATIONS, *affinities))
    draft.compare(records.CONFIG_KEY)  # blocks may not be claimed by themselves any more
    draft.compare(node)  # a label change may take the node out of a pool
    draft.compare_range(POOLS)  # a pool may be added, edited or disabled
    draft.compare_range(RESERVATIONS)  # the block may become reserved
    return BlocksEnsured(
        blocks={family: _ensure(draft, who, request, family) for family in families}
    )


def _ensure(draft: Draft, who: Claimant, request: EnsureBlock, family: int) -> IPNetwork:
    reserved = request.reserved[family]
    selection = draft.select(
        Criteria(
            family=family,
            host=who.host,
            node_labels=draft.node_labels(who.host),
            requested=request.pools.get(family, ()),
            kept_in_block=reserved.count,
        ),
    )
    own = own_blocks(draft, who, family)
    return _own(draft, who, request, selection, own) or _claim(
        draft, who, request, selection, own
    )


def _own(
    draft: Draft,
    who: Claimant,
    request: EnsureBlock,
    selection: Selection,
    own: tuple[IPNetwork, ...],
) -> IPNetwork | None:
    """Return the first block of the host that serves, repaired where it has to be."""
    for cidr in own:
        candidate = next((c for c in selection.kept if contains(c.cidr, cidr)), None)
        if candidate is None or draft.reserved().covers(cidr):
            continue
        draft.need(*keys_of_own(who, cidr))
        draft.compare(records.block_key(cidr))  # the answer holds while the block is the host's
        size, reserved = candidate.pool.spec.block_size, request.reserved[cidr.version]
        block = use_own(draft, who, cidr, size, reserved)
        if block is not None:
            if not draft.exists(records.block_key(cidr)):
                draft.put_block(block)
            return cidr
    return None


def _claim(
    draft: Draft,
    who: Claimant,
    request: EnsureBlock,
    selection: Selection,
    own: tuple[IPNetwork, ...],
) -> IPNetwork:
    names = ", ".join(candidate.name for candidate in selection.kept)
    if not draft.config().auto_allocate_blocks:
        raise PoolExhaustedError(
            f"{who.host} has no block in {names}, and autoAllocateBlocks is off"
        )
    for candidate in selection.kept:
        cidr = find_claimable(draft, who, candidate, own)
        if cidr is not None:
            compare_pool(draft, candidate.name)
            draft.put_block(claim(draft, who, cidr, request.reserved[cidr.version]))
            return cidr
    kept = request.reserved[selection.kept[0].cidr.version]
    for together in existing_blocks(draft, who, selection.kept, own):
        for found in together:
            block = found.block
            if is_lost(block, who):
                confirm(draft, who, block.cidr)
                return block.cidr
            if is_reclaimable(block, who, draft.now_ns):
                compare_pool(draft, found.candidate.name)
                check_gateway(draft, own, found.candidate)
                draft.put_block(take_over(draft, who, block, kept))
                return block.cidr
    others = "; ".join(f"{name}: {why}" for name, why in selection.reasons.items())
    raise PoolExhaustedError(
        f"{who.host} has no block in {names}, and none is left to claim; add a pool"
        + (f"; pools not used: {others}" if others else "")
    )
