"""The program as a whole: options, errors, start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from poolctl.main import main
from poolmgr import __version__
from tests.support.poolctl import on, pool

ROOT = Path(__file__).resolve().parents[2]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "cli")])


def program(*args, stdin="", **environ):
    """Run poolctl as its own process."""
    return subprocess.run(
        [sys.executable, "-m", "poolctl.main", *args],
        input=stdin,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PATHS, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Broken:
    """A store with a fault in it."""

    def read(self, *args, **options):
        raise ZeroDivisionError("by\nzero")


def test_the_version_is_the_packages():
    assert f"poolctl {__version__}\n" == CliRunner().invoke(main, ["--version"]).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing command; see 'poolctl --help'"),
        (["nonsense"], "No such command 'nonsense'; see 'poolctl --help'"),
        (["--nonsense"], "--nonsense"),
        (["--timeout", "0", "get", "nodes"], "Invalid value for '--timeout'"),
        (["node"], "Missing command; see 'poolctl node --help'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(args, message):
    result = CliRunner().invoke(main, args)

    assert (2, "", 1) == (result.exit_code, result.stdout, result.stderr.count("\n"))
    assert message in result.stderr


def test_even_a_fault_of_ours_is_one_line():
    result = on(Broken())("get", "nodes")

    assert result.exit_code == 1
    assert result.stderr.startswith(
        "poolctl: error: this is a fault in poolctl, please report it: Zero"
    )
    assert result.stderr.count("\n") == 1


def test_the_process_answers_with_exit_status_and_streams(raw, etcd_endpoint):
    applied = program("apply", "-f", "-", stdin=pool(), ETCD_ENDPOINTS=etcd_endpoint)
    missing = program(
        "get", "ippool", "pool-a", "nope", "-o", "name", ETCD_ENDPOINTS=etcd_endpoint
    )

    assert (0, "ippool/pool-a created\n", "") == (
        applied.returncode,
        applied.stdout,
        applied.stderr,
    )
    assert (1, "ippool/pool-a\n") == (missing.returncode, missing.stdout)
    assert missing.stderr == "poolctl: error: ippool/nope does not exist\n"


def test_without_configuration_the_process_says_where_it_looked():
    result = program("get", "ippools", "--output", "name")

    assert result.returncode == 2
    assert "no etcd endpoints are configured" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_needs_neither_models_nor_etcd_client():
    code = (
        "import sys\n"
        "from poolctl.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'yaml', 'grpc', 'etcd3', 'tabulate'} & sys.modules.keys()))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.startswith("Usage: poolctl ")
    assert result.stdout.endswith("[]\n")
