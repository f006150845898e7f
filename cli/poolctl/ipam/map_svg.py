"""
The map as a picture that needs nothing beside it: no font, no script, no image.

Rules:

1. It is read on white, printed or not; colours are those of Okabe and Ito, and what a colour
   says a letter, a pattern or a hover text says too.
2. What nobody has claimed is one shape, so that its size is that of what is claimed.
3. Stored text is escaped, and everything is ASCII, whatever it is written to.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

from poolctl.ipam.legend import Legend, counts, number, plural, tell
from poolctl.report import printable
from poolmgr.core.atlas import Plot, Sheet, Tenant
from poolmgr.core.grid import Cell, Gap, Grid, Row, address, blocks_in, grid, packed
from poolmgr.drawing import Map

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_NEUTRAL = "#999999"
_CELLS = 16_384
"""In all panels together; where there are so many, a cell takes some 170 bytes."""
_FEWEST, _MOST = 64, 16_384
_SCALES = ((64, 16, 44), (512, 32, 26), (4096, 64, 16), (_MOST, 128, 8))
"""Up to so many cells: how many stand side by side, and how big they are."""
_CORNER, _TINY = 30, 16
"""Bigger cells have their letter in a corner; in cells that are no bigger it is small."""
_BARE = 10
"""Cells that are no bigger have no letter."""
_SEEN = 5
"""The least height at which a pattern is seen."""
_MARGIN, _LINE = 24, 18
_NARROWEST = 480
_COLUMNS = 3
_GLYPH = {"h": 11.5, "p": 8.5}
_ANY_GLYPH = 7.0
"""Estimates of how wide a letter is: a picture has no font to measure."""
_STYLE = """
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#222}
.h{font-size:20px;font-weight:600}.p{font-size:15px;font-weight:600}.s{fill:#555}
.a{font:11px ui-monospace,Menlo,Consolas,"Liberation Mono",monospace;fill:#555;white-space:pre}
.l{font-weight:600;text-anchor:middle;fill:#000;paint-order:stroke;stroke:#fff;
stroke-width:2.5px;stroke-linejoin:round}
.m{font-size:9px;stroke-width:1.6px}
.f{stroke-width:1}g:hover>.f{stroke:#000;stroke-width:2}
""".replace("\n", "")
_PATTERNS = (
    ("borrowed", "M0 6L6 0M-1 1L1 -1M5 7L7 5", "#000", 1.4),
    ("cooling", "M1 1h2v2h-2zM4 4h2v2h-2z", "#000", 0),
    ("reserved", "M0 0L6 6M0 6L6 0", "#777", 0.8),
)


def svg(found: Map, legend: Legend, now: datetime) -> str:
    """Draw a map as an SVG document, without the newline at its end."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + picture(found, legend, now)


def picture(found: Map, legend: Legend, now: datetime) -> str:
    """Draw a map as an `svg` element."""
    return _ascii(_Picture(found, legend).draw(now))


def clean(text: str) -> str:
    """Write stored text so that it is neither markup nor control characters."""
    return escape(printable(text))


def headline(found: Map, now: datetime) -> str:
    """Tell of when a map is."""
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, revision {found.revision:,}"


class _Scale(NamedTuple):
    """How many cells stand side by side, and how far from each other."""

    columns: int
    size: int


class _Picture:
    """Draws from above to below; `_y` is how far it is."""

    def __init__(self, found: Map, legend: Legend) -> None:
        self._found, self._legend = found, legend
        self._limit = max(_FEWEST, min(_MOST, _CELLS // max(1, len(found.atlas.sheets))))
        self._y = self._labelled = 0
        self._width = _NARROWEST
        self._parts: list[str] = []

    def draw(self, now: datetime) -> str:
        atlas = self._found.atlas
        self._y = _MARGIN + 12
        self._text(_MARGIN, "Address space", "h")
        self._y += 22
        self._text(_MARGIN, headline(self._found, now), "s")
        for sheet in atlas.sheets:
            self._sheet(sheet)
        if atlas.orphans:
            self._y += 40
            title = f"{plural(len(atlas.orphans), 'block')} outside every pool"
            self._text(_MARGIN, title, "p")
            self._packed(atlas.orphans)
        if not atlas.sheets and not atlas.orphans:
            self._y += 40
            self._text(_MARGIN, "There are no pools.")
        else:
            self._legends()
        width, height = self._width + 2 * _MARGIN, self._y + _MARGIN
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img"><title>Address space</title>'
            f"<style>{_STYLE}</style><defs>{''.join(map(_pattern, _PATTERNS))}</defs>"
            f'<rect width="{width}" height="{height}" fill="#fff"/>'
            + "\n".join(self._parts)
            + "</svg>"
        )

    def _text(self, x: float, text: str, kind: str = "") -> None:
        """Write a line; what is stored is in it."""
        named = f' class="{kind}"' if kind else ""
        written = clean(text)
        self._parts.append(f'<text x="{x}" y="{self._y}"{named}>{written}</text>')
        self._reach(x + len(printable(text)) * _GLYPH.get(kind, _ANY_GLYPH))

    def _reach(self, x: float) -> None:
        """Make the picture wide enough for what ends at `x`."""
        self._width = max(self._width, round(x) - _MARGIN)

    def _sheet(self, sheet: Sheet) -> None:
        made, scale = self._laid_out(sheet)
        self._y += 40
        disabled = ", disabled" if sheet.disabled else ""
        title = f"{sheet.name}: {sheet.cidr}, blocks of /{sheet.block_size}{disabled}"
        self._text(_MARGIN, title, "p")
        self._y += _LINE
        self._text(_MARGIN, counts(sheet.usage, sheet.borrowed, sheet.cooling), "s")
        self._y += _LINE
        nobody = f", {number(sheet.ownerless)} of them by no node" if sheet.ownerless else ""
        claims = f"{number(len(sheet.plots))} of {plural(made.blocks, 'block')} claimed{nobody}"
        if made.sparse:
            self._text(_MARGIN, f"{claims}; what nobody has claimed is left out", "s")
            self._packed(sheet.plots)
            return
        each = f"{plural(made.per_cell, 'block')} (/{made.prefix})"
        bare = "" if scale.size > _BARE else "; point at one to see whose it is"
        self._text(_MARGIN, f"{claims}; a cell is {each}{bare}", "s")
        self._y += 10
        starts = [address(sheet.cidr.version, _start(row)) for row in made.rows]
        left = _MARGIN + 12 + round(6.7 * max(map(len, starts)))
        for row, start in zip(made.rows, starts, strict=True):
            if isinstance(row, Gap):
                self._gap(row, start, left, scale)
            else:
                self._row(row, start, left, scale)

    def _laid_out(self, sheet: Sheet) -> tuple[Grid, "_Scale"]:
        """Make the cells as big as their number allows."""
        scales = [each for each in _SCALES if each[0] <= max(self._limit, _SCALES[0][0])]
        blocks = blocks_in(sheet)
        cells, columns, size = next((s for s in scales if blocks <= s[0]), scales[-1])
        return grid(sheet, columns=columns, cells=cells), _Scale(columns, size)

    def _packed(self, plots: Sequence[Plot]) -> None:
        if not plots:
            return
        _, columns, size = next((s for s in _SCALES if len(plots) <= s[0]), _SCALES[-1])
        scale = _Scale(columns, size)
        per_cell, rows = packed(plots, columns=scale.columns, cells=self._limit)
        if per_cell > 1:
            self._y += _LINE
            text = f"a cell is {plural(per_cell, 'claimed block')}, one after another"
            self._text(_MARGIN, text, "s")
        self._y += 10
        firsts = [row.cells[0].plots[0] for row in rows]
        starts = [address(plot.family, plot.first) for plot in firsts]
        left = _MARGIN + 12 + round(6.7 * max(map(len, starts)))
        for row, start in zip(rows, starts, strict=True):
            self._row(row, start, left, scale)

    def _gap(self, gap: Gap, start: str, left: int, scale: "_Scale") -> None:
        what = "reserved block" if gap.reserved else "unclaimed block"
        fill = "url(#reserved)" if gap.reserved else "#f4f4f4"
        self._parts.append(
            f'<text class="a" x="{_MARGIN}" y="{self._y + 13}">{start}</text>'
            f'<rect x="{left}" y="{self._y}" width="{scale.columns * scale.size - 2}" '
            f'height="18" fill="{fill}"/>'
            f'<text x="{left + 8}" y="{self._y + 13}" class="s" paint-order="stroke" '
            f'stroke="#fff" stroke-width="3">{plural(gap.blocks, what)}</text>'
        )
        self._y += 20

    def _row(self, row: Row, start: str, left: int, scale: "_Scale") -> None:
        y = self._y + scale.size // 2 + 3
        if y - self._labelled > _LINE // 2 + 1:  # where labels would touch, some are left out
            self._labelled = y
            self._parts.append(f'<text class="a" x="{_MARGIN}" y="{y}">{start}</text>')
        for at, cell in enumerate(row.cells):
            x = left + at * scale.size
            self._parts.append(self._cell(cell, x, self._y, scale.size - 2))
        self._y += scale.size
        self._reach(left + scale.columns * scale.size)

    def _cell(self, cell: Cell, x: int, y: int, size: int) -> str:
        box = f'x="{x}" y="{y}" width="{size}" height="{size}"'
        title = f"<title>{_hover(cell)}</title>"
        if not cell.plots:
            fill = "url(#reserved)" if cell.reserved else "none"
            return f'<g>{title}<rect class="f" {box} fill="#fafafa" stroke="#ddd"/>' + (
                f'<rect {box} fill="{fill}" pointer-events="none"/></g>'
                if cell.reserved
                else "</g>"
            )
        look = self._legend.look(cell.owners)
        colour = _NEUTRAL if look.colour < 0 else COLOURS[look.colour]
        if size < _BARE and not (cell.borrowed or cell.cooling or cell.reserved):
            height = round(size * cell.in_use / cell.total)
            return (
                f'<rect x="{x}" y="{y + size - max(height, 1)}" width="{size}" '
                f'height="{max(height, 1)}" fill="{colour}">{title}</rect>'
            )
        layers = [
            f'<rect x="{x}" y="{y + at:g}" width="{size}" height="{height:g}" fill="{fill}"/>'
            for fill, at, height in _layers(cell, colour, size)
        ]
        right, down = (10, 15) if size > _CORNER else (size / 2, size / 2 + 3.5)
        kind = "l" if size > _TINY else "l m"
        if size < _BARE:
            return f"<g>{title}{''.join(layers)}</g>"
        letter = f'<text class="{kind}" x="{x + right:g}" y="{y + down:g}">{look.letter}</text>'
        return (
            f'<g>{title}<rect {box} fill="#fff"/>{"".join(layers)}'
            f'<rect class="f" {box} fill="none" stroke="{colour}"/>{letter}</g>'
        )

    def _legends(self) -> None:
        self._y += 44
        self._text(_MARGIN, "Legend", "p")
        self._y += 12
        listed = self._legend.listed
        entries = [(_short(name), _figures(tenant)) for name, tenant in listed]
        column = 56 + round(_ANY_GLYPH * max((len(t) for e in entries for t in e), default=0))
        if listed:
            self._reach(_MARGIN + min(_COLUMNS, len(listed)) * column)
        self._samples()
        top, rows = self._y, -(-len(listed) // _COLUMNS)
        for at, (name, _) in enumerate(listed):
            (short, figures) = entries[at]
            x, y = _MARGIN + at // rows * column, top + at % rows * 36
            look = self._legend.looks[name]
            colour = COLOURS[look.colour]
            self._parts.append(
                f"<g><title>{clean(name)}</title>"
                f'<rect x="{x}" y="{y}" width="24" height="24" fill="{colour}"/>'
                f'<text class="l" x="{x + 12}" y="{y + 16}">{look.letter}</text>'
                f'<text x="{x + 32}" y="{y + 10}">{clean(short)}</text>'
                f'<text class="s" x="{x + 32}" y="{y + 25}">{figures}</text></g>'
            )
        self._y = top + rows * 36
        if self._legend.more:
            self._y += 14
            self._text(_MARGIN, f"# and {plural(self._legend.more, 'more node')}")

    def _samples(self) -> None:
        x = _MARGIN
        for fill, stroke, letter, words in (
            ("#fafafa", "#ddd", "", "unclaimed"),
            ("#e0e0e0", _NEUTRAL, "-", "of no node"),
            (_NEUTRAL, _NEUTRAL, "*", "of several nodes"),
            ("half", _NEUTRAL, "", "the higher, the fuller"),
            ("url(#borrowed)", _NEUTRAL, "", "used by another node"),
            ("url(#cooling)", _NEUTRAL, "", "cooling down"),
            ("url(#reserved)", _NEUTRAL, "", "reserved"),
        ):
            step = 56 + round(_ANY_GLYPH * len(words))
            if x + step > _MARGIN + self._width:
                x = _MARGIN
                self._y += 32
            half = fill == "half"
            self._parts.append(
                f'<rect x="{x}" y="{self._y + (12 if half else 0)}" width="24" '
                f'height="{12 if half else 24}" fill="{_NEUTRAL if half else fill}"/>'
                f'<rect x="{x}" y="{self._y}" width="24" height="24" fill="none" '
                f'stroke="{stroke}"/>'
                f'<text class="l" x="{x + 12}" y="{self._y + 16}">{letter}</text>'
                f'<text x="{x + 32}" y="{self._y + 16}">{words}</text>'
            )
            x += step
        self._y += 42


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}\N{HORIZONTAL ELLIPSIS}"


def _figures(tenant: Tenant) -> str:
    return (
        f"{plural(tenant.blocks, 'block')}, {plural(tenant.addresses, 'address', 'es')}"
        f", {tenant.borrowed:,} borrowed, {tenant.lent:,} lent"
    )


def _start(row: Row | Gap) -> int:
    return row.first if isinstance(row, Gap) else row.cells[0].first


def _layers(cell: Cell, colour: str, size: int) -> Iterator[tuple[str, float, float]]:
    """Yield fill, distance from above and height; what is special lies above the rest."""
    if cell.in_use:
        filled = min(float(size), max(size * cell.in_use / cell.total, size / 8))
        at = size - filled
        yield colour, round(at, 1), round(filled, 1)
        for count, fills in (
            (cell.borrowed, ("url(#borrowed)",)),
            (cell.cooling, ("#fff", "url(#cooling)")),
        ):
            height = min(size - at, max(size * count / cell.total, _SEEN)) if count else 0
            yield from ((fill, round(at, 1), round(height, 1)) for fill in fills if height)
            at += height
    if cell.reserved and cell.in_use < cell.total:
        rest = size * (1 - cell.in_use / cell.total)
        height = min(rest, max(size * cell.reserved / cell.total, 3))
        yield "url(#reserved)", 0, round(height, 1)


def _hover(cell: Cell) -> str:
    if not cell.plots:
        what = f"unclaimed, {number(cell.reserved)} reserved" if cell.reserved else "unclaimed"
        start = address(cell.family, cell.first)
        return f"{start}: {plural(cell.total, 'address', 'es')}, {what}"
    if len(cell.plots) == 1 and cell.plots[0].size == cell.total:
        place = str(cell.plots[0].cidr)
    else:
        first = cell.plots[0].cidr.network_address
        place = f"{plural(len(cell.plots), 'claimed block')}, the first of them at {first}"
    free = sum(plot.free for plot in cell.plots)
    lines = [
        place,
        f"node: {tell(cell.plots)}",
        f"{number(cell.in_use)} of {number(cell.total)} in use, {number(free)} free",
    ]
    users: dict[str, int] = {}
    for plot in cell.plots:
        for node, count in plot.users:
            users[node] = users.get(node, 0) + count
    named = ", ".join(f"{count:,} by {node}" for node, count in [*users.items()][:3])
    more = f" and {len(users) - 3:,} more nodes" if len(users) > 3 else ""
    lines += [f"borrowed: {named}{more}"] if users else []
    lines += [f"cooling down: {cell.cooling:,}"] if cell.cooling else []
    lines += [f"reserved: {number(cell.reserved)}"] if cell.reserved else []
    return "\n".join(map(clean, lines))


def _pattern(pattern: tuple[str, str, str, float]) -> str:
    name, path, colour, width = pattern
    drawn = f'stroke="{colour}" stroke-width="{width}"' if width else f'fill="{colour}"'
    return (
        f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="{path}" {drawn}/></pattern>'
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "xmlcharrefreplace").decode()
