import pytest

from poolmgr.cni.netconf import Call, Command
from poolmgr.cni.status import status
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import (
    CorruptStateError,
    InvalidRequestError,
    NoMatchingPoolError,
    StoreUnavailableError,
)
from poolmgr.store.memory import MemoryStore
from tests.support.kube_api import Fault, KubeApi
from tests.support.world import stored_resource


def pool(name, cidr, **spec):
    return stored_resource("ippools", "IPPool", name, {"cidr": cidr, **spec})


def node(**labels):
    return stored_resource("nodes", "Node", "node-a", {}, labels=labels)


def holding(*stored):
    store = MemoryStore()
    store.commit(Txn(expect={}, epoch=None, puts={EPOCH_KEY: b"e", **dict(stored)}))
    return store


def ask(store, **keys):
    call = Call(command=Command.STATUS, version="1.1.0", network="net1", **keys)
    status(call, "node-a", store)


SELECTED = pool("rack", "10.0.0.0/24", nodeSelector="rack == '1'")
NAMESPACED = pool("team", "10.0.0.0/24", namespaceSelector="team == 'x'")


@pytest.mark.parametrize(
    ("stored", "keys"),
    [
        ([pool("four", "10.0.0.0/24")], {}),
        ([pool("four", "10.0.0.0/24"), pool("six", "fd00::/64")], {"families": (4, 6)}),
        ([], {"families": ()}),
        ([SELECTED, node(rack="1")], {}),
        ([SELECTED, node()], {"pools": {4: ("rack",)}}),
        ([pool("x", "broken"), pool("four", "10.0.0.0/24")], {}),
    ],
)
def test_a_node_that_pools_serve_is_fine(stored, keys):
    ask(holding(*stored), **keys)


@pytest.mark.parametrize(
    ("stored", "keys", "why"),
    [
        ([], {}, "there is no IPPool"),
        ([pool("four", "10.0.0.0/24", disabled=True)], {}, "four: disabled"),
        ([pool("four", "10.0.0.0/24")], {"families": (4, 6)}, "four: is an IPv4 pool"),
        ([SELECTED, node(rack="2")], {}, "rack: nodeSelector .* does not match"),
        ([SELECTED], {}, "no Node resource node-a"),
        ([NAMESPACED], {}, "team: namespaceSelector .* does not match"),
        (
            [pool("four", "10.0.0.0/24")],
            {"pools": {4: ("five",)}},
            "five: there is no such pool",
        ),
        ([pool("x", "broken")], {}, "x: .*broken"),
        (
            [pool("four", "10.0.0.1/32", blockSize=32)],
            {"link": LinkPolicy(main=MainPlugin.PTP)},
            "ptp cannot use",
        ),
    ],
)
def test_a_node_that_no_pool_serves_is_told_why(stored, keys, why):
    with pytest.raises(NoMatchingPoolError, match=why):
        ask(holding(*stored), **keys)


@pytest.mark.parametrize(
    "broken", [(node()[0], b"{"), pool("p", "10.0.0.0/24", nodeSelector="=")]
)
def test_what_cannot_be_read_is_told(broken):
    with pytest.raises(CorruptStateError, match=broken[0].rpartition("/")[2]):
        ask(holding(node(), pool("four", "10.0.0.0/24"), broken))


class Unreachable(MemoryStore):
    def read(self, fetch: Fetch, **options):
        raise StoreUnavailableError("no answer")


def test_a_store_that_does_not_answer_is_told():
    with pytest.raises(StoreUnavailableError):
        ask(Unreachable())


@pytest.fixture
def api():
    with KubeApi() as server:
        server.put("nodes", "node-a", labels={"rack": "1"})
        yield server


@pytest.fixture
def asked(api, tmp_path):
    """Keys of a call that asks the API."""
    return {"kubernetes": {"kubeconfig": api.kubeconfig(tmp_path / "kubeconfig")}}


@pytest.mark.parametrize("stored", [[NAMESPACED], [SELECTED], [SELECTED, node(rack="2")]])
def test_labels_of_kubernetes_count_and_any_namespace(stored, asked):
    ask(holding(*stored), **asked)


def test_labels_that_kubernetes_does_not_have_do_not_count(api, asked):
    api.put("nodes", "node-a", labels={"rack": "2"})

    with pytest.raises(NoMatchingPoolError, match=r"does not match node-a \{rack: 2\}"):
        ask(holding(SELECTED, node(rack="1")), **asked)


def test_labels_of_a_node_that_kubernetes_does_not_have_are_those_stored(asked):
    ask(holding(SELECTED, node(rack="1")), **asked, kubernetes_node="elsewhere")


@pytest.mark.parametrize("stored", [[SELECTED], [SELECTED, node(rack="2")]])
def test_an_api_that_does_not_answer_is_no_reason_against_a_node(stored, api, asked):
    api.fault = Fault.ERROR

    ask(holding(*stored), **asked)
    with pytest.raises(NoMatchingPoolError, match="there is no IPPool"):
        ask(holding(), **asked)


def test_an_api_that_nobody_can_ask_is_told(asked):
    with pytest.raises(InvalidRequestError, match="/missing"):
        ask(holding(SELECTED), kubernetes={"kubeconfig": "/missing"})
    with pytest.raises(InvalidRequestError, match=r"'A b' .*as kubernetes\.node_name"):
        ask(holding(SELECTED), **asked, kubernetes_node="A b")
