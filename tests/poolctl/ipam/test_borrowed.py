"""What `poolctl ipam show --show-borrowed` lists."""

import json

import pytest
import yaml

from poolctl.report import REFUSED
from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from tests.support.facts import stored_block
from tests.support.poolctl import put
from tests.support.world import NOON_NS, stored_resource

HEADER = ["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def block(cidr: str, affinity: str | None, *owners: dict[str, str]) -> dict[str, bytes]:
    made = new_block(parse_network(cidr), affinity, NOON_NS)
    for owner in owners:
        made, _ = auto_assign(made, 1, Attribute(handle="h", secondary=owner))
    return stored_block(made)


@pytest.fixture
def filled(memory):
    pod = {"node": "node-b", "pod": "web-0", "namespace": "prod"}
    put(
        memory,
        {
            **dict([stored_resource("ippools", "IPPool", "a", {"cidr": "10.0.0.0/24"})]),
            **dict([stored_resource("ippools", "IPPool", "b", {"cidr": "fd00::/64"})]),
            **block("10.0.0.0/29", "host:node-a", {"node": "node-a"}, pod, {}, {}),
            **block("10.0.9.0/29", None, {"node": "node-c", "type": "vxlanTunnelAddress"}),
            **block("fd00::/122", "virtual:load-balancer", pod),
        },
    )


def test_borrowed_addresses_are_listed_and_unknown_ones_counted(at_memory, filled):
    result = at_memory("ipam", "show", "--show-borrowed")

    assert 0 == result.exit_code
    assert [
        HEADER,
        ["10.0.0.1", "node-b", "10.0.0.0/29", "node-a", "pod", "prod/web-0"],
        ["10.0.9.0", "node-c", "10.0.9.0/29", "", "vxlanTunnelAddress", ""],
        ["fd00::", "node-b", "fd00::/122", "load-balancer", "pod", "prod/web-0"],
    ] == rows(result.stdout)
    assert "\n\nNote: 2 allocations name no node, " in result.stdout


def test_without_borrowed_addresses_there_is_the_header_and_no_note(at_memory):
    result = at_memory("ipam", "show", "--show-borrowed")

    assert 0 == result.exit_code
    assert [HEADER] == rows(result.stdout)
    assert 4 == result.stdout.count("\n")


@pytest.mark.parametrize("pool", ["b", "fd00:0:0::/64"])
def test_only_the_pools_named_are_looked_into(at_memory, filled, pool):
    result = at_memory("ipam", "show", "--show-borrowed", pool)

    assert ["fd00::"] == [row[0] for row in rows(result.stdout)[1:]]
    assert "Note" not in result.stdout


def test_a_pool_that_does_not_exist_is_an_error(at_memory, filled):
    result = at_memory("ipam", "show", "--show-borrowed", "a", "nope")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "poolctl: error: there is no pool nope\n" == result.stderr


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_documents_say_the_same(at_memory, filled, output, read):
    found = read(at_memory("ipam", "show", "--show-borrowed", "a", "-o", output).stdout)

    assert {
        "revision": 2,
        "borrowed": [
            {
                "address": "10.0.0.1",
                "node": "node-b",
                "block": "10.0.0.0/29",
                "owner": "node-a",
                "type": "pod",
                "allocatedTo": "prod/web-0",
            }
        ],
        "withoutNode": 2,
    } == found


def test_a_block_that_does_not_decode_is_named_and_hides_no_other(at_memory, memory, filled):
    broken = records.block_key(parse_network("10.0.0.64/26"))
    put(memory, {broken: b"junk"})

    result = at_memory("ipam", "show", "--show-borrowed")

    assert REFUSED == result.exit_code
    assert 4 == len(rows(result.stdout))
    assert f"stored value of {broken} is not usable: " in result.stderr


def test_what_is_stored_cannot_steer_the_terminal(at_memory, memory):
    owner = {"node": "n\x1b[2J", "pod": "p\n|", "namespace": "\x9b"}
    put(memory, block("10.0.0.0/29", "host:\x07", owner))

    text = at_memory("ipam", "show", "--show-borrowed").stdout

    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert "n\\x1b[2J" in text
