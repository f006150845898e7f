"""Two nodes that share a small pool: node-a has one block, and borrows from node-b's."""

from poolmgr.store.port import Store
from tests.support.assigned import attach
from tests.support.poolctl import put
from tests.support.world import stored_resource

POOL = stored_resource("ippools", "IPPool", "pool-a", {"cidr": "10.10.0.0/29", "blockSize": 30})
NODE_A = stored_resource(
    "nodes",
    "Node",
    "node-a",
    {"bgp": {"ipv4Address": "192.168.7.1/24", "ipv6Address": "fd00:7::1/64"}},
    labels={"rack": "r1"},
)
NODE_B = stored_resource(
    "nodes", "Node", "node-b", {"addresses": [{"address": "192.168.7.2", "type": "InternalIP"}]}
)


def settle(store: Store) -> list[str]:
    """Fill node-a's block and borrow one address more; return its addresses, that one last."""
    put(store, dict([POOL, NODE_A, NODE_B]))
    first = attach(store, "a1")
    attach(store, "b1", node="node-b")
    return [first, *(attach(store, f"a{number}") for number in range(2, 6))]
