"""What `poolctl ipam show --ip` tells of an address."""

import json
from dataclasses import replace

import pytest

from poolctl.report import REFUSED
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.request import AssignIP, ReleaseByHandle
from poolmgr.ipam import IPAM
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import pool, put
from tests.support.world import NOON_NS, stored_resource


def test_the_holder_of_an_address_is_told(poolctl, store):
    poolctl("apply", "-f", "-", stdin=pool())
    assigned = IPAM(store).assign_ip(
        AssignIP(
            addresses=(parse_address("10.10.0.7"),),
            host="node-a",
            handle="net1.c1",
            attributes={"node": "node-a", "note": "reserved"},
        )
    )
    number = assigned.allocations[0].sequence_number

    result = poolctl("ipam", "show", "--ip", "10.10.0.7")

    assert result.exit_code == 0
    assert [
        "IP 10.10.0.7 is in use",
        "Handle ID: net1.c1",
        "Block: 10.10.0.0/26, of host:node-a",
        "Pool: pool-a, 10.10.0.0/16",
        f"Sequence number: {number}",
        "Attributes:",
        "  node: node-a",
        "  note: reserved",
    ] == result.stdout.splitlines()


def test_the_block_knows_although_the_pool_is_gone(at_memory, memory):
    block, _ = auto_assign(
        new_block(parse_network("fd00::/122"), "host:n", NOON_NS), 1, Attribute()
    )
    block = replace(block, affinity=None, sequence_numbers={})
    put(memory, stored_block(replace(block, attributes=(Attribute(alternate={"pod": "p"}),))))

    assert [
        "IP fd00:: is in use",
        "Handle ID: <none>",
        "Block: fd00::/122, of no host",
        "Pool: <none>",
        "Sequence number: <none>",
        "Attributes: <none>",
        "Alternate attributes:",
        "  pod: p",
    ] == at_memory("ipam", "show", "--ip", "FD00:0::").stdout.splitlines()


def test_an_address_is_told_although_a_pool_does_not_decode(at_memory, memory):
    block, _ = auto_assign(
        new_block(parse_network("10.0.0.0/26"), "host:n", NOON_NS), 1, Attribute(handle="h")
    )
    broken = records.resource_key("ippools", "broken")
    put(memory, {**stored_block(block), broken: b"junk"})

    result = at_memory("ipam", "show", "--ip", "10.0.0.0")

    assert result.exit_code == REFUSED
    assert "Handle ID: h\n" in result.stdout
    assert f"stored value of {broken} is not usable" in result.stderr


def test_what_a_handle_or_attribute_says_cannot_steer_the_terminal(program, raw, etcd_endpoint):
    owner = Attribute(handle="h\x1b[2J", secondary={"pod\n": "p\x9b", "note": "a\rb"})
    block, _ = auto_assign(
        new_block(parse_network("10.0.0.0/26"), "host:n\x07", NOON_NS), 1, owner
    )
    for key, value in stored_block(block).items():
        raw.put(key, value)

    result = program("ipam", "show", "--ip", "10.0.0.0", ETCD_ENDPOINTS=etcd_endpoint)

    assert result.returncode == 0
    assert "Handle ID: h\\x1b[2J\n" in result.stdout
    assert "  pod\\n: p\\x9b\n" in result.stdout
    assert "  note: a\\rb\n" in result.stdout
    assert all(char.isprintable() for char in result.stdout.replace("\n", ""))


def test_an_address_without_holder_is_not_assigned(at_memory, memory):
    stored_pool = [stored_resource("ippools", "IPPool", "pool-a", {"cidr": "10.0.0.0/24"})]
    put(memory, {**dict(stored_pool), **stored_block(block_of("10.0.0.0/26", "h"))})

    for address in ("10.0.0.5", "10.0.0.77", "192.0.2.1", "fd00::1"):
        assert (
            f"IP {address} is not assigned\n"
            == at_memory("ipam", "show", "--ip", address).stdout
        )


