"""
Questions about everything that is stored: how much is in use, and what is wrong.

Theory: a big cluster stores hundreds of megabytes. They are read in pages, the next one while
the last one is looked at, and are not kept.

Rules:

1. An answer is of one revision; if that is compacted away on the way, there is no answer.
2. Nothing is written, and nothing decided here: core/usage.py counts, core/audit.py judges.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from poolmgr.api import IPPool, IPReservation, Resource
from poolmgr.core import audit, usage
from poolmgr.core.flaws import Finding
from poolmgr.core.outline import Ordinals, ordinals
from poolmgr.core.records import BLOCKS, CONFIG_KEY, decode_resource, resource_range
from poolmgr.core.reservation import AddressSet
from poolmgr.core.txn import Fetch, Page, Range, Reading
from poolmgr.errors import CompactedError, CorruptStateError, StoreUnavailableError
from poolmgr.store.port import PAGE_KEYS, Store, pages

TIMEOUT_S = 60.0
"""By default: enough for a million addresses with their handles, several times over."""

_PAGE_TIMEOUT_S = 5.0
_BLOCKS_AT_ONCE = 256
"""A page of small ones; were large ones to follow them, etcd would make up 256 MB at worst."""


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
        if not pools or not {pool.metadata.name, str(pool.spec.cidr)}.isdisjoint(pools)
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


class Audit:
    """
    An audit: iterate over it once, for its findings.

    Args:
        now_ns: The time, to find releases at a time to come; None = do not look for them.
        timeout_s: For all of it.

    Attributes:
        revision: As of which everything is checked.
        checked: How many "pools", "blocks", "addresses" (in use), "affinities" and "handles"
            have been looked at so far.

    Raises:
        StoreError: There is no answer, or, while iterating, no complete one.
    """

    def __init__(
        self, store: Store, *, now_ns: int | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._reader = _Reader(store, Fetch(keys=frozenset({CONFIG_KEY})), timeout_s)
        self._now_ns = now_ns
        self.revision = self._reader.first.revision
        self.checked: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Finding]:
        """Yield what is wrong, as it is found."""
        return audit.audit(self._reader.items, now_ns=self._now_ns, checked=self.checked)


class _Reader:
    """
    Reads ranges of any size, all as of one revision.

    Attributes:
        first: The answer to `fetch`, whose revision it is.
    """

    def __init__(self, store: Store, fetch: Fetch, timeout_s: float) -> None:
        self._store = store
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
