"""Taking blocks for a host and from hosts, without an address."""

from dataclasses import replace
from itertools import islice

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import affinities, records
from poolmgr.core.block import Attribute, new_block
from poolmgr.core.outcome import AffinitiesClaimed, AffinitiesReleased
from poolmgr.core.request import AutoAssign, ClaimAffinities, ReleaseAffinities
from poolmgr.core.session import Session
from poolmgr.errors import NoMatchingPoolError, RefusedError
from tests.support.facts import block_of
from tests.support.world import NOON_NS, World, add, claimed_elsewhere

ALL = parse_network("10.0.0.0/28")
CONFIRMED = b'{"state":"confirmed","deleted":false}'


@pytest.fixture
def world():
    return World().pool("p4", str(ALL), blockSize=30)


def keys(*cidrs: str, host: str = "node-a") -> list[str]:
    """Affinity keys without their common part."""
    return [f"host/{host}/ipv4/block/{cidr.replace('/', '-')}" for cidr in cidrs]


def blocks(*cidrs: str) -> tuple:
    return tuple(parse_network(cidr) for cidr in cidrs)


def texts(errors) -> list[str]:
    return [str(error) for error in errors]


# Affinities of a pool


def test_a_pools_blocks_lose_their_hosts_and_empty_ones_go():
    world = (
        World().pool("p4", "10.0.0.0/28", blockSize=30).pool("q", "10.1.0.0/30", blockSize=30)
    )
    claimed_elsewhere(world, "10.0.0.0/30", "node-b")
    claimed_elsewhere(world, "10.0.0.4/30", "node-c", full=False)
    claimed_elsewhere(world, "10.1.0.0/30", "node-b", full=False)
    world.put("/calico/ipam/v2/virtual/lb/ipv4/block/10.0.0.8-30", b"{}")
    world.put("/calico/ipam/v2/host/node-d/ipv4/block/10.0.0.0-30", b"{}")

    outcome = world.ask(ReleaseAffinities(cidr=parse_network("10.0.0.0/28")))

    assert AffinitiesReleased(blocks=3) == outcome
    assert {"10.0.0.0/30", "10.1.0.0/30"} == world.blocks().keys()
    assert world.blocks()["10.0.0.0/30"].affinity is None
    assert [
        "host/node-b/ipv4/block/10.1.0.0-30",
        "virtual/lb/ipv4/block/10.0.0.8-30",
    ] == list(world.affinities())


def test_a_pool_with_many_blocks_is_left_in_parts():
    world = World().pool("p4", "10.0.0.0/24", blockSize=30)
    for n in range(60):
        claimed_elsewhere(world, f"10.0.0.{n * 4}/30", f"node-{n}", full=False)
    world.commits = 0

    outcome = world.ask(ReleaseAffinities(cidr=parse_network("10.0.0.0/24")))

    assert AffinitiesReleased(blocks=60) == outcome
    assert world.commits > 1
    assert {} == world.blocks()


# Affinities of a host


def test_a_host_loses_its_blocks_of_both_families_wherever_they_lie():
    world = World().pool("p4", "10.0.0.0/28", blockSize=30).pool("p6", "fd00::/120")
    world.addresses(add("c1", families=(4, 6)))
    claimed_elsewhere(world, "10.1.0.0/30", "node-a", full=False)
    world.addresses(add("c2", "node-b"))

    outcome = world.ask(ReleaseAffinities(host="node-a"))

    assert AffinitiesReleased(blocks=3) == outcome
    assert ["node-b"] == [key.split("/")[1] for key in world.affinities()]
    assert {None} == {
        block.affinity for block in world.blocks().values() if block.affinity != "host:node-b"
    }


def test_blocks_of_a_host_whose_name_only_begins_alike_are_left_alone(world):
    claimed_elsewhere(world, "10.0.0.0/30", "node-a1", full=False)

    assert AffinitiesReleased(blocks=0) == world.ask(ReleaseAffinities(host="node-a"))
    assert keys("10.0.0.0/30", host="node-a1") == list(world.affinities())


def test_virtual_blocks_are_released_on_request_only(world):
    key = "/calico/ipam/v2/virtual/lb/ipv4/block/10.0.0.0-30"
    empty = replace(block_of("10.0.0.0/30"), affinity="virtual:lb")
    world.put_all({key: CONFIRMED, records.block_key(empty.cidr): records.encode_block(empty)})

    as_host = world.ask(ReleaseAffinities(host="lb"))
    as_virtual = world.ask(ReleaseAffinities(host="lb", kind="virtual"))

    assert (0, 1) == (as_host.blocks, as_virtual.blocks)
    assert {} == world.affinities() == world.blocks()


