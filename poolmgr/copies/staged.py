"""A copy that was read from a file: kept in a temporary database, and checked there."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from poolmgr.api import Node
from poolmgr.api.clusterinformation import ClusterInformation
from poolmgr.copies.order import CLUSTER_KEY, ORDER, name_of, place
from poolmgr.core import audit
from poolmgr.core.flaws import Finding, Flaw
from poolmgr.core.records import decode_resource, resource_range
from poolmgr.core.txn import Range
from poolmgr.errors import CorruptStateError, InvalidRequestError, RefusedError

_NODES = resource_range(Node.plural)


class Staged:
    """
    Keys and values in key order, on disk; they vanish with it.

    Args:
        advance: Is called with 1 for each key that is taken in.

    Attributes:
        digest: Names the file they come from, by its content.
    """

    def __init__(self, advance: Callable[[int], None] = lambda _: None) -> None:
        self.digest = ""
        self._advance = advance
        self._db = sqlite3.connect("", isolation_level=None)  # a file without a name
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it."""
        self.close()

    def add(self, key: object, value: bytes) -> None:
        """
        Take a key in.

        Raises:
            InvalidRequestError: It is there already, or does not belong into a copy.
            RefusedError: There is no space for it.
        """
        if not isinstance(key, str) or place(key) is None:
            raise InvalidRequestError(f"key {key!r} is neither Calico's nor ours")
        try:
            self._db.execute("INSERT INTO kv VALUES (?, ?)", (_raw(key), value))
        except sqlite3.IntegrityError:
            raise InvalidRequestError(f"key {key!r} is there twice") from None
        except sqlite3.Error as error:
            raise RefusedError(
                f"key {key!r} cannot be kept in a temporary file: {error}; "
                "SQLITE_TMPDIR names the directory"
            ) from error
        self._advance(1)

    def close(self) -> None:
        """Remove it."""
        self._db.close()

    def get(self, key: str) -> bytes | None:
        """Return the value of a key; None = the copy has none."""
        found = self._db.execute("SELECT value FROM kv WHERE key = ?", (_raw(key),)).fetchone()
        return None if found is None else bytes(found[0])

    def within(self, range_: Range) -> Iterator[tuple[str, bytes]]:
        """Yield the keys of a range, in order, and their values."""
        found = self._db.execute(
            "SELECT key, value FROM kv WHERE key >= ? AND key < ? ORDER BY key",
            (_raw(range_.start), _raw(range_.end)),
        )
        yield from ((key.decode(errors="surrogateescape"), value) for key, value in found)

    def counts(self) -> Counter[str]:
        """Count the keys by what they are."""
        counts: Counter[str] = Counter()
        for range_ in ORDER:
            (number,) = self._db.execute(
                "SELECT count(*) FROM kv WHERE key >= ? AND key < ?",
                (_raw(range_.start), _raw(range_.end)),
            ).fetchone()
            counts[name_of(range_)] += number
        return +counts

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with the copy, as `poolctl ipam check` would find it stored."""
        yield from audit.audit(self.within)
        for kind, range_ in (
            (Node, _NODES),
            (ClusterInformation, Range(start=CLUSTER_KEY, end=CLUSTER_KEY + "\0")),
        ):
            for key, raw in self.within(range_):
                try:
                    decode_resource(kind, key, raw)
                except CorruptStateError as error:
                    yield Finding(Flaw.CORRUPT, key, str(error))


def _raw(key: str) -> bytes:
    """Return the bytes of a key, which order them; bytes that are no text are surrogates."""
    return key.encode(errors="surrogateescape")
