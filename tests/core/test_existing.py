"""Blocks that exist: which are looked at, and what a host may do with each."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_network, walk_blocks
from poolmgr.core import claim, existing, records
from poolmgr.core.affinity import Claimant
from poolmgr.core.block import (
    WINDOWS_RESERVED_HANDLE,
    Attribute,
    HostReserved,
    new_block,
    rfc3339,
)
from poolmgr.core.draft import Draft
from poolmgr.core.existing import (
    RECLAIM_AGE_NS,
    existing_blocks,
    is_lost,
    is_reclaimable,
)
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.pools import Criteria
from poolmgr.core.request import AutoAssign
from poolmgr.errors import AddressInUseError, BlockLimitError, PoolExhaustedError
from tests.support.facts import SECOND, block_of
from tests.support.world import NOON_NS, World, add, claimed_elsewhere

WHO = Claimant("node-a")
POOL = parse_network("10.20.0.0/28")
OLD_NS = NOON_NS + RECLAIM_AGE_NS


def walk(host: str = "node-a") -> list[str]:
    """The blocks of the pool in the order in which a host tries them."""
    return [str(cidr) for cidr in walk_blocks(POOL, 30, host)]


def ascending() -> list:
    """The blocks of the pool, ascending from where the walk of node-a starts."""
    blocks = list(POOL.subnets(new_prefix=30))
    at = blocks.index(parse_network(walk()[0]))
    return blocks[at:] + blocks[:at]


@pytest.fixture
def world():
    return World().pool("p4", str(POOL), blockSize=30)


@pytest.fixture
def narrow(monkeypatch):
    """Make a pool of four blocks as hard to search as one of thousands."""
    monkeypatch.setattr(claim, "PROBES", (1,))
    monkeypatch.setattr(existing, "TOGETHER", 8)


def fill(world: World, *others: str) -> None:
    """Give every block but `others` to a host of its own, and fill it."""
    for number, cidr in enumerate(walk()):
        if cidr not in others:
            claimed_elsewhere(world, cidr, f"node-{number}")


def block_key(cidr: str) -> str:
    return records.block_key(parse_network(cidr))


# What a host may do


@pytest.mark.parametrize(
    ("affinity", "lost"), [("host:node-a", True), ("virtual:node-a", False), (None, False)]
)
def test_a_block_that_names_the_host_is_the_hosts(affinity, lost):
    block = replace(new_block(POOL, "", NOON_NS), affinity=affinity)

    assert lost == is_lost(block, WHO)


@pytest.mark.parametrize(
    ("changes", "after_s", "reclaimable"),
    [
        pytest.param({}, 60, True, id="old enough"),
        pytest.param({}, 59, False, id="claimed just now"),
        pytest.param({"claimed_at": None}, 0, True, id="of a time before claims were dated"),
        pytest.param({"claimed_at": "yesterday"}, 9999, False, id="no time"),
        pytest.param({"affinity": None}, 9999, False, id="nobody's"),
        pytest.param({"affinity": "host:node-a"}, 9999, False, id="the host's own"),
        pytest.param({"affinity": "virtual:node-a"}, 60, True, id="a load balancer's"),
    ],
)
def test_anothers_empty_block_can_be_taken_over_once_it_is_a_minute_old(
    changes, after_s, reclaimable
):
    block = replace(new_block(POOL, "host:node-b", NOON_NS), **changes)

    assert reclaimable == is_reclaimable(block, WHO, NOON_NS + after_s * SECOND)


def test_a_block_with_an_address_is_never_taken_over():
    block = block_of("10.20.0.0/30", "c1", affinity="host:node-b")

    assert not is_reclaimable(block, WHO, OLD_NS)


def test_a_block_in_which_only_windows_keeps_addresses_is_taken_over():
    kept = HostReserved(first=3, last=1, handle=WINDOWS_RESERVED_HANDLE)
    block = new_block(POOL, "host:node-b", NOON_NS, kept)

    assert is_reclaimable(block, WHO, OLD_NS)


# Taking over


def test_an_empty_block_of_another_host_is_taken_over_before_any_is_borrowed_from(world):
    first, second, *_ = walk()
    fill(world, first, second)
    claimed_elsewhere(world, second, "node-z", full=False)
    world.addresses(AutoAssign(host="node-y", handle="y", count={4: 1}, pools={4: ("p4",)}))
    world.now_ns = OLD_NS

    (address,) = world.addresses(add("c1"))

    assert address == str(parse_network(second).network_address)
    assert "host:node-a" == world.blocks()[second].affinity
    assert [f"host/node-a/ipv4/block/{second.replace('/', '-')}"] == [
        key for key in world.affinities() if key.endswith(second.replace("/", "-"))
    ]
    assert () == world.findings()


def test_a_block_taken_over_repeats_no_number_of_its_earlier_life(world):
    mine, *_ = walk()
    fill(world, mine)
    claimed_elsewhere(world, mine, "node-z", full=False)
    ahead = replace(world.blocks()[mine], sequence_number=OLD_NS * 2)
    world.put(block_key(mine), records.encode_block(ahead))
    world.now_ns = OLD_NS

    world.addresses(add("c1"))

    after = world.blocks()[mine]
    assert {0: OLD_NS * 2 + 1} == after.sequence_numbers
    assert rfc3339(OLD_NS) == after.claimed_at


def test_a_block_whose_affinity_is_lost_already_is_taken_over_too(world):
    mine, *_ = walk()
    fill(world, mine)
    claimed_elsewhere(world, mine, "node-z", full=False)
    world.remove(records.affinity_key("node-z", parse_network(mine)))
    world.now_ns = OLD_NS

    world.addresses(add("c1"))

    assert "host:node-a" == world.blocks()[mine].affinity


def test_a_block_taken_over_keeps_what_the_host_reserves(world):
    mine, *_ = walk()
    fill(world, mine)
    claimed_elsewhere(world, mine, "node-z", full=False)
    world.now_ns = OLD_NS
    kept = HostReserved(first=1, last=1, handle="kept")

    (address,) = world.addresses(add("c1", reserved={4: kept}))

    assert address == str(parse_network(mine).network_address + 1)
    assert (0, 3) == world.blocks()[mine].ordinals_of("kept")


def test_a_take_over_is_refused_while_a_pod_holds_the_pools_gateway(world):
    mine = next(c for c in walk() if c != "10.20.0.0/30")
    fill(world, mine)
    claimed_elsewhere(world, mine, "node-z", full=False)
    world.now_ns = OLD_NS

    refusal = world.refusal(add("c1", link=LinkPolicy(main=MainPlugin.PTP)))

    assert isinstance(refusal, AddressInUseError)
    assert "10.20.0.1" == refusal.address


def test_a_take_over_counts_for_the_hosts_limit_of_blocks(world):
    first, second, *_ = walk()
    fill(world, first, second)
    world.ask(AutoAssign(host="node-a", handle="h", count={4: 4}))
    claimed_elsewhere(world, second, "node-z", full=False)
    world.configure(strict_affinity=True, maxBlocksPerHost=1)
    world.now_ns = OLD_NS

    assert isinstance(world.refusal(add("c1")), BlockLimitError)


def test_a_take_over_conflicts_with_an_address_given_meanwhile(world):
    mine, *_ = walk()
    fill(world, mine)
    claimed_elsewhere(world, mine, "node-z", full=False)
    world.now_ns = OLD_NS
    decided, _ = world.decide([add("c1")])
    world.addresses(add("rival", "node-z"))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


# Lost affinities


@pytest.mark.parametrize("strict", [False, True])
def test_an_own_block_that_lost_its_affinity_is_found_and_gets_it_back(world, strict):
    mine, *_ = walk()
    fill(world, mine)
    world.configure(strict_affinity=strict)
    world.addresses(add("c1"))
    key = records.affinity_key("node-a", parse_network(mine))
    world.remove(key)

    world.addresses(add("c2"))

    assert world.value(key) == b'{"state":"confirmed","deleted":false}'
    assert 2 == sum(n is not None for n in world.blocks()[mine].allocations)
    assert () == world.findings()


def test_an_own_empty_block_that_lost_its_affinity_is_not_made_anew(world):
    mine, *_ = walk()
    fill(world, mine)
    claimed_elsewhere(world, mine, "node-a", full=False)
    world.remove(records.affinity_key("node-a", parse_network(mine)))

    world.addresses(add("c2"))

    assert NOON_NS + 1 == world.blocks()[mine].sequence_number


# Borrowing


@pytest.mark.parametrize("affinity", ["host:node-z", None])
def test_strict_affinity_forbids_borrowing(world, affinity):
    mine, *_ = walk()
    fill(world, mine)
    block = replace(block_of(mine, "c0"), affinity=affinity)
    world.put(block_key(mine), records.encode_block(block))
    world.configure(strict_affinity=True)

    refusal = world.refusal(add("c1"))

    assert isinstance(refusal, PoolExhaustedError)
    assert "strict affinity" in str(refusal)


def test_a_block_of_nobody_is_borrowed_from_and_not_claimed(world):
    mine, *_ = walk()
    fill(world, mine)
    block = replace(block_of(mine, "c0"), affinity=None)
    world.put_all(
        {
            block_key(mine): records.encode_block(block),
            records.handle_key("c0"): b'{"block":{"%s":1},"deleted":false}' % mine.encode(),
        }
    )

    world.addresses(add("c1"))

    assert world.blocks()[mine].affinity is None
    assert not any("node-a" in key for key in world.affinities())


def test_blocks_are_borrowed_from_ascending_from_where_the_hosts_walk_starts(world):
    for cidr in walk():
        claimed_elsewhere(world, cidr, "node-z", full=False)

    borrowed = [world.addresses(add(f"c{n}"))[0] for n in range(16)]

    assert [str(address) for cidr in ascending() for address in cidr] == borrowed


def test_a_block_of_another_size_in_the_pool_is_not_borrowed_from(world, narrow):
    claimed_elsewhere(world, "10.20.0.0/29", "node-z", full=False)
    claimed_elsewhere(world, "10.20.0.8/30", "node-y")
    claimed_elsewhere(world, "10.20.0.12/30", "node-x")
    claimed_elsewhere(world, "10.20.0.0/30", "node-w")
    claimed_elsewhere(world, "10.20.0.4/30", "node-v")

    assert isinstance(world.refusal(add("c1")), PoolExhaustedError)


# What is looked at


def test_a_full_block_is_told_by_its_text_and_forgotten(world, narrow):
    fill(world)

    _, snapshot = world.decide([add("c1")])

    # The last ones are forgotten with the next read, which does not come.
    assert snapshot.full == {block_key(str(cidr)) for cidr in ascending()[:2]}
    assert all(snapshot.find(key) is None for key in snapshot.full)


def test_a_full_block_whose_addresses_have_cooled_down_is_used(world):
    fill(world)
    cidr = walk()[2]
    cold = Attribute(released_at=rfc3339(NOON_NS - 60 * SECOND))
    block = replace(world.blocks()[cidr], attributes=(cold,))
    world.put(block_key(cidr), records.encode_block(block))

    assert [str(block.cidr.network_address)] == world.addresses(add("c1"))


@pytest.mark.parametrize("small", [False, True], ids=["by addresses", "by blocks"])
def test_no_read_takes_more_than_its_share(world, narrow, monkeypatch, small):
    if small:
        monkeypatch.setattr(existing, "TOGETHER", 4096)
        monkeypatch.setattr(existing, "KEYS", 2)
    fill(world)
    sizes, read = [], world.store.read

    def counted(fetch, **more):
        sizes.append(sum(key.startswith(records.BLOCKS[4].start) for key in fetch.keys))
        return read(fetch, **more)

    monkeypatch.setattr(world.store, "read", counted)

    world.refusal(add("c1"))

    assert [2, 2] == [size for size in sizes if size]


def test_own_blocks_are_not_looked_at_again(world):
    _, snapshot = world.decide([add("c1")])
    draft = Draft(snapshot, NOON_NS)
    selection = draft.select(Criteria(family=4, host="node-a", node_labels=None))
    own = [parse_network(cidr) for cidr in walk()]

    assert [] == list(existing_blocks(draft, WHO, selection.kept, own))


def test_a_block_that_the_batch_has_just_claimed_is_borrowed_from(world, narrow):
    last = walk()[-1]
    fill(world, last)

    outcomes = world.ask_all([add("c1"), add("c2", "node-b")])

    first = parse_network(last).network_address
    assert [first, first + 1] == [o.allocations[0].address for o in outcomes]
    assert "host:node-a" == world.blocks()[last].affinity
    assert () == world.findings()


# What must not be taken over


def test_reserved_blocks_are_not_taken_over_while_others_have_room():
    world = World().pool("p4", "10.0.0.0/22", blockSize=30).reserve("r", "10.0.0.0/28")
    for number in range(256):
        empty = number < 4
        claimed_elsewhere(
            world, f"10.0.{number // 64}.{number % 64 * 4}/30", "node-b", full=not empty
        )
    world.now_ns += 2 * existing.RECLAIM_AGE_NS

    assert isinstance(world.refusal(add("c1")), PoolExhaustedError)
    assert not [key for key in world.affinities() if "node-a" in key]


@pytest.mark.parametrize("owner", ["", "host:", "garbage", "host:a/b"])
def test_an_empty_block_of_an_owner_that_nobody_understands_is_only_borrowed_from(owner):
    world = World().pool("p4", "10.0.0.0/30", blockSize=30)
    block = new_block(parse_network("10.0.0.0/30"), owner, 1)
    world.put(records.block_key(block.cidr), records.encode_block(block))

    assert ["10.0.0.0"] == world.addresses(add("c1"))
    assert owner == world.blocks()["10.0.0.0/30"].affinity


def test_a_block_of_another_host_that_nobody_can_read_is_passed_over():
    world = World().pool("p4", "10.0.0.0/29", blockSize=30)
    world.put("/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30", b'{"cidr":"10.0.0.0/30"}')
    claimed_elsewhere(world, "10.0.0.4/30", "node-b", full=False)

    assert ["10.0.0.4"] == world.addresses(add("c1"))
