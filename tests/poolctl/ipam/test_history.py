"""`poolctl ipam history`: who held an address, and since when nobody knows."""

import json

import pytest
import yaml

from poolctl.report import REFUSED, USAGE
from poolmgr.cidr import network, parse_address, parse_network
from poolmgr.core.config import IPAMConfig
from poolmgr.core.records import block_key
from poolmgr.core.request import (
    AssignIP,
    Release,
    ReleaseAffinities,
    ReleaseIPs,
    SetConfig,
    Sticky,
)
from poolmgr.core.txn import Fetch
from poolmgr.ipam import IPAM
from tests.support.assigned import attach, detach
from tests.support.world import stored_resource

POOL = stored_resource("ippools", "IPPool", "pool-a", {"cidr": "10.10.0.0/16", "blockSize": 30})


@pytest.fixture
def run(poolctl, raw):
    raw.compact(raw.put(*POOL))  # what other tests did is not of interest

    def run(address, *args):
        result = poolctl("ipam", "history", address, "-o", "json", *args)
        assert 0 == result.exit_code, result.stderr
        return json.loads(result.stdout)

    return run


def released(store, address):
    release = Release(address=parse_address(address))
    IPAM(store).release_ips(ReleaseIPs(releases=(release,)))


def told(value):
    """Each event, and the handle that it is about."""
    return [(e["event"], e.get("holder", {}).get("handle")) for e in value["events"]]


def revision(store):
    return store.read(Fetch(keys=frozenset({"/x"}))).revision


def test_owners_are_told_in_the_order_in_which_they_came(run, store):
    address = attach(store, "c1")
    for container in ("c2", "c3"):
        attach(store, container)
    released(store, address)
    attach(store, "c4")
    assert address == attach(store, "c5")

    value = run(address)

    assert [
        ("block claimed", None),
        ("assigned", "net-a.c1"),
        ("released", "net-a.c1"),
        ("assigned", "net-a.c5"),
    ] == told(value)
    claimed, first, _, last = value["events"]
    assert "node-a" == claimed["blockNode"]
    assert {"node": "node-a", "network": "net-a", "interface": "eth0"}.items() <= first[
        "holder"
    ].items()
    assert claimed["revision"] == first["revision"] < last["revision"] <= value["revision"]
    assert first["time"].endswith("Z")
    assert (True, 0) == (value["complete"], value["missedBlockLifeRevisions"])


def test_cooldown_and_stickiness_are_told(run, store):
    IPAM(store).set_config(SetConfig(config=IPAMConfig(cooldown_s=600)))
    sticky = Sticky(namespace="default", identity="web-0", retention_s=None, holder="web-0")
    address = attach(store, "c1", sticky=sticky)
    detach(store, "c1")
    attach(store, "c2", sticky=sticky)
    released(store, address)

    events = run(address)["events"]

    assert [
        "block claimed",
        "assigned",
        "kept for its owner",
        "taken over",
        "released, cooling down",
    ] == [event["event"] for event in events]
    assert all(event["time"] for event in events)


def test_what_was_compacted_away_is_said(run, poolctl, store, raw):
    address = attach(store, "c1")
    attach(store, "c2")
    raw.compact(revision(store))
    released(store, address)

    value, table = run(address), poolctl("ipam", "history", address)

    assert [("first known state", "net-a.c1"), ("released", "net-a.c1")] == told(value)
    assert value["earlierIsCompacted"]
    since = value["knownSinceRevision"]
    assert value["events"][0]["revision"] == since
    assert (
        f"nothing is known before revision {since}, which etcd compacted away\n" in table.stderr
    )


def test_a_block_that_went_and_came_back_is_one_history(run, store):
    address = attach(store, "c1")
    released(store, address)
    IPAM(store).release_affinities(ReleaseAffinities(host="node-a"))
    other = attach(store, "c2", node="node-a")

    value = run(address)

    assert address == other
    assert [
        ("block claimed", None),
        ("assigned", "net-a.c1"),
        ("released", "net-a.c1"),
        ("block deleted", None),
        ("block claimed", None),
        ("assigned", "net-a.c2"),
    ] == told(value)


def test_a_block_that_is_gone_has_a_history(run, poolctl, store, raw):
    address = attach(store, "c1")
    released(store, address)
    for _ in range(3000):
        raw.put("/other", b"x")
    IPAM(store).release_affinities(ReleaseAffinities(host="node-a"))
    for _ in range(100):
        raw.put("/other", b"x")

    value = run(address)

    assert [
        ("block claimed", None),
        ("assigned", "net-a.c1"),
        ("released", "net-a.c1"),
        ("block deleted", None),
    ] == told(value)
    assert value["revisionsRead"] < 1000


