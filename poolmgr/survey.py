"""
Questions about everything that is stored: how much is in use, and what is wrong.

Nothing is written, and nothing decided here: core/usage.py counts, core/audit.py judges.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from poolmgr.api import IPPool
from poolmgr.cidr import IPNetwork
from poolmgr.core import audit, borrowed, usage
from poolmgr.core.flaws import Finding
from poolmgr.core.live import Entry, entries
from poolmgr.core.outline import ordinals, outline
from poolmgr.core.records import BLOCKS, CONFIG_KEY, block_of_key, resource_range
from poolmgr.core.txn import Fetch
from poolmgr.errors import CorruptStateError
from poolmgr.scan import POOLS, TIMEOUT_S, Scan
from poolmgr.store.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """
    How much is in use.

    Attributes:
        unreadable: Pools, reservations and blocks that do not decode, and so are not counted.
        revision: As of which everything was counted.
    """

    counts: usage.Utilization
    unreadable: tuple[CorruptStateError, ...]
    revision: int


def utilization(
    store: Store,
    *,
    pools: Collection[str] = (),
    keep_blocks: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> Usage:
    """
    Count the addresses of all pools, in use, reserved and free.

    Args:
        pools: Names and CIDRs of pools; if there are any, only these are counted, and no blocks
            outside of them.
        keep_blocks: Whether the counts of each block are wanted, too.
        timeout_s: For all of it.

    Raises:
        StoreError: There is no answer.
    """
    scan = Scan(store, POOLS, timeout_s)
    counted = [p for p in scan.resources(IPPool) if not pools or _is_named(p, pools)]
    reserved = scan.reserved()
    blocks = (
        block
        for range_ in BLOCKS.values()
        for block in scan.decoded(scan.items(range_), ordinals)
    )
    counts = usage.utilization(counted, reserved, blocks, keep_blocks=keep_blocks)
    if pools:
        counts = usage.Utilization(pools=counts.pools, orphans=())
    return Usage(counts=counts, unreadable=tuple(scan.unreadable), revision=scan.revision)


class Borrowings:
    """
    Addresses used on other nodes than those that own their blocks: iterate over it once.

    Args:
        pools: Names and CIDRs of pools; if there are any, only blocks in these are looked at.
        timeout_s: For all of it.

    Attributes:
        revision: As of which everything is found.
        pools: Those that were looked for; () = all blocks are looked at.
        without_node: How many addresses so far are in use, nobody knows where.
        unreadable: Pools, where some were named, and blocks so far that do not decode.

    Raises:
        StoreError: There is no answer, or, while iterating, no complete one.
    """

    def __init__(
        self, store: Store, *, pools: Collection[str] = (), timeout_s: float = TIMEOUT_S
    ) -> None:
        fetch = Fetch(ranges=frozenset({resource_range(IPPool.plural)}))
        self._scan = Scan(store, fetch, timeout_s)
        self._all = not pools
        self.revision, self.unreadable = self._scan.revision, self._scan.unreadable
        self.without_node = 0
        self.pools: tuple[IPPool, ...] = ()
        if pools:
            found = self._scan.resources(IPPool)
            self.pools = tuple(pool for pool in found if _is_named(pool, pools))

    def __iter__(self) -> Iterator[borrowed.Borrowed]:
        """Yield borrowed addresses, in the order of the blocks' keys."""
        for range_ in BLOCKS.values():
            for key, raw in self._scan.items(range_):
                try:
                    if borrowed.is_at_home(ordinals(key, raw), raw):
                        continue
                    block = outline(key, raw)
                except CorruptStateError as error:
                    self.unreadable.append(error)
                    continue
                if self._all or any(p.spec.cidr.overlaps(block.cidr) for p in self.pools):
                    away = borrowed.away(block)
                    self.without_node += away.without_node
                    yield from away.borrowed


def networks_within(
    store: Store, cidr: IPNetwork, *, timeout_s: float = TIMEOUT_S
) -> frozenset[str]:
    """
    Tell which networks of our CNI plugin have addresses in the blocks of `cidr`.

    Raises:
        CorruptStateError: One of these blocks does not decode.
        StoreError: There is no answer.
    """
    found: set[str] = set()
    scan = Scan(store, Fetch(keys=frozenset({CONFIG_KEY})), timeout_s)
    for key, raw in scan.items(BLOCKS[cidr.version]):
        block = block_of_key(key)
        if block is not None and block.overlaps(cidr):
            owners = outline(key, raw).secondary
            found |= {owner["network"] for owner in owners if owner and owner.get("network")}
    return frozenset(found)


class Audit:
    """
    An audit: iterate over it once, for its findings.

    Args:
        now_ns: The time, to find releases at a time to come; None = do not look for them.
        timeout_s: For all of it.
        advance: Called with the number of keys whenever some were read.

    Attributes:
        revision: As of which everything is checked.
        checked: How many "pools", "blocks", "addresses" (in use), "affinities" and "handles"
            have been looked at so far.

    Raises:
        StoreError: There is no answer, or, while iterating, no complete one.
    """

    def __init__(
        self,
        store: Store,
        *,
        now_ns: int | None = None,
        timeout_s: float = TIMEOUT_S,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        fetch = Fetch(keys=frozenset({CONFIG_KEY}))
        self._scan = Scan(store, fetch, timeout_s, advance)
        self._now_ns = now_ns
        self.revision = self._scan.revision
        self.checked: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Finding]:
        """Yield what is wrong, as it is found."""
        return audit.audit(self._scan.items, now_ns=self._now_ns, checked=self.checked)

    def entries(self) -> Iterator[Entry]:
        """Yield every address that is not free, of blocks that decode, as of the revision."""
        for range_ in BLOCKS.values():
            for key, raw in self._scan.items(range_):
                with contextlib.suppress(CorruptStateError):  # It is a finding.
                    yield from entries(outline(key, raw))


def _is_named(pool: IPPool, names: Collection[str]) -> bool:
    return pool.metadata.name in names or str(pool.spec.cidr) in names
