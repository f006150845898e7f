"""
Questions about everything that is stored: how much is in use, and what is wrong.

Theory: a big cluster stores hundreds of megabytes. They are read in pages, the next one while
the last one is looked at, and are not kept.

Rules:

1. An answer is of one revision; if that is compacted away on the way, there is no answer.
2. Nothing is written, and nothing decided here: core/usage.py counts, core/audit.py judges.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from poolmgr.api import IPPool, IPReservation, Resource
from poolmgr.cidr import IPNetwork, parse_network
from poolmgr.core import audit, borrowed, usage
from poolmgr.core.atlas import Atlas, Tenure, draw, tenure
from poolmgr.core.flaws import Finding
from poolmgr.core.live import Entry, entries
from poolmgr.core.outline import Ordinals, ordinals, outline
from poolmgr.core.records import (
    BLOCKS,
    CONFIG_KEY,
    block_of_key,
    decode_resource,
    resource_range,
)
from poolmgr.core.reservation import AddressSet
from poolmgr.core.txn import Fetch, Page, Range, Reading
from poolmgr.errors import (
    CompactedError,
    CorruptStateError,
    InvalidRequestError,
    StoreUnavailableError,
)
from poolmgr.store.port import PAGE_KEYS, Store, pages

TIMEOUT_S = 60.0
"""By default: enough for a million addresses with their handles, several times over."""

_PAGE_TIMEOUT_S = 5.0
_BLOCKS_AT_ONCE = 256
"""A page of small ones; were large ones to follow them, etcd would make up 256 MB at worst."""

_LISTED = 20
"""Names of pools in a message."""

R = TypeVar("R", bound=Resource)


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
    ranges = [resource_range(kind.plural) for kind in (IPPool, IPReservation)]
    reader = _Reader(store, Fetch(ranges=frozenset(ranges)), timeout_s)
    unreadable: list[CorruptStateError] = []
    counted = [
        pool
        for pool in _decoded(IPPool, reader.first, unreadable)
        if not pools or _is_named(pool, pools)
    ]
    reservations = _decoded(IPReservation, reader.first, unreadable)
    reserved = AddressSet.of(
        text for reservation in reservations for text in reservation.spec.reserved_cidrs
    )
    blocks = (
        block
        for range_ in BLOCKS.values()
        for block in _ordinals(reader.items(range_), unreadable)
    )
    counts = usage.utilization(counted, reserved, blocks, keep_blocks=keep_blocks)
    if pools:
        counts = usage.Utilization(pools=counts.pools, orphans=())
    return Usage(counts=counts, unreadable=tuple(unreadable), revision=reader.first.revision)


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
        self._reader = _Reader(store, fetch, timeout_s)
        self._all = not pools
        self.revision = self._reader.first.revision
        self.without_node = 0
        self.unreadable: list[CorruptStateError] = []
        self.pools: tuple[IPPool, ...] = ()
        if pools:
            found = _decoded(IPPool, self._reader.first, self.unreadable)
            self.pools = tuple(pool for pool in found if _is_named(pool, pools))

    def __iter__(self) -> Iterator[borrowed.Borrowed]:
        """Yield borrowed addresses, in the order of the blocks' keys."""
        for range_ in BLOCKS.values():
            for key, raw in self._reader.items(range_):
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
    ranges = [resource_range(kind.plural) for kind in (IPPool, IPReservation)]
    reader = _Reader(store, Fetch(ranges=frozenset(ranges)), timeout_s)
    unreadable: list[CorruptStateError] = []
    drawn = [*_decoded(IPPool, reader.first, unreadable)]
    if pools:
        drawn = _named(pools, drawn, unreadable)
    reservations = _decoded(IPReservation, reader.first, unreadable)
    reserved = AddressSet.of(
        text for reservation in reservations for text in reservation.spec.reserved_cidrs
    )
    families = {pool.spec.cidr.version for pool in drawn} if pools else BLOCKS.keys()
    blocks = (
        block
        for family in sorted(families)
        for block in _tenures(reader.items(BLOCKS[family]), unreadable, advance)
    )
    found = draw(drawn, reserved, blocks, orphans=not pools)
    return Map(atlas=found, unreadable=tuple(unreadable), revision=reader.first.revision)


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
    reader = _Reader(store, Fetch(keys=frozenset({CONFIG_KEY})), timeout_s)
    for key, raw in reader.items(BLOCKS[cidr.version]):
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
        self._reader = _Reader(store, fetch, timeout_s, advance)
        self._now_ns = now_ns
        self.revision = self._reader.first.revision
        self.checked: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Finding]:
        """Yield what is wrong, as it is found."""
        return audit.audit(self._reader.items, now_ns=self._now_ns, checked=self.checked)

    def entries(self) -> Iterator[Entry]:
        """Yield every address that is not free, of blocks that decode, as of the revision."""
        for range_ in BLOCKS.values():
            for key, raw in self._reader.items(range_):
                with contextlib.suppress(CorruptStateError):  # It is a finding.
                    yield from entries(outline(key, raw))


