"""
The map on a terminal.

`snapshots/` has what a big cluster looks like at both widths, without colours and with;
`pytest --update-golden` rewrites them. Escape characters are written as visible ones.
"""

import io
import sys
from ipaddress import ip_network
from pathlib import Path

import click
import pytest

from poolctl.ipam.legend import legend_of
from poolctl.ipam.map_text import text
from poolmgr.core.atlas import draw
from poolmgr.core.reservation import AddressSet
from poolmgr.drawing import Map
from tests.support.facts import pool
from tests.support.mapped import big, tenure

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(autouse=True)
def _look(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(name, raising=False)


def drawn(*blocks, reserved: tuple[str, ...] = (), **pools: str) -> list[str]:
    found = draw(
        [pool(name, cidr) for name, cidr in pools.items()], AddressSet.of(reserved), blocks
    )
    return text(Map(atlas=found, unreadable=(), revision=7), legend_of(found)).split("\n")


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("colours", ["0", "1"])
def test_a_big_cluster_looks_as_it_did(monkeypatch, update_golden, columns, colours):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("CLICOLOR_FORCE", colours)
    found = big()
    path = SNAPSHOTS / f"map-{columns}{'-colours' if colours == '1' else ''}.txt"

    actual = text(found, legend_of(found.atlas)).replace("\x1b", "\u241b") + "\n"

    if update_golden:
        path.write_text(actual)
    assert update_golden or path.read_text() == actual


@pytest.mark.parametrize("columns", [80, 160])
def test_no_line_is_wider_than_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    found = big(ipv6_blocks=0, nodes=3)

    assert max(map(len, text(found, legend_of(found.atlas)).split("\n"))) <= columns


def test_colours_add_nothing_that_letters_do_not_say(monkeypatch):
    found = big()
    plain = text(found, legend_of(found.atlas))
    monkeypatch.setenv("CLICOLOR_FORCE", "1")

    coloured = text(found, legend_of(found.atlas))

    assert coloured != plain
    assert plain.split("\n") == [line.rstrip() for line in click.unstyle(coloured).split("\n")]


def test_a_cell_tells_node_fill_and_mark():
    lines = drawn(
        tenure("10.0.0.0/26", "host:a", 64),
        tenure("10.0.0.64/26", "host:b", 32, users=(("a", 1),)),
        tenure("10.0.0.128/26", None, 0),
        tenure("10.0.0.192/26", "host:a", 1, cooling=1),
        tenure("10.0.1.0/26", "host:a", 63, cooling=1, users=(("b", 1),)),
        reserved=("10.0.1.64/26", "10.0.1.128", "10.0.2.0"),
        p="10.0.0.0/22",
    )

    assert [
        "p  10.0.0.0/22  blocks of /26",
        "  1,024 addresses: 160 in use (16%), of them 2 borrowed, 2 cooling down;",
        "  66 reserved (6%); 798 free (78%)",
        "  5 of 16 blocks claimed, 1 of them by no node; a cell is one block",
        " 10.0.0.0   A\u2588  B\u2584b -_  A\u2581c A\u2587+ rr  \u00b7 r \u00b7   \u00b7 r \u00b7   \u00b7   \u00b7   \u00b7   \u00b7   \u00b7   \u00b7",
    ] == lines[:5]


def test_in_a_sparse_pool_blocks_and_gaps_are_listed():
    lines = drawn(tenure("fd00::1:0/122", "host:a", 3), p="fd00::/64")

    assert [
        "  1 of 2^58 blocks claimed; what is unclaimed is left out",
        "               \u2026 1,024 unclaimed blocks \u2026",
        " fd00::1:0/122 A\u2581  3 of 64 in use, a",
        "               \u2026 2^58 - 1,025 unclaimed blocks \u2026",
    ] == lines[2:6]


def test_where_nothing_is_claimed_one_line_says_so():
    assert "  \u2026 2^58 unclaimed blocks \u2026" in drawn(p="fd00::/64")


def test_gaps_of_a_dense_pool_are_counted():
    lines = drawn(tenure("10.0.0.0/26", "host:a", 3), p="10.0.0.0/16")

    assert "              \u2026 1,008 unclaimed blocks \u2026" in lines


def test_blocks_outside_every_pool_come_last():
    lines = drawn(tenure("10.9.0.0/26", "host:a", 3), p="10.0.0.0/24")

    at = lines.index("1 block outside every pool")
    assert at > lines.index("p  10.0.0.0/24  blocks of /26")
    assert " 10.9.0.0/26 A\u2581  3 of 64 in use, a" == lines[at + 1]


def test_many_blocks_outside_every_pool_are_packed():
    blocks = [
        tenure(block, "host:a", 3) for block in ip_network("10.9.0.0/19").subnets(new_prefix=26)
    ]

    lines = drawn(*blocks)

    assert "  claimed blocks only, by address; a cell is one block" in lines
    assert 8 == sum(line.startswith(" 10.9.") for line in lines)


def test_an_empty_store_is_said_so():
    assert "There are no pools." == drawn()[0]


def test_what_is_stored_cannot_steer_the_terminal(monkeypatch):
    monkeypatch.setenv("CLICOLOR_FORCE", "0")

    lines = drawn(
        tenure("10.0.0.0/26", "host:a\x1b[2J\x9b\n", 3),
        tenure("fd00::/122", "host:\x07", 1),
        p="10.0.0.0/24",
    )

    assert all(line.isprintable() for line in lines)
    assert any(line.endswith("a\\x1b[2J\\x9b\\n") for line in lines)


def test_a_terminal_without_unicode_gets_ascii(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))

    lines = drawn(tenure("10.0.0.0/26", "host:a", 32), p="10.0.0.0/24")

    assert " 10.0.0.0   A4  .   .   ." in lines
    assert "\n".join(lines).isascii()
