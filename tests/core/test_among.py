"""The first free of the addresses that a request allows."""

import pytest

from poolmgr.cidr import parse_address
from poolmgr.core import among
from poolmgr.core.request import Sticky
from poolmgr.errors import NoMatchingPoolError, PoolExhaustedError
from tests.support.world import World, add, claimed_elsewhere, delete


@pytest.fixture
def world():
    return World().pool("p4", "10.0.0.0/24", blockSize=28).pool("p6", "fd00::/120")


def asking(container: str, *ranges: str, host: str = "node-a", **more):
    """An ADD with candidates, written "first-last" or "address"."""
    wanted: dict[int, list] = {}
    for text in ranges:
        first, _, last = text.partition("-")
        ends = parse_address(first), parse_address(last or first)
        wanted.setdefault(ends[0].version, []).append(ends)
    allowed = {family: tuple(found) for family, found in wanted.items()}
    return add(container, host, families=sorted(allowed), among=allowed, **more)


def test_the_first_free_one_is_given_in_the_order_they_are_named(world):
    wanted = ("10.0.0.9", "10.0.0.2-10.0.0.3")

    given = [world.addresses(asking(f"c{n}", *wanted)) for n in range(3)]

    assert [["10.0.0.9"], ["10.0.0.2"], ["10.0.0.3"]] == given
    assert () == world.findings()


def test_when_all_are_taken_the_request_is_refused_and_names_them(world):
    world.addresses(asking("c1", "10.0.0.9"))

    refused = world.refusal(asking("c2", "10.0.0.9"))

    assert isinstance(refused, PoolExhaustedError)
    assert "10.0.0.9" in str(refused)


def test_both_families_or_neither(world):
    assert ["10.0.0.9", "fd00::9"] == world.addresses(asking("c1", "10.0.0.9", "fd00::9"))

    world.refusal(asking("c2", "10.0.0.10", "fd00::9"))

    assert None is world.owner_of("10.0.0.10")


def test_a_range_over_many_blocks_is_read_in_steps(world, monkeypatch):
    monkeypatch.setattr(among, "TOGETHER", 2)
    for n in range(0, 240, 16):
        claimed_elsewhere(world, f"10.0.0.{n}/28", "node-b")

    assert ["10.0.0.240"] == world.addresses(asking("c1", "10.0.0.3-10.0.0.255"))
    assert () == world.findings()


def test_reserved_ones_are_passed_over(world):
    world.reserve("r", "10.0.0.4/31")

    assert ["10.0.0.6"] == world.addresses(asking("c1", "10.0.0.4-10.0.0.6"))


def test_one_that_no_enabled_pool_has_refuses_the_request(world):
    for wanted in ("10.9.9.9", "10.0.0.255-10.0.1.3"):
        claimed_elsewhere(World(), "10.0.0.240/28", "node-b")
        refused = world.refusal(asking("c1", "10.9.9.9", wanted))
        assert isinstance(refused, NoMatchingPoolError)


def test_under_strict_affinity_blocks_of_others_are_passed_over(world):
    world.configure(strict_affinity=True)
    claimed_elsewhere(world, "10.0.0.0/28", "node-b", full=False)

    assert ["10.0.0.16"] == world.addresses(asking("c1", "10.0.0.14-10.0.0.17"))


def test_asking_again_gives_the_same(world):
    first = world.addresses(asking("c1", "10.0.0.4-10.0.0.6"))

    assert first == world.addresses(asking("c1", "10.0.0.4-10.0.0.6"))
    world.ask(delete("c1"))
    assert first == world.addresses(asking("c2", "10.0.0.4-10.0.0.6"))


def test_the_gateway_is_no_candidate():
    world = World().pool(
        "p4",
        "10.0.0.0/24",
        annotations={
            "ipam.poolmgr.io/gateway": "10.0.0.1",
            "ipam.poolmgr.io/prefix-length": "pool",
        },
    )

    assert ["10.0.0.2"] == world.addresses(asking("c1", "10.0.0.1-10.0.0.3"))
    assert isinstance(world.refusal(asking("c2", "10.0.0.1")), PoolExhaustedError)


def test_a_sticky_address_whose_retention_is_over_is_free(world):
    owner = Sticky(namespace="ns", identity="web-0", retention_s=10)
    world.addresses(asking("c1", "10.0.0.9", sticky=owner))
    world.ask(delete("c1"))
    world.now_ns += 11 * 1_000_000_000

    assert ["10.0.0.9"] == world.addresses(asking("c2", "10.0.0.9"))
    assert () == world.findings()


def test_a_huge_reserved_range_is_refused_without_looking_at_all_of_it():
    world = World().pool("p6", "fd00::/64").reserve("r", "fd00::/64")

    assert isinstance(
        world.refusal(asking("c1", "fd00::-fd00::ffff:ffff:ffff:ffff")), PoolExhaustedError
    )
