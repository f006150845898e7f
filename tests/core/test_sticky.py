"""Addresses that stay their owner's while pods come and go."""

from dataclasses import replace

import pytest

from poolmgr.core import records
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.request import (
    AutoAssign,
    CollectGarbage,
    HeldBy,
    Release,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
    Sticky,
)
from poolmgr.core.sticky import LONGEST_HANDLE, SLOTS, handle_of
from poolmgr.errors import AddressInUseError, NoMatchingPoolError, StrictAffinityError
from tests.support.world import World, add, add_ip, attachment, delete

DAY_NS = 86_400 * 1_000_000_000
WEB_0 = Sticky(namespace="shop", identity="web-0", holder="web-0")
POOLED = Sticky(namespace="shop", identity="web", numbered=True)


@pytest.fixture
def world():
    return (
        World().pool("p4", "10.0.0.0/28", blockSize=30).pool("p6", "fd00::/120", blockSize=122)
    )


def sticky(container: str, who: Sticky = WEB_0, **more) -> AutoAssign:
    return add(container, sticky=who, **more)


def slot(container: str, holder: str, **more) -> AutoAssign:
    return sticky(container, replace(POOLED, holder=holder), **more)


def sound(world: World) -> bool:
    return world.findings() == ()


def test_it_is_kept_through_a_redeploy_while_others_come_and_go(world):
    first = world.addresses(sticky("c1", families=(4, 6)))
    world.ask(delete("c1"))
    world.addresses(add("other", families=(4, 6)))

    again = world.addresses(sticky("c2", families=(4, 6)))

    assert first == again
    assert sound(world)


def test_asking_again_gives_the_same_and_writes_nothing(world):
    first = world.addresses(sticky("c1"))
    before = world.content()

    assert first == world.addresses(sticky("c1"))
    assert before == world.content()


def test_what_is_stored_names_owner_holder_and_retention_but_no_pod(world):
    (address,) = world.addresses(sticky("c1"))
    (block,) = world.blocks().values()
    stored = dict(block.attributes[0].secondary)

    assert "net1.sticky.shop.web-0" == world.owner_of(address)
    assert {
        "type": "poolmgr-sticky",
        "node": "node-a",
        "network": "net1",
        "interface": "eth0",
        "identity": "shop/web-0",
        "holder": "web-0",
        "container": "c1",
        "retention": "86400",
    } == stored
    key = records.attachment_key(attachment("c1"))
    assert f'["{address}/{block.cidr}"]'.encode() in world.value(key)


def test_a_new_sandbox_takes_over_before_the_old_ones_del_which_then_changes_nothing(world):
    first = world.addresses(sticky("c1"))

    second = world.addresses(sticky("c2"))
    world.ask(delete("c1"))

    assert first == second
    assert first == [str(a.address) for a in held(world, "c2")]
    assert None is world.value(records.attachment_key(attachment("c1")))
    assert sound(world)


def held(world: World, container: str):
    at = attachment(container)
    return world.ask(HeldBy(handle=at.handle, attachment=at)).allocations


def test_it_moves_to_another_node_with_the_old_del_late(world):
    first = world.addresses(sticky("c1", host="node-a"))

    moved = world.addresses(sticky("c2", host="node-b"))
    world.ask(delete("c1", host="node-a"))
    world.addresses(add("other", host="node-a"))

    assert first == moved
    assert [] == list(held(world, "c1"))
    assert first == [str(a.address) for a in held(world, "c2")]
    assert sound(world)


def test_under_strict_affinity_it_does_not_leave_its_node(world):
    world.configure(strict_affinity=True)
    world.addresses(sticky("c1", host="node-a"))
    world.ask(delete("c1"))

    assert isinstance(world.refusal(sticky("c2", host="node-b")), StrictAffinityError)
    assert sound(world)


def test_three_replicas_of_one_identity_have_a_slot_each(world):
    taken = [world.addresses(slot(f"c{n}", f"web-{n}")) for n in range(3)]

    assert 3 == len({address for (address,) in taken})
    assert {"net1.sticky.shop.web", "net1.sticky.shop.web.1", "net1.sticky.shop.web.2"} == set(
        world.handles()
    )
    assert sound(world)


