import json

import pytest
import yaml

from poolctl.config import Session
from poolctl.ipam.explain import explain
from poolctl.ipam.explain_text import rendered
from poolctl.ipam.subject import Subject
from poolmgr.cni import runtime
from poolmgr.cni.document import POD_ANNOTATIONS
from poolmgr.core import records
from poolmgr.core.request import Sticky
from poolmgr.kube.annotations import NO_IPAM, POOLS, STICKY
from tests.support.world import World, add, claimed_elsewhere

GIVEN = """\
node            node-a
pod             prod/web-0
network         routed, main plugin ptp
  families      IPv4, IPv6  [ipam.assign_ipv6]
  IPv4 pools    all that select the node  [default]
  IPv6 pools    all that select the node  [default]
note            labels and annotations of namespace prod are not known: no
                Kubernetes API is configured; a namespaceSelector is judged as
                if it had none
note            IPPools team select namespaces by label, and the labels of prod
                are not known; name kubernetes.kubeconfig in the network
                configuration

pools, in the order of use
   1  pods 10.0.0.0/27: nodeSelector all() matches
   1  six fd00::/122: nodeSelector all() matches
   -  old 10.0.2.0/24: disabled
   -  team 10.0.1.0/24: namespaceSelector team == 'x' does not match {}

IPv4            10.0.0.17 from pool pods
  block         10.0.0.16/28, the node's own
  prefix        /27  [default for ptp]
  gateway       10.0.0.1  [default for ptp]
  routes        0.0.0.0/0 via 10.0.0.1
IPv6            fd00::2 from pool six
  block         fd00::/122, claimed anew
  prefix        /122  [default for ptp]
  gateway       fd00::1  [default for ptp]
  routes        ::/0 via fd00::1
cost            etcd: 2 reads, 1 transaction"""

REFUSED = """\
node            node-a
pod             prod/web-0
network         routed, main plugin ptp
  families      IPv4, IPv6  [ipam.assign_ipv6]
  IPv4 pools    old  [annotation cni.projectcalico.org/ipv4pools]
  IPv6 pools    all that select the node  [default]
note            labels and annotations of namespace prod are not known: no
                Kubernetes API is configured; a namespaceSelector is judged as
                if it had none

pools, in the order of use
   1  six fd00::/122: nodeSelector all() matches
   -  old 10.0.2.0/24: disabled
   -  pods 10.0.0.0/27: the request names other pools
   -  team 10.0.1.0/24: the request names other pools

REFUSED         code 100: annotation cni.projectcalico.org/ipv4pools =
                '["old"]': a requested pool cannot be used: old: disabled;
                create, enable or select an IPPool for it (poolctl get ippools)
cost            etcd: 1 read, 0 transactions"""


@pytest.fixture
def world():
    found = World().pool("pods", "10.0.0.0/27", blockSize=28).pool("six", "fd00::/122")
    found.pool("old", "10.0.2.0/24", disabled=True)
    found.pool("team", "10.0.1.0/24", namespaceSelector="team == 'x'")
    claimed_elsewhere(found, "10.0.0.0/28", "node-b")
    found.ask(add("c0"))
    return found


def told(world, annotations=None, plugin="ptp", **ipam):
    conf = {
        "name": "routed",
        "type": plugin,
        "capabilities": {POD_ANNOTATIONS: True},
        "feature_control": {"ip_addrs_no_ipam": True},
        "ipam": {"type": "poolmgr-ipam", **ipam},
    }
    (network,) = runtime.networks("a", json.dumps(conf).encode())
    session = Session(None, None, 30)
    session.store = world.store
    subject = Subject(namespace="prod", pod="web-0", annotations=annotations or {})
    return explain(session, "node-a", subject, network)


def test_an_answer(world):
    assert GIVEN == rendered(told(world, assign_ipv6=True), "table")


def test_a_refusal(world):
    found = told(world, {POOLS[4]: '["old"]'}, assign_ipv6=True)

    assert REFUSED == rendered(found, "table")


def test_another_nodes_block_is_told(world):
    claimed_elsewhere(world, "fd00::/122", "node-b", full=False)
    text = rendered(told(world, assign_ipv4=False, assign_ipv6=True), "table")

    assert "fd00::/122, taken over, empty, until now of node node-b" in text
    world.ask(add("b", host="node-b", families=(6,)))
    text = rendered(told(world, assign_ipv4=False, assign_ipv6=True), "table")
    assert "fd00::/122, borrowed: the block is of node node-b" in text


@pytest.mark.parametrize(
    ("affinity", "whose"), [(None, "nobody's"), ("virtual:lb", "of virtual host lb")]
)
def test_a_block_without_a_node_is_told(world, affinity, whose):
    claimed_elsewhere(world, "fd00::/122", "node-b", full=False)
    world.ask(add("b", host="node-b", families=(6,)))
    key = records.BLOCKS[6].start + "fd00::-122"
    value = json.loads(world.content()[key])
    world.put(key, json.dumps({**value, "affinity": affinity}).encode())
    text = rendered(told(world, assign_ipv4=False, assign_ipv6=True), "table")

    assert f"borrowed: the block is {whose}" in text


def test_an_address_that_was_kept_is_told(world):
    notes = {STICKY: "true"}
    sticky = rendered(told(world, notes), "table")

    assert "kept for      prod/web-0@eth0  [annotation ipam.poolmgr.io/sticky]" in sticky
    world.ask(
        add("c9", network="routed", sticky=Sticky(namespace="prod", identity="web-0@eth0"))
    )
    again = rendered(told(world, notes), "table")
    assert "where the address was kept: the block is of node\n                node-a" in again


def test_addresses_past_ipam_and_none_at_all_are_told(world):
    past = rendered(told(world, {NO_IPAM: '["10.9.9.9"]'}, plugin="macvlan"), "table")
    none = rendered(told(world, assign_ipv4=False), "table")

    assert "address         10.9.9.9, past IPAM: nothing is assigned" in past
    assert "cost            etcd: 0 reads, 0 transactions" in past
    assert "address         none: no family is asked for" in none
    assert "families      none  [ipam.assign_ipv4]" in none


def test_hostile_text_does_not_reach_the_terminal(world):
    world.pool("team", "10.0.1.0/24", nodeSelector="x == '\x1b[2J'")
    world.node("node-a")
    text = rendered(told(world), "table")

    assert "\x1b" not in text
    assert "\\x1b" in text


def test_json_and_yaml_say_the_same(world):
    found = told(world, routes=[{"dst": "10.0.0.0/8", "gw": "10.0.0.9"}, {"dst": "0.0.0.0/0"}])
    value = json.loads(rendered(found, "json"))

    assert value == yaml.safe_load(rendered(found, "yaml"))
    assert {"reads": 2, "transactions": 1} == value["etcd"]
    assert value["refusal"] is None
    assert [
        {
            "address": "10.0.0.17/27",
            "pool": "pods",
            "block": "10.0.0.16/28",
            "blockIs": "own block",
            "blockOwner": "host:node-a",
            "prefixBy": "default for ptp",
            "gateway": "10.0.0.1",
            "gatewayBy": "default for ptp",
            "routes": [{"dst": "10.0.0.0/8", "gw": "10.0.0.9"}, {"dst": "0.0.0.0/0"}],
        }
    ] == value["addresses"]
    assert "0.0.0.0/0 via the gateway" in rendered(found, "table")
    refused = json.loads(rendered(told(world, {POOLS[4]: '["old"]'}), "json"))
    assert 100 == refused["refusal"]["code"]
