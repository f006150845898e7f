"""Claiming: free blocks in small and full pools, and gateways that somebody holds."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_network, walk_blocks
from poolmgr.core import claim, existing, records, search
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH, LinkPolicy, MainPlugin
from poolmgr.errors import AddressInUseError, PoolExhaustedError
from tests.support.world import World, add, add_ip, claimed_elsewhere, delete

PTP = LinkPolicy(main=MainPlugin.PTP)
FLAT = LinkPolicy(main=MainPlugin.FLAT)


@pytest.fixture
def world():
    return World().pool("p4", "10.20.0.0/28", blockSize=30)


def walk(host: str) -> list[str]:
    """The blocks of the pool in the order in which a host tries them."""
    return [str(cidr) for cidr in walk_blocks(parse_network("10.20.0.0/28"), 30, host)]


def key_of(cidr: str) -> str:
    return records.block_key(parse_network(cidr))


# Gateways


@pytest.mark.parametrize(
    ("name", "pool", "size", "gateway"),
    [("p4", "10.20.0.0/28", 30, "10.20.0.1"), ("p6", "fd20::/124", 126, "fd20::1")],
)
def test_a_first_claim_is_refused_while_somebody_holds_the_gateway(name, pool, size, gateway):
    world = World().pool(name, pool, blockSize=size)
    world.addresses(add_ip("early", gateway, host="node-b"))
    before = world.content()

    refusal = world.refusal(add("c", families=[6 if ":" in pool else 4], link=PTP))

    assert isinstance(refusal, AddressInUseError)
    assert (refusal.address, refusal.handle) == (gateway, "net1.early")
    for part in (f"gateway of pool {name}", "IPReservation", GATEWAY):
        assert part in str(refusal)
    assert world.content() == before


def test_a_named_address_in_a_first_claim_is_refused_then_too(world):
    world.addresses(add_ip("early", "10.20.0.1", host="node-b"))

    refusal = world.refusal(add_ip("c", "10.20.0.9", link=PTP))

    assert isinstance(refusal, AddressInUseError)
    assert refusal.address == "10.20.0.1"


def test_a_gateway_named_in_an_annotation_is_looked_at_as_well(world):
    world.addresses(add_ip("early", "10.20.0.9", host="node-b"))
    world.pool("p4", "10.20.0.0/28", blockSize=30, annotations={GATEWAY: "10.20.0.9"})

    refusal = world.refusal(add("c", link=FLAT))

    assert isinstance(refusal, AddressInUseError)
    assert refusal.address == "10.20.0.9"


def test_both_remedies_work(world):
    world.addresses(add_ip("early", "10.20.0.1", host="node-b"))
    world.pool("p4", "10.20.0.0/28", blockSize=30, annotations={GATEWAY: "10.20.0.14"})
    elsewhere = world.ask(add("a", link=PTP)).allocations

    world.pool("p4", "10.20.0.0/28", blockSize=30)
    world.ask(delete("early", host="node-b"))
    world.reserve("routers", "10.20.0.1")
    freed = world.ask(add("b", host="node-c", link=PTP)).allocations

    assert [str(a.link.gateway) for a in (*elsewhere, *freed)] == ["10.20.0.14", "10.20.0.1"]


def test_a_host_that_has_a_block_of_the_pool_is_not_asked_again(world):
    world.addresses(add_ip("early", "10.20.0.1", host="node-b"))
    world.addresses(add_ip("first", "10.20.0.8"))

    found = [world.addresses(add(f"c{n}", link=PTP)) for n in range(4)]

    assert [each for (each,) in found if each == "10.20.0.1"] == []
    assert len({each for (each,) in found}) == 4


def test_a_block_in_another_pool_does_not_count(world):
    world.pool("other", "10.30.0.0/28", blockSize=30)
    world.addresses(add_ip("first", "10.30.0.8"))
    world.addresses(add_ip("early", "10.20.0.1", host="node-b"))

    refusal = world.refusal(add("c", pools={4: ("p4",)}, link=PTP))

    assert isinstance(refusal, AddressInUseError)


def test_a_gateway_that_nobody_holds_is_fine_in_a_block_that_is_used(world):
    world.addresses(add_ip("early", "10.20.0.2", host="node-b"))

    (address,) = world.addresses(add("c", link=PTP))

    assert address not in ("10.20.0.0", "10.20.0.1", "10.20.0.2")


def test_a_gateway_outside_the_pool_is_nobodys_business():
    world = (
        World()
        .pool("lan", "10.20.0.128/28", blockSize=30)
        .pool("low", "10.20.0.0/28", blockSize=30)
    )
    world.addresses(add_ip("early", "10.20.0.1", host="node-b"))
    lan = {PREFIX_LENGTH: "24", GATEWAY: "10.20.0.1"}
    world.pool("lan", "10.20.0.128/28", blockSize=30, annotations=lan)

    world.addresses(add("c", pools={4: ("lan",)}, link=FLAT))


def test_a_plugin_without_a_gateway_does_not_care_who_holds_the_first_address(world):
    world.addresses(add_ip("early", "10.20.0.1", host="node-b"))

    world.addresses(add("c", link=FLAT))


def test_the_gateways_block_is_read_and_not_compared(world):
    host = next(h for h in ("node-a", "node-c", "node-d") if walk(h)[0] != "10.20.0.0/30")
    world.addresses(add_ip("early", "10.20.0.2", host="node-b"))
    _, snapshot = world.decide([add("c", host, link=PTP)])

    world.addresses(add("c", host, link=PTP))

    assert snapshot.find(key_of("10.20.0.0/30")).value is not None
    assert key_of("10.20.0.0/30") not in world.last.txn.expect


# Free blocks


def test_a_host_claims_in_the_order_of_its_walk(world):
    claimed = []
    for number in range(9):
        world.addresses(add(f"c{number}"))
        claimed = claimed + [c for c in world.blocks() if c not in claimed]

    assert claimed == walk("node-a")[:3]


def test_blocks_that_are_wholly_withheld_or_reserved_are_skipped():
    world = World().pool("p4", "10.20.0.0/29", blockSize=31).reserve("r", "10.20.0.4/31")

    found = {world.addresses(add(f"c{n}", link=PTP))[0] for n in range(3)}

    assert found == {"10.20.0.2", "10.20.0.3", "10.20.0.6"}
    assert set(world.blocks()) == {"10.20.0.2/31", "10.20.0.6/31"}


@pytest.fixture
def narrow(monkeypatch):
    """Make a pool of four blocks as hard to search as one of thousands."""
    monkeypatch.setattr(claim, "PROBES", (1,))
    monkeypatch.setattr(claim, "PAGE", 1)
    monkeypatch.setattr(existing, "TOGETHER", 4)


@pytest.mark.parametrize("last", range(4))
def test_the_last_free_block_of_a_nearly_full_pool_is_found_page_by_page(world, narrow, last):
    for number, cidr in enumerate(walk("node-a")):
        if number != last:
            claimed_elsewhere(world, cidr, f"node-{number}")

    world.addresses(add("c"))

    assert world.blocks()[walk("node-a")[last]].affinity == "host:node-a"


@pytest.mark.parametrize("last", range(4))
def test_the_last_free_address_of_a_full_pool_is_borrowed(world, narrow, last):
    for number, cidr in enumerate(walk("node-a")):
        claimed_elsewhere(world, cidr, f"node-{number}", full=number != last)

    (address,) = world.addresses(add("c"))

    cidr = walk("node-a")[last]
    assert address == str(parse_network(cidr).network_address)
    assert world.blocks()[cidr].affinity == f"host:node-{last}"


def test_a_full_pool_is_exhausted_however_it_is_searched(world, narrow):
    for number, cidr in enumerate(walk("node-a")):
        claimed_elsewhere(world, cidr, f"node-{number}")

    assert isinstance(world.refusal(add("c")), PoolExhaustedError)


@pytest.mark.parametrize("reserved", [False, True])
def test_a_block_that_vanishes_while_it_is_looked_at_is_claimed_or_else_passed_over(
    world, narrow, monkeypatch, reserved
):
    victim, full, also_full, open_ = walk("node-a")
    for cidr in (victim, full, also_full, open_):
        claimed_elsewhere(world, cidr, "node-b", full=cidr in (full, also_full))
    if reserved:
        world.reserve("r", victim)
    read = world.store.read

    def read_late(fetch, **more):
        if key_of(victim) in fetch.keys:
            monkeypatch.setattr(world.store, "read", read)
            world.remove(key_of(victim))
        return read(fetch, **more)

    monkeypatch.setattr(world.store, "read", read_late)

    (address,) = world.addresses(add("c"))

    expected = open_ if reserved else victim
    assert address == str(parse_network(expected).network_address)


def test_the_last_block_that_a_reservation_leaves_of_a_huge_pool_is_found():
    world = World().pool("p6", "fd00::/64", blockSize=122)
    world.reserve("low", "fd00::/65", "fd00::8000:0:0:0/66").reserve(
        "high", *(f"fd00::{0xC000 | 1 << bit:x}:0:0:0/{64 + 16 - bit}" for bit in range(14))
    )
    world.reserve("rest", *(f"fd00::c000:0:0:{1 << bit:x}/{128 - bit}" for bit in range(6, 16)))
    world.reserve("more", *(f"fd00::c000:0:{1 << bit:x}:0/{112 - bit}" for bit in range(16)))
    world.reserve("most", *(f"fd00::c000:{1 << bit:x}:0:0/{96 - bit}" for bit in range(16)))

    assert ["fd00::c000:0:0:0"] == world.addresses(add("c1", families=(6,)))


# Blocks of an earlier pool


def test_an_affinity_for_a_block_of_another_size_is_dropped_and_the_block_not_made(world):
    earlier = parse_network("10.20.0.0/29")
    world.put(records.affinity_key("node-a", earlier), b"{}")

    decided, _ = world.decide([add("c")])
    world.addresses(add("c"))

    assert "10.20.0.0/29" not in world.blocks()
    assert world.value(records.affinity_key("node-a", earlier)) is None
    # The block may be made before its affinity goes.
    assert key_of("10.20.0.0/29") in decided.txn.expect


@pytest.mark.parametrize("name", ["10.20.0.junk", "10.20.0.128-30"])
def test_keys_of_no_block_of_the_pool_do_not_matter_where_a_pool_is_listed(world, narrow, name):
    world.put(f"/calico/ipam/v2/assignment/ipv4/block/{name}", b"{}")
    *others, last = walk("node-a")
    for number, cidr in enumerate(others):
        claimed_elsewhere(world, cidr, f"node-{number}")

    world.addresses(add("c"))

    assert key_of(last) in world.content()


# Blocks in pools that no longer select the host


def strayed(world: World, *, pools: int = 1) -> None:
    """Let the host's block or blocks lie in pools that do not select it any more."""
    world.node("node-a", rack="r1")
    for number in range(pools):
        world.pool(
            f"s{number:02}", f"10.{number}.0.0/30", blockSize=30, nodeSelector="rack == 'r1'"
        )
        world.addresses(add(f"s{number}", pools={4: (f"s{number:02}",)}))
    world.node("node-a", rack="r2")


