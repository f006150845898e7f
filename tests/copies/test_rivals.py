"""Whoever assigns addresses while a copy is written: no address is lost unless that is told."""

import io
from itertools import count

import pytest

from poolmgr.copies import backup
from poolmgr.copies.fill import Fill
from poolmgr.copies.order import MARKER_KEY, POOLS
from poolmgr.copies.staged import Staged
from poolmgr.core.audit import invariants
from poolmgr.core.records import handle_key, resource_key
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import CommitUnknownError, NoMatchingPoolError, RefusedError
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.failing import FailingStore
from tests.support.filled import fill
from tests.support.poolctl import POOL_A, pool, put, stored

NOW = "2026-01-01T00:00:00Z"
THEIRS = resource_key("ippools", "theirs")


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


class KilledError(Exception):
    pass


def killed(store):
    raise KilledError


class Rivalled(FailingStore):
    """A store where something happens just before a certain commit."""

    def __init__(self):
        super().__init__()
        self.at, self.happens = 0, killed

    def commit(self, txn, *, timeout_s=1.0):
        self.at -= 1
        if self.at == 0:
            self.happens(self)
        return super().commit(txn, timeout_s=timeout_s)

    def rival(self, at, happens):
        self.at, self.happens = at, happens


EPOCHS = count()


def filling(store, staged, *, replaces=True):
    return Fill(
        store,
        staged,
        replaces=replaces,
        new_epoch=lambda: b"epoch%d" % next(EPOCHS),
        now=NOW,
        timeout_s=1,
    )


def write(work):
    after = work.begin()
    list(work.run())
    return after


