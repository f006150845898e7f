"""
Assigning addresses automatically, from the pools that serve a host.

Theory, per family: the host's own blocks in key order, then newly claimed ones, then, unless
StrictAffinity forbids it, free addresses in the blocks of others. Both families, handle, blocks
and affinities are one transaction. With an attachment the request is all or nothing and answers
with what the interface already holds; without one it may be given less, with the reason.

Rules (Calico libcalico-go/lib/ipam, autoAssign):

1. All blocks of the host inside the pools that serve are tried before anything is claimed,
   whatever the pools' order.
2. The host's limit of blocks is an error even where borrowing would work.
3. Switching off autoAllocateBlocks stops claims and borrowing alike.
4. A bridge that is a gateway serves one IPv4 pool per node and network: see
   grant.one_bridge_pool.
"""

from dataclasses import dataclass, replace

from poolmgr.cidr import IPNetwork, address_at, contains
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, auto_assign
from poolmgr.core.claim import claim, find_claimable, own_blocks, to_borrow, use_own
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.grant import (
    add_to_handle,
    attribute_of,
    by_family,
    compare_pool,
    enter,
    one_bridge_pool,
)
from poolmgr.core.pools import Candidate, Criteria, Selection, select
from poolmgr.core.request import Allocation, Assigned, AutoAssign
from poolmgr.core.txn import Fetch
from poolmgr.errors import (
    BlockLimitError,
    NoMatchingPoolError,
    PoolExhaustedError,
    RefusedError,
)

PART = 24
"""
Blocks of 64 addresses, or their like, that one part of a large request touches per family.
"""


@dataclass(slots=True)
class _Search:
    """One family of one request, under way."""

    draft: Draft
    request: AutoAssign
    attribute: Attribute
    selection: Selection
    wanted: int
    found: list[Allocation]
    touched: int = 0

    def take(self, block: Block, candidate: Candidate) -> int:
        """Assign what is missing from `block`, write it, and say how many that were."""
        missing = self.wanted - len(self.found)
        blocked = self.draft.reserved() | candidate.link.withheld_in(block.cidr)
        after, ordinals = auto_assign(block, missing, self.attribute, blocked=blocked)
        if ordinals:
            self.draft.put_block(after)
            compare_pool(self.draft, candidate.name)
            add_to_handle(self.draft, self.request.handle, block.cidr, len(ordinals))
            self.touched += max(64, block.size)
            self.found.extend(
                Allocation(
                    address=address_at(block.cidr, ordinal),
                    block=block.cidr,
                    pool=candidate.name,
                    link=candidate.link,
                    sequence_number=after.sequence_numbers[ordinal],
                )
                for ordinal in ordinals
            )
        return len(ordinals)

    @property
    def cut(self) -> bool:
        """
        Whether this part is large enough and more is missing.

        A request with an attachment is never cut.
        """
        large = self.touched >= PART * 64 and self.request.attachment is None
        return large and len(self.found) < self.wanted

    @property
    def done(self) -> bool:
        """Whether there is nothing more to do in this part."""
        return self.cut or len(self.found) >= self.wanted


def plan_auto_assign(draft: Draft, request: AutoAssign) -> Assigned | AutoAssign:
    """
    Assign automatically.

    Returns:
        The answer, or what remains to be asked after the part that was planned.

    Raises:
        Missing: More must be known.
        RefusedError: The answer is no; the draft is to be thrown away.
    """
    families = sorted(family for family, count in request.count.items() if count)
    affinities = tuple(records.affinity_range(request.host, family) for family in families)
    node = records.resource_key("nodes", request.host)
    held = enter(draft, request, keys=(node,), ranges=affinities)
    draft.compare(node)  # a label change may take the node out of a pool
    results: list[_Search] = []
    shortfall: dict[int, RefusedError] = {}
    lacking = Fetch()
    for family in families:
        search = _Search(
            draft=draft,
            request=request,
            attribute=attribute_of(request),
            selection=Selection(kept=(), reasons={}),
            wanted=_missing(request, held, family),
            found=[],
        )
        results.append(search)
        try:
            _search(search, family)
        except Missing as missing:
            lacking |= missing.fetch
        except RefusedError as error:
            first = isinstance(error, NoMatchingPoolError) and not request.so_far
            if first or request.attachment is not None:
                raise
            shortfall[family] = error
    if lacking:
        raise Missing(lacking)
    found = (*request.so_far, *(a for search in results for a in search.found))
    if any(search.cut for search in results):
        return replace(request, so_far=found)
    return Assigned(allocations=by_family((*held, *found)), shortfall=shortfall)


