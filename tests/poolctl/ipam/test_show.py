"""What `poolctl ipam show` counts and finds."""

import json
from dataclasses import replace
from itertools import islice

import pytest

from poolctl.report import REFUSED
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.request import AssignIP, AutoAssign, ReleaseByHandle
from poolmgr.ipam import IPAM
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import manifest, pool, put
from tests.support.world import NOON_NS, stored_resource


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def pools_and(store, *blocks, reserved=(), **pools) -> None:
    values = dict(
        stored_resource("ippools", "IPPool", name.replace("_", "-"), spec)
        for name, spec in pools.items()
    )
    if reserved:
        key, raw = stored_resource(
            "ipreservations", "IPReservation", "r", {"reservedCIDRs": reserved}
        )
        values[key] = raw
    for block in blocks:
        values |= stored_block(block)
    put(store, values)


def test_pools_and_blocks_are_counted_as_calicoctl_counts_them(poolctl, store):
    p4 = {"cidr": "10.20.0.0/27", "blockSize": 29}
    first = ["10.20.0.0/29", "10.20.0.9/32", "10.20.0.16/30"]
    others = ["10.20.0.8/31", "10.20.0.9/32", "fd00::/64"]
    poolctl("apply", "-f", "-", stdin=manifest("IPPool", "p4", p4))
    poolctl(
        "apply", "-f", "-", stdin=manifest("IPReservation", "first", {"reservedCIDRs": first})
    )
    poolctl(
        "apply", "-f", "-", stdin=manifest("IPReservation", "others", {"reservedCIDRs": others})
    )
    poolctl("node", "register", "node-a")
    before = rows(poolctl("ipam", "show").stdout)
    IPAM(store).auto_assign(AutoAssign(host="node-a", handle="h", count={4: 18}))
    full = rows(poolctl("ipam", "show", "--show-blocks").stdout)
    poolctl("delete", "ipreservation", "first")

    after = rows(poolctl("ipam", "show").stdout)

    header = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"]
    assert [
        header,
        ["IP Pool", "10.20.0.0/27", "32", "0 (0%)", "14 (44%)", "18 (56%)"],
    ] == before
    assert [
        header,
        ["IP Pool", "10.20.0.0/27", "32", "18 (56%)", "14 (44%)", "0 (0%)"],
        ["Block", "10.20.0.16/29", "8", "4 (50%)", "4 (50%)", "0 (0%)"],
        ["Block", "10.20.0.24/29", "8", "8 (100%)", "0 (0%)", "0 (0%)"],
        ["Block", "10.20.0.8/29", "8", "6 (75%)", "2 (25%)", "0 (0%)"],
    ] == full
    assert [["IP Pool", "10.20.0.0/27", "32", "18 (56%)", "2 (6%)", "12 (38%)"]] == after[1:]


def test_counts_are_exact_however_big(at_memory, memory):
    pools_and(memory, pool_a={"cidr": "fd5f:abcd:64::/48"})

    assert [
        "IP Pool",
        "fd5f:abcd:64::/48",
        f"{2**80:,}",
        "0 (0%)",
        "0 (0%)",
        f"{2**80:,} (100%)",
    ] == rows(at_memory("ipam", "show").stdout)[1]


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "1 (2%)"), (8, "8 (12%)"), (24, "24 (38%)"), (63, "63 (98%)")]
)
def test_percentages_are_whole_and_half_goes_to_even(at_memory, memory, count, shown):
    pools_and(memory, block_of("10.0.0.0/26", *["h"] * count), pool_a={"cidr": "10.0.0.0/26"})

    assert shown == rows(at_memory("ipam", "show").stdout)[1][3]


def test_pools_are_listed_by_name_and_blocks_without_a_pool_last(at_memory, memory):
    blocks = [block_of(cidr) for cidr in ("10.9.0.0/26", "10.2.0.0/26", "fd00::/122")]
    pools_and(
        memory, *blocks, b={"cidr": "10.1.0.0/24", "disabled": True}, a={"cidr": "10.2.0.0/24"}
    )

    shown = rows(at_memory("ipam", "show", "--show-blocks").stdout)[1:]

    assert [
        ["IP Pool", "10.2.0.0/24"],
        ["Block", "10.2.0.0/26"],
        ["IP Pool", "10.1.0.0/24"],
        ["Block, no pool", "10.9.0.0/26"],
        ["Block, no pool", "fd00::/122"],
    ] == [row[:2] for row in shown]


def test_many_blocks_are_read_in_pages(at_memory, memory):
    blocks = parse_network("10.0.0.0/18").subnets(new_prefix=28)
    pools_and(memory, pool_a={"cidr": "10.0.0.0/18", "blockSize": 28})
    for _ in range(11):  # etcd takes 128 puts in one transaction
        batch = [stored_block(block_of(str(cidr), "h")) for cidr in islice(blocks, 100)]
        put(memory, {key: raw for each in batch for key, raw in each.items()})

    assert rows(at_memory("ipam", "show").stdout)[1][3] == "1,024 (6%)"


def test_a_block_that_does_not_decode_is_named_and_hides_no_other(at_memory, memory):
    pools_and(memory, block_of("10.0.0.0/26", "h"), pool_a={"cidr": "10.0.0.0/24"})
    broken = records.block_key(parse_network("10.0.0.64/26"))
    put(memory, {broken: b"junk"})

    result = at_memory("ipam", "show")

    assert result.exit_code == REFUSED
    assert rows(result.stdout)[1][3] == "1 (0%)"
    assert result.stderr.startswith(
        f"poolctl: warning: stored value of {broken} is not usable: "
    )


@pytest.mark.parametrize("kind", ["ippools", "ipreservations"])
def test_a_resource_that_does_not_decode_is_named_and_hides_no_other(
    program, raw, etcd_endpoint, kind
):
    raw.put(*stored_resource("ippools", "IPPool", "pool-a", {"cidr": "10.0.0.0/24"}))
    broken = records.resource_key(kind, "broken")
    raw.put(broken, b"junk")

    result = program("ipam", "show", "--show-blocks", ETCD_ENDPOINTS=etcd_endpoint)

    assert result.returncode == REFUSED
    assert ["IP Pool", "10.0.0.0/24", "256"] == rows(result.stdout)[1][:3]
    assert result.stderr.startswith(
        f"poolctl: warning: stored value of {broken} is not usable: "
    )
    assert f"the counts lack it; look at it: etcdctl get {broken}; " in result.stderr


@pytest.mark.parametrize("size", [-5, 1, 200, 10**9])
def test_a_pool_with_a_stored_block_size_that_cannot_be_is_counted(at_memory, memory, size):
    pools_and(memory, pool_a={"cidr": "10.0.0.0/24", "blockSize": size})

    assert rows(at_memory("ipam", "show").stdout)[1][2] == "256"


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
    pools_and(memory, block_of("10.0.0.0/26", "h"), pool_a={"cidr": "10.0.0.0/24"})

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
