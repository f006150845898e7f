"""Fixtures for rows that are seen from outside."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolctl.node.install import NAME, install
from poolmgr.store.etcd import EtcdStore
from tests.behaviours.calls import Caller
from tests.behaviours.place import Place, Run
from tests.support.rawetcd import RawEtcd
from tests.support.site import Site

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def executable(etcd_endpoint: str) -> Run:
    """`poolctl` as its own process on the private etcd, whatever that holds."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
        "ETCD_ENDPOINTS": etcd_endpoint,
    }

    def run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "poolctl.main", *args],
            input=stdin,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def program(raw: RawEtcd, executable: Run) -> Run:
    """`poolctl` as its own process on the private etcd, which is empty at first."""
    return executable


@pytest.fixture(scope="session")
def shared_raw(etcd_endpoint: str) -> Iterator[RawEtcd]:
    """As `raw`, for what is done once for a whole table, which has to empty etcd by itself."""
    other = RawEtcd(etcd_endpoint)
    yield other
    other.close()


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNI executable as installed."""
    directory = tmp_path_factory.mktemp("cni-bin")
    install(directory)
    return directory / NAME


@pytest.fixture
def place(
    store: EtcdStore, raw: RawEtcd, etcd_endpoint: str, plugin: Path, program: Run
) -> Place:
    """The private etcd, which is empty at first, as stories see it."""
    return Place(store, raw, etcd_endpoint, plugin, program)


@pytest.fixture
def caller(raw: RawEtcd, etcd_endpoint: str) -> Caller:
    """A runtime on a node; its etcd is empty at first."""
    return Caller(raw, etcd_endpoint)


@pytest.fixture
def site(raw, store) -> Iterator[Site]:
    """An etcd for a row of several steps; what is stored at its end must be sound."""
    made = Site(raw, store)
    yield made

    assert made.left == {finding.flaw for finding in made.findings()}
