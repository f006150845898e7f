"""IPPools: defaults, stored form and verdicts as recorded from calicoctl, and rules between pools."""

import ipaddress
import json

import pytest

from poolmgr.api import IPPool
from poolmgr.api.ippool import PRIORITY, check_overlap, check_update, parse_cidr, priority
from poolmgr.errors import InvalidRequestError, RefusedError

DEFAULTS = {
    "vxlanMode": "Never",
    "ipipMode": "Never",
    "blockSize": 26,
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}


def manifest(spec: dict, name: str = "pool-x", **metadata) -> dict:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def pool(name: str = "pool-x", **spec) -> IPPool:
    return IPPool.from_manifest(manifest(spec, name))


def stored_spec(written: dict) -> dict:
    raw = IPPool.from_manifest(manifest(written)).created(uid="u", now="t").to_stored()
    spec = json.loads(raw)["spec"]
    assert isinstance(spec, dict)
    return spec


@pytest.mark.parametrize(
    ("spec", "stored"),
    [
        pytest.param(
            {"cidr": "10.10.0.0/16"}, {"cidr": "10.10.0.0/16", **DEFAULTS}, id="only the CIDR"
        ),
        pytest.param(
            {"cidr": "fd00:10:0::/48"},
            {"cidr": "fd00:10::/48", **DEFAULTS, "blockSize": 122},
            id="IPv6, canonical text",
        ),
        pytest.param(
            {"cidr": "::ffff:10.0.0.0/112"}, {"cidr": "10.0.0.0/16", **DEFAULTS}, id="mapped-v6"
        ),
        pytest.param(
            {
                "assignmentMode": "Manual",
                "allowedUses": ["Workload"],
                "namespaceSelector": "tier == 'db'",
                "nodeSelector": "rack == 'r1'",
                "disableBGPExport": True,
                "disabled": True,
                "natOutgoing": True,
                "ipipMode": "Never",
                "vxlanMode": "CrossSubnet",
                "blockSize": 29,
                "cidr": "10.30.0.0/22",
            },
            {
                "cidr": "10.30.0.0/22",
                "vxlanMode": "CrossSubnet",
                "ipipMode": "Never",
                "natOutgoing": True,
                "disabled": True,
                "disableBGPExport": True,
                "blockSize": 29,
                "nodeSelector": "rack == 'r1'",
                "namespaceSelector": "tier == 'db'",
                "allowedUses": ["Workload"],
                "assignmentMode": "Manual",
            },
            id="every field",
        ),
        pytest.param(
            {
                "cidr": "10.10.0.0/16",
                "vxlanMode": "",
                "ipipMode": None,
                "natOutgoing": False,
                "blockSize": 0,
                "nodeSelector": "",
                "namespaceSelector": "",
                "allowedUses": [],
                "assignmentMode": None,
            },
            {"cidr": "10.10.0.0/16", **DEFAULTS},
            id="empty values mean the defaults",
        ),
    ],
)
def test_what_is_stored_has_defaults_and_calicos_order(spec, stored):
    assert list(stored.items()) == list(stored_spec(spec).items())


