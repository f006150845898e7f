"""Addresses, ordinals, and the walk over a pool's blocks."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import (
    HOST_PREFIX,
    address_at,
    contains,
    network,
    ordinal_of,
    parse_address,
    parse_network,
    walk_blocks,
    walk_start,
)
from tests.strategies import QUICK, addresses, networks


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("FD00:0:0:1::A", "fd00:0:0:1::a"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
    ],
)
def test_an_address_is_written_in_its_canonical_form(text, canonical):
    assert canonical == str(parse_address(text))


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0", "10.0.0.01", "10.0.0.256", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.1/32"],
)
def test_what_is_no_plain_address_is_refused_by_name(text):
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("10.0.0.0/26", "10.0.0.0/26"), ("FD00::0/122", "fd00::/122"), ("0.0.0.0/0", "0.0.0.0/0")],
)
def test_a_network_is_written_in_its_canonical_form(text, canonical):
    assert canonical == str(parse_network(text))


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/255.255.255.0",
        "10.0.0.0/٢٤",
        "10.0.0.0/24/24",
        "010.0.0.0/24",
        "::ffff:10.0.0.0/120",
        "fe80::%eth0/64",
        "fd00::/129",
        "/24",
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_network_is_refused(text, strict):
    with pytest.raises(ValueError, match=re.escape(text.partition("/")[0] or "''")):
        parse_network(text, strict=strict)


def test_host_bits_are_refused_unless_they_may_be_dropped():
    with pytest.raises(ValueError, match="host bits"):
        parse_network("10.0.0.1/24")

    assert "10.0.0.0/24" == str(parse_network("10.0.0.1/24", strict=False))


@QUICK
@given(addresses, st.integers(0, 128))
def test_the_block_of_an_address_contains_it(address, length):
    length = min(length, HOST_PREFIX[address.version])

    block = network(address, length)

    assert length == block.prefixlen
    assert contains(block, address)


@QUICK
@given(networks(host_bits=(0, 32)), networks(host_bits=(0, 32)) | addresses)
def test_containment_agrees_with_the_standard_library(outer, other):
    inner = ipaddress.ip_network(str(other))
    same_family = outer.version == inner.version

    assert (same_family and inner.subnet_of(outer)) == contains(outer, other)  # type: ignore[arg-type]


@QUICK
@given(st.data(), networks(host_bits=(1, 16)))
def test_a_network_contains_its_parts_and_not_what_holds_it(data, outer):
    longer = data.draw(st.integers(outer.prefixlen, outer.max_prefixlen))
    inside = network(
        address_at(outer, data.draw(st.integers(0, outer.num_addresses - 1))), longer
    )

    assert contains(outer, inside)
    assert (inside == outer) == contains(inside, outer)


def test_families_never_contain_each_other():
    everything4, everything6 = parse_network("0.0.0.0/0"), parse_network("::/0")

    assert not contains(everything4, parse_address("::"))
    assert not contains(everything6, parse_address("0.0.0.0"))
    assert not contains(everything6, everything4)


# Ordinals


@pytest.mark.parametrize(
    ("cidr", "count"),
    [("10.0.0.0/16", 65536), ("10.0.0.0/32", 1)],
    ids=["BK-01 /16", "BK-01 /32"],
)
def test_a_block_has_an_ordinal_for_every_address(cidr, count):
    block = parse_network(cidr)

    assert count - 1 == ordinal_of(block, address_at(block, count - 1))
    with pytest.raises(ValueError, match=f"has no ordinal {count}"):
        address_at(block, count)


@pytest.mark.parametrize(
    ("cidr", "ordinal", "address"),
    [
        pytest.param(cidr, ordinal, address, id=f"BK-02 {address}")
        for cidr, ordinals in {
            "10.0.0.0/30": {n: f"10.0.0.{n}" for n in range(4)},
            "10.0.0.64/30": {n: f"10.0.0.{64 + n}" for n in range(4)},
            "10.0.0.64/32": {0: "10.0.0.64"},
            "10.0.128.0/17": {0: "10.0.128.0", 256: "10.0.129.0", 257: "10.0.129.1"},
        }.items()
        for ordinal, address in ordinals.items()
    ],
)
def test_an_ordinal_is_the_offset_in_the_block(cidr, ordinal, address):
    block = parse_network(cidr)

    assert address == str(address_at(block, ordinal))
    assert ordinal == ordinal_of(block, parse_address(address))


@QUICK
@given(networks(host_bits=(0, 8)))
def test_p2_ordinals_and_addresses_of_a_block_are_a_bijection(block):
    ordinals = range(block.num_addresses)

    found = [address_at(block, ordinal) for ordinal in ordinals]

    assert list(block) == found
    assert list(ordinals) == [ordinal_of(block, address) for address in found]


@QUICK
@given(networks(host_bits=(0, 12)))
def test_p2_one_past_either_end_of_a_block_is_refused(block):
    for ordinal in (-1, block.num_addresses):
        with pytest.raises(ValueError, match="has no ordinal"):
            address_at(block, ordinal)
    make = type(block.network_address)
    first, last = int(block.network_address), int(block.broadcast_address)
    for neighbour in (first - 1, last + 1):
        if 0 <= neighbour < 1 << block.max_prefixlen:
            with pytest.raises(ValueError, match="is not in block"):
                ordinal_of(block, make(neighbour))


def test_an_address_of_the_other_family_has_no_ordinal():
    with pytest.raises(ValueError, match="is not in block"):
        ordinal_of(parse_network("10.0.0.0/26"), parse_address("::a00:1"))


# The walk

hosts = st.text(min_size=1, max_size=8)


@QUICK
@given(networks(host_bits=(0, 8)), st.data(), hosts)
def test_a_walk_visits_every_block_once(pool, data, host):
    size = data.draw(st.integers(pool.prefixlen, pool.max_prefixlen))

    visited = list(walk_blocks(pool, size, host))

    ascending = list(pool.subnets(new_prefix=size))
    assert sorted(visited) == ascending
    assert visited[0] == ascending[walk_start(host, len(visited))]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_walk_soon_leaves_an_area_that_is_full(share):
    pool = ipaddress.IPv4Network("10.128.0.0/11")
    full = int(share * 32_768)

    def steps(host: str) -> int:
        first = int(pool.network_address)
        ordinals = ((int(b.network_address) - first) // 64 for b in walk_blocks(pool, 26, host))
        return next(step for step, ordinal in enumerate(ordinals) if ordinal >= full)

    assert max(steps(f"node-{n}") for n in range(200)) < 50


def test_hosts_start_at_different_places_and_always_at_their_own():
    starts = {walk_start(f"node-{n}", 1024) for n in range(64)}

    assert 56 < len(starts)
    assert walk_start("node-a", 1024) == walk_start("node-a", 1024)


def test_a_walk_through_a_huge_pool_needs_no_list_of_it():
    pool = parse_network("fd00::/8")

    first = next(walk_blocks(pool, 122, "node-a"))

    assert contains(pool, first)
    assert 122 == first.prefixlen
