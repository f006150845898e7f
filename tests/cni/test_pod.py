from dataclasses import dataclass, field, replace

import pytest

from poolmgr.cni.args import Args
from poolmgr.cni.netconf import Call, Command
from poolmgr.cni.pod import is_looked_up, look_up
from poolmgr.cni.wanted import PodView
from poolmgr.errors import InvalidRequestError

CALL = Call(
    command=Command.ADD,
    version="1.0.0",
    network="net1",
    kubernetes={"kubeconfig": "/k"},
    args=Args(pod="web-0", namespace="prod"),
)


@dataclass
class Thing:
    labels: dict = field(default_factory=dict)
    annotations: dict = field(default_factory=dict)


@dataclass
class Api:
    """Answers from two tables, and notes what it was asked."""

    pods: dict
    namespaces: dict
    asked: list = field(default_factory=list)

    def pod(self, namespace, name):
        self.asked.append(f"pod {namespace}/{name}")
        return self.pods.get((namespace, name))

    def namespace(self, name):
        self.asked.append(f"namespace {name}")
        return self.namespaces.get(name)


@pytest.fixture
def api():
    return Api(
        {("prod", "web-0"): Thing(annotations={"a": "b"})},
        {"prod": Thing(labels={"team": "x"}, annotations={"c": "d"})},
    )


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ({}, True),
        ({"kubernetes": None}, False),
        ({"args": Args()}, False),
        ({"args": Args(pod="web-0")}, False),
        ({"args": Args(namespace="prod")}, False),
    ],
)
def test_only_pods_are_looked_up_and_only_where_there_is_an_api(keys, asked):
    assert is_looked_up(replace(CALL, **keys)) == asked


def test_the_pod_and_its_namespace_are_looked_up(api):
    assert look_up(CALL, api) == PodView(
        annotations={"a": "b"}, namespace_annotations={"c": "d"}, namespace_labels={"team": "x"}
    )
    assert api.asked == ["pod prod/web-0", "namespace prod"]


@pytest.mark.parametrize("annotations", [{}, {"e": "f"}])
def test_annotations_that_the_runtime_passed_are_not_looked_up(annotations, api):
    found = look_up(replace(CALL, annotations=annotations), api)

    assert (found.annotations, found.namespace_annotations) == (annotations, {"c": "d"})
    assert api.asked == ["namespace prod"]


def test_a_pod_or_namespace_that_the_api_does_not_know_is_refused_by_name(api):
    api.namespaces.clear()
    with pytest.raises(InvalidRequestError, match="does not know namespace prod"):
        look_up(CALL, api)
    api.pods.clear()
    with pytest.raises(InvalidRequestError, match="does not know pod prod/web-0"):
        look_up(CALL, api)
