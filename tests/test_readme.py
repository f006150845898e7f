"""
What README.md shows does run, and prints what it says.

`pytest --update-golden` rewrites what the console blocks of README.md show.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings
from tests.support.poolctl import put
from tests.support.showcase import Showcase
from tests.support.world import stored_resource

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
CHANGING = (
    (r"[0-9a-f]{32}", "RANDOM"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?|\d{8}T\d{6}Z", "TIME"),
    (r"\d+(\.\d+)? ms", "N ms"),
    (r"127\.0\.0\.1:\d+", "HOST:PORT"),
    (r"[\d,]+ (bytes|of them)", r"N \1"),
    (r"diags-\S+-TIME", "diags-HOST-TIME"),
)
"""What is another thing each time."""


@pytest.fixture(scope="module")
def shell(etcd_binary, tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """Runs a command line, where poolctl finds a private etcd with a small cluster in it."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    with EmbeddedEtcd(etcd_binary) as etcd:
        store = EtcdStore(Settings(endpoints=(etcd.endpoint,)))
        Showcase(store).fill()
        store.close()
        poolctl = shlex.join([sys.executable, "-m", "poolctl.main"])
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
            "ETCD_ENDPOINTS": f"http://{etcd.endpoint}",
            "COLUMNS": "100",
            "TZ": "UTC",
        }

        def run(line: str) -> str:
            done = subprocess.run(
                ["bash", "-c", f'poolctl() {{ {poolctl} "$@"; }}\n{line}'],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            return "".join(f"{each.rstrip()}\n" for each in done.stdout.splitlines())

        yield run


def played(block: str, run) -> str:
    """Run the commands of a block; a line that begins with "> " continues the one before."""
    text = ""
    for command in re.findall(r"^\$ .*\n(?:> .*\n)*", block, re.MULTILINE):
        lines = [line[2:] for line in command.splitlines()]
        text += command + run("\n".join(lines))
    return text


def without_chance(text: str) -> str:
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


def test_every_command_prints_what_is_shown(shell, update_golden):
    shown = README.read_text()

    actual = CONSOLE.sub(lambda block: played(block[0], shell), shown)

    if update_golden:
        README.write_text(actual)
    blocks = [CONSOLE.findall(without_chance(text)) for text in (shown, actual)]
    assert blocks[0]
    assert update_golden or blocks[0] == blocks[1]


def test_there_is_a_program():
    assert PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_prints_the_address_that_it_was_given(program, store, etcd_endpoint):
    put(store, dict([stored_resource("ippools", "IPPool", "pods", {"cidr": "10.244.0.0/26"})]))
    here = program.replace("http://127.0.0.1:2379", f"http://{etcd_endpoint}")

    done = subprocess.run(
        [sys.executable, "-c", here], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ("10.244.0.0 of 10.244.0.0/26 in pods\n", "") == (done.stdout, done.stderr)