def test_what_must_be_empty_and_is_not_is_left_alone_and_named(world):
    claimed_elsewhere(world, "10.0.0.0/30", "node-a", full=False)
    claimed_elsewhere(world, "10.0.0.4/30", "node-a")
    claimed_elsewhere(world, "10.0.0.8/30", "node-a", full=False)

    outcome = world.ask(ReleaseAffinities(host="node-a", only_empty=True))

    assert 2 == outcome.blocks
    assert ["block 10.0.0.4/30 of node-a was not released: it is not empty"] == texts(
        outcome.errors
    )
    assert keys("10.0.0.4/30") == list(world.affinities())
    assert () == world.findings()


@pytest.mark.parametrize(("ahead", "released"), [(0, 1), (1, 0)])
def test_a_block_is_released_under_its_number_only(world, ahead, released):
    claimed_elsewhere(world, "10.0.0.0/30", "node-a", full=False)
    asked = ReleaseAffinities(
        cidr=parse_network("10.0.0.0/30"), host="node-a", sequence_number=NOON_NS + ahead
    )

    outcome = world.ask(asked)

    assert (released, 1 - released) == (outcome.blocks, len(outcome.errors))
    assert 1 - released == len(world.blocks()) == len(world.affinities())


def test_a_released_block_keeps_its_addresses_and_goes_with_the_last(world):
    (address,) = world.addresses(AutoAssign(host="node-a", handle="h", count={4: 1}))

    world.ask(ReleaseAffinities(host="node-a"))

    (block,) = world.blocks().values()
    assert (None, None, "h") == (block.affinity, block.claimed_at, world.owner_of(address))
    assert NOON_NS + 2 == block.sequence_number
    assert () == world.findings()


@pytest.mark.parametrize("owner", [None, "host:node-b"])
def test_an_affinity_that_means_no_block_of_the_host_goes_alone(world, owner):
    name = records.affinity_key("node-a", parse_network("10.0.0.0/30"))
    world.put(name, b'{"state":"pending","deleted":false}')
    if owner:
        claimed_elsewhere(world, "10.0.0.0/30", "node-b", full=False)

    asked = ReleaseAffinities(host="node-a")
    decided, _ = world.decide([asked])
    outcome = world.ask(asked)

    assert 0 == outcome.blocks
    assert world.value(name) is None
    assert (1 if owner else 0) == len(world.blocks()) == len(world.affinities())
    # The block may become the host's before its affinity goes.
    assert records.block_key(parse_network("10.0.0.0/30")) in decided.txn.expect


def test_an_affinity_that_its_owner_released_meanwhile_counts_for_nobody(world, monkeypatch):
    claimed_elsewhere(world, "10.0.0.0/30", "node-a", full=False)
    claimed_elsewhere(world, "10.0.0.4/30", "node-a", full=False)
    read, gone = world.store.read, "/calico/ipam/v2/" + keys("10.0.0.4/30")[0]

    def read_late(fetch, **more):
        if gone in fetch.keys:
            monkeypatch.setattr(world.store, "read", read)
            world.remove(gone)
        return read(fetch, **more)

    monkeypatch.setattr(world.store, "read", read_late)

    world.ask(ReleaseAffinities(host="node-a"))

    assert {"10.0.0.4/30"} == world.blocks().keys()
    assert {} == world.affinities()


def test_keys_that_name_no_block_are_passed_over(world):
    world.put("/calico/ipam/v2/host/node-a/ipv4/block/nonsense", b"{}")

    assert AffinitiesReleased(blocks=0) == world.ask(ReleaseAffinities(cidr=ALL))
    assert AffinitiesReleased(blocks=0) == world.ask(ReleaseAffinities(host="node-a"))


@pytest.mark.parametrize("by", [{"host": "node-a"}, {"cidr": ALL}])
@pytest.mark.parametrize(("page", "part"), [(1, 24), (2, 1), (3, 24)])
def test_affinities_are_released_page_by_page_and_part_by_part(
    world, monkeypatch, by, page, part
):
    monkeypatch.setattr(affinities, "PAGE", page)
    monkeypatch.setattr(affinities, "BLOCKS", part)
    for cidr in ("10.0.0.0/30", "10.0.0.4/30", "10.0.0.8/30", "10.0.0.12/30"):
        claimed_elsewhere(world, cidr, "node-a", full=cidr == "10.0.0.8/30")

    outcome = world.ask(ReleaseAffinities(only_empty=True, **by))

    assert (3, 1) == (outcome.blocks, len(outcome.errors))
    assert keys("10.0.0.8/30") == list(world.affinities())


