"""Completion, as shells ask for it: through the scripts that they read."""

import shutil
import subprocess
import sys
import time

import pytest

from tests.poolctl.conftest import COMMAND
from tests.support.poolctl import manifest, pool

BASH = """
source <(poolctl completion bash) || exit
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_poolctl_completion poolctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What zsh and fish read is sourced; the answers are asked for as the scripts do.
OTHERS = {
    "zsh": "autoload -U compinit && compinit -D -u; source <(poolctl completion zsh) && "
    'env COMP_WORDS="poolctl get ippools p" COMP_CWORD=3 _POOLCTL_COMPLETE=zsh_complete poolctl',
    "fish": "poolctl completion fish | source && complete -C 'poolctl get ippools p'",
}


@pytest.fixture
def environ(environ, tmp_path):
    """The environment, and `poolctl` as a program on PATH: the scripts start it by that name."""
    script = tmp_path / "poolctl"
    script.write_text(f'#!/bin/bash\nexec {" ".join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    return environ | {"PATH": f"{tmp_path}:{environ['PATH']}", "HOME": str(tmp_path)}


@pytest.fixture
def completed(environ, etcd_endpoint):
    """What bash completes the last of some words to, and what that says on stderr."""

    def ask(words, endpoint=etcd_endpoint):
        done = subprocess.run(
            ["bash", "-c", BASH.format(words=words)],
            env=environ | {"ETCD_ENDPOINTS": endpoint},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.split(), done.stderr

    return ask


@pytest.fixture
def two_pools(raw, poolctl):
    texts = (pool(), pool("pool-b", "10.20.0.0/16"), manifest("Node", "node-a"))
    assert 0 == poolctl("apply", "-f", "-", stdin="\n---\n".join(texts)).exit_code


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("poolctl doc", ["doctor"]),
        ("poolctl completion ''", ["bash", "zsh", "fish"]),
        ("poolctl get ipp", ["ippools"]),
        ("poolctl get ippools ''", ["pool-a", "pool-b"]),
        ("poolctl get ipp pool-b", ["pool-b"]),
        ("poolctl get ippools pool-a pool", ["pool-b"]),
        ("poolctl get nodes n", ["node-a"]),
        ("poolctl get nonsense ''", []),
        ("poolctl ipam show pool-a pool-", ["pool-a", "pool-b"]),
        ("poolctl ipam split --name pool-a", ["pool-a"]),
        ("poolctl node show ''", ["node-a"]),
        ("poolctl node register n", ["node-a"]),
    ],
)
def test_bash_completes_commands_kinds_and_names(two_pools, completed, words, values):
    found, said = completed(words)

    assert (values, "") == (found, said)


def test_the_etcd_that_is_named_before_is_asked(two_pools, completed, etcd_endpoint):
    words = f"poolctl --etcd-endpoints {etcd_endpoint} get ippools pool-a"

    assert (["pool-a"], "") == completed(words, endpoint="127.0.0.1:1")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "192.0.2.1:2379", "no endpoint"])
def test_an_etcd_that_does_not_answer_is_silence_and_soon(completed, endpoint):
    started = time.monotonic()
    found = completed("poolctl get ippools ''", endpoint=endpoint)
    took_s = time.monotonic() - started

    assert ([], "") == found
    assert took_s < 15


def test_names_that_would_steer_the_terminal_are_left_out(raw, completed):
    prefix = "/calico/resources/v3/projectcalico.org/ippools/"
    for name in ("fine", "two words", "es\x1b[2Jcape"):
        raw.put(prefix + name, "{}")

    assert (["fine"], "") == completed("poolctl get ippools ''")


@pytest.mark.parametrize("shell", OTHERS)
def test_other_shells_take_their_scripts(two_pools, environ, etcd_endpoint, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    done = subprocess.run(
        [shell, "-c", OTHERS[shell]],
        env=environ | {"ETCD_ENDPOINTS": etcd_endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert {"pool-a", "pool-b"} <= set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_names_program_and_variable(program, shell):
    script = program("completion", shell).stdout

    assert "poolctl" in script
    assert f"_POOLCTL_COMPLETE={shell}_complete" in script


def test_completion_is_not_loaded_where_nobody_completes(environ):
    code = "import sys, poolctl.main; print('click.shell_completion' in sys.modules)"
    plain = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )

    assert plain.stdout == "False\n"
