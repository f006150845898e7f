import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni.document import BridgeKeys, Document, PreviousResult, read
from poolmgr.cni.result import CallError
from poolmgr.core.link import Route


def ipam(**keys):
    return read(Document, {"ipam": keys}).ipam


def test_keys_of_the_main_plugin_are_left_to_it():
    document = read(Document, {"type": "bridge", "mtu": 1500, "ranges": [[]]})

    assert document.type == "bridge"


def test_ipv4_is_assigned_unless_told_otherwise():
    assert (ipam().assign_ipv4, ipam().assign_ipv6) == (True, False)


@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), (False, False), ("true", True), ("false", False)]
)
def test_flags_are_booleans_or_words(value, flag):
    keys = ipam(assign_ipv4=value, assign_ipv6=value)

    assert (keys.assign_ipv4, keys.assign_ipv6) == (flag, flag)


def test_pools_are_names_or_cidrs_in_canonical_form():
    keys = ipam(
        ipv4_pools=["lan", "10.0.0.7/24"], ipv6_pools=["FD00:0::/64"], subnet="usePodCidr"
    )

    assert (keys.ipv4_pools, keys.ipv6_pools) == (["lan", "10.0.0.0/24"], ["fd00::/64"])


@pytest.mark.parametrize(
    ("value", "lengths"),
    [
        ("pool", {4: "pool", 6: "pool"}),
        (24, {4: 24}),
        ({"ipv4": "host", "ipv6": 64}, {4: "host", 6: 64}),
        ({"ipv6": 128}, {6: 128}),
        ({}, {}),
    ],
)
def test_prefix_lengths_have_a_short_form(value, lengths):
    assert ipam(prefixLength=value).prefix_length == lengths


@pytest.mark.parametrize(
    ("value", "gateways"),
    [
        ("none", {4: "none", 6: "none"}),
        ("10.0.0.1", {4: "10.0.0.1"}),
        ("FD00:0::1", {6: "fd00::1"}),
        ({"ipv4": "first-of-pool", "ipv6": "fd00::1"}, {4: "first-of-pool", 6: "fd00::1"}),
    ],
)
def test_gateways_have_a_short_form(value, gateways):
    assert ipam(gateway=value).gateway == gateways


def test_routes_become_values_of_the_core():
    routes = ipam(routes=[{"dst": "10.1.2.3/8"}, {"dst": "::/0", "gw": "FD00::1"}]).routes

    assert [route.route() for route in routes] == [
        Route(dst="10.0.0.0/8"),
        Route(dst="::/0", gw="fd00::1"),
    ]


def test_an_earlier_result_yields_its_addresses():
    result = read(
        PreviousResult,
        {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}]},
    )

    assert [each.address for each in result.ips] == [parse_address("10.0.0.5")]


FLAG = 'must be true, false, "true" or "false"'
IPV4_LENGTH = 'must be "host", "block", "pool" or, for IPv4, a number from 1 to 32'
GATEWAY = 'must be "none", "first-of-pool" or an address'


