"""A store that remembers that it was told to write."""

import pytest

from poolctl.config import Record, Session
from poolctl.noted import Noted
from poolmgr.core.txn import Fetch, Txn
from poolmgr.errors import CommitUnknownError
from poolmgr.store.memory import Faults, MemoryStore
from tests.support.poolctl import stored


def test_reads_and_checks_are_no_writes():
    record = Record()
    store = Noted(MemoryStore(), record)

    store.read(Fetch(keys=frozenset({"/a"})))
    store.commit(Txn(expect={"/a": 0}))

    assert not record.began


@pytest.mark.parametrize("change", [{"puts": {"/a": b"1"}}, {"deletes": frozenset({"/a"})}])
def test_a_write_is_noted_whatever_comes_of_it(change):
    record, memory = Record(), MemoryStore(Faults(lost_ack={1}))

    with pytest.raises(CommitUnknownError):
        Noted(memory, record).commit(Txn(expect={}, **change))

    assert record.began


def test_what_is_written_is_the_other_stores():
    memory = MemoryStore()

    Noted(memory, Record()).commit(Txn(expect={}, puts={"/a": b"1"}))

    assert {"/a": b"1"} == stored(memory)


def test_a_session_knows_what_sessions_that_follow_it_write(monkeypatch):
    monkeypatch.delenv("ETCD_ENDPOINTS", raising=False)
    session = Session(None, None, 5)
    other = session.following({"etcd_endpoints": "http://127.0.0.1:2"})
    other.store = MemoryStore()

    other.store.commit(Txn(expect={}, puts={"/a": b"1"}))

    assert session.record.began
