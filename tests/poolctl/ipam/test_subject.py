import json

import click
import pytest

from poolctl.ipam.subject import Subject, network_of, node_of, subject_of
from poolmgr.errors import InvalidRequestError

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: prod, annotations: {a: "1"}}
"""


def written(path, text):
    path.write_text(text)
    return str(path)


def test_nothing_given_is_no_pod():
    assert Subject() == subject_of("", "", None, None)
    assert not Subject()


def test_a_manifest_says_all(tmp_path):
    pod = subject_of("", "", None, written(tmp_path / "pod.yaml", POD))

    assert Subject(namespace="prod", pod="web-0", annotations={"a": "1"}) == pod
    assert pod


def test_a_manifest_without_names_leaves_them_to_the_options(tmp_path):
    file = written(
        tmp_path / "pod.json", json.dumps({"kind": "Pod", "spec": {"hostNetwork": True}})
    )
    pod = subject_of("prod", "web-0", None, file)

    assert Subject(namespace="prod", pod="web-0", annotations={}, host_network=True) == pod


@pytest.mark.parametrize("options", [("test", ""), ("", "web-1")])
def test_options_that_contradict_a_manifest_are_a_usage_error(tmp_path, options):
    file = written(tmp_path / "pod.yaml", POD)

    with pytest.raises(click.UsageError, match="and the manifest says"):
        subject_of(options[0], options[1], None, file)


def test_of_a_pod_given_as_annotations_only_these_count(tmp_path):
    file = written(tmp_path / "pod.yaml", POD)

    assert Subject(annotations={"a": "1"}) == subject_of("", "", file, None)
    plain = written(tmp_path / "plain.yaml", "b: '2'\n")
    assert Subject(namespace="n", annotations={"b": "2"}) == subject_of("n", "", plain, None)


def test_two_sources_are_a_usage_error():
    with pytest.raises(click.UsageError, match="either"):
        subject_of("", "", "a", "b")


@pytest.mark.parametrize("names", [("a/b", ""), ("", "a;b")])
def test_names_that_cannot_be_are_usage_errors(names):
    with pytest.raises(click.BadParameter, match="is not a name"):
        subject_of(names[0], names[1], None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 5", "a: 5 must be a string"),
        ("a: [", "not YAML"),
        ("", "0 documents"),
        ("a: x\n---\nb: y", "2 documents"),
        ("- 5", "5 is not a resource"),
        ("kind: Deployment", 'kind "Deployment" is not Pod'),
        ("metadata: {name: a}", "kind null is not Pod"),
        ("kind: Pod\nmetadata: 5", "metadata must be an object"),
        ("kind: Pod\nmetadata: {name: A_b}", 'metadata.name: "A_b" is not a name'),
        ("kind: Pod\nmetadata: {annotations: [a]}", "annotations must be an object"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_the_reason(tmp_path, text, said):
    file = written(tmp_path / "a.yaml", text)

    with pytest.raises(InvalidRequestError) as caught:
        subject_of("", "", file, None)
    assert f"{file}: " in str(caught.value) or f"{file}, line" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(InvalidRequestError, match="cannot read /nowhere: No such file"):
        subject_of("", "", "/nowhere", None)


def test_nodes_have_names():
    assert "node-a" == node_of("node-a")
    with pytest.raises(click.BadParameter, match="is not a node name"):
        node_of("")


OURS = {"type": "ptp", "ipam": {"type": "poolmgr-ipam"}}


def conf(path, *plugins):
    return path.write_text(json.dumps({"name": "n", "plugins": plugins})) and path


def test_the_network_of_ours_is_found(tmp_path):
    found = network_of(conf(tmp_path / "a.conflist", OURS, {"type": "portmap"}))

    assert ("n", "ptp") == (found.name, found.main.type)


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ([{"type": "ptp"}], "no plugin whose ipam.type is poolmgr-ipam"),
        (
            [{"type": "multus", "delegates": [OURS, {**OURS, "name": "m"}]}],
            "2 networks with addresses from poolmgr-ipam: n, m",
        ),
    ],
)
def test_one_network_has_to_be_ours(tmp_path, plugins, said):
    with pytest.raises(InvalidRequestError, match=said):
        network_of(conf(tmp_path / "a.conflist", *plugins))


def test_a_configuration_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidRequestError, match=r"cannot read .*: No such file"):
        network_of(tmp_path / "nothing")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(InvalidRequestError, match="not JSON"):
        network_of(tmp_path / "bad")
    with pytest.raises(InvalidRequestError, match="not a regular file"):
        network_of(tmp_path)
