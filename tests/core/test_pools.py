"""Which pools serve a request, and what is said of the others."""

from dataclasses import replace

import pytest

from poolmgr.api import IPPool
from poolmgr.api.ippool import PRIORITY
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.pools import (
    Criteria,
    Selection,
    allows,
    out_of_service,
    pool_of,
    select,
    selects,
    strayed,
)
from poolmgr.errors import CorruptStateError, NoMatchingPoolError
from tests.support.facts import pool

HOST = Criteria(family=4, host="node-a", node_labels={"foo": "bar"})


def names(selection: Selection) -> list[str]:
    return [candidate.name for candidate in selection.kept]


def refused(pools: list[IPPool], criteria: Criteria) -> NoMatchingPoolError:
    with pytest.raises(NoMatchingPoolError) as caught:
        select(pools, criteria)
    return caught.value


# Calico's table of candidates, once for each family

CIDRS = {
    4: {"P1": "10.0.0.1/24", "P2": "20.0.0.0/24"},
    6: {"P1": "5001:0000:0000:001a:0000:0000:0000:0000/64", "P2": "5001:0:0:1b::/64"},
}
EQUAL, UNEQUAL, NONE = 'foo == "bar"', 'foo != "bar"', ""
CANDIDATES = {
    # id: P1 enabled, P2 enabled, selector of P1, selector of P2, requested, candidates
    1: (True, True, NONE, NONE, [], ["P1", "P2"]),
    2: (True, True, NONE, NONE, ["P1"], ["P1"]),
    3: (True, True, EQUAL, UNEQUAL, [], ["P1"]),
    4: (True, True, EQUAL, UNEQUAL, ["P1"], ["P1"]),
    6: (True, True, UNEQUAL, NONE, ["P1"], ["P1"]),
    7: (True, True, EQUAL, NONE, ["P2"], ["P2"]),
    8: (False, True, NONE, NONE, [], ["P2"]),
    9: (False, True, NONE, NONE, ["P1"], []),
    10: (False, True, NONE, NONE, ["P2"], ["P2"]),
    12: (False, True, NONE, EQUAL, ["P2"], ["P2"]),
    13: (False, True, NONE, UNEQUAL, [], []),
    14: (False, True, NONE, UNEQUAL, ["P2"], ["P2"]),
}
RUNS = [
    pytest.param(family, row, id=f"PS-{number + (14 if family == 6 else 0):02}")
    for family in (4, 6)
    for number, row in CANDIDATES.items()
]


@pytest.mark.parametrize("by", ["name", "CIDR"])
@pytest.mark.parametrize(("family", "row"), RUNS)
def test_enabled_pools_serve_that_are_requested_or_select_the_node(family, row, by):
    on1, on2, selector1, selector2, requested, expected = row
    cidrs = CIDRS[family]
    pools = [
        pool("P1", cidrs["P1"], disabled=not on1, nodeSelector=selector1),
        pool("P2", cidrs["P2"], disabled=not on2, nodeSelector=selector2),
    ]
    wanted = tuple(name if by == "name" else cidrs[name] for name in requested)
    criteria = replace(HOST, family=family, requested=wanted)

    if expected:
        assert expected == names(select(pools, criteria))
    else:
        assert "disabled" == refused(pools, criteria).reasons["P1"]


PRODUCTION = "environment == 'production'"
COMPOUND = "environment == 'production' && tier == 'frontend'"
ZONE = "zone == 'us-west'"


