import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("cat", "cksum", "dirname", "env", "grep", "id", "mktemp", "rm", "sh", "tail")


@pytest.fixture
def checkout(tmp_path):
    """A copy of what `dev` needs, without a .venv, and a PATH of its own with nothing but `TOOLS` on it."""
    for name in ("dev", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def program(checkout, name, text):
    path = checkout / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def dev(checkout, *args, user=None, **env):
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "PYTHON"))
    }
    env = {**clean, "PATH": str(checkout / "bin"), **env}
    return subprocess.run(
        [checkout / "dev", *args],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        user=user,
    )


def assert_one_line(text, *words):
    lines = text.splitlines()

    assert len(lines) == 1
    assert lines[0].startswith("dev: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_the_script_is_posix_shell(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")

    done = subprocess.run(
        [shell, "-n", ROOT / "dev"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_usage_names_every_command(checkout, args):
    done = dev(checkout, *args)

    assert done.returncode == 0
    for command in ("demo", "test", "check", "prepare", "bench"):
        assert f"\n  {command} " in done.stdout


def test_an_unknown_command_is_a_usage_error(checkout):
    done = dev(checkout, "frobnicate")

    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr


@pytest.mark.parametrize("command", ["demo", "test", "check", "bench"])
def test_a_machine_without_python_is_told_so_in_one_line(checkout, command):
    done = dev(checkout, command)

    assert done.returncode == 1
    assert_one_line(done.stderr, "3.11", "PYTHON=")


def test_an_old_python_is_told_so_in_one_line(checkout):
    program(
        checkout,
        "python3",
        "exit 1  # as `sys.exit(sys.version_info < (3, 11))` does in an old one",
    )

    done = dev(checkout, "demo")

    assert done.returncode == 1
    assert_one_line(done.stderr, "python3 is missing or older than 3.11")


def test_a_newer_python_under_another_name_is_found(checkout):
    program(checkout, "python3", "exit 1")
    program(
        checkout,
        "python3.12",
        f'case "$*" in *venv*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac',
    )

    done = dev(checkout, "demo")

    assert_one_line(done.stderr, "python3.12")


def test_a_python_without_venv_is_told_so_in_one_line_and_leaves_no_half_made_one(checkout):
    program(
        checkout,
        "python3",
        f'case "$*" in *venv*) exit 1 ;; *) exec {sys.executable} "$@" ;; esac',
    )

    done = dev(checkout, "test")

    assert done.returncode == 1
    assert_one_line(done.stderr, "virtual environments", "apt-get install python3-venv")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"},
        {"PIP_INDEX_URL": "file:///dev/null"},
        {"PIP_NO_INDEX": "1"},
    ],
    ids=["unreachable", "empty", "none"],
)
def test_a_machine_without_a_package_index_is_told_so_in_one_line(checkout, settings):
    program(checkout, "python3", f'exec {sys.executable} "$@"')
    alone = {"PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}

    done = dev(checkout, "demo", POOLMGR_TEST_ETCD="/usr/bin/etcd", **alone, **settings)

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "dev: installing into .venv"
    assert_one_line(
        done.stderr.splitlines()[1],
        "no usable package index (No matching distribution found for hatchling",
        "PIP_INDEX_URL",
        ".venv/install.log",
    )
    assert len(done.stderr.splitlines()) == 2


def test_the_reason_of_a_failed_installation_is_its_last_error_not_a_notice(checkout):
    fake = "\n".join(
        [
            "case $* in",
            '*install*) echo "  ERROR: No space left on device"; echo "[notice] update it"; exit 1 ;;',
            f'*) exec {sys.executable} "$@" ;;',
            "esac",
        ]
    )
    (checkout / ".venv" / "bin").mkdir(parents=True)
    program(checkout, "python3", fake)
    (checkout / ".venv" / "bin" / "python").symlink_to(checkout / "bin" / "python3")

    done = dev(checkout, "demo", POOLMGR_TEST_ETCD="/usr/bin/etcd")

    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[1]
        == "dev: installing failed: No space left on device (log: .venv/install.log)"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_whoever_may_not_write_the_checkout_is_told_so_in_one_line(checkout):
    program(checkout, "python3", "exit 0")
    for directory in (checkout, *checkout.parents[:2]):
        directory.chmod(0o755)

    done = dev(checkout, "demo", POOLMGR_TEST_ETCD="/usr/bin/etcd", user="nobody")

    assert done.returncode == 1
    assert_one_line(done.stderr, "nobody may not write", "as its owner")


def test_prepare_says_what_it_cannot_do_and_succeeds(checkout):
    program(checkout, "id", "echo 1000")

    done = dev(checkout, "prepare")

    assert done.returncode == 0
    assert_one_line(done.stderr, "etcd-server", "containernetworking-plugins")
