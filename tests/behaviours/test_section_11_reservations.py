"""Section 11: reservations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, HostReserved
from poolmgr.core.reservation import AddressSet
from poolmgr.errors import AddressReservedError
from tests.behaviours.row import Row, each
from tests.support.poolctl import manifest

RESERVED = {"r1": ["10.0.0.1/32", "10.0.0.32/30"], "r2": ["11.0.0.0/30", "10.0.0.17/32"]}


@dataclass(frozen=True, slots=True)
class Automatic(Row):
    """
    64 addresses are asked for in a pool of as many.

    Attributes:
        reservations: Name -> CIDRs.
        ends: Addresses that the host keeps at the ends of its blocks.
    """

    given: int
    reservations: Mapping[str, list[str]] = field(default_factory=dict)
    ends: tuple[int, int] = (0, 0)


AUTOMATIC = (
    Automatic("RS-01", 64),
    Automatic("RS-02", 58, RESERVED),
    Automatic("RS-03", 55, RESERVED, ends=(3, 1)),
)


@dataclass(frozen=True, slots=True)
class Entries(Row):
    """Entries as somebody wrote them, and the CIDRs that they mean."""

    entries: tuple[str, ...]
    means: list[str]


ENTRIES = (
    Entries("RS-06", (" 10.0.0.0/24 ",), ["10.0.0.0/24"]),
    Entries("RS-07", ("", "   ", "not-a-cidr", "10.0.0.0/33", "10.0.0.0/24"), ["10.0.0.0/24"]),
)


@dataclass(frozen=True, slots=True)
class Filter(Row):
    """CIDRs, and what is wholly inside or not wholly inside of their union."""

    cidrs: tuple[str, ...]
    inside: tuple[str, ...]
    outside: tuple[str, ...] = ()


FILTERS = (
    Filter(
        "RS-08",
        ("0.0.0.0/0",),
        (
            *("0.0.0.0", "255.255.255.255", "10.0.0.1"),
            *("0.0.0.0/0", "255.255.255.255/32", "10.0.0.0/8"),
        ),
        ("::", "::/0"),
    ),
    Filter(
        "RS-09",
        ("::/0",),
        ("::", "ffff::", "cafe:f00d::", "::/0", "ffff::/32", "cafe:f00d::/96"),
        ("10.0.0.1", "0.0.0.0/0"),
    ),
    Filter(
        "RS-10",
        ("192.168.1.64/26", "192.168.1.0/26"),
        (
            *("192.168.1.0", "192.168.1.63", "192.168.1.64", "192.168.1.127"),
            *("192.168.1.64/26", "192.168.1.0/26", "192.168.1.0/25"),
            *("192.168.1.64/27", "192.168.1.96/27"),
        ),
        (
            *("10.0.0.1", "0.0.0.0", "10.0.0.0/8", "0.0.0.0/32"),
            *("192.168.2.64/26", "192.168.1.0/24"),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Counts(Row):
    """Addresses of block 100.64.0.0/24 that are free and not reserved, and that are reserved."""

    taken: tuple[int, ...]
    reserved: tuple[str, ...]
    free: int
    withheld: int


COUNTS = (
    Counts("RS-12", (10, 20), (), free=254, withheld=0),
    Counts("RS-13", (10, 20, 210, 220), ("100.64.0.128/25",), free=126, withheld=128),
    Counts("RS-14", (10, 20, 210, 220), ("100.64.0.128/24",), free=0, withheld=256),
)


@dataclass(frozen=True, slots=True)
class Command(Row):
    """
    A call of poolctl where a reservation is stored.

    Attributes:
        says: What the output holds.
    """

    call: tuple[str, ...]
    cidrs: tuple[str, ...] = ("10.0.1.0/24", "11.0.0.1/32")
    ok: bool = True
    says: str = ""


MANY = tuple(f"10.{i >> 8}.{i % 256}.0/28" for i in range(10_000))
GET = ("get", "ipreservation")
COMMANDS = (
    Command("RS-16", GET, says="res-1"),
    Command("RS-16", (*GET, "-o", "wide"), says="res-1"),
    Command("RS-16", (*GET, "res-1", "--namespace", "default", "-o", "yaml"), ok=False),
    Command("RS-16", (*GET, "--all-namespaces"), ok=False),
    Command("RS-17", (*GET, "-o", "wide"), says="10.0.1.0/24,11.0.0.1/32\n"),
    Command(
        "RS-18",
        (*GET, "-o", "wide"),
        MANY,
        says="10.0.0.0/28,10.0.1.0/28,10.0.2.0/28,10.0.3.0/28,10.0.4.0/28,10.0.5.0/28,10.0....\n",
    ),
)


@dataclass(frozen=True, slots=True)
class Manifest(Row):
    """Entries that `poolctl create` accepts or refuses; an address must be written as a CIDR."""

    cidrs: tuple[str, ...]
    ok: bool


MANIFESTS = (
    Manifest("RS-15", ("10.0.0.1/32",), ok=True),
    Manifest("RS-15", ("10.0.1.0/24",), ok=True),
    Manifest("RS-15", ("10.0.1.0/24", "192.168.0.34/32"), ok=True),
    Manifest("RS-15", ("10.0.0.1/32", "cafe::1/128", "cafe:f00d::/96"), ok=True),
    Manifest("RS-15", ("garbage",), ok=False),
    Manifest("RS-15", ("10.0.1.0/33",), ok=False),
    Manifest("RS-15", ("10.0.0.1",), ok=False),
)

SKIPPED, NAMED = Row("RS-04"), Row("RS-20")

ROWS = (
    *(*AUTOMATIC, *ENTRIES, *FILTERS, *COUNTS, *COMMANDS, *MANIFESTS),
    *(SKIPPED, NAMED),
)


@each(AUTOMATIC)
def test_reserved_addresses_are_not_given_away(row, site):
    site.pool("pool-a", "10.0.0.0/26", 26)
    for name, cidrs in row.reservations.items():
        site.reserve(name, cidrs)
    first, last = row.ends
    ends = HostReserved(first=first, last=last, handle=WINDOWS_RESERVED_HANDLE)

    given = site.addresses(64, handle="h", reserved={4: ends})

    kept = AddressSet.of(cidr for cidrs in row.reservations.values() for cidr in cidrs)
    assert row.given == len(set(given)) == site.counts()["h"]
    assert [] == [address for address in given if parse_address(address) in kept]


@each([SKIPPED])
def test_a_block_that_is_wholly_reserved_is_not_claimed(row, site):
    site.pool("pool-a", "10.0.0.0/25", 26)
    site.reserve("halves", ["10.0.0.0/27", "10.0.0.32/27"])

    given = {host: site.addresses(host=host, handle=host) for host in ("node-a", "node-b")}

    assert {"10.0.0.64/26"} == site.blocks().keys()
    assert {"node-a", "node-b"} == set(site.assigned().values())
    assert 2 == len({address for each_ in given.values() for address in each_})


@each(ENTRIES)
def test_entries_that_mean_nothing_are_skipped_and_stop_no_allocation(row, site):
    site.pool("pool-a", "10.0.0.0/23", 24)
    site.reserve("r1", row.entries)

    (address,) = site.addresses(handle="h")

    assert row.means == AddressSet.of(row.entries).cidrs()
    assert address.startswith("10.0.1.")


@each(FILTERS)
def test_what_lies_wholly_in_the_union_is_reserved(row):
    union = AddressSet.of(row.cidrs)

    def covers(text: str) -> bool:
        return (
            union.covers(parse_network(text)) if "/" in text else parse_address(text) in union
        )

    assert [*row.inside] == [text for text in (*row.inside, *row.outside) if covers(text)]


@each(COUNTS)
def test_reserved_addresses_are_counted_whether_in_use_or_not(row, site, program):
    site.pool("pool-a", "100.64.0.0/16", 24)
    site.reserve("r1", row.reserved)
    site.seed("100.64.0.0/24", [{"handle_id": "h"}], dict.fromkeys(row.taken, 0))

    result = program("ipam", "show", "--show-blocks")

    (line,) = (line for line in result.stdout.splitlines() if "100.64.0.0/24" in line)
    cells = [cell.split() for cell in line.strip("|").split("|")]
    counts = [int(cell[0]) for cell in cells[2:]]
    assert [256, len(row.taken), row.withheld, row.free] == counts


@each(COMMANDS)
def test_reservations_are_listed_without_namespaces_and_not_at_any_length(row, site, program):
    site.reserve("res-1", row.cidrs)

    result = program(*row.call)

    assert row.ok == (result.returncode == 0)
    assert row.says in result.stdout


@each(MANIFESTS)
def test_reservations_have_cidrs(row, program, raw):
    spec = {"reservedCIDRs": [*row.cidrs]}

    result = program("create", "-f", "-", stdin=manifest("IPReservation", "r", spec))

    assert row.ok == (result.returncode == 0)
    assert row.ok == any("ipreservations" in key for key in raw.dump())
    assert row.ok or "spec.reservedCIDRs" in result.stderr


@each([NAMED])
def test_a_reserved_address_is_given_by_name_only_if_forced(row, site):
    site.pool("pool-a", "10.0.0.0/26", 26)
    site.add("before", address="10.0.0.7")
    site.reserve("r1", ["10.0.0.4/30"])

    with pytest.raises(AddressReservedError):
        site.add("c1", address="10.0.0.5")
    with pytest.raises(AddressReservedError):
        site.assign("10.0.0.5", handle="h")
    assert {"10.0.0.7": "net1.before"} == site.assigned()

    site.assign("10.0.0.5", handle="h", force=True)
    assert "10.0.0.7" == site.add("before")
    assert {"10.0.0.5": "h", "10.0.0.7": "net1.before"} == site.assigned()
