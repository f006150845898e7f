"""Files of a container runtime: network configurations, and the cache of attachments."""

import base64
import json

import pytest

from poolmgr.cni.result import CallError
from poolmgr.cni.runtime import Cached, cached, networks
from poolmgr.errors import InvalidRequestError

OURS = {"type": "ptp", "ipam": {"type": "poolmgr-ipam", "assign_ipv6": True}}
CAPABILITY = {"capabilities": {"io.kubernetes.cri.pod-annotations": True}}


def read(conf, file="10-net.conflist"):
    return networks(file, json.dumps(conf).encode())


def entry(**changes):
    whole = {
        "kind": "cniCacheV1",
        "containerId": "c1",
        "ifName": "eth0",
        "networkName": "net-a",
        **changes,
    }
    return json.dumps({key: value for key, value in whole.items() if value is not None})


def config_of(*types):
    plugins = json.dumps({"name": "n", "plugins": [{"type": type_} for type_ in types]})
    return base64.b64encode(plugins.encode()).decode()


def test_plugins_of_a_list_get_its_name_and_version():
    conf = {"cniVersion": "1.0.0", "name": "net-a", "plugins": [OURS, {"type": "portmap"}]}

    (network,) = read(conf)

    assert "net-a" == network.name
    assert ["ptp", "portmap"] == [plugin.type for plugin in network.plugins]
    assert {**OURS, "name": "net-a", "cniVersion": "1.0.0"} == network.plugins[0].conf
    assert [True, False] == [plugin.is_ours for plugin in network.plugins]


def test_a_single_plugin_is_a_network_too():
    (network,) = read({"cniVersion": "1.0.0", "name": "net-a", **OURS})

    assert ("ptp", "poolmgr-ipam") == (network.main.type, network.main.ipam)


def test_the_main_plugin_is_the_first_that_has_addresses():
    (with_addresses,) = read({"name": "n", "plugins": [{"type": "tuning"}, OURS]})
    (without,) = read({"name": "n", "plugins": [{"type": "loopback", "ipam": {}}]})

    assert ("ptp", "loopback", "") == (
        with_addresses.main.type,
        without.main.type,
        without.main.ipam,
    )


def test_a_plugin_is_understood_as_our_plugin_understands_it():
    (network,) = read({"cniVersion": "1.0.0", "name": "n", "nodename": "x", **OURS})

    call = network.main.call(wishes=True)

    assert ("n", (4, 6), "x") == (call.network, call.families, call.naming["nodename"])


def test_what_only_an_add_reads_does_not_matter_where_addresses_go_away():
    (network,) = read({"cniVersion": "1.0.0", "name": "n", **OURS, "kubernetes": 7})

    assert "n" == network.main.call(wishes=False).network
    with pytest.raises(CallError, match="kubernetes"):
        network.main.call(wishes=True)


@pytest.mark.parametrize(
    ("capabilities", "gets"),
    [
        (CAPABILITY, True),
        ({"capabilities": {"io.kubernetes.cri.pod-annotations": False}}, False),
        ({"capabilities": {"ips": True}}, False),
        ({"capabilities": None}, False),
        ({}, False),
    ],
)
def test_the_capability_brings_annotations(capabilities, gets):
    (network,) = read({"name": "n", "plugins": [{**OURS, **capabilities}]})

    assert gets == network.main.gets_annotations


def test_delegates_of_multus_are_networks_that_get_no_annotations():
    named = {"name": "net-b", "plugins": [{**OURS, **CAPABILITY}]}
    conf = {"name": "m", "type": "multus", "delegates": [named, {"type": "macvlan"}]}

    found = read(conf)

    assert [("m", ""), ("net-b", "m"), ("m", "m")] == [
        (each.name, each.delegated_by) for each in found
    ]
    assert not found[1].main.gets_annotations


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "net.conf is not JSON: it is empty"),
        (b"{", "net.conf is not JSON: "),
        (b"\xff\xfe{", "net.conf is not JSON: "),
        (b"[" * 100_000, "net.conf is nested too deeply"),
        (b"[]", "net.conf is not a JSON object"),
        (b'{"type": "ptp"}', "net.conf: name is missing"),
        (b'{"name": "", "type": "ptp"}', "net.conf: name is wrong: it must not be empty$"),
        (b'{"name": "n"}', "net.conf: type is missing"),
        (b'{"name": "n", "plugins": []}', "net.conf: plugins is wrong: it must not be empty$"),
        (b'{"name": "n", "plugins": {}}', "net.conf: plugins is wrong: it must be a list$"),
        (
            b'{"name": "n", "plugins": [7]}',
            "net.conf: plugins.0 is wrong: it must be an object$",
        ),
        (b'{"name": "n", "plugins": [{}]}', r"net.conf, plugins\[0\]: type is missing"),
        (
            b'{"name": "n", "type": "t", "ipam": []}',
            "net.conf: ipam is wrong: it must be an object$",
        ),
        (
            b'{"name": "n", "type": "multus", "delegates": [{}]}',
            r"net.conf, delegates\[0\]: type is missing",
        ),
    ],
)
def test_what_no_runtime_would_use_is_refused(raw, message):
    with pytest.raises(InvalidRequestError, match=f"^{message}"):
        networks("net.conf", raw)


def test_an_attachment_is_what_its_file_says():
    found = cached("net-a-c1-eth0", entry(config=config_of("ptp"), cniArgs=[]).encode())

    assert Cached(network="net-a", container="c1", interface="eth0", through_multus=False) == (
        found
    )


@pytest.mark.parametrize(
    ("config", "through"),
    [
        (None, False),
        (config_of("bridge", "portmap"), False),
        (config_of("multus"), True),
        (config_of("multus-shim"), True),
        (base64.b64encode(b'{"type": "multus"}').decode(), True),
        (base64.b64encode(b"[]").decode(), False),
        (base64.b64encode(b'{"plugins": 7}').decode(), False),
        ("%", False),
    ],
)
def test_multus_is_seen_in_the_remembered_configuration(config, through):
    assert through == cached("net-a-c1-eth0", entry(config=config).encode()).through_multus


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON: it is empty"),
        ("junk", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"cniVersion": "0.3.1", "ips": []}', ": kind is missing"),
        (entry(kind="cniCacheV2"), ": kind is wrong: it must be 'cniCacheV1'$"),
        (entry(containerId=None), ": containerId is missing"),
        (entry(ifName=""), ": ifName is wrong: it must not be empty$"),
        (entry(networkName=7), ": networkName is wrong: it must be a string$"),
        (entry(containerId="c2"), "is about the attachment of another file, net-a-c2-eth0"),
    ],
)
def test_a_file_that_names_no_attachment_is_refused(text, message):
    with pytest.raises(InvalidRequestError, match=f"^net-a-c1-eth0 ?{message}"):
        cached("net-a-c1-eth0", text.encode())
