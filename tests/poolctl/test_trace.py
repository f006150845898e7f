"""What `--verbose` tells."""

import re

import pytest

from poolctl.trace import Traced
from poolmgr.core.txn import Fetch, Range, Txn
from poolmgr.errors import StoreUnavailableError
from poolmgr.store.memory import MemoryStore


@pytest.fixture
def traced(memory: MemoryStore) -> Traced:
    return Traced(memory)


def told(capsys) -> str:
    return re.sub(r"[\d.]+ ms", "N ms", capsys.readouterr().err)


def test_a_read_names_what_was_asked_and_what_came(traced, capsys):
    traced.commit(Txn(expect={}, puts={"/a/1": b"xyz"}))
    told(capsys)

    traced.read(Fetch(keys=frozenset({"/b"}), ranges=frozenset({Range.prefix("/a/")})))

    assert told(capsys) == "etcd: read /b, /a/...: 1 keys, 3 bytes, revision 2, N ms\n"


def test_a_transaction_names_what_it_writes(traced, capsys):
    traced.commit(Txn(expect={"/a": 0}, puts={"/a": b"x"}, deletes=frozenset({"/b"})))

    said = "etcd: transaction, 2 compares: put /a, delete /b: revision 2, N ms\n"
    assert told(capsys) == said


def test_a_conflict_is_told(traced, capsys):
    traced.commit(Txn(expect={"/a": 7}, puts={"/a": b"x"}))

    assert "conflict at revision 1" in told(capsys)


def test_an_error_is_told_and_passes(traced, memory, capsys, monkeypatch):
    def down(*_: object, **__: object) -> None:
        raise StoreUnavailableError("down")

    monkeypatch.setattr(memory, "read", down)

    with pytest.raises(StoreUnavailableError):
        traced.read(Fetch(keys=frozenset({"/a"})))
    assert "read /a: failed" in told(capsys)


def test_many_keys_are_counted(traced, capsys):
    traced.read(Fetch(keys=frozenset(f"/k{n}" for n in range(9))))

    assert "read /k0, /k1, /k2 and 6 more" in told(capsys)
