"""Handles: counts of addresses per block."""

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_network
from poolmgr.core.handle import Handle
from tests.strategies import QUICK, handles, networks

BLOCK, OTHER = parse_network("10.0.0.0/26"), parse_network("fd00::/122")


def test_addresses_are_counted_block_by_block():
    handle = Handle().add(BLOCK, 1).add(OTHER, 2).add(BLOCK, 3)

    assert {BLOCK: 4, OTHER: 2} == handle.blocks


def test_a_block_goes_when_its_count_is_zero():
    handle = Handle(blocks={BLOCK: 2, OTHER: 1})

    assert {BLOCK: 1, OTHER: 1} == handle.subtract(BLOCK, 1).blocks
    assert {OTHER: 1} == handle.subtract(BLOCK, 2).blocks
    assert {} == handle.subtract(BLOCK, 2).subtract(OTHER, 1).blocks


def test_a_count_never_falls_below_zero():
    handle = Handle(blocks={BLOCK: 1})

    assert {} == handle.subtract(BLOCK, 5).blocks
    assert {BLOCK: 1} == handle.subtract(OTHER, 1).blocks


@QUICK
@given(handles, networks(), st.integers(1, 9))
def test_subtracting_what_was_added_gives_back_the_same_handle(before, block, count):
    assert before == before.add(block, count).subtract(block, count)
