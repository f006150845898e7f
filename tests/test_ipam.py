"""The loop: what callers are told, whatever becomes of reads and commits."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.block import HostReserved
from poolmgr.core.config import IPAMConfig
from poolmgr.core.outcome import Assigned
from poolmgr.core.request import (
    AutoAssign,
    ClaimAffinities,
    CollectCold,
    EnsureBlock,
    HeldBy,
    OwnerOf,
    Release,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
    Request,
    SetConfig,
    SetOwner,
)
from poolmgr.core.txn import Fetch
from poolmgr.errors import (
    AddressInUseError,
    AttachmentDeletedError,
    CommitUnknownError,
    ContentionError,
    CorruptStateError,
    NoMatchingPoolError,
    PoolExhaustedError,
    StoreRefusedError,
    StoreUnavailableError,
)
from poolmgr.ipam import IPAM
from poolmgr.store.memory import Faults, MemoryStore
from tests.support.world import World, add, add_ip, attachment, delete

FIRST = 2
"""The number of the first commit that an IPAM makes: the pool is commit 1."""
SOON_S = 0.2


@dataclass
class Hooked:
    """A store, and what happens before each of its operations."""

    store: MemoryStore
    before_read: Callable[[], None] = lambda: None
    before_commit: Callable[[], None] = lambda: None
    commits: list[int] = field(default_factory=list)

    def read(self, fetch, *, timeout_s=2.0, revision=None):
        self.before_read()
        return self.store.read(fetch, timeout_s=timeout_s, revision=revision)

    def commit(self, txn, *, timeout_s=2.0):
        self.before_commit()
        self.commits.append(sum(key.startswith(records.HANDLES.start) for key in txn.puts))
        return self.store.commit(txn, timeout_s=timeout_s)

    def close(self):
        self.store.close()


def make(faults: Faults | None = None, *, cidr: str = "10.0.0.0/24", **pool) -> World:
    return World(store=MemoryStore(faults)).pool("p", cidr, **pool)


def plain(container: str, count: int = 1, host: str = "node-a") -> AutoAssign:
    """A library call: without an attachment, so that each gives further addresses."""
    return AutoAssign(host=host, handle=f"lib.{container}", count={4: count})


def held(world: World) -> dict[str, str | None]:
    """Address -> handle, of everything that is assigned."""
    return {
        str(block.cidr.network_address + ordinal): attribute.owner
        for block in world.blocks().values()
        for ordinal in range(block.size)
        if (attribute := block.attribute_at(ordinal)) is not None
    }


def addresses(assigned) -> list[str]:
    return [str(allocation.address) for allocation in assigned.allocations]


def raising(error: Exception) -> Callable[[], None]:
    def hook() -> None:
        raise error

    return hook


# The verbs


def test_each_verb_answers_with_what_was_done():
    world = make(blockSize=28)
    ipam = IPAM(world.store, clock=lambda: world.now_ns)

    given = ipam.auto_assign(add("one"))
    named = ipam.assign_ip(add_ip("two", "10.0.0.77"))
    again = ipam.auto_assign(plain("three", 2))
    found = ipam.held_by(HeldBy(handle="net1.one"))
    by_ip = ipam.release_ips(
        ReleaseIPs(releases=tuple(Release(address=a.address) for a in again.allocations))
    )
    by_handle = ipam.release_by_handle(delete("one"))
    taken = ipam.release_affinities(ReleaseAffinities(cidr=parse_network("10.0.0.0/24")))

    assert found.allocations == given.allocations
    assert addresses(named) == ["10.0.0.77"]
    assert by_ip.released == tuple(a.address for a in again.allocations)
    assert by_handle.released == (given.allocations[0].address,)
    assert taken.blocks == 2
    assert held(world) == {"10.0.0.77": "net1.two"}
    assert world.findings() == ()


def test_each_verb_without_an_address_answers_too():
    world = make(cidr="10.0.0.0/28", blockSize=30)
    ipam = IPAM(world.store, clock=lambda: world.now_ns)
    none = HostReserved(first=0, last=0, handle="")
    cooling = IPAMConfig(strict_affinity=True, cooldown_s=60)

    ensured = ipam.ensure_block(EnsureBlock(host="node-a", reserved={4: none})).blocks[4]
    claimed = ipam.claim_affinities(ClaimAffinities(cidr=ensured, host="node-b"))
    (given,) = ipam.auto_assign(plain("one")).allocations
    owned = ipam.set_owner(
        SetOwner(address=given.address, handle="lib.one", active={"pod": "web-0"})
    )
    configured = ipam.set_config(SetConfig(config=cooling))
    found = ipam.owner_of(OwnerOf(address=given.address))
    ipam.release_by_handle(ReleaseByHandle(handles=("lib.one",)))
    world.now_ns += 61_000_000_000
    collected = ipam.collect_cold(CollectCold(block=ensured))

    assert given.block == ensured
    assert claimed.failed == (ensured,)
    assert found == owned
    assert found.attributes == {"pod": "web-0"}
    assert configured == cooling == ipam.config()
    assert collected.addresses == (given.address,)


def test_a_refusal_is_raised_and_writes_nothing():
    world = World()

    with pytest.raises(NoMatchingPoolError):
        IPAM(world.store).auto_assign(add("one"))
    assert world.content() == {}


def test_a_refusal_beside_others_in_a_batch_hinders_nobody():
    world = make(cidr="10.0.0.0/30", blockSize=30)
    ipam = IPAM(Hooked(world.store, before_commit=lambda: time.sleep(0.02)))

    def ask(n):
        try:
            return addresses(ipam.auto_assign(add(f"c{n}")))
        except PoolExhaustedError:
            return []

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))

    given = sorted(address for each in answers for address in each)
    assert given == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert answers.count([]) == 12
    assert world.findings() == ()


def test_large_requests_are_served_part_by_part():
    world = make(cidr="10.0.0.0/20")
    ipam = IPAM(world.store)
    world.configure(maxBlocksPerHost=-1)

    given = ipam.auto_assign(plain("big", 2000))
    released = ipam.release_by_handle(ReleaseByHandle(handles=("lib.big",)))

    assert len(set(addresses(given))) == 2000
    assert sorted(map(str, released.released)) == sorted(addresses(given))
    assert held(world) == {}
    assert world.findings() == ()


def test_64_threads_share_commits_and_get_their_own_answers():
    world = make()
    store = Hooked(world.store, before_commit=lambda: time.sleep(0.005))
    ipam = IPAM(store)

    with ThreadPoolExecutor(64) as pool:
        given = list(pool.map(lambda n: ipam.auto_assign(add(f"c{n}")), range(64)))

    owners = held(world)
    assert [owners[address] for each in given for address in addresses(each)] == [
        f"net1.c{n}" for n in range(64)
    ]
    assert len(owners) == 64
    assert sum(store.commits) == 64
    assert len(store.commits) < 16


# Unknown outcomes


@pytest.mark.parametrize("fault", ["lost_ack", "never_applied", "late"])
@pytest.mark.parametrize("request_", [add("one"), plain("one"), add_ip("one", "10.0.0.9")])
def test_after_an_unknown_outcome_the_caller_gets_one_address_and_is_told_which(
    fault, request_
):
    world = make(Faults(**{fault: {FIRST}}))
    ipam = IPAM(world.store)
    call = ipam.auto_assign if isinstance(request_, AutoAssign) else ipam.assign_ip

    given = call(request_)
    world.store.read(Fetch())

    assert held(world) == {addresses(given)[0]: request_.handle}
    assert world.findings() == ()


def test_a_late_write_and_its_repetition_never_both_happen():
    world = make(Faults(late={FIRST}, delay=5))

    given = IPAM(world.store).auto_assign(add("one"))
    for _ in range(9):
        world.store.read(Fetch())

    assert held(world) == {addresses(given)[0]: "net1.one"}


def test_an_address_for_nobody_cannot_be_recognised_so_its_outcome_stays_unknown():
    world = make(Faults(lost_ack={FIRST}))
    request = AutoAssign(host="node-a", handle=None, count={4: 1})

    with pytest.raises(CommitUnknownError):
        IPAM(world.store).auto_assign(request)
    assert list(held(world).values()) == [None]


@pytest.mark.parametrize("fault", ["lost_ack", "never_applied"])
def test_a_release_tells_what_it_freed_although_its_answer_was_lost(fault):
    world = make(Faults(**{fault: {FIRST + 1, FIRST + 2}}))
    ipam = IPAM(world.store)
    given = ipam.auto_assign(plain("one", 3))

    freed = tuple(allocation.address for allocation in given.allocations)
    releases = tuple(Release(address=address) for address in freed)

    assert ipam.release_ips(ReleaseIPs(releases=releases)).released == freed
    assert held(world) == {}


@pytest.mark.parametrize("lost", [FIRST, FIRST + 1])
def test_a_part_whose_answer_was_lost_is_recognised(lost):
    world = make(Faults(lost_ack={lost + 1}), cidr="10.0.0.0/20")
    world.configure(maxBlocksPerHost=-1)
    ipam = IPAM(world.store)

    given = ipam.auto_assign(plain("big", 2000))

    assert set(addresses(given)) == set(held(world))
    assert len(held(world)) == 2000


def test_a_part_that_is_planned_again_leaves_the_rest_unharmed():
    world = make(Faults(never_applied={FIRST + 1}), cidr="10.0.0.0/20")
    world.configure(maxBlocksPerHost=-1)

    given = IPAM(world.store).auto_assign(plain("big", 2000))

    assert set(addresses(given)) == set(held(world))
    assert len(held(world)) == 2000


def test_an_outcome_stays_unknown_while_nothing_can_be_read():
    world = make(Faults(lost_ack={FIRST}))
    store = Hooked(world.store)
    gone = raising(StoreUnavailableError("etcd is gone"))

    def last_commit() -> None:
        store.before_read = store.before_commit = gone

    store.before_commit = last_commit
    with pytest.raises(CommitUnknownError):
        IPAM(store).auto_assign(add("one"), timeout_s=SOON_S)
    assert list(held(world).values()) == ["net1.one"]


@pytest.mark.parametrize("error", [StoreRefusedError("no"), CommitUnknownError("who knows")])
def test_an_outcome_stays_unknown_when_the_store_then_refuses(error):
    world = make(Faults(lost_ack={FIRST}))
    store = Hooked(world.store)
    store.before_commit = lambda: setattr(store, "before_read", raising(error))

    with pytest.raises(CommitUnknownError, match="commit 2"):
        IPAM(store).auto_assign(add("one"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (records.resource_key("ippools", "p"), None),  # there is no pool any more
        (records.CONFIG_KEY, b"no JSON"),
    ],
)
def test_an_outcome_stays_unknown_when_the_repetition_is_refused(key, value):
    world = make(Faults(late={FIRST}, delay=99))
    store = Hooked(world.store)

    def change() -> None:
        store.before_read = lambda: None
        if value is None:
            world.remove(key)
        else:
            world.put(key, value)

    store.before_commit = lambda: setattr(store, "before_read", change)
    with pytest.raises(CommitUnknownError):
        IPAM(store).auto_assign(add("one"))


def test_an_outcome_stays_unknown_when_the_caller_is_gone_then():
    world = make(Faults(never_applied={FIRST}))
    lives = iter([True, True, True])

    with pytest.raises(CommitUnknownError):
        IPAM(world.store).auto_assign(add("one"), alive=lambda: next(lives, False))
    assert held(world) == {}


def test_those_whose_part_in_an_unknown_write_was_a_refusal_are_not_in_doubt():
    world = make(Faults(never_applied={FIRST + 1}))
    store = Hooked(world.store)

    with ThreadPoolExecutor() as pool:
        requests = (add("one"), add_ip("two", "10.9.9.9"))
        given, refused = together(IPAM(store), store, pool, *requests)

    assert isinstance(refused.exception(), NoMatchingPoolError)
    assert len(given.result().allocations) == 1


def test_a_late_write_is_fenced_by_the_del_of_its_attachment():
    world = make(Faults(late={FIRST}, delay=20))
    ipam = IPAM(world.store)
    lives = iter([True, True, True])

    with pytest.raises(CommitUnknownError):
        ipam.auto_assign(add("one"), alive=lambda: next(lives, False))
    ipam.release_by_handle(delete("one"))
    for _ in range(30):
        world.store.read(Fetch())

    assert held(world) == {}
    assert world.handles() == {}


def test_an_add_that_its_del_overtakes_gives_up():
    world = make()
    other = IPAM(world.store)
    store = Hooked(world.store)

    def overtake() -> None:
        store.before_commit = lambda: None
        other.release_by_handle(delete("one"))

    store.before_commit = overtake
    with pytest.raises(AttachmentDeletedError):
        IPAM(store).auto_assign(add("one"))
    assert held(world) == {}


def test_an_add_adopts_the_del_of_another_attachment():
    world = make()
    other = IPAM(world.store)
    store = Hooked(world.store)

    def overtake() -> None:
        store.before_commit = lambda: None
        other.release_by_handle(delete("two"))

    store.before_commit = overtake

    assert len(IPAM(store).auto_assign(add("one")).allocations) == 1


# Conflicts, deadlines, and callers that are gone


def test_a_conflict_is_planned_again_on_what_is_true_now():
    world = make()
    other = IPAM(world.store)
    store = Hooked(world.store)

    def meddle() -> None:
        store.before_commit = lambda: None
        other.assign_ip(add_ip("rival", "10.0.0.9", host="node-b"))

    store.before_commit = meddle
    with pytest.raises(AddressInUseError):
        IPAM(store).assign_ip(add_ip("one", "10.0.0.9"))
    assert held(world) == {"10.0.0.9": "net1.rival"}


def test_a_conflict_without_a_cause_is_overcome():
    world = make(Faults(conflict={FIRST, FIRST + 1}))

    assert len(IPAM(world.store).auto_assign(add("one")).allocations) == 1


def test_nothing_but_conflicts_ends_at_the_deadline():
    world = make(Faults(conflict=range(FIRST, 10_000)))

    with pytest.raises(ContentionError, match="the deadline passed"):
        IPAM(world.store).auto_assign(add("one"), timeout_s=SOON_S)
    assert held(world) == {}


def test_a_store_that_is_not_there_is_asked_until_the_deadline():
    world = make()
    store = Hooked(world.store, before_read=raising(StoreUnavailableError("etcd is gone")))

    with pytest.raises(StoreUnavailableError, match="etcd is gone"):
        IPAM(store).auto_assign(add("one"), timeout_s=SOON_S)


def test_a_store_that_comes_back_is_used():
    world = make()
    store = Hooked(world.store, before_read=raising(StoreUnavailableError("etcd is gone")))
    threading.Timer(0.05, setattr, (store, "before_read", lambda: None)).start()

    assert len(IPAM(store).auto_assign(add("one")).allocations) == 1


def test_a_store_that_refuses_is_not_asked_again():
    world = make()
    store = Hooked(world.store, before_commit=raising(StoreRefusedError("no space")))

    started = time.monotonic()
    with pytest.raises(StoreRefusedError, match="no space"):
        IPAM(store).auto_assign(add("one"))
    assert time.monotonic() - started < 5


def test_for_a_caller_that_is_gone_nothing_is_written():
    world = make()
    lives = iter([True])  # gone after the first read

    with pytest.raises(ContentionError, match="the caller is gone"):
        IPAM(world.store).auto_assign(add("one"), alive=lambda: next(lives, False))
    assert held(world) == {}


def test_waiting_for_a_turn_ends_at_the_deadline():
    world = make()
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(10)

    ipam = IPAM(Hooked(world.store, before_commit=wait))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ipam.auto_assign, add("one"))
        begun.wait(10)
        with pytest.raises(ContentionError, match="others were being served"):
            ipam.auto_assign(add("two"), timeout_s=0.02)
        go_on.set()
        first.result()

    assert list(held(world).values()) == ["net1.one"]


def together(ipam: IPAM, store: Hooked, pool: ThreadPoolExecutor, *requests: Request) -> list:
    """Ask in this order, in one batch, and return the futures; the store is hooked from then on."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(10)

    hook, store.before_commit = store.before_commit, wait
    futures = [pool.submit(ipam._ask, add("first"), Assigned, 30)]
    begun.wait(10)
    for number, request in enumerate(requests):
        futures.append(pool.submit(ipam._ask, request, Assigned, 30))
        while len(ipam._batcher._queue) <= number:
            time.sleep(0.001)
    store.before_commit = hook
    go_on.set()
    return futures[1:]


