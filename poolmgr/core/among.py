"""
Assigning the first free of the addresses that a request allows.

Rules:

1. Candidates are tried in the order given, those of a range ascending; each is judged as if it
   had been named (core/assign_ip.py), but one that is taken or reserved passes the turn.
2. A range that reaches outside the enabled pools refuses the request: the mistake would show
   only when the other candidates are used up.
3. Under StrictAffinity blocks of other hosts are passed over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from poolmgr.cidr import IPAddress, IPNetwork, address_at, network, ordinal_of
from poolmgr.core import records
from poolmgr.core.assign_ip import assign_one, named_candidate
from poolmgr.core.draft import Draft
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import Candidate
from poolmgr.core.request import AddressRange, AssignIP, AutoAssign
from poolmgr.core.sticky import has_expired
from poolmgr.errors import PoolExhaustedError

TOGETHER = 40
"""Blocks looked at by one read."""

MOST = 4096
"""Blocks of candidates that are looked at."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Candidates that lie in one block: first and last ordinal."""

    cidr: IPNetwork
    candidate: Candidate
    first: int
    last: int


def assign_among(
    draft: Draft, request: AutoAssign, ranges: Sequence[AddressRange]
) -> Allocation:
    """
    Assign the first address of `ranges` that is free.

    Raises:
        Missing: More must be known.
        PoolExhaustedError: None is.
        RefusedError: A candidate cannot be assigned to anybody.
    """
    named = AssignIP(
        addresses=(),
        host=request.host,
        handle=request.handle,
        attributes=request.attributes,
        attachment=request.attachment,
        use=request.use,
        link=request.link,
    )
    within = islice(_stretches(draft, named, ranges), MOST)
    stretches = (stretch for stretch in within if not _is_blocked(draft, stretch))
    while part := list(islice(stretches, TOGETHER)):
        draft.need(*(records.block_key(stretch.cidr) for stretch in part))
        for stretch in part:
            address = _first_free(draft, named, stretch)
            if address is not None:
                return assign_one(draft, named, address)
    asked = ", ".join(_written(each) for each in ranges)
    raise PoolExhaustedError(
        f"none of the addresses {asked:.200} is free; name more of them, or release one"
    )


def _stretches(
    draft: Draft, named: AssignIP, ranges: Sequence[AddressRange]
) -> Iterator[_Stretch]:
    for first, last in ranges:
        at = first
        while True:
            candidate = named_candidate(draft, named, at)
            cidr = network(at, candidate.pool.spec.block_size)
            start = ordinal_of(cidr, at)
            end = min(cidr.num_addresses - 1, start + int(last) - int(at))
            yield _Stretch(cidr, candidate, start, end)
            reached = address_at(cidr, end)
            if int(reached) >= int(last):
                break
            at = reached + 1


def _first_free(draft: Draft, named: AssignIP, stretch: _Stretch) -> IPAddress | None:
    block = draft.block(stretch.cidr)
    strict = draft.config().strict_affinity
    if block is not None and strict and block.affinity != named.claimant.owner:
        return None
    blocked = draft.reserved() | stretch.candidate.link.withheld_in(stretch.cidr)
    for ordinal in range(stretch.first, stretch.last + 1):
        address = address_at(stretch.cidr, ordinal)
        entry = None if block is None else block.attribute_at(ordinal)
        free = entry is None or has_expired(entry, draft.now_ns)
        if free and address not in blocked:
            return address
    return None


def _is_blocked(draft: Draft, stretch: _Stretch) -> bool:
    """Tell whether a whole block of candidates is reserved or withheld."""
    kept = draft.reserved() | stretch.candidate.link.withheld_in(stretch.cidr)
    return kept.covers(stretch.cidr)


def _written(range_: AddressRange) -> str:
    first, last = range_
    return str(first) if first == last else f"{first}-{last}"
