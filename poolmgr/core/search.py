"""
One family of one assignment: where its addresses are looked for, in order.

The host's own blocks, in key order; newly claimed ones; blocks that exist (core/existing.py).
The rules are those of core/assign.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from poolmgr.cidr import IPNetwork, address_at, contains
from poolmgr.core import records
from poolmgr.core.affinity import Claimant
from poolmgr.core.among import assign_among
from poolmgr.core.block import Attribute, Block, HostReserved, auto_assign
from poolmgr.core.claim import (
    check_gateway,
    claim,
    drop_stray,
    find_claimable,
    keys_of_own,
    own_blocks,
    use_own,
)
from poolmgr.core.draft import Draft
from poolmgr.core.existing import Existing, existing_blocks, is_lost, is_reclaimable, take_over
from poolmgr.core.grant import (
    add_to_handle,
    capped,
    compare_pool,
    one_bridge_pool,
)
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import Candidate, Criteria, OwnView, Selection, strayed
from poolmgr.core.request import AutoAssign, Use
from poolmgr.core.sticky import (
    expire,
)
from poolmgr.errors import (
    BlockLimitError,
    PoolExhaustedError,
)

PART = 24
"""
Blocks of 64 addresses, or their like, that one part of a large request touches per family.
"""

STRAYS = 10
"""Blocks in pools that no longer select the host, looked at by one assignment."""


@dataclass(slots=True)
class Search:
    """
    One family of one request, under way.

    Attributes:
        own: The host's blocks, wherever they lie; claims join them.
        owned: How many of them count for the limit.
    """

    draft: Draft
    request: AutoAssign
    attribute: Attribute
    selection: Selection
    wanted: int
    found: list[Allocation]
    own: tuple[IPNetwork, ...]
    owned: int = 0
    touched: int = 0

    @property
    def who(self) -> Claimant:
        """Who claims blocks."""
        return self.request.claimant

    def take(self, block: Block, candidate: Candidate) -> int:
        """Assign what is missing from `block`, write it, and say how many that were."""
        missing, block = self.wanted - len(self.found), expire(self.draft, block)
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

    def take_new(self, block: Block, candidate: Candidate) -> None:
        """Assign from a block that has just become the host's, and has perhaps no room."""
        self.draft.put_block(block)
        self.take(block, candidate)
        self.own = (*self.own, block.cidr)
        self.owned += 1

    def check_limit(self) -> None:
        """
        Make sure that the host may have one more block.

        Raises:
            BlockLimitError, PoolExhaustedError: It may not.
        """
        config, family = self.draft.config(), self.selection.kept[0].cidr.version
        limit = config.block_limit(self.request.max_blocks)
        if limit is not None and self.owned >= limit:
            raise BlockLimitError(self.request.host, limit, family)
        if not config.auto_allocate_blocks:
            raise PoolExhaustedError(
                f"the IPv{family} blocks of {self.request.host} are full, and "
                "autoAllocateBlocks is off"
            )

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


def run(search: Search, family: int) -> None:
    """Find what is missing of one family: own blocks, new ones, others'."""
    draft, request = search.draft, search.request
    if search.wanted:
        search.found.extend(capped(draft, request, family, search.wanted))
    among = request.among.get(family, ())
    while among and not search.done:
        search.found.append(assign_among(draft, request, among))
    if search.done:
        return
    search.own = own_blocks(draft, search.who, family)
    search.selection = selected(draft, request, family, search.own)
    _use_own(search, request.reserved.get(family))
    if not search.done:
        _claim_more(search, request.reserved.get(family))
    if not search.done:
        _use_existing(search, request.reserved.get(family))


def _use_own(search: Search, reserved: HostReserved | None) -> None:
    """Assign from the host's own blocks, and drop those that it must not use any longer."""
    draft, who = search.draft, search.who
    view, others = _view(search), set()
    for cidr, candidate, key in view.mine:
        if search.done:
            break
        if draft.is_spent(key, who.owner):
            search.owned += 1
            continue
        block = use_own(draft, who, cidr, candidate.pool.spec.block_size, reserved)
        if block is None:
            others.add(cidr)
            continue
        search.owned += 1
        if not block.unallocated:
            draft.note_spent(key)
        search.take(block, candidate)
    if others:  # it may be borrowed from them
        search.own = tuple(cidr for cidr in search.own if cidr not in others)
    for cidr in view.strays:
        drop_stray(draft, who, cidr)


