import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poolmgr.store.embedded import EtcdBinary

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT_S = 60

pytestmark = pytest.mark.skipif(
    not Path(sys.executable).with_name("poolctl").exists(),
    reason="poolmgr is not installed in this environment; ./dev test installs it",
)


@pytest.fixture
def demo(tmp_path, etcd_binary: EtcdBinary):
    """Start the demo so that whatever it makes lies below `tmp_path`."""
    started = []

    def start(*arguments):
        environment = {
            **os.environ,
            "TMPDIR": str(tmp_path),
            "POOLMGR_TEST_ETCD": etcd_binary.path,
        }
        process = subprocess.Popen(
            [sys.executable, ROOT / "deploy" / "demo.py", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def left_behind(directory: Path) -> list[str]:
    """List files below `directory`, and processes that know it."""
    programs = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            programs.append(path.read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended
    return [str(path) for path in directory.iterdir()] + [
        program for program in programs if str(directory) in program
    ]


def test_it_succeeds_in_a_minute_and_leaves_nothing_behind(demo, tmp_path):
    began = time.monotonic()

    output, _ = demo().communicate(timeout=TIME_LIMIT_S)

    assert "nothing is left behind" in output.splitlines()[-1], output
    assert time.monotonic() - began < TIME_LIMIT_S
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_the_middle_it_leaves_nothing_behind(demo, tmp_path, number):
    process = demo()
    for line in process.stdout:
        if line.startswith("3. "):
            break

    process.send_signal(number)
    process.communicate(timeout=TIME_LIMIT_S)

    assert process.returncode == 128 + number
    assert left_behind(tmp_path) == []


def test_a_signal_while_a_program_is_being_started_leaves_nothing_behind(
    tmp_path, etcd_binary: EtcdBinary
):
    program = f"""
import contextlib, os, runpy, signal, subprocess, sys
start = subprocess.Popen._execute_child
started = []
def start_and_stop(self, args, *rest):
    start(self, args, *rest)
    if "poolmgr-ipam" in str(args):
        started.append(self.pid)
        os.kill(self.pid, signal.SIGSTOP)  # it does not end by itself
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen._execute_child = start_and_stop
try:
    runpy.run_path({str(ROOT / "deploy" / "demo.py")!r}, run_name="__main__")
finally:
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            print("it lives", file=sys.stderr)
"""
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "POOLMGR_TEST_ETCD": etcd_binary.path,
        "PATH": str(tmp_path / "empty"),  # without unshare it stays the process it is
    }

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT_S,
    )

    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    assert "\n3. " in done.stdout
    assert left_behind(tmp_path) == []


def test_a_reader_who_has_seen_enough_ends_it_quietly(demo, tmp_path):
    process = demo()
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None

    process.communicate(timeout=TIME_LIMIT_S)

    assert process.returncode == 128 + signal.SIGPIPE
    assert left_behind(tmp_path) == []


def test_it_waits_for_a_reader_who_wants_to_join_in(demo, tmp_path):
    process = demo("--wait")
    for line in process.stdout:
        if line.startswith("Everything stays up"):
            break
    (directory,) = tmp_path.glob("poolmgr-demo-*")

    installed = (directory / "bin" / "poolmgr-ipam").exists()
    process.communicate("\n", timeout=TIME_LIMIT_S)

    assert installed
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


def test_a_failing_step_is_named(demo, tmp_path):
    (tmp_path / "etcd").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "etcd").chmod(0o755)

    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "demo.py"],
        env={**os.environ, "POOLMGR_TEST_ETCD": str(tmp_path / "etcd")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("demo: step 0 failed: ")