def _missing(request: AutoAssign, held: tuple[Allocation, ...], family: int) -> int:
    have = [a for a in (*held, *request.so_far) if a.address.version == family]
    return max(0, request.count[family] - len(have))


def _search(search: _Search, family: int) -> None:
    """Find what is missing of one family: own blocks, new ones, others'."""
    if not search.wanted:
        return
    draft, request = search.draft, search.request
    selection = select(
        draft.pools(),
        Criteria(
            family=family,
            host=request.host,
            node_labels=draft.node_labels(request.host),
            namespace_labels=request.namespace_labels,
            requested=request.pools.get(family, ()),
            use=request.use,
            link=request.link,
        ),
    )
    own = own_blocks(draft, request.host, family)
    search.selection = (
        one_bridge_pool(draft, request, selection, own) if family == 4 else selection
    )
    mine = [
        (cidr, c) for cidr in own if (c := _candidate_of(search.selection, cidr)) is not None
    ]
    keys = (key for cidr, _ in mine for key in _keys_of_own(request.host, cidr))
    draft.need(*keys)
    owned = 0
    for cidr, candidate in mine:
        if search.done:
            return
        block = use_own(draft, request.host, cidr, candidate.pool.spec.block_size)
        if block is not None:
            owned += 1
            search.take(block, candidate)
    if not search.done:
        _claim_more(search, own, owned)
    if not search.done:
        _borrow(search)


def _keys_of_own(host: str, cidr: IPNetwork) -> tuple[str, str]:
    return records.block_key(cidr), records.affinity_key(host, cidr)


def _claim_more(search: _Search, own: list[IPNetwork], owned: int) -> None:
    draft, host, family = (
        search.draft,
        search.request.host,
        search.selection.kept[0].cidr.version,
    )
    config = draft.config()
    limit = config.block_limit(search.request.max_blocks)
    for candidate in search.selection.kept:
        while not search.done:
            if limit is not None and owned >= limit:
                raise BlockLimitError(host, limit, family)
            if not config.auto_allocate_blocks:
                raise PoolExhaustedError(
                    f"the IPv{family} blocks of {host} are full, and autoAllocateBlocks is off"
                )
            cidr = find_claimable(draft, host, candidate, own)
            if cidr is None:
                break
            search.take(claim(draft, host, cidr), candidate)
            own = [*own, cidr]
            owned += 1


def _borrow(search: _Search) -> None:
    draft, request = search.draft, search.request
    strict = draft.config().strict_affinity
    if not strict:
        for candidate in search.selection.kept:
            for block in to_borrow(draft, request.host, candidate):
                if search.done:
                    return
                search.take(block, candidate)
    if not search.done:
        raise PoolExhaustedError(_exhausted(search, strict=strict))


def _exhausted(search: _Search, *, strict: bool) -> str:
    host, kept = search.request.host, search.selection.kept
    names = ", ".join(f"{candidate.name} ({candidate.cidr})" for candidate in kept)
    if strict:
        what = f"no block is free in {names}, the blocks of {host} are full"
        what += ", and strict affinity forbids borrowing"
    else:
        what = f"no address is free in {names}"
    others = "; ".join(f"{name}: {reason}" for name, reason in search.selection.reasons.items())
    remedy = "add a pool or release addresses (poolctl ipam show --show-blocks)"
    return f"{what}; {remedy}" + (f"; pools not used: {others}" if others else "")


def _candidate_of(selection: Selection, cidr: IPNetwork) -> Candidate | None:
    return next((c for c in selection.kept if contains(c.cidr, cidr)), None)