# Hosts that are gone for good


def test_forgetting_a_host_drops_calicos_note_of_it_and_fences_its_adds(world):
    world.put(records.legacy_host_key("node-a"), b"")
    world.addresses(add("c1"))
    late, _ = world.decide([add("c2", since=0)])

    outcome = world.ask(ReleaseAffinities(host="node-a", forget_host=True))

    assert AffinitiesReleased(blocks=1) == outcome
    assert world.value(records.legacy_host_key("node-a")) is None
    session = records.decode_session("", world.value(records.session_key("node-a")))
    assert Session(n=1, deleted=("*@1",)) == session
    assert type(world.store.commit(late.txn)).__name__ == "Conflict"
    world.refusal(add("c2", since=0))


def test_forgetting_a_host_that_nobody_knows_is_a_success(world):
    outcome = world.ask(ReleaseAffinities(host="stranger", forget_host=True))

    assert AffinitiesReleased(blocks=0) == outcome


def test_a_host_is_fenced_once_however_many_parts_it_takes(world, monkeypatch):
    monkeypatch.setattr(affinities, "BLOCKS", 1)
    for cidr in ("10.0.0.0/30", "10.0.0.4/30", "10.0.0.8/30"):
        claimed_elsewhere(world, cidr, "node-a", full=False)

    world.ask(ReleaseAffinities(host="node-a", forget_host=True))

    assert 1 == records.decode_session("", world.value(records.session_key("node-a"))).n


# Claiming


def test_every_block_inside_the_cidr_is_claimed(world):
    outcome = world.ask(ClaimAffinities(cidr=parse_network("10.0.0.8/29"), host="node-a"))

    claimed = ("10.0.0.8/30", "10.0.0.12/30")
    assert AffinitiesClaimed(claimed=blocks(*claimed), failed=()) == outcome
    assert set(claimed) == world.blocks().keys()
    assert {"host:node-a"} == {block.affinity for block in world.blocks().values()}
    assert () == world.findings()


def test_a_virtual_claim_is_one_too(world):
    world.ask(ClaimAffinities(cidr=parse_network("10.0.0.0/30"), host="lb", kind="virtual"))

    assert ["virtual/lb/ipv4/block/10.0.0.0-30"] == list(world.affinities())
    assert "virtual:lb" == world.blocks()["10.0.0.0/30"].affinity


def test_blocks_of_others_are_named_and_a_broken_off_claim_of_them_is_tidied_up(world):
    claimed_elsewhere(world, "10.0.0.0/30", "node-b", full=False)
    claimed_elsewhere(world, "10.0.0.4/30", "node-b")
    world.ask(ReleaseAffinities(cidr=parse_network("10.0.0.4/30")))
    pending = "/calico/ipam/v2/" + keys("10.0.0.0/30")[0]
    world.put(pending, b'{"state":"pending","deleted":false}')

    outcome = world.ask(ClaimAffinities(cidr=parse_network("10.0.0.0/29"), host="node-a"))

    assert AffinitiesClaimed(claimed=(), failed=blocks("10.0.0.0/30", "10.0.0.4/30")) == outcome
    assert world.value(pending) is None
    assert keys("10.0.0.0/30", host="node-b") == list(world.affinities())


@pytest.mark.parametrize(
    ("stored", "actual"),
    [
        (b'{"state":"confirmed"}', b'{"state":"confirmed"}'),
        (b"{}", b"{}"),
        (b'{"state":"pending","mine":1}', b'{"state":"confirmed","deleted":false,"mine":1}'),
        (b'{"state":"pendingDeletion"}', CONFIRMED),
        (None, CONFIRMED),
    ],
)
def test_a_block_that_is_the_hosts_already_counts_as_claimed(world, stored, actual):
    claimed_elsewhere(world, "10.0.0.0/30", "node-a")
    name = records.affinity_key("node-a", parse_network("10.0.0.0/30"))
    world.remove(name) if stored is None else world.put(name, stored)
    before = world.blocks()

    outcome = world.ask(ClaimAffinities(cidr=parse_network("10.0.0.0/30"), host="node-a"))

    assert AffinitiesClaimed(claimed=blocks("10.0.0.0/30"), failed=()) == outcome
    assert actual == world.value(name)
    assert before == world.blocks()


