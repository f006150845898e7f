"""Section 13: hosts give blocks back, and lose those that they must not use."""

from dataclasses import dataclass

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.request import ClaimAffinities, ReleaseAffinities, Use
from tests.behaviours.row import Row, each
from tests.support.site import Site, affinity_key, block_key
from tests.support.world import stored_resource

HOST = "host-affinity-fvs"
FIRST, SECOND = "10.0.0.0/24", "20.0.0.0/24"
EQUAL, UNEQUAL = 'foo == "bar"', 'foo != "bar"'


@dataclass(frozen=True, slots=True)
class Exact(Row):
    """
    One block is released, which must be empty.

    Attributes:
        empty: Whether its address was released before.
        numbered: Whether the block is named with its number.
    """

    empty: bool
    numbered: bool = False


EXACT = (
    Exact("AF-02", empty=False),
    Exact("AF-03", empty=True),
    Exact("AF-04", empty=False, numbered=True),
    Exact("AF-04", empty=True, numbered=True),
)


@dataclass(frozen=True, slots=True)
class Stored(Row):
    """The value of an affinity that counts as confirmed."""

    value: bytes


STORED = (Stored("AF-16", b""), Stored("AF-16", b"{}"))
UNKNOWN, OLD, MANY, NO_POOL = map(Row, ("AF-01", "AF-05", "AF-06", "AF-07"))
BY_ADDRESS, BY_HANDLE, NEXT = map(Row, ("AF-08", "AF-09", "AF-10"))
OTHER_POOL, OTHER_USE = map(Row, ("AF-11", "AF-12"))
BOTH_KINDS, IN_USE = map(Row, ("AF-13", "AF-15"))

ROWS = (
    *(*EXACT, *STORED),
    *(UNKNOWN, OLD, MANY, NO_POOL, BY_ADDRESS, BY_HANDLE, NEXT),
    *(OTHER_POOL, OTHER_USE, BOTH_KINDS, IN_USE),
)


def release(site: Site, **asked):
    return site.ipam().release_affinities(ReleaseAffinities(**asked))


def put_pool(site: Site, name: str, cidr: str, block_size: int = 26, **spec) -> None:
    content = {"cidr": cidr, "blockSize": block_size, **spec}
    site.put(*stored_resource("ippools", "IPPool", name, content))


def put_node(site: Site, name: str = "node-a") -> None:
    site.put(*stored_resource("nodes", "Node", name, {}, labels={"foo": "bar"}))


def left(site: Site) -> tuple[int, int]:
    """Return how many affinities and blocks there are."""
    return sum(map(len, site.affinities().values())), len(site.blocks())


@each([UNKNOWN])
def test_forgetting_a_host_that_nobody_knows_is_a_success(row, site):
    answer = release(site, host="randomhost", forget_host=True)

    assert (0, ()) == (answer.blocks, answer.errors)


@each(EXACT)
def test_a_block_is_released_when_it_is_empty(row, site):
    site.pool("pool-a", FIRST, 30)
    site.auto(host=HOST, handle="h")
    if row.empty:
        site.release_handle("h")
    ((cidr, block),) = site.blocks().items()

    answer = release(
        site,
        cidr=parse_network(cidr),
        host=HOST,
        only_empty=True,
        sequence_number=block["sequenceNumber"] if row.numbered else None,
    )

    if row.empty:
        assert (1, ()) == (answer.blocks, answer.errors)
        assert (0, 0) == left(site)
    else:
        assert f"block {cidr} of {HOST} was not released: it is not empty" == str(
            *answer.errors
        )
        assert {cidr: f"host:{HOST}"} == site.owners()
        assert (1, 1) == left(site)


@each([OLD])
@pytest.mark.parametrize("by", ["library", "poolctl"])
def test_blocks_of_old_lose_their_hosts_too(row, by, site, program):
    put_pool(site, "pool-a", "10.0.0.0/16", 24)
    site.seed(FIRST, host="host-a")
    site.put(affinity_key("host-a", FIRST), {"state": "confirmed"})

    if by == "library":
        release(site, cidr=parse_network("10.0.0.0/16"))
    else:
        assert 0 == program("delete", "ippool", "pool-a").returncode

    assert (0, 0) == left(site)


@each([MANY])
def test_what_can_be_released_is_although_something_cannot(row, site):
    site.pool("pool-a", FIRST, 30)
    site.auto(12, host=HOST, handle="h")
    site.release_handle("h")
    site.auto(host=HOST, handle="h")
    before = left(site)

    answer = release(site, host=HOST, only_empty=True)

    assert ((3, 3), (1, 1)) == (before, left(site))
    assert (2, 1) == (answer.blocks, len(answer.errors))


@each([NO_POOL])
def test_a_host_loses_blocks_of_a_pool_that_is_gone(row, site):
    site.pool("pool-a", FIRST, 30)
    site.auto(12, host=HOST, handle="h")
    site.raw.delete(records.resource_key("ippools", "pool-a"))

    answer = release(site, host=HOST)

    assert (3, ()) == (answer.blocks, answer.errors)
    assert (0, 3) == left(site)
    site.release_handle("h")
    assert (0, 0) == left(site)


