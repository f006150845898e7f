"""The store in memory: the contract, and the ways in which it can be made to fail."""

import pytest

from poolmgr.core.txn import Committed, Conflict, KeyValue, Txn
from poolmgr.errors import CommitUnknownError, CompactedError
from poolmgr.store.memory import Faults, MemoryStore
from tests.store.contract import Compact, StoreContract, committed, get, put, value

CREATE = Txn(expect={"/a": 0}, puts={"/a": b"1"})


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def compact(self, store: MemoryStore) -> Compact:
        return store.compact


def test_a_lost_acknowledgement_leaves_the_commit_applied():
    store = MemoryStore(Faults(lost_ack={1}))

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)

    assert value(store, "/a") == b"1"


def test_the_acknowledgement_of_a_conflict_can_be_lost_too():
    store = MemoryStore(Faults(lost_ack={2}))
    put(store, {"/a": "0"})

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)

    assert value(store, "/a") == b"0"


def test_a_commit_that_is_never_applied_stays_away():
    store = MemoryStore(Faults(never_applied={1}))

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)

    assert [value(store, "/a") for _ in range(3)] == [None] * 3


def test_a_late_commit_is_there_at_the_next_operation():
    store = MemoryStore(Faults(late={1}))

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)

    assert value(store, "/a") == b"1"


def test_a_late_commit_competes_with_a_second_attempt():
    store = MemoryStore(Faults(late=[1]))

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)
    second = store.commit(CREATE)

    assert isinstance(second, Conflict)
    assert second.current.found["/a"] == KeyValue(value=b"1", mod_revision=2)


def test_a_delay_lets_operations_pass_before_a_late_commit_lands():
    store = MemoryStore(Faults(late={1}, delay=2))

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)

    assert [value(store, "/a") for _ in range(3)] == [None, None, b"1"]


def test_a_late_commit_whose_compares_fail_by_then_changes_nothing():
    store = MemoryStore(Faults(late={1}, delay=1))

    with pytest.raises(CommitUnknownError):
        store.commit(CREATE)
    committed(store.commit(Txn(expect={"/a": 0}, puts={"/a": b"other"})))

    assert value(store, "/a") == b"other"


def test_a_conflict_can_be_had_for_nothing():
    store = MemoryStore(Faults(conflict={1}))

    first, second = store.commit(CREATE), store.commit(CREATE)

    assert isinstance(first, Conflict)
    assert first.current.found["/a"] is None
    assert isinstance(second, Committed)


def test_faults_leave_other_commits_alone():
    store = MemoryStore(Faults(lost_ack={2}, late={3}, never_applied={4}, conflict={5}))

    committed(store.commit(CREATE))

    assert get(store, "/a") is not None


@pytest.mark.parametrize("revision", [0, 2, 4])
def test_only_a_revision_of_the_past_can_be_compacted_and_once(revision: int):
    store = MemoryStore()
    put(store, {"/a": "1"})
    put(store, {"/a": "2"})
    store.compact(2)

    with pytest.raises(CompactedError):
        store.compact(revision)