@pytest.mark.parametrize(
    ("node_selector", "namespace_selector", "node", "namespace", "chosen"),
    [
        pytest.param("", "", {}, {}, True, id="PS-29"),
        pytest.param("", PRODUCTION, {}, {"environment": "production"}, True, id="PS-30"),
        pytest.param("", PRODUCTION, {}, {"environment": "development"}, False, id="PS-31"),
        pytest.param(
            ZONE,
            PRODUCTION,
            {"zone": "us-west"},
            {"environment": "development"},
            False,
            id="PS-33",
        ),
        pytest.param(
            ZONE,
            PRODUCTION,
            {"zone": "us-east"},
            {"environment": "production"},
            False,
            id="PS-34",
        ),
        pytest.param(
            "",
            COMPOUND,
            {},
            {"environment": "production", "tier": "frontend"},
            True,
            id="PS-35",
        ),
        pytest.param(
            "",
            COMPOUND,
            {},
            {"environment": "production", "tier": "backend"},
            False,
            id="PS-36",
        ),
        pytest.param("", "", {}, None, True, id="no namespace object"),
        pytest.param("", "all()", {}, None, True, id="no namespace object, all()"),
        pytest.param(
            "", "!has(tier)", {}, None, True, id="no namespace object, negative selector"
        ),
        pytest.param("", PRODUCTION, {}, None, False, id="no namespace object, a label wanted"),
    ],
)
def test_a_pool_serves_when_both_its_selectors_match(
    node_selector, namespace_selector, node, namespace, chosen
):
    only = pool(
        "p", "10.0.0.0/24", nodeSelector=node_selector, namespaceSelector=namespace_selector
    )
    criteria = replace(HOST, node_labels=node, namespace_labels=namespace)

    if chosen:
        assert ["p"] == names(select([only], criteria))
    else:
        assert "does not match" in refused([only], criteria).reasons["p"]


def test_ps_37_pools_are_selected_by_namespace_one_by_one():
    pools = [
        pool("a", "10.0.0.0/24", namespaceSelector=PRODUCTION),
        pool("b", "10.1.0.0/24", namespaceSelector="environment == 'development'"),
        pool("c", "10.2.0.0/24"),
    ]

    selection = select(pools, replace(HOST, namespace_labels={"environment": "production"}))

    assert ["a", "c"] == names(selection)
    assert ["10.0.0.0/24", "10.2.0.0/24"] == [str(c.cidr) for c in selection.kept]
    assert {"b"} == selection.reasons.keys()


@pytest.mark.parametrize("which", ["nodeSelector", "namespaceSelector"])
def test_ps_38_a_selector_that_does_not_parse_stops_every_choice(which):
    broken = pool("b", "10.1.0.0/24", **{which: "invalid selector syntax ["})
    pools = [pool("a", "10.0.0.0/24"), broken]

    with pytest.raises(CorruptStateError, match=f"IPPool b.*{which}"):
        select(pools, HOST)

    assert ["a"] == names(select(pools, replace(HOST, requested=("a",))))


def test_ps_45_a_pool_that_selects_another_node_says_so():
    error = refused(
        [pool("p", "10.0.0.0/30", blockSize=30, nodeSelector=EQUAL)],
        replace(HOST, node_labels={}),
    )

    assert "no IPv4 pool serves node node-a" in str(error)
    assert {"p": 'nodeSelector foo == "bar" does not match node-a {}'} == error.reasons


def test_labels_are_shown_beside_the_selector_they_fail():
    labels = {"zone": "us-east", "rack": "r1"}
    error = refused(
        [pool("p", "10.0.0.0/24", nodeSelector=ZONE)], replace(HOST, node_labels=labels)
    )

    assert error.reasons["p"].endswith("does not match node-a {rack: r1, zone: us-east}")


# Requested pools

REQUESTABLE = [
    pool("first", "10.0.0.0/24"),
    pool("manual", "20.0.0.0/24", assignmentMode="Manual"),
    pool("off", "30.0.0.0/24", disabled=True),
    pool("six", "fd00::/64"),
    pool("tunnel", "192.168.3.0/24", allowedUses=["Tunnel"]),
]


@pytest.mark.parametrize(
    ("requested", "kept"),
    [
        pytest.param(("20.0.0.0/24", "10.0.0.0/24"), ["manual", "first"], id="PS-54"),
        pytest.param(("manual",), ["manual"], id="Manual, by name"),
        pytest.param(("first", "10.0.0.0/24"), ["first"], id="one pool named twice"),
        pytest.param(("10.0.0.77/24",), ["first"], id="host bits"),
    ],
)
def test_requested_pools_serve_in_the_order_requested(requested, kept):
    assert kept == names(select(REQUESTABLE, replace(HOST, requested=requested)))


