"""
Assigning addresses automatically, from the pools that serve a host.

Theory, per family: the host's own blocks in key order, then newly claimed ones, then what
exists (core/existing.py): empty blocks of others to take over and, unless StrictAffinity
forbids it, free addresses to borrow. Both families, handle, blocks and affinities are one
transaction. With an attachment the request is all or nothing and answers with what the
interface already holds; without one it may be given less, with the reason.

Rules (Calico libcalico-go/lib/ipam, autoAssign):

1. All blocks of the host inside the pools that serve are tried before anything is claimed,
   whatever the pools' order.
2. The host's limit of blocks is an error even where borrowing would work.
3. Switching off autoAllocateBlocks stops claims and borrowing alike.
4. A bridge that is a gateway serves one IPv4 pool per node and network: see
   grant.one_bridge_pool.
5. A handle at its cap is answered with what it holds.
"""

from dataclasses import replace

from poolmgr.core import records
from poolmgr.core.affinity import Claimant
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.grant import (
    attribute_of,
    by_family,
    check_bridge,
    check_numbers,
    enter,
)
from poolmgr.core.outcome import Allocation, Assigned
from poolmgr.core.pools import Selection
from poolmgr.core.request import AutoAssign, Use
from poolmgr.core.search import Search, run
from poolmgr.core.sticky import (
    attach,
    attributes_of,
    check_ordinary,
    choose,
    handles_of,
    holds,
    inherit,
)
from poolmgr.core.txn import Fetch
from poolmgr.errors import (
    NoMatchingPoolError,
    RefusedError,
)


def plan_auto_assign(draft: Draft, request: AutoAssign) -> Assigned | AutoAssign:
    """
    Assign automatically.

    Returns:
        The answer, or what remains to be asked after the part that was planned.

    Raises:
        Missing: More must be known.
        RefusedError: The answer is no; the draft is to be thrown away.
    """
    check_numbers(request)
    families = sorted(family for family, count in request.count.items() if count)
    who = request.claimant
    affinities = tuple(records.affinity_range(who.host, f, who.kind) for f in families)
    told = request.use is Use.LOAD_BALANCER or request.node_labels is not None
    node = () if told else (_node_key(who),)
    held = enter(draft, request, keys=(*node, *_sticky_keys(request)), ranges=affinities)
    for key in node:
        draft.compare(key)  # a label change may take the node out of a pool
    if request.sticky is None:
        at = request.attachment
        kept = () if at is None else holds(draft, at, request.link)
        return _assign(draft, request, (*held, *kept))
    check_ordinary(held, request.handle)
    handle = choose(draft, request)
    kept = inherit(draft, request, handle)
    check_bridge(draft, request, kept)
    named = replace(request, handle=handle, attributes=attributes_of(request))
    answer = _assign(draft, named, (*held, *kept))
    assert isinstance(answer, Assigned), "with an attachment nothing is cut"
    attach(draft, request, handle, (a for a in answer.allocations if a not in held))
    return answer


def _sticky_keys(request: AutoAssign) -> tuple[str, ...]:
    """Return the keys that say what an attachment, and its sticky owner, have."""
    if request.attachment is None:
        return ()
    handles = () if request.sticky is None else handles_of(request)
    keys = (records.handle_key(handle) for handle in handles)
    return (records.attachment_key(request.attachment), *keys)


def _assign(
    draft: Draft, request: AutoAssign, held: tuple[Allocation, ...]
) -> Assigned | AutoAssign:
    """Assign what is missing of each family."""
    results: list[Search] = []
    shortfall: dict[int, RefusedError] = {}
    lacking = Fetch()
    for family in sorted(family for family, count in request.count.items() if count):
        search = Search(
            draft=draft,
            request=request,
            attribute=attribute_of(request),
            selection=Selection(kept=(), reasons={}),
            wanted=_missing(request, held, family),
            found=[],
            own=(),
        )
        results.append(search)
        try:
            run(search, family)
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


def _node_key(who: Claimant) -> str:
    return records.resource_key("nodes", who.host)


def _missing(request: AutoAssign, held: tuple[Allocation, ...], family: int) -> int:
    have = [a for a in (*held, *request.so_far) if a.address.version == family]
    return max(0, request.count[family] - len(have))
