"""Releases: by handle, by address; and what they leave."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.outcome import Released
from poolmgr.core.request import (
    AutoAssign,
    Release,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
)
from poolmgr.core.session import Session
from poolmgr.core.txn import Conflict
from poolmgr.errors import AttachmentDeletedError, StaleReleaseError
from tests.support.world import World, add, attachment, claimed_elsewhere, delete


def ips(*wanted: str | Release) -> ReleaseIPs:
    return ReleaseIPs(
        releases=tuple(
            w if isinstance(w, Release) else Release(address=parse_address(w)) for w in wanted
        )
    )


def texts(addresses) -> list[str]:
    return [str(a) for a in addresses]


def world_with(count: int = 4, size: int = 30) -> World:
    world = World().pool("p4", "10.0.0.0/28", blockSize=size)
    world.ask(AutoAssign(host="node-a", handle="h", count={4: count}))
    return world


# By handle


def test_a_del_frees_the_addresses_of_its_interface_only():
    world = World().pool("p4", "10.0.0.0/24")
    (eth0,) = world.addresses(add("c1", interface="eth0"))
    (net1,) = world.addresses(add("c1", interface="net1"))

    outcome = world.ask(delete("c1", interface="eth0"))

    assert [eth0] == texts(outcome.released)
    assert "net1.c1" == world.owner_of(net1)
    assert 1 == sum(world.handles()["net1.c1"].blocks.values())


def test_a_del_frees_entries_of_calico_ipam_too():
    world = World().pool("p4", "10.0.0.0/24")
    world.ask(AutoAssign(host="node-a", handle="net1.c1", count={4: 1}))

    assert 1 == len(world.ask(delete("c1")).released)
    assert {} == world.handles()


def test_a_del_frees_what_an_older_calico_stored_under_the_container_id():
    world = World().pool("p4", "10.0.0.0/24")
    world.ask(AutoAssign(host="node-a", handle="c1", count={4: 1}))

    assert 1 == len(world.ask(delete("c1")).released)


def test_a_del_frees_both_handles_in_one_block():
    world = World().pool("p4", "10.0.0.0/24")
    world.ask(AutoAssign(host="node-a", handle="c1", count={4: 1}))
    world.ask(add("c1"))

    assert 2 == len(world.ask(delete("c1")).released)
    assert {} == world.handles()
    assert () == world.findings()


def test_a_del_leaves_the_entry_of_another_network_with_the_same_handle_id():
    world = World().pool("p4", "10.0.0.0/24")
    (other,) = world.addresses(add("c", network="net1.b"))

    assert () == world.ask(delete("b.c")).released
    assert world.owner_of(other) is not None


def test_every_del_moves_the_fence_even_one_of_nothing():
    world = World().pool("p4", "10.0.0.0/24")

    for n in range(3):
        world.ask(delete(f"c{n}"))

    raw = world.value(records.session_key("node-a"))
    assert 3 == records.decode_session("", raw).n


def test_an_emptied_block_stays_with_its_host():
    world = World().pool("p4", "10.0.0.0/24")
    world.ask(add("c1"))

    world.ask(delete("c1"))

    assert 1 == len(world.blocks())
    assert 1 == len(world.affinities())


def test_an_emptied_block_of_nobody_is_deleted():
    world = world_with(1)
    world.ask(ReleaseAffinities(cidr=parse_network("10.0.0.0/28")))

    world.ask(ReleaseByHandle(handles=("h",)))

    assert {} == world.blocks()


@pytest.mark.parametrize(("label", "blocks"), [("r1", 1), ("r2", 0)])
def test_an_emptied_own_block_goes_when_its_pool_no_longer_selects_the_node(label, blocks):
    world = World().pool("p4", "10.0.0.0/24", nodeSelector="rack == 'r1'")
    world.node("node-a", rack="r1")
    world.ask(add("c1"))
    world.node("node-a", rack=label)

    world.ask(delete("c1"))

    assert blocks == len(world.blocks()) == len(world.affinities())


def test_a_strayed_block_of_another_host_is_left_to_that_host():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30, nodeSelector="rack == 'r1'")
    world.node("node-a", rack="r1").node("node-b", rack="r1")
    claimed_elsewhere(world, "10.0.0.0/30", "node-b", full=False)
    world.ask(add("c1"))
    world.node("node-a", rack="r2").node("node-b", rack="r2")

    world.ask(delete("c1"))

    assert 1 == len(world.blocks())


def test_an_over_counted_handle_loses_what_was_freed_and_keeps_the_rest():
    world = world_with(1)
    (cidr,) = (parse_network(c) for c in world.blocks())
    world.put(
        records.handle_key("h"), b'{"block":{"%s":3},"deleted":false}' % str(cidr).encode()
    )

    world.ask(ReleaseByHandle(handles=("h",)))

    assert {cidr: 2} == world.handles()["h"].blocks


def test_a_handle_whose_blocks_are_gone_is_left_alone():
    world = World()
    world.put(records.handle_key("h"), b'{"block":{"10.9.9.0/30":1},"deleted":false}')

    assert Released(released=()) == world.ask(ReleaseByHandle(handles=("h",)))
    assert 1 == len(world.handles())


@pytest.mark.parametrize(("off", "freed"), [(0, 1), (1, 0)])
def test_a_release_by_handle_passes_over_what_has_another_number(off, freed):
    world = world_with(1)
    (block,) = world.blocks().values()
    world.ask(AutoAssign(host="node-a", handle="h", count={4: 1}))
    number = block.sequence_number - 1 + off * 2

    outcome = world.ask(ReleaseByHandle(handles=("h",), sequence_number=number))

    assert freed == len(outcome.released)
    assert 2 - freed == sum(world.handles()["h"].blocks.values())
    assert () == world.findings()


def test_a_handle_in_many_blocks_is_released_in_parts():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30).configure(maxBlocksPerHost=-1)
    world.ask(AutoAssign(host="node-a", handle="h", count={4: 200}))
    world.commits = 0

    outcome = world.ask(ReleaseByHandle(handles=("h",)))

    assert 200 == len(set(outcome.released))
    assert world.commits > 1
    assert {} == world.handles()


# By address


def test_addresses_are_released_wherever_they_lie_and_the_rest_is_named():
    world = world_with(4)
    held = sorted(str(a.network_address) for a in map(parse_network, world.blocks()))

    outcome = world.ask(ips(held[0], "10.0.0.99", "10.77.0.1", "fd00::1"))

    assert [held[0]] == texts(outcome.released)
    assert ["10.0.0.99", "10.77.0.1", "fd00::1"] == texts(outcome.unallocated)
    assert 3 == sum(world.handles()["h"].blocks.values())


def test_an_address_named_twice_is_released_once():
    world = world_with(2)
    (cidr,) = world.blocks()
    first = cidr.split("/")[0]

    world.ask(ips(first, first))

    block = world.blocks()[cidr]
    assert sorted(set(block.unallocated)) == sorted(block.unallocated)
    assert 1 == sum(world.handles()["h"].blocks.values())


def test_an_address_of_a_deleted_pool_is_still_released():
    world = world_with(1)
    (cidr,) = world.blocks()
    world.remove(records.resource_key("ippools", "p4"))

    assert 1 == len(world.ask(ips(cidr.split("/")[0])).released)


@pytest.mark.parametrize("wrong", [{"handle": "other"}, {"sequence_number": 1}])
def test_a_mismatch_leaves_the_whole_block_alone(wrong):
    world = world_with(2)
    (cidr,) = world.blocks()
    first = parse_network(cidr).network_address
    before = world.content()

    outcome = world.ask(ips(Release(address=first, **wrong), str(first + 1)))

    assert () == outcome.released
    assert [StaleReleaseError] == [type(e) for e in outcome.errors]
    assert before == world.content()


def test_a_mismatch_in_one_block_does_not_stop_another():
    world = world_with(8)
    one, two = (parse_network(c).network_address for c in sorted(world.blocks())[:2])

    outcome = world.ask(ips(Release(address=one, handle="other"), str(two)))

    assert [str(two)] == texts(outcome.released)
    assert 1 == len(outcome.errors)


def test_a_guarded_release_by_handle_and_number_succeeds():
    world = world_with(1)
    (block,) = world.blocks().values()
    guarded = Release(
        address=block.cidr.network_address,
        handle="h",
        sequence_number=block.sequence_numbers[0],
    )

    assert 1 == len(world.ask(ips(guarded)).released)


def test_a_cooling_address_counts_as_unallocated():
    world = world_with(1).configure(ipCooldownSeconds=60)
    (cidr,) = world.blocks()
    first = cidr.split("/")[0]
    world.ask(ips(first))

    assert [first] == texts(world.ask(ips(first)).unallocated)


def test_addresses_of_two_owners_in_one_block_leave_both_handles():
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)
    one, two = world.addresses(add("c1")) + world.addresses(add("c2"))

    world.ask(ips(one, two))

    assert {} == world.handles()
    assert () == world.findings()


def test_many_addresses_are_released_in_parts():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30).configure(maxBlocksPerHost=-1)
    held = world.addresses(AutoAssign(host="node-a", handle="h", count={4: 200}))
    world.commits = 0

    outcome = world.ask(ips(*held, "10.9.9.9"))

    assert sorted(held) == sorted(texts(outcome.released))
    assert ["10.9.9.9"] == texts(outcome.unallocated)
    assert world.commits > 1


@pytest.mark.parametrize("broken", ["ippools", "nodes"])
def test_a_del_needs_neither_a_sound_selector_nor_a_sound_node(broken):
    world = World().pool("p4", "10.0.0.0/24").node("node-a")
    world.ask(add("c1"))
    if broken == "ippools":
        world.pool("p4", "10.0.0.0/24", nodeSelector="rack = 'r1'")
    else:
        world.put(records.resource_key("nodes", "node-a"), b"{broken")

    assert 1 == len(world.ask(delete("c1")).released)


def test_a_del_in_two_large_blocks_is_done_in_two_parts():
    world = (
        World().pool("p4", "10.0.0.0/20", blockSize=20).pool("p6", "fd00::/116", blockSize=116)
    )
    world.ask(add("c1", families=(4, 6)))
    world.commits = 0

    outcome = world.ask(delete("c1"))

    assert (2, 2) == (len(outcome.released), world.commits)
    assert 1 == records.decode_session("", world.value(records.session_key("node-a"))).n


def test_large_blocks_are_released_a_few_at_a_time():
    world = World().pool("p4", "10.0.0.0/18", blockSize=21)
    held = [world.addresses(add(f"c{n}", f"node-{n}"))[0] for n in range(4)]
    world.commits = 0

    outcome = world.ask(ips(*held))

    assert sorted(held) == sorted(texts(outcome.released))
    assert 4 == world.commits
    assert () == world.findings()


def test_a_mismatch_leaves_its_block_alone_however_many_addresses_are_released():
    world = World().pool("p4", "10.0.0.0/25", blockSize=25)
    world.ask(AutoAssign(host="node-a", handle="h", count={4: 128}))
    good = [Release(address=parse_address(f"10.0.0.{n}"), handle="h") for n in range(120)]
    bad = Release(address=parse_address("10.0.0.125"), handle="other")

    outcome = world.ask(ReleaseIPs(releases=(*good, bad)))

    assert () == outcome.released
    assert [StaleReleaseError] == [type(error) for error in outcome.errors]


# Many owners, and addresses of no pool


def test_more_owners_than_a_transaction_has_room_for_are_released_in_parts():
    world = World().pool("p4", "10.0.0.0/16", blockSize=24)
    held = [world.addresses(add(f"c{n}"))[0] for n in range(200)]

    outcome = world.ask(ips(*held, held[0]))

    assert held == texts(outcome.released)
    assert ((), ()) == (outcome.unallocated, outcome.errors)
    assert {} == world.handles()
    assert () == world.findings()


def test_many_addresses_of_a_deleted_pool_are_released():
    world = World().pool("p4", "10.0.0.0/24", blockSize=26)
    held = world.addresses(AutoAssign(host="node-a", handle="h", count={4: 200}))
    world.remove(records.resource_key("ippools", "p4"))

    assert sorted(held) == sorted(texts(world.ask(ips(*held)).released))


# By force


def by_force(*addresses: str) -> ReleaseIPs:
    return replace(ips(*addresses), fence=True)


def session(world: World, host: str = "node-a") -> Session | None:
    raw = world.value(records.session_key(host))
    return None if raw is None else records.decode_session("", raw)


def test_an_add_that_is_late_cannot_commit_after_a_release_by_force():
    world = World().pool("p4", "10.0.0.0/29", blockSize=30).pool("p6", "fd00::/120")
    world.ask(delete("other"))
    (held,) = world.addresses(add("c1"))
    late, _ = world.decide([add("c1", families=(6,), since=1)])
    bystander, _ = world.decide([add("c2", since=1)])

    assert [held] == texts(world.ask(by_force(held)).released)

    assert [Conflict] * 2 == [type(world.store.commit(p.txn)) for p in (late, bystander)]
    assert isinstance(world.refusal(add("c1", families=(6,), since=1)), AttachmentDeletedError)
    assert 1 == len(world.addresses(add("c2", since=1)))
    assert 1 == len(world.addresses(add("c1", since=2)))


def test_every_node_that_an_address_is_taken_from_is_fenced_in_the_same_transaction():
    world = World().pool("p4", "10.0.0.0/28", blockSize=28)
    held = [world.addresses(add(f"c{n}", f"node-{n % 2}"))[0] for n in range(3)]
    world.commits = 0

    world.ask(by_force(*held))

    assert 1 == world.commits
    digests = [attachment(f"c{n}").digest for n in range(3)]
    assert sorted((digests[0], digests[2])) == sorted(
        entry.partition("@")[0] for entry in session(world, "node-0").deleted
    )
    assert (2, (f"{digests[1]}@1",)) == (
        session(world, "node-0").n,
        session(world, "node-1").deleted,
    )


@pytest.mark.parametrize(
    ("attributes", "deleted"),
    [
        ({"node": "node-a"}, ("*@1",)),
        ({"node": "node-a", "network": "net1"}, ("*@1",)),
        ({}, None),
        ({"node": "no/node"}, None),
    ],
)
def test_an_owner_that_names_no_attachment_fences_its_whole_node(attributes, deleted):
    world = World().pool("p4", "10.0.0.0/24")
    request = AutoAssign(host="node-a", handle="h", count={4: 1}, attributes=attributes)
    held = world.addresses(request)

    assert 1 == len(world.ask(by_force(*held)).released)
    assert deleted == getattr(session(world), "deleted", None)


def test_what_frees_nothing_by_force_fences_nobody_and_neither_does_an_owners_release():
    world = World().pool("p4", "10.0.0.0/28", blockSize=28)
    first, second = (world.addresses(add(f"c{n}"))[0] for n in range(2))
    stranger = Release(address=parse_address(first), handle="stranger")

    world.ask(replace(ips(stranger), fence=True))
    world.ask(by_force("10.0.0.14"))
    world.ask(ips(second))

    assert None is session(world)


def test_a_release_by_force_of_many_fences_each_once():
    world = World().pool("p4", "10.0.0.0/24", blockSize=25)
    held = [world.addresses(add(f"c{n}"))[0] for n in range(100)]

    world.ask(by_force(*held))

    assert (100, 100) == (session(world).n, len(set(session(world).deleted)))
    assert () == world.findings()
