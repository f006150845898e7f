"""P9 and P10: whatever is asked at once, fails or dies, nobody loses, shares or leaks an address."""

from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, HostReserved
from poolmgr.core.config import IPAMConfig
from poolmgr.core.request import (
    Attachment,
    ChangeConfig,
    ClaimAffinities,
    CollectCold,
    EnsureBlock,
    Release,
    ReleaseAffinities,
    ReleaseIPs,
    Request,
    SetConfig,
    SetOwner,
)
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.store.port import Store
from tests.strategies import MACHINE, MACHINE_LONG, MACHINE_ON_ETCD
from tests.support.failing import FAULTS, FailingStore
from tests.support.ownership import NOBODY, Owner
from tests.support.rivals import HOSTS, POOLS, Call, Rivals, block_in, pool_cidr
from tests.support.stepped import Stepped
from tests.support.world import World

AT_ONCE = 4
"""Calls under way."""

S_NS = 1_000_000_000
KEPT = HostReserved(first=1, last=1, handle=WINDOWS_RESERVED_HANDLE)

hosts, pools = st.sampled_from(HOSTS), st.sampled_from(sorted(POOLS))
nths, booleans = st.integers(0, 63), st.booleans()
networks = st.builds(block_in, pools, nths, st.sampled_from((26, 28, 29, 30)))
families = st.sampled_from(((4,), (6,), (4, 6)))
steps = st.sampled_from((1, 2, 3, 4, 5, 7, 99, 99, 99))
attachments = st.builds(
    Attachment,
    network=st.just("net"),
    container=st.builds("{}-{}".format, hosts, st.sampled_from((1, 2))),
    interface=st.sampled_from(("eth0", "net1")),
)
handles = st.builds("{}-{}".format, st.sampled_from(("library", "capped")), hosts)
owners = attachments | handles | st.just(NOBODY)
configs = st.sampled_from(
    [
        IPAMConfig(cooldown_s=cooldown_s, **more)
        for cooldown_s in (0, 0, 2)
        for more in (
            {},
            {},
            {"strict_affinity": True},
            {"strict_affinity": True, "max_blocks_per_host": 2},
            {"strict_affinity": True, "auto_allocate_blocks": False},
        )
    ]
)
housekeeping = st.one_of(
    st.builds(ClaimAffinities, cidr=networks, host=hosts),
    st.builds(ReleaseAffinities, cidr=st.none() | networks, host=hosts, only_empty=booleans),
    st.builds(ReleaseAffinities, cidr=st.builds(pool_cidr, pools)),
    st.builds(ReleaseAffinities, host=hosts, forget_host=st.just(True)),
    st.builds(EnsureBlock, host=hosts, reserved=families.map(lambda f: dict.fromkeys(f, KEPT))),
    st.builds(CollectCold, block=networks),
    st.builds(SetConfig, config=configs),
    st.builds(ChangeConfig, cooldown_s=st.sampled_from((0, 2)), strict_affinity=booleans),
)


