"""Section 16: how many addresses are in use, reserved and free."""

from dataclasses import dataclass, replace

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.block import Attribute
from poolmgr.core.reservation import AddressSet
from tests.behaviours.row import Row, each
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import put
from tests.support.world import stored_resource

Counts = tuple[int, int, int, int]
"""Total, in use, reserved, free."""


@dataclass(frozen=True, slots=True)
class Counted(Row):
    """
    A pool, reservations in and around it, and its blocks.

    Attributes:
        full: Blocks without a free address, so that what is free lies outside of them.
    """

    cidr: str
    reserved: tuple[str, ...]
    full: tuple[str, ...]
    pool: Counts


@dataclass(frozen=True, slots=True)
class Overlapping(Row):
    """Reservations over a pool 10.0.0.0/24 with a block 10.0.0.0/26, where 10.0.0.5 is in use."""

    reserved: tuple[str, ...]
    pool: Counts
    block: Counts


V4, V6 = "10.0.0.0/24", "fd00::/120"
OVERLAPPING = (
    Overlapping("UT-02", ("10.0.0.128/25",), (256, 1, 128, 127), (64, 1, 0, 63)),
    Overlapping("UT-03", ("10.0.0.5/32",), (256, 1, 1, 255), (64, 1, 1, 63)),
    Overlapping(
        "UT-04",
        ("10.0.0.0/25", "10.0.0.5/32", "10.0.0.64/26"),
        (256, 1, 128, 128),
        (64, 1, 64, 0),
    ),
)
NESTED = ("10.0.0.0/25", "10.0.0.5/32", "10.0.0.64/26", "10.0.0.0/25")
COUNTED = (
    Counted("UT-06", V4, (), (), (256, 0, 0, 256)),
    Counted("UT-07", V4, ("10.0.0.32/30",), (), (256, 0, 4, 252)),
    Counted("UT-08", V4, NESTED, (), (256, 0, 128, 128)),
    Counted("UT-09", V4, ("10.0.0.0/16",), (), (256, 0, 256, 0)),
    Counted("UT-10", V4, ("192.168.0.0/24", V6), (), (256, 0, 0, 256)),
    Counted("UT-11", V4, (), ("10.0.0.0/26", "10.0.0.64/26"), (256, 128, 0, 128)),
    Counted("UT-12", V4, ("10.0.0.32/30",), ("10.0.0.0/26",), (256, 64, 4, 192)),
    Counted("UT-13", V4, ("10.0.0.128/25",), ("10.0.0.0/26",), (256, 64, 128, 64)),
    Counted("UT-14", V6, ("fd00::/126",), (), (256, 0, 4, 252)),
)
BY_CIDR = tuple(replace(row, id="UT-16") for row in COUNTED)
FILTERED, ORPHANS = Row("UT-05"), Row("UT-17")

ROWS = (*OVERLAPPING, *COUNTED, *BY_CIDR, FILTERED, ORPHANS)


def stored(cidrs: dict[str, str], reserved: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Pools by name, and a reservation."""
    spec = {"reservedCIDRs": [*reserved]}
    return dict(
        [
            *(stored_resource("ippools", "IPPool", n, {"cidr": c}) for n, c in cidrs.items()),
            stored_resource("ipreservations", "IPReservation", "r", spec),
        ]
    )


def with_one_in_use(cidr: str, ordinal: int) -> dict[str, bytes]:
    block = block_of(cidr)
    free = tuple(n for n in block.unallocated if n != ordinal)
    taken = tuple(0 if n == ordinal else None for n in range(block.size))
    owner = (Attribute(handle="h"),)
    return stored_block(replace(block, allocations=taken, unallocated=free, attributes=owner))


def shown(program, *options: str) -> list[list[str]]:
    """Rows of `poolctl ipam show`: grouping, CIDR, and the four counts."""
    result = program("ipam", "show", *options)
    assert (0, "") == (result.returncode, result.stderr)
    table = [line for line in result.stdout.splitlines() if line.startswith("|")][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [[*row[:2], *(cell.split()[0] for cell in row[2:])] for row in cells]


@each(OVERLAPPING)
def test_an_address_may_be_reserved_and_in_use_and_is_withheld_once(row, store, program):
    put(store, stored({"p": V4}, row.reserved) | with_one_in_use("10.0.0.0/26", 5))

    assert [
        ["IP Pool", V4, *map(str, row.pool)],
        ["Block", "10.0.0.0/26", *map(str, row.block)],
    ] == shown(program, "--show-blocks")


@each(COUNTED)
def test_space_that_no_block_has_claimed_is_free_unless_reserved(row, store, program):
    put(store, stored({"p": row.cidr}, row.reserved))
    for cidr in row.full:
        put(store, stored_block(block_of(cidr, *["h"] * parse_network(cidr).num_addresses)))

    assert [["IP Pool", row.cidr, *map(str, row.pool)]] == shown(program)


@each(BY_CIDR)
def test_what_is_reserved_of_a_network_is_counted_once(row):
    _, _, reserved, _ = row.pool

    assert reserved == AddressSet.of(row.reserved).count_in(parse_network(row.cidr))


A, B = ["IP Pool", V4, "256", "1"], ["IP Pool", "20.0.0.0/24", "256", "1"]
IN_A, IN_B = ["Block", "10.0.0.0/26", "64", "1"], ["Block", "20.0.0.64/26", "64", "1"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((), [A, IN_A, B, IN_B, ["Block, no pool", "30.0.0.0/26", "64", "1"]]),
        (("20.0.0.0/24",), [B, IN_B]),
        (("a",), [A, IN_A]),
        (("a", "20.0.0.0/24"), [A, IN_A, B, IN_B]),
    ],
    ids=["all", "by CIDR", "by name", "by both"],
)
@each([FILTERED])
def test_pools_are_counted_by_name_or_cidr_with_their_blocks(
    row, store, program, wanted, expected
):
    put(store, stored({"a": V4, "b": "20.0.0.0/24"}))
    for cidr in ("10.0.0.0/26", "20.0.0.64/26", "30.0.0.0/26"):
        put(store, with_one_in_use(cidr, 0))

    assert expected == [found[:4] for found in shown(program, "--show-blocks", *wanted)]


@each([ORPHANS])
def test_blocks_of_a_deleted_pool_are_listed_and_cooling_addresses_are_in_use(
    row, store, program
):
    block = replace(
        block_of("10.9.0.0/26", "h"),
        attributes=(Attribute(released_at="2026-01-01T00:00:00Z"),),
    )
    put(store, stored({"p": V4}) | stored_block(block) | with_one_in_use("fd00::/122", 0))

    assert [
        ["IP Pool", V4, "256", "0", "0", "256"],
        ["Block, no pool", "10.9.0.0/26", "64", "1", "0", "63"],
        ["Block, no pool", "fd00::/122", "64", "1", "0", "63"],
    ] == shown(program, "--show-blocks")
    assert [["IP Pool", V4, "256", "0", "0", "256"]] == shown(program)
