"""
`poolctl ipam map`: the address space as a picture.

Rules:

1. Information never rests on colour alone: nodes have letters too, states have marks and
   patterns.
2. What is stored is written so that it steers neither a terminal nor a browser.
"""

import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from poolctl import terminal
from poolctl.config import Session
from poolctl.ipam.legend import legend_of
from poolctl.report import advice, document, exit_code, warn
from poolmgr.core.atlas import Plot
from poolmgr.drawing import Map, map_of


def show_map(session: Session, pools: Sequence[str], form: str, file: Path | None) -> int:
    """
    Draw the pools with these names and CIDRs, or all.

    Args:
        form: "text", "svg", "html" or "json".
        file: Where to write; None = standard output.

    Returns:
        The exit status; what does not decode is named on stderr and not drawn.
    """
    with terminal.progress("reading blocks") as advance:
        found = map_of(session.store, pools=pools, timeout_s=session.scan_s, advance=advance)
    text = drawn(found, form, datetime.now(UTC))
    if file is None:
        click.echo(text, color=terminal.has_colours())
    else:
        _write(file, click.unstyle(text) if form == "text" else text)
    for error in found.unreadable:
        warn(f"{error}; the map lacks it{advice(error, session)}")
    return max(map(exit_code, found.unreadable), default=0)


def drawn(found: Map, form: str, now: datetime) -> str:
    """Draw a map, without the newline at its end."""
    legend = legend_of(found.atlas)
    if form == "svg":
        from poolctl.ipam.map_svg import svg

        return svg(found, legend, now)
    if form == "html":
        from poolctl.ipam.map_html import html

        return html(found, legend, now)
    if form == "json":
        return document(_json(found), "json")
    from poolctl.ipam.map_text import text

    return text(found, legend)


def _write(file: Path, text: str) -> None:
    """Write a file as a whole or not at all; a device or pipe is written to."""
    try:
        regular = stat.S_ISREG(file.stat().st_mode)
    except FileNotFoundError:
        regular = True
    try:
        with click.open_file(str(file), "w", encoding="utf-8", atomic=regular) as stream:
            stream.write(text + "\n")
    except OSError as error:  # it would name a file beside it
        raise OSError(error.errno, error.strerror, str(file)) from error


def _json(found: Map) -> dict[str, object]:
    atlas = found.atlas
    return {
        "revision": found.revision,
        "pools": [
            {
                "name": sheet.name,
                "cidr": str(sheet.cidr),
                "blockSize": sheet.block_size,
                "disabled": sheet.disabled,
                "addresses": sheet.usage.total,
                "inUse": sheet.usage.in_use,
                "borrowed": sheet.borrowed,
                "cooling": sheet.cooling,
                "reserved": sheet.usage.reserved,
                "free": sheet.usage.free,
                "blocks": [_json_block(plot) for plot in sheet.plots],
            }
            for sheet in atlas.sheets
        ],
        "blocksWithoutPool": [_json_block(plot) for plot in atlas.orphans],
        "nodes": [
            {
                "name": name,
                "blocks": tenant.blocks,
                "addresses": tenant.addresses,
                "borrowed": tenant.borrowed,
                "lent": tenant.lent,
            }
            for name, tenant in atlas.tenants.items()
        ],
    }


def _json_block(plot: Plot) -> dict[str, object]:
    return {
        "cidr": str(plot.cidr),
        "node": plot.owner,
        "inUse": plot.in_use,
        "borrowed": dict(plot.users),
        "cooling": plot.cooling,
        "reserved": plot.reserved,
        "free": plot.free,
    }
