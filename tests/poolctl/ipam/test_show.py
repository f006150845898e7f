"""What `poolctl ipam show` counts and finds."""

import json
from itertools import islice

import pytest
import yaml

from poolctl.report import REFUSED
from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.request import AutoAssign
from poolmgr.ipam import IPAM
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import manifest, put
from tests.support.world import stored_resource


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


def counts(cidr: str, total: int, in_use: int, free: int) -> dict:
    return {"cidr": cidr, "total": total, "inUse": in_use, "reserved": 0, "free": free}


@pytest.mark.parametrize("pool", ["a", "10.2.0.0/24"])
def test_only_the_pools_named_are_counted(at_memory, memory, pool):
    blocks = [block_of(cidr, "h") for cidr in ("10.9.0.0/26", "10.2.0.0/26", "10.1.0.0/26")]
    pools_and(memory, *blocks, b={"cidr": "10.1.0.0/24"}, a={"cidr": "10.2.0.0/24"})

    shown = rows(at_memory("ipam", "show", "--show-blocks", pool).stdout)[1:]

    assert [["IP Pool", "10.2.0.0/24"], ["Block", "10.2.0.0/26"]] == [row[:2] for row in shown]


def test_a_pool_that_does_not_exist_is_an_error(at_memory, memory):
    pools_and(memory, a={"cidr": "10.2.0.0/24"})

    result = at_memory("ipam", "show", "a", "10.3.0.0/24")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "poolctl: error: there is no pool 10.3.0.0/24\n" == result.stderr


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents_have_exact_numbers(at_memory, memory, output, read):
    pools_and(memory, block_of("10.9.0.0/26", "h"), a={"cidr": "fd00::/48"})

    plain = read(at_memory("ipam", "show", "-o", output).stdout)
    whole = read(at_memory("ipam", "show", "--show-blocks", "-o", output).stdout)

    a = {"name": "a", **counts("fd00::/48", 2**80, 0, 2**80)}
    assert {"revision": 2, "pools": [a]} == plain
    assert {
        "revision": 2,
        "pools": [a | {"blocks": []}],
        "blocksWithoutPool": [counts("10.9.0.0/26", 64, 1, 63)],
    } == whole


def test_a_watch_shows_it_at_least_once(program, raw, etcd_endpoint):
    result = program("--timeout", "3", "ipam", "show", "-w", ETCD_ENDPOINTS=etcd_endpoint)

    assert (0, "") == (result.returncode, result.stderr)
    assert 1 == result.stdout.count("GROUPING")
