"""What a command says when something is wrong, and its exit status."""

import click

from poolmgr.errors import CommitUnknownError, InvalidRequestError, PoolmgrError, StoreError

REFUSED, USAGE, UNAVAILABLE, UNKNOWN = 1, 2, 3, 4


def exit_code(error: PoolmgrError) -> int:
    """Return the exit status for an error."""
    match error:
        case CommitUnknownError():
            return UNKNOWN
        case StoreError():
            return UNAVAILABLE
        case InvalidRequestError():
            return USAGE
        case _:
            return REFUSED


def complain(message: str) -> None:
    """Write an error, on one line, to stderr."""
    click.echo(f"poolctl: error: {_one_line(message)}", err=True)


def warn(message: str) -> None:
    """Write a warning, on one line, to stderr."""
    click.echo(f"poolctl: warning: {_one_line(message)}", err=True)


def _one_line(message: str) -> str:
    words = " ".join(message.split())
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in words)