class _Reader:
    """
    Reads ranges of any size, all as of one revision.

    Attributes:
        first: The answer to `fetch`, whose revision it is.
    """

    def __init__(
        self,
        store: Store,
        fetch: Fetch,
        timeout_s: float,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store, self._advance = store, advance
        self._page_timeout_s = min(_PAGE_TIMEOUT_S, timeout_s)
        self._timeout_s, self._deadline = timeout_s, time.monotonic() + timeout_s
        self.first = store.read(fetch, timeout_s=self._page_timeout_s)

    def items(self, range_: Range) -> Iterator[tuple[str, bytes]]:
        """
        Yield keys and values.

        Raises:
            CompactedError: The revision is gone.
            StoreUnavailableError: There is no answer in time.
        """
        revision = self.first.revision
        found = pages(
            self._store,
            range_,
            page_size=_BLOCKS_AT_ONCE if range_ in BLOCKS.values() else PAGE_KEYS,
            timeout_s=self._page_timeout_s,
            revision=revision,
        )
        try:
            for page in _ahead(found):
                yield from ((key, stored.value) for key, stored in page.items)
                self._advance(len(page.items))
                if time.monotonic() > self._deadline:
                    raise StoreUnavailableError(f"not all was read in {self._timeout_s:g} s")
        except CompactedError as error:
            raise CompactedError(
                f"revision {revision} was compacted away while it was read; ask again"
            ) from error


def _ahead(found: Iterator[Page]) -> Iterator[Page]:
    """Yield the pages of `found`, each read while the one before is looked at."""
    with ThreadPoolExecutor(1, "read-ahead") as executor:
        reading = executor.submit(next, found, None)
        while (page := reading.result()) is not None:
            reading = executor.submit(next, found, None)
            yield page


def _is_named(pool: IPPool, names: Collection[str]) -> bool:
    return pool.metadata.name in names or str(pool.spec.cidr) in names


def _decoded(
    kind: type[R], reading: Reading, unreadable: list[CorruptStateError]
) -> Iterator[R]:
    for key, stored in reading.ranges[resource_range(kind.plural)].items:
        try:
            yield decode_resource(kind, key, stored.value, stored.mod_revision)
        except CorruptStateError as error:
            unreadable.append(error)


def _ordinals(
    stored: Iterable[tuple[str, bytes]], unreadable: list[CorruptStateError]
) -> Iterator[Ordinals]:
    for key, raw in stored:
        try:
            yield ordinals(key, raw)
        except CorruptStateError as error:
            unreadable.append(error)


def _tenures(
    stored: Iterable[tuple[str, bytes]],
    unreadable: list[CorruptStateError],
    advance: Callable[[int], None],
) -> Iterator[Tenure]:
    for key, raw in stored:
        advance(1)
        try:
            yield tenure(key, raw)
        except CorruptStateError as error:
            unreadable.append(error)


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
            there = [f"{pool.metadata.name} ({pool.spec.cidr})" for pool in pools]
            more = f" and {len(there) - _LISTED:,} more" if len(there) > _LISTED else ""
            listed = ", ".join(there[:_LISTED]) + more
            raise InvalidRequestError(
                f"pool: there is no {text!r}; there {f'are {listed}' if there else 'is none'}",
                field="pool",
            )
    return [pool for pool in pools if pool.metadata.name in chosen]


def _canonical(text: str) -> str:
    """Write a network as pools do; what is none stays as it is."""
    try:
        return str(parse_network(text, strict=False))
    except ValueError:
        return text
