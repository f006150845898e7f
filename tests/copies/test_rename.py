import copy
from typing import Any

import pytest

from poolmgr.copies.rename import Rename
from poolmgr.errors import InvalidRequestError

BLOCK: dict[str, Any] = {
    "cidr": "192.168.201.0/26",
    "affinity": "host:old",
    "attributes": [
        {
            "handle_id": "ipip-tunnel-addr-old",
            "secondary": {"node": "old", "type": "ipipTunnelAddress"},
        },
        {
            "handle_id": "net.c1",
            "secondary": {"node": "older"},
            "alternateOwnerAttrs": {"node": "old"},
        },
        {"handle_id": None, "secondary": None},
    ],
}


def test_everything_a_block_says_of_a_node_is_renamed():
    block = copy.deepcopy(BLOCK)

    Rename({"old": "new"}).block(block)

    first, second, _ = block["attributes"]
    assert "host:new" == block["affinity"]
    assert ("ipip-tunnel-addr-new", "new") == (first["handle_id"], first["secondary"]["node"])
    assert ("older", "new") == (
        second["secondary"]["node"],
        second["alternateOwnerAttrs"]["node"],
    )
    assert "net.c1" == second["handle_id"]


@pytest.mark.parametrize(
    "key",
    [
        "/calico/ipam/v2/host/{}/ipv4/block/10.0.0.0-26",
        "/calico/ipam/v2/host/{}",
        "/calico/ipam/v2/handle/ipip-tunnel-addr-{}",
        "/calico/ipam/v2/handle/vxlan-v6-tunnel-addr-{}",
        "/poolmgr/v1/session/{}",
        "/calico/resources/v3/projectcalico.org/nodes/{}",
    ],
)
def test_keys_that_name_a_node_are_renamed(key):
    rename = Rename({"old": "new"})

    assert key.format("new") == rename.key(key.format("old"))
    assert key.format("older") == rename.key(key.format("older"))


@pytest.mark.parametrize(
    "key",
    [
        "/calico/ipam/v2/virtual/old/ipv4/block/10.0.0.0-26",
        "/calico/ipam/v2/handle/old",
        "/calico/resources/v3/projectcalico.org/ippools/old",
    ],
)
def test_keys_that_name_no_node_stay(key):
    assert key == Rename({"old": "new"}).key(key)


def test_the_same_name_changes_nothing():
    block = copy.deepcopy(BLOCK)
    rename = Rename({"old": "old"})
    rename.block(block)

    assert not rename
    assert BLOCK == block


@pytest.mark.parametrize("names", [{"a": "x", "b": "x"}, {"a": "b", "b": "b"}])
def test_two_nodes_never_get_one_name(names):
    with pytest.raises(InvalidRequestError, match="would both be called"):
        Rename(names)


def test_names_can_be_exchanged():
    rename = Rename({"a": "b", "b": "a"})

    assert ("b", "a") == (rename.host("a"), rename.host("b"))
