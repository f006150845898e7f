"""The commands that look at all nodes explain themselves."""

import pytest

from poolctl.node.fleet import COMMANDS
from poolctl.report import USAGE


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_examples_that_name_it(poolctl, command):
    result = poolctl("node", command.name, "--help")

    assert 0 == result.exit_code
    assert "Examples:" in result.stdout
    assert f"  poolctl node {command.name}" in result.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["list", "-o", "svg"],
        ["show"],
        ["drain"],
        ["remove"],
        ["routes", "-o", "table"],
        ["routes", "node-a"],
    ],
)
def test_a_wrong_call_is_refused(at_memory, args):
    result = at_memory("node", *args)

    assert (USAGE, "") == (result.exit_code, result.stdout)