def change(store, puts=None, deletes=()):
    epoch = store.read(Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    txn = Txn(
        expect={}, epoch=epoch and epoch.value, puts=puts or {}, deletes=frozenset(deletes)
    )
    store.commit(txn)


def start_pods(store):
    for number in range(6):
        attach(store, f"live{number}", node=f"node-{'abz'[number % 3]}")


def pool_and_pods(store):
    change(store, {THEIRS: pool("theirs", "10.10.0.0/16").encode()})
    start_pods(store)


def pool_and_pods_and_no_pool(store):
    pool_and_pods(store)
    change(store, deletes={THEIRS})


def pods_alone(store):
    """Start pods where the pools of the copy, or the old ones, are there already."""
    try:
        start_pods(store)
    except NoMatchingPoolError:
        return


def held(store):
    return {str(entry.address): entry.handle for entry in Audit(store).entries()}


def given(store, act):
    """What addresses pods are given by `act`."""
    before = held(store)
    act(store)
    return {address: handle for address, handle in held(store).items() if address not in before}


def old_data(store):
    fill(store, containers=3)
    put_more = {resource_key("ippools", f"many{n}"): b"{}" for n in range(9)}
    change(store, put_more)


@pytest.mark.parametrize("replaces", [True, False], ids=["replace", "empty"])
@pytest.mark.parametrize("rival", [pool_and_pods, pool_and_pods_and_no_pool, pods_alone])
def test_what_pods_are_given_while_it_is_written_stays_or_its_loss_is_told(
    source, staged, rival, replaces
):
    """With more pools than a step takes, all before the last of these steps is old data."""
    lost, told = 0, []
    for number in range(2, 100):
        store = Rivalled()
        if replaces:
            fill(store, containers=3)
        live = {}
        store.rival(number, lambda store, live=live: live.update(given(store, rival)))
        work = filling(store, staged, replaces=replaces)
        try:
            write(work)
        except RefusedError as error:
            told.append(str(error))
            assert live.items() <= held(store).items()
            continue
        if store.at > 0:
            break
        if work.overtaken:
            lost += 1
        else:
            assert live.items() <= held(store).items(), number
        assert MARKER_KEY not in stored(store)
        if rival is not pool_and_pods_and_no_pool:  # which the audit in the end would tell
            assert () == invariants(stored(store).items()), number

    assert number > 5
    assert bool(lost) == (replaces and rival is not pods_alone)
    assert all("written by somebody else" in each for each in told)
    assert not (replaces and told)


@pytest.mark.parametrize("rival", [pool_and_pods, pool_and_pods_and_no_pool, pods_alone])
def test_what_pods_are_given_after_it_was_killed_stays_or_its_loss_is_told(
    source, staged, rival
):
    went_on = overtaken = 0
    for number in range(2, 100):
        store = Rivalled()
        fill(store, containers=3)
        store.rival(number, killed)
        try:
            write(filling(store, staged))
        except KilledError:
            live = given(store, rival)
        else:
            break
        work = filling(store, staged)
        went_on += write(work) != ""
        overtaken += work.overtaken

        assert work.overtaken or live.items() <= held(store).items(), number
        assert () == invariants(stored(store).items()), number
    assert number > 5
    assert went_on
    assert bool(overtaken) == (rival is not pods_alone)


def test_that_it_was_overtaken_is_remembered_by_who_goes_on(staged):
    store = Rivalled()
    fill(store, containers=3)
    store.rival(4, pool_and_pods)
    work = filling(store, staged)
    work.begin()
    for _ in work.run():
        if work.overtaken and THEIRS not in stored(store):
            break
    work = filling(store, staged)
    write(work)

    assert work.overtaken


def test_the_last_pools_and_the_old_epoch_go_in_one_step(staged):
    store = Rivalled()
    old_data(store)
    seen = []

    def watch(txn, *, timeout_s=1.0, commit=store.commit):
        result = commit(txn, timeout_s=timeout_s)
        left = [key for key in stored(store) if key in POOLS]
        seen.append((len(left), EPOCH_KEY in txn.puts, len(txn.puts)))
        return result

    store.commit = watch
    work = filling(store, staged)
    work.begin()
    steps = work.run()
    while seen[-1][0]:
        next(steps)

    assert len(seen) > 2
    assert all(renewed for _, renewed, _ in seen)
    assert [3] * len(seen) == [puts for _, _, puts in seen]


def test_pools_that_come_again_and_again_end_it(staged):
    store = FailingStore()
    fill(store, containers=3)
    work = filling(store, staged)
    work.begin()

    def rival():
        for _ in work.run():
            change(store, {THEIRS: pool("theirs", "10.10.0.0/16").encode()})

    with pytest.raises(RefusedError, match="again and again"):
        rival()
    assert MARKER_KEY in stored(store)


def test_a_pool_that_came_while_it_was_broken_off_is_named_where_nothing_is_replaced(
    source, staged
):
    store = FailingStore()
    work = filling(store, staged, replaces=False)
    work.begin()
    next(work.run())
    change(store, {THEIRS: pool("theirs").encode()})

    with pytest.raises(RefusedError, match=THEIRS):
        write(filling(store, staged, replaces=False))
    with pytest.raises(RefusedError, match=THEIRS):
        list(work.run())
    change(store, deletes={THEIRS})
    assert write(filling(store, staged, replaces=False))
    assert stored(source).keys() == stored(store).keys()


@pytest.mark.parametrize("key", [handle_key("h"), POOL_A, "/poolmgr/v1/session/node-a"])
def test_what_comes_between_the_look_and_the_first_step_is_not_mixed_with_a_copy(staged, key):
    store = Rivalled()
    store.rival(1, lambda store: put(store, {key: b"{}"}))

    with pytest.raises(RefusedError, match="not empty"):
        write(filling(store, staged, replaces=False))
    assert {key: b"{}"} == stored(store)


@pytest.mark.parametrize("number", [1, 3], ids=["first", "later"])
@pytest.mark.parametrize("kind", ["lost_ack", "never_applied"])
def test_an_unknown_outcome_is_not_hidden_by_a_refusal(staged, kind, number):
    store = FailingStore()
    reads = store.read
    wrote = handle_key("net-a.c1")

    def rival(fetch, *, timeout_s=1.0, revision=None):
        """Write, once the outcome of a commit is unknown, what the copy has or must not meet."""
        if store._commits == number and not store._planned["conflict"]:
            store._planned["conflict"].add(0)
            taken = {wrote: b"theirs", MARKER_KEY: b'{"copy":"x","replaces":false,"after":""}'}
            change(store, taken)
        return reads(fetch, timeout_s=timeout_s, revision=revision)

    store.read = rival
    store.fail(kind, [number])

    with pytest.raises(CommitUnknownError):
        write(filling(store, staged, replaces=False))


def test_going_on_after_an_unknown_first_step_settles_it(staged):
    store = FailingStore()
    store.fail("lost_ack", [1])
    work = filling(store, staged, replaces=False)
    work.begin()
    change(store, {THEIRS: b"{}"})

    with pytest.raises(RefusedError, match=THEIRS):
        list(work.run())
