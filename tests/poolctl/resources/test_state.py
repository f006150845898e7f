"""What one look finds of the resources that a command names."""

import pytest

from poolctl.config import Session
from poolctl.resources.state import CLUSTER, KEYS_AT_ONCE, Target, look
from poolmgr.api import IPPool, Node
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import CorruptStateError, InvalidRequestError
from poolmgr.store.memory import MemoryStore
from poolmgr.store.port import MAX_TXN_OPS
from tests.support.poolctl import POOL_A, pool, put
from tests.support.world import stored_resource

POOL = Target(kind=IPPool, name="pool-a")
NODE = Target(kind=Node, name="n")


class Limited(MemoryStore):
    """A store that takes no more at once than etcd."""

    def read(self, fetch, **options):
        assert len(fetch) <= MAX_TXN_OPS
        return super().read(fetch, **options)


def session_on(store) -> Session:
    session = Session(None, None, 30)
    session.store = store
    return session


def test_targets_epoch_and_identity_are_found_or_absent():
    store = MemoryStore()
    put(store, {EPOCH_KEY: b"e", POOL_A: pool().encode()})

    state = look(session_on(store), [POOL, NODE])

    assert b"e" == state.epoch
    assert ("pool-a", None) == (state.stored(POOL).metadata.name, state.stored(NODE))
    assert (2, 0) == (state.revision_of(POOL), state.revision_of(NODE))
    assert state.found[CLUSTER] is None
    assert [] == state.all_pools()


def test_pools_are_read_where_they_matter():
    store = MemoryStore()
    put(
        store,
        dict(stored_resource("ippools", "IPPool", n, {"cidr": "10.0.0.0/8"}) for n in "ab"),
    )

    state = look(session_on(store), [NODE], pools=True)

    assert ["a", "b"] == [each.metadata.name for each in state.all_pools()]
    assert state.epoch is None


def test_many_targets_are_read_in_several_steps():
    store = Limited()
    names = [f"n{number:03}" for number in range(3 * KEYS_AT_ONCE)]
    for start in range(0, len(names), 100):
        some = names[start : start + 100]
        put(store, dict(stored_resource("nodes", "Node", name, {}) for name in some))
    targets = [Target(kind=Node, name=name) for name in [*names, "absent"]]

    state = look(session_on(store), targets, pools=True)

    found = [each.name for each in targets if state.stored(each)]
    assert names == found


def test_what_cannot_be_understood_is_an_error_of_its_target_only():
    store = MemoryStore()
    put(store, {POOL_A: b"junk"})

    state = look(session_on(store), [POOL, NODE])

    assert state.stored(NODE) is None
    with pytest.raises(CorruptStateError):
        state.stored(POOL)


def test_a_name_that_nothing_can_have_is_refused_before_anything_is_asked():
    with pytest.raises(InvalidRequestError, match="a/b"):
        look(Session(None, None, 30), [Target(kind=Node, name="a/b")])
