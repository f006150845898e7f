"""
The map of everything that is stored, read page by page as of one revision.

Nothing is written, and nothing decided here: core/atlas.py draws.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from poolmgr.api import IPPool
from poolmgr.api.violations import listed, similar
from poolmgr.cidr import parse_network
from poolmgr.core.atlas import Atlas, Tenure, draw, tenure
from poolmgr.core.records import BLOCKS, resource_range
from poolmgr.errors import CorruptStateError, InvalidRequestError
from poolmgr.scan import POOLS, TIMEOUT_S, Scan
from poolmgr.store.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """
    Where everything is.

    Attributes:
        unreadable: Pools, reservations and blocks that do not decode, and are not on it.
        revision: As of which everything was drawn.
    """

    atlas: Atlas
    unreadable: tuple[CorruptStateError, ...]
    revision: int


def map_of(
    store: Store,
    *,
    pools: Collection[str] = (),
    timeout_s: float = TIMEOUT_S,
    advance: Callable[[int], None] = lambda _count: None,
) -> Map:
    """
    Draw the blocks of all pools.

    Args:
        pools: Names and CIDRs of pools; if there are any, only these are drawn, and no blocks
            outside of them.
        timeout_s: For all of it.
        advance: Called with the number of blocks that were read since its last call.

    Raises:
        InvalidRequestError: There is no such pool.
        CorruptStateError: A pool that is named does not decode.
        StoreError: There is no answer.
    """
    scan = Scan(store, POOLS, timeout_s)
    drawn = [*scan.resources(IPPool)]
    if pools:
        drawn = _named(pools, drawn, scan.unreadable)
    reserved = scan.reserved()

    def read(key: str, raw: bytes) -> Tenure:
        advance(1)
        return tenure(key, raw)

    families = {pool.spec.cidr.version for pool in drawn} if pools else BLOCKS.keys()
    blocks = (
        block
        for family in sorted(families)
        for block in scan.decoded(scan.items(BLOCKS[family]), read)
    )
    found = draw(drawn, reserved, blocks, orphans=not pools)
    return Map(atlas=found, unreadable=tuple(scan.unreadable), revision=scan.revision)


def _named(
    wanted: Collection[str], pools: Collection[IPPool], unreadable: list[CorruptStateError]
) -> list[IPPool]:
    """Return the pools with these names and CIDRs, in the order that pools have."""
    chosen: set[str] = set()
    for text in wanted:
        names = {text, _canonical(text)}
        found = [p for p in pools if names & {p.metadata.name, str(p.spec.cidr)}]
        chosen.update(pool.metadata.name for pool in found)
        if not found:
            for error in unreadable:
                if error.key == resource_range(IPPool.plural).start + text:
                    raise error
            known = [n for p in pools for n in (p.metadata.name, str(p.spec.cidr))]
            there = [f"{pool.metadata.name} ({pool.spec.cidr})" for pool in pools]
            hint = similar(text, known) or listed(there)
            raise InvalidRequestError(f"pool: there is no {text!r}; {hint}", field="pool")
    return [pool for pool in pools if pool.metadata.name in chosen]


def _canonical(text: str) -> str:
    """Write a network as pools do; what is none stays as it is."""
    try:
        return str(parse_network(text, strict=False))
    except ValueError:
        return text
