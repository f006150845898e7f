"""The store of dry runs."""

import pytest

from poolctl.rehearsal import Rehearsal
from poolmgr.core.request import AutoAssign
from poolmgr.core.txn import Committed, Txn
from poolmgr.errors import NoMatchingPoolError
from poolmgr.ipam import IPAM
from tests.support.poolctl import POOL_A, pool, put, stored


def test_the_library_decides_as_ever_and_nothing_is_written(at_memory, memory):
    at_memory("apply", "-f", "-", stdin=pool())
    before = stored(memory)
    request = AutoAssign(host="node-a", handle="h", count={4: 70})

    rehearsed = IPAM(Rehearsal(memory)).auto_assign(request)

    assert before == stored(memory)
    assert rehearsed.allocations
    assert len(rehearsed.allocations) == len(IPAM(memory).auto_assign(request).allocations)


def test_refusals_are_those_of_the_store(memory):
    with pytest.raises(NoMatchingPoolError):
        IPAM(Rehearsal(memory)).auto_assign(AutoAssign(host="node-a", handle="h", count={4: 1}))


def test_a_commit_is_forgotten_and_the_store_stays_open(memory):
    put(memory, {POOL_A: b"{}"})
    rehearsal = Rehearsal(memory)

    assert isinstance(rehearsal.commit(Txn(expect={}, deletes=frozenset({POOL_A}))), Committed)
    rehearsal.close()

    assert {POOL_A: b"{}"} == stored(memory)
