"""What each main plugin makes of a pool: prefix, gateway, routes, and what is kept from pods."""

import json

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.link import (
    DNS,
    GATEWAY,
    PREFIX_LENGTH,
    ROUTES,
    Link,
    LinkError,
    LinkPolicy,
    MainPlugin,
    Route,
    resolve,
)

PTP, BRIDGE, FLAT, OTHER = (
    MainPlugin.PTP,
    MainPlugin.BRIDGE_GATEWAY,
    MainPlugin.FLAT,
    MainPlugin.OTHER,
)


def link(pool: str, annotations=None, **policy) -> Link:
    return resolve(parse_network(pool), annotations or {}, LinkPolicy(**policy))


def withheld(found: Link, pool: str) -> list[str]:
    """The addresses of a small pool that pods do not get."""
    return [str(each) for each in parse_network(pool) if each in found.withheld]


def text(address) -> str | None:
    return None if address is None else str(address)


# Defaults, by main plugin


@pytest.mark.parametrize("main", [PTP, BRIDGE])
@pytest.mark.parametrize(
    ("pool", "prefix_length", "gateway", "kept"),
    [
        ("10.0.0.16/28", 28, "10.0.0.17", ["10.0.0.16", "10.0.0.17", "10.0.0.31"]),
        ("10.0.0.16/30", 30, "10.0.0.17", ["10.0.0.16", "10.0.0.17", "10.0.0.19"]),
        ("10.0.0.16/31", 31, "10.0.0.16", ["10.0.0.16"]),
        ("fd00::10/124", 124, "fd00::11", ["fd00::10", "fd00::11"]),
        ("fd00::10/127", 127, "fd00::10", ["fd00::10"]),
    ],
)
def test_a_gateway_plugin_has_the_pools_prefix_and_its_first_usable_address_as_gateway(
    main, pool, prefix_length, gateway, kept
):
    found = link(pool, main=main)

    assert (found.prefix_length, str(found.gateway)) == (prefix_length, gateway)
    assert withheld(found, pool) == kept


@pytest.mark.parametrize(
    ("pool", "prefix_length", "kept"),
    [
        ("10.0.0.16/28", 28, ["10.0.0.16", "10.0.0.31"]),
        ("10.0.0.16/31", 31, []),
        ("10.0.0.16/32", 32, []),
        ("fd00::10/124", 124, ["fd00::10"]),
        ("fd00::10/128", 128, []),
    ],
)
def test_a_flat_plugin_has_the_pools_prefix_and_no_gateway(pool, prefix_length, kept):
    found = link(pool, main=FLAT)

    assert (found.prefix_length, found.gateway, found.routes) == (prefix_length, None, ())
    assert withheld(found, pool) == kept


@pytest.mark.parametrize(
    ("pool", "prefix_length"), [("10.0.0.16/28", 32), ("fd00::10/124", 128)]
)
def test_any_other_plugin_has_host_prefixes_and_withholds_nothing(pool, prefix_length):
    found = link(pool)

    assert found == Link(prefix_length=prefix_length)
    assert withheld(found, pool) == []


@pytest.mark.parametrize("main", [PTP, BRIDGE])
@pytest.mark.parametrize("pool", ["10.0.0.16/32", "fd00::10/128"])
def test_a_pool_of_one_address_is_no_use_to_a_gateway_plugin(main, pool):
    with pytest.raises(LinkError, match=r"pool of two or more|no address for a pod"):
        link(pool, main=main)


# Prefix length


@pytest.mark.parametrize(
    ("setting", "prefix_length"),
    [("host", 32), ("pool", 28), ("block", None), (28, 28), (24, 24), (1, 1)],
)
def test_a_prefix_length_is_a_word_or_a_number(setting, prefix_length):
    found = link("10.0.0.16/28", main=FLAT, prefix_length={4: setting})

    assert found.prefix_length == prefix_length


@pytest.mark.parametrize("setting", [29, 32, 0, "lan"])
def test_a_prefix_length_that_cuts_the_pool_drops_it(setting):
    with pytest.raises(LinkError, match=f"prefixLength {setting} is not .* up to 28"):
        link("10.0.0.16/28", main=FLAT, prefix_length={4: setting})


