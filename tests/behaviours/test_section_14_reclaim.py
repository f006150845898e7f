"""Section 14: empty blocks change hands."""

from dataclasses import dataclass

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.block import rfc3339
from poolmgr.core.request import AutoAssign, ReleaseAffinities
from poolmgr.errors import PoolExhaustedError
from tests.behaviours.row import Row, each
from tests.support.site import Meddled, Site, at_once, block_key

BLOCK = "10.0.0.0/26"
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Wanted(Row):
    """
    host-b asks while host-a has the only block.

    Attributes:
        empty: Whether host-a has released its address.
        older_s: Seconds by which the claim is made older.
        given: Addresses that host-b gets.
    """

    empty: bool
    older_s: int
    given: int


WANTED = (
    Wanted("ER-01", empty=False, older_s=0, given=0),
    Wanted("ER-01", empty=False, older_s=3600, given=0),
    Wanted("ER-02", empty=True, older_s=0, given=0),
    Wanted("ER-03", empty=True, older_s=61, given=1),
)

FAILS, RACE, ORDER = map(Row, ("ER-04", "ER-06", "ER-07"))
ROWS = (*WANTED, FAILS, RACE, ORDER)


@pytest.fixture
def strict(site: Site) -> Site:
    """host-a has the only block of a pool, and one address of it."""
    site.config(strict_affinity=True)
    site.pool("pool-a", BLOCK, 26)
    site.auto(host="host-a", handle="a")
    return site


def make_older(site: Site, seconds: int, cidr: str = BLOCK) -> None:
    """Set the time back at which a block was claimed, as nobody but a test does."""
    block = site.blocks()[cidr]
    claimed_at = rfc3339(site.now_ns - seconds * SECOND_NS)
    site.put(block_key(cidr), {**block, "affinity_claim_time": claimed_at})


def asked(host: str) -> AutoAssign:
    return AutoAssign(host=host, handle=host, count={4: 1})


@each(WANTED)
@pytest.mark.parametrize("by", ["library", "CNI"])
def test_an_empty_block_is_taken_over_once_it_is_old_enough(row, by, strict):
    if row.empty:
        strict.release_handle("a")
    make_older(strict, row.older_s)

    if by == "library":
        answer = strict.auto(host="host-b", handle="b")
        given, short = len(answer.allocations), list(map(type, answer.shortfall.values()))
    else:
        try:
            given, short = len([strict.add("b", node="host-b")]), []
        except PoolExhaustedError as error:
            given, short = 0, [type(error)]

    assert row.given == given
    assert [PoolExhaustedError] * (1 - row.given) == short
    assert {"host-b" if row.given else "host-a": {BLOCK: "confirmed"}} == strict.affinities()


@each([FAILS])
def test_a_block_that_cannot_be_taken_over_is_left_as_it_is(row, strict):
    strict.release_handle("a")
    make_older(strict, 61)
    meddled = Meddled(strict.store, lambda: strict.auto(host="host-a", handle="a"))

    answer = strict.ipam(meddled).auto_assign(asked("host-b"))

    assert ((), [4]) == (answer.allocations, list(answer.shortfall))
    assert {"host-a": {BLOCK: "confirmed"}} == strict.affinities()
    assert ["a"] == list(strict.assigned().values())


@each([RACE])
def test_of_two_hosts_that_take_a_block_over_one_gets_it(row, strict):
    strict.release_handle("a")
    make_older(strict, 61)
    both = [strict.ipam(), strict.ipam()]

    answers = at_once(
        *(
            lambda ipam=ipam, host=host: ipam.auto_assign(asked(host))
            for ipam, host in zip(both, ("host-b", "host-c"), strict=True)
        )
    )

    ((winner, _),) = strict.affinities().items()
    assert [0, 1] == sorted(len(answer.allocations) for answer in answers)
    assert [winner] == list(strict.assigned().values())


@each([RACE])
def test_a_host_that_was_overtaken_gets_nothing(row, strict):
    strict.release_handle("a")
    make_older(strict, 61)
    meddled = Meddled(strict.store, lambda: strict.ipam().auto_assign(asked("host-c")))

    answer = strict.ipam(meddled).auto_assign(asked("host-b"))

    assert () == answer.allocations
    assert ["host-c"] == list(strict.affinities())


@each([RACE])
def test_a_block_that_was_just_made_anew_is_not_taken_over(row, strict):
    strict.release_handle("a")
    make_older(strict, 61)

    def make_anew() -> None:
        ipam = strict.ipam()
        ipam.release_affinities(ReleaseAffinities(host="host-a"))
        strict.auto(host="host-a", handle="a")
        strict.release_handle("a")

    answer = strict.ipam(Meddled(strict.store, make_anew)).auto_assign(asked("host-b"))

    assert () == answer.allocations
    assert ["host-a"] == list(strict.affinities())


@each([ORDER])
@pytest.mark.parametrize("by", ["library", "CNI"])
def test_own_blocks_come_first_then_new_ones_then_old_ones_then_borrowing(row, by, site):
    site.pool("pool-a", "10.0.0.0/28", 30)
    used, empty = "10.0.0.4/30", "10.0.0.8/30"
    site.seed(used, [{"handle_id": "a"}], {0: 0}, host="host-a")
    site.seed(empty, host="host-a")
    make_older(site, 61, empty)
    (own,) = site.addresses(host="host-b", handle="b")
    mine = around(own)
    free = ({"10.0.0.0/30", "10.0.0.12/30"} - {mine}).pop()

    given = [
        site.add(f"c{n}", node="host-b") if by == "CNI" else site.addresses(host="host-b")[0]
        for n in range(3 + 4 + 4 + 3)
    ]

    assert [mine] * 3 + [free] * 4 + [empty] * 4 + [used] * 3 == [
        around(address) for address in given
    ]
    assert {"host-a": {used}, "host-b": {mine, free, empty}} == {
        host: set(blocks) for host, blocks in site.affinities().items()
    }


def around(address: str) -> str:
    return str(parse_network(f"{address}/30", strict=False))
