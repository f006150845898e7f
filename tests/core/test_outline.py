"""Outlines agree with decoded values, and refuse what these refuse."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.core import records
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, Block
from poolmgr.core.outline import Outline, counts_of_handle, ordinals, outline
from poolmgr.errors import CorruptStateError
from tests import strategies
from tests.support.facts import block_of

JUNK = st.sampled_from(
    [None, True, -1, 0, 1, 99, 1.5, 2**70, "", "x", "10.0.0.0/30", [], [0], [[]], {}, {"a": 1}]
)
BLOCK = block_of("10.0.0.0/30", "c1", "c1\rjunk", "c2")
KEY = records.block_key(BLOCK.cidr)


def of(block: Block) -> Outline:
    return Outline(
        cidr=block.cidr,
        affinity=block.affinity,
        allocations=[*block.allocations],
        unallocated=[*block.unallocated],
        handles=[attribute.handle for attribute in block.attributes],
        released=[attribute.released_at for attribute in block.attributes],
        secondary=[dict(attribute.secondary) or None for attribute in block.attributes],
        alternate=[dict(attribute.alternate) or None for attribute in block.attributes],
        sequence_numbers=dict(block.sequence_numbers),
    )


def sorted_out(found: Outline) -> Outline:
    """Make the sequences lists, so that they compare."""
    return Outline(
        cidr=found.cidr,
        affinity=found.affinity,
        allocations=[*found.allocations],
        unallocated=[*found.unallocated],
        handles=[*found.handles],
        released=[*found.released],
        secondary=[dict(owner) if owner else None for owner in found.secondary],
        alternate=[dict(owner) if owner else None for owner in found.alternate],
        sequence_numbers=dict(found.sequence_numbers),
    )


def outcome(read, key: str, raw: bytes):
    try:
        return read(key, raw)
    except CorruptStateError as error:
        return str(error)


def changed(draw, value):
    """Put junk somewhere into a JSON value."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: changed(draw, value[name])}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], changed(draw, value[at]), *value[at + 1 :]]
    return draw(JUNK)


@given(strategies.blocks())
def test_a_block_has_the_outline_of_what_it_decodes_to(block):
    key, raw = records.block_key(block.cidr), records.encode_block(block)

    assert of(block) == sorted_out(outline(key, raw))
    assert block.unallocated == (*ordinals(key, raw).unallocated,)
    assert (block.cidr, block.affinity) == (
        ordinals(key, raw).cidr,
        ordinals(key, raw).affinity,
    )


@given(st.data(), strategies.blocks())
def test_an_outline_is_refused_when_the_block_is(data, block):
    value = json.loads(records.encode_block(block))
    raw = json.dumps(changed(data.draw, value)).encode()
    key = records.block_key(block.cidr)

    decoded = outcome(records.decode_block, key, raw)
    found = outcome(outline, key, raw)

    if isinstance(decoded, str):
        assert decoded == found
    else:
        assert of(decoded) == sorted_out(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"cidr": "10.0.0.4/30"},
        {"cidr": "10.0.0.1/30"},
        {"allocations": [0, 1, 2]},
        {"unallocated": [3, 3]},
        {"unallocated": [2, 3]},
        {"unallocated": [4]},
        {"unallocated": []},
        {"unallocated": [3.0]},
        {"unallocated": [None]},
        {"unallocated": 3},
        {"allocations": [False, 1, 2, None]},
        {"allocations": None},
    ],
    ids=str,
)
def test_counting_refuses_a_block_that_contradicts_itself(changes):
    value = json.loads(records.encode_block(BLOCK)) | changes
    raw = json.dumps(value, separators=(",", ":")).encode()

    with pytest.raises(CorruptStateError) as why:
        ordinals(KEY, raw)

    assert outcome(records.decode_block, KEY, raw) == str(why.value)


def test_counting_does_not_look_at_owners():
    value = json.loads(records.encode_block(BLOCK))
    value["attributes"][0]["secondary"] = {"pod": 7}
    raw = json.dumps(value, separators=(",", ":")).encode()

    assert [3] == [*ordinals(KEY, raw).unallocated]
    with pytest.raises(CorruptStateError):
        outline(KEY, raw)


def test_the_order_of_fields_does_not_matter():
    value = json.loads(records.encode_block(BLOCK))
    raw = json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode()

    assert [3] == [*ordinals(KEY, raw).unallocated]


@pytest.mark.parametrize("raw", [b"", b"junk", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(raw):
    for read in (outline, ordinals, counts_of_handle):
        with pytest.raises(CorruptStateError):
            read(KEY, raw)


def test_ordinals_are_counted_by_handle_without_its_junk_and_without_windows():
    block = block_of("10.0.0.0/29", "c1", "c1\rjunk", None, WINDOWS_RESERVED_HANDLE.upper())

    assert Counter(c1=2) == of(block).held()


def test_attributes_that_nobody_refers_to_are_told():
    value = json.loads(records.encode_block(BLOCK))
    value["attributes"] += [{}, {}]

    assert [3, 4] == [*outline(KEY, json.dumps(value).encode()).unreferenced()]


@given(strategies.handles)
def test_a_handle_counts_as_it_decodes(handle):
    counts = {str(cidr): count for cidr, count in handle.blocks.items()}

    assert counts == counts_of_handle("/h", records.encode_handle(handle))


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ({}, {}),
        ({"block": None}, {}),
        ({"block": {"FD00:0::/122": 2}}, {"fd00::/122": 2}),
        ({"block": {"\ud800": 2}}, None),
        ({"block": {"10.0.0.1/26": 2}}, None),
        ({"block": {"10.0.0.0/26": "2"}}, None),
        ({"block": {"10.0.0.0/26": True}}, None),
        ({"block": {"10.0.0.0/26": 2}, "odd": "\ud800"}, {"10.0.0.0/26": 2}),
    ],
    ids=str,
)
def test_an_unusual_handle_is_read_as_it_decodes(value, counts):
    raw = json.dumps(value).encode()

    if counts is None:
        with pytest.raises(CorruptStateError):
            counts_of_handle("/h", raw)
    else:
        assert counts == counts_of_handle("/h", raw)
