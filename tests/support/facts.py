"""Values and snapshots for tests of single modules, without a store."""

from collections.abc import Mapping

from poolmgr.api import IPPool
from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, auto_assign, new_block
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import KeyValue, Page, Range, Reading
from tests.support.world import NOON_NS, stored_resource

SECOND = 1_000_000_000


def pool(
    name: str, cidr: str, *, annotations: Mapping[str, str] | None = None, **spec
) -> IPPool:
    """A pool as it is stored; `status` and `deleted` are not part of its spec."""
    metadata = {"annotations": dict(annotations)} if annotations else {}
    _, raw = stored_resource("ippools", "IPPool", name, {"cidr": cidr, **spec}, **metadata)
    return IPPool.from_stored(raw, 3)


def block_of(cidr: str, *owners: str | None, affinity: str = "host:node-a") -> Block:
    """A block whose first ordinals belong to these handles, each written on its own."""
    block = new_block(parse_network(cidr), affinity, NOON_NS)
    for owner in owners:
        block, _ = auto_assign(block, 1, Attribute(handle=owner))
    return block


def stored_block(block: Block) -> dict[str, bytes]:
    """Key and value of a block."""
    return {records.block_key(block.cidr): records.encode_block(block)}


def reading(
    values: Mapping[str, bytes | None], *ranges: Range, revision: int = 9, mod_revision: int = 5
) -> Reading:
    """An answer that holds `values`, None = absent, and these ranges over them."""
    found = {
        key: None if value is None else KeyValue(value=value, mod_revision=mod_revision)
        for key, value in values.items()
    }
    pages = {
        range_: Page(
            items=tuple(
                (k, v) for k, v in sorted(found.items()) if v is not None and k in range_
            )
        )
        for range_ in ranges
    }
    return Reading(found=found, ranges=pages, revision=revision)


def known(values: Mapping[str, bytes | None], *ranges: Range, revision: int = 9) -> Snapshot:
    """A snapshot that has learned `reading` of the same arguments."""
    return Snapshot().merge(reading(values, *ranges, revision=revision))


def assert_sound(block: Block) -> None:
    """The invariants of core/block.py (RI-20)."""
    assert "" == records.broken(block)
    assert set(range(len(block.attributes))) == {i for i in block.allocations if i is not None}
