"""`poolctl node list` and `show`: what nodes have, own, lend and borrow."""

import json

import pytest
import yaml

from poolctl.report import REFUSED
from poolmgr.cidr import parse_network
from poolmgr.core.config import IPAMConfig
from poolmgr.core.records import affinity_key, block_key, session_key
from poolmgr.core.request import Release, ReleaseIPs, SetConfig, Sticky
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from tests.support.assigned import attach, detach
from tests.support.poolctl import on
from tests.support.showcase import Showcase
from tests.support.tenants import NODE_A, settle


@pytest.fixture
def addresses(store):
    return settle(store)


@pytest.fixture
def listed(addresses, poolctl):
    def run():
        result = poolctl("node", "list", "-o", "json")
        assert (0, "") == (result.exit_code, result.stderr)
        return {each["name"]: each for each in json.loads(result.stdout)["nodes"]}

    return run


def test_blocks_and_addresses_of_every_node_are_counted(listed):
    found = listed()

    counts = ("ipv4Blocks", "inUse", "free", "used", "borrowed", "lent", "cooling")
    assert {
        "node-a": [1, 4, 0, 5, 1, 0, 0],
        "node-b": [1, 2, 2, 1, 0, 1, 0],
    } == {name: [each[count] for count in counts] for name, each in found.items()}
    assert ["192.168.7.1", "fd00:7::1"] == found["node-a"]["addresses"]


def test_what_cools_down_or_is_kept_is_used_by_nobody(listed, addresses, store):
    IPAM(store).set_config(SetConfig(config=IPAMConfig(cooldown_s=600)))
    release = Release(address=parse_network(f"{addresses[0]}/32").network_address)
    IPAM(store).release_ips(ReleaseIPs(releases=(release,)))
    sticky = Sticky(namespace="default", identity="web-0", holder="web-0")
    attach(store, "s", node="node-b", sticky=sticky)
    detach(store, "s", node="node-b")

    found = listed()

    assert (3, 1, 4) == tuple(found["node-a"][key] for key in ("inUse", "cooling", "used"))
    assert (3, 1, True) == tuple(found["node-b"][key] for key in ("inUse", "used", "session"))


def test_a_node_is_known_by_a_block_an_affinity_or_an_address_too(listed, raw):
    raw.delete(NODE_A[0])
    raw.put(affinity_key("node-c", parse_network("10.9.0.0/30")), '{"state":"pending"}')
    raw.put(session_key("node-d"), '{"n":1,"deleted":[]}')

    found = listed()

    assert {"node-a": False, "node-b": True, "node-c": False} == {
        name: each["resource"] for name, each in found.items()
    }


def test_the_table_is_for_people(addresses, poolctl):
    result, wide = poolctl("node", "list"), poolctl("node", "list", "-o", "wide")

    assert [
        "NAME      IPV4-BLOCKS    IPV6-BLOCKS    IN-USE    FREE    RESERVED    COOLING    USED    BORROWED    LENT  RESOURCE",
        "node-a              1              0         4       0           0          0       5           1       0  yes",
        "node-b              1              0         2       2           0          0       1           0       1  yes",
    ] == result.stdout.splitlines()
    assert ["no", "192.168.7.1,fd00:7::1"] == wide.stdout.splitlines()[1].split()[-2:]


def test_names_can_be_listed_alone(addresses, poolctl):
    assert "node/node-a\nnode/node-b\n" == poolctl("node", "list", "-o", "name").stdout


def test_nothing_is_an_empty_table(poolctl):
    result = poolctl("node", "list")

    assert (0, ["NAME", "IPV4-BLOCKS"]) == (result.exit_code, result.stdout.split()[:2])


def test_a_block_that_does_not_decode_is_named_and_not_counted(addresses, poolctl, raw):
    raw.put(block_key(parse_network("10.10.0.0/30")), "{}")

    result = poolctl("node", "list", "-o", "yaml")

    assert REFUSED == result.exit_code
    assert "10.10.0.0-30" in result.stderr
    found = {each["name"]: each for each in yaml.safe_load(result.stdout)["nodes"]}
    assert (1, 0) == (found["node-a"]["ipv4Blocks"], found["node-b"]["ipv4Blocks"])


def test_a_hostile_name_does_not_reach_the_terminal(poolctl, raw):
    raw.put("/calico/resources/v3/projectcalico.org/nodes/x\x1b[31m", "{}")

    result = poolctl("node", "list")

    assert "x\\x1b[31m" in result.stdout


def test_one_node_is_told_with_its_blocks_and_what_it_borrows(addresses, poolctl):
    result = poolctl("node", "show", "node-a", "-o", "json")

    value = json.loads(result.stdout)
    assert 0 == result.exit_code
    assert {"rack": "r1"} == value["labels"]
    assert [("10.10.0.4/30", "confirmed", 4, 0)] == [
        (each["block"], each["state"], each["inUse"], each["free"]) for each in value["blocks"]
    ]
    assert [{"address": addresses[-1], "block": "10.10.0.0/30", "owner": "node-b"}] == value[
        "borrowedAddresses"
    ]


def test_blocks_and_affinities_without_each_other_are_told(addresses, poolctl, raw):
    raw.delete(affinity_key("node-a", parse_network("10.10.0.4/30")))
    raw.put(affinity_key("node-a", parse_network("10.9.0.0/30")), '{"state":"pending"}')

    lines = poolctl("node", "show", "node-a").stdout.splitlines()

    assert ["10.10.0.4/30", "no", "affinity"] == next(
        line.split()[:3] for line in lines if line.startswith("10.10.0.4/30")
    )
    assert ["10.9.0.0/30", "pending,", "no", "block", *"-----"] == next(
        line.split() for line in lines if line.startswith("10.9.0.0/30")
    )


def test_an_unknown_node_is_refused_and_similar_ones_are_told(addresses, poolctl):
    result = poolctl("node", "show", "node-aa")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "did you mean node-a" in result.stderr


def test_what_is_no_name_is_refused(poolctl):
    result = poolctl("node", "show", "a/b")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "must not be empty, nor contain '/'" in result.stderr


def test_an_affinity_that_does_not_decode_is_told(addresses, poolctl, raw):
    raw.put(affinity_key("node-a", parse_network("10.10.0.4/30")), "{")

    result = poolctl("node", "show", "node-a", "-o", "json")

    assert REFUSED == result.exit_code
    assert "unreadable" == json.loads(result.stdout)["blocks"][0]["state"]
    assert "node-a/ipv4/block/10.10.0.4-30" in result.stderr


def test_what_is_free_or_reserved_is_so_for_ipam_show_too():
    store = MemoryStore()
    Showcase(store).fill()
    nodes = json.loads(on(store)("node", "list", "-o", "json").stdout)["nodes"]
    node = json.loads(on(store)("node", "show", "node-b", "-o", "json").stdout)
    shown = json.loads(on(store)("ipam", "show", "--show-blocks", "-o", "json").stdout)
    usages = {each["cidr"]: each for pool in shown["pools"] for each in pool["blocks"]}

    (block,) = node["blocks"]
    usage = usages[block["block"]]

    assert (9, 2) == (block["free"], block["reserved"])
    assert (usage["free"], usage["reserved"]) == (block["free"], block["reserved"])
    assert usage["inUse"] == block["inUse"] + block["cooling"]
    assert {"free": 9, "reserved": 2}.items() <= nodes[1].items()
    for key in ("free", "reserved"):
        assert sum(each[key] for each in usages.values()) == sum(each[key] for each in nodes)