@each([BY_ADDRESS])
@pytest.mark.parametrize("by", ["library", "poolctl"])
def test_a_release_by_address_takes_the_strayed_block_that_it_empties_away(
    row, by, site, program
):
    def release_by_address(address: str) -> None:
        if by == "library":
            site.release(address)
        else:
            assert 0 == program("ipam", "release", "-y", "--ip", address).returncode

    put_node(site)
    put_pool(site, "pool-a", FIRST, nodeSelector=EQUAL)
    one, two, three = site.addresses(3)
    states = []

    release_by_address(one)
    states.append(left(site))
    put_pool(site, "pool-a", FIRST, nodeSelector=UNEQUAL)
    for address in (two, three):
        release_by_address(address)
        states.append(left(site))

    assert [(1, 1), (1, 1), (0, 0)] == states


@each([BY_HANDLE])
@pytest.mark.parametrize("by", ["library", "CNI"])
def test_the_release_that_empties_a_strayed_block_takes_it_away(row, by, site):
    put_node(site)
    put_pool(site, "pool-a", FIRST, nodeSelector=EQUAL)
    for container in ("c1", "c2", "c3"):
        site.add(container)
    states = []

    for container in ("c1", "c2", "c3"):
        if container == "c2":
            put_pool(site, "pool-a", FIRST, nodeSelector=UNEQUAL)
        if by == "CNI":
            site.delete(container)
        else:
            site.release_handle(f"net1.{container}", host="node-a")
        states.append(left(site))

    assert [(1, 1), (1, 1), (0, 0)] == states


def emptied(site: Site, name: str, **spec) -> None:
    """Let the host have an empty block in a pool."""
    put_pool(site, name, FIRST, **spec)
    site.auto(3, handle="h")
    site.release_handle("h", host="node-a")
    assert (1, 1) == left(site)


@each([NEXT])
@pytest.mark.parametrize("by", ["library", "CNI"])
def test_the_next_assignment_takes_an_empty_strayed_block_away(row, by, site):
    put_node(site)
    emptied(site, "pool-a", nodeSelector=EQUAL)
    put_pool(site, "pool-a", FIRST, nodeSelector=UNEQUAL)
    put_pool(site, "pool-b", SECOND)
    before = left(site)

    given = [site.add(f"c{n}") for n in range(3)] if by == "CNI" else site.addresses(3)

    assert ["20.0.0."] * 3 == [address[:7] for address in given]
    assert ((1, 1), (1, 1)) == (before, left(site))
    assert ["20.0.0."] == [cidr[:7] for cidr in site.blocks()]


@each([OTHER_POOL])
@pytest.mark.parametrize("by", ["library", "CNI"])
def test_an_empty_block_stays_while_another_pool_is_asked_for(row, by, site):
    put_node(site)
    emptied(site, "pool-a", nodeSelector=EQUAL)
    put_pool(site, "pool-b", SECOND)

    pools = {4: ("pool-b",)}
    if by == "CNI":
        given = [site.add(f"c{n}", pools=pools) for n in range(3)]
    else:
        given = site.addresses(3, pools=pools)

    assert ["20.0.0."] * 3 == [address[:7] for address in given]
    assert (2, 2) == left(site)


@each([OTHER_USE])
def test_an_empty_block_stays_while_its_pool_is_not_for_the_use(row, site):
    put_node(site)
    emptied(site, "pool-a", allowedUses=["Workload"])
    put_pool(site, "pool-b", SECOND, allowedUses=["Tunnel"])

    (given,) = site.addresses(use=Use.TUNNEL)

    assert given.startswith("20.0.0.")
    assert (2, 2) == left(site)
    assert {"host:node-a"} == set(site.owners().values())


@each([BOTH_KINDS])
def test_what_is_released_once_is_not_there_to_be_released_again(row, site):
    site.pool("pool-a", "10.1.0.0/16", 26)
    kinds = {"host": "10.1.0.0/26", "virtual": "10.1.1.0/26"}
    for kind, cidr in kinds.items():
        asked = ClaimAffinities(cidr=parse_network(cidr), host="test-hostname", kind=kind)
        site.ipam().claim_affinities(asked)
    before = left(site)

    answers = [
        release(site, cidr=parse_network(cidr), host="test-hostname", kind=kind)
        for _ in range(2)
        for kind, cidr in kinds.items()
    ]

    assert ((2, 2), (0, 0)) == (before, left(site))
    assert [1, 1, 0, 0] == [answer.blocks for answer in answers]


@each([IN_USE])
def test_a_block_that_its_host_lost_keeps_the_address_of_the_host(row, site):
    site.pool("pool-a", FIRST, 30)
    (given,) = site.addresses(host="node-c", handle="h", attributes={"node": "node-c"})

    release(site, host="node-c")

    (block,) = site.blocks().values()
    assert block["affinity"] is None
    assert "affinity_claim_time" not in block
    assert {given: "h"} == site.assigned()
    assert [{"node": "node-c"}] == [entry["secondary"] for entry in block["attributes"]]


@each(STORED)
def test_an_affinity_without_a_state_counts_as_confirmed(row, site):
    site.pool("pool-a", FIRST, 26)
    cidr = "10.0.0.64/26"
    site.seed(cidr)
    site.put(affinity_key("node-a", cidr), row.value)

    (given,) = site.addresses()

    assert "10.0.0.64" == given
    assert row.value == site.raw.get(affinity_key("node-a", cidr))
    assert [cidr] == list(site.blocks())
    assert block_key(cidr) in site.content()
