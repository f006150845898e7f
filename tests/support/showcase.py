"""A small cluster that has some of everything, for outputs that people look at."""

from poolmgr.cni.verbs import timestamp
from poolmgr.core.config import IPAMConfig
from poolmgr.core.request import (
    Attachment,
    AutoAssign,
    ReleaseByHandle,
    SetConfig,
    Sticky,
)
from poolmgr.ipam import IPAM
from poolmgr.store.port import Store
from tests.support.poolctl import put
from tests.support.world import stored_resource

NODES = {"node-a": "192.0.2.11", "node-b": "192.0.2.12", "node-c": "192.0.2.13"}
SECOND = 1_000_000_000
START_NS = 1_795_000_000 * SECOND
POOLS = {
    "lan": {"cidr": "192.168.5.0/28", "blockSize": 29, "assignmentMode": "Manual"},
    "old": {"cidr": "10.9.0.0/24", "disabled": True},
    "pods": {"cidr": "10.244.0.0/26", "blockSize": 28},
    "pods-ipv6": {"cidr": "fd00:10:244::/64", "blockSize": 122},
    "rack-2": {"cidr": "10.2.0.0/24", "blockSize": 26, "nodeSelector": "rack == 'r2'"},
}


class Showcase:
    """
    Three nodes with pods of the namespace web.

    node-a has borrowed from node-b, one address is reserved, one cools down, one is kept for a
    sticky owner, and node-c had pods in a pool that serves its rack alone.
    """

    def __init__(self, store: Store) -> None:
        self._now_ns = START_NS
        self._ipam = IPAM(store, clock=lambda: self._now_ns)
        resources = [stored_resource("ippools", "IPPool", *each) for each in POOLS.items()]
        for name, address in NODES.items():
            spec = {"bgp": {"ipv4Address": f"{address}/24"}}
            labels = {"rack": "r2" if name == "node-c" else "r1"}
            resources.append(stored_resource("nodes", "Node", name, spec, labels=labels))
        reserved = {"reservedCIDRs": ["10.244.0.0/31", "10.244.0.60"]}
        resources.append(stored_resource("ipreservations", "IPReservation", "dns", reserved))
        cluster = {"clusterGUID": "0123456789abcdef", "datastoreReady": True}
        resources.append(
            stored_resource("clusterinformations", "ClusterInformation", "default", cluster)
        )
        put(store, dict(resources))

    def fill(self) -> None:
        """Let the pods come, and some go."""
        for number in range(3):
            self.add("node-b", f"db-{number}")
            self.add("node-c", f"cache-{number}")
        for number in range(14):
            self.add("node-c", f"batch-{number}", families=(4,), pools=("rack-2",))
        for number in range(33):
            self.add("node-a", f"web-{number}", families=(4, 6) if number < 4 else (4,))
        self._ipam.set_config(SetConfig(config=IPAMConfig(cooldown_s=30)))
        self.add("node-b", "gone")
        self._delete("node-b", "gone")
        self.add("node-b", "mail-0", sticky=Sticky(namespace="web", identity="mail"))
        self._delete("node-b", "mail-0")

    def add(
        self,
        node: str,
        pod: str,
        *,
        families: tuple[int, ...] = (4,),
        pools: tuple[str, ...] = ("pods",),
        sticky: Sticky | None = None,
    ) -> None:
        """Let a pod come."""
        self._now_ns += SECOND
        at = Attachment(network="routed", container=f"sandbox-{pod}", interface="eth0")
        request = AutoAssign(
            host=node,
            handle=at.handle,
            count=dict.fromkeys(families, 1),
            pools={4: pools},
            attributes={
                "node": node,
                "pod": pod,
                "namespace": "web",
                "timestamp": timestamp(self._now_ns),
                "network": at.network,
                "interface": at.interface,
            },
            attachment=at,
            sticky=sticky,
        )
        self._ipam.auto_assign(request)

    def _delete(self, node: str, pod: str) -> None:
        self._now_ns += SECOND
        at = Attachment(network="routed", container=f"sandbox-{pod}", interface="eth0")
        self._ipam.release_by_handle(
            ReleaseByHandle(handles=(at.handle,), attachment=at, host=node)
        )