def test_a_rolling_update_takes_the_next_slot_and_then_those_that_were_left(world):
    (first,), (second,) = (world.addresses(slot(f"c{n}", f"old-{n}")) for n in range(2))
    (third,) = world.addresses(slot("c2", "new-0"))
    world.ask(delete("c0"))

    (reused,) = world.addresses(slot("c3", "new-1"))

    assert first == reused
    assert 3 == len({first, second, third})
    assert sound(world)


def test_more_slots_than_are_looked_at_together(world):
    taken = [world.addresses(slot(f"c{n}", f"p{n}"))[0] for n in range(13)]

    assert 13 == len(set(taken))


def test_many_slots_are_found_page_by_page():
    world = World().pool("p4", "10.0.0.0/26", blockSize=26)
    taken = [world.addresses(slot(f"c{n}", f"p{n}"))[0] for n in range(SLOTS + 3)]
    world.ask(delete(f"c{SLOTS + 1}"))

    assert [taken[SLOTS + 1]] == world.addresses(slot("late", "late"))


def test_once_the_retention_is_over_whoever_needs_the_address_is_given_it():
    world = World().pool("p4", "10.0.0.0/31", blockSize=31)
    (first,) = world.addresses(sticky("c1"))
    world.addresses(add("c2"))
    world.ask(delete("c1"))
    kept = world.refusal(add("c3"))

    world.now_ns += DAY_NS + 1_000_000_000

    assert "no address is free" in str(kept)
    assert [first] == world.addresses(add("c4"))
    assert {"net1.c2", "net1.c4"} == set(world.handles())
    assert sound(world)


def test_for_ever_is_for_ever():
    world = World().pool("p4", "10.0.0.0/31", blockSize=31)
    first = world.addresses(sticky("c1", replace(WEB_0, retention_s=None)))
    world.addresses(add("c2"))
    world.ask(delete("c1"))
    world.now_ns += 10_000 * DAY_NS

    world.refusal(add("c3"))

    assert first == world.addresses(sticky("c4"))


def test_a_retention_of_nothing_frees_with_the_del(world):
    world.addresses(sticky("c1", replace(WEB_0, retention_s=0)))

    world.ask(delete("c1"))

    assert {} == world.handles()
    assert sound(world)


def test_a_full_block_of_another_host_gives_what_has_expired():
    world = World().pool("p4", "10.0.0.0/31", blockSize=31)
    (first,) = world.addresses(sticky("c1"))
    world.addresses(add("c2"))
    world.ask(delete("c1"))
    world.now_ns += 2 * DAY_NS

    assert [first] == world.addresses(add("c3", host="node-b"))
    assert sound(world)


def test_releasing_the_address_ends_it(world):
    world.addresses(sticky("c1"))
    (allocation,) = held(world, "c1")
    world.ask(ReleaseIPs(releases=(Release(address=allocation.address),)))

    assert [] == list(held(world, "c1"))
    assert {} == world.handles()
    world.ask(delete("c1"))
    assert None is world.value(records.attachment_key(attachment("c1")))
    assert sound(world)


def test_a_handle_that_somebody_else_made_is_refused(world):
    world.addresses(sticky("c1"))
    dotted = Sticky(namespace="shop.web-0", identity="x")
    other = replace(dotted, namespace="shop", identity="web-0")
    world.ask(delete("c1"))
    (block,) = world.blocks().values()
    entry = block.attributes[0]
    theirs = replace(entry, secondary={**entry.secondary, "identity": "else/where"})
    world.put(
        records.block_key(block.cidr),
        records.encode_block(replace(block, attributes=(theirs,))),
    )

    assert isinstance(world.refusal(sticky("c2", other)), AddressInUseError)


def test_a_link_that_does_not_fit_any_more_is_refused(world):
    world.addresses(sticky("c1"))
    world.ask(delete("c1"))

    refused = world.refusal(sticky("c2", link=LinkPolicy(prefix_length={4: 30})))

    assert isinstance(refused, NoMatchingPoolError)


def test_another_interface_of_the_pod_has_an_identity_of_its_own(world):
    second = Sticky(namespace="shop", identity="web-0.net1", holder="web-0")
    (eth0,) = world.addresses(sticky("c1"))
    (net1,) = world.addresses(sticky("c1", second, interface="net1"))

    world.ask(delete("c1", interface="net1"))

    assert eth0 != net1
    assert [eth0] == [str(a.address) for a in held(world, "c1")]
    assert sound(world)


