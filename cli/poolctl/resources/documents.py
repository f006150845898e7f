"""The manifests that the options of a command name."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from poolctl.report import REFUSED, complain
from poolmgr.api import Resource, manifests
from poolmgr.errors import InvalidRequestError

_STDIN = "standard input"


def resources(filenames: Sequence[str], *, recursive: bool, skip_empty: bool) -> list[Resource]:
    """
    Read and check every document before anything is done with any.

    Args:
        filenames: Files, directories, or "-".
        recursive: Look into subdirectories too.
        skip_empty: No document at all is fine.

    Raises:
        InvalidRequestError: A file cannot be read, is neither YAML nor JSON, or all are empty.
        click.exceptions.Exit: The content of a document is refused; all of it has been said.
    """
    found, empty, refused = [], True, False
    for origin, document in _documents(filenames, recursive=recursive, skip_empty=skip_empty):
        empty = False
        try:
            found.append(manifests.resource(document))
        except InvalidRequestError as error:
            complain(f"{origin}: {error}")
            refused = True
    if empty and not skip_empty:
        where = ", ".join(_STDIN if each == "-" else each for each in filenames)
        raise InvalidRequestError(f"there is no resource in {where}")
    if refused:
        raise click.exceptions.Exit(REFUSED)
    return found


def distinct(found: Sequence[Resource]) -> list[Resource]:
    """
    Drop what is said twice.

    Raises:
        InvalidRequestError: Two manifests want different things of one resource.
    """
    wanted: dict[str, Resource] = {}
    for each in found:
        if wanted.setdefault(each.ref, each) != each:
            raise InvalidRequestError(f"{each.ref}: there are two manifests, and they differ")
    return list(wanted.values())


def _documents(
    filenames: Sequence[str], *, recursive: bool, skip_empty: bool
) -> Iterator[tuple[str, Any]]:
    """Read all input, then yield the documents and where they come from."""
    found = []
    for filename in filenames:
        if filename == "-":
            texts = iter([(_STDIN, _standard_input())])
        else:
            texts = manifests.files(filename, recursive=recursive, skip_empty=skip_empty)
        for origin, text in texts:
            found += [(origin, each) for each in manifests.documents(text, origin)]
    yield from found


def _standard_input() -> str:
    # Without one there is None, whatever the types say.
    if (stdin := sys.stdin) is None:  # type: ignore[redundant-expr, unused-ignore]
        raise InvalidRequestError(f"cannot read {_STDIN}: it is closed")
    try:
        return manifests.text_of(stdin.buffer, _STDIN)
    except OSError as error:
        raise InvalidRequestError(f"cannot read {_STDIN}: {error.strerror}") from error
