"""The map as a page: it needs nothing, and its tables say everything."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

from poolctl.ipam.legend import legend_of
from poolctl.ipam.map_html import html
from poolctl.ipam.map_svg import COLOURS
from poolmgr.core.atlas import draw
from poolmgr.core.reservation import NOTHING
from poolmgr.drawing import Map
from tests.support.chromium import colours, screenshot
from tests.support.facts import pool
from tests.support.mapped import big, tenure

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


class Page(HTMLParser):
    """Collects the cells of tables, and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in {"td", "th"}

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data


def page(found: Map) -> str:
    return html(found, legend_of(found.atlas), NOON)


def small(*nodes: str, name: str = "p") -> Map:
    blocks = [tenure(f"10.0.{n}.0/26", f"host:{node}", 9) for n, node in enumerate(nodes)]
    atlas = draw([pool(name, "10.0.0.0/16")], NOTHING, blocks)
    return Map(atlas=atlas, unreadable=(), revision=7)


def test_pools_and_nodes_have_tables():
    rows = Page(page(small("a", "b"))).rows

    assert [
        ["Pool", "CIDR", "Blocks claimed", "Addresses", "In use", "Borrowed", "Cooling down", "Reserved", "Free"],
        ["p", "10.0.0.0/16", "2", "65,536", "18 (<1%)", "0", "0", "0", "65,518 (>99%)"],
        ["", "Node", "Blocks", "Addresses", "Borrowed", "Lent"],
        ["A", "a", "1", "9", "0", "0"],
        ["B", "b", "1", "9", "0", "0"],
    ] == rows  # fmt: skip


def test_the_page_loads_and_runs_nothing():
    written = page(big())

    assert written.isascii()
    assert not {"script", "img", "link", "iframe", "object"} & {*Page(written).tags}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")|@import|url\((?!#)", written)


def test_what_is_stored_is_text_and_nothing_else():
    evil = "<img src=x onerror=alert(1)>\x1b&lt;"

    found = Page(page(small(evil, name="<b>&")))

    assert "img" not in found.tags
    assert ["A", "<img src=x onerror=alert(1)>\\x1b&lt;"] == found.rows[-1][:2]
    assert "<b>&" == found.rows[1][0]
    assert "b" not in found.tags


def test_of_very_many_nodes_only_some_have_a_row(monkeypatch):
    monkeypatch.setattr("poolctl.ipam.map_html._NODES", 2)

    written = page(small("a", "b", "c"))

    assert "<p>and 1 more node</p>" in written
    assert 5 == len(Page(written).rows)


def test_a_browser_shows_every_colour_of_the_palette(tmp_path):
    path = tmp_path / "map.html"
    path.write_text(page(big()))

    shown = colours(screenshot(path, size=(1300, 900)))

    assert {tuple(bytes.fromhex(colour[1:])) for colour in COLOURS} <= shown
