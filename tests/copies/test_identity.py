import json

import pytest

from poolmgr.copies.identity import is_locked, renew_epoch, set_ready, with_ready
from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.core.txn import EPOCH_KEY, KeyValue
from poolmgr.errors import CommitUnknownError, ContentionError, CorruptStateError, RefusedError
from tests.support.failing import FailingStore
from tests.support.poolctl import put, stored

NOW = "2026-01-01T00:00:00Z"
CLUSTER = (
    b'{"kind":"ClusterInformation","apiVersion":"projectcalico.org/v3","metadata":{"name":"default",'
    b'"uid":"u","creationTimestamp":"2025-01-01T00:00:00Z","odd":1},"spec":{"datastoreReady":true,'
    b'"later":{"x":1}}}'
)


@pytest.fixture
def failing():
    store = FailingStore()
    put(store, {CLUSTER_KEY: CLUSTER})
    return store


def ready(store):
    return json.loads(stored(store)[CLUSTER_KEY])["spec"].get("datastoreReady")


def test_unknown_fields_survive_locking_and_unlocking(failing):
    set_ready(failing, NOW, ready=False, timeout_s=1)
    locked = stored(failing)[CLUSTER_KEY]
    set_ready(failing, NOW, ready=True, timeout_s=1)

    assert json.loads(CLUSTER.replace(b"true", b"false")) == json.loads(locked)
    assert json.loads(CLUSTER) == json.loads(stored(failing)[CLUSTER_KEY])


@pytest.mark.parametrize("kind", ["lost_ack", "never_applied", "conflict", "late"])
def test_a_lock_whose_answer_is_lost_is_looked_for(kind, failing):
    failing.fail_next(kind)

    assert set_ready(failing, NOW, ready=False, timeout_s=1)
    assert ready(failing) is False


def test_a_lock_that_stays_unknown_is_not_called_done(failing):
    failing.fail("never_applied", range(50))

    with pytest.raises(CommitUnknownError):
        set_ready(failing, NOW, ready=False, timeout_s=1)


def test_a_lock_that_others_overtake_for_ever_is_given_up(failing):
    failing.fail("conflict", range(50))

    with pytest.raises(ContentionError):
        set_ready(failing, NOW, ready=False, timeout_s=1)


def test_locking_again_writes_nothing(failing):
    assert set_ready(failing, NOW, ready=False, timeout_s=1)
    before = failing._revision

    assert not set_ready(failing, NOW, ready=False, timeout_s=1)
    assert before == failing._revision


def test_a_lock_makes_the_cluster_where_there_is_none_but_unlock_does_not():
    store = FailingStore()

    with pytest.raises(RefusedError, match="nothing is locked"):
        set_ready(store, NOW, ready=True, timeout_s=1)
    assert {} == stored(store)
    assert set_ready(store, NOW, ready=False, timeout_s=1)
    assert [CLUSTER_KEY] == [*stored(store)]
    assert ready(store) is False


def test_what_cannot_be_understood_is_not_rewritten():
    store = FailingStore()
    put(store, {CLUSTER_KEY: b"{"})

    with pytest.raises(CorruptStateError):
        set_ready(store, NOW, ready=False, timeout_s=1)
    assert b"{" == stored(store)[CLUSTER_KEY]


def test_only_a_plain_false_locks():
    def found(spec):
        raw = json.dumps({"metadata": {"name": "default"}, "spec": spec}).encode()
        return KeyValue(value=raw, mod_revision=1)

    assert is_locked(found({"datastoreReady": False}))
    assert not is_locked(found({"datastoreReady": True}))
    assert not is_locked(found({}))
    assert not is_locked(None)
    assert (
        json.loads(with_ready(None, NOW, ready=False))["metadata"]["creationTimestamp"] == NOW
    )


@pytest.mark.parametrize("kind", [None, "lost_ack", "never_applied", "conflict", "late"])
def test_an_epoch_is_renewed_once_and_the_old_one_told(kind, failing):
    first = renew_epoch(failing, b"one", timeout_s=1)
    if kind:
        failing.fail_next(kind)

    second = renew_epoch(failing, b"two", timeout_s=1)

    assert (None, b"one") == (first.old, first.new)
    assert (b"one", b"two") == (second.old, second.new)
    assert b"two" == stored(failing)[EPOCH_KEY]


def test_a_change_that_overtakes_a_lock_survives_it():
    changed = CLUSTER.replace(b'"odd":1', b'"odd":2')

    class Overtaken(FailingStore):
        overtaken = False

        def commit(self, txn, *, timeout_s=1.0):
            if self.overtaken:
                self.overtaken = False
                put(self, {CLUSTER_KEY: changed})
            return super().commit(txn, timeout_s=timeout_s)

    store = Overtaken()
    put(store, {CLUSTER_KEY: CLUSTER})
    store.overtaken = True
    set_ready(store, NOW, ready=False, timeout_s=1)

    assert json.loads(changed.replace(b"true", b"false")) == json.loads(
        stored(store)[CLUSTER_KEY]
    )
