"""What a command says, also when something is wrong, and its exit status."""

import io
import shlex
import sys
from typing import TYPE_CHECKING

import click

from poolmgr.errors import (
    CommitUnknownError,
    CorruptStateError,
    PoolmgrError,
    StoreError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from poolctl.config import Session

REFUSED, USAGE, UNAVAILABLE, UNKNOWN, FOUND, INTERRUPTED = 1, 2, 3, 4, 5, 130
NOBODY_READS = 128 + 13
"""As of a program that SIGPIPE ends."""


def exit_code(error: PoolmgrError) -> int:
    """Return the exit status for an error; USAGE is for what click finds."""
    match error:
        case CommitUnknownError():
            return UNKNOWN
        case StoreError():
            return UNAVAILABLE
        case _:
            return REFUSED


def failed(error: PoolmgrError, session: "Session", *, what: str = "") -> int:
    """
    Write an error and what helps against it to stderr.

    Args:
        what: The resource that it is about.

    Returns:
        The exit status.
    """
    complain(f"{f'{what}: ' if what else ''}{error}{advice(error, session)}")
    return exit_code(error)


def advice(error: PoolmgrError, session: "Session") -> str:
    """Tell what to do about an error, as the end of its sentence; "" = nothing to add."""
    match error:
        case CorruptStateError():
            key = shlex.quote(error.key)
            return f"; look at it: etcdctl get {key}; mend it: etcdctl put {key} VALUE"
        case StoreUnavailableError() if session.etcd:
            return f"; endpoints in use: {session.etcd}; check them, and that etcd runs there"
        case _:
            return ""


def document(value: object, output: str) -> str:
    """Write a value as "json" or "yaml": in ASCII, so that it cannot steer a terminal."""
    if output == "json":
        import json

        return json.dumps(value, indent=2).replace("\x7f", "\\u007f")
    import yaml  # JSON needs none of it

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(value, Dumper=dumper, sort_keys=False)).rstrip("\n")


def say(line: str) -> None:
    """
    Write a line to stdout; what is stored cannot steer a terminal by it.

    Work that has begun goes on although nobody can be told; `untold` says so in the end.

    Raises:
        OSError: It cannot be written, and neither was anything else.
    """
    try:
        click.echo(printable(line))
    except OSError as error:
        context = click.get_current_context(silent=True)
        if context is None or not context.find_root().obj.record.began:
            raise
        context.find_root().obj.record.untold = error.strerror
        sys.stdout = io.StringIO()  # It would fail again at each line, and at exit.


def untold(session: "Session") -> int:
    """Complain if stdout did not take all that was said; return the exit status."""
    if not session.record.untold:
        return 0
    complain(
        f"standard output: {session.record.untold}; the command went on with its work, but "
        "what it said of it is lost: look at what is stored"
    )
    return REFUSED


def interrupted(session: "Session") -> None:
    """Tell who interrupted a command that it may have written."""
    if session.record.began:
        remark(
            "interrupted; what was written until then stays, and a write that was under way "
            "may have happened: look"
        )


def complain(message: str) -> None:
    """Write an error, on one line, to stderr."""
    _tell(f"poolctl: error: {message}")


def warn(message: str) -> None:
    """Write a warning, on one line, to stderr."""
    _tell(f"poolctl: warning: {message}")


def remark(message: str) -> None:
    """Write a line to stderr that tells what is going on."""
    _tell(message)


def printable(text: str) -> str:
    r"""Write what is not printable as \x1b or \u200b."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _tell(message: str) -> None:
    try:
        click.echo(printable(" ".join(message.split())), err=True)
    except OSError:
        sys.stderr = io.StringIO()  # Nobody can be told; the exit status still counts.
