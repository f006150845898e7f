"""Threads that share engines, on a store that fails: tests/test_state_machine.py, without its order."""

import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from poolmgr.core.request import Attachment
from tests.support.failing import FAULTS, FailingStore
from tests.support.rivals import HOSTS, Call, Rivals
from tests.support.world import World

ROUNDS = 6
DELAY = 8
FAULTY_COMMITS = range(20, 4000)
"""The first ones set up the world."""


class Slow(FailingStore):
    """A store that takes its time."""

    def read(self, fetch, **more):
        found = super().read(fetch, **more)
        pause()
        return found

    def commit(self, txn, **more):
        pause()
        return super().commit(txn, **more)


def pause() -> None:
    time.sleep(random.choice((0, 0, 0.0001, 0.001)))


@pytest.fixture
def _hasty_threads(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr("poolmgr.ipam.LONGEST_PAUSE_S", 0.0)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_share_engines_break_no_promise_and_leave_nothing_behind(seed):
    store, chance = Slow(DELAY), random.Random(seed)
    rivals = Rivals(World(store=store))
    for kind in FAULTS:
        store.fail(kind, (n for n in FAULTY_COMMITS if chance.random() < 0.1))
    engines = {host: [rivals.engine(host, store) for _ in range(2)] for host in HOSTS}

    def run(call: Call) -> None:
        rivals.run(call, random.choice(engines[call.host]))

    def add(at: Attachment) -> Call:
        return rivals.auto(at, random.choice(((4,), (6,), (4, 6))))

    def live(at: Attachment) -> None:
        for _ in range(2):
            run(add(at))
        under_way = add(at)
        killed = others.submit(run, under_way)
        pause()
        under_way.alive = False
        run(rivals.delete(at))
        killed.result()
        run(add(at))

    with ThreadPoolExecutor(18) as lives, ThreadPoolExecutor(18) as others:
        for _ in range(ROUNDS):
            attachments = [owner for owner in rivals.promises if isinstance(owner, Attachment)]
            list(lives.map(live, attachments))
            rivals.check_promises()

    rivals.check_that_nothing_stays_behind(DELAY)
    rivals.check_history()
