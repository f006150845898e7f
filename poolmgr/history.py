"""
Who held an address, as far back as etcd remembers.

Theory: etcd keeps what a key said at every revision since its last compaction. A read as of a
revision tells when the key was last written before it; a read as of the revision before that
tells what was overwritten. A key that was deleted tells nothing: where a block was missing, its
last life is looked for at revisions spread evenly, and its end found by halving.

Rules:

1. One read per revision of the block, and as many as the caller allows; what they say is
   compared with the next one and forgotten.
2. What was not looked at is said: where knowledge begins, and how short a life of the block
   may have been missed.
3. A compaction on the way moves the beginning; what was read stays true.
"""

import time
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from poolmgr.api import IPPool
from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPAddress, IPNetwork, network, ordinal_of
from poolmgr.core.chronicle import Event, Sight, What, changes, first_known, sight
from poolmgr.core.pools import pool_of
from poolmgr.core.records import block_key, decode_resource, resource_range
from poolmgr.core.txn import Fetch, KeyValue, Range
from poolmgr.errors import CompactedError, CorruptStateError
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store

PROBES = 256
"""Revisions looked at, at most, for an earlier life of a block that was missing."""

_RESERVE_S = 0.5  # of the caller's time, to tell what was found
_POOLS = resource_range(IPPool.plural)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """
    What is known about an address.

    Attributes:
        events: Oldest first.
        since: Nothing is known before this revision.
        compacted: Whether etcd dropped what was before; else nothing was.
        complete: Whether everything that etcd has was looked at.
        missed: A life of the block that lasted for no more than so many revisions may be
            missing; 0 = none is.
        reads: How often etcd was asked.
    """

    events: tuple[Event, ...]
    since: int
    compacted: bool
    complete: bool
    missed: int
    reads: int


def find_block(
    store: Store, address: IPAddress, *, timeout_s: float
) -> tuple[IPNetwork | None, bool, int]:
    """
    Find the block of an address: the one that exists, or the one that its pool would have.

    Returns:
        The block, None = there is neither; whether it exists; and the revision of the store.
    """
    cidrs = [network(address, size) for size in BLOCK_SIZES[address.version]]
    keys = {block_key(cidr): cidr for cidr in cidrs}
    fetch = Fetch(keys=frozenset(keys), ranges=frozenset({_POOLS}))
    reading = store.read(fetch, timeout_s=timeout_s)
    for key, cidr in keys.items():
        if reading.found[key] is not None:
            return cidr, True, reading.revision
    pool = pool_of(list(_pools(reading.ranges[_POOLS].items)), address, enabled=False)
    if pool is None:
        return None, False, reading.revision
    return network(address, pool.spec.block_size), False, reading.revision


def _pools(items: tuple[tuple[str, KeyValue], ...]) -> Iterator[IPPool]:
    for key, stored in items:
        try:
            yield decode_resource(IPPool, key, stored.value, stored.mod_revision)
        except CorruptStateError:
            continue  # it is missed only where the block is missing, too


class _EnoughError(Exception):
    """The caller's limit, or time, is used up."""


