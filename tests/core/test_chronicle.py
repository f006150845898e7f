"""What happened to an address is read off two states of its block."""

import json
from dataclasses import replace

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.chronicle import (
    Event,
    Sight,
    What,
    assigned_at_ns,
    changes,
    first_known,
    sight,
)
from poolmgr.errors import CorruptStateError
from tests.support.world import NOON_NS

KEY = records.block_key(parse_network("10.0.0.0/30"))
A, B = Attribute(handle="a"), Attribute(handle="b")
COLD = Attribute(released_at="2026-01-01T00:00:00Z")
STAMP = "2026-08-22 09:00:00.123456789 +0000 UTC"
FREE = Sight(affinity="host:x", claimed_at="2026-01-01T00:00:00Z")


def held(owner: Attribute, number: int = 1) -> Sight:
    return replace(FREE, owner=owner, number=number)


def sticky(**more: str) -> Attribute:
    return Attribute(handle="s", secondary={"type": "poolmgr-sticky", **more})


def told(before, after) -> list[What]:
    return [event.what for event in changes(before, after, 7)]


def test_a_sight_is_what_the_block_says_of_the_ordinal():
    owner = Attribute(handle="a", secondary={"node": "x"}, alternate={"pod": "p"})
    block, _ = auto_assign(new_block(parse_network("10.0.0.0/30"), "host:x", NOON_NS), 1, owner)
    raw = records.encode_block(block)

    one, other = (sight(KEY, raw, ordinal) for ordinal in (0, 1))

    expected = Sight(
        affinity="host:x", claimed_at=block.claimed_at, owner=owner, number=NOON_NS
    )
    assert expected == one
    assert replace(expected, owner=None, number=None) == other


def test_a_release_is_part_of_the_sight():
    raw = json.dumps({"allocations": [0], "attributes": [{"releasedAt": COLD.released_at}]})

    assert COLD == sight(KEY, raw.encode(), 0).owner


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "{}",
        '{"allocations":[]}',
        '{"allocations":["x"]}',
        '{"allocations":[0],"attributes":[]}',
        '{"allocations":[0],"attributes":[7]}',
        '{"allocations":[0],"attributes":[{"handle_id":7}]}',
        '{"allocations":[null],"affinity":7}',
        '{"allocations":[null],"sequenceNumberForAllocation":7}',
    ],
)
def test_a_block_that_does_not_say_is_corrupt(raw):
    with pytest.raises(CorruptStateError):
        sight(KEY, raw.encode(), 0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (FREE, FREE, []),
        (held(A), held(A), []),
        (held(COLD), held(COLD), []),
        (None, FREE, [What.CLAIMED]),
        (None, replace(FREE, affinity=None), [What.CLAIMED]),
        (None, held(A), [What.CLAIMED, What.ASSIGNED]),
        (FREE, None, [What.DELETED]),
        (held(A), None, [What.RELEASED, What.DELETED]),
        (held(COLD), None, [What.DELETED]),
        (FREE, replace(FREE, affinity=None), [What.LEFT]),
        (replace(FREE, affinity=None), FREE, [What.CLAIMED]),
        (FREE, replace(FREE, affinity="host:y"), [What.CLAIMED]),
        (FREE, held(A), [What.ASSIGNED]),
        (held(A), FREE, [What.RELEASED]),
        (held(A), held(B), [What.RELEASED, What.ASSIGNED]),
        (held(A), held(A, 2), [What.RELEASED, What.ASSIGNED]),
        (held(A), held(COLD), [What.COOLING]),
        (FREE, held(COLD), [What.COOLING]),
        (held(COLD), FREE, [What.FREED]),
        (held(COLD), held(A), [What.ASSIGNED]),
        (held(sticky(container="c")), held(sticky(container="")), [What.KEPT]),
        (held(sticky(container="c")), held(sticky(container="d")), [What.TAKEN]),
        (held(sticky(container="")), held(sticky(container="c")), [What.TAKEN]),
        (held(sticky(container="c")), held(sticky(container="c", x="y")), [What.REWRITTEN]),
        (held(A), held(replace(A, alternate={"pod": "p"})), [What.REWRITTEN]),
    ],
)
def test_two_states_tell_what_happened(before, after, expected):
    assert expected == told(before, after)


def test_events_tell_when_and_whom():
    owner = Attribute(handle="a", secondary={"timestamp": STAMP})
    kept = sticky(**{"released-at": "2026-02-02T00:00:00Z"})

    claimed, assigned = changes(None, held(owner), 7)
    (cooling,) = changes(held(owner), held(COLD), 8)
    (left,) = changes(FREE, replace(FREE, affinity=None), 9)
    (keeps,) = changes(held(sticky(container="c")), held(kept), 10)

    assert ("2026-01-01T00:00:00Z", "host:x") == (claimed.time, claimed.affinity)
    assert ("2026-08-22T09:00:00Z", owner, 7) == (
        assigned.time,
        assigned.holder,
        assigned.revision,
    )
    assert ("2026-01-01T00:00:00Z", owner) == (cooling.time, cooling.holder)
    assert "host:x" == left.affinity
    assert "2026-02-02T00:00:00Z" == keeps.time


@pytest.mark.parametrize(
    ("owner", "note", "holder"),
    [
        (None, "free", None),
        (COLD, "cooling down since 2026-01-01T00:00:00Z", None),
        (A, "held", A),
        (sticky(), "kept", sticky()),
        (sticky(container="c"), "held", sticky(container="c")),
    ],
)
def test_the_oldest_known_state_is_told_as_one(owner, note, holder):
    event = first_known(replace(FREE, owner=owner), 7)

    expected = Event(revision=7, what=What.KNOWN, holder=holder, affinity="host:x", note=note)
    assert expected == event


def test_a_time_that_is_not_understood_is_told_as_it_is():
    owner = Attribute(handle="a", secondary={"timestamp": "yesterday"})

    assert "yesterday" == first_known(held(owner), 7).time
    assert assigned_at_ns(owner) is None
