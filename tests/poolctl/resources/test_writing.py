"""Writing what was planned."""

import pytest

from poolctl.config import Session
from poolctl.resources.plans import CONFIGURED, CREATED, UNCHANGED, Change
from poolctl.resources.state import CLUSTER, Target, look
from poolctl.resources.writing import Writer, batches, refs
from poolmgr.api import IPPool, Node
from poolmgr.api.meta import ObjectMeta
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.txn import EPOCH_KEY, Txn
from poolmgr.errors import RefusedError
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import put, stored
from tests.support.world import stored_resource


def node(name: str, **labels: str) -> Node:
    return Node(metadata=ObjectMeta(name=name, labels=labels))


def created(name: str, **labels: str) -> Change:
    resource = node(name, **labels)
    return Change(target=Target.of(resource), verb=CREATED, after=resource)


def opened(store, *names: str, pools: bool = False) -> Writer:
    session = Session(None, None, 30)
    session.store = store
    targets = [Target(kind=Node, name=name) for name in names]
    return Writer(session, look(session, targets, pools=pools))


def names(store) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in stored(store) if "/nodes/" in key)


def test_changes_are_written_together_with_what_a_datastore_needs():
    store = MemoryStore()

    opened(store).write([created("a"), created("b")])

    found = stored(store)
    assert {EPOCH_KEY, CLUSTER} <= found.keys()
    assert ["a", "b"] == names(store)


def test_a_second_transaction_goes_on_from_the_first():
    store = MemoryStore()
    writer = opened(store, pools=True)
    writer.guard_pools = True

    writer.write([created("a")])
    first = {key: stored(store)[key] for key in (EPOCH_KEY, CLUSTER)}
    writer.write([created("b")])

    assert ["a", "b"] == names(store)
    assert first == {key: stored(store)[key] for key in first}


def test_what_needs_no_write_is_none():
    store = MemoryStore()

    opened(store).write([Change(target=Target(kind=Node, name="a"), verb=UNCHANGED)])

    assert {} == stored(store)


@pytest.mark.parametrize(
    ("revision", "verb"), [(0, CREATED), (7, CONFIGURED)], ids=["new", "present"]
)
def test_nothing_is_written_where_somebody_was_faster(revision, verb):
    store = MemoryStore()
    writer = opened(store, "a", "b")
    put(store, dict([stored_resource("nodes", "Node", "b", {})]))
    other = Change(
        target=Target.of(node("b")), verb=verb, after=node("b", x="y"), revision=revision
    )

    with pytest.raises(RefusedError, match=r"\(b was changed\); nothing was written"):
        writer.write([created("a"), other])
    assert ["b"] == names(store)


def test_a_pool_that_somebody_writes_meanwhile_is_noticed_where_it_matters():
    pool = dict([stored_resource("ippools", "IPPool", "p", {"cidr": "10.0.0.0/8"})])
    for guard in (False, True):
        store = MemoryStore()
        writer = opened(store, pools=True)
        writer.guard_pools = guard
        put(store, pool)

        if guard:
            with pytest.raises(RefusedError, match="nothing was written"):
                writer.write([created("a")])
        else:
            writer.write([created("a")])
        assert ([] if guard else ["a"]) == names(store)


def test_nothing_is_written_while_a_copy_is():
    store = MemoryStore()
    writer = opened(store)
    put(store, {MARKER_KEY: b"{}"})

    with pytest.raises(RefusedError, match=r"a copy is being written.*datastore restore"):
        writer.write([created("a")])
    assert {MARKER_KEY: b"{}"} == stored(store)


def test_another_datastore_than_the_one_that_was_read_is_not_written():
    store = MemoryStore()
    put(store, {EPOCH_KEY: b"one"})
    writer = opened(store)
    store.commit(Txn(expect={}, epoch=b"one", puts={EPOCH_KEY: b"two"}))

    with pytest.raises(RefusedError, match="nothing was written"):
        writer.write([created("a")])


def test_a_transaction_takes_so_many_resources_and_so_many_bytes():
    many = [created(f"n{number}") for number in range(250)]
    large = [created(f"n{number}", **{"x": "y" * 400_000}) for number in range(5)]

    assert [100, 100, 50] == [len(batch) for batch in batches(many)]
    assert [2, 2, 1] == [len(batch) for batch in batches(large)]
    assert [] == [*batches([])]
    assert many == [each for batch in batches(many) for each in batch]


def test_of_many_names_a_few_are_told():
    targets = [Target(kind=IPPool, name=f"p{number}") for number in range(7)]

    assert "ippool/p0, ippool/p1" == refs(targets[:2])
    assert "ippool/p0, ippool/p1, ippool/p2, ippool/p3, ippool/p4 and 2 more" == refs(targets)


def test_a_conflict_after_a_first_transaction_does_not_say_that_nothing_was_written():
    store = MemoryStore()
    writer = opened(store, "a", "b")
    writer.write([created("a")])
    other = dict([stored_resource("nodes", "Node", "b", {})])
    store.commit(Txn(expect={}, epoch=stored(store)[EPOCH_KEY], puts=other))

    with pytest.raises(RefusedError, match="; nothing more was written, look"):
        writer.write([created("b")])
