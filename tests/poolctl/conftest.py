"""Fixtures for tests of the command line."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from poolctl.main import main
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import Poolctl, on

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "poolctl.main"]
Run = Callable[..., subprocess.CompletedProcess[str]]


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


@pytest.fixture
def environ() -> dict[str, str]:
    """The environment of processes: poolctl can be found, and no etcd is named."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "cli")])
    return {"PATH": os.environ["PATH"], "PYTHONPATH": paths}


@pytest.fixture
def program(environ: dict[str, str]) -> Run:
    """`poolctl` as its own process; options are variables of its environment."""

    def run(*args: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *args],
            input=stdin,
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def shell(environ: dict[str, str]) -> Run:
    """A shell script that calls `poolctl`; options are variables of its environment."""

    def run(script: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f'poolctl() {{ {shlex.join(COMMAND)} "$@"; }}\n{script}'],
            input=stdin,
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