def test_those_behind_a_large_request_are_served_when_it_leaves_room():
    world = make(cidr="10.0.0.0/20")
    world.configure(maxBlocksPerHost=-1)
    store = Hooked(world.store)

    with ThreadPoolExecutor() as pool:
        big, small = together(IPAM(store), store, pool, plain("big", 2000), add("one"))

    assert len(big.result().allocations) == 2000
    assert len(small.result().allocations) == 1
    assert world.findings() == ()


def test_an_interrupt_leaves_those_who_have_no_answer_yet_in_doubt():
    world = make(cidr="10.0.0.0/20")
    world.configure(maxBlocksPerHost=-1)
    store = Hooked(world.store)
    store.before_commit = lambda: setattr(store, "before_commit", raising(KeyboardInterrupt()))

    with ThreadPoolExecutor() as pool:
        requests = (add("one"), plain("big", 2000), add("two"))
        leader, big, last = together(IPAM(store), store, pool, *requests)

    assert isinstance(leader.exception(), KeyboardInterrupt)
    assert isinstance(big.exception(), CommitUnknownError)
    assert isinstance(last.exception(), CommitUnknownError)


# What does not decode


def test_a_session_that_does_not_decode_is_named():
    world = make()
    key = records.session_key("node-a")
    world.put(key, b"{")

    with pytest.raises(CorruptStateError, match=key):
        IPAM(world.store).auto_assign(add("one"))


def test_attachments_are_told_apart():
    world = make()
    ipam = IPAM(world.store)

    first, second = ipam.auto_assign(add("one")), ipam.auto_assign(add("one", interface="net1"))
    found = ipam.held_by(HeldBy(handle="net1.one", attachment=attachment("one")))

    assert first.allocations != second.allocations
    assert found.allocations == first.allocations
