from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni import verbs
from poolmgr.cni.args import Args
from poolmgr.cni.netconf import Call, Command
from poolmgr.cni.witness import Witness
from poolmgr.core.request import Attachment
from poolmgr.core.txn import EPOCH_KEY, Txn
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from tests.support.world import stored_resource

CALL = Call(
    command=Command.ADD,
    version="1.0.0",
    network="net1",
    attachment=Attachment(network="net1", container="c1", interface="eth0"),
    args=Args(pod="web-0", namespace="prod"),
)
TEAM = ("team", {"cidr": "10.0.1.0/24", "namespaceSelector": "team == 'x'"})


def pool(name, spec):
    return stored_resource("ippools", "IPPool", name, spec)


@pytest.fixture
def store():
    return MemoryStore()


def warning(store, *pools, **keys):
    """Serve an ADD from pools, one of which serves everybody, and return the warning."""
    stored = [pool("four", {"cidr": "10.0.0.0/24"}), *(pool(*each) for each in pools)]
    store.commit(Txn(expect={}, epoch=None, puts={EPOCH_KEY: b"e", **dict(stored)}))
    witness, call = Witness(store), replace(CALL, **keys)
    verbs.add(call, "node-a", IPAM(witness))
    witness.close()
    return witness.warning(call)


def test_a_pool_that_selects_namespaces_is_named_when_their_labels_are_not_known(store):
    said = warning(store, TEAM, ("broken", {"cidr": "?"}))

    assert said == (
        "IPPools team select namespaces by label, and the labels of prod are not known; "
        "name kubernetes.kubeconfig in the network configuration"
    )


@pytest.mark.parametrize(
    ("pools", "keys"),
    [
        ([], {}),
        ([("all", {"cidr": "10.0.1.0/24", "namespaceSelector": "all()"})], {}),
        ([("off", {**TEAM[1], "disabled": True})], {}),
        ([TEAM], {"kubernetes": {}}),
        ([TEAM], {"args": Args()}),
        ([TEAM], {"pools": {4: ("four",)}}),
        ([TEAM], {"among": {4: ((parse_address("10.0.0.5"), parse_address("10.0.0.5")),)}}),
        ([TEAM], {"addresses": (parse_address("10.0.0.5"),)}),
        ([TEAM], {"without_ipam": (parse_address("10.0.0.5"),)}),
        ([TEAM], {"families": ()}),
    ],
)
def test_there_is_no_warning_where_selectors_do_not_matter(store, pools, keys):
    assert warning(store, *pools, **keys) == ""
