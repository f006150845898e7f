"""
Reading everything that is stored, as of one revision.

Theory: a big cluster stores hundreds of megabytes. They are read in pages, the next one while
the last one is looked at, and are not kept.

Rules:

1. All that a scan reads is of one revision; if that is compacted away, there is no answer.
2. What does not decode is noted, and left out.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from poolmgr.api import IPPool, IPReservation, Resource
from poolmgr.core.records import BLOCKS, decode_resource, resource_range
from poolmgr.core.reservation import AddressSet
from poolmgr.core.txn import Fetch, KeyValue, Page, Range
from poolmgr.errors import CompactedError, CorruptStateError, StoreUnavailableError
from poolmgr.store.port import PAGE_KEYS, Store, pages

TIMEOUT_S = 60.0
"""By default: enough for a million addresses with their handles, several times over."""

POOLS = Fetch(ranges=frozenset(resource_range(kind.plural) for kind in (IPPool, IPReservation)))
"""Pools and reservations: few enough to be read at once."""

_PAGE_TIMEOUT_S = 5.0
_BLOCKS_AT_ONCE = 256
"""A page of small ones; were large ones to follow them, etcd would make up 256 MB at worst."""

_R = TypeVar("_R", bound=Resource)
_S = TypeVar("_S")
_T = TypeVar("_T")


class Scan:
    """
    Reads ranges of any size, all as of one revision.

    Args:
        fetch: What to read at once.
        timeout_s: For all of it.
        advance: Called with the number of keys whenever a page was looked at.

    Attributes:
        first: The answer to `fetch`.
        revision: As of which everything is read.
        unreadable: What did not decode so far.

    Raises:
        StoreError: There is no answer, or, from its methods, no complete one.
    """

    def __init__(
        self,
        store: Store,
        fetch: Fetch,
        timeout_s: float,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store, self._advance = store, advance
        self._timeout_s, self._deadline = timeout_s, time.monotonic() + timeout_s
        self.first = store.read(fetch, timeout_s=self._page_s())
        self.revision = self.first.revision
        self.unreadable: list[CorruptStateError] = []

    def stored(self, range_: Range) -> Iterator[tuple[str, KeyValue]]:
        """
        Yield what a range holds, in key order.

        Raises:
            CompactedError: The revision is gone.
            StoreUnavailableError: There is no answer in time.
        """
        found = pages(
            self._store,
            range_,
            page_size=_BLOCKS_AT_ONCE if range_ in BLOCKS.values() else PAGE_KEYS,
            timeout_s=self._page_s(),
            revision=self.revision,
        )
        try:
            for page in _ahead(found):
                yield from page.items
                self._advance(len(page.items))
                if time.monotonic() > self._deadline:
                    raise StoreUnavailableError(f"not all was read in {self._timeout_s:g} s")
        except CompactedError as error:
            raise CompactedError(
                f"revision {self.revision} was compacted away while it was read; ask again"
            ) from error

    def items(self, range_: Range) -> Iterator[tuple[str, bytes]]:
        """Yield keys and values of a range; raises as `stored`."""
        return ((key, stored.value) for key, stored in self.stored(range_))

    def decoded(
        self, found: Iterable[tuple[str, _S]], decode: Callable[[str, _S], _T]
    ) -> Iterator[_T]:
        """Yield what `decode` makes of keys and what they hold; note what does not decode."""
        for key, stored in found:
            try:
                yield decode(key, stored)
            except CorruptStateError as error:
                self.unreadable.append(error)

    def resources(self, kind: type[_R]) -> Iterator[_R]:
        """Yield the resources of a kind that was fetched at once."""
        return self.decoded(
            self.first.ranges[resource_range(kind.plural)].items,
            lambda key, stored: decode_resource(kind, key, stored.value, stored.mod_revision),
        )

    def reserved(self) -> AddressSet:
        """Return what the reservations cover, which were fetched at once."""
        return AddressSet.of(
            text
            for reservation in self.resources(IPReservation)
            for text in reservation.spec.reserved_cidrs
        )

    def _page_s(self) -> float:
        return max(0.1, min(_PAGE_TIMEOUT_S, self._deadline - time.monotonic()))


def _ahead(found: Iterator[Page]) -> Iterator[Page]:
    """Yield the pages of `found`, each read while the one before is looked at."""
    with ThreadPoolExecutor(1, "read-ahead") as executor:
        reading = executor.submit(next, found, None)
        while (page := reading.result()) is not None:
            reading = executor.submit(next, found, None)
            yield page
