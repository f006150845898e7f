"""
What happened to one address, read off two states of its block.

Rules:

1. Of a block only what concerns the address is kept, so that long histories need no memory.
2. An address that has the same handle, but another sequence number, was released and assigned
   again in between: one write may do both.
3. Times are those that were stored. Nobody stores when an address without cooldown was freed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from poolmgr.core.block import Attribute, rfc3339, time_ns
from poolmgr.core.fields import checked, load, optional, texts
from poolmgr.core.held import is_sticky
from poolmgr.errors import CorruptStateError

_TIMESTAMP = re.compile(r"(\S+) (\S+) \+0000 UTC")  # as Go prints a time


class What(StrEnum):
    """What happened to an address, or to its block."""

    CLAIMED = "block claimed"
    LEFT = "block given up"
    DELETED = "block deleted"
    ASSIGNED = "assigned"
    COOLING = "released, cooling down"
    RELEASED = "released"
    FREED = "cooled down"
    KEPT = "kept for its owner"
    TAKEN = "taken over"
    REWRITTEN = "owner rewritten"
    KNOWN = "first known state"
    UNREADABLE = "block unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """
    What a block said about one of its addresses.

    Attributes:
        affinity, claimed_at: As in `Block`.
        owner: Who had the address; None = it was free.
        number: Sequence number of the ordinal; None = none.
    """

    affinity: str | None
    claimed_at: str | None = None
    owner: Attribute | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    Something that happened.

    Attributes:
        revision: Of the store, with which it happened.
        time: RFC 3339 where it can be, else as stored; "" = nobody knows.
        holder: Whom it is about; None = nobody.
        affinity: Whose the block is, or was, where it is about that; None = nobody's.
        note: More about it, for people.
    """

    revision: int
    what: What
    time: str = ""
    holder: Attribute | None = None
    affinity: str | None = None
    note: str = ""


def sight(key: str, raw: bytes, ordinal: int) -> Sight:
    """
    Read what the block stored under `key` says about an ordinal.

    Raises:
        CorruptStateError: It does not say.
    """
    value = load(key, raw)
    try:
        index = optional(value["allocations"][ordinal], int)
        number = (value.get("sequenceNumberForAllocation") or {}).get(str(ordinal))
        return Sight(
            affinity=optional(value.get("affinity"), str),
            claimed_at=optional(value.get("affinity_claim_time"), str),
            owner=None if index is None else _owner(value["attributes"][index]),
            number=optional(number, int),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CorruptStateError(key, f"not a block ({error})") from error


def _owner(value: dict[str, Any]) -> Attribute:
    return Attribute(
        handle=optional(value.get("handle_id"), str),
        secondary=texts(value.get("secondary")),
        alternate=texts(value.get("alternateOwnerAttrs")),
        released_at=None if (at := value.get("releasedAt")) is None else checked(at, str),
    )


def first_known(seen: Sight, revision: int) -> Event:
    """Describe the oldest state that is known: what led to it is not."""
    holder = seen.owner if seen.owner and seen.owner.released_at is None else None
    return Event(
        revision=revision,
        what=What.KNOWN,
        time=_assigned_at(holder) if holder else "",
        holder=holder,
        affinity=seen.affinity,
        note=_state(seen.owner),
    )


def changes(before: Sight | None, after: Sight | None, revision: int) -> Iterator[Event]:
    """
    Tell what happened between two states of a block; None = there was no block.

    Yields:
        What happened, in an order in which it can have happened.
    """
    was, now = (None if each is None else each.affinity for each in (before, after))
    if after is not None and (before is None or was != now) and (now or before is None):
        claimed = after.claimed_at or ""
        yield Event(revision=revision, what=What.CLAIMED, time=claimed, affinity=now)
    yield from _of_owner(before, after, revision)
    if after is None:
        yield Event(revision=revision, what=What.DELETED, affinity=was)
    elif was and not now:
        yield Event(revision=revision, what=What.LEFT, affinity=was)


def _of_owner(before: Sight | None, after: Sight | None, revision: int) -> Iterator[Event]:
    old, new = (None if each is None else each.owner for each in (before, after))
    was_cooling, cools = (bool(each and each.released_at) for each in (old, new))
    had, has = old if not was_cooling else None, new if not cools else None
    if before and after and had and has and _same(before, after):
        yield from _of_same_owner(had, has, revision)
        return
    if new and cools and not was_cooling:
        time = new.released_at or ""
        yield Event(revision=revision, what=What.COOLING, time=time, holder=had)
    elif had:
        yield Event(revision=revision, what=What.RELEASED, holder=had)
    elif was_cooling and after is not None and new is None:
        yield Event(revision=revision, what=What.FREED)
    if has:
        time = _assigned_at(has)
        yield Event(revision=revision, what=What.ASSIGNED, time=time, holder=has)


def _same(before: Sight, after: Sight) -> bool:
    """Tell whether two owners are one, without a release in between."""
    assert before.owner is not None
    assert after.owner is not None
    return (before.owner.owner, before.number) == (after.owner.owner, after.number)


def _of_same_owner(old: Attribute, new: Attribute, revision: int) -> Iterator[Event]:
    if (old.secondary, old.alternate) == (new.secondary, new.alternate):
        return
    what, time = What.REWRITTEN, ""
    if is_sticky(new):
        if not new.secondary.get("container"):
            what, time = What.KEPT, new.secondary.get("released-at", "")
        elif old.secondary.get("container") != new.secondary.get("container"):
            what, time = What.TAKEN, _assigned_at(new)
    yield Event(revision=revision, what=what, time=time, holder=new)


def assigned_at_ns(owner: Attribute) -> int | None:
    """Return when an address was assigned; None = that is not stored, or not understood."""
    found = _TIMESTAMP.fullmatch(owner.secondary.get("timestamp", ""))
    return time_ns(f"{found[1]}T{found[2]}+00:00") if found else None


def _assigned_at(owner: Attribute) -> str:
    at_ns = assigned_at_ns(owner)
    return owner.secondary.get("timestamp", "") if at_ns is None else rfc3339(at_ns)


def _state(owner: Attribute | None) -> str:
    if owner is None:
        return "free"
    if owner.released_at is not None:
        return f"cooling down since {owner.released_at}"
    return "kept" if is_sticky(owner) and not owner.secondary.get("container") else "held"
