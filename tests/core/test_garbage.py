"""What attachments hold that do not exist any more."""

from dataclasses import replace

from poolmgr.core import garbage, records
from poolmgr.core.block import Attribute, auto_assign
from poolmgr.core.outcome import Released
from poolmgr.core.request import AutoAssign, CollectGarbage, Sticky
from poolmgr.core.session import EVERY_ATTACHMENT
from tests.support.world import World, add, claimed_elsewhere


def collect(*valid: tuple[str, str], host: str = "node-a", **more) -> CollectGarbage:
    return CollectGarbage(host=host, network="net1", valid=frozenset(valid), **more)


def released(outcome) -> list[str]:
    assert isinstance(outcome, Released), outcome
    return [str(address) for address in outcome.released]


def make() -> World:
    return World().pool("p4", "10.0.0.0/26", blockSize=29).pool("p6", "fd00::/120")


def test_what_is_not_listed_is_freed_and_the_rest_stays():
    world = make()
    stays = world.addresses(add("c1", families=(4, 6)))
    goes = world.addresses(add("c2", families=(4, 6)))

    assert goes == released(world.ask(collect(("c1", "eth0"))))
    assert stays == world.addresses(add("c1", families=(4, 6)))
    assert {"net1.c1"} == set(world.handles())
    assert () == world.findings()


def test_other_nodes_networks_interfaces_and_calicos_own_are_left():
    world = make()
    world.addresses(add("c1", host="node-b"))
    world.addresses(add("c1", network="net2"))
    world.addresses(add("c1", interface="net1"))
    calicos = AutoAssign(
        host="node-a", handle="net1.c9", count={4: 1}, attributes={"node": "node-a"}
    )
    world.addresses(calicos)
    before = world.blocks()

    assert [] == released(world.ask(collect(("c1", "net1"))))
    assert before == world.blocks()


def test_borrowed_addresses_are_found_in_blocks_of_others():
    world = World().pool("p4", "10.0.0.0/29", blockSize=29)
    world.addresses(add("c1", host="node-b"))
    (borrowed,) = world.addresses(add("c2", host="node-a"))

    assert [borrowed] == released(world.ask(collect()))
    assert () == world.findings()


def test_a_del_of_every_attachment_is_noted_only_when_something_goes():
    world = make()
    world.addresses(add("c1"))
    world.ask(collect(("c1", "eth0")))

    assert None is world.value(records.session_key("node-a"))
    world.ask(collect())
    session = records.decode_session("", world.value(records.session_key("node-a")))
    assert (f"{EVERY_ATTACHMENT}@1",) == session.deleted


def test_what_is_younger_than_the_list_is_left():
    world = make()
    for container, stamp in (("c1", "2026-01-01 10:00:00"), ("c2", "2026-01-01 10:00:02")):
        request = add(container)
        stamped = {**request.attributes, "timestamp": f"{stamp} +0000 UTC"}
        world.addresses(replace(request, attributes=stamped))

    world.ask(collect(until="2026-01-01 10:00:01 +0000 UTC"))

    assert {"net1.c2"} == set(world.handles())


def test_many_blocks_are_dealt_with_in_parts(monkeypatch):
    monkeypatch.setattr(garbage, "PART", 2)
    monkeypatch.setattr(garbage, "BLOCKS", 1)
    world = World().pool("p4", "10.0.0.0/26", blockSize=30)
    claimed_elsewhere(world, "10.0.0.0/30", "node-b")
    held = [world.addresses(add(f"c{n}"))[0] for n in range(20)]

    assert sorted(held) == sorted(released(world.ask(collect())))
    assert {"net1.node-b-filler"} == set(world.handles())
    assert () == world.findings()


def test_blocks_that_do_not_name_the_node_are_not_decoded():
    world = make()
    world.put("/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-29", b"garbage of somebody else")

    assert [] == released(world.ask(collect()))


def test_sticky_addresses_of_others_whose_retention_is_over_are_freed():
    world = make()
    owner = Sticky(namespace="ns", identity="web-0", retention_s=10)
    (first,) = world.addresses(add("c1", sticky=owner))
    world.ask(collect())
    world.now_ns += 11 * 1_000_000_000

    assert [first] == released(world.ask(collect()))
    assert {} == world.handles()
    assert () == world.findings()


def test_more_owners_than_a_transaction_has_room_for_are_dealt_with_in_parts():
    world = World().pool("p4", "10.0.0.0/16", blockSize=24)
    held = [world.addresses(add(f"c{n}"))[0] for n in range(200)]

    outcome = world.ask(collect(("c7", "eth0")))

    assert {*held} - {held[7]} == {*released(outcome)}
    assert len(held) - 1 == len(released(outcome))
    assert {"net1.c7"} == set(world.handles())
    assert () == world.findings()


def test_of_large_blocks_a_few_are_written_at_a_time():
    world = World().pool("p4", "10.0.0.0/16", blockSize=22)
    long = {"pod": "x" * 250, "namespace": "y" * 60, "node": "node-a"}
    for n in range(4):
        world.addresses(add(f"c{n}", host=f"node-{n}"))
    for key, raw in world.content().items():
        if records.block_of_key(key) and key in records.BLOCKS[4]:
            block = records.decode_block(key, raw)
            (mine,) = block.attributes
            mine = replace(mine, secondary={**mine.secondary, "node": "node-a"})
            for n in range(1, block.size):
                block, _ = auto_assign(block, 1, Attribute(handle=f"h{n:064}", secondary=long))
            block = replace(block, attributes=(mine, *block.attributes[1:]))
            world.put(key, records.encode_block(block))

    assert 4 == len(released(world.ask(collect())))


def test_expired_addresses_do_not_keep_anything_from_being_freed():
    world = World().pool("p4", "10.0.0.0/16", blockSize=24)
    expired = []
    for n in range(150):
        owner = Sticky(namespace="ns", identity=f"web-{n}", retention_s=10)
        expired += world.addresses(add(f"c{n}", sticky=owner))
    world.ask(collect())
    world.now_ns += 11 * 1_000_000_000

    assert {*expired} == {*released(world.ask(collect()))}
    assert {} == world.handles()
    assert () == world.findings()
