"""Versions, of poolctl and of what it works with."""

import contextlib
import json

import pytest
import yaml

from poolctl.report import UNAVAILABLE
from poolmgr import __version__
from poolmgr.store.embedded import EmbeddedEtcd
from tests.support.poolctl import CLUSTER, manifest, pool
from tests.support.rawetcd import RawEtcd

SPEC = {
    "calicoVersion": "v3.33.0",
    "clusterType": "k8s,bgp",
    "clusterGUID": "abc",
    "datastoreReady": False,
}


def test_the_cluster_tells_its_own_and_etcds(poolctl, raw, private_etcd):
    raw.put(CLUSTER, manifest("ClusterInformation", "default", SPEC))

    result = poolctl("version", "--cluster")

    end = f"http://{private_etcd.endpoint}:"
    assert (0, "") == (result.exit_code, result.stderr)
    assert [
        ["Client", "version:", __version__],
        ["Cluster", "version:", "v3.33.0"],
        ["Cluster", "type:", "k8s,bgp"],
        ["Cluster", "GUID:", "abc"],
        ["Datastore", "ready:", "no"],
        ["etcd", "at", end, private_etcd.version],
    ] == [line.split() for line in result.stdout.splitlines()]


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_read_what_is_not_known_as_null(poolctl, private_etcd, output, load):
    found = load(poolctl("version", "--cluster", "-o", output).stdout)

    assert {
        "clientVersion": __version__,
        "clusterVersion": None,
        "clusterType": None,
        "clusterGUID": None,
        "datastoreReady": None,
        "etcd": {f"http://{private_etcd.endpoint}": private_etcd.version},
    } == found


def test_what_poolctl_itself_made_is_told(poolctl):
    poolctl("apply", "-f", "-", stdin=pool())

    found = json.loads(poolctl("version", "--cluster", "-o", "json").stdout)

    assert 32 == len(found["clusterGUID"])
    assert found["datastoreReady"] is True


def test_an_endpoint_that_does_not_answer_has_no_version(poolctl, etcd_endpoint):
    both = f"127.0.0.1:1,{etcd_endpoint}"

    found = json.loads(
        poolctl("--etcd-endpoints", both, "version", "--cluster", "-o", "json").stdout
    )

    assert found["etcd"]["http://127.0.0.1:1"] is None
    assert found["etcd"][f"http://{etcd_endpoint}"]


def test_who_may_not_read_is_told_so_beside_everything_else(etcd_binary, program):
    with EmbeddedEtcd(etcd_binary) as etcd, contextlib.closing(RawEtcd(etcd.endpoint)) as raw:
        raw.grant("nobody", "secret", {})
        raw.require_password("secret")
        environ = {"ETCD_USERNAME": "nobody", "ETCD_PASSWORD": "secret"}
        result = program("version", "--cluster", ETCD_ENDPOINTS=etcd.endpoint, **environ)

    lines = [line.split() for line in result.stdout.splitlines()]
    assert UNAVAILABLE == result.returncode
    assert ["Client", "version:", __version__] == lines[0]
    assert ["Cluster", "version:", "unknown"] == lines[1]
    assert ["etcd", "at", f"http://{etcd.endpoint}:", etcd.version] == lines[-1]
    assert "user nobody: " in result.stderr
    assert "does not permit this" in result.stderr


def test_without_any_etcd_the_cluster_is_an_error(poolctl):
    result = poolctl("--etcd-endpoints", "127.0.0.1:1", "version", "--cluster")

    assert (UNAVAILABLE, "") == (result.exit_code, result.stdout)
