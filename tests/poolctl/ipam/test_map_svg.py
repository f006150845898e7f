"""The map as a picture: sound XML that needs nothing, and shows something."""

import re
from datetime import UTC, datetime
from ipaddress import ip_network
from xml.etree import ElementTree as ET

import pytest

from poolctl.ipam.legend import legend_of
from poolctl.ipam.map_svg import COLOURS, svg
from poolmgr.core.atlas import Tenure, draw
from poolmgr.core.reservation import AddressSet
from poolmgr.drawing import Map
from tests.support.chromium import colours, screenshot
from tests.support.facts import pool
from tests.support.mapped import big, tenure

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def drawn(found: Map) -> ET.Element:
    return ET.fromstring(svg(found, legend_of(found.atlas), NOON))


def map_with(*blocks: Tenure, reserved: tuple[str, ...] = (), **pools: str) -> Map:
    made = [pool(name, cidr) for name, cidr in pools.items()]
    return Map(atlas=draw(made, AddressSet.of(reserved), blocks), unreadable=(), revision=7)


def texts(picture: ET.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


def hovers(picture: ET.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{SVG}title")]


def test_the_picture_says_what_it_is_of_and_when():
    said = texts(drawn(big()))

    assert ["Address space", "2026-11-18 12:00:00 UTC, revision 123,456"] == said[:2]
    assert "pods: 10.244.0.0/16, blocks of /26" in said
    assert "360 of 1,024 blocks claimed, 1 of them by no node; a cell is 1 block (/26)" in said


def test_a_cell_tells_about_its_block():
    block = tenure("10.0.0.0/26", "host:a", 20, cooling=2, users=(("b", 3),))

    said = hovers(drawn(map_with(block, reserved=("10.0.0.63", "10.0.0.200"), p="10.0.0.0/24")))

    assert (
        "10.0.0.0/26\nnode: a\n20 of 64 in use, 43 free\n"
        "borrowed: 3 by b\ncooling down: 2\nreserved: 1"
    ) in said
    assert "10.0.0.64: 64 addresses, unclaimed" in said
    assert "10.0.0.192: 64 addresses, unclaimed, 1 reserved" in said


def test_a_cell_of_several_blocks_names_some_of_their_nodes():
    blocks = [
        tenure(block, f"host:n{at}", 1, users=tuple((f"u{n}", 1) for n in range(at % 5)))
        for at, block in enumerate(ip_network("10.0.0.0/8").subnets(new_prefix=16))
    ]

    said = hovers(drawn(map_with(*blocks, p="10.0.0.0/8")))

    assert any("node: n0" in each for each in said)
    packed = [
        tenure(block, f"host:n{at}", 1, users=((f"u{at}", 1),))
        for at, block in enumerate(ip_network("10.0.0.0/16").subnets(new_prefix=31))
    ]
    several = hovers(drawn(map_with(*packed[:20_000])))
    assert any(
        "2 claimed blocks, the first of them at 10.0.0.0\nnode: n0, n1\n" in each
        for each in several
    )


def test_colours_are_never_alone():
    block = tenure("10.0.0.0/26", "host:a", 20, cooling=2, users=(("b", 3),))

    picture = drawn(map_with(block, reserved=("10.0.0.63",), p="10.0.0.0/24"))

    fills = {each.get("fill") for each in picture.iter(f"{SVG}rect")}
    assert {"url(#borrowed)", "url(#cooling)", "url(#reserved)"} <= fills
    assert {each.get("id") for each in picture.iter(f"{SVG}pattern")} == {
        "borrowed", "cooling", "reserved",
    }  # fmt: skip
    letters = [each.text for each in picture.iter(f"{SVG}text") if each.get("class") == "l"]
    assert {"A", "B"} <= {*letters}


def test_the_file_loads_nothing():
    written = svg(big(), legend_of(big().atlas), NOON)

    assert written.isascii()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")", written)
    assert not re.search(
        r"<(script|image|use|link|foreignObject)\b|@import|url\((?!#)", written
    )


def test_what_is_stored_is_text_and_nothing_else():
    evil = "</title><script>alert(1)</script>&amp;\x1b[2J\x00\ud800\u202e\"'"

    picture = drawn(map_with(tenure("10.0.0.0/26", f"host:{evil}", 9, users=((evil * 2, 1),))))

    assert not [each for each in picture.iter() if each.tag.endswith("script")]
    assert any(
        "<script>alert(1)</script>&amp;\\x1b[2J\\x00\\ud800\\u202e" in t
        for t in hovers(picture)
    )


def test_sixteen_thousand_blocks_are_no_more_than_three_megabytes():
    blocks = [
        tenure(block, f"host:node-{at // 16}", at % 65)
        for at, block in enumerate(ip_network("10.128.0.0/12").subnets(new_prefix=26))
    ]
    found = map_with(*blocks, p="10.128.0.0/12")

    written = svg(found, legend_of(found.atlas), NOON)

    assert len(written) < 3_000_000
    assert "16,384 of 16,384 blocks claimed; a cell is 1 block" in written


def test_many_pools_share_the_cells():
    pools = {f"p{n}": f"10.{n}.0.0/16" for n in range(200)}
    blocks = [
        tenure(block, "host:a", 1)
        for n in range(0, 200, 2)
        for block in [*ip_network(f"10.{n}.0.0/16").subnets(new_prefix=26)][:100]
    ]

    written = svg(found := map_with(*blocks, **pools), legend_of(found.atlas), NOON)

    assert len(written) < 6_000_000
    assert "a cell is 16 blocks (/22)" in written


def test_pools_of_astronomic_size_show_their_blocks():
    picture = drawn(map_with(tenure("fd00::40/122", "host:a", 64), p="fd00::/64"))

    assert "1 of 2^58 blocks claimed; what nobody has claimed is left out" in texts(picture)
    assert "fd00::40/122\nnode: a\n64 of 64 in use, 0 free" in hovers(picture)


def test_what_is_long_and_unclaimed_is_counted():
    block = tenure("10.0.0.0/26", "host:a", 1)

    said = texts(drawn(map_with(block, reserved=("10.0.128.0/17",), p="10.0.0.0/16")))

    assert {"448 unclaimed blocks", "512 reserved blocks"} <= {*said}


def test_blocks_outside_every_pool_have_a_panel():
    assert "1 block outside every pool" in texts(
        drawn(map_with(tenure("10.0.0.0/26", None, 1)))
    )


def test_an_empty_store_is_said_so():
    assert "There are no pools." in texts(drawn(map_with()))


def test_many_nodes_are_not_all_in_the_legend():
    assert "# and 4 more nodes" in texts(drawn(big()))


def test_a_browser_shows_every_colour_of_the_palette(tmp_path):
    path = tmp_path / "map.svg"
    path.write_text(svg(big(), legend_of(big().atlas), NOON))

    shown = colours(screenshot(path))

    palette = {tuple(bytes.fromhex(colour[1:])) for colour in COLOURS}
    assert palette <= shown
    assert len(shown) > 100  # letters have soft edges


@pytest.mark.parametrize("node", ["\u00fc\u4e2d", "a" * 300])
def test_long_and_foreign_names_are_written(node):
    assert any(
        node in text
        for text in hovers(drawn(map_with(tenure("10.0.0.0/26", f"host:{node}", 1))))
    )


def test_a_picture_is_as_wide_as_what_it_shows():
    narrow = drawn(map_with(p="10.0.0.0/28"))
    wide = drawn(map_with(p="10.0.0.0/28", **{"long-" * 30: "10.1.0.0/24"}))

    assert int(narrow.get("width")) < 900 < int(wide.get("width"))
    for picture in (narrow, wide):
        for each in picture.iter(f"{SVG}text"):
            end = float(each.get("x")) + 6 * len(each.text or "")
            assert end <= int(picture.get("width"))


def test_a_picture_of_nothing_has_no_legend():
    assert "Legend" not in texts(drawn(map_with()))
