"""Atlases count as utilization does, and tell who uses whose addresses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.atlas import Tenant, Tenure, draw, tenure
from poolmgr.core.block import Attribute, Block, assign, new_block
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.core.usage import utilization
from poolmgr.errors import CorruptStateError
from tests.support.facts import pool
from tests.support.mapped import tenure as made
from tests.support.world import NOON_NS

COLD = "2026-11-18T12:00:00Z"
NAMES = st.sampled_from(["node-a", "node-b", 'quo"te', "back\\slash", "\u00fc", ""])


def block(affinity: str | None, *owners: Attribute, cidr: str = "10.0.0.0/28") -> Block:
    found = replace(new_block(parse_network(cidr), "", NOON_NS), affinity=affinity)
    for ordinal, owner in enumerate(owners):
        found = assign(found, ordinal, owner)
    return found


def at(node: str | None, handle: str = "h", **more) -> Attribute:
    return Attribute(handle=handle, secondary={} if node is None else {"node": node}, **more)


def read(found: Block) -> Tenure:
    return tenure(records.block_key(found.cidr), records.encode_block(found))


def test_addresses_of_other_nodes_are_borrowed_and_those_of_no_node_are_the_owners():
    found = read(block("host:node-a", at("node-a"), at("node-b"), at(None), at("node-c", "i")))

    assert (("node-b", 1), ("node-c", 1)) == found.users
    assert "host:node-a" == found.ordinals.affinity
    assert 12 == len(found.ordinals.unallocated)


def test_what_cools_down_is_nobodys():
    cold = at("node-b", released_at=COLD)

    found = read(block("host:node-a", at("node-a"), cold, cold))

    assert (2, ()) == (found.cooling, found.users)


def test_in_a_block_without_a_node_everything_is_borrowed():
    assert (("node-a", 2),) == read(block(None, at("node-a"), at("node-a"), at(None))).users


def test_a_name_in_another_field_changes_nothing():
    target = at("node-a", alternate={"node": "node-b"})

    assert () == read(block("host:node-a", target)).users


@given(
    st.sampled_from([None, "host:node-a", 'host:quo"te', "host:back\\slash", "virtual:node-a"]),
    st.lists(
        st.builds(at, NAMES, NAMES, released_at=st.sampled_from([None, COLD])), max_size=6
    ),
)
def test_the_short_way_says_what_the_long_one_does(affinity, owners):
    found = read(block(affinity, *owners))

    home = (affinity or "").partition(":")[2]
    nodes = [each.secondary.get("node") or home for each in owners if not each.released_at]
    away = [node for node in nodes if node != home]
    assert tuple((node, away.count(node)) for node in sorted({*away})) == found.users
    assert sum(each.released_at is not None for each in owners) == found.cooling


def test_what_contradicts_itself_is_corrupt():
    raw = records.encode_block(block("host:a")).replace(
        b'"unallocated":[0,', b'"unallocated":['
    )

    with pytest.raises(CorruptStateError):
        tenure(records.block_key(parse_network("10.0.0.0/28")), raw)


def test_nodes_are_told_what_they_have_borrow_and_lend():
    drawn = draw(
        [pool("p", "10.0.0.0/24", blockSize=28)],
        NOTHING,
        [
            made("10.0.0.0/28", "host:a", 10, cooling=2, users=(("b", 3), ("c", 1))),
            made("10.0.0.16/28", "host:b", 4),
            made("10.9.0.0/28", None, 2, users=(("b", 2),)),
            made("10.0.0.32/28", "virtual:lb", 1),
        ],
    )

    assert {
        "a": Tenant(blocks=1, addresses=4, borrowed=0, lent=4),
        "b": Tenant(blocks=1, addresses=9, borrowed=5, lent=0),
        "c": Tenant(blocks=0, addresses=1, borrowed=1, lent=0),
        "virtual:lb": Tenant(blocks=1, addresses=1, borrowed=0, lent=0),
    } == drawn.tenants
    assert [*drawn.tenants] == sorted(drawn.tenants)
    (sheet,), (orphan,) = drawn.sheets, drawn.orphans
    assert (4, 2, 0) == (sheet.borrowed, sheet.cooling, sheet.ownerless)
    assert ("10.9.0.0/28", 2, 16) == (str(orphan.cidr), orphan.borrowed, orphan.size)


@given(
    st.lists(st.integers(0, 16), min_size=1, max_size=16),
    st.lists(st.sampled_from(["10.0.0.0/28", "10.0.0.24/29", "10.0.0.255", "fd00::/64"])),
)
def test_counts_are_those_of_utilization(fills, entries):
    pools, kept = [pool("p", "10.0.0.0/24", blockSize=28)], AddressSet.of(entries)
    blocks = [made(f"10.0.0.{16 * n}/28", "host:a", fill) for n, fill in enumerate(fills)]

    expected = utilization(pools, kept, [each.ordinals for each in blocks])

    (sheet,) = draw(pools, kept, blocks).sheets
    assert expected.pools[0].usage == sheet.usage


def test_a_block_around_a_pool_counts_with_what_they_share():
    small = pool("p", "10.0.0.16/29", disabled=True)

    (sheet,) = draw([small], NOTHING, [made("10.0.0.0/26", "host:a", 20)]).sheets

    assert (8, 4, 4) == (sheet.usage.total, sheet.usage.in_use, sheet.usage.free)
    assert 20 == sheet.plots[0].in_use


def test_what_a_pool_withholds_from_pods_is_reserved():
    annotations = {PREFIX_LENGTH: "pool", GATEWAY: "first-of-pool"}
    lan = pool("lan", "10.0.0.0/26", blockSize=28, annotations=annotations)

    (sheet,) = draw([lan], NOTHING, [made("10.0.0.0/28", "host:a", 0)]).sheets

    assert (3, 61) == (sheet.usage.reserved, sheet.usage.free)  # ends, and the gateway
    assert (2, 14) == (sheet.plots[0].reserved, sheet.plots[0].free)


def test_where_a_block_is_a_prefix_its_ends_are_reserved():
    lan = pool("lan", "10.0.0.0/26", blockSize=28, annotations={PREFIX_LENGTH: "block"})

    (sheet,) = draw([lan], NOTHING, [made("10.0.0.16/28", "host:a", 3)]).sheets

    plot = sheet.plots[0]
    assert (2, 3, 12) == (plot.reserved, plot.in_use, plot.free)
    assert (
        64
        == sheet.usage.total
        == sheet.usage.reserved + sheet.usage.in_use - 1 + sheet.usage.free
    )


def test_annotations_that_are_nonsense_withhold_nothing():
    odd = pool("odd", "10.0.0.0/26", annotations={GATEWAY: "192.0.2.1"})

    assert 0 == draw([odd], NOTHING, []).sheets[0].usage.reserved


def test_blocks_elsewhere_are_left_out_when_they_are_not_asked_for():
    drawn = draw(
        [pool("p", "10.0.0.0/24")], NOTHING, [made("10.9.0.0/26", "host:a", 1)], orphans=False
    )

    assert ((), {}) == (drawn.orphans, drawn.tenants)
