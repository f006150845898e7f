"""
Why an assignment was answered as it was: the verdict on every pool, and whose block it is from.

Theory: whoever ran the planner kept what it had read. The same functions judge the same facts
again, one pool at a time, so that pools are told apart which the planner's answer takes
together.

Rules:

1. Pools that serve come first, in the order of use, IPv4 before IPv6; the others by name.
2. A verdict that the planner's answer carries goes before one on the pool alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from poolmgr.api import IPPool
from poolmgr.api.ippool import priority
from poolmgr.cidr import IPNetwork, contains, ordinal_of
from poolmgr.core import records
from poolmgr.core.affinity import Claimant
from poolmgr.core.claim import own_blocks
from poolmgr.core.draft import Draft, Missing
from poolmgr.core.link import LinkError, resolve
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import (
    Criteria,
    allows,
    is_named,
    judge,
    out_of_service,
)
from poolmgr.core.request import AddressRange, AssignIP, AutoAssign
from poolmgr.core.search import criteria_of, selected
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Txn
from poolmgr.errors import CorruptStateError, NoMatchingPoolError

_REFUSED = "it could serve, but the request is refused as a whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What became of a pool.

    Attributes:
        name: Of the pool, or what the request calls one that does not exist.
        cidr: None = it does not exist, or cannot be read.
        rank: Its place among those of its family that serve, from 1; None = it does not serve.
        reason: Why it serves, or why not.
    """

    name: str
    cidr: IPNetwork | None
    rank: int | None
    reason: str


