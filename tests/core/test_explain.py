import pytest

from poolmgr.core import records
from poolmgr.core.explain import Origin, Source, origin, pools, verdicts
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.outcome import Assigned
from poolmgr.core.plan import plan
from poolmgr.core.request import Sticky, Use
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Fetch
from tests.support.world import SEED, World, add, add_ip, claimed_elsewhere, delete


def facts(world, request):
    """What the planner has read when it decides, and its decision."""
    snapshot = Snapshot()
    while isinstance(decided := plan([request], snapshot, world.now_ns, SEED), Fetch):
        snapshot = snapshot.merge(world.store.read(decided))
    return snapshot, decided


def judged(world, request):
    snapshot, _ = facts(world, request)
    return [(v.name, v.rank, v.reason) for v in verdicts(snapshot, request, world.now_ns)]


def came_from(world, request):
    snapshot, decided = facts(world, request)
    (outcome,) = decided.outcomes
    assert isinstance(outcome, Assigned), outcome
    (allocation,) = outcome.allocations
    return origin(snapshot, decided.txn, request.claimant, allocation)


MATCHES = "nodeSelector all() matches"


def test_pools_come_in_the_order_of_use_and_the_others_by_name():
    world = World().pool("a", "10.0.0.0/24").pool("z", "10.0.2.0/24", disabled=True)
    world.pool("six", "fd00::/112").pool(
        "b", "10.0.1.0/24", annotations={"ipam.poolmgr.io/priority": "3"}
    )
    world.put(records.resource_key("ippools", "junk"), b"{")
    found = judged(world, add("c1", families=(4, 6)))

    assert [
        ("b", 1, f"{MATCHES}; priority 3"),
        ("a", 2, MATCHES),
        ("six", 1, MATCHES),
    ] == found[:3]
    assert [("junk", None), ("z", None)] == [(name, rank) for name, rank, _ in found[3:]]
    assert "its stored value is wrong" in found[3][2]
    assert "disabled" == found[4][2]


def test_a_family_that_nobody_wants_is_told():
    world = World().pool("a", "10.0.0.0/24").pool("six", "fd00::/112")

    assert ("six", None, "no IPv6 address is asked for") in judged(world, add("c1"))


def test_a_namespace_selector_that_matches_is_told():
    world = World().pool("a", "10.0.0.0/24", namespaceSelector="has(x)")

    assert [("a", 1, "nodeSelector all() and namespaceSelector has(x) match")] == judged(
        world, add("c1", namespace_labels={"x": "1"})
    )


def test_pools_that_the_request_does_not_name_are_told_apart():
    world = World().pool("a", "10.0.0.0/24").pool("b", "10.0.1.0/24")

    assert [
        ("b", 1, "the request names it"),
        ("a", None, "the request names other pools"),
    ] == judged(world, add("c1", pools={4: ("b",)}))


def test_one_bad_name_refuses_the_whole_request():
    world = World().pool("a", "10.0.0.0/24").pool("six", "fd00::/112")

    assert [
        ("a", None, "it could serve, but the request is refused as a whole"),
        ("nope", None, "there is no such pool, by name or by exact CIDR"),
        ("six", None, "no IPv6 address is asked for"),
    ] == judged(world, add("c1", pools={4: ("a", "nope")}))
    assert ("six", None, "is an IPv6 pool") in judged(world, add("c1", pools={4: ("six",)}))


def test_a_missing_node_and_a_broken_selector_refuse_the_whole_request():
    world = World().pool("a", "10.0.0.0/24").pool("b", "10.0.1.0/24", nodeSelector="has(x)")
    refused = "it could serve, but the request is refused as a whole"
    reason = "there is no Node resource node-a, and the pool selects nodes by label: nodeSelector has(x)"

    assert [("a", None, refused), ("b", None, reason)] == judged(world, add("c1"))
    world.node("node-a").pool("b", "10.0.1.0/24", nodeSelector="x ==")
    (_, broken) = judged(world, add("c1"))
    assert "nodeSelector" in broken[2]
    assert "IPPool b" in broken[2]


def test_a_node_that_cannot_be_read_is_the_reason_against_every_pool():
    world = World().pool("a", "10.0.0.0/24")
    world.put(records.resource_key("nodes", "node-a"), b"{")
    ((name, rank, reason),) = judged(world, add("c1"))

    assert ("a", None) == (name, rank)
    assert "/nodes/node-a" in reason