@pytest.mark.parametrize("owner", ["node-a", "node-b"])
def test_what_is_said_of_an_existing_block_holds_only_while_it_is_as_it_was(world, owner):
    claimed_elsewhere(world, "10.0.0.0/30", owner, full=False)
    asked = ClaimAffinities(cidr=parse_network("10.0.0.0/30"), host="node-a")
    decided, _ = world.decide([asked])
    world.ask(ReleaseAffinities(host=owner))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_a_claim_of_many_blocks_is_planned_in_parts():
    world = World().pool("p6", "fd00::/116", blockSize=122)
    claimed_elsewhere(world, "fd00::40/122", "node-b", full=False)
    world.commits = 0

    outcome = world.ask(ClaimAffinities(cidr=parse_network("fd00::/116"), host="node-a"))

    assert (63, blocks("fd00::40/122")) == (len(outcome.claimed), outcome.failed)
    assert 4 == world.commits
    assert 64 == len(world.blocks())


@pytest.mark.parametrize("cidr", ["10.9.0.0/30", "10.0.0.0/24", "fd00::/122"])
def test_a_cidr_outside_every_pool_cannot_be_claimed(world, cidr):
    refusal = world.refusal(ClaimAffinities(cidr=parse_network(cidr), host="node-a"))

    assert isinstance(refusal, NoMatchingPoolError)
    assert f"{cidr} lies in no enabled pool" in str(refusal)


def test_a_cidr_in_a_pool_out_of_service_cannot_be_claimed_and_the_pool_is_named(world):
    world.pool("p4", str(ALL), blockSize=30, disabled=True)

    refusal = world.refusal(ClaimAffinities(cidr=ALL, host="node-a"))

    assert isinstance(refusal, NoMatchingPoolError)
    assert {"p4": "disabled"} == refusal.reasons


def test_less_than_a_block_cannot_be_claimed(world):
    asked = ClaimAffinities(cidr=parse_network("10.0.0.0/31"), host="node-a")

    refusal = world.refusal(asked)

    assert "10.0.0.0/31 is smaller than the blocks of its pool, which are /30" in str(refusal)


def test_a_claim_fails_when_its_pool_is_edited_or_the_block_taken_meanwhile(world):
    asked = ClaimAffinities(cidr=ALL, host="node-a")
    for meddle in (
        lambda: world.pool("p4", str(ALL), blockSize=30, disabled=True),
        lambda: world.remove(records.resource_key("ippools", "p4")),
        lambda: claimed_elsewhere(world, "10.0.0.4/30", "node-b"),
        lambda: world.pool("a-first", str(ALL), blockSize=29),
    ):
        world.pool("p4", str(ALL), blockSize=30)
        decided, _ = world.decide([asked])
        meddle()

        assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_a_release_fails_when_an_address_of_the_block_is_assigned_meanwhile(world):
    world.ask(ClaimAffinities(cidr=parse_network("10.0.0.0/30"), host="node-a"))
    decided, _ = world.decide([ReleaseAffinities(host="node-a", only_empty=True)])
    world.addresses(add("c1"))

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_a_refusal_to_release_is_an_error_that_callers_can_tell(world):
    claimed_elsewhere(world, "10.0.0.0/30", "node-a")

    outcome = world.ask(ReleaseAffinities(host="node-a", only_empty=True))

    assert [RefusedError] == [type(error) for error in outcome.errors]


# Large blocks

LONG = {"namespace": "production", "pod": "web-frontend-7d9c6b5f4-xk2vp", "node": "node-a"}


def fill_blocks(world: World, size: int, count: int) -> None:
    """Store full blocks of a host, each address with an owner of its own."""
    for block in islice(parse_network("10.0.0.0/8").subnets(new_prefix=size), count):
        stored = new_block(block, "host:node-a", NOON_NS)
        owners = (
            Attribute(handle=f"net1.{n:064x}", secondary=LONG) for n in range(stored.size)
        )
        full = replace(
            stored,
            allocations=tuple(range(stored.size)),
            unallocated=(),
            attributes=tuple(owners),
            sequence_numbers=dict.fromkeys(range(stored.size), NOON_NS),
        )
        affinity = records.affinity_key("node-a", block)
        world.put_all(
            {affinity: CONFIRMED, records.block_key(block): records.encode_block(full)}
        )


@pytest.mark.parametrize(
    "by", [{"host": "node-a", "forget_host": True}, {"cidr": parse_network("10.0.0.0/8")}]
)
@pytest.mark.parametrize(("size", "count"), [(24, 26), (22, 8), (21, 3)])
def test_full_blocks_of_any_size_are_released_in_parts_that_etcd_takes(by, size, count):
    world = World().pool("p4", "10.0.0.0/8", blockSize=size)
    fill_blocks(world, size, count)

    outcome = world.ask(ReleaseAffinities(**by))

    assert AffinitiesReleased(blocks=count) == outcome
    assert {} == world.affinities()
    assert [None] * count == [block.affinity for block in world.blocks().values()]
