"""
What automatic and named assignments share.

Rules:

1. Every assignment compares the configuration, the pools and reservations as ranges, and each
   pool it draws from by key (a deletion leaves no newer key in the range).
2. With an attachment it compares the node's session (a DEL that overtook us) and the handle (a
   second ADD).
"""

from collections.abc import Iterable

from poolmgr.cidr import IPNetwork
from poolmgr.core import records
from poolmgr.core.block import Attribute
from poolmgr.core.claim import own_blocks
from poolmgr.core.draft import POOLS, RESERVATIONS, Draft
from poolmgr.core.handle import Handle
from poolmgr.core.held import held_by, is_sticky
from poolmgr.core.link import MainPlugin
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import Candidate, Selection, pool_of
from poolmgr.core.request import AssignIP, AutoAssign, EnsureBlock
from poolmgr.core.txn import EPOCH_KEY, Range
from poolmgr.errors import (
    AddressInUseError,
    AttachmentDeletedError,
    InvalidRequestError,
    NoMatchingPoolError,
    RefusedError,
)


def enter(
    draft: Draft,
    request: AutoAssign | AssignIP,
    keys: tuple[str, ...] = (),
    ranges: tuple[Range, ...] = (),
) -> tuple[Allocation, ...]:
    """
    Begin an assignment: fetch what all of them need, and compare what they depend on.

    Returns:
        What the interface holds already; () without an attachment.

    Raises:
        Missing: More must be known.
        AttachmentDeletedError: A DEL overtook the request.
    """
    if request.attachment is not None and request.handle != request.attachment.handle:
        raise InvalidRequestError(
            f"{request.handle!r} is not the attachment's handle, {request.attachment.handle!r}",
            field="handle",
        )
    attachment = request.attachment
    session = records.session_key(request.host)
    fenced = () if attachment is None else (session,)
    handle = () if request.handle is None else (records.handle_key(request.handle),)
    first = (EPOCH_KEY, records.CONFIG_KEY, *fenced, *handle, *keys)
    draft.need(*first, ranges=(POOLS, RESERVATIONS, *ranges))
    draft.compare(records.CONFIG_KEY)  # strict affinity, limit or cooldown may change
    draft.compare_range(POOLS)  # a pool may be added, edited or disabled
    draft.compare_range(RESERVATIONS)  # an address may become reserved
    if attachment is None:
        return ()
    fence = draft.session(request.host)
    if request.since is not None and fence.deleted_since(attachment, request.since):
        raise AttachmentDeletedError(str(attachment))
    draft.compare(session)  # a DEL of this attachment may overtake us
    draft.compare(records.handle_key(attachment.handle))  # a second ADD may be under way
    return held_by(draft, attachment.handle, attachment, request.link)


def check_numbers(request: AutoAssign | EnsureBlock) -> None:
    """
    Refuse numbers that nothing can have.

    Raises:
        InvalidRequestError: A family that does not exist, or a negative number.
    """
    counts = request.count if isinstance(request, AutoAssign) else {}
    wanted = {*counts, *request.reserved}
    if not wanted <= {4, 6}:
        raise InvalidRequestError(f"families {sorted(wanted)} must be 4 or 6", field="count")
    ends = [n for kept in request.reserved.values() for n in (kept.first, kept.last)]
    if min([0, *counts.values(), *ends]) < 0:
        raise InvalidRequestError("numbers of addresses must not be negative", field="count")


def attribute_of(request: AutoAssign | AssignIP) -> Attribute:
    """Return the entry that says who owns the addresses."""
    return Attribute(handle=request.handle, secondary=dict(request.attributes))


def add_to_handle(draft: Draft, handle: str | None, block: IPNetwork, count: int) -> None:
    """Count addresses of a block for a handle; None = nobody counts them."""
    if handle is not None:
        draft.put(
            records.handle_key(handle), (draft.handle(handle) or Handle()).add(block, count)
        )


