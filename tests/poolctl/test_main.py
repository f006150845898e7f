"""The program as a whole: options, errors, start."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from poolctl.main import main
from poolctl.report import (
    FOUND,
    INTERRUPTED,
    NOBODY_READS,
    REFUSED,
    UNAVAILABLE,
    UNKNOWN,
    USAGE,
)
from poolmgr import __version__
from poolmgr.errors import StoreUnavailableError
from tests.support.hooked import HookedStore, interrupt
from tests.support.poolctl import POOL_A, manifest, on, pool, stored


class Broken:
    """A store with a fault in it."""

    def __init__(self, fault: BaseException) -> None:
        self._fault = fault

    def read(self, *args, **options):
        raise self._fault


def test_the_version_is_the_packages():
    assert f"poolctl {__version__}\n" == CliRunner().invoke(main, ["--version"]).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing command; see 'poolctl --help'"),
        (["nonsense"], "No such command 'nonsense'; see 'poolctl --help'"),
        (["--nonsense"], "--nonsense"),
        (["--etcd-endpoints", "a b", "get", "nodes"], "'a b' is not of the form http://"),
        (["node"], "Missing command; see 'poolctl node --help'"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(args, message):
    result = CliRunner().invoke(main, args)

    assert (2, "", 1) == (result.exit_code, result.stdout, result.stderr.count("\n"))
    assert message in result.stderr


def test_even_a_fault_of_ours_is_one_line():
    result = on(Broken(ZeroDivisionError("by\nzero")))("get", "nodes")

    assert result.exit_code == 1
    assert result.stderr.startswith(
        "poolctl: error: this is a fault in poolctl, please report it: Zero"
    )
    assert result.stderr.count("\n") == 1


def test_the_process_answers_with_exit_status_and_streams(program, raw, etcd_endpoint):
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


def test_without_configuration_the_process_says_where_it_looked(program):
    result = program("get", "ippools", "--output", "name")

    assert result.returncode == REFUSED
    assert "no etcd endpoints are configured" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("args", [["--help"], ["ipam", "show", "--help"], ["version"]])
def test_what_asks_nobody_needs_neither_models_nor_etcd_client(environ, args):
    code = (
        "import sys\n"
        "from poolctl.main import main\n"
        f"try: main({args})\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'yaml', 'grpc', 'etcd3', 'tabulate', 'poolmgr.api'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.startswith(("Usage: poolctl ", "Client version"))
    assert result.stdout.endswith("[]\n")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "1e300", "-1", "0", "86401", "soon"])
def test_a_timeout_that_is_no_time_is_a_wrong_call(program, seconds):
    result = program("--timeout", seconds, "get", "nodes")

    assert (USAGE, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith("poolctl: error: Invalid value for '--timeout': ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command", [[], ["apply"], ["ipam"], ["ipam", "show"], ["node"], ["migrate"]]
)
def test_the_short_option_for_help_is_known_everywhere(command):
    short, long = (CliRunner().invoke(main, [*command, option]) for option in ("-h", "--help"))

    assert (0, long.stdout) == (short.exit_code, short.stdout)


def helps(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each command's words and its help at 80 columns."""
    result = CliRunner().invoke(main, [*path, "--help"], env={"COLUMNS": "80"})
    yield path, result.stdout
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from helps(each, *path, name)


@pytest.mark.parametrize(("path", "text"), [*helps(main)])
def test_help_is_whole_and_has_examples(path, text):
    _, _, commands = text.partition("Commands:\n")

    assert commands or "poolctl" in text.partition("\n")[2]
    assert "\\b" not in text
    assert [] == [line for line in commands.splitlines() if line.endswith("...")]


def test_help_lists_the_exit_statuses():
    lines = CliRunner().invoke(main, ["--help"]).stdout.splitlines()

    for status in (0, REFUSED, USAGE, UNAVAILABLE, UNKNOWN, FOUND, INTERRUPTED, NOBODY_READS):
        assert [line for line in lines if line.startswith(f"    {status}  ")]