def test_a_bridge_takes_one_pool():
    world = World().pool("a", "10.0.0.0/24").pool("b", "10.0.1.0/24")
    link = LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)
    found = judged(world, add("c1", link=link))

    assert ("a", 1, MATCHES) == found[0]
    assert ("b", None, "a bridge takes one IPv4 gateway, and pool a comes first") == found[1]


@pytest.mark.parametrize("how", ["named", "among"])
def test_pools_of_named_addresses_are_judged_by_these(how):
    world = World().pool("a", "10.0.0.0/24", nodeSelector="has(x)")
    world.pool("b", "10.0.1.0/24").pool("off", "10.0.2.0/24", disabled=True)
    world.pool("tunnel", "10.0.3.0/24", allowedUses=["Tunnel"])
    world.pool("bad", "10.0.4.0/24", annotations={"ipam.poolmgr.io/gateway": "x"})
    world.pool("six", "fd00::/112")
    texts = ("10.0.0.9", "10.0.2.9", "10.0.3.9", "10.0.4.9")
    request = add_ip("c1", *texts)
    if how == "among":
        ranges = tuple((each, each) for each in request.addresses)
        request = add("c1", among={4: ranges})
    found = {name: (rank, reason) for name, rank, reason in judged(world, request)}

    assert (1, "an address that is asked for lies in it") == found["a"]
    assert (None, "no address that is asked for lies in it") == found["b"]
    assert (None, "disabled") == found["off"]
    assert (None, "allowedUses [Tunnel] does not include Workload") == found["tunnel"]
    assert "gateway 'x'" in found["bad"][1]
    assert (None, "no IPv6 address is asked for") == found["six"]


def test_any_use_and_ranges_around_a_pool_are_understood():
    world = World().pool("a", "10.0.0.0/24", allowedUses=["Tunnel"])
    first, last = add_ip("c1", "10.0.0.0", "10.0.0.255").addresses

    assert 1 == judged(world, add_ip("c1", "10.0.0.9", use=None))[0][1]
    wide = add("c1", among={4: ((first - 9, last + 9),)}, use=Use.TUNNEL)
    assert 1 == judged(world, wide)[0][1]


def test_without_facts_there_is_no_verdict():
    assert () == verdicts(Snapshot(), add("c1"), 0)
    assert () == pools(Snapshot())
    world = World().pool("a", "10.0.0.0/24")
    snapshot, _ = facts(world, add("c1"))
    assert ["a"] == [pool.metadata.name for pool in pools(snapshot)]
    unread = Snapshot(ranges=snapshot.ranges)
    (verdict,) = verdicts(unread, add("c1"), 0)
    assert "the labels of the node were not read" == verdict.reason


def test_pools_are_judged_although_nobody_looked_at_the_blocks():
    world = World().pool("a", "10.0.0.0/24").pool("b", "10.0.1.0/24")
    world.ask(add("c0"))
    request = add("c1", link=LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY))
    whole, _ = facts(world, request)
    keys = {key: fact for key, fact in whole.keys.items() if "/block/" not in key}
    found = verdicts(Snapshot(keys=keys, ranges=whole.ranges), request, 0)

    assert [("a", 1), ("b", 2)] == [(each.name, each.rank) for each in found]


def small():
    return World().pool("a", "10.0.0.0/29", blockSize=30)


def test_a_block_is_claimed_or_the_nodes_own():
    world = small()

    assert Origin(source=Source.CLAIMED, owner="") == came_from(world, add("c1"))
    world.ask(add("c1"))
    assert Origin(source=Source.OWN, owner="host:node-a") == came_from(world, add("c2"))


def test_a_block_is_taken_over_or_borrowed_from():
    world = small()
    for cidr in ("10.0.0.0/30", "10.0.0.4/30"):
        claimed_elsewhere(world, cidr, "node-b", full=False)
    world.now_ns += 3600 * 10**9

    assert Origin(source=Source.TAKEN, owner="host:node-b") == came_from(world, add("c1"))
    for number in range(5):
        world.ask(add(f"b{number}", host="node-b"))
    assert Origin(source=Source.BORROWED, owner="host:node-b") == came_from(world, add("c1"))


def test_a_sticky_address_is_kept():
    world = small().node("node-a")
    sticky = Sticky(namespace="n", identity="w@eth0")
    world.ask(add("c1", sticky=sticky))
    world.ask(delete("c1"))
    request = add("c2", sticky=sticky, link=LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY))

    assert Origin(source=Source.KEPT, owner="host:node-a") == came_from(
        world, add("c2", sticky=sticky)
    )
    assert 1 == judged(world, add("c2", sticky=sticky))[0][1]
    assert 1 == judged(world, request)[0][1]