class Historian:
    """
    Reads the history of one address of a block, once.

    Args:
        limit: How often etcd may be asked.
        timeout_s: For all of it.
        advance: Called with the number of reads since the last call.
    """

    def __init__(
        self,
        store: Store,
        block: IPNetwork,
        address: IPAddress,
        *,
        limit: int,
        timeout_s: float,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._key = block_key(block)
        self._ordinal = ordinal_of(block, address)
        self._only = Range(start=self._key, end=f"{self._key}\0", limit=1)
        self._limit, self._deadline = limit, time.monotonic() + timeout_s
        self._advance = advance
        self._reads = self._missed = self._since = 0
        self._newer: tuple[int, Sight | None] | None = None  # what the next state led to
        self._events: list[Event] = []  # newest first

    def history(self, revision: int) -> History:
        """
        Look back from a revision of the store.

        Raises:
            StoreError: There is no answer.
        """
        self._since = revision
        compacted = complete = True
        try:
            self._since = self._walk(revision)
            compacted = self._since > 1
        except CompactedError:
            if self._newer is None:
                raise
            self._begin()
        except _EnoughError:
            compacted = complete = False
            self._begin()
        return History(
            events=tuple(reversed(self._events)),
            since=self._since,
            compacted=compacted,
            complete=complete,
            missed=self._missed,
            reads=self._reads,
        )

    def _walk(self, at: int) -> int:
        """Go back from state to state; return the revision before which there was no block."""
        while True:
            found = self._read(at)
            if found is not None:
                self._see(found)
                at = found.mod_revision - 1
                continue
            self._compare(None)
            self._newer = None
            gone, floor = self._earlier(at)
            if gone is None:
                return floor
            self._newer, self._since = (gone, None), gone
            at = gone - 1

    def _see(self, found: KeyValue) -> None:
        self._since = found.mod_revision
        try:
            seen = sight(self._key, found.value, self._ordinal)
        except CorruptStateError as error:
            note, revision = str(error), found.mod_revision
            self._events.append(Event(revision=revision, what=What.UNREADABLE, note=note))
            return
        self._compare(seen)
        self._newer = (found.mod_revision, seen)

    def _compare(self, older: Sight | None) -> None:
        if self._newer is not None:
            revision, newer = self._newer
            self._events += reversed(list(changes(older, newer, revision)))

    def _begin(self) -> None:
        """Tell the oldest known state, what led to it not being known."""
        if self._newer is not None and self._newer[1] is not None:
            self._events.append(first_known(self._newer[1], self._newer[0]))

    def _earlier(self, missing_at: int) -> tuple[int | None, int]:
        """
        Look for the last life of the block before a revision at which it is missing.

        Returns:
            The revision that deleted the block, None = no life was found; and the first
            revision that was looked at.
        """
        missing = [missing_at]
        gone: int | None = None
        spread = _spread(self._first_readable(missing_at), missing_at)
        for _ in range(PROBES):
            at = next(spread, None)
            if at is None:
                break
            try:
                found = self._read(at)
            except CompactedError:
                continue
            if found is None:
                insort(missing, at)
                continue
            gone = self._end(at, missing[bisect_right(missing, at)])
            missing = [gone, *(each for each in missing if each > gone)]
            spread = _spread(gone + 1, missing_at)
        gaps = (after - before - 1 for before, after in pairwise(missing))
        self._missed = max(self._missed, *gaps, 0)
        return gone, missing[0]

    def _first_readable(self, good: int) -> int:
        """Find the oldest revision that etcd has; it has `good`."""
        if not self._is_compacted(1):
            return 1
        bad = 1
        while good - bad > 1:
            at = (bad + good) // 2
            bad, good = (at, good) if self._is_compacted(at) else (bad, at)
        return good

    def _is_compacted(self, at: int) -> bool:
        try:
            self._read(at)
        except CompactedError:
            return True
        return False

    def _end(self, there: int, missing: int) -> int:
        """Find a revision that deleted the block, which was there and then was missing."""
        while missing - there > 1:
            at = (there + missing) // 2
            try:
                is_missing = self._read(at) is None
            except CompactedError:
                is_missing = False
            there, missing = (there, at) if is_missing else (at, missing)
        return missing

    def _read(self, at: int) -> KeyValue | None:
        left_s = self._deadline - time.monotonic() - _RESERVE_S
        if self._reads >= self._limit or left_s <= 0:
            raise _EnoughError
        self._reads += 1
        self._advance(1)
        fetch, timeout_s = Fetch(ranges=frozenset({self._only})), min(ATTEMPT_TIMEOUT_S, left_s)
        reading = self._store.read(fetch, timeout_s=timeout_s, revision=at)
        items = reading.ranges[self._only].items
        return items[0][1] if items else None


def _spread(low: int, high: int) -> Iterator[int]:
    """Yield every revision from `low` up to `high` once: ever closer ones, newest first."""
    if low < high:
        yield low
    seen, span, parts = {low}, high - low, 2
    while parts < 2 * span:
        for part in range(parts - 1, 0, -2):
            at = low + span * part // parts
            if at not in seen:
                seen.add(at)
                yield at
        parts *= 2
