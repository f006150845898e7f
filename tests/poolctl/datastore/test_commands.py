import re
import subprocess

import click
import pytest
from click.testing import CliRunner

from poolctl.main import main
from poolctl.report import REFUSED, USAGE
from tests.support.filled import fill
from tests.support.poolctl import stored

COMMANDS = ["lock", "unlock", "export", "import", "backup", "restore", "renew-epoch"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(main, ["datastore", command, "--help"])

    assert 0 == result.exit_code
    assert "\b" not in result.stdout


@pytest.mark.parametrize("command", ["lock", "unlock", "export", "import"])
def test_calicoctls_spelling_is_the_same_command(command):
    group = main.commands["datastore"]
    assert isinstance(group, click.Group)
    migrate = group.commands["migrate"]
    assert isinstance(migrate, click.Group)

    assert group.commands[command] is migrate.commands[command]


def test_the_examples_of_the_help_are_commands_that_exist():
    for command in COMMANDS:
        text = CliRunner().invoke(main, ["datastore", command, "--help"]).stdout
        for example in re.findall(
            r"poolctl (datastore [^\n&]+)", text.partition("Examples:")[2]
        ):
            words = [word for word in example.split() if not word.startswith(">")]
            assert words[1] in COMMANDS


@pytest.mark.parametrize(
    "text", ["a", "a=", "=b", "a=B", "a=b/c", "a= ", "a=b=c"], ids=lambda text: text or "-"
)
def test_a_new_name_that_is_none_is_a_usage_error(text, at_memory):
    result = at_memory("datastore", "export", "--rename", text)

    assert USAGE == result.exit_code
    assert "OLD=NEW" in result.stderr


def test_a_node_is_renamed_once(at_memory):
    result = at_memory("datastore", "export", "--rename", "a=b", "--rename", "a=c")

    assert USAGE == result.exit_code


@pytest.mark.parametrize(
    "args",
    [
        ("datastore", "import"),
        ("datastore", "restore"),
        ("datastore", "backup"),
        ("datastore", "migrate", "backup", "x"),
        ("datastore", "import", "-f", "/nowhere/file"),
    ],
)
def test_bad_arguments_are_one_line(args, at_memory):
    result = at_memory(*args)

    assert result.exit_code in (USAGE, REFUSED)
    assert 1 == result.stderr.count("\n")


@pytest.mark.parametrize("words", [("import", "-f"), ("restore",)])
def test_outside_a_terminal_yes_is_wanted(words, memory, at_memory, tmp_path):
    fill(memory)
    path = str(tmp_path / "copy")
    made = ("export", "-o", path) if words[0] == "import" else ("backup", path)
    at_memory("datastore", *made)
    before = stored(memory)

    result = at_memory("datastore", *words, path)

    assert USAGE == result.exit_code
    assert "--yes" in result.stderr
    assert before == stored(memory)


def test_an_export_into_a_closed_pipe_is_no_traceback(shell, store, etcd_endpoint):
    fill(store)

    done: subprocess.CompletedProcess[str] = shell(
        "set -o pipefail; poolctl datastore export | head -1", ETCD_ENDPOINTS=etcd_endpoint
    )

    assert "apiVersion: projectcalico.org/v3\n" == done.stdout
    assert "Traceback" not in done.stderr
