"""Sections 20.5 and 20.6, and what of 20.3 needs no store: which pools are accepted, and why others are not."""

import json
from dataclasses import dataclass, field

import pytest

from poolmgr.core import records
from tests.behaviours.row import Row, each

NET = {"cidr": "1.0.0.0/10"}
V4 = {"cidr": "1.2.3.0/24"}
BALANCER = {**NET, "allowedUses": ["LoadBalancer"]}
KIB = 1024


@dataclass(frozen=True, slots=True)
class Pool(Row):
    """
    A pool's manifest.

    Attributes:
        says: What the refusal holds, the field first.
    """

    spec: dict
    says: tuple[str, ...] = ()
    metadata: dict = field(default_factory=dict)

    @property
    def manifest(self) -> dict:
        return {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": f"row-{self.id.lower()}", **self.metadata},
            "spec": self.spec,
        }


def nodes(selector: str) -> dict:
    return {**NET, "nodeSelector": selector}


def namespaces(selector: str, *uses: str) -> dict:
    return {**NET, "namespaceSelector": selector, "allowedUses": [*uses]}


def sized(cidr: str, size: int, **more) -> dict:
    return {"cidr": cidr, "blockSize": size, **more}


ACCEPTED = (
    Pool("PC-73", {"cidr": "1.2.3.0/26"}),
    Pool("PC-74", NET),
    Pool("PC-76", {"cidr": "aa00::/10", "ipipMode": "Never", "vxlanMode": "Never"}),
    Pool("PC-77", {"cidr": "1.2.3.0/27", "disabled": True}),
    Pool("PC-78", {"cidr": "aabb:aabb::ffff/128", "disabled": True, "vxlanMode": "Never"}),
    Pool("PC-87", {**NET, "allowedUses": ["Workload", "Tunnel"]}),
    Pool("PC-90", {**NET, "assignmentMode": "Automatic"}),
    Pool("PC-98", {**NET, "allowedUses": ["Tunnel"]}),
    Pool("PC-100", nodes('region == "east"')),
    Pool("PC-101", nodes('region == "east" && environment == "production"')),
    Pool("PC-102", nodes('region in {"east", "west"}')),
    Pool("PC-103", nodes("has(team)")),
    Pool("PC-104", nodes("all()")),
    # Workload alone: the uses that hold when none are given include Tunnel.
    Pool("PC-107", namespaces('team == "backend" || team == "frontend"', "Workload")),
    Pool("PC-108", namespaces('environment contains "prod"', "Workload")),
    Pool("PC-109", V4),
    Pool("PC-110", {**V4, "ipipMode": "Never", "vxlanMode": "Never"}),
    Pool("PC-111", {**V4, "ipipMode": "Never"}),
    Pool("PC-113", {**V4, "ipipMode": "CrossSubnet"}),
    Pool("PC-117", {**V4, "vxlanMode": "Always"}),
    Pool("PC-118", {**V4, "vxlanMode": "CrossSubnet"}),
    Pool(
        "PC-122",
        {"cidr": "1.2.3.0/26"},
        metadata={"labels": {"projectcalico.org/label": "x" * 63}},
    ),
    Pool("PC-127", NET, metadata={"annotations": {"ProjectCalico.org/Label": "value"}}),
    Pool("PC-128", NET, metadata={"annotations": {"key": "x" * (256 * KIB - 3)}}),
    Pool("PC-130", NET, metadata={"name": "a" * 253}),
    Pool("PC-132", nodes('foo == "bar"')),
    Pool("PC-137", {**BALANCER, "nodeSelector": "all()"}),
    Pool("PC-138", {**NET, "allowedUses": ["Workload", "Tunnel"]}),
    Pool("PC-141", {"cidr": "fd00:1::/112", "ipipMode": "Never"}),
    Pool("PC-142", {"cidr": "fd00:2::/112"}),
    Pool("PC-143", {**NET, "ipipMode": "Always"}),
    Pool("PC-146", {**BALANCER, "nodeSelector": "all()"}),
    Pool("PC-148", {**NET, "allowedUses": ["Tunnel"]}),
    Pool("PC-153", {"cidr": "FD00:1234::/112"}),
    Pool("PC-162", sized("10.1.0.0/24", 26)),
    Pool("PC-163", sized("fd00:3::/112", 122)),
    Pool("PC-165", sized("10.103.0.0/28", 26, disabled=True)),
    Pool("PC-168", sized("10.104.0.0/26", 26)),
    Pool("PC-170", {"cidr": "10.0.0.0/24", "ipipMode": "Always"}),
)

