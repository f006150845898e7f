import json

import pytest

from poolmgr.cidr import parse_address
from poolmgr.core.request import Attachment, Sticky
from poolmgr.errors import InvalidRequestError
from poolmgr.kube.annotations import (
    ADDRESSES,
    FAMILIES,
    IP_ADDRS,
    NO_IPAM,
    POOLS,
    RETENTION,
    STICKY,
    Gates,
    Wishes,
    past_ipam,
    wishes,
)

DAY_S = 86_400


def ip(text):
    return parse_address(text)


def read(
    pod=None, namespace=None, *, interface="eth0", network="net1", pod_name="web-0", **more
):
    return wishes(
        pod or {},
        namespace or {},
        attachment=Attachment(network=network, container="c1", interface=interface),
        pod_name=pod_name,
        pod_namespace=more.get("pod_namespace", "prod"),
        gates=more.get("gates", Gates()),
    )


def refusal(pod, namespace=None, **more):
    with pytest.raises(InvalidRequestError) as caught:
        read(pod, namespace, **more)
    return str(caught.value)


def test_without_annotations_nothing_is_wished():
    other = {"kubernetes.io/config.seen": "now", "cni.projectcalico.org/hwAddr": "x"}

    assert read() == read(other, other) == Wishes()


def test_an_empty_value_is_no_value():
    names = (IP_ADDRS, NO_IPAM, FAMILIES, ADDRESSES, STICKY, RETENTION, *POOLS.values())

    assert read(dict.fromkeys(names, "")) == Wishes()


def test_pools_of_the_pod_replace_those_of_the_namespace():
    namespace = {POOLS[4]: '["a"]', POOLS[6]: '["b"]'}

    assert read({}, namespace).pools == {4: ("a",), 6: ("b",)}
    assert read({POOLS[4]: '["c", "10.0.0.7/24"]'}, namespace).pools == {
        4: ("c", "10.0.0.0/24"),
        6: ("b",),
    }
    assert read({POOLS[4]: ""}, namespace).pools == {4: ("a",), 6: ("b",)}
    assert read({POOLS[4]: "[]"}, namespace).pools == {4: (), 6: ("b",)}


def test_families_of_the_pod_replace_those_of_the_namespace():
    namespace = {FAMILIES: '["IPv6"]'}

    assert read({}, namespace).families == (6,)
    assert read({FAMILIES: '["IPv6", "IPv4"]'}, namespace).families == (4, 6)


def test_addresses_are_named_by_the_pod():
    found = read({IP_ADDRS: '["fd00::5", "10.0.0.5"]'})

    assert found.addresses == (ip("10.0.0.5"), ip("fd00::5"))


def test_addresses_past_ipam_need_permission():
    pod = {NO_IPAM: '["10.0.0.5"]'}

    assert read(pod, gates=Gates(ip_addrs_no_ipam=True)).without_ipam == (ip("10.0.0.5"),)
    assert refusal(pod) == (
        f"annotation {NO_IPAM} = '[\"10.0.0.5\"]': the network configuration does not allow it; "
        'an administrator can, with "feature_control": {"ip_addrs_no_ipam": true}'
    )


def test_candidates_are_text_or_json():
    lone = {4: ((ip("10.0.0.5"), ip("10.0.0.5")),)}

    assert read({ADDRESSES: "10.0.0.5"}).among == lone
    assert read({ADDRESSES: '["10.0.0.5"]'}).among == lone


@pytest.mark.parametrize(
    ("value", "network", "interface", "last"),
    [
        ({"net1": "10.0.0.1"}, "net1", "eth0", 1),
        ({"net1": "10.0.0.1"}, "net2", "eth0", None),
        ({"net1": "10.0.0.1", "net1/eth1": ["10.0.0.2"]}, "net1", "eth0", 1),
        ({"net1": "10.0.0.1", "net1/eth1": ["10.0.0.2"]}, "net1", "eth1", 2),
        ({"net1/eth1": "10.0.0.2"}, "net1", "eth0", None),
        ({"net1": None}, "net1", "eth0", None),
        ({"net1": ""}, "net1", "eth0", None),
        ({"net1/eth1": "", "net1": "10.0.0.1"}, "net1", "eth1", None),
        ({}, "net1", "eth0", None),
        ({"net2": 5, "net1": "10.0.0.1"}, "net1", "eth0", 1),
    ],
)
def test_the_most_specific_key_of_an_object_counts(value, network, interface, last):
    found = read({ADDRESSES: f" {json.dumps(value)}"}, network=network, interface=interface)

    among = {} if last is None else {4: ((ip(f"10.0.0.{last}"),) * 2,)}
    assert found.among == among


