"""
Assigning the very addresses that a request names, all of them or none.

Rules:

1. A named address needs an enabled pool that allows the use; selectors, assignment mode, the
   block limit and the Node resource do not matter.
2. Unlike Calico it must not be reserved, unless forced; a withheld one is refused always.
3. What the interface holds stays: naming it again is a success, naming another of its family is
   refused.
4. A missing block is claimed for the host. Under StrictAffinity the block of another is
   refused.
"""

from poolmgr.cidr import IPAddress, contains, network, ordinal_of
from poolmgr.core import records
from poolmgr.core.block import assign
from poolmgr.core.claim import check_gateway, claim, confirm, own_blocks
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.grant import (
    add_to_handle,
    attribute_of,
    by_family,
    capped,
    compare_pool,
    enter,
    one_bridge_pool,
)
from poolmgr.core.held import held_by
from poolmgr.core.link import LinkError, MainPlugin, resolve
from poolmgr.core.outcome import Allocation, Assigned
from poolmgr.core.pools import Candidate, Selection, allows, out_of_service, pool_of
from poolmgr.core.request import AssignIP
from poolmgr.core.reservation import AddressSet
from poolmgr.core.sticky import expire, holds
from poolmgr.core.txn import Fetch
from poolmgr.errors import (
    AddressInUseError,
    AddressReservedError,
    NoMatchingPoolError,
    StrictAffinityError,
)


def plan_assign_ip(draft: Draft, request: AssignIP) -> Assigned:
    """
    Assign the addresses a request names, all of them or none.

    Raises:
        Missing, RefusedError: As `plan_auto_assign`.
    """
    at = request.attachment
    keys = () if at is None else (records.attachment_key(at),)
    held = enter(draft, request, keys=keys)
    if at is not None:
        held += holds(draft, at, request.link)
    allocations = list(held)
    lacking = Fetch()
    for address in request.addresses:
        mine = [
            allocation for allocation in held if allocation.address.version == address.version
        ]
        if any(allocation.address == address for allocation in mine):
            continue
        if mine:
            raise AddressInUseError(
                str(mine[0].address),
                request.handle,
                note=f"the same interface asks for {address}; delete its attachment first",
            )
        try:
            allocations.append(
                _held_at_cap(draft, request, address) or assign_one(draft, request, address)
            )
        except Missing as missing:
            lacking |= missing.fetch
    if lacking:
        raise Missing(lacking)
    return Assigned(allocations=by_family(allocations))


def _held_at_cap(draft: Draft, request: AssignIP, address: IPAddress) -> Allocation | None:
    """Return the address if a capped handle holds it already."""
    if not request.max_per_handle or request.handle is None:
        return None
    for allocation in held_by(draft, request.handle, None, request.link):
        if allocation.address == address:
            return allocation
    capped(draft, request, address.version, 1)
    return None


def assign_one(draft: Draft, request: AssignIP, address: IPAddress) -> Allocation:
    """
    Assign one address for a request that named it.

    Raises:
        Missing: More must be known.
        RefusedError: It cannot be assigned.
    """
    who, candidate = request.claimant, named_candidate(draft, request, address)
    _check_not_reserved(draft, request, candidate, address)
    cidr = network(address, candidate.pool.spec.block_size)
    draft.need(
        records.block_key(cidr),
        records.affinity_key(who.host, cidr, who.kind),
        ranges=(records.affinity_range(who.host, cidr.version, who.kind),),
    )
    block = draft.block(cidr)
    if block is not None:
        block = expire(draft, block, first=block.attribute_of(address))
    if block is None:
        check_gateway(draft, own_blocks(draft, who, cidr.version), candidate)
        block = claim(draft, who, cidr)
    elif block.affinity == who.owner:
        confirm(draft, who, cidr)
    elif draft.config().strict_affinity:
        raise StrictAffinityError(str(address), str(cidr), block.affinity)
    ordinal = ordinal_of(cidr, address)
    holder = block.attribute_at(ordinal)
    if holder is not None:
        cooling = (
            "it was released a moment ago and is cooling down" if holder.released_at else ""
        )
        raise AddressInUseError(str(address), holder.owner, note=cooling)
    after = assign(block, ordinal, attribute_of(request))
    draft.put_block(after)
    compare_pool(draft, candidate.name)
    add_to_handle(draft, request.handle, cidr, 1)
    return Allocation(
        address=address,
        block=cidr,
        pool=candidate.name,
        link=candidate.link,
        sequence_number=after.sequence_numbers[ordinal],
    )


def named_candidate(draft: Draft, request: AssignIP, address: IPAddress) -> Candidate:
    """
    Return the pool that a named address comes from.

    Raises:
        Missing: More must be known.
        NoMatchingPoolError: No enabled pool has it, or the pool cannot serve the request.
    """
    pools = draft.pools()
    pool = pool_of(pools, address, enabled=True)
    if pool is None:
        around = {
            p.metadata.name: out_of_service(p) for p in pools if contains(p.spec.cidr, address)
        }
        what = f"address {address} is in no enabled pool"
        raise NoMatchingPoolError(
            what if around else f"{what}; poolctl get ippools shows them", around
        )
    reason = allows(pool, request.use) if request.use is not None else ""
    if not reason:
        try:
            link = resolve(pool.spec.cidr, pool.metadata.annotations, request.link)
        except LinkError as error:
            reason = str(error)
        else:
            candidate = Candidate(pool=pool, link=link)
            if address.version == 4:
                range_ = records.affinity_range(request.host, 4)
                if request.link.main is MainPlugin.BRIDGE_GATEWAY:
                    draft.need(ranges=(range_,))
                    own = own_blocks(draft, request.claimant, 4)
                    one_bridge_pool(
                        draft, request, Selection(kept=(candidate,), reasons={}), own
                    )
            return candidate
    raise NoMatchingPoolError(
        f"address {address} cannot be assigned", {pool.metadata.name: reason}
    )


def _check_not_reserved(
    draft: Draft, request: AssignIP, candidate: Candidate, address: IPAddress
) -> None:
    cidr = network(address, candidate.pool.spec.block_size)
    if address in candidate.link.withheld_in(cidr):
        if address == candidate.link.gateway:
            raise AddressReservedError(
                str(address), f"it is the gateway of pool {candidate.name}"
            )
        raise AddressReservedError(
            str(address),
            f"it is the first or last address of its prefix in pool {candidate.name}",
        )
    if address in draft.reserved() and not request.force:
        names = [
            reservation.metadata.name
            for reservation in draft.reservations()
            if address in AddressSet.of(reservation.spec.reserved_cidrs)
        ]
        raise AddressReservedError(str(address), f"IPReservation {', '.join(names)} covers it")
