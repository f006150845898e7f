"""
Recognising one's own write after an unknown outcome.

A request with an attachment needs none of this: planned again, it finds what it holds. The
others would assign, or report, a second time. What such a request was about to be given is
remembered, and looked for in what is stored now.

Rules:

1. An assignment happened if each planned ordinal carries the handle and the planned sequence
   number. Block numbers never recur, so this is proof. Without a handle there is no proof, and
   the outcome stays unknown.
2. An address that a release was about to free, and that is free now, counts as released by it;
   if it is somebody else's by now, nobody knows.
"""

from dataclasses import replace

from poolmgr.cidr import IPAddress
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.grant import attribute_of
from poolmgr.core.outcome import Allocation, Assigned, Outcome, Released
from poolmgr.core.request import AssignIP, AutoAssign, ReleaseByHandle, ReleaseIPs, Request
from poolmgr.core.snapshot import Snapshot
from poolmgr.errors import (
    CommitUnknownError,
    CorruptStateError,
    PoolmgrError,
    StaleReleaseError,
)

Answer = Outcome | Request


def recognised(request: Request, planned: Answer, snapshot: Snapshot, now_ns: int) -> bool:
    """Tell whether the assignment `planned` for `request` is stored."""
    if not isinstance(request, (AutoAssign, AssignIP)) or request.handle is None:
        return False
    if request.attachment is not None:
        return False  # planned again, it finds what it holds, and that its DEL has not passed
    so_far = request.so_far if isinstance(request, AutoAssign) else ()
    before = {allocation.address for allocation in so_far}
    new = [a for a in _allocations(planned) if a.address not in before]
    draft = Draft(snapshot, now_ns)
    try:
        return bool(new) and all(_is_stored(draft, request, allocation) for allocation in new)
    except (Missing, CorruptStateError):
        return False


def is_provable(request: Request) -> bool:
    """Tell whether a request can find out what became of its write."""
    if isinstance(request, (AutoAssign, AssignIP)):
        return request.handle is not None
    return True


def partial(request: Request, error: PoolmgrError) -> Outcome | None:
    """Return what a request that ends early was given by its earlier parts; None = nothing."""
    match request:
        case AutoAssign(so_far=found) if found:
            families = [family for family, count in request.count.items() if count]
            return Assigned(allocations=found, shortfall=dict.fromkeys(families, error))
        case ReleaseByHandle(so_far=freed) if freed:
            return Released(released=freed, errors=(error,))
        case ReleaseIPs(so_far=Released() as answer):
            return replace(answer, errors=(*answer.errors, error))
        case _:
            return None


def completed(outcome: Outcome, planned: Answer) -> Outcome:
    """Add to the answer of a release what its unknown predecessor was about to free."""
    if not isinstance(outcome, Released):
        return outcome
    earlier = _released(planned)
    # A block left alone freed nothing.
    free = outcome.unallocated if outcome.errors else earlier
    missing = tuple(a for a in earlier if a in free and a not in outcome.released)
    return replace(
        outcome,
        released=(*missing, *outcome.released),
        unallocated=tuple(address for address in outcome.unallocated if address not in earlier),
        errors=tuple(_honest(error, earlier) for error in outcome.errors),
    )


def _honest(error: PoolmgrError, earlier: tuple[IPAddress, ...]) -> PoolmgrError:
    """Do not call it a refusal when the address may have been freed, and given away since."""
    if isinstance(error, StaleReleaseError) and error.address in map(str, earlier):
        return CommitUnknownError(
            f"address {error.address} may have been released by this call, and assigned again "
            "since; its block may have been left alone as well"
        )
    return error


def _allocations(planned: Answer) -> tuple[Allocation, ...]:
    if isinstance(planned, Assigned):
        return planned.allocations
    return planned.so_far if isinstance(planned, AutoAssign) else ()


def _released(planned: Answer) -> tuple[IPAddress, ...]:
    if isinstance(planned, Released):
        return planned.released
    if isinstance(planned, ReleaseByHandle):
        return planned.so_far
    if isinstance(planned, ReleaseIPs) and planned.so_far is not None:
        return planned.so_far.released
    return ()


def _is_stored(draft: Draft, request: AutoAssign | AssignIP, allocation: Allocation) -> bool:
    block = draft.block(allocation.block)
    if block is None:
        return False
    ordinal = int(allocation.address) - int(block.cidr.network_address)
    attribute = block.attribute_at(ordinal)
    same = block.sequence_numbers.get(ordinal) == allocation.sequence_number
    return attribute == attribute_of(request) and same
