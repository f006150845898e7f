"""Section 10: sequence numbers, which keep an old release from a new owner."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from poolmgr.core.request import ReleaseAffinities, Use
from poolmgr.errors import StaleReleaseError
from tests.behaviours.row import Row, each
from tests.support.site import at_once, texts

HANDLE = "node-a-ipip-tunnel-address"


@dataclass(frozen=True, slots=True)
class Repeated(Row):
    """
    A release after the same handle has got the same address again.

    Attributes:
        block_goes: Whether the block is made anew in between.
        now: Whether the release names the number of the second assignment.
    """

    block_goes: bool
    now: bool


REPEATED = (
    Repeated("SQ-01", block_goes=False, now=False),
    Repeated("SQ-03", block_goes=False, now=True),
    Repeated("SQ-04", block_goes=True, now=False),
    Repeated("SQ-05", block_goes=True, now=True),
)


@dataclass(frozen=True, slots=True)
class Mismatch(Row):
    """
    A release with number 10 of handle "teens", which holds .15 to .18.

    Attributes:
        released: What was assigned under that number and is released; () = all is refused.
    """

    by_handle: bool
    released: tuple[str, ...]


MISMATCHES = (
    Mismatch("SQ-07", by_handle=False, released=()),
    Mismatch("SQ-07", by_handle=True, released=("10.0.0.15", "10.0.0.16", "10.0.0.18")),
)
BEFORE, STEPS, BATCH = Row("SQ-06"), Row("SQ-09"), Row("SQ-09")

ROWS = (*REPEATED, *MISMATCHES, BEFORE, STEPS, BATCH)


@each(REPEATED)
def test_a_release_hits_only_the_assignment_whose_number_it_names(row, site):
    site.pool("pool-a", "10.0.0.0/24", 30)
    tunnel = {"handle": HANDLE, "use": Use.TUNNEL}

    for _ in range(10):
        (first,) = site.auto(**tunnel).allocations
        address = str(first.address)
        if row.block_goes:
            site.ipam().release_affinities(ReleaseAffinities(host="node-a"))
        site.release_handle(HANDLE)
        assert row.block_goes == (site.blocks() == {})
        (second,) = site.assign(address, **tunnel).allocations
        number = (second if row.now else first).sequence_number
        before = site.content()

        answer = site.release(address, handle=HANDLE, sequence_number=number)

        if row.now:
            assert ([address], (), ()) == (
                texts(answer.released),
                answer.unallocated,
                answer.errors,
            )
        else:
            assert ((), ()) == (answer.released, answer.unallocated)
            assert [StaleReleaseError] == [type(error) for error in answer.errors]
            assert before == site.content()
            site.release_handle(HANDLE)
        distance = second.sequence_number - first.sequence_number
        assert distance > 2 if row.block_goes else distance == 2


@each([BEFORE])
def test_an_assignment_has_the_number_of_the_block_before_it(row, site):
    site.pool("pool-a", "192.168.0.0/16", 26)
    site.seed("192.168.0.0/26", number=0)

    for n in range(3):
        site.assign(f"192.168.0.{n}", handle="h")

    block = site.blocks()["192.168.0.0/26"]
    numbers = {"0": 0, "1": 1, "2": 2}
    assert (3, numbers) == (block["sequenceNumber"], block["sequenceNumberForAllocation"])
    assert () == site.release("192.168.0.0", sequence_number=1).released
    assert 1 == len(site.release("192.168.0.0", sequence_number=0).released)


@each(MISMATCHES)
def test_a_stale_number_stops_a_release_by_address_and_is_passed_over_by_handle(row, site):
    cidr = "10.0.0.0/26"
    site.pool("pool-a", cidr, 26)
    numbers: Mapping[int, int] = {15: 10, 16: 10, 17: 999, 18: 10}
    taken = dict.fromkeys(numbers, 0)
    site.seed(cidr, [{"handle_id": "teens"}], taken, number=1000, numbers=numbers)
    before = site.content()

    if row.by_handle:
        answer = site.release_handle("teens", sequence_number=10)
    else:
        answer = site.release(*(f"10.0.0.{n}" for n in numbers), sequence_number=10)

    assert [*row.released] == texts(answer.released)
    assert row.by_handle == (answer.errors == ())
    assert 4 - len(row.released) == len(site.assigned()) == site.counts()["teens"]
    assert row.by_handle or before == site.content()


@each([STEPS])
def test_every_write_raises_the_number_by_one_and_free_addresses_have_none(row, site):
    cidr = "10.0.0.0/29"
    site.pool("pool-a", cidr, 29)
    site.seed(cidr, number=100)
    site.config(ipCooldownSeconds=30)
    library = site.ipam()

    def wait_and_assign() -> None:
        site.now_ns += 32_000_000_000
        site.assign("10.0.0.7", handle="late")

    steps = {
        lambda: site.auto(2, handle="h"): {"0": 100, "1": 100},
        lambda: site.assign("10.0.0.5", handle="i"): {"0": 100, "1": 100, "5": 101},
        # A release by address notes its own number, one by handle does not.
        lambda: site.release("10.0.0.0"): {"0": 102, "1": 100, "5": 101},
        lambda: site.release_handle("i"): {"0": 102, "1": 100, "5": 101},
        wait_and_assign: {"1": 100, "7": 104},
        lambda: library.release_affinities(ReleaseAffinities(host="node-a")): {
            "1": 100,
            "7": 104,
        },
    }

    for number, (step, numbers) in enumerate(steps.items(), start=101):
        step()
        block = site.blocks()[cidr]
        assert (number, numbers) == (
            block["sequenceNumber"],
            block["sequenceNumberForAllocation"],
        )


@pytest.mark.parametrize("threads", [1, 8])
@each([BATCH])
def test_requests_that_are_committed_together_raise_the_number_one_by_one(row, threads, site):
    cidr = "10.0.0.0/26"
    site.pool("pool-a", cidr, 26)
    site.seed(cidr, number=100)

    at_once(*(lambda n=n: site.add(f"c{n}") for n in range(threads)))

    block = site.blocks()[cidr]
    assert 100 + threads == block["sequenceNumber"]
    assert [*range(100, 100 + threads)] == sorted(block["sequenceNumberForAllocation"].values())
