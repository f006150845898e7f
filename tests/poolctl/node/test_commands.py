"""`poolctl node`: registering a host, installing the plugin."""

import json
import os

import pytest

from poolctl.report import REFUSED, USAGE
from poolmgr.core.records import resource_key
from tests.support.kube_api import KubeApi
from tests.support.poolctl import stored


def labels_of(store, name="node-a"):
    return json.loads(stored(store)[resource_key("nodes", name)])["metadata"].get("labels")


def test_a_node_is_created_with_its_labels(at_memory, memory):
    result = at_memory("node", "register", "node-a", "--label", "rack=r1", "-l", "k8s.io/zone=")

    node = json.loads(stored(memory)[resource_key("nodes", "node-a")])
    assert ("node/node-a created\n", 0) == (result.stdout, result.exit_code)
    assert {"rack": "r1", "k8s.io/zone": ""} == node["metadata"]["labels"]
    assert {"name", "uid", "creationTimestamp", "labels"} == node["metadata"].keys()


def test_registering_again_adds_labels_and_keeps_the_others(at_memory, memory):
    at_memory("node", "register", "node-a", "-l", "rack=r1", "-l", "zone=z1")

    changed = at_memory("node", "register", "node-a", "-l", "rack=r2")
    unchanged = at_memory("node", "register", "node-a")

    assert ("node/node-a configured\n", "node/node-a unchanged\n") == (
        changed.stdout,
        unchanged.stdout,
    )
    assert {"rack": "r2", "zone": "z1"} == labels_of(memory)


def test_the_name_comes_from_the_file_or_from_the_host(at_memory, tmp_path):
    (tmp_path / "nodename").write_text("from-file")

    from_file = at_memory("node", "register", "--nodename-file", str(tmp_path / "nodename"))
    from_host = at_memory("node", "register")

    assert from_file.stdout == "node/from-file created\n"
    if not os.path.exists("/var/lib/calico/nodename"):
        assert from_host.stdout == f"node/{os.uname().nodename.lower()} created\n"


@pytest.fixture
def kube():
    with KubeApi() as api:
        yield api


def test_labels_become_those_of_the_kubernetes_node(poolctl, store, kube, tmp_path):
    conf = kube.kubeconfig(tmp_path / "kubeconfig")
    poolctl("node", "register", "node-a", "-l", "old=1")

    result = poolctl("node", "register", "node-a", "--kubeconfig", conf)
    again = poolctl("node", "register", "node-a", "--kubeconfig", conf)

    assert ("node/node-a configured\n", "node/node-a unchanged\n") == (
        result.stdout,
        again.stdout,
    )
    assert {"kubernetes.io/hostname": "node-a", "rack": "r1"} == labels_of(store)


def test_labels_are_added_to_those_of_kubernetes_and_win(poolctl, store, kube, tmp_path):
    conf = kube.kubeconfig(tmp_path / "kubeconfig")

    result = poolctl(
        "node", "register", "node-b", "--kubeconfig", conf, "-l", "rack=r9", "-l", "x=y"
    )

    assert "node/node-b created\n" == result.stdout
    assert {"rack": "r9", "x": "y"} == labels_of(store, "node-b")


def test_without_an_answer_of_kubernetes_nothing_is_registered(
    at_memory, memory, kube, tmp_path
):
    conf = kube.kubeconfig(tmp_path / "kubeconfig")
    arguments = ("node", "register", "--kubeconfig", conf)

    unknown = at_memory(*arguments, "node-x")
    kube.stop()
    down = at_memory(*arguments, "node-a")
    no_file = at_memory("node", "register", "node-a", "--kubeconfig", "/missing")

    assert "has no node node-x; set nodename" in unknown.stderr
    assert f"Kubernetes API {kube.url}, node node-a: " in down.stderr
    assert "kubeconfig /missing cannot be used: " in no_file.stderr
    assert {REFUSED} == {each.exit_code for each in (unknown, down, no_file)}
    assert {} == stored(memory)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["Node_A"], REFUSED, 'metadata.name: "Node_A" is not allowed'),
        (["A B"], REFUSED, 'metadata.name: "A B" is not allowed'),
        (["a/b"], REFUSED, "'a/b' is not a node name"),
        (["node-a", "-l", "rack"], USAGE, "'rack' is not of the form key=value"),
        (["node-a", "-l", "rack=b c"], REFUSED, 'metadata.labels.rack: "b c" is not allowed'),
        (["--nodename-file", "/missing"], REFUSED, "file /missing is not readable"),
    ],
)
def test_names_and_labels_are_checked(at_memory, memory, args, status, message):
    result = at_memory("node", "register", *args)

    assert (status, "") == (result.exit_code, result.stdout)
    assert message in result.stderr
    assert {} == stored(memory)


def test_the_plugin_is_removed_where_it_was_installed(at_memory, tmp_path):
    for name in ("poolmgr-ipam", "poolmgr-ipam.direct"):
        (tmp_path / name).write_text("")

    result = at_memory("node", "install", "--bin-dir", str(tmp_path), "--uninstall")

    assert [
        f"{tmp_path}/poolmgr-ipam removed",
        f"{tmp_path}/poolmgr-ipam.direct removed",
    ] == sorted(result.stdout.splitlines())
    assert [] == list(tmp_path.iterdir())


def test_installing_needs_a_directory(at_memory, tmp_path):
    result = at_memory("node", "install", "--bin-dir", str(tmp_path / "missing"))

    assert result.exit_code == REFUSED
    assert result.stderr.startswith("poolctl: error: ")