class Machine(RuleBasedStateMachine):
    """Calls of several hosts that go on in any order, and what administrators do meanwhile."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__()
        self._store = store
        self.calls: list[tuple[Call, Stepped]] = []

    @initialize(
        delay=st.sampled_from((1, 10, 60)), skews=st.lists(st.integers(-70, 70), min_size=3)
    )
    def begin(self, delay: int, skews: Sequence[int]) -> None:
        self.delay = delay
        self.rivals = Rivals(World(store=self._store or FailingStore(delay)))
        for host, skew_s in zip(HOSTS, skews, strict=False):
            self.rivals.skew_ns[host] = skew_s * S_NS

    def _start(self, call: Call, steps: int) -> None:
        """Begin a call, and take its first steps; the oldest is finished if there are many."""
        store = self.rivals.world.store

        def work(stepped) -> None:
            self.rivals.run(call, self.rivals.engine(call.host, stepped))

        while len(self.calls) >= AT_ONCE:
            self._step(0, 99)
        self.calls.append((call, Stepped(store, work)))
        self._step(-1, steps)

    def _step(self, nth: int, steps: int, fault: str | None = None) -> None:
        at = nth % len(self.calls)
        _, stepped = self.calls[at]
        for _ in range(steps):
            stepped.step(fault)
            if stepped.done:
                del self.calls[at]
                return
            fault = None

    # What hosts ask

    @rule(owner=owners, families=families, count=st.sampled_from((1, 2, 9)), steps=steps)
    def assign(self, owner: Owner, families: Sequence[int], count: int, steps: int) -> None:
        if self.rivals.is_free(owner):
            self._start(self.rivals.auto(owner, families, count), steps)

    @rule(at=attachments, families=families, steps=steps)
    def add(self, at: Attachment, families: Sequence[int], steps: int) -> None:
        self.assign(at, families, 1, steps)

    @rule(owner=owners, names=st.lists(pools, min_size=1), nth=st.none() | nths, steps=steps)
    def choose(self, owner: Owner, names: list[str], nth: int | None, steps: int) -> None:
        """Ask for an address, or for one of these pools."""
        if not self.rivals.is_free(owner):
            return
        if nth is not None:
            address = block_in(names[0], nth, 32).network_address
            self._start(self.rivals.named(owner, address), steps)
            return
        wanted = {
            family: tuple(name for name in names if pool_cidr(name).version == family)
            for family in (4, 6)
        }
        named = tuple(family for family, chosen in wanted.items() if chosen)
        self._start(self.rivals.auto(owner, named, pools=wanted), steps)

    @rule(at=attachments, blind=booleans, steps=steps)
    def delete(self, at: Attachment, steps: int, *, blind: bool) -> None:
        if not self.rivals.is_free(at):
            return
        for call, stepped in self.calls:
            if at in call.lives:
                # The fence counts from an engine's first read; it cannot stop one that reads
                # later.
                call.alive = blind and stepped.has_read
        self._start(self.rivals.delete(at), steps)

    @rule(some=st.sets(handles, min_size=1), steps=steps)
    def release_handles(self, some: set[str], steps: int) -> None:
        if free := sorted(filter(self.rivals.is_free, some)):
            self._start(self.rivals.release_handles(*free), steps)

    @rule(
        some=st.sets(handles | st.just(NOBODY), min_size=1),
        kept=st.integers(0, 3),
        numbers=booleans,
        steps=steps,
    )
    def release_ips(self, some: set[str], kept: int, steps: int, *, numbers: bool) -> None:
        chosen = {
            handle: sorted(self.rivals.promises[handle].sure, key=str)[kept:]
            for handle in sorted(some)
            if self.rivals.is_free(handle)
        }
        if any(chosen.values()):
            self._start(self.rivals.release_ips(chosen, numbers=numbers), steps)

    @rule(owner=attachments | handles, steps=steps)
    def release_anothers(self, owner: Owner, steps: int) -> None:
        releases = tuple(
            Release(address=address, handle="stranger")
            for address in self.rivals.promises[owner].sure
        )
        if releases:
            self._start(self.rivals.other(HOSTS[0], ReleaseIPs(releases=releases)), steps)

    @rule(handle=handles, pod=st.sampled_from(("a", "b")), steps=steps)
    def rewrite_owner(self, handle: str, pod: str, steps: int) -> None:
        promise = self.rivals.promises[handle]
        if promise.sure and self.rivals.is_free(handle):
            active = {"node": promise.host, "pod": pod}
            request = SetOwner(address=min(promise.sure, key=str), handle=handle, active=active)
            self._start(self.rivals.other(promise.host, request, handle), steps)

    @rule(host=hosts, request=housekeeping, steps=steps)
    def keep_house(self, host: str, request: Request, steps: int) -> None:
        self._start(self.rivals.other(host, request), steps)

    # What happens to the calls

    @precondition(lambda self: self.calls)
    @rule(nth=nths, steps=steps)
    def go_on(self, nth: int, steps: int) -> None:
        self._step(nth, steps)

    @precondition(lambda self: self.calls)
    @rule(nth=nths, fault=st.sampled_from((*FAULTS, "cut_off")), steps=steps)
    def fail(self, nth: int, fault: str, steps: int) -> None:
        self._step(nth, steps, fault)

    @precondition(lambda self: self.calls)
    @rule(nth=nths, steps=st.integers(0, 6))
    def die(self, nth: int, steps: int) -> None:
        """P10: an engine ends after any prefix, and another is asked the same."""
        call, stepped = self.calls.pop(nth % len(self.calls))
        while steps and not stepped.done:
            stepped.step()
            steps -= 1
        if not stepped.done:
            stepped.kill()
            repeated = self.rivals.again(call)
            if repeated is not None:
                self._start(repeated, 1)

    @precondition(lambda self: self.calls)
    @rule(nth=nths)
    def hang_up(self, nth: int) -> None:
        """The caller does not wait any longer."""
        self.calls[nth % len(self.calls)][0].alive = False

    # What administrators do

    @rule(seconds=st.sampled_from((1, 3, 61)))
    def time_passes(self, seconds: int) -> None:
        self.rivals.now_ns += seconds * S_NS

    @rule(name=pools, what=st.sampled_from(("enable", "disable", "delete")), size=nths)
    def edit_pool(self, name: str, what: str, size: int) -> None:
        """Make a pool if it was deleted; else change it."""
        sizes, present = POOLS[name][1], self.rivals.pool(name)
        if present is None:
            self.rivals.create_pool(name, sizes[size % len(sizes)])
        elif what == "delete":
            self.rivals.delete_pool(name)
        else:
            self.rivals.put_pool(name, present["blockSize"], disabled=what == "disable")

    @rule(what=st.sampled_from(("reserve", "free", "label", "epoch")), name=pools, nth=nths)
    def edit_others(self, what: str, name: str, nth: int) -> None:
        if what == "label":
            self.rivals.label(HOSTS[nth % 3], "r2" if nth % 4 else "r1")
        elif what == "epoch":
            self.rivals.world.put(EPOCH_KEY, f"epoch {nth}".encode())
        else:
            self.rivals.reserve(*([block_in(name, nth, 29)] if what == "reserve" else []))

    # What must hold

    @invariant()
    def promises_are_kept(self) -> None:
        if hasattr(self, "rivals"):
            self.rivals.check_promises()

    def teardown(self) -> None:
        try:
            while self.calls:
                self._step(0, 99)
            if hasattr(self, "rivals"):
                self.rivals.check_promises()
                self.rivals.check_that_nothing_stays_behind(self.delay)
                self.rivals.check_history()
        finally:
            for _, stepped in self.calls:
                stepped.kill()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr("poolmgr.ipam.LONGEST_PAUSE_S", 0.0)


def test_p9_p10_no_sequence_of_calls_faults_and_deaths_breaks_a_promise():
    run_state_machine_as_test(Machine, settings=MACHINE)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_p9_p10_no_long_sequence_breaks_a_promise():
    run_state_machine_as_test(Machine, settings=MACHINE_LONG)


def test_p9_p10_hold_on_an_etcd_too(store, raw):
    def machine() -> Machine:
        raw.delete_everything()
        return Machine(store)

    run_state_machine_as_test(machine, settings=MACHINE_ON_ETCD)
