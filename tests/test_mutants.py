"""Every seeded fault is noticed by the test that is there for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import MUTANTS
from tests.support.mutant import Mutant

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("poolmgr", "cli", "tests", "pyproject.toml")
FAILED = 1
"""Pytest's exit status when tests ran and some failed; a broken import gives another."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources and their tests, which import the copy because pytest's root is there."""
    ignored = shutil.ignore_patterns("__pycache__", "data", ".*")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def run(copy: Path, node: str) -> subprocess.CompletedProcess[str]:
    env = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTEST_", "COV_", "COVERAGE_"))
    }
    options = ["-x", "-q", "--tb=line", "--hypothesis-seed=0", "-p", "tests.support.no_shrink"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, node],
        cwd=copy,
        env={**env, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def apply(copy: Path, mutant: Mutant) -> None:
    path = copy / mutant.path
    text = path.read_text()
    assert 1 == text.count(mutant.old), f"{mutant.path} has changed; adapt the mutant"
    path.write_text(text.replace(mutant.old, mutant.new))


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, id=mutant.name, marks=[pytest.mark.slow] if mutant.slow else [])
        for mutant in MUTANTS
    ],
)
def test_the_fault_is_noticed(copy: Path, mutant: Mutant):
    apply(copy, mutant)

    done = run(copy, mutant.node)

    assert FAILED == done.returncode, done.stdout + done.stderr


def test_without_a_fault_the_copy_passes(copy: Path):
    """So that a mutant cannot fail only because the copy lacks something."""
    nodes = sorted({mutant.node.split("::")[0] for mutant in MUTANTS})

    assert all((copy / node).exists() for node in nodes)
    assert 0 == run(copy, MUTANTS[0].node).returncode


def test_every_mutant_fits_the_sources_and_has_its_own_name():
    assert len(MUTANTS) == len({mutant.name for mutant in MUTANTS})
    assert [] == [m.name for m in MUTANTS if 1 != (ROOT / m.path).read_text().count(m.old)]
    assert [] == [m.name for m in MUTANTS if m.old == m.new]