def test_a_block_without_its_pool_has_to_be_named(poolctl, run, store, raw):
    address = attach(store, "c1")
    released(store, address)
    IPAM(store).release_affinities(ReleaseAffinities(host="node-a"))
    raw.delete(POOL[0])

    block = str(parse_network(f"{address}/30", strict=False))

    refused = poolctl("ipam", "history", address)
    value = run(address, "--block", block)

    assert REFUSED == refused.exit_code
    assert f"address {address} lies in no block and in no pool" in refused.stderr
    assert ("assigned", "net-a.c1") in told(value)


def test_the_limit_bounds_the_reads_and_is_said(poolctl, run, store):
    address = attach(store, "c1")
    for number in range(2, 4):
        attach(store, f"c{number}")

    result = poolctl("ipam", "history", address, "--limit", "2", "-o", "yaml")

    value = yaml.safe_load(result.stdout)
    assert (2, False) == (value["revisionsRead"], value["complete"])
    assert [("first known state", "net-a.c1")] == told(value)
    assert "warning: that is not all" in result.stderr


def test_a_block_that_did_not_decode_once_is_an_event(run, store, raw):
    address = attach(store, "c1")
    key = block_key(parse_network(f"{address}/30", strict=False))
    sound = raw.get(key)
    raw.put(key, b"{}")
    raw.put(key, sound)

    events = [event["event"] for event in run(address)["events"]]

    assert ["block claimed", "assigned", "block unreadable"] == events


def test_the_table_is_for_people(poolctl, run, store):
    address = attach(store, "c1")

    result = poolctl("ipam", "history", address)

    head, claimed, assigned = result.stdout.splitlines()
    assert [
        "REVISION",
        "TIME",
        "EVENT",
        "NODE",
        "HOLDER",
        "INTERFACE",
        "HANDLE",
    ] == head.split()
    assert "block claimed" in claimed
    assert ["node-a", "-", "net-a/eth0", "net-a.c1"] == assigned.split()[-4:]


def test_an_address_that_never_was_has_no_history(poolctl, run):
    result = poolctl("ipam", "history", "10.10.0.77")

    assert (0, "nothing is known of 10.10.0.77\n") == (result.exit_code, result.stdout)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["10.0.0.300"], "invalid IP address '10.0.0.300'"),
        (["10.0.0.1", "--block", "10.0.0.1/26"], "10.0.0.1/26"),
        (["10.0.0.1", "--block", "10.9.0.0/26"], "10.0.0.1 is not in 10.9.0.0/26"),
        (["10.0.0.1", "--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_call_is_refused(at_memory, args, message):
    result = at_memory("ipam", "history", *args)

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


def test_what_is_stored_cannot_steer_a_terminal(poolctl, run, store):
    request = AssignIP(
        addresses=(parse_address("10.10.0.9"),),
        host="node-a",
        handle="h",
        attributes={"node": "x\x1b[31m", "pod": "web-0", "namespace": "default"},
    )
    IPAM(store).assign_ip(request)

    result = poolctl("ipam", "history", "10.10.0.9")

    assert "x\\x1b[31m" in result.stdout
    assert "default/web-0" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_life_of_the_block_that_may_be_missing_is_said(poolctl, run, store, raw):
    address = attach(store, "c1")
    released(store, address)
    IPAM(store).release_affinities(ReleaseAffinities(host="node-a"))
    for _ in range(600):
        raw.put("/other", b"x")

    result = poolctl("ipam", "history", address)

    assert 0 == result.exit_code
    assert "if it did for no more than " in result.stderr


def test_another_block_than_the_stored_one_is_refused(poolctl, store, raw):
    raw.put(*POOL)
    address = attach(store, "c1")

    there, other = (str(network(parse_address(address), length)) for length in (30, 24))
    result = poolctl("ipam", "history", address, "--block", other)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert f"{address} lies in block {there} now, not in {other}\n" in result.stderr


def test_of_a_block_that_never_was_nothing_was_stored(at_memory):
    result = at_memory("ipam", "history", "10.9.0.1", "--block", "10.9.0.0/30")

    assert 0 == result.exit_code
    assert "nothing is known of 10.9.0.1\n" == result.stdout
    assert "block 10.9.0.0/30: nothing was ever stored of it\n" == result.stderr
