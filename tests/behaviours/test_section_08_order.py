"""Section 8: in which order addresses, blocks and pools are used."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, HostReserved
from poolmgr.core.request import EnsureBlock
from tests.behaviours.row import Row, each
from tests.support.site import Site, texts

CIDR = "10.0.0.0/26"


def by_handle(site: Site) -> None:
    site.release_handle("gone")


def by_address(site: Site) -> None:
    gone = [address for address, handle in site.assigned().items() if handle == "gone"]
    site.release(*reversed(gone))


@dataclass(frozen=True, slots=True)
class Tail(Row):
    """
    A release, and the end of the block's free list after it.

    Attributes:
        gone: Ordinals that are released in one call; others stay.
        tail: Ordinals at the end of the free list.
    """

    gone: tuple[int, ...]
    release: Callable[[Site], None]
    tail: tuple[int, ...]


TAILS = (
    Tail("FO-02", (15,), by_handle, (15,)),
    Tail("FO-02", (15, 25, 35), by_handle, (15, 25, 35)),
    Tail("FO-02", (15,), by_address, (15,)),
    Tail("FO-09", (35, 15, 25), by_address, (15, 25, 35)),
    Tail("FO-09", (35, 15, 25), by_handle, (15, 25, 35)),
)
ROUND, ENDS, BLOCKS, POOLS, FIRST = map(Row, ("FO-01", "FO-04", "FO-05", "FO-06", "FO-07"))

ROWS = (*TAILS, ROUND, ENDS, BLOCKS, POOLS, FIRST)


@each(TAILS)
def test_released_addresses_queue_up_ascending_behind_the_others(row, site):
    site.pool("pool-a", CIDR, 26)
    taken = {1: 0, 40: 0, **dict.fromkeys(row.gone, 1)}
    site.seed(CIDR, [{"handle_id": "stays"}, {"handle_id": "gone"}], taken)

    row.release(site)

    free = site.blocks()[CIDR]["unallocated"]
    others = [n for n in range(64) if n not in taken]
    assert [*others, *row.tail] == free


@each([ROUND])
def test_an_address_comes_again_when_the_others_had_their_turn(row, site):
    site.pool("pool-a", "10.0.0.0/24", 30)

    given = []
    for n in range(5):
        given.append(site.add(f"c{n}"))
        site.delete(f"c{n}")

    assert 4 == len(set(given[:4]))
    assert given[0] == given[4]


@each([ENDS])
def test_what_a_host_reserves_in_its_blocks_is_not_in_the_free_list(row, site):
    site.pool("pool-a", "10.0.0.0/30", 30)
    reserved = {4: HostReserved(first=2, last=1, handle=WINDOWS_RESERVED_HANDLE)}

    site.ipam().ensure_block(EnsureBlock(host="node-a", reserved=reserved))

    assert [2] == site.blocks()["10.0.0.0/30"]["unallocated"]
    assert ["10.0.0.2"] == site.addresses(reserved=reserved)


@each([BLOCKS])
def test_a_host_uses_its_blocks_in_the_order_of_their_keys_before_it_claims_another(row, site):
    site.pool("pool-a", "10.0.0.0/26", 30)
    keys = ["10.0.0.12/30", "10.0.0.4/30", "10.0.0.8/30"]
    for cidr in reversed(keys):
        site.seed(cidr, number=1)

    given = site.addresses(13)

    wanted = [f"10.0.0.{first + n}" for first in (12, 4, 8) for n in range(4)]
    assert wanted == given[:12]
    assert 4 == len(site.blocks())


@pytest.mark.parametrize(
    ("pools", "order"),
    [
        ((), ["10.1.0", "10.2.0", "10.3.0"]),
        (("pool-3", "pool-1"), ["10.3.0", "10.1.0"]),
        (("10.2.0.0/30", "pool-1"), ["10.2.0", "10.1.0"]),
    ],
)
@each([POOLS])
def test_pools_are_used_in_the_order_asked_for_or_by_name(row, pools, order, site):
    for n in (2, 3, 1):
        site.pool(f"pool-{n}", f"10.{n}.0.0/30", 30)

    given = [
        site.add(f"c{n}", pools={4: pools} if pools else {}) for n in range(4 * len(order))
    ]

    assert [net for net in order for _ in range(4)] == [a.rpartition(".")[0] for a in given]


@each([FIRST])
def test_a_fresh_block_is_used_from_its_beginning(row, site, program):
    site.pool("pool-a", "10.0.0.0/24", 26)

    given = texts(a.address for a in site.auto(5, handle="h").allocations)

    (cidr,) = site.blocks()
    net, _, base = cidr.partition("/")[0].rpartition(".")
    assert [f"{net}.{int(base) + n}" for n in range(5)] == given
    shown = program("ipam", "show", "--ip", f"{net}.{int(base) + 2}").stdout
    assert shown.startswith(f"IP {net}.{int(base) + 2} is in use\nHandle ID: h\n")
