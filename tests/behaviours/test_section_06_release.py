"""Section 6: releasing addresses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from poolmgr.cni.host import node_name
from poolmgr.core.request import (
    CollectCold,
    ReleaseAffinities,
    SetOwner,
)
from poolmgr.errors import PoolExhaustedError, StaleReleaseError
from tests.behaviours.row import Row, each
from tests.support.poolctl import manifest
from tests.support.site import assert_valid, block_key, texts

V4, V6 = "192.168.1.0/24", "fd80:24e2:f998:72d6::/120"


@dataclass(frozen=True, slots=True)
class Plain(Row):
    """
    A release that checks nothing.

    Attributes:
        given: Assigned before.
        unallocated: What the answer says was not assigned.
    """

    asked: str
    given: tuple[str, ...] = ()
    unallocated: tuple[str, ...] = ()


PLAIN = (
    Plain("RI-01", "1.1.1.1", unallocated=("1.1.1.1",)),
    Plain("RI-05", "192.168.1.0", given=("192.168.1.0",)),
    Plain("RI-06", "192.168.1.1", given=("192.168.1.0",), unallocated=("192.168.1.1",)),
)


@dataclass(frozen=True, slots=True)
class Guarded(Row):
    """A release that names what it believes: of 192.168.0.1, assigned under number 0."""

    refused: bool = False
    guards: Mapping[str, object] = field(default_factory=dict)


GUARDED = (
    Guarded("RI-10"),
    Guarded("RI-11", guards={"sequence_number": 0}),
    Guarded("RI-12", guards={"sequence_number": 1}, refused=True),
    Guarded("RI-13", guards={"handle": "fakehandle"}, refused=True),
)


@dataclass(frozen=True, slots=True)
class InBlock(Row):
    """
    A release in block 100.64.0.0/24.

    Attributes:
        taken: Ordinal -> handle; ordinals of one handle share an attribute.
        asked: Ordinal to release, with what is believed of it.
        freed: Handle -> ordinals released; None = refused.
        number: Of the block, and of the assignments in it.
    """

    taken: Mapping[int, str]
    asked: int
    guards: Mapping[str, object]
    freed: Mapping[str, tuple[int, ...]] | None
    number: int = 10


IN_BLOCK = (
    InBlock("RI-14", {13: "unlucky"}, 13, {"handle": "unlucky"}, {"unlucky": (13,)}),
    InBlock("RI-15", {13: "lucky", 26: "lucky", 39: "lucky"}, 13, {}, {"lucky": (13,)}),
    InBlock("RI-17", {}, 13, {"handle": "unlucky"}, {}),
    InBlock("RI-18", {100: "newstuff"}, 100, {"handle": "oldstuff"}, None),
    InBlock("RI-19", {13: "unlucky"}, 13, {"sequence_number": 999}, None),
)

NO_HOST, TOGETHER, TWICE, REUSED = map(Row, ("RI-03", "RI-04", "RI-07", "RI-08"))
SOUND, NOBODYS, CLEANUP = map(Row, ("RI-20", "RI-22", "RI-23"))

ROWS = (
    *(*PLAIN, *GUARDED, *IN_BLOCK),
    *(NO_HOST, TOGETHER, TWICE, REUSED, SOUND, NOBODYS, CLEANUP),
)


@each(PLAIN)
def test_releasing_what_is_not_assigned_is_said_and_no_error(row, site):
    site.pool("pool-a", V4, 26)
    site.pool("pool-b", V6, 122)
    for address in row.given:
        site.assign(address)

    answer = site.release(row.asked)

    assert (row.unallocated, ()) == (tuple(texts(answer.unallocated)), answer.errors)
    assert len(site.assigned()) == len(row.given) - len(answer.released)


@each([NO_HOST])
def test_who_names_no_node_is_the_host_and_may_release(row, site, program, tmp_path):
    site.pool("pool-a", V4, 26)
    node = node_name({}, default_file=tmp_path / "absent")
    site.add("c1", node=node, address="192.168.1.0")
    assert {f"host:{node}"} == set(site.owners().values())

    done = program("ipam", "release", "--yes", "--ip", "192.168.1.0")

    assert (0, {}) == (done.returncode, site.assigned())
    assert "192.168.1.0 released" in done.stdout


@pytest.mark.parametrize("calls", [1, 66])
@each([TOGETHER])
def test_addresses_of_two_blocks_are_released_at_once_and_singly(row, calls, site):
    site.pool("pool-a", V4, 26)
    held = site.addresses(66, handle="h")
    assert 2 == len(site.blocks())

    parts = [held] if calls == 1 else [[address] for address in held]
    answers = [site.release(*part) for part in parts]

    assert [((), ())] * calls == [(a.unallocated, a.errors) for a in answers]
    assert ({}, {}) == (site.assigned(), site.counts())


@each([TOGETHER])
def test_poolctl_releases_addresses_of_two_blocks(row, site, program):
    site.pool("pool-a", V4, 26)
    held = site.addresses(66, handle="h")

    done = program("ipam", "release", "--yes", *(f"--ip={address}" for address in held))

    assert (0, {}, {}) == (done.returncode, site.assigned(), site.counts())
    assert [] == [address for address in held if f"{address} released" not in done.stdout]


@pytest.fixture
def full(site):
    """A pool of one block with every address assigned."""
    site.pool("pool-a", "10.0.0.0/26", 26)
    assert 64 == len(site.addresses(64, handle="h"))
    return site


@each([TWICE])
def test_an_address_that_is_named_twice_is_released_once(row, full):
    answer = full.release("10.0.0.1", "10.0.0.1")

    assert (["10.0.0.1"], (), ()) == (
        texts(answer.released),
        answer.unallocated,
        answer.errors,
    )
    assert [1] == full.blocks()["10.0.0.0/26"]["unallocated"]


@each([REUSED])
def test_an_address_that_was_released_twice_is_there_once(row, full):
    full.release("10.0.0.1", "10.0.0.1")
    full.assign("10.0.0.1", handle="other")

    answer = full.auto(handle="h")

    assert () == answer.allocations
    assert PoolExhaustedError is type(answer.shortfall[4])
    assert "other" == full.assigned()["10.0.0.1"]


@each(GUARDED)
def test_a_release_is_refused_when_the_address_is_another_ones_by_now(row, site):
    site.pool("pool-a", "192.168.0.0/16", 26)
    site.seed("192.168.0.0/26", number=0)
    site.assign("192.168.0.1")
    before = site.content()

    answer = site.release("192.168.0.1", **row.guards)

    assert [StaleReleaseError] * row.refused == [type(error) for error in answer.errors]
    assert row.refused == bool(site.assigned())
    assert not row.refused or before == site.content()


@each(IN_BLOCK)
def test_a_release_takes_what_it_names_out_of_the_block_or_leaves_it_alone(row, site):
    cidr = "100.64.0.0/24"
    site.pool("pool-a", cidr, 24)
    names = sorted(set(row.taken.values()))
    allocated = {ordinal: names.index(handle) for ordinal, handle in row.taken.items()}
    attributes = [{"handle_id": name} for name in names]
    site.seed(cidr, attributes, allocated, number=row.number)
    before = site.content()

    answer = site.release(f"100.64.0.{row.asked}", **row.guards)

    freed = {n: handle for handle, ns in (row.freed or {}).items() for n in ns}
    left = {n: handle for n, handle in row.taken.items() if n not in freed}
    assert (row.freed is None) == bool(answer.errors)
    assert [f"100.64.0.{n}" for n in freed] == texts(answer.released)
    assert (row.freed == {}) == (texts(answer.unallocated) == [f"100.64.0.{row.asked}"])
    assert left == {int(a.rpartition(".")[2]): h for a, h in site.assigned().items()}
    assert {h: [*left.values()].count(h) for h in left.values()} == site.counts()
    assert freed or before == site.content()
    assert_valid(site.blocks()[cidr])


@each([SOUND])
def test_whatever_happens_to_a_block_it_is_valid(row, site):
    site.pool("pool-a", "10.0.0.0/24", 28)
    site.config(ipCooldownSeconds=30)
    (first, *_) = site.auto(5, handle="h").allocations
    second = str(first.address + 1)
    cidr = str(first.block)
    library = site.ipam()

    def wait() -> None:
        site.now_ns += 31_000_000_000

    steps = (
        lambda: site.release(second),
        lambda: site.add("c1"),
        lambda: library.set_owner(
            SetOwner(address=first.address, handle="h", active={"pod": "p"})
        ),
        wait,
        lambda: library.collect_cold(CollectCold(block=first.block)),
        lambda: site.assign(second, handle="again"),
        lambda: library.release_affinities(ReleaseAffinities(host="node-a")),
        lambda: site.release_handle("h"),
        wait,
        lambda: site.delete("c1"),
        lambda: site.addresses(16, host="node-b", handle="h"),
    )
    seen = {json_of(site, cidr)}
    for step in steps:
        step()
        assert_valid(site.blocks()[cidr])
        seen.add(json_of(site, cidr))

    assert len(steps) - 2 <= len(seen)


def json_of(site, cidr: str) -> bytes:
    return site.content()[block_key(cidr)]


@each([NOBODYS])
def test_a_block_that_lost_pool_and_host_goes_with_its_last_address(row, site, program):
    spec = {"cidr": "1.2.3.0/26", "blockSize": 26}
    program("create", "-f", "-", stdin=manifest("IPPool", "pool-a", spec))
    (address,) = site.addresses(handle="h")
    assert 0 == program("delete", "ippool", "pool-a").returncode
    assert {"1.2.3.0/26": None} == site.owners()

    done = program("ipam", "release", "--yes", "--ip", address)

    assert (0, {}) == (done.returncode, site.blocks())
    smaller = manifest("IPPool", "pool-b", {"cidr": "1.2.3.0/26", "blockSize": 28})
    assert 0 == program("create", "-f", "-", stdin=smaller).returncode


@each([CLEANUP])
def test_blocks_can_be_taken_from_their_host_before_their_addresses_go(row, site):
    for n, length in enumerate((24, 24, 27)):
        site.pool(f"pool-{n}", f"10.{n}.0.0/{length}", 26 if length < 26 else 28)
    held = [
        allocation
        for n in range(3)
        for allocation in site.auto(5, pools={4: (f"pool-{n}",)}).allocations
    ]
    library = site.ipam()

    errors = []
    for allocation in held:
        gone = ReleaseAffinities(cidr=allocation.block, host="node-a")
        errors += library.release_affinities(gone).errors
    answer = site.release(*texts(a.address for a in held))

    assert ([], ()) == (errors, answer.errors)
    assert 15 == len(answer.released)
    assert ({}, {}) == (site.blocks(), site.affinities())