def test_the_prefix_length_of_the_other_family_does_not_matter():
    found = link("10.0.0.16/28", main=FLAT, prefix_length={6: 64})

    assert found.prefix_length == 28


@pytest.mark.parametrize(
    ("pool", "prefix_length", "kept"),
    [
        ("192.0.2.128/28", 24, []),
        ("192.0.2.0/28", 24, ["192.0.2.0"]),
        ("192.0.2.240/28", 24, ["192.0.2.255"]),
        ("fd00::80/124", 64, []),
        ("fd00::/124", 64, ["fd00::"]),
    ],
)
def test_under_the_mask_of_a_lan_its_ends_are_withheld_and_not_the_pools(
    pool, prefix_length, kept
):
    family = parse_network(pool).version

    found = link(pool, main=FLAT, prefix_length={family: prefix_length})

    assert found.prefix_length == prefix_length
    assert withheld(found, pool) == kept


@pytest.mark.parametrize(
    ("pool", "block", "kept"),
    [
        ("10.0.0.16/28", "10.0.0.20/30", ["10.0.0.20", "10.0.0.23"]),
        ("10.0.0.16/28", "10.0.0.20/31", []),
        ("fd00::10/124", "fd00::14/126", ["fd00::14"]),
    ],
)
def test_with_the_blocks_prefix_each_blocks_ends_are_withheld(pool, block, kept):
    found = link(pool, main=FLAT, prefix_length=dict.fromkeys((4, 6), "block"))
    in_block = found.withheld_in(parse_network(block))

    assert [str(each) for each in parse_network(pool) if each in in_block] == kept


def test_an_annotated_block_prefix_keeps_block_ends_from_networks_with_another_prefix():
    found = link("10.0.0.16/28", {PREFIX_LENGTH: "block"}, main=FLAT, prefix_length={4: "pool"})
    block = parse_network("10.0.0.20/30")

    kept = [str(each) for each in block if each in found.withheld_in(block)]
    assert kept == ["10.0.0.20", "10.0.0.23"]


def test_with_any_other_prefix_the_block_does_not_matter():
    found = link("10.0.0.16/28", main=FLAT)

    assert found.withheld_in(parse_network("10.0.0.20/30")) == found.withheld


@pytest.mark.parametrize(("pool", "length"), [("10.0.0.16/28", 32), ("fd00::10/124", 128)])
def test_ptp_cannot_use_a_host_prefix(pool, length):
    with pytest.raises(
        LinkError, match=f"ptp cannot use a /{length}; set prefixLength to pool"
    ):
        link(pool, main=PTP, prefix_length=dict.fromkeys((4, 6), "host"))


# Gateway


@pytest.mark.parametrize("main", [BRIDGE, PTP])
def test_a_gateway_plugin_cannot_do_without_a_gateway(main):
    with pytest.raises(LinkError, match=f"{main} needs a gateway; set it to first-of-pool"):
        link("10.0.0.16/28", main=main, gateway={4: "none"})


@pytest.mark.parametrize("main", [PTP, BRIDGE, FLAT])
@pytest.mark.parametrize(
    ("pool", "gateway"), [("10.0.0.16/28", "10.0.0.30"), ("fd00::10/124", "fd00::1e")]
)
def test_a_gateway_can_be_any_address_of_the_prefix(main, pool, gateway):
    found = link(pool, main=main, gateway={parse_address(gateway).version: gateway})

    assert text(found.gateway) == gateway
    assert gateway in withheld(found, pool)


def test_a_gateway_can_lie_outside_the_pool_when_the_prefix_reaches_it():
    found = link("192.0.2.128/28", main=FLAT, prefix_length={4: 24}, gateway={4: "192.0.2.1"})

    assert text(found.gateway) == "192.0.2.1"
    assert withheld(found, "192.0.2.128/28") == []


