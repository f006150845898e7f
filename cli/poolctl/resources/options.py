"""Options and arguments that the commands for resources share."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poolctl.options import named_file
from poolmgr.errors import InvalidRequestError

if TYPE_CHECKING:
    from poolmgr.api import Resource

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _not_namespaced(
    _context: click.Context, _option: click.Parameter, value: str | bool | None
) -> None:
    if value:
        raise click.BadParameter("no resource that poolctl knows has a namespace; leave it out")


def _all(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Give a command several options."""

    def given(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return given


_hidden = partial(click.option, hidden=True, expose_value=False)
as_calicoctl = _all(
    _hidden("-n", "--namespace", callback=_not_namespaced),
    _hidden("-A", "-a", "--all-namespaces", is_flag=True, callback=_not_namespaced),
    # Which version Calico's own programs have does not matter to us.
    _hidden("--allow-version-mismatch", is_flag=True),
)
"""What scripts that were written for calicoctl say."""

kubeconfig_option = click.option(
    "--kubeconfig",
    callback=named_file,
    metavar="FILE",
    help="Warn, too, of pools that overlap with addresses of this Kubernetes cluster. Without "
    "it no Kubernetes API is asked, whatever KUBECONFIG says.",
)


def files(*, required: bool) -> Callable[[_Command], _Command]:
    """Give a command the options that name manifests."""
    return _all(
        click.option(
            "-f",
            "--filename",
            "filenames",
            callback=named_file,
            multiple=True,
            required=required,
            metavar="FILE",
            help="YAML or JSON file, directory of such files, or - for standard input; "
            "may repeat.",
        ),
        click.option("-R", "--recursive", is_flag=True, help="Look into subdirectories too."),
        click.option("--skip-empty", is_flag=True, help="No resource at all is no error."),
        as_calicoctl,
    )


def kind_named(
    _context: click.Context, _argument: click.Parameter, word: str | None
) -> "type[Resource] | None":
    """Turn a word into the kind that it means."""
    from poolmgr.api import resource_type

    if word is not None and "," in word:
        raise click.BadParameter(f"{word!r}: name one kind at a time")
    if word is not None and "/" in word:
        raise click.BadParameter(f"{word!r}: name kind and resource as two words")
    try:
        return None if word is None else resource_type(word)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from None
