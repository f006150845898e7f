"""The commands create, apply, replace, delete and get."""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poolctl.config import Session
from poolctl.report import REFUSED, complain, failed, say
from poolmgr.errors import InvalidRequestError, PoolmgrError, RefusedError

if TYPE_CHECKING:
    from poolmgr.api import Resource
    from poolmgr.core.txn import KeyValue

_STDIN = "standard input"
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
    from poolctl.resources.changes import Changes

    return _for_each(filenames, recursive, session, Changes(session).create)


@click.command()
@_files(required=True)
@click.pass_obj
def apply(session: Session, filenames: tuple[str, ...], recursive: bool) -> int:
    """Create resources, or update them where they exist."""
    from poolctl.resources.changes import Changes

    return _for_each(filenames, recursive, session, Changes(session).apply)


@click.command()
@_files(required=True)
@click.pass_obj
def replace(session: Session, filenames: tuple[str, ...], recursive: bool) -> int:
    """Update resources that exist."""
    from poolctl.resources.changes import Changes

    return _for_each(filenames, recursive, session, Changes(session).replace)


def _kind(
    _context: click.Context, _argument: click.Parameter, word: str | None
) -> "type[Resource] | None":
    from poolmgr.api import resource_type

    try:
        return None if word is None else resource_type(word)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("kind", required=False, callback=_kind)
@click.argument("names", nargs=-1)
@_files(required=False)
@click.option("-s", "--skip-not-exists", is_flag=True, help="Absent ones are no error.")
@click.pass_obj
def delete(
    session: Session,
    kind: "type[Resource] | None",
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
    from poolctl.resources.changes import Changes, Target

    if bool(kind and names) == bool(filenames) or (kind and filenames):
        raise click.UsageError("give either a kind and names, or -f")
    if kind:
        targets = [Target(kind=kind, name=name) for name in names]
    else:
        targets = [Target.of(each) for each in _manifests(filenames, recursive)]
    changes = Changes(session)
    return max(
        _attempt(
            session, each.ref, partial(changes.delete, each, must_exist=not skip_not_exists)
        )
        for each in targets
    )


@click.command()
@click.argument("kind", callback=_kind)
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "ps", "wide", "yaml", "json", "name"]),
    default="table",
    show_default=True,
    help="ps is another word for table.",
)
@click.pass_obj
def get(session: Session, kind: "type[Resource]", names: tuple[str, ...], output: str) -> int:
    """
    Show resources of a kind.

    Kinds: ippools, ipreservations, nodes, clusterinformation, ipamconfiguration, and
    blockaffinities, which say what node a block of addresses belongs to.
    """
    from poolctl.resources.affinities import read_affinities
    from poolctl.resources.render import rendered
    from poolmgr.api import BlockAffinity

    read = read_affinities if kind is BlockAffinity else partial(_read, kind)
    found, wrong, revision = read(session, names)
    if found or not names:
        single = len(set(names)) == 1
        click.echo(rendered(kind, found, output, revision=revision, single=single))
    return max((failed(problem, session) for problem in wrong), default=0)


COMMANDS = (create, apply, replace, delete, get)


def _read(
    kind: "type[Resource]", session: Session, names: tuple[str, ...]
) -> "tuple[list[Resource], list[PoolmgrError], int]":
    """Read the resources of a kind; the answer is that of `read_affinities`."""
    from poolmgr.core.records import resource_key, resource_range
    from poolmgr.core.txn import Fetch

    keys = [resource_key(kind.plural, name) for name in dict.fromkeys(names)]
    range_ = resource_range(kind.plural)
    fetch = Fetch(keys=frozenset(keys)) if names else Fetch(ranges=frozenset({range_}))
    reading = session.store.read(fetch, timeout_s=session.left_s)
    found: list[Resource] = []
    wrong: list[PoolmgrError] = []
    stored = [(key, reading.found[key]) for key in keys] or reading.ranges[range_].items
    for key, value in stored:
        try:
            found.append(_present(kind, key, value))
        except PoolmgrError as error:
            wrong.append(error)
    return found, wrong, reading.revision


def _present(cls: "type[Resource]", key: str, stored: "KeyValue | None") -> "Resource":
    from poolctl.resources.changes import decoded

    if stored is None:
        raise RefusedError(f"{cls.kind.lower()}/{key.rpartition('/')[2]} does not exist")
    return decoded(cls, key, stored)


def _manifests(filenames: tuple[str, ...], recursive: bool) -> "list[Resource]":
    """
    Read and check every document before anything is done with any.

    Raises:
        InvalidRequestError: A file cannot be read, is neither YAML nor JSON, or all are empty.
        click.exceptions.Exit: The content of a document is refused; all of it has been said.
    """
    from poolmgr.api import manifests

    documents = []
    for filename in filenames:
        for origin, text in (
            [(_STDIN, _standard_input())]
            if filename == "-"
            else manifests.files(filename, recursive=recursive)
        ):
            documents += [(origin, each) for each in manifests.documents(text, origin)]
    if not documents:
        where = ", ".join(_STDIN if each == "-" else each for each in filenames)
        raise InvalidRequestError(f"there is no resource in {where}")
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
    from poolmgr.api.manifests import text_of

    if sys.stdin is None:
        raise InvalidRequestError(f"cannot read {_STDIN}: it is closed")
    try:
        return text_of(sys.stdin.buffer, _STDIN)
    except OSError as error:
        raise InvalidRequestError(f"cannot read {_STDIN}: {error.strerror}") from error


def _for_each(
    filenames: tuple[str, ...],
    recursive: bool,
    session: Session,
    change: "Callable[[Resource], str]",
) -> int:
    """Change what the manifests name, one after another; the worst exit status counts."""
    resources = _manifests(filenames, recursive)
    return max(_attempt(session, each.ref, partial(change, each)) for each in resources)


def _attempt(session: Session, ref: str, change: Callable[[], str]) -> int:
    """Try one change, say what came of it, and return the exit status it asks for."""
    try:
        verb = change()
    except PoolmgrError as error:
        return failed(error, session, what=ref)
    say(f"{ref} {verb}")
    return 0
