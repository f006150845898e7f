"""Reading resources."""

import pytest

from poolctl.config import Session
from poolctl.resources.reading import Reader
from poolmgr.api import BlockAffinity, IPPool, Node
from poolmgr.errors import CorruptStateError, InvalidRequestError
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import POOL_A, put
from tests.support.world import stored_resource


def session_on(store) -> Session:
    session = Session(None, None, 30)
    session.store = store
    return session


def nodes(*names: str) -> dict[str, bytes]:
    return dict(stored_resource("nodes", "Node", name, {}) for name in names)


def names(found) -> list[str]:
    return [each.metadata.name for each in found]


def test_everything_is_read_as_of_one_revision():
    store = MemoryStore()
    put(store, nodes(*(f"n{number:02}" for number in range(40))))
    reader = Reader(session_on(store), Node)
    revision, found = reader.revision, reader.everything()

    first = next(found)
    put(store, nodes("n99"))

    assert "n00" == first.metadata.name
    assert [f"n{number:02}" for number in range(1, 40)] == names(found)
    assert revision == reader.revision


def test_names_come_in_their_order_and_once():
    store = MemoryStore()
    put(store, nodes("a", "b", "c"))
    reader = Reader(session_on(store), Node)

    assert ["c", "a"] == names(reader.named(["c", "x", "a", "c", "y"]))
    assert ["node/x does not exist", "node/y does not exist"] == [*map(str, reader.wrong)]
    assert 1 == reader.status()


def test_many_names_are_read_in_several_steps(store):
    wanted = [f"n{number:03}" for number in range(250)]
    for start in range(0, 250, 50):
        put(store, nodes(*wanted[start : start + 50]))

    assert wanted == names(Reader(session_on(store), Node).named(wanted))


def test_what_cannot_be_understood_hides_no_other():
    store = MemoryStore()
    put(
        store,
        {
            POOL_A: b"junk",
            **dict([stored_resource("ippools", "IPPool", "z", {"cidr": "10.0.0.0/8"})]),
        },
    )
    reader = Reader(session_on(store), IPPool)

    assert ["z"] == names(reader.everything())
    (wrong,) = reader.wrong
    assert isinstance(wrong, CorruptStateError)
    assert POOL_A == wrong.key


def test_a_bad_name_is_refused_before_anything_is_asked():
    with pytest.raises(InvalidRequestError, match="a/b"):
        Reader(Session(None, None, 30), Node).named(["a/b"])


def test_a_reference_is_told_from_the_key_alone():
    session = session_on(MemoryStore())
    host = "/calico/ipam/v2/host/n1"

    assert "ippool/pool-a" == Reader(session, IPPool).ref_of(POOL_A)
    affinities = Reader(session, BlockAffinity)
    assert "blockaffinity/n1-10-0-0-0-26" == affinities.ref_of(f"{host}/ipv4/block/10.0.0.0-26")
    assert "" == affinities.ref_of(host)
