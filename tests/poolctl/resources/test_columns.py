"""Resources as tables."""

import itertools
import json

import pytest

from poolctl.resources.columns import columns_of, custom, lines
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
    columns = columns_of(KINDS[kind], wide=output == "wide")
    return [line.split() for line in lines(columns, [made(kind, "x", spec)])]


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

    head, *rows = lines(columns_of(IPPool, wide=False), pools)

    assert rows[0].startswith("1e3 ")
    assert [head.index("CIDR")] * 2 == [row.index("10.0.0.0/8") for row in rows]
    assert len("longer-name") + 3 == head.index("CIDR")


def test_long_cells_are_cut():
    entries = [f"10.0.{i}.0/24" for i in range(20)]

    (_, (_, cell)) = table("IPReservation", {"reservedCIDRs": entries}, "wide")

    assert (80, "...") == (len(cell), cell[-3:])


def test_a_table_begins_before_all_rows_are_read_and_widens_on_the_way():
    read = 0

    def many():
        nonlocal read
        for number in itertools.count():
            read += 1
            name = "n" * 60 if number == 1500 else f"n{number}"
            yield made("IPPool", name, {"cidr": "10.0.0.0/8"})

    shown = lines(columns_of(IPPool, wide=False), many())
    first = next(shown)
    assert 1000 == read

    later = list(itertools.islice(shown, 1500 + 2))
    assert [first.index("CIDR"), 63, 63] == [
        line.index("10.0.0.0/8") for line in (later[0], later[1500], later[1501])
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("NAME,CIDR", ["NAME CIDR", "x 10.30.0.0/22"]),
        ("cidr,nat", ["CIDR NAT", "10.30.0.0/22 true"]),
        ("POOL:.metadata.name,SIZE:.spec.blockSize", ["POOL SIZE", "x 29"]),
        ("NAME,USES:.spec.allowedUses[*]", ["NAME USES", "x Workload,Tunnel"]),
        ("A:{.spec.cidr}", ["A", "10.30.0.0/22"]),
        ("A:.spec.absent", ["A", "<none>"]),
    ],
)
def test_columns_are_headings_or_paths(text, shown):
    table = lines(custom(IPPool, text), [made("IPPool", "x", FULL)])

    assert shown == [" ".join(line.split()) for line in table]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NAME,COLOUR", "there is no column 'COLOUR'; there are NAME, CIDR, NAT, IPIPMODE"),
        ("", "there is no column ''"),
        ("A:.spec[", "is not closed"),
    ],
)
def test_a_column_that_there_is_not_is_refused(text, why):
    with pytest.raises(ValueError, match=r"column|closed") as caught:
        custom(IPPool, text)

    assert why in str(caught.value)
