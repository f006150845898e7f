"""Which node has what, and the routes that follow."""

from dataclasses import replace

import pytest

from poolmgr.api import Node
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, auto_assign, new_block, release
from poolmgr.core.outline import Outline, outline
from poolmgr.core.reservation import AddressSet
from poolmgr.core.tenancy import (
    Census,
    Route,
    Tenancy,
    addresses_of,
    cooling,
    host_of,
    own_borrowed,
    routes,
    users,
)
from tests.support.world import NOON_NS, stored_resource

CIDR = parse_network("10.0.0.0/29")
NODES = {
    "a": {4: parse_address("192.0.2.1")},
    "b": {4: parse_address("192.0.2.2")},
}


def of(block: Block) -> Outline:
    return outline(records.block_key(block.cidr), records.encode_block(block))


def used_by(*nodes: str, affinity: str | None = "host:a") -> Block:
    """A block whose first addresses these nodes use."""
    block = new_block(CIDR, "host:a", NOON_NS)
    for number, node in enumerate(nodes):
        owner = Attribute(handle=f"h{number}", secondary={"node": node} if node else {})
        block, _ = auto_assign(block, 1, owner)
    return replace(block, affinity=affinity)


@pytest.mark.parametrize(
    ("affinity", "host"),
    [("host:a", "a"), ("virtual:a", None), (None, None), ("host:", None), ("junk", None)],
)
def test_only_a_node_is_the_owner_of_a_block(affinity, host):
    assert host == host_of(affinity)


def test_addresses_that_cool_down_or_are_kept_or_name_no_node_are_nobodys():
    block = used_by("a", "b", "")
    sticky = {"type": "poolmgr-sticky", "node": "a"}
    block, _ = auto_assign(block, 1, Attribute(handle="k", secondary=sticky))
    block, _ = auto_assign(
        block, 1, Attribute(handle="s", secondary={**sticky, "container": "c"})
    )
    block = release(block, [0], now_ns=NOON_NS, cooldown_s=60, bump=False)

    found = of(block)

    assert {"b": [1], "a": [4]} == users(found)
    assert 1 == cooling(found)


def test_a_census_counts_what_is_lent_and_borrowed():
    census = Census()
    block = release(used_by("a", "b", "", "a"), [3], now_ns=NOON_NS, cooldown_s=60, bump=False)
    census.add(of(block))
    census.add(of(used_by("b", affinity=None)))

    assert {
        "a": Tenancy(
            blocks={4: 1, 6: 0}, in_use=3, free=4, cooling=1, lent=1, used=1, borrowed=0
        ),
        "b": Tenancy(used=2, borrowed=2),
    } == census


@pytest.mark.parametrize(
    ("tenancy", "remains"),
    [
        (Tenancy(has_session=True), False),
        (Tenancy(has_resource=True), True),
        (Tenancy(affinities=1), True),
        (Tenancy(blocks={4: 0, 6: 1}), True),
        (Tenancy(used=1), True),
    ],
)
def test_the_fence_alone_is_no_node(tenancy, remains):
    assert remains == tenancy.remains


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        (
            {"bgp": {"ipv4Address": "192.0.2.1/24", "ipv6Address": "fd00::1"}},
            ["192.0.2.1", "fd00::1"],
        ),
        ({"bgp": {"asNumber": 7}}, []),
        (
            {
                "bgp": {"ipv4Address": "192.0.2.1"},
                "addresses": [{"address": "192.0.2.9", "type": "InternalIP"}],
            },
            ["192.0.2.1"],
        ),
        (
            {
                "addresses": [
                    {"address": "192.0.2.7", "type": "ExternalIP"},
                    {"address": "192.0.2.8", "type": "CalicoNodeIP"},
                    {"address": "192.0.2.1", "type": "InternalIP"},
                    {"address": "192.0.2.2", "type": "InternalIP"},
                ]
            },
            ["192.0.2.1"],
        ),
        ({"addresses": [{"address": "fe80::1", "type": "InternalIP"}]}, []),
        ({"addresses": [{"address": "junk", "type": "InternalIP"}]}, []),
    ],
)
def test_a_node_is_reached_at_its_best_address(spec, expected):
    node = Node.from_stored(stored_resource("nodes", "Node", "a", spec)[1], 1)

    found = addresses_of(node)

    assert expected == [str(found[family]) for family in sorted(found)]


def route(destination: str, node: str, *, known: bool = True) -> Route:
    via = NODES[node][4] if known else None
    return Route(destination=parse_network(destination), node=node, via=via)


def test_a_block_leads_to_its_node_and_what_is_borrowed_to_who_borrows():
    found = of(used_by("a", "b", "c"))

    assert [
        route("10.0.0.0/29", "a"),
        route("10.0.0.1/32", "b"),
        route("10.0.0.2/32", "c", known=False),
    ] == list(routes(found, "me", NODES))
    assert [route("10.0.0.1/32", "b"), route("10.0.0.2/32", "c", known=False)] == list(
        routes(found, "a", NODES)
    )
    assert [route("10.0.0.0/29", "a"), route("10.0.0.2/32", "c", known=False)] == list(
        routes(found, "b", NODES)
    )


def test_a_block_of_nobody_has_routes_to_its_addresses_alone():
    found = of(used_by("a", "b", affinity=None))

    assert [route("10.0.0.0/32", "a"), route("10.0.0.1/32", "b")] == list(
        routes(found, "me", NODES)
    )


def test_what_a_route_around_it_would_lead_away_is_known():
    borrowed = of(used_by("a", "b"))

    assert [parse_address("10.0.0.1")] == list(own_borrowed(borrowed, "b"))
    assert [] == list(own_borrowed(borrowed, "a"))
    assert [] == list(own_borrowed(of(used_by("b", affinity=None)), "b"))


def test_what_is_reserved_is_not_free():
    census = Census(AddressSet.of(["10.0.0.0/31", "10.0.0.7"]))
    census.add(of(used_by("a")))

    mine = census["a"]

    assert (1, 3, 5) == (mine.in_use, mine.reserved, mine.free)
