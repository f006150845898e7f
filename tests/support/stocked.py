"""Stores with pools, and with sound blocks, affinities and handles in them."""

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.store.port import Store
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import put
from tests.support.world import stored_resource

AFFINITY = b'{"state":"confirmed","deleted":false}'


def pools(**cidrs: str) -> dict[str, bytes]:
    return dict(stored_resource("ippools", "IPPool", n, {"cidr": c}) for n, c in cidrs.items())


def owned(cidr: str, *handles: str) -> dict[str, bytes]:
    """A block of node-a, its affinity, and a handle for each of its first addresses."""
    count = f'{{"block":{{"{cidr}":1}},"deleted":false}}'.encode()
    return {
        **stored_block(block_of(cidr, *handles)),
        records.affinity_key("node-a", parse_network(cidr)): AFFINITY,
        **{records.handle_key(name): count for name in handles},
    }


def many(store: Store, count: int = 200) -> None:
    """Store so many sound blocks with a handle each, in a pool."""
    put(store, pools(p="10.0.0.0/8"))
    cidrs = parse_network("10.0.0.0/16").subnets(new_prefix=29)
    for at, cidr in zip(range(count), cidrs, strict=False):
        put(store, owned(str(cidr), f"c{at}"))