def test_long_owners_are_hashed_and_stay_apart():
    long, other = "a" * 200, "a" * 199 + "b"
    handles = [
        handle_of("net1", Sticky(namespace="ns", identity=identity), slot)
        for identity in (long, other)
        for slot in (0, 1)
    ]

    assert 4 == len(set(handles))
    assert all(len(handle) <= LONGEST_HANDLE for handle in handles)
    assert "net1.sticky.ns.web" == handle_of("net1", Sticky(namespace="ns", identity="web"))


def test_a_reboot_frees_its_slots_but_not_the_addresses(world):
    (first,) = world.addresses(slot("c1", "p1"))
    (second,) = world.addresses(slot("c2", "p2"))

    freed = world.ask(
        CollectGarbage(host="node-a", network="net1", valid=frozenset({("c2", "eth0")}))
    )

    assert () == freed.released
    assert [first] == world.addresses(slot("c3", "p3"))
    assert [second] == [str(a.address) for a in held(world, "c2")]
    assert sound(world)


def test_calico_ipams_del_passes_it_by(world):
    first = world.addresses(sticky("c1"))

    world.ask(ReleaseByHandle(handles=("net1.c1",)))

    assert first == world.addresses(sticky("c2"))


# What a plan depends on


def test_an_add_depends_on_every_slot_it_looked_at(world):
    for number in range(2):
        world.addresses(slot(f"c{number}", f"p{number}"))

    plan, _ = world.decide([slot("c2", "p2")])

    handles = [records.handle_key(handle_of("net1", POOLED, number)) for number in range(3)]
    assert set(handles) <= plan.txn.expect.keys()


def test_the_answer_of_a_repeated_add_depends_on_its_attachment(world):
    world.addresses(sticky("c1"))

    plan, _ = world.decide([sticky("c1")])

    assert {} == plan.txn.puts
    assert records.attachment_key(attachment("c1")) in plan.txn.expect


def test_a_del_of_nothing_depends_on_there_being_no_attachment(world):
    plan, _ = world.decide([delete("c1")])

    assert 0 == plan.txn.expect[records.attachment_key(attachment("c1"))]


def test_what_expires_depends_on_the_cooldown(world):
    world.addresses(sticky("c1"))
    world.ask(delete("c1"))
    world.now_ns += 2 * DAY_NS

    plan, _ = world.decide([CollectGarbage(host="node-a", network="net1", valid=frozenset())])

    assert records.CONFIG_KEY in plan.txn.expect


# Addresses of the living


def test_who_was_released_by_an_operator_does_not_take_the_next_ones_slot(world):
    world.addresses(slot("c1", "w1"))
    (mine,) = held(world, "c1")
    world.ask(ReleaseIPs(releases=(Release(address=mine.address),)))
    (theirs,) = world.addresses(slot("c2", "w2"))

    (again,) = world.addresses(slot("c1", "w1"))

    assert theirs != again
    assert [theirs] == [str(a.address) for a in held(world, "c2")]
    assert [again] == [str(a.address) for a in held(world, "c1")]
    assert sound(world)


def test_a_del_with_the_legacy_handle_of_another_pod_frees_nothing(world):
    (mine,) = world.addresses(slot("c1", "w1"))

    at = attachment("evil")
    world.ask(
        ReleaseByHandle(
            handles=(at.handle, "net1.sticky.shop.web"), attachment=at, host="node-a"
        )
    )

    assert [mine] == [str(a.address) for a in held(world, "c1")]
    assert sound(world)


def test_a_container_named_like_an_owner_has_an_address_of_its_own(world):
    (mine,) = world.addresses(slot("c1", "w1"))
    (other,) = world.addresses(add("sticky.shop.web"))
    (second,) = world.addresses(slot("c2", "w2"))

    assert 3 == len({mine, other, second})
    assert sound(world)


