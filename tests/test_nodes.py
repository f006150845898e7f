"""Node resources have the labels of Kubernetes' nodes."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from poolmgr.api import Node
from poolmgr.cidr import parse_network
from poolmgr.core.records import affinity_key, resource_key, session_key
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import (
    ContentionError,
    CorruptStateError,
    InvalidRequestError,
    KubernetesError,
    RefusedError,
)
from poolmgr.kube.access import Access
from poolmgr.kube.client import Kubernetes
from poolmgr.nodes import delete_node, kubernetes_labels, label_node, labelled
from tests.support.kube_api import Fault, KubeApi

KEY = resource_key("nodes", "node-a")
KUBERNETES = {"kubernetes.io/hostname": "node-a", "rack": "r1"}
STORED: dict[str, Any] = {
    "kind": "Node",
    "apiVersion": "projectcalico.org/v3",
    "metadata": {
        "name": "node-a",
        "uid": "5bd1fb39-25b7-46ba-869a-1bf9f3861f3a",
        "creationTimestamp": "2026-08-22T09:00:00Z",
        "labels": {"rack": "old", "mine": "1"},
        "annotations": {"projectcalico.org/kube-labels": "{}"},
        "future": [1],
    },
    "spec": {
        "bgp": {"ipv4Address": "192.0.2.1/24"},
        "orchRefs": [{"nodeName": "node-a", "orchestrator": "k8s"}],
        "future": {"deep": True},
    },
    "status": {"podCIDRs": ["10.0.0.0/24"]},
}


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


@pytest.fixture
def kubernetes(api, tmp_path):
    client = Kubernetes(Access(kubeconfig=api.kubeconfig(tmp_path / "kubeconfig")))
    yield client
    client.close()


def sync(store, kubernetes, name="node-a"):
    return label_node(store, name, kubernetes_labels(kubernetes, name), 5)


# The value.


def test_a_new_resource_has_name_identity_and_labels():
    node = labelled(None, "node-a", {"rack": "r1"}, uid="u", now_ns=0)

    assert node is not None
    assert {
        "name": "node-a",
        "uid": "u",
        "creationTimestamp": "1970-01-01T00:00:00Z",
        "labels": {"rack": "r1"},
    } == json.loads(node.to_stored())["metadata"]


def test_of_a_stored_resource_only_labels_change():
    stored = Node.from_stored(json.dumps(STORED).encode(), 7)

    node = labelled(stored, "node-a", KUBERNETES, uid="other", now_ns=1)

    assert node is not None
    metadata = {**STORED["metadata"], "labels": KUBERNETES}
    assert {**STORED, "metadata": metadata} == json.loads(node.to_stored())


def test_equal_labels_need_no_change():
    stored = Node.from_stored(json.dumps(STORED).encode(), 7)
    labels = {"mine": "1", "rack": "old"}

    assert labelled(stored, "node-a", labels, uid="u", now_ns=1) is None


# In the store.


def test_a_node_is_created_once(store, raw, kubernetes):
    first, second = sync(store, kubernetes), sync(store, kubernetes)

    assert (True, False) == (first, second)
    assert KUBERNETES == json.loads(raw.get(KEY))["metadata"]["labels"]


def test_a_stored_node_follows_kubernetes_and_keeps_the_rest(store, raw, api, kubernetes):
    raw.put(EPOCH_KEY, "some epoch")
    raw.put(KEY, json.dumps(STORED))

    written = [sync(store, kubernetes)]
    api.put("nodes", "node-a", labels={"rack": "r7"})
    written += [sync(store, kubernetes), sync(store, kubernetes)]

    assert [True, True, False] == written
    metadata = {**STORED["metadata"], "labels": {"rack": "r7"}}
    assert {**STORED, "metadata": metadata} == json.loads(raw.get(KEY))


def test_many_at_once_create_one_node(store, raw, kubernetes):
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda _: sync(store, kubernetes), range(32)))

    assert 1 == sum(written)
    assert KUBERNETES == json.loads(raw.get(KEY))["metadata"]["labels"]


class Overtaken:
    """A store that somebody else writes to between our read and our commit."""

    def __init__(self, store, write):
        self._store, self._write = store, write

    def read(self, fetch, **kwargs):
        return self._store.read(fetch, **kwargs)

    def commit(self, txn, **kwargs):
        self._write()
        return self._store.commit(txn, **kwargs)


def test_a_change_by_somebody_else_is_not_overwritten(store, raw, kubernetes):
    raw.put(KEY, json.dumps(STORED))
    theirs = json.dumps({**STORED, "spec": {"future": 8}})

    with pytest.raises(ContentionError, match="node/node-a was changed by somebody else"):
        sync(Overtaken(store, lambda: raw.put(KEY, theirs)), kubernetes)

    assert theirs == raw.get(KEY).decode()


def test_a_change_that_made_the_labels_equal_is_enough(store, raw, kubernetes):
    raw.put(KEY, json.dumps(STORED))

    written = sync(Overtaken(store, lambda: sync(store, kubernetes)), kubernetes)

    assert written is False
    assert KUBERNETES == json.loads(raw.get(KEY))["metadata"]["labels"]


def test_a_node_that_was_deleted_meanwhile_is_not_brought_back(store, raw, kubernetes):
    raw.put(KEY, json.dumps(STORED))

    with pytest.raises(ContentionError):
        sync(Overtaken(store, lambda: raw.delete(KEY)), kubernetes)

    assert raw.get(KEY) is None


def test_nothing_is_written_into_other_data_than_was_read(store, raw, kubernetes):
    raw.put(EPOCH_KEY, "before a restore")

    with pytest.raises(ContentionError):
        sync(Overtaken(store, lambda: raw.put(EPOCH_KEY, "after it")), kubernetes)

    assert raw.get(KEY) is None


def test_a_node_that_kubernetes_does_not_know_is_left_alone(store, raw, api, kubernetes):
    with pytest.raises(InvalidRequestError, match=f"{api.url} has no node node-x") as caught:
        sync(store, kubernetes, "node-x")

    assert "nodename" == caught.value.field
    assert {} == raw.dump()


def test_without_an_answer_of_kubernetes_nothing_is_written(store, raw, api, kubernetes):
    raw.put(KEY, json.dumps(STORED))
    before = raw.dump()
    api.fault = Fault.ERROR

    with pytest.raises(KubernetesError):
        sync(store, kubernetes)

    assert before == raw.dump()


def test_a_stored_node_that_cannot_be_read_is_left_alone(store, raw, kubernetes):
    raw.put(KEY, "no JSON")

    with pytest.raises(CorruptStateError, match="nodes/node-a"):
        sync(store, kubernetes)

    assert b"no JSON" == raw.get(KEY)


def test_a_resource_is_deleted_once(store, raw):
    raw.put(KEY, json.dumps(STORED))

    since = now(store)

    first, second = (delete_node(store, "node-a", 5, since=since) for _ in range(2))

    assert (True, False, None) == (first, second, raw.get(KEY))


def test_a_resource_that_somebody_changes_is_not_deleted(store, raw):
    raw.put(KEY, json.dumps(STORED))
    changed = Overtaken(store, lambda: raw.put(KEY, json.dumps(STORED)))

    with pytest.raises(ContentionError, match="node/node-a was changed by somebody else"):
        delete_node(changed, "node-a", 5, since=now(store))

    assert raw.get(KEY) is not None


def test_a_resource_that_somebody_else_deletes_is_gone(store, raw):
    raw.put(KEY, json.dumps(STORED))

    rival = Overtaken(store, lambda: raw.delete(KEY))

    assert delete_node(rival, "node-a", 5, since=now(store)) is False


def now(store) -> int:
    return store.read(Fetch(keys=frozenset({KEY}))).revision


@pytest.mark.parametrize("has_resource", [True, False])
@pytest.mark.parametrize(
    "sign",
    [
        affinity_key("node-a", parse_network("10.0.0.0/26")),
        affinity_key("node-a", parse_network("fd00::/122")),
        session_key("node-a"),
    ],
)
def test_a_node_that_came_back_since_it_was_looked_at_is_not_deleted(
    store, raw, sign, has_resource
):
    if has_resource:
        raw.put(KEY, json.dumps(STORED))
    since, before = now(store), raw.get(KEY)
    raw.put(sign, "{}")

    with pytest.raises(RefusedError, match="node/node-a came back while it was removed"):
        delete_node(store, "node-a", 5, since=since)

    assert before == raw.get(KEY)


def test_what_other_nodes_do_meanwhile_does_not_keep_a_node(store, raw):
    raw.put(KEY, json.dumps(STORED))
    since = now(store)
    raw.put(affinity_key("node-ab", parse_network("10.0.0.0/26")), "{}")
    raw.put(session_key("node-ab"), "{}")

    assert delete_node(store, "node-a", 5, since=since)
    assert raw.get(KEY) is None