@pytest.mark.parametrize(
    ("requested", "reasons"),
    [
        pytest.param(("10.0.0.0/24", "30.0.0.0/24"), {"off": "disabled"}, id="PS-52"),
        pytest.param(
            ("10.0.0.0/24", "40.0.0.0/24"),
            {"40.0.0.0/24": "there is no such pool, by name or by exact CIDR"},
            id="PS-57",
        ),
        pytest.param(
            ("10.0.0.0/25",),
            {"10.0.0.0/25": "there is no such pool, by name or by exact CIDR"},
            id="part of a pool",
        ),
        pytest.param(
            ("10.0.0.0/99", "no/such/name"),
            dict.fromkeys(
                ("10.0.0.0/99", "no/such/name"),
                "there is no such pool, by name or by exact CIDR",
            ),
            id="garbage",
        ),
        pytest.param(("six",), {"six": "is an IPv6 pool"}, id="other family"),
        pytest.param(
            ("tunnel",),
            {"tunnel": "allowedUses [Tunnel] does not include Workload"},
            id="other use",
        ),
    ],
)
def test_one_requested_pool_that_cannot_serve_refuses_the_request(requested, reasons):
    error = refused(REQUESTABLE, replace(HOST, requested=requested))

    assert reasons == error.reasons
    assert str(error).startswith("a requested pool cannot be used: ")


def test_a_manual_pool_serves_only_requests_that_name_it():
    selection = select(REQUESTABLE, HOST)

    assert ["first"] == names(selection)
    assert "assignmentMode is Manual" in selection.reasons["manual"]


@pytest.mark.parametrize(
    ("pools", "use", "requested", "kept"),
    [
        pytest.param(["w", "t"], "Workload", ("192.168.2.0/24",), ["w"], id="PS-59"),
        pytest.param(["w", "t"], "Workload", (), ["w"], id="PS-60"),
        pytest.param(["t"], "Workload", (), [], id="PS-61"),
        pytest.param(["w", "t"], "Tunnel", ("192.168.3.0/24",), ["t"], id="PS-62"),
    ],
)
def test_a_pool_serves_the_uses_it_allows(pools, use, requested, kept):
    stored = {
        "w": pool("w", "192.168.2.0/24", allowedUses=["Workload"]),
        "t": pool("t", "192.168.3.0/24", allowedUses=["Tunnel"]),
    }
    some, criteria = [stored[n] for n in pools], replace(HOST, use=use, requested=requested)

    if kept:
        assert kept == names(select(some, criteria))
    else:
        assert f"does not include {use}" in refused(some, criteria).reasons["t"]


# Nodes without a Node resource


@pytest.mark.parametrize("selector", ["", "all()", " all() "])
def test_a_node_without_a_resource_counts_as_one_without_labels(selector):
    only = pool("p", "10.0.0.0/24", nodeSelector=selector)

    assert ["p"] == names(select([only], replace(HOST, node_labels=None)))


@pytest.mark.parametrize(
    "other",
    [
        pool("other", "10.1.0.0/24", nodeSelector=EQUAL, disabled=True),
        pool("other", "fd00::/64", nodeSelector=EQUAL),
        pool("other", "10.1.0.0/24", nodeSelector=EQUAL, assignmentMode="Manual"),
        pool("other", "10.1.0.0/24", nodeSelector=EQUAL, allowedUses=["Tunnel"]),
    ],
    ids=["disabled", "other family", "manual", "other use"],
)
def test_labels_do_not_matter_to_a_pool_that_could_not_serve_anyway(other):
    pools = [other, pool("p", "10.0.0.0/24")]

    assert ["p"] == names(select(pools, replace(HOST, node_labels=None)))


def test_a_node_without_a_resource_is_refused_when_labels_would_matter():
    pools = [pool("a", "10.0.0.0/24"), pool("b", "10.1.0.0/24", nodeSelector="!has(spare)")]

    error = refused(pools, replace(HOST, node_labels=None))

    assert "poolctl node register node-a" in str(error)
    assert {"b": "nodeSelector !has(spare)"} == error.reasons


# No pool at all, and pools out of service


def test_without_any_pool_the_answer_says_how_to_make_one():
    error = refused([], HOST)

    assert "there is no IPPool; create one with poolctl apply" in str(error)
    assert {} == error.reasons


