"""What a call costs in round trips, counted at the server, whoever it is that asks."""

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolmgr.cidr import walk_blocks
from poolmgr.core.request import Attachment, AutoAssign, ReleaseByHandle
from poolmgr.ipam import IPAM
from poolmgr.store.embedded import EmbeddedEtcd
from tests.support import filler
from tests.support.counting import CountingStore
from tests.support.grpc_proxy import GrpcProxy
from tests.support.rawetcd import RawEtcd

ROOT = Path(__file__).resolve().parents[2]
POOLS = {"four": "10.1.0.0/16", "six": "fd00:10::/64"}
PLUGINS: dict[str, dict[str, object]] = {
    "ptp": {"type": "ptp"},
    "bridge": {"type": "bridge", "bridge": "cni0"},
    "bridge as gateway": {"type": "bridge", "bridge": "cni0", "isGateway": True},
    "calico": {"type": "calico"},
}


class Node:
    """A node whose runtime calls the plugin in a process of its own, through a proxy that counts."""

    def __init__(self, name: str, proxy: GrpcProxy, main: str, families: str) -> None:
        self.proxy = proxy
        self._conf: dict[str, object] = {
            "cniVersion": "1.0.0",
            "name": "pods",
            **PLUGINS[main],
            "etcd_endpoints": f"http://{proxy.endpoint}",
            "nodename": name,
            "ipam": {
                "type": "poolmgr-ipam",
                "assign_ipv4": str("4" in families).lower(),
                "assign_ipv6": str("6" in families).lower(),
            },
        }

    def call(self, command: str, container: str) -> dict[str, int]:
        """Make one CNI call and return how many of each kind of etcd call that took."""
        self.proxy.reset()
        done = subprocess.run(
            [sys.executable, "-c", "from poolmgr.cni.direct import main; main()"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": container,
                "CNI_NETNS": f"/run/netns/{container}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": "/opt/cni/bin",
            },
            input=json.dumps(self._conf).encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )

        assert (done.returncode, done.stderr) == (0, b""), done
        return self.proxy.counts


@pytest.fixture
def make_node(etcd_endpoint: str):
    with GrpcProxy(etcd_endpoint) as proxy:
        yield lambda name, main="ptp", families="4": Node(name, proxy, main, families)


def create(raw: RawEtcd, pools: dict[str, str]) -> None:
    for name, cidr in pools.items():
        value = {
            "kind": "IPPool",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": name},
            "spec": {"cidr": cidr, "nodeSelector": "all()"},
        }
        raw.put(f"/calico/resources/v3/projectcalico.org/ippools/{name}", json.dumps(value))


def assert_at_most(counts: dict[str, int], reads: int) -> None:
    assert counts["read"] <= reads
    assert (counts["commit"], counts["other"]) == (1, 0)


@pytest.mark.parametrize("families", ["4", "6", "46"])
@pytest.mark.parametrize("main", PLUGINS)
def test_a_pod_costs_two_reads_and_a_transaction_at_its_start_and_at_its_end(
    make_node, raw, main, families
):
    create(raw, POOLS)
    node = make_node("alder", main, families)

    assert_at_most(node.call("ADD", "first"), reads=3)
    assert_at_most(node.call("ADD", "second"), reads=2)
    assert_at_most(node.call("DEL", "first"), reads=2)
    assert_at_most(node.call("DEL", "second"), reads=2)
    assert_at_most(node.call("DEL", "second"), reads=2)


def test_a_repeated_add_writes_nothing(make_node, raw):
    create(raw, POOLS)
    node = make_node("alder", families="46")
    node.call("ADD", "pod")
    before = raw.dump()

    assert_at_most(node.call("ADD", "pod"), reads=2)
    assert raw.dump() == before


@pytest.mark.parametrize("families", ["4", "46"])
@pytest.mark.parametrize(
    ("prefix", "count"),
    [(14, 2000), pytest.param(11, 16_384, marks=pytest.mark.slow)],  # about half of the pool
)
@pytest.mark.parametrize("layout", [filler.as_claimed, filler.side_by_side])
def test_a_first_claim_reads_little_however_many_blocks_are_full(
    etcd_binary, layout, prefix, count, families
):
    pool = ipaddress.IPv4Network(("10.128.0.0", prefix))
    full = list(layout(pool, count))
    taken = {block for _, block in full}
    # A node that meets a full block at once: its walk through the pool begins with one.
    name = next(
        n for n in map("node-{}".format, range(100)) if next(walk_blocks(pool, 26, n)) in taken
    )
    with (
        EmbeddedEtcd(etcd_binary, arguments=["--quota-backend-bytes=4000000000"]) as etcd,
        GrpcProxy(etcd.endpoint) as proxy,
    ):
        raw = RawEtcd(etcd.endpoint)
        create(raw, {**POOLS, "four": str(pool)})
        raw.close()
        filler.fill(etcd.endpoint, full)
        node = Node(name, proxy, "ptp", families)

        assert_at_most(node.call("ADD", "first"), reads=3)
        assert proxy.reply_bytes <= 64 * 1024
        assert_at_most(node.call("ADD", "second"), reads=2)
        assert_at_most(node.call("DEL", "first"), reads=2)


@pytest.mark.parametrize("families", [(4,), (6,), (4, 6)])
def test_the_library_costs_the_same(store, raw, families):
    create(raw, POOLS)
    counted = CountingStore(store)
    ipam = IPAM(counted)

    def cost(call, request) -> tuple[int, int]:
        counted.reads = counted.commits = 0
        call(request)
        return counted.reads, counted.commits

    def ask(container: str) -> AutoAssign:
        attachment = Attachment(network="pods", container=container, interface="eth0")
        count = dict.fromkeys(families, 1)
        return AutoAssign(
            host="alder", handle=attachment.handle, count=count, attachment=attachment
        )

    first = ask("first")
    assert cost(ipam.auto_assign, first) <= (3, 1)
    assert cost(ipam.auto_assign, ask("second")) == (2, 1)
    assert cost(ipam.auto_assign, ask("second")) <= (2, 1)
    release = ReleaseByHandle(
        handles=(first.handle,), attachment=first.attachment, host="alder"
    )
    assert cost(ipam.release_by_handle, release) == (2, 1)
    assert cost(ipam.release_by_handle, release) == (1, 1)
