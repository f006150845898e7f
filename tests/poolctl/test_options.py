"""Options that commands of several groups have."""

import click
import pytest

from poolctl.main import main


def commands(group: click.Group, path: str = ""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


@pytest.mark.parametrize(
    ("option", "short"), [("--yes", "-y"), ("--output", "-o"), ("--dry-run", None)]
)
def test_an_option_has_the_same_short_name_everywhere(option, short):
    found = [
        (path, parameter.opts)
        for path, command in commands(main)
        for parameter in command.params
        if option in parameter.opts
    ]

    assert len(found) > 1
    assert [] == [(path, opts) for path, opts in found if short and short not in opts]


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (("ipam", "check", "--kubeconfig", ""), "--kubeconfig"),
        (("apply", "-f", "-", "--kubeconfig", ""), "--kubeconfig"),
        (("apply", "-f", ""), "-f"),
        (("delete", "-f", "-", "-f", ""), "-f"),
    ],
)
def test_a_file_without_a_name_is_no_file_left_out(at_memory, args, option):
    result = at_memory(*args)

    assert (2, "") == (result.exit_code, result.stdout)
    assert option in result.stderr
    assert "a file must have a name" in result.stderr
