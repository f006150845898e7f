"""Grids have a place for every block, and none for nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.core.atlas import Sheet, draw
from poolmgr.core.grid import FEW, Gap, Grid, Row, address, grid, packed
from poolmgr.core.reservation import AddressSet
from tests.support.facts import pool
from tests.support.mapped import tenure


def sheet(cidr: str, *blocks: str, reserved: tuple[str, ...] = (), size: int = 26) -> Sheet:
    found = [tenure(block, "host:a", 1) for block in blocks]
    return draw([pool("p", cidr, blockSize=size)], AddressSet.of(reserved), found).sheets[0]


def shape(made: Grid) -> list[object]:
    """Blocks in each cell; ("gap", count) for what is left out."""
    return [
        ("gap", row.blocks) if isinstance(row, Gap) else [len(cell.plots) for cell in row.cells]
        for row in made.rows
    ]


def test_a_cell_is_a_block_where_there_is_room():
    made = grid(sheet("10.0.0.0/24", "10.0.0.64/26"), columns=4, cells=64)

    assert [[0, 1, 0, 0]] == shape(made)
    assert (4, 1, 26, False) == (made.blocks, made.per_cell, made.prefix, made.sparse)


def test_cells_are_as_many_blocks_as_make_them_few_enough():
    blocks = [f"10.0.{n}.0/26" for n in range(FEW + 1)]

    made = grid(sheet("10.0.0.0/16", *blocks), columns=16, cells=256)

    assert (1024, 4, 24) == (made.blocks, made.per_cell, made.prefix)
    assert [[1] * 16] * 4 + [[1] + [0] * 15, ("gap", 4 * 16 * 11)] == shape(made)
    assert isinstance(made.rows[0], Row)
    assert 256 == made.rows[0].cells[0].total


def test_few_blocks_among_too_many_are_told_one_by_one():
    made = grid(sheet("10.0.0.0/8", "10.9.0.0/26", "10.77.0.0/26"), columns=16, cells=1024)

    assert made.sparse
    assert [[1, 1]] == shape(made)


def test_pools_of_astronomic_size_are_drawn_at_once():
    blocks = [f"fd00::{n:x}00/122" for n in range(1, 100)]

    made = grid(sheet("fd00::/32", *blocks, size=122), columns=16, cells=1024)

    assert (1 << 90, True) == (made.blocks, made.sparse)
    assert [[1] * 16] * 6 + [[1] * 3] == shape(made)


def test_single_empty_rows_are_drawn_and_longer_ones_are_counted():
    made = grid(sheet("10.0.0.0/20", "10.0.0.0/26", "10.0.2.0/26"), columns=4, cells=64)

    assert [[1, 0, 0, 0], [0] * 4, [1, 0, 0, 0], ("gap", 52)] == shape(made)


def test_what_is_reserved_is_a_gap_of_its_own():
    made = grid(
        sheet("10.0.0.0/20", reserved=("10.0.0.0/21", "10.0.15.255")), columns=4, cells=64
    )

    gaps = [row for row in made.rows if isinstance(row, Gap)]
    assert [(32, True), (28, False)] == [(gap.blocks, gap.reserved) for gap in gaps]
    assert "10.0.8.0" == address(4, gaps[1].first)
    assert isinstance(made.rows[-1], Row)
    assert 1 == made.rows[-1].cells[-1].reserved


def test_a_block_of_another_size_lies_in_one_cell():
    small, large = (
        grid(sheet("10.0.0.0/24", "10.0.0.0/28", "10.0.0.16/28"), columns=4, cells=64),
        grid(sheet("10.0.0.0/24", "10.0.0.0/25", "10.0.0.128/26"), columns=4, cells=64),
    )

    assert [[2, 0, 0, 0]] == shape(small)
    assert [[1, 1]] == shape(large)
    assert 2 == large.per_cell


def test_a_block_around_the_pool_is_its_only_cell():
    made = grid(sheet("10.0.0.64/28", "10.0.0.0/24"), columns=4, cells=64)

    assert [[1]] == shape(made)


@pytest.mark.parametrize("size", [-5, 1, 200, 10**9])
def test_a_block_size_that_cannot_be_is_drawn_as_the_next_one(size):
    made = grid(sheet("10.0.0.0/24", size=size), columns=16, cells=1024)

    assert made.blocks == (1 if size < 24 else 256)


@given(
    st.sampled_from(["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/22"]),
    st.sets(st.integers(0, 1023), max_size=90),
    st.sampled_from([4, 16, 64]),
    st.sampled_from([64, 256, 1024]),
)
def test_every_block_is_in_one_cell_and_every_cell_is_counted(cidr, numbers, columns, cells):
    blocks = [f"10.0.{n // 4 % 4}.{n % 4 * 64}/26" for n in numbers]
    found = sheet(cidr, *sorted({*blocks}))

    made = grid(found, columns=columns, cells=cells)

    rows = [row for row in made.rows if isinstance(row, Row)]
    drawn = [cell for row in rows for cell in row.cells]
    left_out = sum(row.blocks for row in made.rows if isinstance(row, Gap))
    assert [*found.plots] == [plot for cell in drawn for plot in cell.plots]
    assert max(map(len, (row.cells for row in rows)), default=0) <= columns
    assert len(drawn) <= cells
    if not made.sparse:
        assert made.blocks == left_out + sum(made.per_cell for _ in drawn)


def test_cells_add_up_their_blocks():
    found = [
        tenure("10.0.0.0/26", "host:a", 5, cooling=1, users=(("b", 2),)),
        tenure("10.0.0.64/26", None, 7, users=(("b", 7),)),
    ]
    plots = draw([], AddressSet(), found).orphans

    per_cell, (row,) = packed(plots, columns=4, cells=1)

    (cell,) = row.cells
    assert (2, 128, 12, 9, 1) == (
        per_cell,
        cell.total,
        cell.in_use,
        cell.borrowed,
        cell.cooling,
    )
    assert ("a", None) == cell.owners
