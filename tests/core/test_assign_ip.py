"""Named addresses."""

import pytest

from poolmgr.cidr import parse_address
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.outcome import Assigned
from poolmgr.core.request import AssignIP
from poolmgr.errors import (
    AddressInUseError,
    AddressReservedError,
    NoMatchingPoolError,
    StrictAffinityError,
)
from tests.support.world import World, add, add_ip, claimed_elsewhere, delete


def world_of_pools() -> World:
    world = World().pool("p4", "10.20.0.0/24", blockSize=28).pool("p6", "fd20::/64")
    world.pool("off", "10.21.0.0/24", disabled=True)
    world.pool("manual", "10.22.0.0/24", assignmentMode="Manual")
    world.pool("tunnel", "10.23.0.0/24", allowedUses=["Tunnel"])
    world.pool("sel", "10.24.0.0/24", nodeSelector="rack == 'other'")
    return world.reserve("kept", "10.20.0.64/30")


@pytest.mark.parametrize("address", ["10.20.0.5", "10.22.0.5", "10.24.0.5", "fd20::5"])
def test_a_free_address_is_assigned_whatever_the_selectors_and_the_mode(address):
    assert [address] == world_of_pools().addresses(add_ip("c1", address))


def test_both_families_are_assigned_in_one_transaction():
    world = world_of_pools()

    assert ["10.20.0.5", "fd20::5"] == world.addresses(add_ip("c1", "fd20::5", "10.20.0.5"))
    assert 1 == world.commits


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        ("10.99.0.5", NoMatchingPoolError, "in no enabled pool"),
        ("10.21.0.5", NoMatchingPoolError, "off: disabled"),
        ("10.23.0.5", NoMatchingPoolError, "does not include Workload"),
        ("10.20.0.65", AddressReservedError, "IPReservation kept"),
    ],
)
def test_an_address_is_refused_with_its_reason(address, error, text):
    world = world_of_pools()

    refusal = world.refusal(add_ip("c1", address))

    assert isinstance(refusal, error)
    assert text in str(refusal)
    assert {} == world.blocks()


def test_force_overrides_a_reservation():
    assert ["10.20.0.65"] == world_of_pools().addresses(add_ip("c1", "10.20.0.65", force=True))


def test_an_address_of_somebody_else_is_refused_naming_the_owner():
    world = world_of_pools()
    world.ask(add_ip("c1", "10.20.0.5"))

    refusal = world.refusal(add_ip("c2", "10.20.0.5"))

    assert isinstance(refusal, AddressInUseError)
    assert ("10.20.0.5", "net1.c1") == (refusal.address, refusal.handle)


def test_naming_the_same_address_again_is_a_success_that_writes_nothing():
    world = world_of_pools()
    world.ask(add_ip("c1", "10.20.0.5"))

    assert ["10.20.0.5"] == world.addresses(add_ip("c1", "10.20.0.5"))
    assert not world.last.txn.puts


def test_naming_another_address_than_the_one_held_is_refused_naming_both():
    world = world_of_pools()
    world.ask(add_ip("c1", "10.20.0.5"))

    refusal = world.refusal(add_ip("c1", "10.20.0.6"))

    assert isinstance(refusal, AddressInUseError)
    assert "10.20.0.5" in str(refusal)
    assert "10.20.0.6" in str(refusal)


def test_an_address_in_another_hosts_block_is_borrowed_unless_affinity_is_strict():
    world = world_of_pools()
    claimed_elsewhere(world, "10.20.0.0/28", "node-b", full=False)

    assert ["10.20.0.6"] == world.addresses(add_ip("c1", "10.20.0.6"))

    world.configure(strict_affinity=True)
    assert isinstance(world.refusal(add_ip("c2", "10.20.0.7")), StrictAffinityError)


def test_all_addresses_or_none():
    world = world_of_pools()
    world.ask(add_ip("c1", "fd20::5"))

    world.refusal(add_ip("c2", "10.20.0.5", "fd20::5"))

    assert world.owner_of("10.20.0.5") is None


def test_a_cooling_address_is_refused_and_said_to_cool():
    world = world_of_pools().configure(ipCooldownSeconds=60)
    world.ask(add_ip("c1", "10.20.0.5"))
    world.ask(delete("c1"))

    assert "cooling" in str(world.refusal(add_ip("c2", "10.20.0.5")))


@pytest.mark.parametrize("address", ["10.20.0.0", "10.20.0.1", "10.20.0.255"])
def test_what_prefix_and_gateway_withhold_is_refused(address):
    link = LinkPolicy(main=MainPlugin.PTP)

    refusal = world_of_pools().refusal(add_ip("c1", address, link=link))

    assert isinstance(refusal, AddressReservedError)


def test_a_pool_that_the_main_plugin_cannot_use_is_refused_with_the_reason():
    link = LinkPolicy(main=MainPlugin.PTP, prefix_length={4: "host"})

    refusal = world_of_pools().refusal(add_ip("c1", "10.20.0.5", link=link))

    assert isinstance(refusal, NoMatchingPoolError)
    assert "/32" in str(refusal)


def test_a_bridge_that_carries_another_pools_gateway_refuses():
    link = LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)
    world = world_of_pools()
    world.ask(add_ip("c1", "10.20.0.5", link=link))

    refusal = world.refusal(add_ip("c2", "10.22.0.5", link=link))

    assert isinstance(refusal, NoMatchingPoolError)
    assert "takes one IPv4 gateway" in str(refusal)


def test_a_tunnel_address_needs_no_attachment_and_no_allowed_use():
    world = world_of_pools()
    wanted = (parse_address("10.23.0.5"),)

    outcome = world.ask(AssignIP(addresses=wanted, host="node-a", handle="t", use=None))

    assert isinstance(outcome, Assigned)


def test_a_first_claim_is_refused_while_a_pod_holds_the_gateway():
    world = world_of_pools()
    world.ask(add_ip("c1", "10.20.0.1", host="node-b"))
    link = LinkPolicy(main=MainPlugin.PTP)

    refusal = world.refusal(add_ip("c2", "10.20.0.100", link=link))

    assert isinstance(refusal, AddressInUseError)
    assert "gateway" in str(refusal)
    assert isinstance(
        world.refusal(add("c3", link=link, pools={4: ("p4",)})), AddressInUseError
    )
