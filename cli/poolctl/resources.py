"""The commands create, apply, replace, delete and get."""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poolctl.config import Session
from poolctl.report import REFUSED, complain, exit_code
from poolmgr.errors import InvalidRequestError, PoolmgrError, RefusedError

if TYPE_CHECKING:
    from poolmgr.api import Resource
    from poolmgr.core.txn import KeyValue

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _files(*, required: bool) -> Callable[[_Command], _Command]:
    """Give a command the options that name manifests."""
    filename = click.option(
        "-f",
        "--filename",
        "filenames",
        multiple=True,
        required=required,
        metavar="FILE",
        help="YAML or JSON file, directory of such files, or - for standard input.",
    )
    recursive = click.option(
        "-R", "--recursive", is_flag=True, help="Look into subdirectories too."
    )
    return lambda command: filename(recursive(command))


@click.command()
@_files(required=True)
@click.pass_obj
def create(session: Session, filenames: tuple[str, ...], recursive: bool) -> int:
    """Create resources that do not exist yet."""
    from poolctl.changes import Changes

    resources = _manifests(filenames, recursive)
    changes = Changes(session)
    return max(_attempt(each.ref, partial(changes.create, each)) for each in resources)


@click.command()
@_files(required=True)
@click.pass_obj
def apply(session: Session, filenames: tuple[str, ...], recursive: bool) -> int:
    """Create resources, or update them where they exist."""
    from poolctl.changes import Changes

    resources = _manifests(filenames, recursive)
    changes = Changes(session)
    return max(_attempt(each.ref, partial(changes.apply, each)) for each in resources)


@click.command()
@_files(required=True)
@click.pass_obj
def replace(session: Session, filenames: tuple[str, ...], recursive: bool) -> int:
    """Update resources that exist."""
    from poolctl.changes import Changes

    resources = _manifests(filenames, recursive)
    changes = Changes(session)
    return max(_attempt(each.ref, partial(changes.replace, each)) for each in resources)


@click.command()
@click.argument("kind", required=False)
@click.argument("names", nargs=-1)
@_files(required=False)
@click.option("-s", "--skip-not-exists", is_flag=True, help="Absent ones are no error.")
@click.pass_obj
def delete(
    session: Session,
    kind: str | None,
    names: tuple[str, ...],
    filenames: tuple[str, ...],
    recursive: bool,
    skip_not_exists: bool,
) -> int:
    """
    Delete resources, by kind and names or by manifests.

    A pool is disabled first, then its blocks are taken from their nodes; addresses that are
    assigned stay so.
    """
    from poolctl.changes import Changes, Target
    from poolmgr.api import resource_type

    if bool(kind and names) == bool(filenames) or (kind and filenames):
        raise click.UsageError("give either a kind and names, or -f")
    if kind:
        cls = resource_type(kind)
        targets = [Target(kind=cls, name=name) for name in names]
    else:
        targets = [Target.of(each) for each in _manifests(filenames, recursive)]
    changes = Changes(session)
    return max(
        _attempt(each.ref, partial(changes.delete, each, must_exist=not skip_not_exists))
        for each in targets
    )


@click.command()
@click.argument("kind")
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "yaml", "json", "name"]),
    default="table",
    show_default=True,
)
@click.pass_obj
def get(session: Session, kind: str, names: tuple[str, ...], output: str) -> int:
    """Show resources of a kind: ippools, ipreservations, nodes or clusterinformation."""
    from poolctl.render import rendered
    from poolmgr.api import resource_type
    from poolmgr.core.records import resource_key, resource_range
    from poolmgr.core.txn import Fetch

    cls = resource_type(kind)
    keys = [resource_key(cls.plural, name) for name in dict.fromkeys(names)]
    range_ = resource_range(cls.plural)
    fetch = Fetch(keys=frozenset(keys)) if names else Fetch(ranges=frozenset({range_}))
    reading = session.store.read(fetch, timeout_s=session.left_s)
    found: list[Resource] = []
    wrong: list[PoolmgrError] = []
    stored = [(key, reading.found[key]) for key in keys] or reading.ranges[range_].items
    for key, value in stored:
        try:
            found.append(_present(cls, key, value))
        except PoolmgrError as error:
            wrong.append(error)
    if found or not names:
        single = len(keys) == 1
        click.echo(rendered(cls, found, output, revision=reading.revision, single=single))
    for problem in wrong:
        complain(str(problem))
    return max(map(exit_code, wrong), default=0)


COMMANDS = (create, apply, replace, delete, get)


def _present(cls: "type[Resource]", key: str, stored: "KeyValue | None") -> "Resource":
    from poolctl.changes import decoded

    if stored is None:
        raise RefusedError(f"{cls.kind.lower()}/{key.rpartition('/')[2]} does not exist")
    return decoded(cls, key, stored)


def _manifests(filenames: tuple[str, ...], recursive: bool) -> "list[Resource]":
    """
    Read and check every document before anything is done with any.

    Raises:
        InvalidRequestError: A file cannot be read or is neither YAML nor JSON.
        click.exceptions.Exit: The content of a document is refused; all of it has been said.
    """
    from poolmgr.api import manifests

    documents = []
    for filename in filenames:
        for origin, text in (
            [("standard input", _standard_input())]
            if filename == "-"
            else manifests.files(filename, recursive=recursive)
        ):
            documents += [(origin, each) for each in manifests.documents(text, origin)]
    if not documents:
        raise InvalidRequestError(f"there is no resource in {', '.join(filenames)}")
    resources, refused = [], False
    for origin, document in documents:
        try:
            resources.append(manifests.resource(document))
        except InvalidRequestError as error:
            complain(f"{origin}: {error}")
            refused = True
    if refused:
        raise click.exceptions.Exit(REFUSED)
    return resources


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("standard input is not UTF-8 text") from error


def _attempt(ref: str, change: Callable[[], str]) -> int:
    """Try one change, say what came of it, and return the exit status it asks for."""
    try:
        verb = change()
    except PoolmgrError as error:
        complain(f"{ref}: {error}")
        return exit_code(error)
    click.echo(f"{ref} {verb}")
    return 0
