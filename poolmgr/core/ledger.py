"""
Two columns that should hold the same entries, compared without keeping them.

Theory: each entry is hashed into a number, and the numbers are added up in buckets, one column
positive, the other negative. A bucket that does not end at zero holds a difference; only the
entries of such buckets have to be read again, and looked at one by one.

Rules:

1. What is to be looked at together is entered at the same place: it shares a bucket.
2. Equal columns end at zero, in whatever order they are entered. Different ones do once in 2^64
   times; as hashes differ from run to run, not in the next run too.
"""

from array import array
from collections.abc import Hashable, Iterator

_MASK = (1 << 64) - 1


class Ledger:
    """
    The sums of two columns.

    Args:
        buckets: At 16 bytes each; more of them make the second look shorter.
    """

    def __init__(self, buckets: int) -> None:
        self._sums = array("Q", bytes(8 * buckets))
        self._entries = array("Q", bytes(8 * buckets))

    def bucket(self, place: Hashable) -> int:
        """Return the bucket of what is entered at `place`."""
        return hash(place) % len(self._sums)

    def add(self, place: Hashable, fact: Hashable) -> None:
        """Enter something in the first column."""
        self._enter(place, _mixed(hash((place, fact))))

    def subtract(self, place: Hashable, fact: Hashable) -> None:
        """Enter something in the second column."""
        self._enter(place, -_mixed(hash((place, fact))))

    def unequal(self, at_once: int) -> Iterator[frozenset[int]]:
        """
        Yield the buckets that hold a difference, in groups.

        Args:
            at_once: Entries of a group at most, unless a single bucket has more.
        """
        group: set[int] = set()
        entries = 0
        for at, total in enumerate(self._sums):
            if total:
                if group and entries + self._entries[at] > at_once:
                    yield frozenset(group)
                    group, entries = set(), 0
                group.add(at)
                entries += self._entries[at]
        if group:
            yield frozenset(group)

    def _enter(self, place: Hashable, number: int) -> None:
        at = self.bucket(place)
        self._sums[at] = (self._sums[at] + number) & _MASK
        self._entries[at] += 1


def _mixed(number: int) -> int:
    """
    Spread a hash over 64 bits, so that sums of hashes of similar things differ.

    Source: the finalizer of SplitMix64.
    """
    number &= _MASK
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _MASK
    return number ^ (number >> 31)
