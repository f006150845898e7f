"""
What the planner and the store say to each other.

Keys, revisions and transactions, never pools or blocks.

Rules:

1. A `Fetch` is answered at one revision, in one read-only transaction.
2. "Absent" is an answer like any other: `None`, and revision 0 in a `Txn`.
3. A `Conflict` carries everything its transaction compared, read in the same round trip.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

EPOCH_KEY = "/poolmgr/v1/epoch"
"""
Key of a random text that names the data.

All transactions compare that text: a restored store hands out old revisions again.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """A value and the revision of its last change; `value` is empty in a keys-only page."""

    value: bytes
    mod_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """
    The keys k with start <= k < end, in byte order.

    Attributes:
        limit: Keys wanted at most; 0 = all of them.
        keys_only: True where values do not matter; they come back empty.
    """

    start: str
    end: str
    limit: int = 0
    keys_only: bool = False

    @classmethod
    def prefix(cls, prefix: str, *, limit: int = 0, keys_only: bool = False) -> "Range":
        """Make the range of every key that starts with `prefix`."""
        return cls(start=prefix, end=prefix_end(prefix), limit=limit, keys_only=keys_only)

    def __contains__(self, key: str) -> bool:
        """Tell whether `key` lies between start and end."""
        return self.start <= key < self.end

    def after(self, key: str) -> "Range":
        """Make the range of what follows `key` in this one: the next page."""
        return Range(start=key + "\0", end=self.end, limit=self.limit, keys_only=self.keys_only)


def prefix_end(prefix: str) -> str:
    """
    Return the smallest key greater than all that start with `prefix`.

    Keys are compared as UTF-8 bytes, whose order is that of code points, so the last code point
    that can be raised is raised and what follows it dropped.

    Raises:
        ValueError: No key lies above (an empty prefix, or only the highest code point).
    """
    for at in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[at])
        if point < 0x10FFFF:
            # Surrogates do not exist in UTF-8.
            above = 0xE000 if point + 1 == 0xD800 else point + 1
            return prefix[:at] + chr(above)
    raise ValueError(f"no key lies above the prefix {prefix!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The answer to a Range: its keys in order, and whether more follow beyond `limit`."""

    items: tuple[tuple[str, KeyValue], ...]
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """
    Facts wanted before a decision can be made.

    Attributes:
        full: Keys of blocks that need not be remembered, because no address of them is free.
    """

    keys: frozenset[str] = frozenset()
    ranges: frozenset[Range] = frozenset()
    full: frozenset[str] = frozenset()

    def __or__(self, other: "Fetch") -> "Fetch":
        """Want both."""
        return Fetch(
            keys=self.keys | other.keys,
            ranges=self.ranges | other.ranges,
            full=self.full | other.full,
        )

    def __len__(self) -> int:
        """Count the operations it costs in one transaction."""
        return len(self.keys) + len(self.ranges)

    @classmethod
    def of(cls, txn: "Txn") -> "Fetch":
        """Want everything that `txn` compares or touches, to learn whether it happened."""
        keys = {EPOCH_KEY} | txn.expect.keys() | txn.puts.keys() | txn.deletes
        return cls(keys=frozenset(keys), ranges=frozenset(txn.unchanged))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    The answer to a Fetch.

    Attributes:
        found: One entry per key asked for; None = absent.
        ranges: One page per range asked for.
        revision: The store's revision at which all of it held.
    """

    found: Mapping[str, KeyValue | None]
    ranges: Mapping[Range, Page] = field(default_factory=dict)
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Txn:
    """
    One compare-and-swap transaction.

    Attributes:
        expect: Key -> mod_revision it must have; 0 = must not exist.
        unchanged: Range -> revision; no key in the range may be newer than it.
        epoch: Value the epoch key must have; None = the key must be absent.
        puts: Key -> new value. Puts and deletes both empty = a check that writes nothing.
        deletes: Keys to delete.
    """

    expect: Mapping[str, int]
    unchanged: Mapping[Range, int] = field(default_factory=dict)
    epoch: bytes | None = None
    puts: Mapping[str, bytes] = field(default_factory=dict)
    deletes: frozenset[str] = frozenset()

    def operations(self) -> int:
        """Return the length of the longest list: compares, success or failure."""
        compares = len(self.expect) + len(self.unchanged) + 1
        return max(compares, len(self.puts) + len(self.deletes))

    def size_bytes(self) -> int:
        """Return the bytes of keys and values it carries."""
        keys = sum(len(key.encode()) for key in (*self.expect, *self.puts, *self.deletes))
        return keys + sum(len(value) for value in self.puts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The transaction happened, at this revision."""

    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """
    A compare failed and nothing was written.

    `current` holds every compared key and range, and the epoch.
    """

    current: Reading