@pytest.mark.parametrize("main", [PTP, BRIDGE, FLAT])
@pytest.mark.parametrize("gateway", ["10.0.0.1", "169.254.1.1"])
def test_a_gateway_outside_the_prefix_drops_the_pool(main, gateway):
    with pytest.raises(
        LinkError, match=r"outside the prefix \(/28\).*set prefixLength to pool"
    ):
        link("10.0.0.16/28", main=main, gateway={4: gateway})


@pytest.mark.parametrize("main", [PTP, BRIDGE, FLAT])
@pytest.mark.parametrize("gateway", ["first-of-pool", "10.0.0.17"])
def test_a_blocks_prefix_reaches_no_gateway(main, gateway):
    with pytest.raises(LinkError, match=r"outside the prefix \(the block\)"):
        link("10.0.0.16/28", main=main, prefix_length={4: "block"}, gateway={4: gateway})


@pytest.mark.parametrize("main", [BRIDGE, FLAT, OTHER])
@pytest.mark.parametrize(
    "gateway",
    [
        "first-of-pool",
        "10.0.0.16",
        "10.0.0.17",
    ],
)
def test_a_host_prefix_reaches_no_gateway(main, gateway):
    with pytest.raises(LinkError, match=r"outside the prefix \(/32\)"):
        link("10.0.0.16/28", main=main, prefix_length={4: "host"}, gateway={4: gateway})


@pytest.mark.parametrize("main", [PTP, BRIDGE, FLAT])
@pytest.mark.parametrize(
    ("gateway", "what"), [("10.0.0.16", "network"), ("10.0.0.31", "broadcast")]
)
def test_an_end_of_an_ipv4_prefix_is_no_gateway(main, gateway, what):
    with pytest.raises(
        LinkError, match=rf"the {what} address of 10\.0\.0\.16/28; name another"
    ):
        link("10.0.0.16/28", main=main, gateway={4: gateway})


@pytest.mark.parametrize(
    ("pool", "gateway"),
    [
        ("10.0.0.16/31", "10.0.0.16"),
        ("10.0.0.16/31", "10.0.0.17"),
        ("fd00::10/124", "fd00::10"),
        ("fd00::10/124", "fd00::1f"),
    ],
)
def test_an_end_can_be_a_gateway_where_it_is_no_network_or_broadcast_address(pool, gateway):
    family = parse_network(pool).version

    assert text(link(pool, main=PTP, gateway={family: gateway}).gateway) == gateway


@pytest.mark.parametrize(
    ("pool", "prefix_length", "gateway"),
    [
        ("192.0.2.128/28", 24, "192.0.2.128"),  # in the middle of the LAN nothing is special
        ("192.0.2.0/28", 24, "192.0.2.1"),
        ("192.0.2.240/28", 24, "192.0.2.240"),
        ("fd00::80/124", 64, "fd00::80"),
        ("fd00::/124", 64, "fd00::1"),
    ],
)
def test_the_first_usable_address_is_not_an_end_of_the_prefix(pool, prefix_length, gateway):
    family = parse_network(pool).version

    found = link(pool, main=PTP, prefix_length={family: prefix_length})

    assert text(found.gateway) == gateway


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("middle-of-pool", "neither none, first-of-pool nor an address"),
        ("fd00::1", "is not IPv4"),
    ],
)
def test_a_gateway_that_is_no_address_of_the_family_drops_the_pool(setting, why):
    with pytest.raises(LinkError, match=why):
        link("10.0.0.16/28", main=FLAT, gateway={4: setting})


@pytest.mark.parametrize(
    ("pool", "prefix_length"),
    [("192.0.2.0/31", 24), ("192.0.2.254/31", 24), ("fd00::/127", 64)],
)
def test_a_pool_without_an_address_for_pods_is_dropped(pool, prefix_length):
    family = parse_network(pool).version

    with pytest.raises(LinkError, match="leave no address for a pod"):
        link(pool, main=PTP, prefix_length={family: prefix_length})


def test_a_pool_that_two_gateways_fill_is_dropped():
    with pytest.raises(LinkError, match="leave no address for a pod"):
        link("10.0.0.16/31", {GATEWAY: "10.0.0.16"}, main=PTP, gateway={4: "10.0.0.17"})


