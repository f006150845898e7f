"""The audit of what real programs left, after each recorded step."""

from itertools import pairwise

import pytest

from poolmgr.core.audit import invariants
from poolmgr.core.flaws import Flaw
from tests.interop.recording import load, stored_text

AFFINITY = "host/node-a/ipv4/block/10.20.0.8-29"
OF_B = "host/node-b/ipv4/block/10.20.0.8-29"
BLOCK, OTHER_BLOCK = (f"assignment/ipv4/block/10.20.0.{n}-29" for n in (8, 16))
HIGH, LOW, UNBACKED = Flaw.HANDLE_TOO_HIGH, Flaw.HANDLE_TOO_LOW, Flaw.HANDLE_WITHOUT_ADDRESS

# Scenario -> step -> what is wrong from then on.
FOUND = {
    "half-finished": {
        0: set(),
        3: {(Flaw.AFFINITY_WITHOUT_BLOCK, AFFINITY)},
        4: set(),
        5: {(Flaw.AFFINITY_WITHOUT_BLOCK, OF_B)},
        6: set(),
        7: {(Flaw.AFFINITY_UNFINISHED, AFFINITY)},
        8: set(),
        11: {(Flaw.BLOCK_WITHOUT_AFFINITY, BLOCK)},
        13: {(Flaw.BLOCK_WITHOUT_AFFINITY, BLOCK), (UNBACKED, "handle/net1.lost")},
        15: {
            (Flaw.BLOCK_WITHOUT_AFFINITY, BLOCK),
            (UNBACKED, "handle/net1.lost"),
            (LOW, "handle/net1.c1"),
        },
        17: {(UNBACKED, "handle/net1.lost"), (LOW, "handle/net1.c1")},
        18: {
            (UNBACKED, "handle/net1.lost"),
            (LOW, "handle/net1.c1"),
            (Flaw.CORRUPT, OTHER_BLOCK),
        },
        22: {(UNBACKED, "handle/net1.lost"), (LOW, "handle/net1.c1")},
    },
    "check": {
        0: set(),
        12: {(UNBACKED, "handle/net1.orphan")},
        13: {(UNBACKED, "handle/net1.orphan"), (LOW, "handle/net1.plain")},
        19: set(),
    },
    "lib-multi": {
        0: set(),
        5: {(HIGH, "handle/h2")},
        6: {(HIGH, "handle/h2"), (HIGH, "handle/h3")},
        10: {(UNBACKED, "handle/h2"), (HIGH, "handle/h3")},
        15: {(UNBACKED, "handle/h2"), (UNBACKED, "handle/h3")},
    },
    "first-add": {0: set()},
    "cooldown": {0: set()},
    "reclaim": {0: set()},
}


@pytest.mark.parametrize("scenario", FOUND)
def test_what_calico_left_is_named_and_nothing_else(scenario):
    stored: dict[str, bytes] = {}
    found = []
    for step in load(scenario):
        for key, entry in step["changes"].items():
            if entry is None:
                del stored[key]
            else:
                stored[key] = stored_text(entry).encode()
        findings = invariants(stored.items())
        found.append({(f.flaw, f.key.removeprefix("/calico/ipam/v2/")) for f in findings})

    changes = {
        at: now for at, (last, now) in enumerate(pairwise([None, *found])) if last != now
    }
    assert FOUND[scenario] == changes
