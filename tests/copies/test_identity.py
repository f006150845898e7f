import json
from itertools import count

import pytest

from poolmgr.copies.identity import is_locked, renew_epoch, set_ready, with_ready
from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.core.txn import EPOCH_KEY, Fetch, KeyValue, Txn
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
    first = renew_epoch(failing, lambda: b"one", timeout_s=1)
    if kind:
        failing.fail_next(kind)

    texts = iter([b"two", b"three"])
    second = renew_epoch(failing, lambda: next(texts), timeout_s=1)

    assert (None, b"one") == (first.old, first.new)
    assert b"one" == second.old
    assert second.new == stored(failing)[EPOCH_KEY]
    assert second.new == (b"three" if kind in ("never_applied", "conflict") else b"two")


def test_no_text_is_an_epoch_twice():
    """Its answer is lost, and before it looks somebody else renews the epoch again."""

    class Overtaken(FailingStore):
        epochs: tuple[bytes, ...] = ()

        def read(self, fetch, *, timeout_s=1.0, revision=None):
            epoch = stored_epoch(self)
            if epoch and not self.epochs:
                self.epochs = (epoch,)
                FailingStore.commit(self, Txn(expect={}, epoch=epoch, puts={EPOCH_KEY: b"b"}))
            return super().read(fetch, timeout_s=timeout_s, revision=revision)

    store, numbers = Overtaken(), count()
    store.fail_next("lost_ack")
    renewed = renew_epoch(store, lambda: b"%d" % next(numbers), timeout_s=1)

    assert (b"0",) == store.epochs
    assert (b"b", b"1") == (renewed.old, renewed.new)
    assert b"1" == stored_epoch(store)


def stored_epoch(store):
    found = FailingStore.read(store, Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    return found and found.value


@pytest.mark.parametrize("left", [None, b"{"], ids=["gone", "damaged"])
def test_an_unknown_unlock_is_not_called_refused(left):
    class Overtaken(FailingStore):
        def commit(self, txn, *, timeout_s=1.0):
            try:
                return super().commit(txn, timeout_s=timeout_s)
            except CommitUnknownError:
                gone = frozenset({CLUSTER_KEY} if left is None else ())
                puts = {} if left is None else {CLUSTER_KEY: left}
                super().commit(Txn(expect={}, puts=puts, deletes=gone))
                raise

    store = Overtaken()
    put(store, {CLUSTER_KEY: CLUSTER.replace(b"true", b"false")})
    store.fail_next("lost_ack")

    with pytest.raises(CommitUnknownError):
        set_ready(store, NOW, ready=True, timeout_s=1)


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