@pytest.mark.parametrize(
    ("spec", "field", "value", "allowed"),
    [
        pytest.param({}, "spec.cidr", "", "is required", id="no-cidr"),
        pytest.param({"cidr": ""}, "spec.cidr", '""', "address/length", id="empty-cidr"),
        pytest.param({"cidr": 7}, "spec.cidr", '"7"', "address/length", id="wrong-type"),
        pytest.param({"cidr": ["a"]}, "spec.cidr", '["a"]', "address/length", id="a list"),
        pytest.param(
            {"cidr": "10.0.0.1"}, "spec.cidr", "10.0.0.1", "address/length", id="no mask"
        ),
        pytest.param(
            {"cidr": "10.77.0.0/33"},
            "spec.cidr",
            "10.77.0.0/33",
            "address/length",
            id="bad-cidr",
        ),
        pytest.param(
            {"cidr": "hello"}, "spec.cidr", "hello", "address/length", id="not-a-cidr"
        ),
        pytest.param(
            {"cidr": "10.77.0.5/24"},
            "spec.cidr",
            "10.77.0.5/24",
            "10.77.0.0/24",
            id="host-bits",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/27", "blockSize": 26},
            "spec.cidr",
            "10.77.0.0/27",
            "/26",
            id="small",
        ),
        pytest.param(
            {"cidr": "fd77::/48", "blockSize": 115},
            "spec.blockSize",
            "115",
            "116 to 128",
            id="v6-115",
        ),
        pytest.param(
            {"cidr": "fd77::/48", "blockSize": 129},
            "spec.blockSize",
            "129",
            "116 to 128",
            id="v6-129",
        ),
        pytest.param(
            {"cidr": "10.0.0.0/16", "blockSize": "26"},
            "spec.blockSize",
            '"26"',
            "whole",
            id="text",
        ),
        pytest.param(
            {"cidr": "10.0.0.0/16", "blockSize": True},
            "spec.blockSize",
            "true",
            "whole",
            id="bool",
        ),
        pytest.param(
            {"cidr": "fd77::/48", "ipipMode": "Always"},
            "spec.ipipMode",
            "Always",
            "Never",
            id="v6-ipip",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "ipipMode": "Always", "vxlanMode": "Always"},
            "spec.ipipMode",
            "Always",
            "vxlanMode",
            id="v4-both-tunnels",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "vxlanMode": "Sometimes"},
            "spec.vxlanMode",
            "Sometimes",
            "Never, Always, CrossSubnet",
            id="bad-vxlan-mode",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "nodeSelector": "rack = 'r1'"},
            "spec.nodeSelector",
            "rack = 'r1'",
            "character 6",
            id="bad-selector",
        ),
        pytest.param(
            {"cidr": "10.0.0.0/10", "nodeSelector": "has(a) || " * 103 + "all()"},
            "spec.nodeSelector",
            "1,035",
            "1,024",
            id="long selector",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "allowedUses": ["Workload"], "namespaceSelector": "((a"},
            "spec.namespaceSelector",
            "((a",
            "character 4",
            id="bad-ns-selector",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "allowedUses": ["Workload", "Nothing"]},
            "spec.allowedUses[1]",
            "Nothing",
            "Workload, Tunnel, LoadBalancer",
            id="bad-use",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "allowedUses": ["Workload"] * 11},
            "spec.allowedUses",
            "11",
            "10",
            id="many uses",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "allowedUses": "Workload"},
            "spec.allowedUses",
            "Workload",
            "a list",
            id="uses that are no list",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "allowedUses": ["LoadBalancer", "Workload"]},
            "spec.allowedUses",
            "LoadBalancer",
            "combined",
            id="lb-and-workload",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "allowedUses": ["LoadBalancer"], "disableBGPExport": True},
            "spec.disableBGPExport",
            "true",
            "LoadBalancer",
            id="lb-bgp-disabled",
        ),
        pytest.param(
            {
                "cidr": "10.77.0.0/16",
                "allowedUses": ["LoadBalancer"],
                "nodeSelector": "a == 'b'",
            },
            "spec.nodeSelector",
            "a == 'b'",
            "all()",
            id="lb-nodeselector",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "assignmentMode": "Often"},
            "spec.assignmentMode",
            "Often",
            "Automatic, Manual",
            id="bad-mode",
        ),
        pytest.param(
            {"cidr": "169.254.0.0/20"},
            "spec.cidr",
            "169.254.0.0/20",
            "169.254.0.0/16",
            id="link-local",
        ),
        pytest.param(
            {"cidr": "0.0.0.0/0"}, "spec.cidr", "0.0.0.0/0", "169.254.0.0/16", id="default"
        ),
        pytest.param(
            {"cidr": "fe80::/64"}, "spec.cidr", "fe80::/64", "fe80::/10", id="v6-link-local"
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "colour": "red"},
            "spec.colour",
            "",
            "unknown",
            id="unknown-field",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "block_size": 26},
            "spec.block_size",
            "",
            "unknown",
            id="our name",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "ipip": {"enabled": True}},
            "spec.ipip",
            "",
            "unknown",
            id="legacy",
        ),
        pytest.param(
            {"cidr": "10.77.0.0/16", "disabled": "yes"},
            "spec.disabled",
            '"yes"',
            "true or false",
            id="yes",
        ),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(spec, field, value, allowed):
    with pytest.raises(InvalidRequestError) as caught:
        IPPool.from_manifest(manifest(spec))

    message = str(caught.value)
    assert field == caught.value.field
    assert message.startswith(f"IPPool pool-x: {field}: ")
    assert value in message
    assert allowed in message
    assert "\n" not in message


def test_a_pool_may_be_huge():
    assert parse_cidr("fd00::/8") == pool(cidr="fd00::/8").spec.cidr


