"""
A store in memory that behaves as etcd does: for tests, and for trying things out.

It keeps every revision until `compact`, refuses what etcd refuses (lists of more than 128
operations, a key written twice, a request of more than 1.5 MiB, revisions that are compacted or
to come), and can be made to fail the way a network does.
"""

import bisect
import threading
from collections.abc import Collection
from dataclasses import dataclass

from poolmgr.core.txn import (
    EPOCH_KEY,
    Committed,
    Conflict,
    Fetch,
    KeyValue,
    Page,
    Range,
    Reading,
    Txn,
)
from poolmgr.errors import CommitUnknownError, CompactedError, StoreRefusedError
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, MAX_REQUEST_BYTES, MAX_TXN_OPS, Store

_Version = tuple[int, bytes | None]
"""The revision of a change of a key, and its new value; None = deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """
    Which commits go wrong, by number; the first commit of a store has number 1.

    Attributes:
        lost_ack: Applied, but the answer is lost: unknown to the caller.
        late: Unknown to the caller, and tried later: whether its compares hold is seen then.
        never_applied: Unknown to the caller, and never applied.
        conflict: Not applied; answered as a conflict even where every compare holds.
        delay: Operations (reads and commits) that pass before a late commit is tried.
    """

    lost_ack: Collection[int] = ()
    late: Collection[int] = ()
    never_applied: Collection[int] = ()
    conflict: Collection[int] = ()
    delay: int = 0


class MemoryStore:
    """A `Store` without etcd. Its revisions start at 1, as etcd's do."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._faults = faults or Faults()
        self._lock = threading.Lock()
        self._keys: list[str] = []  # every key of _history, in order
        self._history: dict[str, list[_Version]] = {}  # in order of revision
        self._revision = 1
        self._compacted = 0
        self._commits = 0
        self._operations = 0
        self._late: list[tuple[int, Txn]] = []  # with the operation that finds it applied

    def read(
        self,
        fetch: Fetch,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,  # noqa: ARG002 - the port has it
        revision: int | None = None,
    ) -> Reading:
        """See `Store.read`; it takes no time."""
        if len(fetch) > MAX_TXN_OPS:
            raise StoreRefusedError(f"{len(fetch)} keys and ranges are too many for one read")
        with self._lock:
            self._begin()
            if revision is None:
                return self._read(fetch, self._revision)
            assert (len(fetch.keys), len(fetch.ranges)) == (0, 1), (
                "a revision goes with one range"
            )
            if not self._compacted <= revision <= self._revision:
                raise CompactedError(f"the store does not have revision {revision}")
            return self._read(fetch, revision)

    def commit(
        self,
        txn: Txn,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,  # noqa: ARG002 - the port has it
    ) -> Committed | Conflict:
        """See `Store.commit`; it takes no time."""
        _refuse_what_etcd_refuses(txn)
        with self._lock:
            self._begin()
            self._commits += 1
            number = self._commits
            if number in self._faults.late:
                self._late.append((self._operations + 1 + self._faults.delay, txn))
                raise CommitUnknownError(f"commit {number} is late")
            if number in self._faults.never_applied:
                raise CommitUnknownError(f"commit {number} got lost")
            if number in self._faults.conflict:
                return self._conflict(txn)
            result = self._apply(txn)
            if number in self._faults.lost_ack:
                raise CommitUnknownError(f"the answer to commit {number} got lost")
            return result

    def close(self) -> None:
        """See `Store.close`; nothing is connected."""

    def compact(self, revision: int) -> None:
        """
        Forget what was overwritten or deleted up to `revision`.

        Raises:
            CompactedError: That is done already, or `revision` is to come.
        """
        with self._lock:
            if not self._compacted < revision <= self._revision:
                raise CompactedError(f"the store cannot compact revision {revision}")
            self._compacted = revision
            for key, versions in self._history.items():
                self._history[key] = versions[max(_at(versions, revision), 0) :]

    def _begin(self) -> None:
        """Count an operation, and apply the late commits that are due."""
        self._operations += 1
        due = [txn for at, txn in self._late if at <= self._operations]
        self._late = [(at, txn) for at, txn in self._late if at > self._operations]
        for txn in due:
            self._apply(txn)

    def _apply(self, txn: Txn) -> Committed | Conflict:
        if not self._holds(txn):
            return self._conflict(txn)
        changes: dict[str, bytes | None] = dict(txn.puts)
        changes |= {key: None for key in txn.deletes if self._get(key, self._revision)}
        if changes:  # deleting what is absent is no change, and makes no revision
            self._revision += 1
        for key, value in changes.items():
            if key not in self._history:
                bisect.insort(self._keys, key)
            self._history.setdefault(key, []).append((self._revision, value))
        return Committed(revision=self._revision)

    def _holds(self, txn: Txn) -> bool:
        epoch = self._get(EPOCH_KEY, self._revision)
        if (epoch.value if epoch else None) != txn.epoch:
            return False
        for key, revision in txn.expect.items():
            found = self._get(key, self._revision)
            if (found.mod_revision if found else 0) != revision:
                return False
        return all(
            found.mod_revision <= revision
            for range_, revision in txn.unchanged.items()
            for _, found in self._items(range_, self._revision)
        )

    def _conflict(self, txn: Txn) -> Conflict:
        return Conflict(current=self._read(_compared(txn), self._revision))

    def _read(self, fetch: Fetch, revision: int) -> Reading:
        return Reading(
            found={key: self._get(key, revision) for key in fetch.keys},
            ranges={range_: self._page(range_, revision) for range_ in fetch.ranges},
            revision=revision,
        )

    def _get(self, key: str, revision: int) -> KeyValue | None:
        versions = self._history.get(key, [])
        at = _at(versions, revision)
        if at < 0:
            return None
        mod_revision, value = versions[at]
        return None if value is None else KeyValue(value=value, mod_revision=mod_revision)

    def _items(self, range_: Range, revision: int) -> list[tuple[str, KeyValue]]:
        first = bisect.bisect_left(self._keys, range_.start)
        last = bisect.bisect_left(self._keys, range_.end)
        found = ((key, self._get(key, revision)) for key in self._keys[first:last])
        return [(key, value) for key, value in found if value]

    def _page(self, range_: Range, revision: int) -> Page:
        items = self._items(range_, revision)
        wanted = items[: range_.limit or len(items)]
        if range_.keys_only:
            wanted = [
                (key, KeyValue(value=b"", mod_revision=found.mod_revision))
                for key, found in wanted
            ]
        return Page(items=tuple(wanted), more=len(items) > len(wanted))


_: type[Store] = MemoryStore


def _at(versions: list[_Version], revision: int) -> int:
    """Return the index of the version that `revision` sees; -1 = there was none yet."""
    return bisect.bisect_right(versions, revision, key=lambda version: version[0]) - 1


def _compared(txn: Txn) -> Fetch:
    return Fetch(keys=frozenset({EPOCH_KEY, *txn.expect}), ranges=frozenset(txn.unchanged))


def _refuse_what_etcd_refuses(txn: Txn) -> None:
    if max(txn.operations(), len(_compared(txn))) > MAX_TXN_OPS:
        raise StoreRefusedError(
            f"{txn.operations()} operations are too many for one transaction"
        )
    if twice := txn.puts.keys() & txn.deletes:
        raise StoreRefusedError(f"the transaction puts and deletes {min(twice)}")
    if txn.size_bytes() > MAX_REQUEST_BYTES:
        raise StoreRefusedError(f"a transaction of {txn.size_bytes()} bytes is too large")
