"""A node with CNI plugins beside the private etcd."""

import uuid
from pathlib import Path

import pytest

from poolctl.node.install import install
from poolmgr.ipam import IPAM
from tests.support.cluster import Cluster
from tests.support.netns import Node, plugin_dir, why_not


@pytest.fixture(scope="session")
def plugin_path(tmp_path_factory):
    """Where a runtime looks for plugins: ours as installed, and the reference plugins."""
    if reason := why_not():
        pytest.skip(reason)
    ours = tmp_path_factory.mktemp("cni-bin")
    install(ours)
    return (ours, plugin_dir())


@pytest.fixture
def node(plugin_path, etcd_endpoint):
    """A machine of its own, called node-a."""
    with Node("node-a", etcd_endpoint) as started:
        yield started


@pytest.fixture
def cgroup():
    """Name of a control group for all containers; what is left of it is removed."""
    name = f"poolmgr-{uuid.uuid4().hex[:12]}"
    yield name
    root = Path("/sys/fs/cgroup")
    for path in (*root.glob(name), *root.glob(f"*/{name}")):  # version 2, version 1
        for folder in (*sorted(path.glob("**/*/"), reverse=True), path):
            folder.rmdir()


@pytest.fixture
def cluster(raw):
    """What is stored in the private etcd."""
    return Cluster(raw)


@pytest.fixture
def ipam(store):
    return IPAM(store)
