"""Whatever goes wrong, nobody loses an address, shares one, or leaves one behind."""

import json
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from poolmgr.cidr import parse_address
from poolmgr.core import records
from poolmgr.core.request import Attachment, ReleaseByHandle
from poolmgr.core.reservation import AddressSet
from poolmgr.ipam import IPAM
from tests.support.rivals import HOSTS, Porous, Rivals, owners

STEPS = 60
ROUNDS = 6
SESSIONS = "/poolmgr/v1/session/"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("poolmgr.ipam.LONGEST_PAUSE_S", 0.0)


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def check_promises(rivals: Rivals) -> None:
    held = rivals.held()

    assert rivals.world.findings() == ()
    for owner, promise in rivals.promises.items():
        has = held.get(owner, set())
        assert promise.sure <= has, f"{owner} was promised {promise.sure} and has {has}"
        assert not promise.exact or has <= promise.sure, (
            f"{owner} has {has}, not {promise.sure}"
        )


def check_history(rivals: Rivals) -> None:
    """Nothing is taken from its owner, comes from a disabled pool, or is given while reserved."""
    before: dict[str, bytes] = {}
    for now in rivals.revisions():
        changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
        old = {a: o for key in changed for a, o in owners(before.get(key, b"")).items()}
        new = {a: o for key in changed for a, o in owners(now.get(key, b"")).items()}
        given = {address: owner for address, owner in new.items() if old.get(address) != owner}
        if not any(key.startswith(SESSIONS) for key in changed):  # no DEL is part of it
            assert set() == given.keys() & old.keys(), f"{given} belonged to {old}"
        for address in given:
            name = "p6" if ":" in address else "p4"
            pool = json.loads(before[records.resource_key("ippools", name)])
            reserved = json.loads(before[records.resource_key("ipreservations", "r")])
            assert not pool["spec"]["disabled"], f"{address} left a disabled pool"
            kept = AddressSet.of(reserved["spec"]["reservedCIDRs"])
            assert parse_address(address) not in kept, f"{address} is reserved"
        before = now


def check_that_nothing_stays_behind(rivals: Rivals) -> None:
    """Every attachment has its DEL, every handle its release; late writes come when they come."""
    rivals.deepest = 0
    for owner in rivals.promises:
        if isinstance(owner, Attachment):
            rivals.delete(owner)
    rivals.settle()
    check_promises(rivals)
    for owner in rivals.promises:
        if not isinstance(owner, Attachment):
            rivals.release_by_handle(owner, ReleaseByHandle(handles=(owner,)))
    rivals.settle()

    assert rivals.held() == {}
    assert rivals.world.handles() == {}
    assert rivals.world.findings() == ()


@pytest.mark.parametrize("seed", range(20))
def test_calls_in_the_middle_of_others_break_no_promise_and_leave_nothing_behind(seed):
    rivals = Rivals(seed)
    for _ in range(STEPS):
        rivals.step()
        check_promises(rivals)

    check_that_nothing_stays_behind(rivals)
    check_history(rivals)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_share_engines_break_no_promise_and_leave_nothing_behind(seed):
    rivals = Rivals(seed)
    rivals.deepest, rivals.blind = 0, 0.0

    def pause() -> None:
        time.sleep(random.choice((0, 0, 0.0001, 0.001)))

    stores = [Porous(rivals.world.store, pause) for _ in range(2)]
    shared = {host: [(IPAM(store), store) for store in stores] for host in HOSTS}
    rivals.engine = lambda host: random.choice(shared[host])

    def live(at: Attachment) -> None:
        for _ in range(2):
            rivals.add(at)
        under_way = killed.submit(rivals.add, at)
        pause()
        rivals.delete(at)
        under_way.result()
        rivals.add(at)

    with ThreadPoolExecutor(18) as lives, ThreadPoolExecutor(18) as killed:
        for _ in range(ROUNDS):
            attachments = [owner for owner in rivals.promises if isinstance(owner, Attachment)]
            list(lives.map(live, attachments))
            check_promises(rivals)

    check_that_nothing_stays_behind(rivals)
    check_history(rivals)