def test_the_same_the_other_way_round(world):
    (other,) = world.addresses(add("sticky.shop.web"))
    (mine,) = world.addresses(slot("c1", "w1"))

    assert mine != other
    world.ask(delete("sticky.shop.web"))
    assert [mine] == [str(a.address) for a in held(world, "c1")]
    assert sound(world)


def test_an_attachment_changes_neither_owner_nor_kind(world):
    world.addresses(sticky("c1"))
    world.addresses(add("c2"))

    assert isinstance(world.refusal(slot("c1", "w1")), AddressInUseError)
    assert isinstance(
        world.refusal(sticky("c2", replace(WEB_0, identity="x"))), AddressInUseError
    )
    assert sound(world)


def test_asked_again_without_the_annotation_it_holds_what_it_holds(world):
    first = world.addresses(sticky("c1"))

    assert first == world.addresses(add("c1"))
    assert 1 == len(world.handles())


def test_a_family_that_is_not_asked_for_any_more_is_kept_for_the_owner(world):
    both = world.addresses(sticky("c1", families=(4, 6)))
    world.ask(delete("c1"))

    assert both[:1] == world.addresses(sticky("c2", families=(4,)))
    world.ask(delete("c2"))
    assert both == world.addresses(sticky("c3", families=(4, 6)))
    assert both[1:] == world.addresses(sticky("c4", families=(6,)))
    assert both[1:] == [str(a.address) for a in held(world, "c4")]
    assert sound(world)


def test_under_strict_affinity_the_end_of_its_retention_frees_the_owner(world):
    world.configure(strict_affinity=True)
    world.addresses(sticky("c1", replace(WEB_0, retention_s=3600)))
    world.ask(delete("c1"))
    world.now_ns += 2 * 3600 * 1_000_000_000

    assert world.addresses(sticky("c2", host="node-b"))
    assert sound(world)


def test_under_strict_affinity_slots_of_other_nodes_are_passed_over(world):
    world.configure(strict_affinity=True)
    world.addresses(slot("c1", "w1"))
    world.ask(delete("c1"))

    assert world.addresses(slot("c2", "w2", host="node-b"))
    assert sound(world)


def test_what_expires_in_a_block_of_nobody_takes_the_block_along():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30).configure(strict_affinity=True)
    world.addresses(sticky("c1", replace(WEB_0, retention_s=10)))
    world.ask(delete("c1"))
    world.ask(ReleaseAffinities(host="node-a", forget_host=True))
    world.now_ns += 11 * 1_000_000_000

    world.ask(CollectGarbage(host="node-a", network="net1", valid=frozenset()))

    assert {} == world.blocks()
    assert ["10.0.0.0"] == world.addresses(add("c2", host="node-b"))


def test_a_bridge_takes_no_kept_address_of_a_second_pool():
    gateway = {"link": LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)}
    world = World().pool("pa", "10.1.0.0/24").pool("pb", "10.2.0.0/24")
    world.addresses(sticky("c1", pools={4: ("pa",)}, **gateway))
    world.addresses(add("c2", host="node-b", pools={4: ("pb",)}, **gateway))
    world.ask(delete("c1"))

    refused = world.refusal(sticky("c3", host="node-b", **gateway))

    assert isinstance(refused, NoMatchingPoolError)


def test_a_kept_address_that_nobody_holds_does_not_bind_a_bridge():
    gateway = {"link": LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)}
    world = World().pool("pa", "10.1.0.0/24").pool("pb", "10.2.0.0/24")
    world.addresses(sticky("c1", pools={4: ("pa",)}, **gateway))
    world.ask(delete("c1"))

    assert world.addresses(add("c2", pools={4: ("pb",)}, **gateway))


def test_more_expired_addresses_than_a_transaction_has_room_for_keep_nobody_waiting():
    world = World().pool("p4", "10.0.0.0/25", blockSize=25)
    owners = [Sticky(namespace="ns", identity=f"w-{n}", retention_s=10) for n in range(128)]
    held = [world.addresses(sticky(f"c{n}", who))[0] for n, who in enumerate(owners)]
    world.ask(CollectGarbage(host="node-a", network="net1", valid=frozenset()))
    world.now_ns += 11 * 1_000_000_000

    assert world.addresses(add("new"))[0] in held
    assert held[-1:] == world.addresses(add_ip("named", held[-1]))
    assert () == world.findings()
