"""Resources as people and programs read them."""

import json

import pytest
import yaml

from poolctl.resources.render import rendered
from poolmgr.api import KINDS, IPPool, Resource

FULL = {
    "cidr": "10.30.0.0/22",
    "blockSize": 29,
    "vxlanMode": "CrossSubnet",
    "natOutgoing": True,
    "disabled": True,
    "disableBGPExport": True,
    "nodeSelector": "rack == 'r1'",
    "assignmentMode": "Manual",
}


def made(kind: str, name: str, spec: dict) -> Resource:
    raw = json.dumps({"metadata": {"name": name}, "spec": spec}).encode()
    return KINDS[kind].from_stored(raw, 7)


def table(kind: str, spec: dict, output: str) -> list[list[str]]:
    text = rendered(KINDS[kind], [made(kind, "x", spec)], output, revision=8, single=False)
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("kind", "spec", "output", "columns", "cells"),
    [
        (
            "IPPool",
            {"cidr": "10.10.0.0/16"},
            "table",
            "NAME CIDR SELECTOR",
            "x 10.10.0.0/16 all()",
        ),
        (
            "IPPool",
            FULL,
            "wide",
            "NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR ASSIGNMENTMODE",
            "x 10.30.0.0/22 true Never CrossSubnet true true rack == 'r1' Manual",
        ),
        ("IPReservation", {"reservedCIDRs": ["10.0.0.0/8"]}, "table", "NAME", "x"),
        (
            "IPReservation",
            {"reservedCIDRs": ["10.0.0.0/8", "fd00::/8"]},
            "wide",
            "NAME CIDRS",
            "x 10.0.0.0/8,fd00::/8",
        ),
        ("Node", {}, "table", "NAME", "x"),
        ("Node", {}, "wide", "NAME ASN IPV4 IPV6", "x"),
        (
            "Node",
            {"bgp": {"asNumber": 64512, "ipv4Address": "10.0.0.1/24"}},
            "wide",
            "NAME ASN IPV4 IPV6",
            "x 64512 10.0.0.1/24",
        ),
        (
            "ClusterInformation",
            {
                "clusterGUID": "abc",
                "clusterType": "k8s",
                "calicoVersion": "v3",
                "datastoreReady": True,
            },
            "table",
            "NAME CLUSTERGUID CLUSTERTYPE CALICOVERSION DATASTOREREADY",
            "x abc k8s v3 true",
        ),
        (
            "IPAMConfiguration",
            {"strictAffinity": True, "maxBlocksPerHost": 4},
            "wide",
            "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS MAXBLOCKSPERHOST",
            "x true false 4",
        ),
        (
            "BlockAffinity",
            {"state": "confirmed", "node": "node-a", "cidr": "10.20.0.0/26"},
            "table",
            "NODE CIDR STATE",
            "node-a 10.20.0.0/26 confirmed",
        ),
    ],
)
def test_tables_have_these_columns(kind, spec, output, columns, cells):
    assert [columns.split(), cells.split()] == table(kind, spec, output)


def test_columns_are_aligned_and_text_stays_text():
    pools = [made("IPPool", name, {"cidr": "10.0.0.0/8"}) for name in ("1e3", "longer-name")]

    lines = rendered(IPPool, pools, "table", revision=8, single=False).splitlines()

    assert lines[1].startswith("1e3 ")
    assert [lines[0].index("CIDR")] * 2 == [line.index("10.0.0.0/8") for line in lines[1:]]


def test_long_cells_are_cut():
    entries = [f"10.0.{i}.0/24" for i in range(20)]

    (_, (_, cell)) = table("IPReservation", {"reservedCIDRs": entries}, "wide")

    assert (80, "...") == (len(cell), cell[-3:])


@pytest.mark.parametrize(("output", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_one_is_an_object_and_a_listing_a_list(output, load):
    pool = made("IPPool", "x", FULL)

    single = load(rendered(IPPool, [pool], output, revision=8, single=True))
    listed = load(rendered(IPPool, [pool], output, revision=8, single=False))
    empty = load(rendered(IPPool, [], output, revision=8, single=False))

    assert single == pool.to_manifest()
    assert single["metadata"]["resourceVersion"] == "7"
    assert {
        "kind": "IPPoolList",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"resourceVersion": "8"},
        "items": [single],
    } == listed
    assert [] == empty["items"]


def test_yaml_keys_are_in_alphabetical_order_and_json_keys_in_calicos():
    pool = made("IPPool", "x", {"cidr": "10.10.0.0/16"})

    as_yaml = rendered(IPPool, [pool], "yaml", revision=8, single=True)
    as_json = rendered(IPPool, [pool], "json", revision=8, single=True)

    assert ["apiVersion", "kind", "metadata", "spec"] == list(yaml.safe_load(as_yaml))
    assert ["kind", "apiVersion", "metadata", "spec"] == list(json.loads(as_json))
    assert as_json.splitlines()[1].startswith('  "')