@pytest.mark.parametrize("key", ["", "/eth0", "net1/", "net1/eth0/x"])
def test_a_key_that_can_name_nothing_is_refused(key):
    said = refusal({ADDRESSES: json.dumps({key: "10.0.0.1"})})

    assert f"its key '{key}' is neither a network nor network/interface" in said


@pytest.mark.parametrize("name", [IP_ADDRS, NO_IPAM, FAMILIES, POOLS[4], POOLS[6]])
def test_annotations_of_calico_have_no_form_by_network(name):
    assert "list of strings" in refusal({name: '{"net1": ["IPv4"]}'})


def test_a_pod_keeps_an_address_for_each_of_its_interfaces():
    own = Sticky(namespace="prod", identity="web-0@eth0", holder="web-0")

    assert read({STICKY: "true"}).sticky == own
    assert read({STICKY: '{"net1": true}'}).sticky == own
    assert read({STICKY: "true"}, interface="eth1").sticky.identity == "web-0@eth1"
    assert read({STICKY: "true"}, pod_name="a.b").sticky.identity == "a.b@eth0"


def test_pods_share_an_identity_in_slots():
    assert read({STICKY: "web"}).sticky == Sticky(
        namespace="prod", identity="web", numbered=True, holder="web-0"
    )


@pytest.mark.parametrize("value", ["false", '{"net1": false}', '{"net2": "true"}'])
def test_a_pod_may_keep_nothing(value):
    assert read({STICKY: value, RETENTION: "1h"}).sticky is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90m", 5400),
        ("forever", None),
        ('{"net1": "90m"}', 5400),
        ('{"net2": "90m"}', DAY_S),
        ("", DAY_S),
    ],
)
def test_an_address_is_kept_for_as_long_as_is_said(value, seconds):
    assert read({STICKY: "true", RETENTION: value}).sticky.retention_s == seconds


def test_nothing_is_retained_unless_it_is_sticky():
    said = refusal({RETENTION: "24h"})

    assert said == f"annotation {RETENTION} = '24h': nothing is kept without {STICKY}"


@pytest.mark.parametrize("names", [{"pod_name": ""}, {"pod_namespace": ""}])
def test_only_a_pod_with_a_name_keeps_an_address(names):
    assert "does not say which pod this is" in refusal({STICKY: "true"}, **names)


@pytest.mark.parametrize(
    ("pod", "named"),
    [
        ({IP_ADDRS: '["10.0.0.5"]', NO_IPAM: '["10.0.0.5"]'}, (IP_ADDRS, NO_IPAM)),
        ({IP_ADDRS: '["10.0.0.5"]', ADDRESSES: "10.0.0.5"}, (IP_ADDRS, ADDRESSES)),
        ({NO_IPAM: '["10.0.0.5"]', ADDRESSES: "10.0.0.5"}, (NO_IPAM, ADDRESSES)),
        ({STICKY: "true", IP_ADDRS: '["10.0.0.5"]'}, (STICKY, IP_ADDRS)),
        ({STICKY: "true", NO_IPAM: '["10.0.0.5"]'}, (STICKY, NO_IPAM)),
        ({ADDRESSES: "fd00::5", FAMILIES: '["IPv4"]'}, (ADDRESSES, FAMILIES)),
    ],
)
def test_annotations_that_exclude_each_other_are_refused(pod, named):
    said = refusal(pod, gates=Gates(ip_addrs_no_ipam=True))

    assert [name in said for name in named] == [True, True]


