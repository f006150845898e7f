"""Writing a copy back: broken off anywhere, it goes on, and serves nobody before it is done."""

import io

import pytest

from poolmgr.copies import backup
from poolmgr.copies.fill import Fill
from poolmgr.copies.marker import Marker
from poolmgr.copies.order import CLUSTER_KEY, MARKER_KEY, POOLS
from poolmgr.copies.staged import Staged
from poolmgr.core.audit import invariants
from poolmgr.core.records import HANDLES, handle_key, resource_key
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import (
    CommitUnknownError,
    ContentionError,
    CorruptStateError,
    NoMatchingPoolError,
    RefusedError,
    StoreUnavailableError,
)
from poolmgr.store.memory import MemoryStore
from tests.support.assigned import attach
from tests.support.failing import FailingStore
from tests.support.filled import FOREIGN, fill
from tests.support.poolctl import put, stored

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr("poolmgr.copies.fill.MOST_KEYS", 4)


@pytest.fixture(scope="module")
def source():
    store = MemoryStore()
    fill(store)
    return store


@pytest.fixture(scope="module")
def staged(source):
    file = io.BytesIO()
    for _ in backup.write(backup.Source(source, timeout_s=1), file, now=NOW):
        pass
    file.seek(0)
    with Staged() as made:
        backup.read(io.BufferedReader(file), made)
        yield made


def copied(store):
    return {key: value for key, value in stored(store).items() if key != EPOCH_KEY}


def filling(store, staged, *, replaces=False, epoch=b"new"):
    return Fill(store, staged, replaces=replaces, new_epoch=lambda: epoch, now=NOW, timeout_s=1)


def write(store, staged, **more):
    work = filling(store, staged, **more)
    work.begin()
    return sum(work.run())


def old_data(store):
    """Something else is stored: other pools, an equal key, keys at both ends of ranges."""
    fill(store, containers=3)
    put_more(store, {f"{HANDLES.start}zz{n}": b'{"block":{}}' for n in range(9)})
    put_more(store, {"/poolmgr/v2/x": b"", "/calico/a": b"x"})


