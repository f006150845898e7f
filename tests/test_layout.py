"""The tests mirror the source tree, and imports keep to the layers."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"

# Source folder -> folder of its tests.
MIRROR = {
    "poolmgr": "tests",
    "cli/poolctl": "tests/poolctl",
    "cni_shim": "tests/cni_shim",
    "deploy": "tests/deploy",
}

# Modules without a test module of their own, and why.
UNTESTED = {
    "poolmgr/core/outcome.py": "values without behaviour",
    "poolmgr/core/search.py": "the middle of an assignment: tests/core/test_assign.py",
    "poolmgr/kube/facts.py": "values without behaviour",
}

# Test modules that belong to no single module.
BEYOND = (
    "tests/behaviours/",
    "tests/cni/test_fuzz.py",
    "tests/copies/test_rivals.py",
    "tests/e2e/",
    "tests/interop/",
    "tests/poolctl/test_snapshots.py",
    "tests/store/test_etcd_container.py",
    "tests/test_dev.py",
    "tests/test_ipam_faults.py",
    "tests/test_layout.py",
    "tests/test_mutants.py",
    "tests/test_readme.py",
    "tests/test_scenarios.py",
    "tests/test_state_machine.py",
    "tests/test_wheel.py",
)


def expected() -> dict[str, str]:
    """Map each source module to its test module; packages whose __init__ holds only text need none."""
    pairs = {}
    for source, tests in MIRROR.items():
        for path in sorted((ROOT / source).rglob("*.py")):
            folder = Path(tests) / path.parent.relative_to(ROOT / source)
            if path.name == "__init__.py":
                continue
            pairs[str(path.relative_to(ROOT))] = str(folder / f"test_{path.name}")
    return pairs


def test_every_module_has_its_test_module():
    missing = {module for module, test in expected().items() if not (ROOT / test).exists()}

    assert set(UNTESTED) == missing


def test_every_test_module_has_its_module():
    wanted = set(expected().values())
    present = {str(path.relative_to(ROOT)) for path in TESTS.rglob("test_*.py")}

    assert {test for test in present if test.startswith(BEYOND)} == present - wanted


def test_imports_keep_to_the_contracts():
    path = os.pathsep.join([str(ROOT), str(ROOT / "cli")])

    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
