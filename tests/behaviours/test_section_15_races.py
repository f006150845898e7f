"""
Section 15: concurrency.

Races are run by threads, each with the library to itself. Where one moment matters, another program
writes just before a commit; and what Calico leaves of a race is seeded as literal JSON.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.request import ClaimAffinities, ReleaseAffinities
from poolmgr.errors import RefusedError
from tests.behaviours.row import Row, each
from tests.support.site import (
    Meddled,
    Site,
    affinity_key,
    at_once,
    block_key,
    literal_block,
    subnets,
    texts,
)
from tests.support.world import stored_resource

CIDR = "10.0.0.0/26"
PENDING = {"state": "pending", "deleted": False}
LEAVING = {"state": "pendingDeletion", "deleted": False}
WORKERS = 8


@dataclass(frozen=True, slots=True)
class Load(Row):
    """Many nodes at once."""

    nodes: int
    pools: int = 1
    each: int = 1


GIVEN, OWNED, SHARED = map(Row, ("CC-01", "CC-02", "CC-04"))
CLAIMS, CLAIMED, RELEASES = map(Row, ("CC-05", "CC-06", "CC-07"))
RENEWED, BEATEN, REMAINS, STALE, SNEAKED = map(
    Row, ("CC-09", "CC-10", "CC-11", "CC-12", "CC-13")
)
WIDE = (Load("CC-14", 60, pools=10), Load("CC-14", 1000, pools=100))
DEEP = (Load("CC-16", 20, each=5), Load("CC-16", 150, each=10))

ROWS = (
    *(GIVEN, OWNED, SHARED, CLAIMS, CLAIMED, RELEASES),
    *(RENEWED, BEATEN, REMAINS, STALE, SNEAKED),
    *(*WIDE, *DEEP),
)


def loads(rows: tuple[Load, ...]):
    """Parametrise by the smaller load, and with --slow by the larger one too."""
    marks = ((), pytest.mark.slow)
    params = [
        pytest.param(row, id=row.id, marks=mark) for row, mark in zip(rows, marks, strict=True)
    ]
    return pytest.mark.parametrize("row", params)


# Hosts that race for blocks


@pytest.fixture
def raced(site) -> tuple[Site, dict[str, list[str]]]:
    """32 hosts that asked for an address at once, of 16 blocks, and what each was given."""
    site.pool("pool-a", "10.0.0.0/22", 26)
    hosts = [f"host-{n}" for n in range(32)]
    for host in hosts:
        site.raw.put(*stored_resource("nodes", "Node", host, {}))
    given = at_once(*(lambda h=h: site.addresses(host=h, handle=h) for h in hosts))
    return site, dict(zip(hosts, given, strict=True))


@each([GIVEN])
def test_twice_as_many_hosts_as_blocks_get_an_address_each(row, raced):
    site, given = raced

    assert {1} == {len(addresses) for addresses in given.values()}
    assert given == {handle: [address] for address, handle in site.assigned().items()}


@each([OWNED])
def test_every_block_has_one_owner_who_is_in_it(row, raced):
    site, given = raced

    owners = {cidr: f"host:{host}" for host, all_ in site.affinities().items() for cidr in all_}
    assert 16 == len(site.affinities()) == len(owners)
    assert owners == site.owners()
    assert {"confirmed"} == {s for all_ in site.affinities().values() for s in all_.values()}
    for host, mine in site.affinities().items():
        (cidr,), (address,) = mine, given[host]
        assert address in texts(parse_network(cidr))


@each([SHARED])
def test_calls_of_one_host_share_the_block_that_one_of_them_claims(row, site):
    site.pool("pool-a", "10.0.0.0/25", 26)

    given = at_once(
        *(lambda n=n: site.addresses(host="single-host", handle=f"h{n}") for n in range(4))
    )

    assert 4 == len({address for addresses in given for address in addresses})
    assert {"single-host": dict.fromkeys(site.blocks(), "confirmed")} == site.affinities()
    assert 1 == len(site.blocks())


# One host, whose calls race


WHOLE = parse_network("10.0.0.0/22")


def claim_all(site: Site):
    return site.ipam().claim_affinities(ClaimAffinities(cidr=WHOLE, host="node-a"))


@each([CLAIMS])
def test_claims_of_the_same_blocks_all_succeed(row, site):
    site.pool("pool-a", "10.0.0.0/22", 26)

    answers = at_once(*[lambda: claim_all(site)] * 4)

    assert [(tuple(subnets("10.0.0.0/22", 26)), ())] * 4 == [
        (answer.claimed, answer.failed) for answer in answers
    ]


@each([CLAIMED])
def test_blocks_that_were_claimed_in_a_race_are_confirmed(row, site):
    site.pool("pool-a", "10.0.0.0/22", 26)
    at_once(*[lambda: claim_all(site)] * 4)

    cidrs = texts(subnets("10.0.0.0/22", 26))
    assert {"node-a": dict.fromkeys(cidrs, "confirmed")} == {
        host: {cidr: mine[cidr] for cidr in cidrs} for host, mine in site.affinities().items()
    }
    assert dict.fromkeys(cidrs, "host:node-a") == site.owners()


@each([RELEASES])
def test_releases_of_the_same_blocks_all_succeed(row, site):
    site.pool("pool-a", "10.0.0.0/22", 26)
    claim_all(site)
    gone = ReleaseAffinities(cidr=WHOLE, host="node-a")

    answers = at_once(*[lambda: site.ipam().release_affinities(gone)] * 4)

    assert [()] * 4 == [answer.errors for answer in answers]
    assert ({}, {}) == (site.blocks(), site.affinities())


# Another program at the worst moment


@pytest.mark.parametrize("guarded", [False, True])
@each([RENEWED])
def test_a_block_that_is_claimed_anew_is_not_released_by_what_was_known_before(
    row, guarded, site
):
    """Calico's release fails here. Ours looks again: see the decision on one transaction."""
    site.pool("pool-a", CIDR, 26)
    site.seed(CIDR, number=5)

    def claimed_anew() -> None:
        site.put(block_key(CIDR), literal_block(CIDR, number=9))
        site.put(affinity_key("node-a", CIDR), PENDING)

    store = Meddled(site.store, claimed_anew)
    request = ReleaseAffinities(host="node-a", sequence_number=5 if guarded else None)
    answer = site.ipam(store).release_affinities(request)

    # Whoever names the number that he saw touches nothing else; whoever names none means it.
    assert [RefusedError] * guarded == [type(error) for error in answer.errors]
    assert guarded == (site.owners() == {CIDR: "host:node-a"})
    assert guarded == (site.affinities() == {"node-a": {CIDR: "pending"}})
    assert not guarded or 9 == site.blocks()[CIDR]["sequenceNumber"]
    if guarded:
        site.ipam().claim_affinities(ClaimAffinities(cidr=parse_network(CIDR), host="node-a"))


