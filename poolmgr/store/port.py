"""
What the rest of the library sees of a store.

Rules:

1. A read is answered at one revision, and never from a stale copy.
2. A commit happens wholly or not at all, and only if everything that its transaction expects
   holds.
3. An error that is `definite` means that nothing was written. `CommitUnknownError` is the other
   kind; only `commit` raises it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from poolmgr.core.txn import Committed, Conflict, Fetch, Page, Range, Reading, Txn
from poolmgr.errors import StoreUnavailableError

ATTEMPT_TIMEOUT_S = 2.0
"""Longer than an election of etcd takes: losing the leader costs one attempt."""

MAX_TXN_OPS = 128
"""Operations in each list of a transaction: etcd's --max-txn-ops, server/embed/config.go."""

MAX_REQUEST_BYTES = 1536 * 1024
"""Size of a request: etcd's --max-request-bytes, server/embed/config.go."""

PAGE_BYTES = 4 * 1024 * 1024
"""Values in a page: enough that asking takes no time, little to keep in memory."""

PAGE_KEYS = 16_384
"""Keys in a page: each page costs etcd a walk over all keys that are left, so few are best."""

_FEW = 16  # keys of MAX_REQUEST_BYTES that make no more than 24 MiB; answers may have 32
_MOST = (
    16_384  # a page costs etcd a walk over all keys that are left, so that few pages are best
)


class Store(Protocol):
    """Keys and values with revisions, changed by compare-and-swap; shared between threads."""

    def read(
        self, fetch: Fetch, *, timeout_s: float = ATTEMPT_TIMEOUT_S, revision: int | None = None
    ) -> Reading:
        """
        Read every key and range of `fetch` in one read-only transaction.

        Args:
            fetch: At most MAX_TXN_OPS keys and ranges together.
            timeout_s: For the whole call.
            revision: Read as of this one instead of now, for the later pages of a long range;
                then `fetch` is that range alone.

        Raises:
            StoreUnavailableError: No answer in time.
            StoreRefusedError: The answer is no, and will be.
            CompactedError: `revision` is not to be had.
        """

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        """
        Do what `txn` says if everything that it compares holds.

        A transaction that changes nothing is a check; its revision is one at which all held.

        Args:
            txn: At most MAX_TXN_OPS operations and MAX_REQUEST_BYTES.
            timeout_s: For the whole call.

        Raises:
            StoreUnavailableError: Not applied, certainly.
            StoreRefusedError: Not applied, and the same transaction never will be.
            CommitUnknownError: Applied, or not, or applied later.
        """

    def close(self) -> None:
        """Let go of connections. Calls still under way fail."""


def pages(
    store: Store,
    range_: Range,
    *,
    page_size: int = PAGE_KEYS,
    timeout_s: float = ATTEMPT_TIMEOUT_S,
    revision: int | None = None,
) -> Iterator[Page]:
    """
    Read a range of any size page by page, all as of one revision.

    A page has as many keys as fit into PAGE_BYTES if they are like those before. The first has
    few, and so has one that is asked for again because it did not come: it may be too large.

    Args:
        store: To read from.
        range_: Its own limit is not used.
        page_size: Keys in a page, at most.
        timeout_s: For each page.
        revision: Read as of this one; None = that of the first page.

    Raises:
        StoreUnavailableError: A page of few keys does not come.
        CompactedError: That revision went away on the way: start over.
    """
    few = min(_FEW, page_size)
    asked = replace(range_, limit=few)
    while True:
        try:
            reading = store.read(_only(asked), timeout_s=timeout_s, revision=revision)
        except StoreUnavailableError:
            if asked.limit == few:
                raise
            asked = replace(asked, limit=few)
            continue
        page, revision = reading.ranges[asked], reading.revision
        yield page
        if not page.more:
            return
        largest = max(len(found.value) for _, found in page.items)
        limit = max(few, min(PAGE_BYTES // max(largest, 1), page_size))
        asked = replace(asked.after(page.items[-1][0]), limit=limit)


def _only(range_: Range) -> Fetch:
    return Fetch(ranges=frozenset({range_}))
