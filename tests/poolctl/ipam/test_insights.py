"""The commands that only poolctl has explain themselves."""

import pytest

from poolctl.ipam.insights import COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_examples_that_name_it(poolctl, command):
    result = poolctl("ipam", command.name, "--help")

    assert 0 == result.exit_code
    assert "Examples:" in result.stdout
    assert f"  poolctl ipam {command.name}" in result.stdout
