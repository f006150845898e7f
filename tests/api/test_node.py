"""Nodes: stored form, and what is checked of the fields that matter to others."""

import json

import pytest

from poolmgr.api import Node
from poolmgr.errors import InvalidRequestError


def manifest(spec: object = None, **metadata) -> dict:
    return {"metadata": {"name": "node-a", **metadata}, "spec": spec}


def test_spec_and_status_are_always_stored():
    created = Node.from_manifest(manifest(labels={"rack": "r1"})).created(uid="u", now="t")

    assert (
        created.to_stored()
        == b'{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"node-a","uid":"u",'
        b'"creationTimestamp":"t","labels":{"rack":"r1"}},"spec":{},"status":{}}'
    )


def test_empty_labels_are_not_stored():
    created = Node.from_manifest(manifest(labels={})).created(uid="u", now="t")

    assert "labels" not in json.loads(created.to_stored())["metadata"]


def test_calicos_fields_keep_their_names_and_order():
    spec = {
        "bgp": {
            "asNumber": 64512,
            "ipv4Address": "10.0.0.1/24",
            "ipv6Address": "fd00::1/64",
            "ipv4IPIPTunnelAddr": "10.1.0.1",
            "routeReflectorClusterID": "1.1.1.1",
        },
        "ipv4VXLANTunnelAddr": "10.1.0.2",
        "vxlanTunnelMACAddr": "66:00:00:00:00:01",
        "ipv6VXLANTunnelAddr": "fd00::2",
        "vxlanTunnelMACAddrV6": "66:00:00:00:00:02",
        "orchRefs": [{"nodeName": "n", "orchestrator": "k8s"}],
        "wireguard": {"interfaceIPv4Address": "10.1.0.3", "interfaceIPv6Address": "fd00::3"},
        "addresses": [{"address": "10.0.0.1", "type": "InternalIP"}],
        "interfaces": [{"name": "eth0", "addresses": ["10.0.0.1"]}],
    }

    stored = json.loads(Node.from_manifest(manifest(spec)).to_stored())

    assert json.dumps(spec) == json.dumps(stored["spec"])


@pytest.mark.parametrize(
    ("written", "number"), [(64512, 64512), ("64512", 64512), ("1.10", 65546)]
)
def test_an_as_number_may_be_written_as_text(written, number):
    node = Node.from_manifest(manifest({"bgp": {"asNumber": written}}))

    assert number == node.spec.bgp.as_number


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"bgp": {}}, "spec.bgp"),
        ({"bgp": {"asNumber": "one"}}, "spec.bgp.asNumber"),
        ({"bgp": {"as_number": 1}}, "spec.bgp.as_number"),
        ({"addresses": [{"address": "1.1.1.1"}, {"type": "Odd"}]}, "spec.addresses[1].type"),
        ({"interfaces": [{"colour": "red"}]}, "spec.interfaces[0].colour"),
        ({"orchRefs": {"nodeName": "n"}}, "spec.orchRefs"),
        ({"bgp": {"ipv4Address": "10.0.0.300"}}, "spec.bgp.ipv4Address"),
        ({"bgp": {"ipv4Address": "fd00::1/64"}}, "spec.bgp.ipv4Address"),
        ({"bgp": {"ipv6Address": "10.0.0.1"}}, "spec.bgp.ipv6Address"),
        ({"bgp": {"ipv4IPIPTunnelAddr": "10.0.0.1/24"}}, "spec.bgp.ipv4IPIPTunnelAddr"),
        ({"ipv4VXLANTunnelAddr": "10.0.0.0/24"}, "spec.ipv4VXLANTunnelAddr"),
        ({"ipv6VXLANTunnelAddr": "10.0.0.1"}, "spec.ipv6VXLANTunnelAddr"),
        ({"wireguard": {"interfaceIPv4Address": "x"}}, "spec.wireguard.interfaceIPv4Address"),
        ({"wireguard": {"interfaceIPv6Address": "x"}}, "spec.wireguard.interfaceIPv6Address"),
        ({"vxlanTunnelMACAddr": "66:00:00:00:00"}, "spec.vxlanTunnelMACAddr"),
        ({"vxlanTunnelMACAddrV6": "66:00-00:00:00:01"}, "spec.vxlanTunnelMACAddrV6"),
    ],
)
def test_a_refusal_names_the_field(spec, field):
    with pytest.raises(InvalidRequestError) as caught:
        Node.from_manifest(manifest(spec))

    assert field == caught.value.field


@pytest.mark.parametrize(
    "spec",
    [
        {"bgp": {"ipv4Address": "10.0.0.1", "ipv6Address": "fd00::1"}},
        {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd00::1/64"}},
        {"vxlanTunnelMACAddr": "66-0A-2B-00-00-01", "vxlanTunnelMACAddrV6": "660a.2b00.0001"},
    ],
)
def test_these_addresses_are_fine(spec):
    assert spec == Node.from_manifest(manifest(spec)).spec.dump()
