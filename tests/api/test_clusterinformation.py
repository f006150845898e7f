"""ClusterInformation: what a cluster starts with."""

import json
import re

from poolmgr.api import ClusterInformation
from poolmgr.api.clusterinformation import new_cluster


def test_a_new_cluster_has_a_guid_and_is_ready():
    stored = json.loads(new_cluster("2026-11-23T19:13:08Z").to_stored())

    assert list(stored) == ["kind", "apiVersion", "metadata", "spec"]
    assert stored["metadata"]["name"] == "default"
    assert re.fullmatch("[0-9a-f]{32}", stored["spec"].pop("clusterGUID"))
    assert stored["spec"] == {"datastoreReady": True}


def test_not_ready_differs_from_not_said():
    for spec in ({"datastoreReady": False}, {}):
        raw = json.dumps({"metadata": {"name": "default"}, "spec": spec}).encode()

        assert spec == json.loads(ClusterInformation.from_stored(raw, 1).to_stored())["spec"]
