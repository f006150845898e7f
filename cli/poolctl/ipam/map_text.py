"""
The map for a terminal: a cell has columns that tell its node, its fill and its state.

Rules:

1. Every column says its own without colour.
2. A short list says more than a grid: blocks of sparse pools stand in lines, if they are few.
"""

import sys
from collections.abc import Iterator, Sequence

from poolctl import terminal
from poolctl.ipam.legend import NO_NODE, SEVERAL, UNLISTED, Legend, counts, number, plural, tell
from poolctl.report import printable
from poolmgr.core.atlas import Plot, Sheet
from poolmgr.core.grid import FEW, Cell, Gap, Grid, Row, address, grid, packed
from poolmgr.drawing import Map

_ROWS = 64
_CELL = 4
_FILLS = "_▁▂▃▄▅▆▇█"
_PLAIN_FILLS = "_12345678"  # where a terminal has no better
_COLOURS = (214, 74, 36, 184, 32, 202, 175)
"""The palette, as near as 256 colours come to it; yellow is darker, for white terminals."""


def text(found: Map, legend: Legend) -> str:
    """Draw a map for a terminal, without the newline at its end."""
    return "\n".join(_Picture(found, legend).lines())


class _Picture:
    def __init__(self, found: Map, legend: Legend) -> None:
        self._found, self._legend = found, legend
        self._width = max(40, terminal.width())
        rich = _can_be_written(_FILLS + "·…")
        self._fills = _FILLS if rich else _PLAIN_FILLS
        self._nobody, self._etc = ("·", "…") if rich else (".", "...")

    def lines(self) -> Iterator[str]:
        atlas = self._found.atlas
        for sheet in atlas.sheets:
            yield from self._sheet(sheet)
            yield ""
        if atlas.orphans:
            number_of = plural(len(atlas.orphans), "block")
            yield terminal.styled(f"{number_of} outside every pool", bold=True)
            yield from self._blocks(atlas.orphans)
            yield ""
        if not atlas.sheets and not atlas.orphans:
            yield "There are no pools."
        else:
            yield from self._nodes()
            yield from self._key()
        yield f"As of revision {self._found.revision:,}."

    def _sheet(self, sheet: Sheet) -> Iterator[str]:
        label = max(len(str(end)) for end in (sheet.cidr[0], sheet.cidr[-1])) + 2
        columns = self._columns(label)
        made = grid(sheet, columns=columns, cells=columns * _ROWS)
        disabled = ", disabled" if sheet.disabled else ""
        title = f"{sheet.name}  {sheet.cidr}  blocks of /{sheet.block_size}{disabled}"
        yield terminal.styled(printable(title), bold=True)
        yield from self._wrapped(counts(sheet.usage, sheet.borrowed, sheet.cooling), "; ")
        yield from self._wrapped(f"{_claims(sheet, made)}; {_scale(made)}", "; ")
        if made.sparse:
            yield from self._blocks(sheet.plots, sheet, made)
            return
        for row in made.rows:
            if isinstance(row, Gap):
                yield self._gap(row.blocks, label, reserved=row.reserved)
            else:
                start = address(sheet.cidr.version, row.cells[0].first)
                yield self._row(f" {start:<{label - 1}}", row)

    def _columns(self, label: int) -> int:
        """Return how many cells stand side by side, a power of two."""
        return 1 << (max(4, (self._width - label + 1) // _CELL).bit_length() - 1)

    def _row(self, start: str, row: Row) -> str:
        return (start + "".join(map(self._cell, row.cells))).rstrip()

    def _cell(self, cell: Cell) -> str:
        if not cell.plots:
            whole = cell.reserved == cell.total
            shape = "rr" if whole else f"{self._nobody} "
            mark = "r" if cell.reserved and not whole else " "
            return terminal.styled(shape + mark, dim=True) + " "
        look = self._legend.look(cell.owners)
        colour = None if look.colour < 0 else _COLOURS[look.colour]
        shape = look.letter + self._fills[_level(cell.in_use, cell.total)]
        return terminal.styled(shape, fg=colour) + terminal.styled(_mark(cell), bold=True) + " "

    def _blocks(
        self, plots: Sequence[Plot], sheet: Sheet | None = None, made: Grid | None = None
    ) -> Iterator[str]:
        """Show blocks as lines if they are few, or packed, without what lies between them."""
        if len(plots) <= FEW:
            yield from self._list(plots, sheet, made)
            return
        longest = max(len(address(plot.family, plot.first)) for plot in plots)
        label = longest + 2
        columns = self._columns(label)
        per_cell, rows = packed(plots, columns=columns, cells=columns * _ROWS)
        each = "one block" if per_cell == 1 else plural(per_cell, "block")
        yield f"  claimed blocks only, by address; a cell is {each}"
        for row in rows:
            plot = row.cells[0].plots[0]
            yield self._row(f" {address(plot.family, plot.first):<{label - 1}}", row)

    def _list(
        self, plots: Sequence[Plot], sheet: Sheet | None, made: Grid | None
    ) -> Iterator[str]:
        longest = max((len(str(plot.cidr)) for plot in plots), default=0)
        label = longest + 2
        reached = int(sheet.cidr.network_address) if sheet else 0
        step = sheet.cidr.num_addresses // made.blocks if sheet and made else 0
        for plot in plots:
            if step and plot.first - reached >= step:
                yield self._gap((plot.first - reached) // step, label)
            reached = plot.first + plot.size
            cell = Cell(plot.family, plot.first, plot.size, (plot,), plot.reserved)
            used = f"{number(plot.in_use)} of {number(plot.size)} in use, {tell([plot])}"
            yield f" {plot.cidr!s:<{label - 1}}{self._cell(cell)}{used}"
        if step and sheet and (rest := int(sheet.cidr[-1]) + 1 - reached) >= step:
            yield self._gap(rest // step, label)

    def _gap(self, blocks: int, label: int, *, reserved: bool = False) -> str:
        what = "reserved block" if reserved else "unclaimed block"
        text = f"{self._etc} {plural(blocks, what)} {self._etc}"
        return terminal.styled(" " * min(label, 22) + text, dim=True)

    def _nodes(self) -> Iterator[str]:
        legend = self._legend
        if legend.listed:
            yield terminal.styled("   BLOCKS  ADDRESSES  BORROWED      LENT  NODE", bold=True)
        for name, tenant in legend.listed:
            look = legend.looks[name]
            letter = terminal.styled(look.letter, fg=_COLOURS[look.colour], bold=True)
            figures = f"{tenant.blocks:>8,}{tenant.addresses:>11,}{tenant.borrowed:>10,}"
            yield f"{letter}{figures}{tenant.lent:>10,}  {printable(name)}"
        if legend.more:
            yield f"{UNLISTED}  and {plural(legend.more, 'more node')}"
        if legend.listed:
            yield ""

    def _key(self) -> Iterator[str]:
        fills = self._fills
        parts = (
            "a cell: node, fill, mark",
            f"{self._nobody} unclaimed",
            "rr unclaimed and reserved",
            f"{NO_NODE} blocks of no node",
            f"{SEVERAL} of several",
            f"{fills[0]} nothing in use",
            f"{fills[1]} to {fills[7]} more and more",
            f"{fills[8]} all",
            "b borrowed",
            "c cooling down",
            "r reserved",
            "+ several of these",
        )
        yield from self._wrapped("; ".join(parts), "; ", indent="")

    def _wrapped(self, text: str, between: str, indent: str = "  ") -> Iterator[str]:
        """Break a line where it has `between`."""
        line = ""
        for part in text.split(between):
            longer = f"{line}{between}{part}" if line else part
            if line and len(indent) + len(longer) >= self._width:
                yield f"{indent}{line}{between.rstrip()}"
                longer = part
            line = longer
        yield indent + line


def _claims(sheet: Sheet, made: Grid) -> str:
    claimed = len(sheet.plots)
    text = f"{number(claimed)} of {plural(made.blocks, 'block')} claimed"
    return f"{text}, {number(sheet.ownerless)} of them by no node" if sheet.ownerless else text


def _scale(made: Grid) -> str:
    if made.sparse:
        return "what is unclaimed is left out"
    if made.per_cell > 1:
        return f"a cell is {plural(made.per_cell, 'block')} (/{made.prefix})"
    return "a cell is one block"


def _level(in_use: int, total: int) -> int:
    """Return 0 for nothing, 8 for all, and what lies between for what lies between."""
    return 8 if in_use >= total else min(in_use, 1) + 7 * in_use // total


def _mark(cell: Cell) -> str:
    marks = [
        mark
        for mark, count in (("b", cell.borrowed), ("c", cell.cooling), ("r", cell.reserved))
        if count
    ]
    return "+" if len(marks) > 1 else "".join(marks) or " "


def _can_be_written(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
