"""Who is who on a map, and how its numbers are written."""

import pytest

from poolctl.ipam.legend import PALETTE, Look, legend_of, number, percent, plural
from poolmgr.core.atlas import Atlas, Tenant


def atlas(**addresses: int) -> Atlas:
    tenants = {name: Tenant(addresses=count) for name, count in sorted(addresses.items())}
    return Atlas(sheets=(), orphans=(), tenants=tenants)


def test_nodes_have_letters_in_the_order_of_their_names():
    legend = legend_of(atlas(c=9, a=1, b=5))

    assert [("a", "A"), ("b", "B"), ("c", "C")] == [
        (name, legend.looks[name].letter) for name, _ in legend.listed
    ]
    assert 0 == legend.more


def test_few_nodes_have_different_colours():
    looks = legend_of(atlas(**{f"n{n}": n for n in range(PALETTE)})).looks

    assert {*range(PALETTE)} == {look.colour for look in looks.values()}


def test_a_node_keeps_its_colour_when_others_come():
    names = [f"node-{n}" for n in range(4)]

    alone = {name: legend_of(atlas(**{name: 1})).looks[name].colour for name in names}

    together = legend_of(atlas(**dict.fromkeys(names, 1))).looks
    assert sum(alone[name] == together[name].colour for name in names) >= 2


def test_the_busiest_of_many_nodes_are_listed():
    legend = legend_of(atlas(**{f"n{n:03}": n for n in range(100)}))

    assert 64 == legend.more
    assert [f"n{n:03}" for n in range(64, 100)] == [name for name, _ in legend.listed]
    assert "#" == legend.looks["n000"].letter
    assert 36 == len({legend.looks[name].letter for name, _ in legend.listed})


def test_blocks_of_several_nodes_and_of_none_look_like_nobodys():
    legend = legend_of(atlas(a=1, b=1))

    assert Look("*", -1) == legend.look(("a", "b")) == legend.look(("a", None))
    assert Look("-", -1) == legend.look((None,))
    assert "B" == legend.look(("b",)).letter


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (65_536, "65,536"),
        (2**39, "549,755,813,888"),
        (2**40, "2^40"),
        (2**64, "2^64"),
        (2**64 - 12_345, "2^64 - 12,345"),
        (2**80 + 1, "2^80 + 1"),
        (3 * 2**50, "3,377,699,720,527,872"),
    ],
)
def test_numbers_are_exact(value, text):
    assert text == number(value)


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [
        (0, 64, "0%"), (64, 64, "100%"), (1, 2**64, "<1%"), (2**64 - 1, 2**64, ">99%"),
        (32, 64, "50%"), (0, 0, "0%"), (1, 3, "33%"),
    ],
)  # fmt: skip
def test_only_all_is_all_and_only_nothing_is_nothing(count, total, text):
    assert text == percent(count, total)


def test_one_has_no_ending():
    assert ["1 block", "2 blocks", "2 addresses"] == [
        plural(1, "block"), plural(2, "block"), plural(2, "address", "es"),
    ]  # fmt: skip
