"""`poolctl doctor`, `version` and `completion` as they are called."""

import json

import pytest
import yaml

from poolctl.report import FOUND, USAGE
from poolmgr import __version__
from tests.support.poolctl import pool


@pytest.fixture
def doctor(poolctl, tmp_path):
    """`poolctl doctor` on a host without networks."""

    def run(*args):
        return poolctl("doctor", "--conf-dir", str(tmp_path / "none"), *args)

    return run


def test_problems_are_exit_5_and_warnings_are_not(poolctl, doctor):
    empty = doctor()
    assert 0 == poolctl("apply", "-f", "-", stdin=pool()).exit_code
    with_pool = doctor()

    assert (FOUND, "") == (empty.exit_code, empty.stderr)
    assert "PROBLEM   pools         there is no pool" in empty.stdout
    assert (0, "") == (with_pool.exit_code, with_pool.stderr)
    assert "PROBLEM" not in with_pool.stdout


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_read_one_document(doctor, output, load):
    found = load(doctor("-o", output).stdout)

    checks = [each["check"] for each in found["findings"]]
    assert ["settings", "reachable", "version"] == checks[:3]
    assert {"permissions", "datastore", "pools", "calico", "plugin"} <= set(checks)


def test_as_a_program_it_exits_5(program, etcd_endpoint, raw):
    result = program("doctor", ETCD_ENDPOINTS=etcd_endpoint, COLUMNS="160")

    assert (FOUND, "") == (result.returncode, result.stderr)
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_the_version_is_told_without_asking_anybody(program):
    result = program("version", ETCD_ENDPOINTS="nonsense nonsense")

    assert (0, f"Client version: {__version__}\n", "") == (
        result.returncode,
        result.stdout,
        result.stderr,
    )


@pytest.mark.parametrize(
    "args", [("completion",), ("completion", "csh"), ("doctor", "-o", "x")]
)
def test_a_wrong_word_is_a_wrong_call(program, args):
    assert USAGE == program(*args).returncode