def conditioned(kind: str, status: str) -> IPPool:
    plain = pool("p", "10.0.0.0/24")
    raw = plain.to_stored()[
        :-1
    ] + b',"status":{"conditions":[{"type":"%s","status":"%s"}]}}' % (
        kind.encode(),
        status.encode(),
    )
    return IPPool.from_stored(raw, 3)


def deleted() -> IPPool:
    raw = pool("p", "10.0.0.0/24").to_stored()
    return IPPool.from_stored(
        raw.replace(b'"name":"p"', b'"name":"p","deletionTimestamp":"2026-01-01T00:00:00Z"'), 3
    )


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        pytest.param(pool("p", "10.0.0.0/24"), "", id="in service"),
        pytest.param(deleted(), "is being deleted", id="PS-68 deletionTimestamp"),
        pytest.param(pool("p", "10.0.0.0/24", disabled=True), "disabled", id="PS-68 disabled"),
        pytest.param(
            conditioned("Allocatable", "False"),
            "its condition Allocatable is False",
            id="condition",
        ),
        pytest.param(conditioned("Allocatable", "True"), "", id="condition True"),
        pytest.param(conditioned("Other", "False"), "", id="another condition"),
        pytest.param(
            pool("p", "10.0.0.0/28", blockSize=26),
            "its blockSize 26 does not fit its CIDR 10.0.0.0/28",
            id="pool smaller than a block",
        ),
        pytest.param(
            pool("p", "10.0.0.0/24", blockSize=122),
            "its blockSize 122 does not fit its CIDR 10.0.0.0/24",
            id="block size of the other family",
        ),
    ],
)
def test_a_pool_out_of_service_says_why(subject, reason):
    assert reason == out_of_service(subject)
    if reason:
        assert {"p": reason} == refused([subject], HOST).reasons


@pytest.mark.parametrize(
    ("family", "cidr", "serves"),
    [
        pytest.param(6, "192.168.0.0/16", False, id="PS-68 IPv4 pool, IPv6 wanted"),
        pytest.param(4, "2001:db8::/64", False, id="PS-68 IPv6 pool, IPv4 wanted"),
        pytest.param(4, "192.168.0.0/16", True, id="PS-68 IPv4"),
        pytest.param(6, "2001:db8::/64", True, id="PS-68 IPv6"),
    ],
)
def test_a_pool_serves_its_own_family(family, cidr, serves):
    pools, criteria = [pool("p", cidr)], replace(HOST, family=family)

    if serves:
        assert ["p"] == names(select(pools, criteria))
    else:
        assert refused(pools, criteria).reasons["p"].startswith("is an IPv")


# The main plugin


def test_a_pool_that_the_main_plugin_cannot_use_is_out_with_its_reason():
    pools = [pool("host", "10.0.0.0/32", blockSize=32), pool("net", "10.1.0.0/24")]

    selection = select(pools, replace(HOST, link=LinkPolicy(main=MainPlugin.PTP)))

    assert ["net"] == names(selection)
    assert "ptp cannot use a /32" in selection.reasons["host"]
    assert "10.1.0.1" == str(selection.kept[0].link.gateway)


def test_annotations_of_a_pool_shape_its_link():
    annotated = pool("p", "10.0.0.0/24", annotations={"ipam.poolmgr.io/prefix-length": "pool"})

    assert 24 == select([annotated], HOST).kept[0].link.prefix_length


def test_all_pools_but_one_can_be_dropped_for_a_reason():
    selection = select(REQUESTABLE, replace(HOST, requested=("first", "manual")))

    only = selection.only("manual", "one gateway for each bridge")

    assert ["manual"] == names(only)
    assert {"first": "one gateway for each bridge"} == only.reasons


# Single questions


def test_the_pool_of_an_address_is_the_first_that_contains_it():
    pools = [
        pool("a", "10.0.0.0/16", disabled=True),
        pool("b", "10.0.0.0/24"),
        pool("c", "10.0.0.0/8"),
    ]
    inside, outside = parse_address("10.0.0.1"), parse_address("11.0.0.1")

    assert pools[0] is pool_of(pools, inside, enabled=False)
    assert pools[1] is pool_of(pools, inside, enabled=True)
    assert pools[2] is pool_of(pools, parse_network("10.0.0.0/20"), enabled=True)
    assert pool_of(pools, outside, enabled=False) is None