def test_an_empty_strayed_block_goes_with_the_hosts_next_assignment(world):
    strayed(world)
    world.ask(delete("s0", host="node-z"))
    assert "10.0.0.0/30" in world.blocks()

    world.addresses(add("c"))

    assert "10.0.0.0/30" not in world.blocks()
    assert ["10.20.0"] == [key.split("/")[-1].rpartition(".")[0] for key in world.affinities()]
    assert () == world.findings()


def test_a_strayed_block_with_addresses_stays(world):
    strayed(world)

    world.addresses(add("c"))

    assert "host:node-a" == world.blocks()["10.0.0.0/30"].affinity


@pytest.mark.parametrize("owner", ["node-b", None])
def test_a_stale_affinity_in_a_strayed_pool_goes_alone(world, owner):
    strayed(world)
    cidr = parse_network("10.0.0.0/30")
    block = replace(world.blocks()["10.0.0.0/30"], affinity=owner and f"host:{owner}")
    if owner:
        world.put(key_of("10.0.0.0/30"), records.encode_block(block))
        world.put(records.affinity_key(owner, cidr), b"{}")
    else:
        world.remove(key_of("10.0.0.0/30"))

    decided, _ = world.decide([add("c")])
    world.addresses(add("c"))

    assert world.value(records.affinity_key("node-a", cidr)) is None
    assert (owner is not None) == ("10.0.0.0/30" in world.blocks())
    # The block may become the host's before its affinity goes.
    assert key_of("10.0.0.0/30") in decided.txn.expect


