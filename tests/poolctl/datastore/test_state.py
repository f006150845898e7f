import json

from poolctl.datastore import state
from poolctl.report import REFUSED, UNKNOWN, USAGE
from poolmgr.core.txn import EPOCH_KEY
from tests.support.assigned import attach
from tests.support.failing import FailingStore
from tests.support.poolctl import CLUSTER, on, pool, put, stored


def ready(found):
    return json.loads(found[CLUSTER])["spec"]["datastoreReady"]


def test_locking_says_who_goes_on_and_unlocking_undoes_it(poolctl, store):
    poolctl("apply", "-f", "-", stdin=pool())
    before = stored(store)

    lock = poolctl("datastore", "lock")
    locked = stored(store)
    address = attach(store, "c1")
    unlock = poolctl("datastore", "migrate", "unlock")

    assert (0, "Datastore locked.\n") == (lock.exit_code, lock.stdout)
    assert "calico-ipam and poolmgr go on" in lock.stderr
    assert ready(locked) is False
    assert address
    assert (0, "Datastore unlocked.\n") == (unlock.exit_code, unlock.stdout)
    assert before[CLUSTER] == stored(store)[CLUSTER]


def test_locking_what_is_locked_says_so_and_writes_nothing(poolctl, store):
    poolctl("datastore", "lock")
    before = stored(store)
    again = poolctl("datastore", "lock")

    assert 0 == again.exit_code
    assert "nothing was written" in again.stderr
    assert before == stored(store)


def test_unlocking_an_empty_store_is_refused(poolctl, store):
    result = poolctl("datastore", "unlock")

    assert REFUSED == result.exit_code
    assert {} == stored(store)


def test_renewing_prints_both_epochs(poolctl, store):
    poolctl("apply", "-f", "-", stdin=pool())
    old = stored(store)[EPOCH_KEY].decode()

    result = poolctl("datastore", "renew-epoch", "--yes")

    new = stored(store)[EPOCH_KEY].decode()
    assert old != new
    assert f"old epoch: {old}\nnew epoch: {new}\n" == result.stdout


def test_an_epoch_is_renewed_only_if_somebody_says_so(memory, at_memory):
    put(memory, {EPOCH_KEY: b"old\x1b"})

    assert USAGE == at_memory("datastore", "renew-epoch").exit_code
    assert b"old\x1b" == stored(memory)[EPOCH_KEY]
    assert r"old epoch: old\x1b" in at_memory("datastore", "renew-epoch", "-y").stdout


def test_a_no_at_the_terminal_changes_nothing(memory, at_memory, monkeypatch):
    monkeypatch.setattr("poolctl.terminal._is_terminal", lambda stream: True)
    monkeypatch.setattr("click.confirm", lambda *args, **more: False)
    result = at_memory("datastore", "renew-epoch")

    assert (REFUSED, "Nothing was written.\n") == (result.exit_code, result.stdout)
    assert {} == stored(memory)


def test_an_outcome_that_stays_unknown_has_its_own_exit_status():
    store = FailingStore()
    store.fail("never_applied", range(50))

    assert UNKNOWN == on(store)("datastore", "lock").exit_code
    assert UNKNOWN == on(store)("datastore", "renew-epoch", "-y").exit_code


def test_epochs_do_not_repeat():
    assert state.new_epoch() != state.new_epoch()
