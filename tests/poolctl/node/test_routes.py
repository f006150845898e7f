"""`poolctl node routes`: what it prints is understood, and packets arrive."""

import json
import shutil
import subprocess

import pytest

from poolctl.report import REFUSED
from tests.support.assigned import attach
from tests.support.netns import Node, why_not
from tests.support.tenants import settle
from tests.support.world import stored_resource

POOL_6 = stored_resource(
    "ippools", "IPPool", "pool-6", {"cidr": "fd00:10::/64", "blockSize": 126}
)
NODES = ("node-a", "node-b")
NODE_B_6 = stored_resource(
    "nodes",
    "Node",
    "node-b",
    {"bgp": {"ipv4Address": "192.168.7.2/24", "ipv6Address": "fd00:7::2"}},
)


@pytest.fixture
def addresses(store):
    return settle(store)


def test_blocks_and_borrowed_addresses_lead_to_their_nodes(addresses, poolctl):
    a, b = (poolctl("node", "routes", "--node", name) for name in ("node-a", "node-b"))

    assert "ip route replace 10.10.0.0/30 via 192.168.7.2 proto static  # node-b\n" == a.stdout
    assert [
        "ip route replace 10.10.0.1/32 via 192.168.7.1 proto static  # node-a",
        "ip route replace 10.10.0.4/30 via 192.168.7.1 proto static  # node-a",
    ] == b.stdout.splitlines()
    assert (0, 0) == (a.exit_code, b.exit_code)


def test_what_a_node_borrows_itself_is_told(addresses, poolctl):
    result = poolctl("node", "routes", "--node", "node-a")

    assert "node-a itself uses 10.10.0.1 of another node's block" in result.stderr
    assert "ip route replace 10.10.0.1/32 dev BRIDGE" in result.stderr


def test_a_node_without_an_address_is_left_out_and_named(addresses, poolctl, store):
    attach(store, "c1", node="node-c")

    result = poolctl("node", "routes", "--node", "node-b", "-o", "frr")

    assert REFUSED == result.exit_code
    assert [
        "ip route 10.10.0.1/32 192.168.7.1",
        "ip route 10.10.0.4/30 192.168.7.1",
    ] == result.stdout.splitlines()
    assert "node/node-c has no IPv4 address: 1 route left out" in result.stderr


def test_programs_get_json(addresses, poolctl):
    result = poolctl("node", "routes", "--node", "node-a", "-o", "json")

    value = json.loads(result.stdout)
    assert (
        "node-a",
        [{"destination": "10.10.0.0/30", "family": 4, "via": "192.168.7.2", "node": "node-b"}],
    ) == (value["node"], value["routes"])


def test_an_unknown_node_is_refused(addresses, poolctl):
    result = poolctl("node", "routes", "--node", "node-aa")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "did you mean node-a" in result.stderr


def test_without_a_name_it_is_this_host(addresses, poolctl, monkeypatch):
    monkeypatch.setattr("poolmgr.cni.host.node_name", lambda _: "node-a")

    result = poolctl("node", "routes")

    assert "10.10.0.0/30 via 192.168.7.2" in result.stdout


@pytest.fixture
def pods(addresses, raw, store):
    """Blocks and addresses of both families: node -> the addresses of its pods."""
    for stored in (POOL_6, NODE_B_6):
        raw.put(*stored)
    six = {name: attach(store, f"six-{name}", node=name, family=6) for name in NODES}
    borrowed = attach(store, "b2", node="node-b")
    return {
        "node-a": [*addresses, six["node-a"]],
        "node-b": ["10.10.0.0", borrowed, six["node-b"]],
    }


def test_bird_understands_it(pods, poolctl, tmp_path):
    result = poolctl("node", "routes", "--node", "node-b", "-o", "bird")

    lines = result.stdout.splitlines()
    assert ["protocol static poolmgr4 {", "protocol static poolmgr6 {"] == [
        line for line in lines if line.startswith("protocol")
    ]
    assert "  route 10.10.0.4/30 via 192.168.7.1;  # node-a" in lines
    assert 1 == sum(line.endswith(" via fd00:7::1;  # node-a") for line in lines)
    bird = shutil.which("bird") or shutil.which("bird", path="/usr/sbin")
    if bird is None:
        pytest.skip("bird is missing")
    conf = tmp_path / "bird.conf"
    conf.write_text(f"router id 192.168.7.2;\nprotocol device {{}}\n{result.stdout}")
    subprocess.run([bird, "-p", "-c", conf], check=True)


@pytest.fixture
def machine(etcd_endpoint):
    if reason := why_not():
        pytest.skip(reason)
    with Node("host", etcd_endpoint) as started:
        yield started


# Two machines on one segment, each with ptp-like routes to its pods, which are on its loopback.
_WIRE = """
ip link add wire type bridge
ip link set wire up
"""
_HOST = """
ip link add "$1" type veth peer name uplink netns "$1"
ip link set "$1" master wire up
"""
_MACHINE = """
ip link set uplink up
ip address add "$1/24" dev uplink
ip -6 address add "$2/64" dev uplink
shift 2
for each; do ip address add "$each" dev lo; done
"""


def test_pods_reach_each_other_by_these_routes(pods, poolctl, machine):
    machine.sh(_WIRE)
    for number, (name, mine) in enumerate(pods.items(), 1):
        machine.add_pod(name)
        machine.sh(_HOST, name)
        machine.sh(_MACHINE, f"192.168.7.{number}", f"fd00:7::{number}", *mine, pod=name)
        result = poolctl("node", "routes", "--node", name)
        assert 0 == result.exit_code, result.stderr
        machine.sh(result.stdout, pod=name)
        machine.sh(result.stdout, pod=name)  # also where they exist

    lost = machine.unreachable("node-a", pods["node-b"])
    lost += machine.unreachable("node-b", pods["node-a"])

    assert [] == lost
