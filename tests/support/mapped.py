"""Maps without a store, for pictures of big clusters."""

from ipaddress import ip_network

from poolmgr.cidr import IPNetwork, walk_blocks
from poolmgr.core.atlas import Tenure, draw
from poolmgr.core.outline import Ordinals
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.drawing import Map
from tests.support.facts import pool


def tenure(
    cidr: IPNetwork | str,
    owner: str | None,
    in_use: int,
    *,
    cooling: int = 0,
    users: tuple[tuple[str, int], ...] = (),
) -> Tenure:
    """A block whose first addresses are in use."""
    block = ip_network(cidr)
    free = range(in_use, block.num_addresses)
    return Tenure(Ordinals(cidr=block, affinity=owner, unallocated=free), cooling, users)


def big(*, nodes: int = 40, blocks_each: int = 9, ipv6_blocks: int = 100) -> Map:
    """A pool where nodes have claimed blocks of all fills, and a sparse one of IPv6."""
    ipv4, ipv6 = ip_network("10.244.0.0/16"), ip_network("fd00:10:244::/64")
    taken: dict[IPNetwork, Tenure] = {}
    for node in range(nodes):
        free = (block for block in walk_blocks(ipv4, 26, f"{node}") if block not in taken)
        for at, block in zip(range(blocks_each), free, strict=False):
            used = 64 if at < blocks_each - 1 else node * 64 // nodes
            users = ((f"worker-{node // 2}", 5),) if used == 64 and not (node + at) % 9 else ()
            cooling = 3 if at == 2 and not node % 3 else 0
            owner = None if (node, at) == (3, 3) else f"host:worker-{node}"
            taken[block] = tenure(block, owner, used, cooling=cooling, users=users)
    for node in range(ipv6_blocks):
        block = next(walk_blocks(ipv6, 122, f"{node}"))
        taken[block] = tenure(block, f"host:worker-{node % nodes}", node % 65)
    reserved = AddressSet.of(["10.244.255.0/24", "10.244.240.0/22", "10.244.0.0/28"])
    pools = [pool("pods", str(ipv4)), pool("pods-ipv6", str(ipv6))]
    return Map(
        atlas=draw(pools, reserved if ipv6_blocks else NOTHING, taken.values()),
        unreadable=(),
        revision=123_456,
    )
