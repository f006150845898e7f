"""
The map as a page for a report: the picture, and tables of pools and nodes below it.

Rules:

1. The page is one file that loads nothing, and works without JavaScript.
2. Stored text is escaped, as in the picture.
"""

from collections.abc import Iterable
from datetime import datetime

from poolctl.ipam.legend import Legend, number, percent, plural
from poolctl.ipam.map_svg import clean, headline, picture
from poolmgr.core.atlas import Sheet
from poolmgr.drawing import Map

_NODES = 5_000
_STYLE = """
body{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;color:#222;
background:#fff;margin:0 auto;max-width:1280px;padding:0 0 3em}
svg{max-width:100%;height:auto;display:block;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
h2{font-size:15px;margin:1.5em 24px .5em}
.t{margin:0 24px;overflow-x:auto}p{margin:.5em 24px;color:#555}
table{border-collapse:collapse}
th,td{padding:3px 14px 3px 0;border-bottom:1px solid #ddd;text-align:left;
overflow-wrap:anywhere;vertical-align:top}
th{border-bottom:2px solid #999;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:normal;white-space:nowrap}
@media print{svg{max-height:none}tr{break-inside:avoid}}
""".replace("\n", "")
_POOLS = (
    "Pool", "CIDR", "Blocks claimed", "Addresses", "In use", "Borrowed", "Cooling down",
    "Reserved", "Free",
)  # fmt: skip
_RIGHT = ' class="n"'
_TEXTS = 2
"""So many columns of a table, at its left, are texts."""


def html(found: Map, legend: Legend, now: datetime) -> str:
    """Draw a map as a page, without the newline at its end."""
    atlas = found.atlas
    pools = [_pool(sheet) for sheet in atlas.sheets]
    nodes = [
        (legend.looks[name].letter, name, *(f"{count:,}" for count in counts))
        for name, tenant in [*atlas.tenants.items()][:_NODES]
        for counts in [(tenant.blocks, tenant.addresses, tenant.borrowed, tenant.lent)]
    ]
    more = len(atlas.tenants) - len(nodes)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Address space, {headline(found, now)}</title><style>{_STYLE}</style></head>",
        f"<body>{picture(found, legend, now)}",
        "<h2>Pools</h2>",
        _table(_POOLS, pools),
        "<h2>Nodes</h2>",
        _table(("", "Node", "Blocks", "Addresses", "Borrowed", "Lent"), nodes),
        f"<p>and {plural(more, 'more node')}</p>" if more else "",
        "<p>Borrowed: addresses that a node uses in blocks that are not its own. "
        "Lent: addresses of its blocks that other nodes use.</p></body></html>",
    ]
    return "\n".join(parts).encode("ascii", "xmlcharrefreplace").decode()


def _pool(sheet: Sheet) -> tuple[str, ...]:
    usage = sheet.usage
    return (
        sheet.name,
        str(sheet.cidr),
        f"{len(sheet.plots):,}",
        number(usage.total),
        f"{number(usage.in_use)} ({percent(usage.in_use, usage.total)})",
        number(sheet.borrowed),
        number(sheet.cooling),
        number(usage.reserved),
        f"{number(usage.free)} ({percent(usage.free, usage.total)})",
    )


def _table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join(f"<tr>{_cells('td', row)}</tr>\n" for row in rows)
    head = f"<thead><tr>{_cells('th', headers)}</tr></thead>"
    return f'<div class="t"><table>{head}<tbody>\n{body}</tbody></table></div>'


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(
        f"<{tag}{_RIGHT if at >= _TEXTS else ''}>{clean(text)}</{tag}>"
        for at, text in enumerate(texts)
    )
