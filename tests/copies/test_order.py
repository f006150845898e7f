from itertools import pairwise

import pytest

from poolmgr.copies.order import (
    CLUSTER_KEY,
    MARKER_KEY,
    ORDER,
    POOLS,
    PREFIXES,
    name_of,
    place,
)
from poolmgr.core.records import BLOCKS, HANDLES
from poolmgr.core.txn import EPOCH_KEY


def test_the_ranges_cover_our_prefixes_once_but_for_epoch_and_marker():
    covered = sorted((range_.start, range_.end) for range_ in ORDER)
    gaps = [(end, start) for (_, end), (start, _) in pairwise(covered) if end != start]

    assert all(end <= start for (_, end), (start, _) in pairwise(covered))
    assert [
        (PREFIXES[0].end, PREFIXES[1].start),
        (MARKER_KEY, MARKER_KEY + "\0"),
        (EPOCH_KEY, EPOCH_KEY + "\0"),
    ] == gaps
    assert (PREFIXES[0].start, PREFIXES[1].end) == (covered[0][0], covered[-1][1])


def test_blocks_come_before_handles_and_pools_last_but_for_the_cluster():
    starts = (BLOCKS[4].start, BLOCKS[6].start, HANDLES.start, POOLS.start, CLUSTER_KEY)
    places = [place(start) or 0 for start in starts]

    assert sorted(places) == places
    assert [len(ORDER) - 2, len(ORDER) - 1] == places[-2:]


@pytest.mark.parametrize("key", ["", "/registry/pods/x", EPOCH_KEY, MARKER_KEY, "/calico"])
def test_what_is_not_copied_has_no_place(key):
    assert place(key) is None


def test_ranges_have_names():
    assert ("pools", "other keys") == (name_of(POOLS), name_of(ORDER[0]))
