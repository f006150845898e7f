"""Section 12: addresses that a host keeps at both ends of its blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import ordinal_of, parse_address, parse_network
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, HostReserved
from poolmgr.core.flaws import Flaw
from poolmgr.core.request import AutoAssign, EnsureBlock, ReleaseAffinities, Use
from poolmgr.errors import NoMatchingPoolError, PoolExhaustedError
from tests.behaviours.row import Row, each
from tests.support.site import texts

WINDOWS = HostReserved(
    first=3, last=1, handle=WINDOWS_RESERVED_HANDLE, note="windows host rsvd"
)
TEST = HostReserved(first=2, last=1, handle="test-handle", note="ipam ut")
TOO_MANY = HostReserved(first=32, last=33, handle=WINDOWS_RESERVED_HANDLE)
V4, V6 = "100.0.0.0/24", "fd80:24e2:f998:72d6::/120"
EDGES = {0, 1, 2, 63}


@dataclass(frozen=True, slots=True)
class Many(Row):
    """
    Addresses asked for in pools of four blocks, under StrictAffinity.

    Attributes:
        asked: Family -> addresses wanted.
        given: Family -> addresses given; the rest is missing for want of own blocks.
    """

    asked: Mapping[int, int]
    given: Mapping[int, int]
    reserved: HostReserved = field(default=WINDOWS)


MANY = (
    Many("HR-07", {4: 256}, {4: 240}),
    Many("HR-11", {4: 256, 6: 256}, {4: 240, 6: 240}),
    Many("HR-12", {4: 257}, {4: 240}),
    Many("HR-12", {4: 0, 6: 257}, {6: 240}),
    Many("HR-14", {4: 240}, {4: 240}),
)


@dataclass(frozen=True, slots=True)
class TooSmall(Row):
    """A family whose blocks are smaller than what the host keeps."""

    family: int


TOO_SMALL = (TooSmall("HR-13", 4), TooSmall("HR-13", 6))
NEW, ONE, EMPTY, IN_USE = map(Row, ("HR-01", "HR-02", "HR-03", "HR-05"))
OTHERS, ANY_POOL = map(Row, ("HR-08", "HR-09"))

ROWS = (NEW, ONE, EMPTY, IN_USE, OTHERS, ANY_POOL, *MANY, *TOO_SMALL)


def at_edges(addresses) -> list[str]:
    """Return those of the addresses that a Windows host keeps in blocks of 64."""
    return [str(a) for a in addresses if int(a) % 64 in EDGES]


@each([NEW])
def test_what_a_host_keeps_is_stored_with_the_new_block(row, site):
    site.left = {Flaw.HANDLE_TOO_LOW}  # of Windows' handle alone the audit knows
    site.pool("pool-a", "10.0.0.0/30", 30)

    site.ipam().ensure_block(EnsureBlock(host="node-a", reserved={4: TEST}))

    block = site.blocks()["10.0.0.0/30"]
    assert ([0, 0, None, 0], [2]) == (block["allocations"], block["unallocated"])
    assert [{"handle_id": "test-handle", "secondary": {"note": "ipam ut"}}] == (
        block["attributes"]
    )
    assert {} == block["sequenceNumberForAllocation"]
    assert set() == site.handles()


@each([ONE])
def test_the_address_between_is_assigned(row, site):
    site.left = {Flaw.HANDLE_TOO_LOW}  # of Windows' handle alone the audit knows
    site.pool("pool-a", "10.0.0.0/30", 30)

    (given,) = site.auto(use=Use.TUNNEL, reserved={4: TEST}).allocations

    assert ("10.0.0.2", "10.0.0.0/30") == (str(given.address), str(given.block))
    assert 32 == given.link.prefix_length  # D 5: not the block's


@each([EMPTY])
def test_a_block_in_which_only_windows_keeps_addresses_is_empty(row, site):
    site.pool("pool-a", "100.64.0.0/16", 24)
    site.seed("100.64.0.0/24", [{"handle_id": WINDOWS_RESERVED_HANDLE}], {255: 0})
    site.raw.delete(f"/calico/ipam/v2/handle/{WINDOWS_RESERVED_HANDLE}")  # nobody counts it

    asked = ReleaseAffinities(host="node-a", only_empty=True)
    answer = site.ipam().release_affinities(asked)

    assert (1, ()) == (answer.blocks, answer.errors)
    assert {} == site.blocks()


@each([IN_USE])
def test_what_is_in_use_is_what_was_assigned(row, site):
    site.pool("pool-a", "100.64.0.0/16", 24)
    site.ipam().ensure_block(
        EnsureBlock(host="node-a", reserved={4: HostReserved(first=0, last=0, handle="")})
    )
    before = site.assigned()

    site.assign("100.64.0.10", handle="h")
    site.assign("100.64.0.20", handle="h")

    assert {} == before
    assert ["100.64.0.10", "100.64.0.20"] == list(site.assigned())


@each(MANY)
def test_no_address_is_assigned_that_the_host_keeps(row, site):
    site.config(strict_affinity=True)
    site.pool("pool-a", V4, 26)
    site.pool("pool-b", V6, 122)
    request = AutoAssign(
        host="node-a",
        handle="h",
        count=row.asked,
        reserved={4: row.reserved, 6: row.reserved},
    )

    answer = site.ipam().auto_assign(request)

    given = [allocation.address for allocation in answer.allocations]
    assert row.given == {
        family: sum(address.version == family for address in given) for family in row.given
    }
    assert [] == at_edges(given)
    short = {family for family, count in row.asked.items() if count > row.given.get(family, 0)}
    assert short == set(answer.shortfall)
    for error in answer.shortfall.values():
        assert isinstance(error, PoolExhaustedError)
        assert "strict affinity forbids borrowing" in str(error)


@each([OTHERS])
def test_blocks_of_other_hosts_are_left_alone(row, site):
    site.config(strict_affinity=True)
    site.pool("pool-a", V4, 26)
    hosts = ["windows-1", "windows-2", "linux-1", "linux-2"]
    for host in hosts:
        site.auto(host=host, handle="h", reserved={4: WINDOWS})

    given = [site.addresses(100, host=h, handle="h", reserved={4: WINDOWS}) for h in hosts[:3]]

    assert [59, 59, 59] == [len(addresses) for addresses in given]
    assert 4 == len(site.blocks())


@each([ANY_POOL])
def test_the_ends_are_kept_in_whatever_pool_the_block_lies(row, site):
    site.config(strict_affinity=True)
    site.pool("pool-a", "100.0.0.0/24", 26)
    site.pool("pool-b", "200.0.0.0/24", 26)

    given = [
        site.addresses(handle="h", reserved={4: WINDOWS}, pools={4: (name,)})[0]
        for name in ("pool-a", "pool-b")
    ]

    assert [] == at_edges(map(parse_address, given))
    for cidr, block in site.blocks().items():
        kept = {n for n in range(64) if block["allocations"][n] == 0}
        ordinals = {
            ordinal_of(parse_network(cidr), parse_address(address))
            for address in given
            if parse_address(address) in parse_network(cidr)
        }
        assert EDGES == kept
        assert WINDOWS_RESERVED_HANDLE == block["attributes"][0]["handle_id"]
        assert 1 == len(ordinals - kept)


@each(TOO_SMALL)
def test_a_pool_whose_blocks_are_too_small_does_not_serve(row, site):
    site.pool("pool-a", V4, 26)
    site.pool("pool-b", V6, 122)

    with pytest.raises(NoMatchingPoolError) as caught:
        site.auto(family=row.family, handle="h", reserved={row.family: TOO_MANY})

    pool = {4: "pool-a", 6: "pool-b"}[row.family]
    assert "keeps 65 addresses of each block" in caught.value.reasons[pool]
    assert [] == texts(site.blocks())
