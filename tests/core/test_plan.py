"""The planner as a whole: batches, limits, and the properties that make the loop right."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.outcome import Assigned, Held, Refused, Released
from poolmgr.core.plan import MAX_BYTES, MAX_OPERATIONS, Plan, plan
from poolmgr.core.request import AutoAssign, HeldBy, Release, ReleaseAffinities, ReleaseIPs
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import EPOCH_KEY, Committed, Conflict, Fetch, KeyValue, Reading
from poolmgr.errors import PoolExhaustedError, RefusedError
from tests.support.world import SEED, World, add, add_ip, claimed_elsewhere, delete

QUICK = settings(deadline=None, max_examples=30)

HOSTS = ("node-a", "node-b")


def small_world() -> World:
    world = World()
    world.pool("p4", "10.20.0.0/27", blockSize=30).pool("p6", "fd20::/120", blockSize=126)
    return world.reserve("r", "10.20.0.8/31")


@st.composite
def requests(draw: st.DrawFn):
    """ADDs, named ADDs, DELs and releases over few containers and addresses, so that they meet."""
    container, host = f"c{draw(st.integers(0, 7))}", draw(st.sampled_from(HOSTS))
    match draw(st.sampled_from(("add", "add", "add", "ip", "del", "release"))):
        case "add":
            families = draw(st.sampled_from(((4,), (6,), (4, 6))))
            interface = draw(st.sampled_from(("eth0", "net1")))
            return add(container, host, families=families, interface=interface)
        case "ip":
            return add_ip(container, f"10.20.0.{draw(st.integers(0, 33))}", host=host)
        case "del":
            return delete(container, host)
        case _:
            address = parse_address(f"10.20.0.{draw(st.integers(0, 31))}")
            handle = draw(st.sampled_from((None, f"net1.{container}")))
            release = Release(address=address, handle=handle)
            return ReleaseIPs(releases=(release,), fence=draw(st.booleans()))


batches = st.lists(requests(), min_size=1, max_size=12)


def answers(outcomes) -> list:
    """Outcomes as values that compare: errors do not, their text does."""
    return [repr(o) for o in outcomes]


@QUICK
@given(batches, batches)
def test_p5_planning_a_batch_equals_planning_one_by_one(before, batch):
    together, apart = small_world(), small_world()
    for world in (together, apart):
        world.ask_all(before)

    at_once = together.ask_all(batch)
    one_by_one = [apart.ask(request) for request in batch]

    assert answers(one_by_one) == answers(at_once)
    assert apart.content() == together.content()


@QUICK
@given(batches, requests())
def test_p6_a_request_with_an_attachment_planned_again_writes_nothing(before, request):
    world = small_world()
    world.ask_all(before)
    first = world.ask(request)
    if not isinstance(first, Assigned):
        return

    again, _ = world.decide([request])

    assert [a.address for a in first.allocations] == [
        a.address for a in again.outcomes[0].allocations
    ]
    assert again.txn is not None
    assert not again.txn.puts
    assert not again.txn.deletes


@QUICK
@given(batches, batches)
def test_p7_every_key_that_a_plan_touches_is_compared(before, batch):
    world = small_world()
    world.ask_all(before)
    left = tuple(batch)
    while left:
        decided, _ = world.decide(list(left))
        if decided.txn is not None:
            touched = decided.txn.puts.keys() | decided.txn.deletes
            assert touched - {EPOCH_KEY} <= decided.txn.expect.keys()
            world.store.commit(decided.txn)
        left = decided.rest


DECISIVE = {
    "a block changes": lambda w: w.put(*next(_values(w, "/calico/ipam/v2/assignment/"))),
    "the handle appears": lambda w: w.put(
        records.handle_key("net1.new"), b'{"block":{"10.20.0.0/30":1},"deleted":false}'
    ),
    "the configuration changes": lambda w: w.configure(strict_affinity=True),
    "the node changes": lambda w: w.node("node-a", rack="r9"),
    "the pool is edited": lambda w: w.pool("p4", "10.20.0.0/27", blockSize=30, disabled=True),
    "a pool appears": lambda w: w.pool("a-first", "10.99.0.0/24"),
    "the pool is deleted": lambda w: w.remove(records.resource_key("ippools", "p4")),
    "an address is reserved": lambda w: w.reserve("late", "10.20.0.0/27"),
    "a DEL passes": lambda w: w.ask(delete("new")),
}


def _values(world: World, start: str):
    return ((key, raw + b" ") for key, raw in world.content().items() if key.startswith(start))


@pytest.mark.parametrize("change", DECISIVE)
def test_p7_a_plan_fails_when_a_fact_changes_that_it_was_decided_on(change):
    world = small_world()
    world.ask(add("old"))
    decided, _ = world.decide([add("new")])

    DECISIVE[change](world)

    assert isinstance(world.store.commit(decided.txn), Conflict)


CLAIM_DECISIVE = {
    "somebody claims the block": lambda w, p: w.put(_new_block(p), b"{}"),
    "the affinity appears": lambda w, p: w.put(_new_affinity(p), b""),
    "the host claims another block": lambda w, p: w.put(
        "/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.28-30", b""
    ),
}


def _new_block(decided: Plan) -> str:
    return next(key for key in decided.txn.puts if "/assignment/" in key)


def _new_affinity(decided: Plan) -> str:
    return next(key for key in decided.txn.puts if "/host/" in key)


@pytest.mark.parametrize("change", CLAIM_DECISIVE)
def test_p7_a_claim_fails_when_it_is_overtaken(change):
    world = small_world()
    decided, _ = world.decide([add("first")])

    CLAIM_DECISIVE[change](world, decided)

    assert isinstance(world.store.commit(decided.txn), Conflict)


def repeated_add(world: World) -> Plan:
    world.ask(add("c1"))
    return world.decide([add("c1")])[0]


def recreated_block(world: World) -> Plan:
    world.put("/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.16-30", b"{}")
    return world.decide([add("c1")])[0]


def stale_affinity(world: World) -> Plan:
    claimed_elsewhere(world, "10.20.0.16/30", "node-b", full=False)
    world.put("/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.16-30", b"{}")
    return world.decide([add("c1")])[0]


def delete_of_one(world: World) -> Plan:
    world.ask(add("c1"))
    return world.decide([delete("c1")])[0]


def delete_of_nothing(world: World) -> Plan:
    world.ask(delete("other"))
    return world.decide([delete("c1")])[0]


def delete_that_strays(world: World) -> Plan:
    world.node("node-a", rack="r1")
    world.ask(add("c1"))
    world.node("node-a", rack="r2")
    world.pool("p4", "10.20.0.0/27", blockSize=30, nodeSelector="rack == 'r1'")
    return world.decide([delete("c1")])[0]


def pool_left(world: World) -> Plan:
    claimed_elsewhere(world, "10.20.0.16/30", "node-b", full=False)
    world.remove("/calico/ipam/v2/host/node-b/ipv4/block/10.20.0.16-30")
    world.put("/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.16-30", b"{}")
    leave = ReleaseAffinities(cidr=parse_network("10.20.0.0/27"))
    return world.decide([leave])[0]


THEIRS = "/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.16-30"
OTHERS = "/calico/ipam/v2/assignment/ipv4/block/10.20.0.16-30"

OVERTAKEN = {
    "a repeated ADD, by a release of the handle": (
        repeated_add,
        lambda w: w.remove(records.handle_key("net1.c1")),
    ),
    "a repeated ADD, by a change of its block": (
        repeated_add,
        lambda w: w.put(*next(_values(w, "/calico/ipam/v2/assignment/"))),
    ),
    "a repeated ADD, by a DEL": (repeated_add, lambda w: w.ask(delete("other"))),
    "a block made anew, by whoever takes its affinity": (
        recreated_block,
        lambda w: w.remove(THEIRS),
    ),
    "a stale affinity, by a change of the block": (
        stale_affinity,
        lambda w: w.put(OTHERS, w.value(OTHERS) + b" "),
    ),
    "a DEL of nothing, by its ADD": (
        delete_of_nothing,
        lambda w: w.ask(add("c1")),
    ),
    "a DEL, by another cooldown": (
        delete_of_one,
        lambda w: w.configure(ipCooldownSeconds=60),
    ),
    "a DEL, by another count in the handle": (
        delete_of_one,
        lambda w: w.put(records.handle_key("net1.c1"), b'{"block":{"10.20.0.0/30":2}}'),
    ),
    "a block given back, by the label's return": (
        delete_that_strays,
        lambda w: w.node("node-a", rack="r1"),
    ),
    "a block given back, by another selector": (
        delete_that_strays,
        lambda w: w.pool("p4", "10.20.0.0/27", blockSize=30),
    ),
    "a pool left, by a change of a block that was another's": (
        pool_left,
        lambda w: w.put(OTHERS, w.value(OTHERS) + b" "),
    ),
}


@pytest.mark.parametrize("what", OVERTAKEN)
def test_p7_a_plan_fails_when_it_is_overtaken(what):
    prepare, overtake = OVERTAKEN[what]
    world = World().pool("p4", "10.20.0.0/27", blockSize=30)
    decided = prepare(world)

    overtake(world)

    assert isinstance(world.store.commit(decided.txn), Conflict)


def test_what_a_handle_says_is_not_judged_by_blocks_read_before_it():
    world = small_world()
    world.ask(add("other"))
    _, before = world.decide([add("c1")])
    world.ask(add("c1"))
    handle = Fetch(keys=frozenset({records.handle_key("net1.c1")}))

    decided = plan([add("c1")], before.merge(world.store.read(handle)), world.now_ns, SEED)

    assert isinstance(decided, Fetch)
    assert all("/assignment/" in key for key in decided.keys)


def test_p7_a_plan_fails_when_the_data_is_another():
    world = small_world()
    world.ask(add("c1"))
    decided, _ = world.decide([add("c2")])

    world.put(EPOCH_KEY, b"restored")

    assert isinstance(world.store.commit(decided.txn), Conflict)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 200), st.sampled_from(((4,), (6,), (4, 6))), st.integers(0, 3000))
def test_p8_no_plan_of_several_requests_exceeds_the_limits(count, families, note_size):
    world = World().pool("p4", "10.0.0.0/16").pool("p6", "fd20::/64")
    note = {"note": "x" * note_size}
    left = tuple(
        replace(r, attributes={**r.attributes, **note})
        for r in (add(f"c{n}", families=families) for n in range(count))
    )
    done = 0
    while left:
        decided, _ = world.decide(list(left))
        taken = len(left) - len(decided.rest)
        if taken > 1:
            assert decided.txn.operations() <= MAX_OPERATIONS
            assert decided.txn.size_bytes() <= MAX_BYTES
        assert isinstance(world.store.commit(decided.txn), Committed)
        done += len(decided.outcomes)
        left = decided.rest

    assert count == done
    assert () == world.findings()


def test_a_fetch_asks_for_what_the_whole_batch_needs():
    batch = [add(f"c{n}") for n in range(40)]

    first = plan(batch, Snapshot(), 0, SEED)

    assert isinstance(first, Fetch)
    assert {records.handle_key(f"net1.c{n}") for n in range(40)} <= first.keys


def test_a_fetch_never_exceeds_what_one_read_takes():
    batch = [add(f"c{n}", host=f"node-{n}") for n in range(100)]
    world, snapshot, reads = small_world(), Snapshot(), 0

    decided = plan(batch, snapshot, 0, SEED)
    while isinstance(decided, Fetch):
        assert len(decided) <= MAX_OPERATIONS
        snapshot, reads = snapshot.merge(world.store.read(decided)), reads + 1
        decided = plan(batch, snapshot, 0, SEED)

    assert reads > 1


def test_what_lacks_facts_waits_behind_what_is_decided():
    world = small_world()
    world.ask(add("old"))
    decided, snapshot = world.decide([add("known")])
    assert decided.txn is not None

    mixed = plan([add("known"), add("unknown")], snapshot, world.now_ns, SEED)

    assert isinstance(mixed, Plan)
    assert (add("unknown"),) == mixed.rest
    assert 1 == len(mixed.outcomes)


def test_a_refusal_leaves_the_rest_of_the_batch_alone():
    world = World().pool("tiny", "10.0.0.0/31", blockSize=31)

    outcomes = world.ask_all([add(f"c{n}") for n in range(4)])

    assert [Assigned, Assigned, Refused, Refused] == [type(o) for o in outcomes]
    assert isinstance(outcomes[2].error, PoolExhaustedError)
    assert 1 == world.commits


def test_a_refusal_keeps_nothing_of_the_family_that_was_granted():
    world = World().pool("p4", "10.0.0.0/24")

    outcome = world.ask(add("c1", families=(4, 6)))

    assert isinstance(outcome, Refused)
    assert {} == world.blocks()


def test_a_lone_request_etcd_cannot_take_is_refused_and_told_why():
    world = World().pool("p", "10.0.0.0/20", blockSize=20)
    huge = AutoAssign(
        host="node-a", handle="h", count={4: 1}, attributes={"note": "x" * 1_600_000}
    )

    error = world.refusal(huge)

    assert isinstance(error, RefusedError)
    assert "blockSize" in str(error)


def test_a_question_is_answered_from_what_was_read_without_a_transaction():
    world = small_world()
    (address,) = world.addresses(add("c1"))
    world.commits = 0

    outcome = world.ask(HeldBy(handle="net1.c1"))

    assert isinstance(outcome, Held)
    assert [address] == [str(a.address) for a in outcome.allocations]
    assert 0 == world.commits


def test_the_first_write_ever_creates_the_epoch():
    world = small_world()

    world.ask(add("c1"))

    assert SEED == world.epoch


def test_a_release_of_nothing_writes_the_fence_alone():
    world = small_world()

    outcome = world.ask(delete("nobody"))

    assert Released(released=()) == outcome
    assert {records.session_key("node-a"), EPOCH_KEY} == set(world.last.txn.puts)


def test_facts_of_an_older_reading_do_not_win_over_a_newer_absence():
    key = records.handle_key("net1.c1")
    newer = Snapshot().merge(Reading(found={key: None}, revision=9))

    merged = newer.merge(
        Reading(found={key: KeyValue(value=b"{}", mod_revision=5)}, revision=7)
    )

    assert merged.find(key).value is None
