"""Sets of addresses."""

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.reservation import NOTHING, AddressSet, blocks_outside, interval_of
from tests.strategies import QUICK


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([" 10.0.0.0/24 "], id="RS-06"),
        pytest.param(["", "   ", "not-a-cidr", "10.0.0.0/33", "10.0.0.0/24"], id="RS-07"),
        pytest.param(["10.0.0.77/24"], id="host bits"),
        pytest.param(
            ["10.0.0.0/25", "10.0.0.64/26", "10.0.0.128/25"], id="nested and touching"
        ),
        pytest.param(
            ["::ffff:10.0.0.0/120", "fe80::1%eth0", "10.0.0.0/24"], id="no plain address"
        ),
    ],
)
def test_only_the_union_of_the_sound_entries_counts(texts):
    assert AddressSet.of(["10.0.0.0/24"]) == AddressSet.of(texts)


@pytest.mark.parametrize(
    ("texts", "inside", "outside"),
    [
        pytest.param(
            ["0.0.0.0/0"],
            [
                "0.0.0.0",
                "255.255.255.255",
                "10.0.0.1",
                "0.0.0.0/0",
                "255.255.255.255/32",
                "10.0.0.0/8",
            ],
            ["::", "::/128"],
            id="RS-08",
        ),
        pytest.param(
            ["::/0"],
            ["::", "ffff::", "cafe:f00d::", "::/0", "ffff::/32", "cafe:f00d::/96"],
            ["0.0.0.0", "10.0.0.0/8"],
            id="RS-09",
        ),
        pytest.param(
            ["192.168.1.64/26", "192.168.1.0/26"],
            [
                *(f"192.168.1.{n}" for n in (0, 63, 64, 127)),
                *(f"192.168.1.{n}" for n in ("64/26", "0/26", "0/25", "64/27", "96/27")),
            ],
            [
                "10.0.0.1",
                "0.0.0.0",
                "10.0.0.0/8",
                "0.0.0.0/32",
                "192.168.2.64/26",
                "192.168.1.0/24",
            ],
            id="RS-10",
        ),
        pytest.param([], [], ["10.0.0.1", "::1", "10.0.0.0/8"], id="nothing"),
        pytest.param(
            ["10.0.0.5", "10.0.0.9/32"],
            ["10.0.0.5", "10.0.0.9", "10.0.0.5/32"],
            ["10.0.0.4", "10.0.0.6", "10.0.0.8", "10.0.0.10", "10.0.0.4/31"],
            id="bare addresses",
        ),
    ],
)
def test_addresses_and_whole_networks_are_covered_by_the_union(texts, inside, outside):
    reserved = AddressSet.of(texts)

    def covered(text: str) -> bool:
        if "/" in text:
            return reserved.covers(parse_network(text))
        return parse_address(text) in reserved

    assert [] == [text for text in inside if not covered(text)]
    assert [] == [text for text in outside if covered(text)]


@pytest.mark.parametrize(
    ("reservation", "count"),
    [
        pytest.param([], 0, id="RS-12"),
        pytest.param(["100.64.0.128/25"], 128, id="RS-13"),
        pytest.param(["100.64.0.128/24"], 256, id="RS-14"),
        pytest.param(["100.0.0.0/8", "fd00::/8"], 256, id="larger than the block"),
        pytest.param(["100.64.0.250/31", "100.64.0.255", "100.64.1.0"], 3, id="in part"),
    ],
)
def test_reserved_addresses_of_a_block_are_counted(reservation, count):
    assert count == AddressSet.of(reservation).count_in(parse_network("100.64.0.0/24"))


# Entries within 10.0.0.0/26, so that they overlap, nest and touch.
entries = st.builds(
    lambda low, length: f"10.0.0.{low}/{length}", st.integers(0, 63), st.integers(27, 32)
)
ALL = [ipaddress.ip_address(f"10.0.0.{n}") for n in range(64)]


@QUICK
@given(st.lists(entries, max_size=6), st.lists(entries, max_size=6))
def test_a_set_holds_what_some_entry_holds(some, others):
    networks = [ipaddress.ip_network(text, strict=False) for text in (*some, *others)]
    expected = [address for address in ALL if any(address in n for n in networks)]

    union = AddressSet.of(some) | AddressSet.of(others)

    assert expected == [address for address in ALL if address in union]
    assert AddressSet.of([*others, *some]) == union
    for low in range(0, 64, 8):
        block = parse_network(f"10.0.0.{low}/29")
        inside = [address for address in expected if address in block]
        assert (len(inside), len(inside) == 8) == (union.count_in(block), union.covers(block))


@QUICK
@given(st.lists(entries, max_size=6))
def test_intervals_are_disjoint_and_do_not_touch(texts):
    intervals = AddressSet.of(texts).intervals

    assert all(a[2] + 1 < b[1] for a, b in itertools.pairwise(intervals))


@pytest.mark.parametrize(
    ("texts", "cidrs"),
    [
        ([], []),
        (["10.0.0.0", "10.0.0.255"], ["10.0.0.0/32", "10.0.0.255/32"]),
        (["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/24"]),
        (["10.0.0.1", "10.0.0.2/31"], ["10.0.0.1/32", "10.0.0.2/31"]),
        (["fd00::/127", "10.0.0.1"], ["10.0.0.1/32", "fd00::/127"]),
    ],
)
def test_a_set_is_written_as_the_fewest_cidrs(texts, cidrs):
    assert cidrs == AddressSet.of(texts).cidrs()


@QUICK
@given(st.lists(entries, max_size=6))
def test_a_set_is_read_back_from_its_cidrs(texts):
    some = AddressSet.of([*texts, "fd00::/64"])

    assert some == AddressSet.of(some.cidrs())


def test_the_union_with_nothing_is_the_set_itself():
    some = AddressSet.of(["10.0.0.1"])

    assert some is some | NOTHING
    assert some is NOTHING | some
    assert NOTHING == NOTHING | AddressSet()


def test_families_that_touch_as_numbers_stay_apart():
    last4, first6 = (
        interval_of(parse_network("0.0.0.0/32")),
        interval_of(parse_network("::1/128")),
    )

    assert 2 == len(AddressSet.union_of([first6, last4]).intervals)


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ([], ["10.0.0.0", "10.0.0.4", "10.0.0.8", "10.0.0.12"]),
        (["10.0.0.0/30"], ["10.0.0.4", "10.0.0.8", "10.0.0.12"]),
        (["10.0.0.1", "10.0.0.6/31"], ["10.0.0.0", "10.0.0.4", "10.0.0.8", "10.0.0.12"]),
        (["10.0.0.4/30", "10.0.0.12/30", "fd00::/8"], ["10.0.0.0", "10.0.0.8"]),
        (["9.0.0.0/8", "10.0.0.0/29"], ["10.0.0.8", "10.0.0.12"]),
        (["10.0.0.8/29", "10.0.0.16/28", "11.0.0.0/8"], ["10.0.0.0", "10.0.0.4"]),
        (["0.0.0.0/0"], []),
    ],
)
def test_blocks_outside_a_set_are_those_not_wholly_inside(kept, left):
    blocks = blocks_outside(parse_network("10.0.0.0/28"), 30, AddressSet.of(kept))

    assert left == [str(block.network_address) for block in blocks]
