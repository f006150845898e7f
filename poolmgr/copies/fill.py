"""
Writes a copy back, step by step, so that it can be killed anywhere and go on later.

Theory: the data do not fit into one transaction. So a marker key says which copy is being
written and how far it is; every step compares it and moves it on. A step therefore happens
once, however often it is tried, and a step whose answer got lost is recognised by the marker.

Rules:

1. The first step renews the epoch, so that whatever was planned on other data cannot commit any
   more, locks the datastore and writes the marker. Where data are replaced, the pools go next.
2. Keys are written in the order of copies/order.py, pools last; from the first step on until
   then nobody is given an address. After a kill the store is as it was, or without pools, or
   complete but for the lock and perhaps some pools.
3. The last step writes the copy's own lock and takes the marker away.
4. A key that somebody else wrote meanwhile is never overwritten, unless data are replaced.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from poolmgr.copies.identity import with_ready
from poolmgr.copies.order import CLUSTER_KEY, MARKER_KEY, ORDER, POOLS, name_of, place
from poolmgr.copies.staged import Staged
from poolmgr.core.fields import checked, load
from poolmgr.core.txn import (
    EPOCH_KEY,
    Committed,
    Conflict,
    Fetch,
    KeyValue,
    Range,
    Reading,
    Txn,
)
from poolmgr.errors import (
    CommitUnknownError,
    ContentionError,
    CorruptStateError,
    RefusedError,
    StoreError,
)
from poolmgr.store.port import Store, pages

MOST_KEYS, MOST_BYTES = 110, 900 * 1024
"""In a step; with marker, lock and keys it stays below 120 operations and 1 MiB."""

_TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """
    What is being written, and how far it is.

    Attributes:
        copy: Digest of the copy.
        replaces: Whether what else is stored goes.
        after: The last key that is done; "" = none is.
    """

    copy: str
    replaces: bool
    after: str = ""

    def encode(self) -> bytes:
        """Write it."""
        return json.dumps(asdict(self)).encode()


def decode_marker(raw: bytes) -> Marker:
    """
    Read a marker.

    Raises:
        CorruptStateError: It is none.
    """
    value = load(MARKER_KEY, raw)
    try:
        return Marker(
            copy=checked(value.get("copy"), str),
            replaces=checked(value.get("replaces"), bool),
            after=checked(value.get("after"), str),
        )
    except TypeError as error:
        raise CorruptStateError(MARKER_KEY, f"not a marker ({error})") from error


def stored_counts(store: Store, *, timeout_s: float) -> Counter[str]:
    """Count what a copy would replace, by what it is; `timeout_s` is for each page."""
    counts: Counter[str] = Counter()
    for range_ in ORDER:
        for page in pages(store, replace(range_, keys_only=True), timeout_s=timeout_s):
            counts[name_of(range_)] += len(page.items)
    return +counts


class Fill:
    """
    Writes one copy to a store.

    Args:
        replaces: Whether what else is stored goes; else nothing may be stored.
        epoch: A new one, random text.
        now: RFC 3339.
        timeout_s: For each call of the store.
    """

    def __init__(
        self,
        store: Store,
        staged: Staged,
        *,
        replaces: bool,
        epoch: bytes,
        now: str,
        timeout_s: float,
    ) -> None:
        self._store, self._staged, self._timeout_s = store, staged, timeout_s
        self._epoch, self._now = epoch, now
        self._marker = Marker(copy=staged.digest, replaces=replaces)
        self._revision = 0  # of the marker
        self._unknown: CommitUnknownError | None = None

    def begin(self) -> str:
        """
        Take the first step, or find that it was taken.

        Returns:
            The last key that was written by an earlier run; "" = none.

        Raises:
            RefusedError: Something is stored that is not to be replaced.
            CorruptStateError: The marker cannot be understood.
            StoreError: See its kinds.
        """
        for _ in range(_TRIES):
            seen = self._read(frozenset({MARKER_KEY, EPOCH_KEY, CLUSTER_KEY}))
            if self._goes_on(seen):
                return self._marker.after
            if not self._marker.replaces:
                self._check_empty()
            if isinstance(self._commit(self._first(seen)), Committed):
                return ""
        raise self._given_up()

    def run(self) -> Iterator[int]:
        """
        Take all other steps; iterate over it once.

        Yields:
            Number of keys that a step wrote or deleted.

        Raises:
            RefusedError: Somebody else writes the same keys, or another copy.
            StoreError: See its kinds; it goes on when it is begun again.
        """
        if self._marker.replaces and not self._marker.after:
            yield from self._steps(self._pools_away)
        at = place(self._marker.after) or 0
        for range_ in ORDER[at:-1]:

            def step(range_: Range = range_) -> Txn | None:
                return self._next_keys(range_)

            yield from self._steps(step)
        yield from self._steps(self._last)

    def _goes_on(self, seen: Reading) -> bool:
        found, epoch = seen.found[MARKER_KEY], seen.found[EPOCH_KEY]
        if found is None:
            return False
        try:
            marker = decode_marker(found.value)
        except CorruptStateError:
            if self._marker.replaces:
                return False  # It is replaced, too.
            raise
        if marker.copy != self._marker.copy:
            if self._marker.replaces:
                return False
            raise RefusedError(
                "another copy is written to this datastore, or was until it broke off; finish "
                "that one, or replace everything by `poolctl datastore restore --replace`"
            )
        if marker.replaces and not self._marker.replaces:
            raise RefusedError("this copy was begun with --replace; go on with --replace")
        self._marker = replace(marker, replaces=self._marker.replaces)
        self._revision = found.mod_revision
        self._epoch = epoch.value if epoch else b""
        return True

    def _check_empty(self) -> None:
        if counts := stored_counts(self._store, timeout_s=self._timeout_s):
            there = ", ".join(f"{what} {number:,}" for what, number in counts.items())
            raise self._unknown or RefusedError(
                f"the datastore is not empty: {there}; nothing was written"
            )

    def _first(self, seen: Reading) -> Txn:
        marker, epoch, cluster = (
            seen.found[key] for key in (MARKER_KEY, EPOCH_KEY, CLUSTER_KEY)
        )
        puts = {MARKER_KEY: self._marker.encode(), EPOCH_KEY: self._epoch}
        puts[CLUSTER_KEY] = self._locked(cluster)
        return Txn(
            # Two copies must not be written at the same time, and a change of the cluster's
            # identity is no business of ours yet.
            expect={MARKER_KEY: _revision(marker), CLUSTER_KEY: _revision(cluster)},
            epoch=epoch.value if epoch else None,
            puts=puts,
        )

    def _locked(self, cluster: KeyValue | None) -> bytes:
        for raw in (cluster.value if cluster else None, self._staged.get(CLUSTER_KEY)):
            try:
                if raw is not None:
                    return with_ready(raw, self._now, ready=False)
            except CorruptStateError:
                continue
        return with_ready(None, self._now, ready=False)

    def _steps(self, step: Callable[[], Txn | None]) -> Iterator[int]:
        """Take a kind of step until none of it is left."""
        tries = 0
        while (txn := step()) is not None:
            if isinstance(self._commit(txn), Committed):
                tries = 0
                yield len(txn.expect) - 1
            elif (tries := tries + 1) == _TRIES:
                raise self._given_up()

    def _pools_away(self) -> Txn | None:
        page = self._page(POOLS)
        if not page:
            return None
        expect = {key: found.mod_revision for key, found in page}
        return self._moving(self._marker, expect, {}, frozenset(expect))

    def _next_keys(self, range_: Range) -> Txn | None:
        """Make the step that comes next in a range; None = it is done."""
        rest = range_
        if self._marker.after in range_:
            rest = range_.after(self._marker.after)
        wanted, cut = self._wanted(rest)
        present: dict[str, int] = {}
        if self._marker.replaces:
            page = self._page(rest)
            present = {key: found.mod_revision for key, found in page}
            if len(page) == MOST_KEYS:  # what follows is not known yet
                cut = min(cut, page[-1][0], key=_in_order)
        last = _in_order(cut)
        known = sorted({*wanted, *present}, key=_in_order)
        keys = [key for key in known if _in_order(key) <= last][:MOST_KEYS]
        if not keys:
            return None
        return self._moving(
            replace(self._marker, after=keys[-1]),
            # What came or changed since we looked shall not be overwritten unseen.
            {key: present.get(key, 0) for key in keys},
            {key: wanted[key] for key in keys if key in wanted},
            frozenset(key for key in keys if key not in wanted),
        )

    def _wanted(self, range_: Range) -> tuple[dict[str, bytes], str]:
        """Return what the copy has next, and up to which key that is all it has."""
        wanted: dict[str, bytes] = {}
        size = 0
        for key, value in self._staged.within(range_):
            size += len(value) + 2 * len(_in_order(key))
            if len(wanted) == MOST_KEYS or (wanted and size > MOST_BYTES):
                return wanted, next(reversed(wanted))
            wanted[key] = value
        return wanted, range_.end

    def _last(self) -> Txn | None:
        if not self._revision:
            return None
        cluster = self._read(frozenset({CLUSTER_KEY})).found[CLUSTER_KEY]
        raw = self._staged.get(CLUSTER_KEY)
        gone = {MARKER_KEY} if raw is not None else {MARKER_KEY, CLUSTER_KEY}
        return Txn(
            # Nobody else has gone on, nor changed the lock that is taken away.
            expect={MARKER_KEY: self._revision, CLUSTER_KEY: _revision(cluster)},
            epoch=self._epoch,
            puts={} if raw is None else {CLUSTER_KEY: raw},
            deletes=frozenset(gone),
        )

    def _moving(
        self,
        marker: Marker,
        expect: dict[str, int],
        puts: dict[str, bytes],
        deletes: frozenset[str],
    ) -> Txn:
        return Txn(
            # A step that was taken already moved the marker.
            expect={**expect, MARKER_KEY: self._revision},
            epoch=self._epoch,
            puts={**puts, MARKER_KEY: marker.encode()},
            deletes=deletes,
        )

    def _commit(self, txn: Txn) -> Committed | None:
        """Commit a step; None = look, and try again."""
        try:
            result = self._store.commit(txn, timeout_s=self._timeout_s)
        except CommitUnknownError as error:
            self._unknown = error
            result = None
        except StoreError as error:
            raise self._unknown or error from error
        if isinstance(result, Conflict):
            now = result.current
        elif result is None:
            now = self._read(frozenset({MARKER_KEY, EPOCH_KEY}))
        else:
            return self._moved(txn, result.revision)
        return self._settled(txn, now, by_others=isinstance(result, Conflict))

    def _settled(self, txn: Txn, now: Reading, *, by_others: bool) -> Committed | None:
        found, epoch = now.found[MARKER_KEY], now.found[EPOCH_KEY]
        if EPOCH_KEY in txn.puts:
            return None  # Whoever takes the first step looks again.
        mine = epoch is not None and epoch.value == self._epoch
        if mine and _revision(found) == txn.expect[MARKER_KEY]:
            if by_others and not self._marker.replaces:
                self._name_others(txn, now)
            return None
        if mine and (found.value if found else None) == txn.puts.get(MARKER_KEY):
            return self._moved(txn, _revision(found))
        if mine and found and self._adopted(found):
            return None
        raise self._unknown or RefusedError(
            "somebody else writes this or another copy, or renewed the epoch, at the same "
            "time; nothing more was written"
        )

    def _moved(self, txn: Txn, revision: int) -> Committed:
        """Note that a step was taken, which makes everything before it known."""
        self._unknown = None
        raw = txn.puts.get(MARKER_KEY)
        self._revision = 0 if raw is None else revision
        if raw is not None:
            self._marker = decode_marker(raw)
        return Committed(revision=revision)

    def _adopted(self, found: KeyValue) -> bool:
        """Go on where the same copy is by now: by a late step of ours, or in another run."""
        marker = decode_marker(found.value)
        if marker.copy != self._marker.copy:
            return False
        self._marker = replace(marker, replaces=self._marker.replaces)
        self._revision = found.mod_revision
        return True

    def _name_others(self, txn: Txn, now: Reading) -> None:
        for key, revision in txn.expect.items():
            if _revision(now.found[key]) != revision and revision == 0:
                raise RefusedError(
                    f"{key} was written by somebody else meanwhile, and is left as it is; stop "
                    "whoever writes, and begin again with an empty datastore or with "
                    "`poolctl datastore restore --replace`"
                )

    def _page(self, range_: Range) -> tuple[tuple[str, KeyValue], ...]:
        asked = replace(range_, limit=MOST_KEYS, keys_only=True)
        return self._fetch(Fetch(ranges=frozenset({asked}))).ranges[asked].items

    def _read(self, keys: frozenset[str]) -> Reading:
        return self._fetch(Fetch(keys=keys))

    def _fetch(self, fetch: Fetch) -> Reading:
        try:
            return self._store.read(fetch, timeout_s=self._timeout_s)
        except StoreError as error:
            raise self._unknown or error from error

    def _given_up(self) -> StoreError:
        return self._unknown or ContentionError("others keep writing the same keys")


def _revision(found: KeyValue | None) -> int:
    return found.mod_revision if found else 0


def _in_order(key: str) -> bytes:
    """Return what etcd sorts a key by; bytes that are no text came as surrogates."""
    return key.encode(errors="surrogateescape")