# Routes and DNS


@pytest.mark.parametrize(
    ("pool", "route"),
    [
        ("10.0.0.16/28", Route(dst="0.0.0.0/0", gw="10.0.0.17")),
        ("fd00::10/124", Route(dst="::/0", gw="fd00::11")),
    ],
)
def test_the_default_route_goes_through_the_gateway(pool, route):
    assert link(pool, main=BRIDGE).routes == (route,)


def test_there_is_no_default_route_where_the_main_plugin_adds_it():
    assert link("10.0.0.16/28", main=BRIDGE, adds_default_route=True).routes == ()


@pytest.mark.parametrize(
    ("pool", "dst"), [("10.0.0.16/28", "0.0.0.0/0"), ("fd00::10/124", "::/0")]
)
def test_an_annotated_default_route_drops_the_pool_where_the_main_plugin_adds_its_own(
    pool, dst
):
    annotations = {ROUTES: json.dumps([{"dst": dst}])}

    with pytest.raises(LinkError, match="adds the default route itself"):
        link(pool, annotations, main=BRIDGE, adds_default_route=True)


@pytest.mark.parametrize(
    ("pool", "dst"), [("10.0.0.16/28", "10.9.0.0/16"), ("10.0.0.16/28", "::/0")]
)
def test_other_annotated_routes_are_fine_there(pool, dst):
    annotations = {ROUTES: json.dumps([{"dst": dst}])}
    mine = () if ":" in dst else (Route(dst=dst),)

    assert link(pool, annotations, main=BRIDGE, adds_default_route=True).routes == mine


def test_routes_that_are_set_replace_the_default_route_each_in_its_family():
    routes = (Route(dst="10.9.0.0/16"), Route(dst="fd09::/64", gw="fd00::1f"))

    found = [link(pool, main=PTP, routes=routes) for pool in ("10.0.0.16/28", "fd00::10/124")]

    assert [each.routes for each in found] == [routes[:1], routes[1:]]


def test_an_empty_list_of_routes_means_none():
    assert link("10.0.0.16/28", main=PTP, routes=()).routes == ()


def test_dns_settings_are_passed_on():
    assert link("10.0.0.16/28", dns={"nameservers": ["10.0.0.9"]}).dns == {
        "nameservers": ["10.0.0.9"]
    }


# Annotations


def test_annotations_beat_defaults():
    annotations = {
        PREFIX_LENGTH: "24",
        GATEWAY: "192.0.2.1",
        ROUTES: '[{"dst": "10.9.0.1/16"}, {"dst": "fd09::/64", "gw": "fd00:0::1"}]',
        DNS: '{"domain": "example.org"}',
    }

    found = link("192.0.2.128/28", annotations, main=FLAT)

    assert (found.prefix_length, text(found.gateway)) == (24, "192.0.2.1")
    assert (found.routes, found.dns) == (
        (Route(dst="10.9.0.0/16"),),
        {"domain": "example.org"},
    )


def test_annotated_routes_have_canonical_texts():
    annotations = {ROUTES: '[{"dst": "FD09:0::/64", "gw": "fd00:0::1"}]'}

    assert link("fd00::10/124", annotations).routes == (Route(dst="fd09::/64", gw="fd00::1"),)


@pytest.mark.parametrize(("word", "length"), [("host", 32), ("pool", 28), ("block", None)])
def test_an_annotated_prefix_length_can_be_a_word(word, length):
    assert link("10.0.0.16/28", {PREFIX_LENGTH: word}, main=FLAT).prefix_length == length


def test_the_network_configuration_beats_annotations():
    annotations = {
        PREFIX_LENGTH: "pool",
        GATEWAY: "10.0.0.30",
        ROUTES: '[{"dst": "10.9.0.0/16"}]',
        DNS: '{"domain": "example.org"}',
    }
    mine = Route(dst="10.8.0.0/16")

    found = link(
        "10.0.0.16/28",
        annotations,
        main=FLAT,
        prefix_length={4: 24},
        gateway={4: "none"},
        routes=(mine,),
        dns={"domain": "example.com"},
    )

    assert (found.prefix_length, found.gateway) == (24, None)
    assert (found.routes, found.dns) == ((mine,), {"domain": "example.com"})


