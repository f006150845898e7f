"""Utilization, with the figures of Calico's own tests."""

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.reservation import AddressSet
from poolmgr.core.usage import Usage, utilization
from tests.support.facts import block_of, pool


def counted(usage: Usage) -> tuple[int, int, int, int]:
    return usage.total, usage.in_use, usage.reserved, usage.free


@pytest.mark.parametrize(
    ("reservations", "of_pool", "of_block"),
    [
        pytest.param([], (256, 1, 0, 255), (64, 1, 0, 63), id="none"),
        pytest.param(["10.0.0.128/25"], (256, 1, 128, 127), (64, 1, 0, 63), id="UT-02"),
        pytest.param(["10.0.0.0/32"], (256, 1, 1, 255), (64, 1, 1, 63), id="UT-03"),
        pytest.param(
            ["10.0.0.0/25", "10.0.0.0/32", "10.0.0.64/26"],
            (256, 1, 128, 128),
            (64, 1, 64, 0),
            id="UT-04",
        ),
    ],
)
def test_reserved_and_in_use_may_overlap(reservations, of_pool, of_block):
    block = block_of("10.0.0.0/26", "h")

    used = utilization([pool("p", "10.0.0.0/24")], AddressSet.of(reservations), [block])

    assert of_pool == counted(used.pools[0].usage)
    assert of_block == counted(used.pools[0].blocks[0].usage)


@pytest.mark.parametrize(
    ("cidr", "reservations", "blocks", "expected"),
    [
        pytest.param("10.0.0.0/24", [], [], (0, 256), id="UT-06"),
        pytest.param("10.0.0.0/24", ["10.0.0.32/30"], [], (4, 252), id="UT-07"),
        pytest.param(
            "10.0.0.0/24",
            ["10.0.0.0/25", "10.0.0.5/32", "10.0.0.64/26", "10.0.0.0/25"],
            [],
            (128, 128),
            id="UT-08",
        ),
        pytest.param("10.0.0.0/24", ["10.0.0.0/16"], [], (256, 0), id="UT-09"),
        pytest.param("10.0.0.0/24", ["192.168.0.0/24", "fd00::/120"], [], (0, 256), id="UT-10"),
        pytest.param("10.0.0.0/24", [], ["10.0.0.0/26", "10.0.0.64/26"], (0, 128), id="UT-11"),
        pytest.param("10.0.0.0/24", ["10.0.0.32/30"], ["10.0.0.0/26"], (4, 192), id="UT-12"),
        pytest.param("10.0.0.0/24", ["10.0.0.128/25"], ["10.0.0.0/26"], (128, 64), id="UT-13"),
        pytest.param("fd00::/120", ["fd00::/126"], [], (4, 252), id="UT-14"),
        pytest.param("fd00::/48", [], ["fd00::/122"], (0, 2**80 - 64), id="beyond 64 bits"),
    ],
)
def test_pool_space_without_a_block_is_free_unless_reserved(
    cidr, reservations, blocks, expected
):
    # The blocks are full, so that what is free lies outside of them.
    full = [block_of(block, *["h"] * parse_network(block).num_addresses) for block in blocks]

    used = utilization([pool("p", cidr)], AddressSet.of(reservations), full)

    assert expected == (used.pools[0].usage.reserved, used.pools[0].usage.free)


def test_a_block_belongs_to_the_pool_around_it_and_to_none_when_there_is_none():
    pools = [pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24"), pool("c", "fd00::/64")]
    blocks = ["10.0.1.64/26", "10.0.0.0/26", "10.0.9.0/26", "fd00::40/122", "fd01::/122"]

    used = utilization(pools, AddressSet(), map(block_of, blocks))

    assert [[str(block.cidr) for block in each.blocks] for each in used.pools] == [
        ["10.0.0.0/26"],
        ["10.0.1.64/26"],
        ["fd00::40/122"],
    ]
    assert [str(block.cidr) for block in used.orphans] == ["10.0.9.0/26", "fd01::/122"]


def test_of_pools_that_share_a_block_the_first_has_it():
    pools = [pool("a", "10.0.0.0/16"), pool("b", "10.0.0.0/24")]

    used = utilization(pools, AddressSet(), [block_of("10.0.0.0/26", "h")])

    assert [each.usage.in_use for each in used.pools] == [1, 0]


def test_a_pool_smaller_than_its_block_counts_its_own_addresses_only():
    # Left behind by a pool of the same block size; only a disabled pool may be so small.
    block = block_of("10.0.0.0/26", *["h"] * 40)
    small = pool("p", "10.0.0.32/27", disabled=True)

    used = utilization([small], AddressSet.of(["10.0.0.60/30"]), [block])

    assert counted(used.pools[0].usage) == (32, 8, 4, 20)
    assert counted(used.pools[0].blocks[0].usage) == (64, 40, 4, 20)