@pytest.mark.parametrize(
    ("annotations", "number"),
    [({}, 0), ({"other": "7"}, 0), ({PRIORITY: "10"}, 10), ({PRIORITY: "-5"}, -5)],
)
def test_a_pool_has_the_annotated_priority_or_0(annotations, number):
    IPPool.from_manifest(manifest({"cidr": "10.0.0.0/16"}, annotations=annotations))

    assert number == priority(annotations)


@pytest.mark.parametrize(
    "text", ["", "high", "1.5", "+5", " 5", "5\n", "1_000", "٣", "1234567890", "--5"]
)
def test_a_priority_that_is_no_integer_is_refused(text):
    with pytest.raises(ValueError, match="is not a whole number such as 10 or -5"):
        priority({PRIORITY: text})
    with pytest.raises(InvalidRequestError) as caught:
        IPPool.from_manifest(manifest({"cidr": "10.0.0.0/16"}, annotations={PRIORITY: text}))

    assert f"metadata.annotations.{PRIORITY}" == caught.value.field


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(InvalidRequestError) as caught:
        pool(name="Pool_X", cidr="10.0.0.0/16", blockSize=19, assignmentMode="Often")

    assert [
        part.split(":")[0]
        for part in str(caught.value).removeprefix("IPPool Pool_X: ").split("; ")
    ] == ["metadata.name", "spec.blockSize", "spec.assignmentMode"]


def test_a_stored_pool_is_read_whatever_rules_it_breaks():
    raw = json.dumps(
        {
            "metadata": {"name": "Old_Pool"},
            "spec": {
                "cidr": "2001:CAFE:42::1/56",
                "vxlanMode": "Odd",
                "ipip": {"enabled": True},
            },
            "status": {
                "conditions": [{"type": "Allocatable", "status": "False", "reason": "r"}]
            },
        }
    ).encode()

    stored = IPPool.from_stored(raw, 7)

    assert ipaddress.ip_network("2001:cafe:42::/56") == stored.spec.cidr
    assert (
        stored.spec.block_size,
        stored.spec.node_selector,
        stored.spec.vxlan_mode,
    ) == (122, "all()", "Odd")
    assert stored.status.conditions[0].status == "False"
    assert json.loads(stored.to_stored())["status"]["conditions"][0] == {
        "type": "Allocatable",
        "status": "False",
        "reason": "r",
    }
    assert json.loads(stored.to_stored())["spec"]["ipip"] == {"enabled": True}


@pytest.mark.parametrize(
    ("cidr", "clashes"),
    [
        pytest.param(
            "1.2.0.0/16", ["pool-1 (1.2.3.0/24)", "pool-2 (1.2.4.0/24)"], id="all of them"
        ),
    ],
)
def test_a_pool_that_shares_addresses_with_others_is_refused(cidr, clashes):
    others = [pool(name="pool-1", cidr="1.2.3.0/24"), pool(name="pool-2", cidr="1.2.4.0/24")]

    with pytest.raises(RefusedError) as caught:
        check_overlap(pool(cidr=cidr), others)

    assert all(clash in str(caught.value) for clash in clashes)


def test_a_pool_overlaps_neither_itself_nor_the_other_family():
    others = [pool(cidr="10.0.0.0/16"), pool(name="six", cidr="fd00::/48")]

    check_overlap(pool(cidr="10.0.0.0/16"), others)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ({"cidr": "10.10.0.0/16"}, {"cidr": "10.11.0.0/16"}, "spec.cidr"),
        ({"cidr": "10.10.0.0/16"}, {"cidr": "10.10.0.0/17"}, "spec.cidr"),
        ({"cidr": "10.10.0.0/16"}, {"cidr": "10.10.0.0/16", "blockSize": 27}, "spec.blockSize"),
        (
            {"cidr": "10.10.0.0/16", "allowedUses": ["LoadBalancer"]},
            {"cidr": "10.10.0.0/16", "allowedUses": ["Workload"]},
            "spec.allowedUses",
        ),
    ],
)
def test_an_update_may_not_change_what_allocations_depend_on(old, new, field):
    with pytest.raises(RefusedError, match=f"^{field}: "):
        check_update(pool(**old), pool(**new))


def test_an_update_may_spell_the_same_network_differently():
    check_update(
        pool(cidr="2001:cafe:42::/56"), pool(cidr="2001:CAFE:42:0::/56", disabled=True)
    )