def test_candidates_may_be_sticky():
    found = read({STICKY: "web", ADDRESSES: "10.0.0.5", FAMILIES: '["IPv4"]'})

    assert (found.sticky.identity, list(found.among)) == ("web", [4])


def test_a_misspelt_annotation_of_ours_is_refused():
    assert refusal({"ipam.poolmgr.io/stikcy": "true"}) == (
        "annotation ipam.poolmgr.io/stikcy = 'true': it is not known; known are "
        f"{ADDRESSES}, {STICKY}, {RETENTION}"
    )


def test_annotations_of_a_namespace_that_are_for_pods_are_named():
    namespace = {IP_ADDRS: "x", STICKY: "true", "ipam.poolmgr.io/x": "", "other": ""}

    found = read({}, namespace)
    assert (found.addresses, found.sticky) == ((), None)
    assert [text.split()[1] for text in found.warnings] == [
        IP_ADDRS,
        STICKY,
        "ipam.poolmgr.io/x",
    ]


def test_the_annotations_behind_a_wish_are_remembered():
    found = read({POOLS[4]: '["a"]', ADDRESSES: '{"net2": "10.0.0.1"}'}, {FAMILIES: '["IPv4"]'})

    assert set(found.because) == {
        f"annotation {POOLS[4]} = '[\"a\"]'",
        f"annotation {FAMILIES} = '[\"IPv4\"]'",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (IP_ADDRS, "10.0.0.5"),
        (IP_ADDRS, '["10.0.0.5", "10.0.0.6"]'),
        (IP_ADDRS, "[]"),
        (NO_IPAM, '["x"]'),
        (FAMILIES, '["IPv5"]'),
        (POOLS[4], '["fd00::/64"]'),
        (POOLS[6], '["10.0.0.0/24"]'),
        (POOLS[4], "{"),
        (ADDRESSES, "10.0.0.5-"),
        (ADDRESSES, "{}}"),
        (STICKY, "a.b"),
        (RETENTION, "soon"),
    ],
)
def test_what_is_wrong_is_refused_by_name_and_value(name, value):
    assert refusal({name: value}).startswith(f"annotation {name} = '{value}': ")


@pytest.mark.parametrize(
    ("sticky", "retention", "warned"),
    [
        ("true", "1h", False),
        ("true", '{"net2": "1h"}', False),
        ('{"net2": "true"}', '{"net2": "1h"}', False),
        ("false", "1h", True),
        ('{"net2": "true"}', "1h", True),
        ('{"net2": "true"}', '{"net1": "1h"}', True),
    ],
)
def test_a_retention_of_what_is_not_kept_is_named(sticky, retention, warned):
    found = read({STICKY: sticky, RETENTION: retention})

    said = f"annotation {RETENTION} has no effect on eth0: {STICKY} does not keep its address"
    assert found.warnings == ((said,) if warned else ())


def test_annotations_about_addresses_that_nobody_knows_are_named_together():
    calico = "cni.projectcalico.org/"
    pod = {f"{calico}floatingIPs": "x", f"{calico}IPaddrs": "x", f"{calico}podIP": "x"}

    found = read({**pod, FAMILIES: '["IPv4"]'}, {f"{calico}ipv4pool": "x", "ipOther": "x"})

    assert found.warnings == (
        f"annotation {calico}IPaddrs, {calico}floatingIPs, {calico}ipv4pool has no effect: this "
        "plugin knows no such thing",
    )


@pytest.mark.parametrize(
    ("pod", "allowed", "addresses"),
    [
        ({NO_IPAM: '["10.0.0.5"]'}, True, (ip("10.0.0.5"),)),
        ({NO_IPAM: '["10.0.0.5"]'}, False, ()),
        ({NO_IPAM: "garbage"}, True, ()),
        ({NO_IPAM: ""}, True, ()),
        ({IP_ADDRS: '["10.0.0.5"]'}, True, ()),
    ],
)
def test_addresses_past_ipam_are_read_without_a_refusal(pod, allowed, addresses):
    assert addresses == past_ipam(pod, Gates(ip_addrs_no_ipam=allowed))
