"""A real container runtime, containerd, asked for pods as a kubelet asks, with and without annotations."""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from poolmgr.cidr import parse_address, parse_network
from tests.support.containerd import Machine, why_not

pytestmark = pytest.mark.netns

BRIDGE = {"type": "bridge", "bridge": "br0", "isGateway": True}
PTP = {"type": "ptp"}
CALICO, OURS = "cni.projectcalico.org/", "ipam.poolmgr.io/"


@pytest.fixture
def machine(plugin_path, etcd_endpoint, cgroup):
    """A machine that is off, with an empty disk."""
    if reason := why_not():
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="poolmgr-containerd-") as disk,
        Machine("node-a", etcd_endpoint, Path(disk), plugin_path[1], cgroup) as made,
    ):
        yield made


@pytest.fixture
def pools(cluster):
    """Two pools of IPv4, and one of IPv6."""
    cluster.pool("pool-0", "10.64.0.0/26", 28)
    cluster.pool("pool-1", "10.64.1.0/28", 30)
    cluster.pool("pool-6", "fd00:64::/120", 124)


def make_old(raw):
    """Make addresses look as if they were assigned long ago; `node gc` spares the last minute's."""
    for key, value in raw.dump().items():
        aged = re.sub(rb'("timestamp": ?")[0-9]{4}', rb"\g<1>2001", value)
        if aged != value:
            raw.put(key, aged)


@pytest.mark.parametrize("main", [PTP, BRIDGE], ids=["ptp", "bridge"])
def test_pods_without_annotations_reach_each_other_and_leave_nothing(
    machine, pools, cluster, main
):
    machine.boot(main, ipv4_pools=["pool-0"], assign_ipv6=True)

    one, two = machine.run("one"), machine.run("two")

    assert cluster.assigned() == {
        address: f"net1.{sandbox.id}" for sandbox in (one, two) for address in sandbox.addresses
    }
    assert [len(sandbox.addresses) for sandbox in (one, two)] == [2, 2]
    assert machine.node.unreachable(one.namespace, two.addresses) == []

    machine.cri("StopPodSandbox", pod_sandbox_id=one.id)
    for sandbox in (one, two):
        machine.stop(sandbox.id)

    assert (cluster.assigned(), cluster.handles(), cluster.findings()) == ({}, set(), ())
    assert machine.node.links() - {"br0"} == {"lo"}


@pytest.mark.parametrize(
    ("annotations", "among"),
    [
        ({"example.com/unrelated": "yes"}, "10.64.0.0/26"),
        ({f"{CALICO}ipv4pools": '["pool-1"]'}, "10.64.1.0/28"),
        ({f"{CALICO}ipv4pools": '["10.64.1.0/28"]'}, "10.64.1.0/28"),
        ({f"{CALICO}ipFamilies": '["IPv6"]'}, "fd00:64::/120"),
        ({f"{CALICO}ipAddrs": '["10.64.0.25"]'}, "10.64.0.25/32"),
        ({f"{OURS}addresses": "10.64.1.9-10.64.1.10"}, "10.64.1.9/32"),
        ({f"{OURS}addresses": '{"net1/eth0": ["10.64.0.40"]}'}, "10.64.0.40/32"),
    ],
    ids=["none of ours", "pool", "pool's CIDR", "family", "address", "range", "interface"],
)
def test_a_pod_gets_what_its_annotations_ask_for(machine, pools, cluster, annotations, among):
    machine.boot(PTP, ipv4_pools=["pool-0"])

    sandbox = machine.run("one", annotations)

    (held,) = sandbox.addresses
    assert parse_address(held) in parse_network(among)
    assert cluster.assigned() == {held: f"net1.{sandbox.id}"}

    machine.stop(sandbox.id)

    assert cluster.assigned() == {}


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({f"{CALICO}ipAddrs": "10.64.0.25"}, ("ipAddrs", "10.64.0.25")),
        ({f"{CALICO}ipv4pools": '["nowhere"]'}, ("ipv4pools", "nowhere")),
        ({f"{OURS}adresses": "10.64.0.25"}, ("adresses", "10.64.0.25")),
    ],
    ids=["no list", "unknown pool", "misspelt"],
)
def test_a_pod_does_not_start_when_an_annotation_cannot_be_honoured(
    machine, pools, cluster, annotations, told
):
    machine.boot(PTP)

    with pytest.raises(grpc.RpcError) as refused:
        machine.run("one", annotations)

    assert [text for text in told if text not in refused.value.details()] == []
    assert (cluster.assigned(), machine.known()) == ({}, set())


def test_a_pod_keeps_its_sticky_address_when_it_comes_back(machine, pools, cluster):
    machine.boot(PTP, ipv4_pools=["pool-1"])
    sticky = {f"{OURS}sticky": "true"}
    before = machine.run("web", sticky)
    machine.stop(before.id)
    others = [machine.run(f"other-{number}") for number in range(4)]

    after = machine.run("web", sticky)

    assert after.addresses == before.addresses
    assert {each.addresses for each in others}.isdisjoint({after.addresses})
    assert cluster.findings() == ()

    for each in (*others, after):
        machine.stop(each.id)

    assert set(cluster.assigned()) == set(after.addresses)


def test_thirty_pods_at_once_get_thirty_addresses(machine, pools, cluster):
    machine.boot(BRIDGE, ipv4_pools=["pool-0"])

    with ThreadPoolExecutor(30) as all_at_once:
        sandboxes = list(all_at_once.map(machine.run, [f"pod-{n}" for n in range(30)]))

    assert cluster.assigned() == {
        sandbox.addresses[0]: f"net1.{sandbox.id}" for sandbox in sandboxes
    }
    assert len(cluster.assigned()) == 30
    assert cluster.findings() == ()

    with ThreadPoolExecutor(8) as some_at_once:
        list(some_at_once.map(machine.stop, [each.id for each in sandboxes]))

    assert (cluster.assigned(), cluster.handles(), cluster.findings()) == ({}, set(), ())


def test_after_a_reboot_node_gc_leaves_to_containerd_what_it_remembers(
    machine, pools, cluster, raw
):
    machine.boot(PTP)
    sandboxes = [machine.run(name) for name in ("one", "two")]
    machine.power_off()
    machine.boot(PTP)
    make_old(raw)

    machine.poolctl("node", "gc", "--conf", str(machine.conflist))

    assert machine.known() == {each.id for each in sandboxes}
    assert set(cluster.assigned().values()) == {f"net1.{each.id}" for each in sandboxes}

    for each in sandboxes:
        machine.stop(each.id)

    assert (cluster.assigned(), cluster.handles()) == ({}, set())


def test_after_a_reboot_node_gc_frees_what_was_forgotten_and_keeps_what_came_since(
    machine, pools, cluster, raw
):
    machine.boot(PTP)
    for name in ("one", "two", "three"):
        machine.run(name)
    machine.power_off()
    machine.forget()
    machine.boot(PTP)
    since = machine.run("since")
    make_old(raw)

    assert len(cluster.assigned()) == 4
    assert machine.known() == {since.id}

    machine.poolctl("node", "gc", "--conf", str(machine.conflist))

    assert cluster.assigned() == {since.addresses[0]: f"net1.{since.id}"}
    assert (cluster.handles(), cluster.findings()) == ({f"net1.{since.id}"}, ())
