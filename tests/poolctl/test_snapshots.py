"""
What people see at a terminal of 80 and of 160 columns, without colours and with.

Each file of snapshots/ begins with the command; `pytest --update-golden` rewrites the rest. Escape
sequences are written with a visible escape character.
"""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from poolctl.config import Session
from poolctl.main import main
from poolmgr.store.memory import MemoryStore
from tests.support.showcase import Showcase

SNAPSHOTS = sorted((Path(__file__).parent / "snapshots").glob("*.txt"))
LOOKS = {
    f"{columns} columns{', colours' if colours else ''}": {
        "COLUMNS": str(columns),
        "CLICOLOR_FORCE": str(colours),
        "NO_COLOR": "",
        "TERM": "xterm-256color",
        "TZ": "UTC",
    }
    for columns in (80, 160)
    for colours in (0, 1)
}


@pytest.fixture(scope="module")
def showcase() -> MemoryStore:
    """A small cluster, always the same; nothing here changes it."""
    store = MemoryStore()
    Showcase(store).fill()
    return store


def seen(command: str, store: MemoryStore, look: dict[str, str]) -> str:
    """Run a command and return its exit status and what it prints."""
    session = Session(None, None, 30)
    session.store = store
    arguments = shlex.split(command.removeprefix("poolctl "))
    result = CliRunner().invoke(main, arguments, obj=session, env=look, color=True)
    lines = [line.rstrip() for line in result.output.replace("\x1b", "\u241b").splitlines()]
    return "\n".join([*lines, f"exit status {result.exit_code}"])


def drawn(text: str, store: MemoryStore) -> str:
    """Make a file from its first line; what looks the same is there once."""
    command = text.partition("\n")[0]
    parts: dict[str, list[str]] = {}
    for name, look in LOOKS.items():
        parts.setdefault(seen(command, store, look), []).append(name)
    looks = {" = ".join(names): output for output, names in parts.items()}
    return "\n".join(
        [command, *(f"\n=== {names} ===\n{output}" for names, output in looks.items()), ""]
    )


@pytest.mark.parametrize("path", SNAPSHOTS, ids=[path.stem for path in SNAPSHOTS])
def test_a_command_looks_as_it_did(path: Path, showcase: MemoryStore, update_golden: bool):
    expected = path.read_text()

    actual = drawn(expected, showcase)

    if update_golden:
        path.write_text(actual)
    assert update_golden or expected == actual