def test_a_pool_says_which_uses_it_allows():
    tunnel = pool("t", "10.0.0.0/24", allowedUses=["Tunnel", "Workload"])

    assert "" == allows(tunnel, "Workload")
    assert "allowedUses [Tunnel, Workload] does not include LoadBalancer" == allows(
        tunnel, "LoadBalancer"
    )


def test_a_node_selector_is_asked_by_itself():
    assert selects(pool("p", "10.0.0.0/24", nodeSelector=EQUAL), {"foo": "bar"})
    assert not selects(pool("p", "10.0.0.0/24", nodeSelector=EQUAL), {})


# Priorities


@pytest.mark.parametrize(
    ("priorities", "kept"),
    [
        ({}, ["a", "b", "c"]),
        ({"c": "10"}, ["c", "a", "b"]),
        ({"a": "-1", "b": "0"}, ["b", "c", "a"]),
        ({"b": "10", "c": "9"}, ["b", "c", "a"]),
        ({"b": "7", "c": "7"}, ["b", "c", "a"]),
    ],
)
def test_pools_are_used_by_priority_and_then_by_name(priorities, kept):
    pools = [
        pool(
            name,
            f"10.{n}.0.0/24",
            annotations={PRIORITY: priorities[name]} if name in priorities else None,
        )
        for n, name in enumerate("abc")
    ]

    assert kept == names(select(pools, HOST))


def test_pools_that_are_named_serve_in_the_order_named_whatever_their_priority():
    pools = [
        pool("a", "10.0.0.0/24"),
        pool("b", "10.1.0.0/24", annotations={PRIORITY: "10"}),
    ]

    assert ["a", "b"] == names(select(pools, replace(HOST, requested=("a", "b"))))


@pytest.mark.parametrize("text", ["high", "1.5", "", "1e3", "9999999999"])
def test_a_pool_whose_priority_is_no_number_is_out_with_its_reason(text):
    pools = [pool("a", "10.0.0.0/24", annotations={PRIORITY: text}), pool("b", "10.1.0.0/24")]

    selection = select(pools, HOST)

    assert ["b"] == names(selection)
    assert "is not a whole number" in selection.reasons["a"]


# What a host keeps in its blocks


@pytest.mark.parametrize(("kept", "serves"), [(0, True), (63, True), (64, False)])
@pytest.mark.parametrize("named", [False, True])
def test_a_pool_whose_blocks_are_too_small_for_what_the_host_keeps_is_out(kept, serves, named):
    requested = ("a",) if named else ()
    criteria = replace(HOST, kept_in_block=kept, requested=requested)
    pools = [pool("a", "10.0.0.0/24", blockSize=26)]

    if serves:
        assert ["a"] == names(select(pools, criteria))
    else:
        reason = refused(pools, criteria).reasons["a"]

        assert "the host keeps 64 addresses of each block, and its blocks have 64" == reason


# Strays


@pytest.mark.parametrize(
    ("spec", "is_stray"),
    [
        ({"nodeSelector": EQUAL}, False),
        ({"nodeSelector": UNEQUAL}, True),
        ({"nodeSelector": UNEQUAL, "disabled": True}, False),
        ({"nodeSelector": "foo = 'bar'"}, False),
        ({"namespaceSelector": UNEQUAL}, False),
        ({"assignmentMode": "Manual"}, False),
        ({"allowedUses": ["Tunnel"]}, False),
    ],
)
def test_a_block_has_strayed_when_its_enabled_pool_does_not_select_the_node(spec, is_stray):
    pools = [pool("a", "10.0.0.0/24", **spec), pool("b", "10.1.0.0/24", nodeSelector=UNEQUAL)]

    assert is_stray == strayed(pools, parse_network("10.0.0.64/26"), {"foo": "bar"})


def test_a_block_without_a_pool_has_not_strayed():
    assert not strayed(
        [pool("a", "10.0.0.0/24", nodeSelector=UNEQUAL)], parse_network("10.9.0.0/26"), {}
    )
