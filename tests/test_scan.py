"""Everything is read as of one revision, in pages, before a deadline."""

import json
import threading

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.drawing import map_of
from poolmgr.errors import CompactedError, StoreUnavailableError
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit, utilization
from tests.support.counting import CountingStore
from tests.support.poolctl import put
from tests.support.stocked import many, owned, pools


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.mark.parametrize("ask", [lambda store: [*Audit(store)], utilization, map_of])
def test_a_revision_that_is_compacted_away_is_said_so(memory, ask):
    many(memory)

    class Compacting(CountingStore):
        def read(self, fetch, **arguments):
            reading = super().read(fetch, **arguments)
            if self.reads == 3:
                put(memory, {"/other": b""})
                memory.compact(reading.revision + 1)
            return reading

    with pytest.raises(CompactedError, match="revision 202 was compacted away"):
        ask(Compacting(memory))


def test_there_is_no_answer_after_the_deadline(memory):
    many(memory)

    with pytest.raises(StoreUnavailableError, match="not all was read in 0 s"):
        utilization(memory, timeout_s=0)


def test_no_thread_is_left_when_an_audit_is_dropped(memory):
    put(
        memory, {records.block_key(parse_network(f"10.0.{n}.0/26")): b"junk" for n in range(99)}
    )
    before = threading.active_count()

    findings = iter(Audit(memory))
    next(findings)
    del findings

    assert before == threading.active_count()


def test_blocks_of_4096_addresses_after_small_ones_are_read(store):
    # 40 of them are more than an answer of etcd may hold.
    put(store, pools(p="10.0.0.0/8"))
    for at in range(20):
        put(store, owned(f"10.0.{at}.0/32", f"c{at}"))
    value = {
        "allocations": [*range(4096)],
        "unallocated": [],
        "attributes": [
            {"handle_id": f"{n:064x}", "secondary": {"pod": f"{n:0130}"}} for n in range(4096)
        ],
    }
    for at in range(40):
        cidr = f"10.{at + 100}.0.0/20"
        raw = json.dumps({"cidr": cidr, "affinity": None, **value}, separators=(",", ":"))
        put(store, {records.block_key(parse_network(cidr)): raw.encode()})

    used = utilization(store)

    assert 20 + 40 * 4096 == used.counts.pools[0].usage.in_use
    assert () == used.unreadable
