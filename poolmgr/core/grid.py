"""
Grids: which cells a map has, and which of its rows say nothing.

Rules:

1. A cell is one block, or as many blocks, a power of two, as make the grid small enough.
2. Rows that nobody has claimed anything of are left out, and counted.
3. Where a grid would be nothing but gaps, or hide a few blocks among many, claimed blocks
   alone are the cells, in order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import HOST_PREFIX, IPNetwork, network_at
from poolmgr.core.atlas import Plot, Sheet

_DENSE = 1 << 20
"""Blocks: a pool of more is drawn without what nobody has claimed."""


FEW = 64
"""Blocks that may be told one by one."""


class Cell(NamedTuple):
    """
    A range of addresses.

    Attributes:
        first: Its first address, as an integer.
        total: Its addresses.
        plots: Blocks in it, by address; () = nobody has claimed any.
        reserved: Addresses that are reserved or withheld.
    """

    family: int
    first: int
    total: int
    plots: tuple[Plot, ...]
    reserved: int

    @property
    def in_use(self) -> int:
        """Addresses in use, with the borrowed ones and those that cool down."""
        return sum(plot.in_use for plot in self.plots)

    @property
    def borrowed(self) -> int:
        """Addresses that other nodes use than the block's."""
        return sum(plot.borrowed for plot in self.plots)

    @property
    def cooling(self) -> int:
        """Addresses that cool down."""
        return sum(plot.cooling for plot in self.plots)

    @property
    def owners(self) -> tuple[str | None, ...]:
        """Who has blocks in it; None = blocks of nobody."""
        return tuple(dict.fromkeys(plot.owner for plot in self.plots))


@dataclass(frozen=True, slots=True)
class Row:
    """Cells side by side."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """
    What is left out.

    Attributes:
        first: Its first address, as an integer.
        blocks: Blocks of the pool's size that nobody has claimed.
        reserved: All of it is reserved.
    """

    first: int
    blocks: int
    reserved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """
    What is drawn of a pool.

    Attributes:
        blocks: How many the pool has room for.
        per_cell: Blocks in a cell.
        prefix: Prefix length of a cell.
        sparse: Cells are claimed blocks, in order; what lies between them is not drawn.
    """

    blocks: int
    per_cell: int
    prefix: int
    sparse: bool
    rows: tuple[Row | Gap, ...]


def grid(sheet: Sheet, *, columns: int, cells: int) -> Grid:
    """
    Lay out the map of a pool.

    Args:
        columns: Cells in a row.
        cells: How many there may be.
    """
    bits, block = HOST_PREFIX[sheet.cidr.version], _block_prefix(sheet)
    blocks = blocks_in(sheet)
    if blocks > cells and (blocks > _DENSE or len(sheet.plots) <= FEW):
        return _sparse(sheet, blocks, block, columns, cells)
    # As big as the biggest block, so that each block lies in one cell.
    prefix = max(min([block, *(plot.prefix for plot in sheet.plots)]), sheet.cidr.prefixlen)
    while 1 << (prefix - sheet.cidr.prefixlen) > cells:
        prefix -= 1
    found = _cells(sheet, prefix)
    count, step = 1 << (prefix - sheet.cidr.prefixlen), 1 << (bits - prefix)
    rows = _rows(sheet, count, step, found, columns)
    per_cell = 1 << (block - prefix)
    return Grid(
        blocks=blocks,
        per_cell=per_cell,
        prefix=prefix,
        sparse=False,
        rows=tuple(_without_gaps(rows, per_cell)),
    )


def blocks_in(sheet: Sheet) -> int:
    """Return how many blocks a pool has room for."""
    return 1 << (_block_prefix(sheet) - sheet.cidr.prefixlen)


def packed(plots: Sequence[Plot], *, columns: int, cells: int) -> tuple[int, tuple[Row, ...]]:
    """
    Lay out blocks side by side, wherever they are.

    Returns:
        How many blocks a cell has, and the rows.
    """
    per_cell = 1
    while len(plots) > per_cell * cells:
        per_cell *= 2
    made = [_packed_cell(plots[at : at + per_cell]) for at in range(0, len(plots), per_cell)]
    rows = (Row(tuple(made[at : at + columns])) for at in range(0, len(made), columns))
    return per_cell, tuple(rows)


def address(family: int, first: int) -> str:
    """Write the address that is an integer."""
    return str(network_at(family, first, HOST_PREFIX[family]).network_address)


def _block_prefix(sheet: Sheet) -> int:
    """Return the prefix length of the pool's blocks, or what comes next to it."""
    sizes = BLOCK_SIZES[sheet.cidr.version]
    return max(min(max(sheet.block_size, sizes[0]), sizes[-1]), sheet.cidr.prefixlen)


def _sparse(sheet: Sheet, blocks: int, block: int, columns: int, cells: int) -> Grid:
    per_cell, rows = packed(sheet.plots, columns=columns, cells=cells)
    return Grid(blocks=blocks, per_cell=per_cell, prefix=block, sparse=True, rows=rows)


def _packed_cell(plots: Sequence[Plot]) -> Cell:
    return Cell(
        family=plots[0].family,
        first=plots[0].first,
        total=sum(plot.size for plot in plots),
        plots=tuple(plots),
        reserved=sum(plot.reserved for plot in plots),
    )


def _cells(sheet: Sheet, prefix: int) -> dict[int, tuple[Plot, ...]]:
    """Map the number of each cell that has blocks to these; 0 has one around the pool."""
    shift = HOST_PREFIX[sheet.cidr.version] - prefix
    base = int(sheet.cidr.network_address) >> shift
    return {
        number: tuple(plots)
        for number, plots in groupby(
            sheet.plots, lambda plot: max(0, (plot.first >> shift) - base)
        )
    }


def _rows(
    sheet: Sheet, count: int, step: int, found: dict[int, tuple[Plot, ...]], columns: int
) -> Iterator[Row]:
    base = int(sheet.cidr.network_address)
    for at in range(0, count, columns):
        numbers = range(at, min(at + columns, count))
        yield Row(tuple(_cell(sheet, base + n * step, step, found.get(n, ())) for n in numbers))


def _cell(sheet: Sheet, first: int, step: int, plots: tuple[Plot, ...]) -> Cell:
    within = network_at(sheet.cidr.version, first, _prefix_of(sheet.cidr, step))
    edges = sum(plot.edges for plot in plots)
    return Cell(sheet.cidr.version, first, step, plots, sheet.kept.count_in(within) + edges)


def _prefix_of(pool: IPNetwork, step: int) -> int:
    return HOST_PREFIX[pool.version] - step.bit_length() + 1


def _without_gaps(rows: Iterator[Row], per_cell: int) -> Iterator[Row | Gap]:
    """Count rows, where several of them follow each other, that nobody has claimed."""
    for reserved, same in groupby(rows, _blank):
        group = list(same)
        if reserved is None or len(group) == 1:
            yield from group
        else:
            blocks = per_cell * sum(len(row.cells) for row in group)
            yield Gap(group[0].cells[0].first, blocks, reserved)


def _blank(row: Row) -> bool | None:
    """Tell whether all of an unclaimed row is reserved, or none of it; None = neither."""
    if any(cell.plots for cell in row.cells):
        return None
    if all(cell.reserved == cell.total for cell in row.cells):
        return True
    return None if any(cell.reserved for cell in row.cells) else False