@pytest.mark.parametrize(
    ("model", "value", "why"),
    [
        (Document, {"name": 3}, "name = 3: must be a string"),
        (Document, {"type": None}, "type = null: must be a string"),
        (Document, {"etcd_endpoints": ["h:1"]}, "etcd_endpoints: must be a string"),
        (Document, {"ipam": None}, "ipam = null: must be an object"),
        (Document, {"ipam": "x"}, 'ipam = "x": must be an object'),
        (Document, {"ipam": []}, "ipam: must be an object"),
        (
            Document,
            {"ipam": {"asign_ipv4": True}},
            "ipam: 'asign_ipv4' is not a known key; known are type, subnet, assign_ipv4, "
            "assign_ipv6, ipv4_pools, ipv6_pools, prefixLength, gateway, routes, dns",
        ),
        (Document, {"ipam": {"assign_ipv4": "yes"}}, f'ipam.assign_ipv4 = "yes": {FLAG}'),
        (Document, {"ipam": {"assign_ipv6": 1}}, f"ipam.assign_ipv6 = 1: {FLAG}"),
        (Document, {"ipam": {"assign_ipv6": {}}}, f"ipam.assign_ipv6: {FLAG}"),
        (Document, {"ipam": {"ipv4_pools": "lan"}}, 'ipam.ipv4_pools = "lan": must be a list'),
        (Document, {"ipam": {"ipv4_pools": [7]}}, "ipam.ipv4_pools[0] = 7: must be a string"),
        (
            Document,
            {"ipam": {"ipv4_pools": [""]}},
            "ipam.ipv4_pools: must not contain an empty string; an empty list selects every pool",
        ),
        (
            Document,
            {"ipam": {"ipv6_pools": ["10.0.0.0/24"]}},
            "ipam.ipv6_pools: must hold names or CIDRs of IPv6 pools; 10.0.0.0/24 is IPv4",
        ),
        (
            Document,
            {"ipam": {"ipv4_pools": ["10.0.0.0/x"]}},
            "ipam.ipv4_pools: '10.0.0.0/x' is not of the form address/length",
        ),
        (Document, {"ipam": {"prefixLength": 0}}, f"ipam.prefixLength = 0: {IPV4_LENGTH}"),
        (Document, {"ipam": {"prefixLength": 33}}, f"ipam.prefixLength = 33: {IPV4_LENGTH}"),
        (
            Document,
            {"ipam": {"prefixLength": True}},
            f"ipam.prefixLength = true: {IPV4_LENGTH}",
        ),
        (
            Document,
            {"ipam": {"prefixLength": "24"}},
            f'ipam.prefixLength = "24": {IPV4_LENGTH}',
        ),
        (
            Document,
            {"ipam": {"prefixLength": None}},
            f"ipam.prefixLength = null: {IPV4_LENGTH}",
        ),
        (
            Document,
            {"ipam": {"prefixLength": {"ipv6": 129}}},
            f"ipam.prefixLength: {IPV4_LENGTH.replace('IPv4', 'IPv6').replace('32', '128')}",
        ),
        (
            Document,
            {"ipam": {"prefixLength": {"v4": 24}}},
            "ipam.prefixLength: 'v4' is not a known key; known are ipv4, ipv6",
        ),
        (Document, {"ipam": {"gateway": 1}}, f"ipam.gateway = 1: {GATEWAY}"),
        (
            Document,
            {"ipam": {"gateway": "10.0.0.1/24"}},
            f'ipam.gateway = "10.0.0.1/24": {GATEWAY}',
        ),
        (
            Document,
            {"ipam": {"gateway": "010.0.0.1"}},
            f'ipam.gateway = "010.0.0.1": {GATEWAY}',
        ),
        (
            Document,
            {"ipam": {"gateway": {"ipv6": "10.0.0.1"}}},
            "ipam.gateway: names 10.0.0.1 where an IPv6 address belongs",
        ),
        (Document, {"ipam": {"routes": {}}}, "ipam.routes: must be a list"),
        (Document, {"ipam": {"routes": [{}]}}, "ipam.routes[0].dst: a required key is missing"),
        (
            Document,
            {"ipam": {"routes": [{"dst": "0.0.0.0/0", "mtu": 9000}]}},
            "ipam.routes[0]: 'mtu' is not a known key; known are dst, gw",
        ),
        (
            Document,
            {"ipam": {"routes": [{"dst": "0.0.0.0"}]}},
            "ipam.routes[0].dst = \"0.0.0.0\": '0.0.0.0' is not of the form address/length",
        ),
        (
            Document,
            {"ipam": {"routes": [{"dst": "0.0.0.0/0", "gw": "x"}]}},
            "ipam.routes[0].gw = \"x\": 'x' does not appear to be an IPv4 or IPv6 address",
        ),
        (
            Document,
            {"ipam": {"routes": [{"dst": "0.0.0.0/0", "gw": "fd00::1"}]}},
            "ipam.routes[0]: dst 0.0.0.0/0 and gw fd00::1 are not of one family",
        ),
        (
            Document,
            {"ipam": {"dns": {"nameserver": []}}},
            "ipam.dns: 'nameserver' is not a known key; known are nameservers, domain, search, options",
        ),
        (
            Document,
            {"ipam": {"dns": {"nameservers": ["ns1"]}}},
            "ipam.dns.nameservers[0] = \"ns1\": 'ns1' does not appear to be an IPv4 or IPv6 address",
        ),
        (Document, {"ipam": {"dns": {"search": "a"}}}, 'ipam.dns.search = "a": must be a list'),
        (BridgeKeys, {"isGateway": "true"}, 'isGateway = "true": must be true or false'),
        (PreviousResult, {"ips": {}}, "prev.ips: must be a list"),
        (PreviousResult, [], "prev: must be an object"),
        (
            PreviousResult,
            {"ips": [{"address": "10.0.0.5"}]},
            'prev.ips[0].address = "10.0.0.5": must be an address with its prefix length',
        ),
        (
            PreviousResult,
            {"ips": [{"address": 5}]},
            "prev.ips[0].address = 5: must be an address with its prefix length",
        ),
        (
            PreviousResult,
            {"ips": [{"address": "x/24"}]},
            "prev.ips[0].address = \"x/24\": 'x' does not appear to be an IPv4 or IPv6 address",
        ),
        (PreviousResult, {"ips": [{}]}, "prev.ips[0].address: a required key is missing"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(model, value, why):
    with pytest.raises(CallError) as caught:
        read(model, value, at="prev" if model is PreviousResult else "")

    assert (caught.value.code, str(caught.value)) == (7, f"network configuration, {why}")
