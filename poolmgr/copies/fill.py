"""
Writes a copy back, step by step, so that it can be killed anywhere and go on later.

Theory: the data do not fit into one transaction. So a marker key says which copy is being
written and how far it is; every step compares it and moves it on. A step therefore happens
once, however often it is tried, and a step whose answer got lost is recognised by the marker.

All rests on there being no pool: then nobody is given an address, and what is written cannot be
outdated by what is assigned meanwhile. Absence is compared like anything else.

Rules:

1. The first step renews the epoch, so that whatever was planned on other data cannot commit any
   more, locks the datastore, writes the marker, and deletes the pools where data are replaced.
   It is repeated, each time under another epoch, while there are more pools than it takes.
   Where nothing is replaced it compares that nothing of ours or Calico's is stored.
2. Keys are written in the order of copies/order.py, pools last. Until the first of these is
   written, each step compares that no pool came since the look or the step that left none.
3. A pool that came all the same, or a block that somebody wrote while the copy was broken off,
   means that addresses may have been assigned on half of the data. Where data are replaced, the
   first step is taken again and all is written anew; the marker remembers it, so that it is
   told in the end. Elsewhere nothing more is written.
4. After a kill the store is as it was, or without pools, or complete but for the lock and
   perhaps some pools. It goes on there, unless rule 3 applies.
5. The last step writes the copy's own lock and takes the marker away.
6. A key that somebody else wrote meanwhile is never overwritten, unless data are replaced.
7. While the outcome of a step is unknown, no error says that nothing was written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from poolmgr.copies.identity import with_ready
from poolmgr.copies.marker import Marker, decode_marker
from poolmgr.copies.order import (
    CLUSTER_KEY,
    MARKER_KEY,
    ORDER,
    POOLS,
    PREFIXES,
    place,
)
from poolmgr.copies.present import block_since, stored_counts
from poolmgr.copies.staged import Staged
from poolmgr.core.records import BLOCKS
from poolmgr.core.txn import (
    EPOCH_KEY,
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
    PoolmgrError,
    RefusedError,
)
from poolmgr.store.port import Store

MOST_KEYS, MOST_BYTES = 110, 900 * 1024
"""In a step; with marker, lock and keys it stays below 120 operations and 1 MiB."""

_TRIES = 10
_POOLS_AT = ORDER.index(POOLS)


class Fill:
    """
    Writes one copy to a store.

    Args:
        replaces: Whether what else is stored goes; else nothing may be stored.
        new_epoch: Makes a random text, another each time.
        now: RFC 3339.
        timeout_s: For each call of the store.
    """

    def __init__(
        self,
        store: Store,
        staged: Staged,
        *,
        replaces: bool,
        new_epoch: Callable[[], bytes],
        now: str,
        timeout_s: float,
    ) -> None:
        self._store, self._staged, self._timeout_s = store, staged, timeout_s
        self._new_epoch, self._now = new_epoch, now
        self._marker = Marker(copy=staged.digest, replaces=replaces)
        self._revision = 0  # of the marker; 0 = it has not begun, or has ended
        self._epoch: bytes | None = None
        self._without_pools = 0  # revision at which there were none; 0 = they are to go
        self._restarts = 0
        self._unknown: CommitUnknownError | None = None

    @property
    def overtaken(self) -> bool:
        """Whether others may have assigned addresses meanwhile that are forgotten."""
        return self._marker.overtaken

    def begin(self) -> str:
        """
        Take the first step, or find that it was taken.

        Returns:
            The last key that was written by an earlier run; "" = none, or all is written anew.

        Raises:
            RefusedError: Something is stored that is not to be replaced.
            CorruptStateError: The marker cannot be understood.
            StoreError: See its kinds.
        """
        with self._honest():
            for _ in range(_TRIES):
                seen = self._look()
                if self._goes_on(seen):
                    return self._marker.after
                if not self._marker.replaces:
                    self._check_empty()
                if self._commit(self._first(seen, _revision(seen.found[MARKER_KEY]))):
                    return ""
            raise _given_up()

    def run(self) -> Iterator[int]:
        """
        Take all other steps; iterate over it once.

        Yields:
            Number of keys that a step wrote or deleted.

        Raises:
            RefusedError: Somebody else writes the same keys, or pools, or another copy.
            StoreError: See its kinds; it goes on when it is begun again.
        """
        tries = 0
        while self._revision:
            with self._honest():
                txn = self._next()
                committed = self._commit(txn)
                tries = 0 if committed else tries + 1
                if tries == _TRIES:
                    raise _given_up()
            if committed:
                yield len(txn.puts) + len(txn.deletes) - 1

    def _look(self) -> Reading:
        keys = frozenset({MARKER_KEY, EPOCH_KEY, CLUSTER_KEY})
        return self._fetch(Fetch(keys=keys, ranges=frozenset({_pools()})))

    def _goes_on(self, seen: Reading) -> bool:
        found, epoch = seen.found[MARKER_KEY], seen.found[EPOCH_KEY]
        marker = self._begun(found)
        if found is None or marker is None:
            return False
        self._adopt(marker, found)
        self._epoch = epoch.value if epoch else None
        if self._is_before_pools():
            self._without_pools = seen.revision
            self._check_quiet(seen, found.mod_revision)
        return True

    def _begun(self, found: KeyValue | None) -> Marker | None:
        """Return the marker of this copy; None = there is none, or it is replaced, too."""
        if found is None:
            return None
        try:
            marker = decode_marker(found.value)
        except CorruptStateError:
            if self._marker.replaces:
                return None
            raise
        if marker.copy != self._marker.copy:
            if self._marker.replaces:
                return None
            raise RefusedError(
                "another copy is written to this datastore, or was until it broke off; finish "
                "that one, or replace everything by `poolctl datastore restore --replace`"
            )
        if marker.replaces and not self._marker.replaces:
            raise RefusedError("this copy was begun with --replace; go on with --replace")
        return marker

    def _check_quiet(self, seen: Reading, revision: int) -> None:
        """Find out whether addresses may have been assigned since a step at that revision."""
        if items := seen.ranges[_pools()].items:
            self._overtaken_by(items[0][0])
        elif self._marker.replaces:
            # A pool may have come and gone; blocks stay.
            block = block_since(self._store, revision, timeout_s=self._timeout_s)
            if block is not None:
                self._overtaken_by(block)

    def _adopt(self, marker: Marker, found: KeyValue) -> None:
        """Go on from a marker of this copy, which settles what became of our steps."""
        self._marker = replace(marker, replaces=self._marker.replaces)
        self._revision, self._unknown = found.mod_revision, None

    def _is_before_pools(self) -> bool:
        """Tell whether no pool of the copy is written yet."""
        return (place(self._marker.after) or 0) < _POOLS_AT

    def _overtaken_by(self, key: str) -> None:
        """
        Begin anew where data are replaced: addresses may have been assigned on half of them.

        Raises:
            RefusedError: They are not replaced, or it happens again and again.
        """
        if not self._marker.replaces:
            raise RefusedError(
                f"{key} was written by somebody else meanwhile, so that addresses could be "
                "assigned before everything is there; nothing more was written; stop whoever "
                "writes pools, delete it by the same means or by etcdctl, and begin again"
            )
        self._restarts += 1
        if self._restarts == _TRIES:
            raise RefusedError(
                f"{key} was written by somebody else, again and again; the copy is not "
                "complete; stop whoever writes pools, and begin again"
            )
        self._marker = replace(self._marker, after="", overtaken=True)
        self._without_pools = 0

    def _check_empty(self) -> None:
        if counts := stored_counts(self._store, timeout_s=self._timeout_s):
            there = ", ".join(f"{what} {number:,}" for what, number in counts.items())
            raise RefusedError(f"the datastore is not empty: {there}; nothing was written")

    def _first(self, seen: Reading, marker_revision: int) -> Txn:
        epoch, cluster = seen.found[EPOCH_KEY], seen.found[CLUSTER_KEY]
        if self._marker.replaces:
            # With the epoch goes the last chance to be given an address.
            unchanged = {_pools(): seen.revision}
            deletes = frozenset(key for key, _ in seen.ranges[_pools()].items)
        else:
            # What came since we looked is not to be mixed with the copy.
            empty = (replace(prefix, limit=1, keys_only=True) for prefix in PREFIXES)
            unchanged = dict.fromkeys(empty, seen.revision)
            deletes = frozenset()
        puts = {MARKER_KEY: self._marker.encode(), EPOCH_KEY: self._new_epoch()}
        puts[CLUSTER_KEY] = self._locked(cluster)
        return Txn(
            # Two copies must not be written at the same time, and a change of the cluster's
            # identity is no business of ours yet.
            expect={MARKER_KEY: marker_revision, CLUSTER_KEY: _revision(cluster)},
            unchanged=unchanged,
            epoch=epoch.value if epoch else None,
            puts=puts,
            deletes=deletes,
        )

    def _locked(self, cluster: KeyValue | None) -> bytes:
        for raw in (cluster.value if cluster else None, self._staged.get(CLUSTER_KEY)):
            try:
                if raw is not None:
                    return with_ready(raw, self._now, ready=False)
            except CorruptStateError:
                continue
        return with_ready(None, self._now, ready=False)

    def _next(self) -> Txn:
        """Make the step that comes next."""
        if self._is_before_pools() and not self._without_pools:
            return self._first(self._look(), self._revision)
        for range_ in ORDER[place(self._marker.after) or 0 : -1]:
            if txn := self._next_keys(range_):
                return txn
        return self._last()

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
            if (
                range_ in BLOCKS.values()
                and max(present.values(), default=0) > self._without_pools
            ):
                # A pool came and went, or somebody released: it is told in the end.
                self._marker = replace(self._marker, overtaken=True)
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

    def _last(self) -> Txn:
        cluster = self._fetch(Fetch(keys=frozenset({CLUSTER_KEY}))).found[CLUSTER_KEY]
        raw = self._staged.get(CLUSTER_KEY)
        gone = {MARKER_KEY} if raw is not None else {MARKER_KEY, CLUSTER_KEY}
        return Txn(
            # Nobody else has gone on, nor changed the lock that is taken away.
            expect={MARKER_KEY: self._revision, CLUSTER_KEY: _revision(cluster)},
            unchanged=self._no_pools(),
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
            unchanged=self._no_pools(),
            epoch=self._epoch,
            puts={**puts, MARKER_KEY: marker.encode()},
            deletes=deletes,
        )

    def _no_pools(self) -> dict[Range, int]:
        """Compare that nobody can have been given an address."""
        return {_pools(): self._without_pools} if self._is_before_pools() else {}

    def _commit(self, txn: Txn) -> bool:
        """Commit a step; False = look, and try again."""
        try:
            result = self._store.commit(txn, timeout_s=self._timeout_s)
        except CommitUnknownError as error:
            self._unknown = error
            now = self._fetch(Fetch(keys=frozenset({MARKER_KEY, EPOCH_KEY})))
            return self._settled(txn, now)
        if isinstance(result, Conflict):
            return self._settled(txn, result.current)
        return self._moved(txn, result.revision)

    def _settled(self, txn: Txn, now: Reading) -> bool:
        found, epoch = now.found[MARKER_KEY], now.found[EPOCH_KEY]
        if not self._revision:
            return False  # Whoever begins looks again.
        mine = epoch and epoch.value in (self._epoch, txn.puts.get(EPOCH_KEY))
        if mine and _revision(found) == txn.expect[MARKER_KEY]:
            if EPOCH_KEY not in txn.puts:
                self._check_others(txn, now)
            return False
        if mine and (found.value if found else None) == txn.puts.get(MARKER_KEY):
            return self._moved(txn, _revision(found))
        if mine and found and (marker := decode_marker(found.value)).copy == self._marker.copy:
            self._adopt(marker, found)  # by a late step of ours, or in another run
            return False
        raise RefusedError(
            "somebody else writes this or another copy, or renewed the epoch, at the same "
            "time; nothing more was written"
        )

    def _moved(self, txn: Txn, revision: int) -> bool:
        """Note that a step was taken, which makes everything before it known."""
        self._unknown = None
        raw = txn.puts.get(MARKER_KEY)
        self._revision = 0 if raw is None else revision
        if raw is not None:
            self._marker = decode_marker(raw)
        if EPOCH_KEY in txn.puts:
            self._epoch = txn.puts[EPOCH_KEY]
            self._without_pools = (
                revision if len(txn.deletes) < MOST_KEYS else 0
            )  # or there are more
        return True

    def _check_others(self, txn: Txn, now: Reading) -> None:
        """Find out who was faster; `now` has what was compared, if that is known."""
        for range_, page in now.ranges.items():
            for key, found in page.items:
                if found.mod_revision > txn.unchanged[range_]:
                    self._overtaken_by(key)
                    return
        if self._marker.replaces:
            return
        for key, revision in txn.expect.items():
            if key in now.found and _revision(now.found[key]) != revision == 0:
                raise RefusedError(
                    f"{key} was written by somebody else meanwhile, and is left as it is; stop "
                    "whoever writes, and begin again with an empty datastore or with "
                    "`poolctl datastore restore --replace`"
                )

    def _page(self, range_: Range) -> tuple[tuple[str, KeyValue], ...]:
        asked = replace(range_, limit=MOST_KEYS, keys_only=True)
        return self._fetch(Fetch(ranges=frozenset({asked}))).ranges[asked].items

    def _fetch(self, fetch: Fetch) -> Reading:
        return self._store.read(fetch, timeout_s=self._timeout_s)

    @contextmanager
    def _honest(self) -> Iterator[None]:
        """Let no definite error hide an outcome that is still unknown."""
        try:
            yield
        except PoolmgrError as error:
            if self._unknown is None or error is self._unknown:
                raise
            raise self._unknown from error


def _given_up() -> ContentionError:
    return ContentionError("others keep writing the same keys")


def _pools() -> Range:
    """Return the range of pools, of which a step takes so many."""
    return replace(POOLS, limit=MOST_KEYS, keys_only=True)


def _revision(found: KeyValue | None) -> int:
    return found.mod_revision if found else 0


def _in_order(key: str) -> bytes:
    """Return what etcd sorts a key by; bytes that are no text came as surrogates."""
    return key.encode(errors="surrogateescape")