def test_an_address_that_cools_down_is_not_assigned_yet(at_memory, memory):
    put(memory, {records.CONFIG_KEY: b'{"auto_allocate_blocks":true,"ipCooldownSeconds":3600}'})
    at_memory("apply", "-f", "-", stdin=pool())
    IPAM(memory).assign_ip(
        AssignIP(addresses=(parse_address("10.10.0.7"),), host="node-a", handle="h")
    )
    IPAM(memory).release_by_handle(ReleaseByHandle(handles=("h",)))

    shown = at_memory("ipam", "show", "--ip", "10.10.0.7").stdout

    assert shown.startswith("IP 10.10.0.7 is not assigned; it cools down since 20")


def test_a_block_that_does_not_decode_is_an_error_for_its_addresses(at_memory, memory):
    key = records.block_key(parse_network("10.0.0.0/26"))
    put(memory, {key: json.dumps({"cidr": "10.0.0.64/26"}).encode()})

    result = at_memory("ipam", "show", "--ip", "10.0.0.5")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert key in result.stderr


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({"container": "c1", "released-at": ""}, "is in use"),
        ({}, "is kept for prod/web until 2026-11-19T11:06:40Z"),
        ({"retention": "forever"}, "is kept for prod/web for ever"),
        ({"retention": "9" * 30}, "is kept for prod/web for ever"),
        ({"released-at": "soon"}, "is kept for prod/web for ever"),
    ],
)
def test_an_address_that_is_only_kept_is_told_from_one_in_use(
    at_memory, memory, attributes, state
):
    kept = {
        "type": "poolmgr-sticky",
        "identity": "prod/web",
        "container": "",
        "retention": "86400",
        "released-at": "2026-11-18T11:06:40Z",
        **attributes,
    }
    owner = Attribute(handle="net1.sticky.prod.web", secondary=kept)
    block, _ = auto_assign(new_block(parse_network("10.0.0.0/26"), "host:n", NOON_NS), 1, owner)
    put(memory, stored_block(block))

    shown = at_memory("ipam", "show", "--ip", "10.0.0.0").stdout.splitlines()

    assert [f"IP 10.0.0.0 {state}", "Handle ID: net1.sticky.prod.web"] == shown[:2]


HELD = {"pod": "p", "node": "n"}
KEPT = {"type": "poolmgr-sticky", "identity": "prod/web", "container": ""}


@pytest.mark.parametrize(
    ("owner", "state"),
    [
        (Attribute(handle="h", secondary=HELD), "InUse"),
        (Attribute(handle="h", secondary=KEPT), "Kept"),
        (Attribute(handle="h", released_at="2026-01-01T00:00:00Z"), "CoolingDown"),
    ],
)
def test_a_document_says_all_of_an_address(at_memory, memory, owner, state):
    block, _ = auto_assign(new_block(parse_network("10.0.0.0/26"), "host:n", NOON_NS), 1, owner)
    stored_pool = [stored_resource("ippools", "IPPool", "pool-a", {"cidr": "10.0.0.0/24"})]
    put(memory, {**dict(stored_pool), **stored_block(block)})

    found = json.loads(at_memory("ipam", "show", "--ip", "10.0.0.0", "-o", "json").stdout)

    assert {
        "revision": 2,
        "address": "10.0.0.0",
        "state": state,
        "pool": "pool-a",
        "block": "10.0.0.0/26",
        "affinity": "host:n",
        "handle": "h",
        "sequenceNumber": block.sequence_numbers[0],
        "releasedAt": owner.released_at,
        "attributes": owner.secondary,
        "alternateAttributes": {},
    } == found


def test_a_document_of_an_address_without_block_says_so(at_memory):
    found = json.loads(at_memory("ipam", "show", "--ip", "FD00::0:1", "-o", "json").stdout)

    assert ("fd00::1", "NotAssigned") == (found["address"], found["state"])
    assert {None} == {found[name] for name in ("pool", "block", "affinity", "handle")}
