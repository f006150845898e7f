"""
What is known of the store, and at which revision each fact was read.

Rules:

1. The fact *read* at the later revision wins. A key's mod_revision cannot decide it: "absent"
   has none.
2. What was read of a key goes before what an earlier read of a range says of it.
3. Another epoch means other data: everything known before it is dropped.
4. A committed transaction teaches what it wrote, and that the ranges it compared have nothing
   newer; what has gone from them it does not teach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from poolmgr.core.txn import EPOCH_KEY, KeyValue, Page, Range, Reading, Txn


@dataclass(frozen=True, slots=True)
class Fact:
    """A key's value, None = absent, at the revision it was read."""

    value: KeyValue | None
    revision: int


@dataclass(frozen=True, slots=True)
class Listing:
    """
    A range's content at the revision it was read.

    Attributes:
        quiet_until: No key of it has changed after this revision; keys may have gone, which
            a compare of the range does not notice.
    """

    page: Page
    revision: int
    quiet_until: int
    content: Mapping[str, KeyValue]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    Facts about keys and ranges.

    Attributes:
        ranges: Whole ranges with their values.
        pages: Keys-only and limited ranges.
        full: Keys of blocks that were read, found full, and forgotten to save memory.
        memo: Block keys that were worked out from the pages, shared by all that follows.
        written: Keys put by what was committed since; no page read before shows them.
    """

    keys: Mapping[str, Fact] = field(default_factory=dict)
    ranges: Mapping[Range, Listing] = field(default_factory=dict)
    pages: Mapping[Range, Listing] = field(default_factory=dict)
    full: frozenset[str] = frozenset()
    memo: dict[object, tuple[str, ...]] = field(default_factory=dict, compare=False)
    written: frozenset[str] = frozenset()

    def find(self, key: str) -> Fact | None:
        """
        Return the newest fact about a key, from its own reading or from a range around it.

        None = unknown.
        """
        fact = self.keys.get(key)
        for range_, listing in self.ranges.items():
            if key in range_ and (fact is None or fact.revision < listing.revision):
                fact = Fact(listing.content.get(key), listing.revision)
        probed = self.pages.get(probe(key))
        if probed is not None and (fact is None or fact.revision < probed.revision):
            if not probed.page.items:
                return Fact(None, probed.revision)
            if fact is None or fact.value is None:
                return None  # it exists by now, with a value that was not read
        return fact

    def exists(self, key: str) -> bool | None:
        """Tell whether a key exists; None = unknown."""
        fact = self.find(key)
        if fact is not None:
            return fact.value is not None
        return True if probe(key) in self.pages else None

    def has(self, range_: Range) -> bool:
        """Tell whether a range was read."""
        return range_ in self.ranges or range_ in self.pages

    def items(self, range_: Range) -> Iterator[tuple[str, KeyValue]]:
        """Iterate over a range's known content, in key order, newer key facts laid over it."""
        listing = self.ranges[range_]
        content: dict[str, KeyValue | None] = dict(listing.content)
        for key, fact in self.keys.items():
            if key in range_ and fact.revision > listing.revision:
                content[key] = fact.value
        for key in sorted(content, key=str.encode):
            value = content[key]
            if value is not None:
                yield key, value

    def merge(self, reading: Reading) -> "Snapshot":
        """Learn what was read."""
        known = self
        epoch = self.keys.get(EPOCH_KEY)
        if epoch is not None and EPOCH_KEY in reading.found:
            found = reading.found[EPOCH_KEY]
            if _text(epoch.value) not in (None, _text(found)):
                known = Snapshot()
        keys, ranges, pages = dict(known.keys), dict(known.ranges), dict(known.pages)
        full = known.full - reading.found.keys()
        for key, value in reading.found.items():
            if key not in keys or keys[key].revision <= reading.revision:
                keys[key] = Fact(value, reading.revision)
        for range_, page in reading.ranges.items():
            known_ranges = pages if range_.keys_only or range_.limit else ranges
            if range_ not in known_ranges or known_ranges[range_].revision <= reading.revision:
                content = dict(page.items)
                known_ranges[range_] = Listing(
                    page, reading.revision, reading.revision, content
                )
        return Snapshot(keys, ranges, pages, full, known.memo, known.written)

    def forget(self, full: frozenset[str]) -> "Snapshot":
        """Keep of these blocks only that they are full."""
        if not full:
            return self
        keys = {key: fact for key, fact in self.keys.items() if key not in full}
        return replace(self, keys=keys, full=self.full | full)

    def apply(self, txn: Txn, revision: int) -> "Snapshot":
        """Learn that `txn` was committed at `revision`."""
        keys, ranges = dict(self.keys), dict(self.ranges)
        for key, value in txn.puts.items():
            keys[key] = Fact(KeyValue(value=value, mod_revision=revision), revision)
        for key in txn.deletes:
            keys[key] = Fact(None, revision)
        for range_ in txn.unchanged:
            ranges[range_] = replace(ranges[range_], quiet_until=revision)
        written = self.written | txn.puts.keys()
        return replace(self, keys=keys, ranges=ranges, written=written)


def probe(key: str) -> Range:
    """Return the range that tells whether a key exists, without its value."""
    return Range(start=key, end=key + "\0", keys_only=True)


def _text(value: KeyValue | None) -> bytes | None:
    return None if value is None else value.value