def put_more(store, values):
    epoch = store.read(Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    store.commit(Txn(expect={}, epoch=epoch and epoch.value, puts=values))


class KilledError(Exception):
    pass


class Mortal(MemoryStore):
    """A store whose user is killed before, or after, a certain commit."""

    def __init__(self):
        super().__init__()
        self.die_at, self.after = 0, False

    def commit(self, txn, *, timeout_s=1.0):
        self.die_at -= 1
        if self.die_at == 0 and not self.after:
            raise KilledError
        result = super().commit(txn, timeout_s=timeout_s)
        if self.die_at == 0:
            raise KilledError
        return result


def test_a_copy_is_written_byte_for_byte_under_a_new_epoch(source, staged):
    store = MemoryStore()
    keys = write(store, staged)

    assert copied(source) == copied(store)
    assert len(copied(source)) == keys
    assert b"new" == stored(store)[EPOCH_KEY]
    assert () == invariants(stored(store).items())


def test_with_replace_what_else_was_stored_goes(source, staged):
    store = MemoryStore()
    old_data(store)
    write(store, staged, replaces=True)

    assert copied(source) == copied(store)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("replaces", [False, True], ids=["empty", "replace"])
def test_killed_at_any_commit_it_serves_nobody_and_goes_on(source, staged, after, replaces):
    for number in range(1, 100):
        store = Mortal()
        if replaces:
            old_data(store)
        old = stored(store)
        store.die_at, store.after = number, after
        try:
            write(store, staged, replaces=replaces)
        except KilledError:
            found = stored(store)
            without_pools = not any(key in POOLS for key in found)
            assert without_pools or data(found) in (data(old), data(stored(source)))
            assert data(found) == data(old) or old.get(EPOCH_KEY) != found[EPOCH_KEY]
            if data(found) != data(stored(source)) or MARKER_KEY in found:
                write(store, staged, replaces=replaces, epoch=b"later")
        else:
            assert number > 5
            break
        assert copied(source) == copied(store), number
        assert () == invariants(stored(store).items())


def data(found):
    """What allocations are made of, without the pools that they are made from."""
    markers = (MARKER_KEY, EPOCH_KEY, CLUSTER_KEY)
    return {k: v for k, v in found.items() if k not in POOLS and k not in markers}


def test_no_address_is_assigned_while_it_is_written(staged):
    store = Mortal()
    store.die_at, store.after = 4, True
    with pytest.raises(KilledError):
        write(store, staged)

    with pytest.raises(NoMatchingPoolError):
        attach(store, "early")


@pytest.mark.parametrize("kind", ["lost_ack", "never_applied", "conflict", "late"])
@pytest.mark.parametrize("replaces", [False, True], ids=["empty", "replace"])
def test_whatever_becomes_of_a_commit_the_result_is_the_same(source, staged, kind, replaces):
    for number in range(1, 100):
        store = FailingStore(delay=1)
        if replaces:
            old_data(store)
        first = store._commits
        store.fail(kind, [first + number])
        write(store, staged, replaces=replaces)

        assert copied(source) == copied(store), number
        if store._commits - first < number:
            break
    assert number > 5


def test_an_outcome_that_stays_unknown_is_told_as_such(staged):
    store = FailingStore()
    store.fail("never_applied", range(3, 100))

    with pytest.raises(CommitUnknownError):
        write(store, staged)


def test_what_always_conflicts_is_given_up(staged):
    store = FailingStore()
    old_data(store)
    store.fail("conflict", range(store._commits + 3, 1000))

    with pytest.raises(ContentionError):
        write(store, staged, replaces=True)


def test_an_unknown_outcome_is_not_hidden_by_a_failing_look(staged, monkeypatch):
    store = FailingStore()
    work = filling(store, staged)
    work.begin()
    store.fail_next("lost_ack")

    def down(*_args, **_more):
        raise StoreUnavailableError("down")

    monkeypatch.setattr(store, "read", down)
    with pytest.raises(CommitUnknownError):
        next(work.run())


def test_a_store_that_holds_something_is_not_written_to(staged):
    store = MemoryStore()
    put(store, {handle_key("h"): b"{}"})

    with pytest.raises(RefusedError, match="handles"):
        write(store, staged)
    assert {handle_key("h"): b"{}"} == stored(store)


def test_an_epoch_alone_and_other_programs_keys_do_not_count(source, staged):
    store = MemoryStore()
    put(store, {EPOCH_KEY: b"old", "/registry/x": b"1"})
    write(store, staged)

    assert {**copied(source), "/registry/x": b"1", EPOCH_KEY: b"new"} == stored(store)


def test_a_key_that_somebody_else_wrote_meanwhile_is_left_alone(staged):
    store = MemoryStore()
    work = filling(store, staged)
    work.begin()
    put_more(store, {FOREIGN: b"theirs"})

    with pytest.raises(RefusedError, match=FOREIGN):
        list(work.run())
    assert b"theirs" == stored(store)[FOREIGN]


def test_with_replace_keys_that_others_write_meanwhile_are_replaced(source, staged):
    store = MemoryStore()
    work = filling(store, staged, replaces=True)
    work.begin()
    put_more(store, {FOREIGN: b"theirs"})
    for at, _ in enumerate(work.run()):
        if handle_key("net-a.c1") not in stored(store):
            put_more(store, {f"{HANDLES.start}zzz{at}": b"{}", f"{HANDLES.start}a": b"{}"})

    assert copied(source) == copied(store)


def test_a_late_writer_of_the_old_epoch_fails(staged):
    store = MemoryStore()
    old_data(store)
    old = stored(store)[EPOCH_KEY]
    filling(store, staged, replaces=True).begin()
    late = Txn(expect={}, epoch=old, puts={handle_key("late"): b"{}"})
    store.commit(late)

    assert handle_key("late") not in stored(store)


def test_another_copy_is_not_mixed_with_one_that_broke_off(source, staged):
    store = MemoryStore()
    filling(store, staged).begin()
    with Staged() as other:
        other.digest = "other"
        with pytest.raises(RefusedError, match="another copy"):
            filling(store, other).begin()
        with pytest.raises(RefusedError, match="being written"):
            backup.Source(store, timeout_s=1)
        write(store, other, replaces=True)

    assert {} == copied(store)


def test_what_was_begun_with_replace_goes_on_with_replace_only(staged):
    store = MemoryStore()
    old_data(store)
    filling(store, staged, replaces=True).begin()

    with pytest.raises(RefusedError, match="--replace"):
        filling(store, staged).begin()


def test_a_second_run_beside_the_first_does_no_harm(source, staged):
    store = MemoryStore()
    one, two = filling(store, staged), filling(store, staged, epoch=b"two")
    one.begin()
    two.begin()
    first, second = one.run(), two.run()
    for _ in range(3):
        next(first)
        next(second)
    list(second)
    with pytest.raises(RefusedError, match="somebody else"):
        list(first)

    assert copied(source) == copied(store)


def test_a_renewed_epoch_stops_it_and_the_next_run_goes_on(source, staged):
    store = MemoryStore()
    work = filling(store, staged)
    work.begin()
    store.commit(Txn(expect={}, epoch=b"new", puts={EPOCH_KEY: b"newer"}))

    with pytest.raises(RefusedError, match="epoch"):
        list(work.run())
    write(store, staged)
    assert copied(source) == copied(store)


def test_no_step_exceeds_120_operations_or_a_mebibyte(monkeypatch):
    monkeypatch.setattr("poolmgr.copies.fill.MOST_KEYS", 110)
    largest = [0, 0]

    class Measuring(MemoryStore):
        def commit(self, txn, *, timeout_s=1.0):
            largest[:] = max(largest[0], txn.operations()), max(largest[1], txn.size_bytes())
            return super().commit(txn, timeout_s=timeout_s)

    store = Measuring()
    put(store, {handle_key(f"old{n}"): b"" for n in range(100)})
    with Staged() as many:
        for number in range(500):
            many.add(handle_key(f"{number}-{'x' * 200}"), b"y" * (20_000 if number % 2 else 10))
        write(store, many, replaces=True)

    assert 500 == len(copied(store))
    assert 100 < largest[0] <= 120
    assert 500_000 < largest[1] <= 1024 * 1024


def test_garbage_in_place_of_the_marker_is_replaced_only_with_replace(source, staged):
    store = MemoryStore()
    put(store, {MARKER_KEY: b"?"})

    with pytest.raises(CorruptStateError):
        write(store, staged)
    write(store, staged, replaces=True)
    assert copied(source) == copied(store)


def test_more_pools_than_fit_into_a_step_are_all_taken_away_first():
    store = MemoryStore()
    put(store, {resource_key("ippools", f"p{n}"): b"{}" for n in range(10)})
    with Staged() as empty:
        empty.digest = "empty"
        write(store, empty, replaces=True)

    assert {} == copied(store)


class Overtaken(MemoryStore):
    """A store that somebody else writes to just before the first commit."""

    def __init__(self, values):
        super().__init__()
        self._values = values

    def commit(self, txn, *, timeout_s=1.0):
        values, self._values = self._values, {}
        if values:
            put_more(self, values)
        return super().commit(txn, timeout_s=timeout_s)


def test_a_cluster_that_somebody_makes_just_before_the_first_step_is_not_overwritten(staged):
    store = Overtaken({CLUSTER_KEY: b"theirs"})

    with pytest.raises(RefusedError, match="not empty"):
        write(store, staged)
    assert {CLUSTER_KEY: b"theirs"} == stored(store)


def test_a_change_of_the_cluster_that_overtakes_the_first_step_survives_it(staged):
    cluster = b'{"metadata":{"name":"default","theirs":1},"spec":{}}'
    store = Overtaken({CLUSTER_KEY: cluster})
    filling(store, staged, replaces=True).begin()

    assert b'"theirs"' in stored(store)[CLUSTER_KEY]


def test_two_copies_that_begin_at_once_are_not_mixed(staged):
    store = Overtaken({MARKER_KEY: Marker(copy="other", replaces=False).encode()})

    with pytest.raises(RefusedError, match="another copy"):
        write(store, staged)
    assert [MARKER_KEY] == [*stored(store)]
