"""Traces of Calico's programs."""

import json

import pytest

from poolctl.doctor.calico import examine
from poolctl.doctor.findings import Verdict
from poolmgr.core.records import CONFIG_KEY, resource_key
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import CLUSTER, manifest, put

BLOCK = "/calico/ipam/v2/assignment/ipv4/block/10.10.0.0-26"
CONTROLLERS = {
    resource_key("kubecontrollersconfigurations", "default"): manifest(
        "KubeControllersConfiguration", "default"
    )
}


def look(values):
    store = MemoryStore()
    for key, value in values.items():
        put(store, {key: value.encode()})
    return list(examine(store, timeout_s=5))


def block(*entries):
    return {BLOCK: json.dumps({"cidr": "10.10.0.0/26", "attributes": list(entries)})}


def version(text):
    return {CLUSTER: manifest("ClusterInformation", "default", {"calicoVersion": text})}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {CLUSTER: manifest("ClusterInformation", "default")},
        {resource_key("nodes", "node-a"): manifest("Node", "node-a")},
        {
            resource_key("nodes", "a"): manifest(
                "Node", "a", {"bgp": {"ipv4Address": "10.0.0.1"}}
            )
        },
        block({"handle_id": "net.c", "secondary": {"network": "net"}}, {"releasedAt": "2026"}),
        {BLOCK: "nonsense", CLUSTER: "[1]", resource_key("nodes", "a"): '{"spec": 1}'},
    ],
)
def test_what_we_write_and_what_is_broken_is_no_trace(values):
    assert [(Verdict.OK, "no trace of Calico's programs on this etcd")] == [
        (each.verdict, each.fact) for each in look(values)
    ]


@pytest.mark.parametrize(
    ("values", "trace"),
    [
        (version("v3.33.0"), "ClusterInformation names Calico v3.33.0"),
        (
            {resource_key("nodes", "a"): manifest("Node", "a", {"wireguard": {}})},
            "node a runs calico/node",
        ),
        (
            {
                resource_key("nodes", name): manifest(
                    "Node", name, {"bgp": {"ipv4IPIPTunnelAddr": "10.10.0.1"}}
                )
                for name in "abc"
            },
            "node a and 2 more run calico/node",
        ),
        (
            {
                resource_key("nodes", "a"): manifest(
                    "Node", "a", {"ipv4VXLANTunnelAddr": "10.1.1.1"}
                )
            },
            "node a runs calico/node",
        ),
        (
            block({"handle_id": "k8s-pod-network.c", "secondary": {"pod": "p"}}),
            "calico-ipam wrote 1 entries of the 1 blocks looked at",
        ),
        (block({"handle_id": "h", "secondary": None}), "calico-ipam wrote 1 entries"),
        (CONTROLLERS, "kube-controllers has its configuration here"),
    ],
)
def test_each_trace_warns_of_releasing_by_calicoctls_report(values, trace):
    finding = look(values)[0]

    assert Verdict.WARNING == finding.verdict
    assert trace in finding.fact
    assert "never run calicoctl ipam release --from-report" in finding.remedy


def test_the_collector_wants_node_resources():
    finding = look(CONTROLLERS)[1]

    assert (Verdict.WARNING, "give every node one: poolctl node register") == (
        finding.verdict,
        finding.remedy,
    )


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        (version("v3.32.1"), [Verdict.PROBLEM]),
        (version("v3.33.0"), []),
        (version("v4.0"), []),
        (CONTROLLERS, [Verdict.WARNING, Verdict.WARNING]),
        ({}, []),
    ],
)
def test_a_cooldown_leaks_addresses_with_calico_before_333(values, verdicts):
    found = look(values | {CONFIG_KEY: '{"ipCooldownSeconds":60}'})[1:]

    assert verdicts == [each.verdict for each in found]
    assert all("the cooldown is 60 s" in each.fact for each in found[-1:])


def test_only_the_first_blocks_are_looked_at():
    values = {}
    for number in range(1100):
        cidr = f"10.{number // 256}.{number % 256}.0/26"
        entry = {"handle_id": "h", "secondary": {}}
        key = f"/calico/ipam/v2/assignment/ipv4/block/{cidr.replace('/', '-')}"
        values[key] = json.dumps({"cidr": cidr, "attributes": [entry]})

    (finding,) = look(values)

    count = int(finding.fact.split("entries of the ")[1].split()[0].replace(",", ""))
    assert 512 <= count < 1100
    assert f"wrote {count:,} entries" in finding.fact
