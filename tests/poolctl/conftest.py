"""Fixtures for tests of the command line."""

import pytest
from click.testing import CliRunner, Result

from poolctl.main import main
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import Poolctl, on


@pytest.fixture
def poolctl(raw, etcd_endpoint: str) -> Poolctl:
    """`poolctl` on the private etcd, which is empty at first."""
    environ = {"ETCD_ENDPOINTS": etcd_endpoint, "CALICO_ETCD_ENDPOINTS": None}

    def run(*args: str, stdin: str = "") -> Result:
        return CliRunner().invoke(main, args, input=stdin, env=environ)

    return run


@pytest.fixture
def memory() -> MemoryStore:
    """The store of `at_memory`, which is empty at first."""
    return MemoryStore()


@pytest.fixture
def at_memory(memory: MemoryStore) -> Poolctl:
    """`poolctl` on a store in memory."""
    return on(memory)