class Source(StrEnum):
    """Where an address comes from."""

    OWN = "own block"
    CLAIMED = "claimed anew"
    TAKEN = "taken over"
    BORROWED = "borrowed"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """
    Where an address comes from.

    Attributes:
        owner: Whose the block was before, as "host:<node>"; "" = nobody's.
    """

    source: Source
    owner: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Of a pool: where it stands, and why."""

    rank: int | None
    reason: str


def pools(snapshot: Snapshot) -> tuple[IPPool, ...]:
    """Return the pools that were read and can be understood; () = none was read."""
    try:
        return Draft(snapshot, 0).pools()
    except Missing:
        return ()


def verdicts(
    snapshot: Snapshot, request: AutoAssign | AssignIP, now_ns: int
) -> tuple[Verdict, ...]:
    """
    Judge every pool.

    Args:
        snapshot: What the planner had read in the end; without the pools there is no verdict.
    """
    draft = Draft(snapshot, now_ns)
    try:
        stored = draft.pools()
    except Missing:
        return ()
    places: dict[str, _Place] = {}
    families: list[int] = _families(request)
    for pool in stored:
        if pool.spec.cidr.version not in families:
            why = f"no IPv{pool.spec.cidr.version} address is asked for"
            places[pool.metadata.name] = _Place(None, why)
    for family in families:
        places |= _of_family(draft, request, family)
    for name, why in draft.unreadable_pools().items():
        places[name] = _Place(None, why)
    cidrs = {pool.metadata.name: pool.spec.cidr for pool in stored}
    found = [
        Verdict(name=name, cidr=cidrs.get(name), rank=place.rank, reason=place.reason)
        for name, place in places.items()
    ]
    return tuple(sorted(found, key=_order))


def _order(verdict: Verdict) -> tuple[bool, int, int, str]:
    family = verdict.cidr.version if verdict.cidr is not None else 0
    if verdict.rank is None:
        return True, 0, 0, verdict.name
    return False, family, verdict.rank, verdict.name


def _families(request: AutoAssign | AssignIP) -> list[int]:
    if isinstance(request, AssignIP):
        return sorted({address.version for address in request.addresses})
    return sorted(family for family, count in request.count.items() if count)


def _of_family(
    draft: Draft, request: AutoAssign | AssignIP, family: int
) -> Mapping[str, _Place]:
    if isinstance(request, AssignIP):
        named = tuple((each, each) for each in request.addresses if each.version == family)
        return _by_address(draft, request, family, named)
    among = request.among.get(family, ())
    if among:
        return _by_address(draft, request, family, among)
    try:
        criteria = criteria_of(draft, request, family)
    except Missing:
        why = "the labels of the node were not read"
    except CorruptStateError as error:
        why = str(error)
    else:
        return _by_criteria(draft, request, criteria)
    return {pool.metadata.name: _Place(None, why) for pool in _of(draft, family)}


def _by_criteria(draft: Draft, request: AutoAssign, criteria: Criteria) -> Mapping[str, _Place]:
    """Judge pools one by one, and then as the planner does."""
    alone = {pool.metadata.name: _alone(pool, criteria) for pool in _of(draft, criteria.family)}
    kept, reasons = _together(draft, request, criteria)
    places = {}
    for name, place in alone.items():
        if place.rank is None:
            places[name] = place
        elif name in kept:
            places[name] = _Place(kept.index(name) + 1, place.reason)
        else:
            places[name] = _Place(None, reasons.get(name, _REFUSED))
    for name, reason in reasons.items():
        # Of the other family, which has the verdict, unless somebody wants it for this one.
        if name not in alone and criteria.requested:
            places[name] = _Place(None, reason)
    return places


def _together(
    draft: Draft, request: AutoAssign, criteria: Criteria
) -> tuple[list[str], Mapping[str, str]]:
    """Return the pools that serve, best first, and the reasons against others."""
    try:
        try:
            own = own_blocks(draft, request.claimant, criteria.family)
            selection = selected(draft, request, criteria.family, own)
        except Missing:  # refused before anybody looked at the host's blocks
            selection = draft.select(criteria)
    except NoMatchingPoolError as error:
        return [], error.reasons
    except CorruptStateError:
        return [], {}
    return [candidate.name for candidate in selection.kept], selection.reasons


def _of(draft: Draft, family: int) -> list[IPPool]:
    return [pool for pool in draft.pools() if pool.spec.cidr.version == family]


def _alone(pool: IPPool, criteria: Criteria) -> _Place:
    """Judge one pool as if there were no other; rank 0 = it serves."""
    named = next((text for text in criteria.requested if is_named(pool, text)), None)
    if criteria.requested and named is None:
        return _Place(None, "the request names other pools")
    try:
        verdict = judge(pool, criteria)
    except NoMatchingPoolError:
        return _Place(
            None,
            f"there is no Node resource {criteria.host}, and the pool selects nodes by label: "
            f"nodeSelector {pool.spec.node_selector}",
        )
    except CorruptStateError as error:
        return _Place(None, str(error))
    if isinstance(verdict, str):
        return _Place(None, verdict)
    if named is not None:
        return _Place(0, "the request names it")
    return _Place(0, _why(pool))


def _why(pool: IPPool) -> str:
    """Say why a pool serves that nobody named."""
    spec = pool.spec
    said = f"nodeSelector {spec.node_selector}"
    if spec.namespace_selector.strip() not in ("", "all()"):
        said += f" and namespaceSelector {spec.namespace_selector} match"
    else:
        said += " matches"
    level = priority(pool.metadata.annotations)
    return f"{said}; priority {level}" if level else said


def _by_address(
    draft: Draft,
    request: AutoAssign | AssignIP,
    family: int,
    ranges: tuple[AddressRange, ...],
) -> Mapping[str, _Place]:
    """Judge pools by the addresses that are asked for; selectors do not matter then."""
    places, rank = {}, 0
    for pool in _of(draft, family):
        cidr, reason = pool.spec.cidr, ""
        if not any(_meets(cidr, each) for each in ranges):
            reason = "no address that is asked for lies in it"
        elif not (reason := out_of_service(pool)):
            reason = "" if request.use is None else allows(pool, request.use)
        if not reason:
            try:
                resolve(cidr, pool.metadata.annotations, request.link)
            except LinkError as error:
                reason = str(error)
        if reason:
            places[pool.metadata.name] = _Place(None, reason)
        else:
            rank += 1
            places[pool.metadata.name] = _Place(rank, "an address that is asked for lies in it")
    return places


def _meets(cidr: IPNetwork, range_: AddressRange) -> bool:
    first, last = range_
    return contains(cidr, first) or (int(first) <= int(cidr.network_address) <= int(last))


def origin(
    snapshot: Snapshot, txn: Txn | None, who: Claimant, allocation: Allocation
) -> Origin:
    """
    Tell where an address comes from.

    Args:
        snapshot: What was known before the commit.
        txn: What would be committed; None = nothing.
        who: For whom it is.
    """
    key = records.block_key(allocation.block)
    fact = snapshot.find(key)
    if fact is None or fact.value is None:
        return Origin(source=Source.CLAIMED, owner="")
    before = records.decode_block(key, fact.value.value)
    owner = before.affinity or ""
    number = before.sequence_numbers.get(ordinal_of(before.cidr, allocation.address))
    if before.attribute_of(allocation.address) and number == allocation.sequence_number:
        return Origin(source=Source.KEPT, owner=owner)
    if owner == who.owner:
        return Origin(source=Source.OWN, owner=owner)
    mine = records.affinity_key(who.host, allocation.block, who.kind)
    claims = txn is not None and mine in txn.puts
    return Origin(source=Source.TAKEN if claims else Source.BORROWED, owner=owner)