def count_down(draft: Draft, handle: str | None, block: IPNetwork, count: int) -> None:
    """Count addresses of a block less for a handle; a handle that counts nothing goes."""
    stored = None if handle is None else draft.handle(handle)
    if handle is None or stored is None or not count:
        return
    left, key = stored.subtract(block, count), records.handle_key(handle)
    if left.blocks:
        draft.put(key, left)
    else:
        draft.delete(key)


def capped(
    draft: Draft, request: AutoAssign | AssignIP, family: int, wanted: int
) -> tuple[Allocation, ...]:
    """
    Return what answers a request whose handle has as many addresses as it may; () = go on.

    Raises:
        Missing: More must be known.
        AddressInUseError: The handle may not have so many more, and has fewer than are wanted.
    """
    if not request.max_per_handle or request.handle is None:
        return ()
    have = tuple(
        allocation
        for allocation in held_by(draft, request.handle, None, request.link)
        if allocation.address.version == family
    )
    if len(have) + wanted <= request.max_per_handle:
        return ()
    if len(have) < wanted or isinstance(request, AssignIP):
        cap = f"handle {request.handle} may hold {request.max_per_handle} per family"
        if not have:
            raise RefusedError(f"{cap}, and {wanted} are asked for")
        raise AddressInUseError(str(have[0].address), request.handle, note=cap)
    return have[:wanted]


def compare_pool(draft: Draft, name: str) -> None:
    """Make the plan depend on a pool that is drawn from."""
    key = records.resource_key("ippools", name)
    draft.compare(key)  # deleting a pool leaves no newer key in the range


def by_family(allocations: Iterable[Allocation]) -> tuple[Allocation, ...]:
    """Put IPv4 before IPv6, and otherwise keep the order."""
    return tuple(sorted(allocations, key=lambda allocation: allocation.address.version))


def one_bridge_pool(
    draft: Draft,
    request: AutoAssign | AssignIP,
    selection: Selection,
    own: tuple[IPNetwork, ...],
) -> Selection:
    """
    Keep one IPv4 pool for a bridge that is a gateway, which carries one gateway address.

    It is the pool that the node already uses on this network, else the first candidate.
    """
    if request.link.main is not MainPlugin.BRIDGE_GATEWAY or request.attachment is None:
        return selection
    network_name = request.attachment.network
    draft.need(*(records.block_key(cidr) for cidr in own))
    for cidr in own:
        block, pool = draft.block(cidr), pool_of(draft.pools(), cidr, enabled=False)
        if block is None or pool is None:
            continue
        if any(_on(attribute, request.host, network_name) for attribute in block.attributes):
            name = pool.metadata.name
            bridge = f"the bridge of network {network_name} on {request.host}"
            why = f"{bridge} takes one IPv4 gateway, and has that of pool {name}"
            kept = selection.only(name, why)
            if not kept.kept:
                raise NoMatchingPoolError(
                    f"no IPv4 pool serves node {request.host}", kept.reasons
                )
            return kept
    first = selection.kept[0].name
    return selection.only(
        first, f"a bridge takes one IPv4 gateway, and pool {first} comes first"
    )


def check_bridge(draft: Draft, request: AutoAssign, held: Iterable[Allocation]) -> None:
    """
    Make sure that a bridge that is a gateway carries the gateway of addresses that are kept.

    Raises:
        Missing: More must be known.
        NoMatchingPoolError: It carries that of another pool.
    """
    who, pools = request.claimant, draft.pools()
    for allocation in held:
        pool = next((p for p in pools if p.metadata.name == allocation.pool), None)
        if allocation.address.version != 4 or pool is None:
            continue
        kept = (Candidate(pool=pool, link=allocation.link),)
        own = own_blocks(draft, who, 4)
        one_bridge_pool(draft, request, Selection(kept=kept, reasons={}), own)


def _on(attribute: Attribute, host: str, network_name: str) -> bool:
    return (
        not (is_sticky(attribute) and not attribute.secondary.get("container"))
        and attribute.secondary.get("network") == network_name
        and attribute.secondary.get("node") == host
    )