def test_one_assignment_looks_at_a_few_strayed_blocks_only(world, monkeypatch):
    monkeypatch.setattr(search, "STRAYS", 2)
    strayed(world, pools=3)
    for number in range(3):
        world.ask(delete(f"s{number}", host="node-z"))

    world.addresses(add("c"))
    first = len(world.blocks())
    world.addresses(add("d"))

    assert (2, 1) == (first, len(world.blocks()))


def test_strayed_blocks_are_left_alone_while_nobody_knows_the_nodes_labels(world):
    strayed(world)
    world.ask(delete("s0", host="node-z"))
    world.remove(records.resource_key("nodes", "node-a"))
    world.pool("s00", "10.0.0.0/30", blockSize=30, nodeSelector="rack == 'r1'", disabled=True)

    world.addresses(add("c"))

    assert "10.0.0.0/30" in world.blocks()


def test_a_strayed_block_goes_only_while_it_is_empty(world):
    strayed(world)
    world.ask(delete("s0", host="node-z"))
    decided, _ = world.decide([add("c")])
    world.addresses(add_ip("late", "10.0.0.1"))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
def test_a_claim_confirms_what_was_left_half_way(state):
    world = World().pool("p4", "10.0.0.0/26")
    key = "/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-26"
    world.put(key, f'{{"state":"{state}","deleted":false}}'.encode())

    world.addresses(add_ip("c1", "10.0.0.5"))

    assert ["confirmed"] == list(world.affinities().values())
    assert () == world.findings()


@pytest.mark.parametrize("state", ["pending", "pendingDeletion", None])
def test_a_named_address_in_a_block_of_ones_own_repairs_its_affinity(state):
    world = World().pool("p4", "10.0.0.0/26")
    world.addresses(add("c1"))
    key = "/calico/ipam/v2/" + next(iter(world.affinities()))
    if state is None:
        world.remove(key)
    else:
        world.put(key, f'{{"state":"{state}","deleted":false}}'.encode())

    world.addresses(add_ip("c2", "10.0.0.5"))

    assert ["confirmed"] == list(world.affinities().values())
    assert () == world.findings()