@pytest.mark.parametrize("main", MainPlugin)
def test_what_annotations_name_is_withheld_for_every_network(main):
    annotations = {PREFIX_LENGTH: "pool", GATEWAY: "10.0.0.30"}
    here = (
        {} if main in (PTP, BRIDGE) else {"prefix_length": {4: "host"}, "gateway": {4: "none"}}
    )

    found = link("10.0.0.16/28", annotations, main=main, **here)

    assert withheld(found, "10.0.0.16/28") == ["10.0.0.16", "10.0.0.30", "10.0.0.31"]


def test_what_the_network_names_is_withheld_beside_what_annotations_name():
    found = link("10.0.0.16/28", {GATEWAY: "10.0.0.30"}, main=PTP, gateway={4: "10.0.0.20"})

    assert withheld(found, "10.0.0.16/28") == [
        "10.0.0.16",
        "10.0.0.20",
        "10.0.0.30",
        "10.0.0.31",
    ]


def test_routes_and_dns_annotations_withhold_nothing():
    annotations = {ROUTES: "[]", DNS: "{}"}

    assert withheld(link("10.0.0.16/28", annotations), "10.0.0.16/28") == []


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({PREFIX_LENGTH: "wide"}, "prefixLength wide is not"),
        ({PREFIX_LENGTH: "-1"}, "prefixLength -1 is not"),
        ({PREFIX_LENGTH: "29"}, "prefixLength 29 is not"),
        ({GATEWAY: "router"}, "gateway 'router' is neither"),
        ({GATEWAY: "10.0.0.1"}, "outside the prefix"),
        ({ROUTES: "default"}, f"{ROUTES} is 'default', not a JSON list"),
        ({ROUTES: "null"}, "not a JSON list"),
        ({ROUTES: '{"dst": "10.9.0.0/16"}'}, "not a JSON list"),
        ({DNS: "[]"}, f"{DNS} is .* not a JSON object"),
    ],
)
@pytest.mark.parametrize("main", [FLAT, BRIDGE])
def test_an_annotation_that_means_nothing_drops_the_pool(main, annotations, why):
    with pytest.raises(LinkError, match=why):
        link("10.0.0.16/28", annotations, main=main)


@pytest.mark.parametrize(
    "item",
    [
        "10.9.0.0/16",
        {},
        {"gw": "10.0.0.17"},
        {"dst": "10.9.0.0/16", "mtu": 1400},
        {"dst": "10.9.0.0"},
        {"dst": "10.9.0.0/33"},
        {"dst": "10.9.0.0/16", "gw": "router"},
        {"dst": "10.9.0.0/16", "gw": "fd00::1"},
    ],
)
def test_an_annotated_route_that_means_nothing_drops_the_pool(item):
    with pytest.raises(LinkError, match=r'entries are \{"dst": CIDR, "gw": address\}'):
        link("10.0.0.16/28", {ROUTES: json.dumps([item])}, main=FLAT)


def test_annotations_of_others_do_not_matter():
    assert link("10.0.0.16/28", {"example.org/gateway": "none"}, main=PTP) == link(
        "10.0.0.16/28", main=PTP
    )


# Everywhere in a LAN


@pytest.mark.parametrize(
    ("lan", "last"), [("192.0.2.0/26", {"192.0.2.63"}), ("fd00::/122", set())]
)
@pytest.mark.parametrize("longer", range(6))
def test_wherever_a_pool_lies_in_a_lan_only_the_ends_of_the_lan_are_withheld(lan, last, longer):
    prefix = parse_network(lan)
    ends = {str(prefix.network_address), *last}
    for pool in map(str, prefix.subnets(longer)):
        found = link(pool, main=FLAT, prefix_length=dict.fromkeys((4, 6), prefix.prefixlen))

        assert set(withheld(found, pool)) == ends & set(map(str, parse_network(pool)))