@pytest.mark.parametrize("command", ["--help", "--version", "get --help", "get ippools"])
def test_standard_output_that_takes_nothing_is_an_error(shell, raw, etcd_endpoint, command):
    result = shell(f"poolctl {command} >/dev/full", ETCD_ENDPOINTS=etcd_endpoint)

    assert (REFUSED, "poolctl: error: standard output: No space left on device\n") == (
        result.returncode,
        result.stderr,
    )


@pytest.mark.parametrize("command", ["get nodes", "ipam show", "get nodes -o json"])
def test_a_reader_that_has_enough_is_no_error_to_tell_of(shell, raw, etcd_endpoint, command):
    script = f"poolctl {command} | exec true; exit ${{PIPESTATUS[0]}}"

    result = shell(script, ETCD_ENDPOINTS=etcd_endpoint)

    assert (NOBODY_READS, "") == (result.returncode, result.stderr)


def test_a_closed_standard_output_is_an_error(shell):
    result = shell("poolctl --help >&-")

    assert (REFUSED, True) == (result.returncode, "standard output is closed" in result.stderr)


def test_the_exit_status_counts_although_nobody_can_be_told(shell):
    assert shell("poolctl nonsense 2>/dev/full").returncode == USAGE


@pytest.mark.parametrize("limit", [RecursionError(), MemoryError()])
def test_a_limit_of_the_machine_is_no_fault_of_ours(limit):
    result = on(Broken(limit))("get", "nodes")

    assert result.exit_code == REFUSED
    assert "nested too deeply or too large" in result.stderr


def test_ctrl_c_while_modules_are_imported_prints_no_traceback(program, environ, tmp_path):
    (tmp_path / "click.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")

    result = program("--help", PYTHONPATH=f"{tmp_path}:{environ['PYTHONPATH']}")

    assert (INTERRUPTED, "", "") == (result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("args", "stdin"),
    [
        (("apply", "-f", "-"), pool("pool-b", "10.11.0.0/16")),
        (("ipam", "split", "2", "--name", "pool-a", "--yes"), ""),
        (("ipam", "configure", "--strictaffinity=true"), ""),
        (("node", "register", "node-a"), ""),
    ],
)
def test_who_interrupts_a_write_is_told_that_it_may_have_happened(args, stdin, moment):
    store = HookedStore()
    on(store)("apply", "-f", "-", stdin=pool())
    setattr(store, moment, interrupt)

    result = on(store)(*args, stdin=stdin)

    assert (INTERRUPTED, "") == (result.exit_code, result.stdout)
    assert (
        "interrupted; what was written until then stays, and a write that was under way may "
        "have happened: look\n"
    ) in result.stderr


def test_who_interrupts_a_read_is_told_nothing():
    result = on(Broken(KeyboardInterrupt()))("apply", "-f", "-", stdin=pool())

    assert (INTERRUPTED, "") == (result.exit_code, result.stderr.strip())


LOST = (
    "poolctl: error: standard output: No space left on device; the command went on with its "
    "work, but what it said of it is lost: look at what is stored\n"
)


def test_work_that_was_done_goes_on_although_nobody_can_be_told(
    shell, raw, store, etcd_endpoint
):
    nodes = ",".join(manifest("Node", f"n{number:03}") for number in range(120))

    result = shell(
        "poolctl apply -f - >/dev/full", stdin=f"[{nodes}]", ETCD_ENDPOINTS=etcd_endpoint
    )

    assert (REFUSED, LOST) == (result.returncode, result.stderr)
    assert 120 == sum("/nodes/n" in key for key in stored(store))


def test_an_error_that_comes_later_keeps_its_exit_status(monkeypatch):
    def full(text, *, err=False):
        if not err:
            raise OSError(28, "No space left on device")
        told(text, err=True)

    def fail():
        raise StoreUnavailableError("down")

    store, told = HookedStore(), click.echo
    on(store)("apply", "-f", "-", stdin=pool())
    on(store)("apply", "-f", "-", stdin=manifest("Node", "n"))
    monkeypatch.setattr("poolctl.report.click.echo", full)
    store.when = lambda txn: POOL_A in txn.deletes
    store.before = fail

    result = on(store)("delete", "-f", "-", stdin=f"[{manifest('Node', 'n')},{pool()}]")

    assert UNAVAILABLE == result.exit_code
    assert result.stderr.endswith(f"ippool/pool-a: down\n{LOST}")
