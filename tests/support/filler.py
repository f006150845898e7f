"""Fills an etcd with what a big cluster has there: full blocks of other nodes, written literally."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from itertools import islice

import grpc

from poolmgr.cidr import walk_blocks
from poolmgr.store.etcd3_compat import etcdrpc

BLOCKS_PER_NODE = 16
_BLOCKS_PER_REQUEST = 60  # 0.9 MB
_NUMBER = 1_700_000_000_000_000_000


def side_by_side(pool: IPv4Network, count: int) -> Iterator[tuple[str, IPv4Network]]:
    """Yield node and block for the first `count` blocks of a pool, but for that of the gateway."""
    for at, block in enumerate(islice(pool.subnets(new_prefix=26), 1, count + 1)):
        yield f"full-{at // BLOCKS_PER_NODE}", block


def as_claimed(pool: IPv4Network, count: int) -> Iterator[tuple[str, IPv4Network]]:
    """Yield node and block for `count` blocks, where nodes would have claimed them one after another."""
    taken: set[object] = {IPv4Network((pool.network_address, 26))}  # of the gateway
    for at in range(-(-count // BLOCKS_PER_NODE)):
        node = f"full-{at}"
        free = (block for block in walk_blocks(pool, 26, node) if block not in taken)
        for block in islice(free, min(BLOCKS_PER_NODE, count + 1 - len(taken))):
            assert isinstance(block, IPv4Network)
            taken.add(block)
            yield node, block


def fill(endpoint: str, blocks: Iterable[tuple[str, IPv4Network]]) -> None:
    """Write these nodes' blocks, all their addresses assigned, with their affinities."""
    channel = grpc.insecure_channel(endpoint)
    stub = etcdrpc.KVStub(channel)
    todo = iter(blocks)
    while part := list(islice(todo, _BLOCKS_PER_REQUEST)):
        puts = [put for node, block in part for put in _puts(node, block)]
        ops = [etcdrpc.RequestOp(request_put=put) for put in puts]
        stub.Txn(etcdrpc.TxnRequest(success=ops), timeout=30)
    channel.close()


def _puts(node: str, block: IPv4Network) -> tuple[object, object]:
    name = str(block).replace("/", "-")
    attributes = ",".join(
        f'{{"handle_id":"pods.{int(block.network_address) + n:064x}","secondary":{{"namespace":"default",'
        f'"node":"{node}","pod":"pod-{n}","timestamp":"2026-01-01 00:00:00 +0000 UTC"}}}}'
        for n in range(64)
    )
    ordinals = ",".join(map(str, range(64)))
    numbers = ",".join(f'"{n}":{_NUMBER}' for n in range(64))
    value = (
        f'{{"cidr":"{block}","affinity":"host:{node}","allocations":[{ordinals}],"unallocated":[],'
        f'"attributes":[{attributes}],"sequenceNumber":{_NUMBER + 64},'
        f'"sequenceNumberForAllocation":{{{numbers}}},"deleted":false}}'
    )
    affinity = f"/calico/ipam/v2/host/{node}/ipv4/block/{name}"
    return (
        etcdrpc.PutRequest(
            key=f"/calico/ipam/v2/assignment/ipv4/block/{name}".encode(), value=value.encode()
        ),
        etcdrpc.PutRequest(
            key=affinity.encode(), value=b'{"state":"confirmed","deleted":false}'
        ),
    )
