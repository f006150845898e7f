"""Block affinities on the command line."""

import json

import pytest

from poolctl.report import REFUSED
from tests.support.poolctl import manifest, put, stored

HOST = "/calico/ipam/v2/host/node-a"
STORED = {
    HOST: b"",
    f"{HOST}/ipv4/block/10.20.0.64-26": b'{"state":"confirmed","deleted":false}',
    f"{HOST}/ipv6/block/fd00::-122": b"",
    f"{HOST}/ipv4/block/junk": b"{}",
    "/calico/ipam/v2/virtual/lb/ipv4/block/10.20.0.0-26": b'{"state":"pending"}',
}


def test_every_affinity_is_shown_with_its_state(at_memory, memory):
    put(memory, STORED)

    result = at_memory("get", "blockaffinities", "-o", "wide")

    assert ("", 0) == (result.stderr, result.exit_code)
    assert [
        ["NAME", "NODE", "CIDR", "STATE", "TYPE"],
        ["node-a-10-20-0-64-26", "node-a", "10.20.0.64/26", "confirmed", "host"],
        ["node-a-fd00---122", "node-a", "fd00::/122", "confirmed", "host"],
        ["lb-10-20-0-0-26", "lb", "10.20.0.0/26", "pending", "virtual"],
    ] == [line.split() for line in result.stdout.splitlines()]


def test_one_is_shown_by_its_name(at_memory, memory):
    put(memory, STORED)

    result = at_memory("get", "blockaffinity", "lb-10-20-0-0-26", "-o", "json")

    shown = json.loads(result.stdout)
    assert "BlockAffinity" == shown["kind"]
    assert {
        "state": "pending",
        "node": "lb",
        "type": "virtual",
        "cidr": "10.20.0.0/26",
    } == shown["spec"]


def test_a_name_that_is_not_there_is_said(at_memory, memory):
    put(memory, STORED)

    result = at_memory("get", "blockaffinity", "nope")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "blockaffinity/nope does not exist" in result.stderr


def test_a_value_that_cannot_be_understood_hides_no_other(at_memory, memory):
    put(memory, STORED | {f"{HOST}/ipv4/block/10.20.0.128-26": b"junk"})

    result = at_memory("get", "blockaffinity", "-o", "name")

    assert REFUSED == result.exit_code
    assert len(result.stdout.splitlines()) == 3
    assert f"{HOST}/ipv4/block/10.20.0.128-26" in result.stderr


@pytest.mark.parametrize("command", ["create", "apply", "replace", "delete"])
def test_nobody_writes_an_affinity(at_memory, memory, command):
    put(memory, STORED)
    before = stored(memory)
    spec = {"state": "confirmed", "node": "node-a", "cidr": "10.20.0.64/26"}

    result = at_memory(
        command, "-f", "-", stdin=manifest("BlockAffinity", "node-a-10-20-0-64-26", spec)
    )

    assert REFUSED == result.exit_code
    assert "can only be read; blocks come to nodes" in result.stderr
    assert before == stored(memory)