def _view(search: Search) -> OwnView:
    """Sort the host's own blocks, once for requests that want the same, and read them."""
    draft, who, own = search.draft, search.who, search.own
    name = who, search.selection.kept[0].cidr.version
    view = draft.views.get(name)
    if view is not None and view.own is own and view.selection is search.selection:
        return view
    mine = tuple(
        (cidr, candidate, records.block_key(cidr))
        for cidr in own
        if (candidate := _candidate_of(search.selection, cidr)) is not None
    )
    strays = _strays(draft, search.request, own)
    looked_at = (*(cidr for cidr, _, _ in mine), *strays)
    draft.need(*(key for cidr in looked_at for key in keys_of_own(who, cidr)))
    draft.views[name] = OwnView(
        own=own, selection=search.selection, mine=mine, strays=tuple(strays)
    )
    return draft.views[name]


def selected(
    draft: Draft, request: AutoAssign, family: int, own: tuple[IPNetwork, ...]
) -> Selection:
    """
    Judge every pool for one family of a request.

    Args:
        own: The host's blocks of the family.

    Raises:
        Missing: More must be known.
        NoMatchingPoolError, CorruptStateError: As `core.pools.select`.
    """
    selection = draft.select(criteria_of(draft, request, family))
    return one_bridge_pool(draft, request, selection, own) if family == 4 else selection


def criteria_of(draft: Draft, request: AutoAssign, family: int) -> Criteria:
    """Return what a request wants of a pool of one family."""
    reserved = request.reserved.get(family)
    return Criteria(
        family=family,
        host=request.host,
        node_labels=_labels(draft, request),
        namespace_labels=request.namespace_labels,
        requested=request.pools.get(family, ()),
        kept_in_block=0 if reserved is None else reserved.count,
        use=request.use,
        link=request.link,
    )


def _labels(draft: Draft, request: AutoAssign) -> Mapping[str, str] | None:
    if request.use is Use.LOAD_BALANCER:
        return {}
    if request.node_labels is not None:
        return request.node_labels
    return draft.node_labels(request.host)


def _strays(draft: Draft, request: AutoAssign, own: tuple[IPNetwork, ...]) -> list[IPNetwork]:
    labels, pools = _labels(draft, request), draft.pools()
    if labels is None:
        return []
    found = [cidr for cidr in own if strayed(pools, cidr, labels)]
    first = draft.now_ns % max(1, len(found))  # those that are looked at change with the time
    return [*found[first:], *found[:first]][:STRAYS]


def _claim_more(search: Search, reserved: HostReserved | None) -> None:
    draft, who = search.draft, search.who
    for candidate in search.selection.kept:
        while not search.done:
            search.check_limit()
            cidr = find_claimable(draft, who, candidate, search.own)
            if cidr is None:
                break
            search.take_new(claim(draft, who, cidr, reserved), candidate)


def _use_existing(search: Search, reserved: HostReserved | None) -> None:
    """Use what nobody uses in blocks that exist: take blocks over, then borrow."""
    draft, strict = search.draft, search.draft.config().strict_affinity
    for together in existing_blocks(draft, search.who, search.selection.kept, search.own):
        for found in together:
            search.check_limit()
            _make_own(search, found, reserved)
            if search.done:
                return
        search.check_limit()
        for found in () if strict else together:
            search.take(draft.block(found.block.cidr) or found.block, found.candidate)
            if search.done:
                return
    raise PoolExhaustedError(_exhausted(search, strict=strict))


def _make_own(search: Search, found: Existing, reserved: HostReserved | None) -> None:
    """Assign from a block that the host may call its own."""
    draft, who, block = search.draft, search.who, found.block
    if is_lost(block, who):
        claim(draft, who, block.cidr)  # writes the affinity anew
        search.take_new(block, found.candidate)
    elif is_reclaimable(block, who, draft.now_ns):
        check_gateway(draft, search.own, found.candidate)
        search.take_new(take_over(draft, who, block, reserved), found.candidate)


def _exhausted(search: Search, *, strict: bool) -> str:
    host, kept = search.request.host, search.selection.kept
    names = ", ".join(f"{candidate.name} ({candidate.cidr})" for candidate in kept)
    if strict:
        what = f"no block is free in {names}, the blocks of {host} are full"
        what += ", and strict affinity forbids borrowing"
    else:
        what = f"no address is free in {names}"
    own = search.request.reserved.get(kept[0].cidr.version)
    if own is not None and own.count:
        what += f", and {host} keeps {own.count} addresses of each block for {own.handle}"
    others = "; ".join(f"{name}: {reason}" for name, reason in search.selection.reasons.items())
    remedy = "add a pool or release addresses (poolctl ipam show --show-blocks)"
    return f"{what}; {remedy}" + (f"; pools not used: {others}" if others else "")


def _candidate_of(selection: Selection, cidr: IPNetwork) -> Candidate | None:
    return next((c for c in selection.kept if contains(c.cidr, cidr)), None)