CIDR, SIZE, IPIP, VXLAN = "spec.cidr", "spec.blockSize", "spec.ipipMode", "spec.vxlanMode"
NODES, NAMESPACES, USES = "spec.nodeSelector", "spec.namespaceSelector", "spec.allowedUses"
MODES = "Never, Always, CrossSubnet"

REFUSED = (
    Pool("PC-45", sized("1.2.3.0/24", 19), (SIZE, "19", "20 to 32")),
    Pool("PC-46", sized("1.2.3.0/24", 33), (SIZE, "33", "20 to 32")),
    Pool("PC-54", {"cidr": "1.2.3.4/24"}, (CIDR, "1.2.3.4/24", "host bits", "1.2.3.0/24")),
    Pool("PC-54", {}, (CIDR, "is required")),
    Pool("PC-54", {"cidr": "1.2.3.0"}, (CIDR, "1.2.3.0", "address/length")),
    Pool("PC-79", {"cidr": "1.2.3.0/27"}, (CIDR, "1.2.3.0/27", "smaller than one block (/26)")),
    Pool("PC-81", {"cidr": "1.2.3.4/33"}, (CIDR, "1.2.3.4/33", "address/length")),
    Pool("PC-82", {"cidr": "aa:bb::/129"}, (CIDR, "aa:bb::/129", "address/length")),
    Pool(
        "PC-83",
        {"cidr": "aabb:aabb::ffff/128", "ipipMode": "Always"},
        (CIDR, "aabb:aabb::ffff/128", "one block (/122)", IPIP),
    ),
    Pool(
        "PC-84",
        {"cidr": "aabb:aabb::ffff/128", "vxlanMode": "Always"},
        (CIDR, "aabb:aabb::ffff/128", "one block (/122)"),
    ),
    Pool("PC-85", {"cidr": "169.254.5.0/24"}, (CIDR, "169.254.5.0/24", "169.254.0.0/16")),
    Pool("PC-86", {"cidr": "fe80::/120"}, (CIDR, "fe80::/120", "fe80::/10")),
    Pool(
        "PC-88",
        {**NET, "allowedUses": ["LoadBalancer", "Tunnel"]},
        (USES, "Tunnel", "combined"),
    ),
    Pool("PC-89", {**NET, "allowedUses": ["Garbage"]}, (f"{USES}[0]", "Garbage", "Workload")),
    Pool("PC-91", {**NET, "assignmentMode": ""}, ("spec.assignmentMode", '""', "Manual")),
    Pool("PC-92", {**BALANCER, "disableBGPExport": True}, ("spec.disableBGPExport", "true")),
    Pool("PC-93", {**BALANCER, "vxlanMode": "Always"}, (VXLAN, "Always", "takes Never")),
    Pool("PC-95", {**BALANCER, "nodeSelector": "!all()"}, (NODES, "!all()", "takes all()")),
    Pool("PC-96", namespaces('region == "east"', "Tunnel"), (NAMESPACES, "east", "Tunnel")),
    Pool(
        "PC-97",
        namespaces('region == "east"', "Workload", "Tunnel"),
        (NAMESPACES, "east", "Tunnel"),
    ),
    Pool("PC-99", nodes("global()"), (NODES, "global()")),
    Pool("PC-105", namespaces("global()", "Workload"), (NAMESPACES, "no global()")),
    Pool("PC-114", {**V4, "ipipMode": "badVal"}, (IPIP, "badVal", MODES)),
    Pool("PC-115", {**V4, "ipipMode": "never"}, (IPIP, '"never"', MODES)),
    Pool("PC-116", {**V4, "ipipMode": "Always", "vxlanMode": "Always"}, (IPIP, "vxlanMode is")),
    Pool("PC-120", {**V4, "vxlanMode": "never"}, (VXLAN, '"never"', MODES)),
    Pool("PC-121", {**V4, "vxlanMode": "badVal"}, (VXLAN, "badVal", MODES)),
    Pool(
        "PC-123",
        {"cidr": "1.2.3.0/26"},
        ("metadata.labels.projectcalico.org/label", "at most 63"),
        {"labels": {"projectcalico.org/label": "x" * 64}},
    ),
    Pool(
        "PC-124",
        NET,
        ("metadata.labels", "ProjectCalico.org/label", "lower case domain"),
        {"labels": {"ProjectCalico.org/label": "value"}},
    ),
    Pool(
        "PC-126",
        NET,
        ("metadata.annotations", "projectcalico.org$label"),
        {"annotations": {"projectcalico.org$label": "value"}},
    ),
    Pool(
        "PC-129",
        NET,
        ("metadata.annotations", "262,145 bytes", "262,144"),
        {"annotations": {"key": "x" * (256 * KIB - 2)}},
    ),
    Pool("PC-133", nodes("this is not valid selector syntax"), (NODES, "at character 6")),
    Pool("PC-134", {**NET, "ipipMode": "Always", "vxlanMode": "Always"}, (IPIP, "vxlanMode")),
    Pool("PC-135", {**BALANCER, "ipipMode": "Always"}, (IPIP, "Always", "takes Never")),
    Pool("PC-136", {**NET, "allowedUses": ["LoadBalancer", "Workload"]}, (USES, "combined")),
    Pool("PC-139", {"cidr": "fd00::/120", "ipipMode": "Always"}, (IPIP, "IPv6", "Never")),
    Pool("PC-140", {"cidr": "fd00::/112", "ipipMode": "CrossSubnet"}, (IPIP, "IPv6", "Never")),
    Pool("PC-145", {**BALANCER, "nodeSelector": "has(node-role)"}, (NODES, "has(node-role)")),
    Pool(
        "PC-147", namespaces("has(ns-label)", "Tunnel"), (NAMESPACES, "allowedUses has Tunnel")
    ),
    Pool("PC-149", nodes("global()"), (NODES, "no global()")),
    Pool("PC-151", {"cidr": "192.168.0.1/24"}, (CIDR, "192.168.0.1/24", "192.168.0.0/24")),
    Pool("PC-152", {"cidr": "fd00::1/112"}, (CIDR, "fd00::1/112", "fd00::/112")),
    Pool("PC-154", {"cidr": "169.254.0.0/16"}, (CIDR, "link-local", "169.254.0.0/16")),
    Pool("PC-155", {"cidr": "169.254.10.0/24"}, (CIDR, "link-local", "169.254.0.0/16")),
    Pool("PC-156", {"cidr": "169.254.0.0/15"}, (CIDR, "169.254.0.0/15", "169.254.0.0/16")),
    Pool("PC-157", {"cidr": "fe80::/112"}, (CIDR, "link-local", "fe80::/10")),
    Pool("PC-158", {"cidr": "fe00::/8"}, (CIDR, "fe00::/8", "fe80::/10")),
    Pool("PC-159", sized("10.100.0.0/16", 19), (SIZE, "19", "20 to 32 for IPv4")),
    Pool("PC-160", sized("10.101.0.0/16", 33), (SIZE, "33", "20 to 32 for IPv4")),
    Pool("PC-161", sized("fd10::/48", 64), (SIZE, "64", "116 to 128 for IPv6")),
    Pool("PC-164", sized("10.102.0.0/28", 26), (CIDR, "10.102.0.0/28", "(/26)")),
    Pool("PC-166", {"cidr": "10.105.0.0/28"}, (CIDR, "10.105.0.0/28", "(/26)")),
    Pool("PC-171", {"cidr": "10.0.0.0/24", "ipipMode": "BadMode"}, (IPIP, "BadMode", MODES)),
    Pool("PC-172", {"cidr": "10.0.0.0/24", "vxlanMode": "BadMode"}, (VXLAN, "BadMode", MODES)),
)