@pytest.fixture
def beaten(site) -> tuple[Site, list[str]]:
    """What host-a got although host-b claimed the only block a moment earlier."""
    site.pool("pool-a", CIDR, 26)
    store = Meddled(site.store, lambda: site.seed(CIDR, host="host-b", number=7))
    request = {"host": "host-a", "handle": "h"}
    library = site.ipam(store)
    site.ipam = lambda *_: library
    return site, site.addresses(**request)


@each([BEATEN])
def test_a_host_that_is_beaten_to_a_block_borrows_from_it(row, beaten):
    site, given = beaten

    assert ["10.0.0.0"] == given
    assert {"10.0.0.0": "h"} == site.assigned()


@each([REMAINS])
def test_a_host_that_is_beaten_to_a_block_leaves_nothing_pending(row, beaten):
    site, _ = beaten

    assert {"host-b": {CIDR: "confirmed"}} == site.affinities()
    assert {CIDR: "host:host-b"} == site.owners()


@each([STALE])
def test_a_pending_affinity_for_a_block_of_another_host_is_removed_by_the_next_add(row, site):
    site.pool("pool-a", CIDR, 26)
    site.seed(CIDR, [{"handle_id": "other"}], {0: 0}, host="host-b", number=7)
    site.put(affinity_key("host-a", CIDR), PENDING)

    assert "10.0.0.1" == site.add("c1", node="host-a")
    assert {"host-b": {CIDR: "confirmed"}} == site.affinities()


@pytest.mark.parametrize("state", [LEAVING, PENDING])
@each([SNEAKED])
def test_a_block_that_got_an_address_meanwhile_stays_when_its_affinity_goes(row, state, site):
    site.pool("pool-a", CIDR, 26)
    site.seed(CIDR, number=5)
    site.put(affinity_key("node-a", CIDR), state)

    def sneak_in() -> None:
        site.seed(CIDR, [{"handle_id": "h"}], {0: 0}, number=6)
        site.put(affinity_key("node-a", CIDR), state)

    store = Meddled(site.store, sneak_in)
    answer = site.ipam(store).release_affinities(ReleaseAffinities(host="node-a"))

    assert (1, ()) == (answer.blocks, answer.errors)
    assert ({CIDR: None}, {}) == (site.owners(), site.affinities())
    assert {"10.0.0.0": "h"} == site.assigned()


# Load


@loads(WIDE)
def test_every_node_of_many_gets_its_addresses_from_many_pools(row, site):
    for n in range(row.pools):
        site.pool(f"pool-{n:03}", f"10.{n}.0.0/16", 26)

    with ThreadPoolExecutor(WORKERS) as threads:
        given = [
            address
            for round_ in range(2)
            for address in threads.map(
                lambda n, r=round_: site.add(f"c{n}-{r}", node=f"node-{n}"), range(row.nodes)
            )
        ]

    assert 2 * row.nodes == len(set(given))
    assert row.nodes == len(site.blocks()) == len(site.affinities())


@loads(DEEP)
def test_nodes_under_load_share_nothing_and_leave_only_empty_blocks(row, site):
    site.pool("pool-a", "10.0.0.0/16", 26)
    names = [[f"c{n}-{i}" for i in range(row.each)] for n in range(row.nodes)]

    given = at_once(
        *(
            lambda n=n, mine=mine: [site.add(name, node=f"node-{n}") for name in mine]
            for n, mine in enumerate(names)
        )
    )

    wanted = {
        address: f"net1.{name}"
        for mine, addresses in zip(names, given, strict=True)
        for name, address in zip(mine, addresses, strict=True)
    }
    assert row.nodes * row.each == len(wanted)
    assert wanted == site.assigned()
    assert dict.fromkeys(wanted.values(), 1) == site.counts()
    confirmed = {host: [*mine.values()] for host, mine in site.affinities().items()}
    assert {f"node-{n}": ["confirmed"] for n in range(row.nodes)} == confirmed
    assert () == site.findings()

    at_once(
        *(
            lambda n=n, mine=mine: [site.delete(name, node=f"node-{n}") for name in mine]
            for n, mine in enumerate(names)
        )
    )

    assert ({}, {}) == (site.assigned(), site.counts())
    assert row.nodes == len(site.blocks())
    assert confirmed.keys() == site.affinities().keys()