ROWS = (*ACCEPTED, *REFUSED)


@each(ACCEPTED)
def test_these_pools_are_stored(row, program, raw):
    result = program("create", "-f", "-", stdin=json.dumps(row.manifest))

    name = row.manifest["metadata"]["name"]
    assert (f"ippool/{name} created\n", "", 0) == (
        result.stdout,
        result.stderr,
        result.returncode,
    )
    stored = json.loads(raw.get(records.resource_key("ippools", name)))
    wanted = {**row.spec, "cidr": row.spec["cidr"].lower()}
    assert wanted == {key: stored["spec"][key] for key in wanted}
    assert row.metadata == {key: stored["metadata"][key] for key in row.metadata}


@pytest.fixture(scope="module")
def complaints(executable, shared_raw) -> dict[int, str]:
    """What poolctl says of each pool that it refuses, by the row's `id()`; it stores none."""
    shared_raw.delete_everything()
    wrong = json.dumps([row.manifest for row in REFUSED])
    result = executable("create", "-f", "-", stdin=wrong)

    assert ("", 1, {}) == (result.stdout, result.returncode, shared_raw.dump())
    return dict(zip(map(id, REFUSED), result.stderr.splitlines(), strict=True))


@each(REFUSED)
def test_a_refusal_says_field_value_and_what_is_allowed(row, complaints):
    name, complaint = row.manifest["metadata"]["name"], complaints[id(row)]

    assert f": IPPool {name}: {row.says[0]}: " in complaint
    assert [part for part in row.says if part not in complaint] == []
