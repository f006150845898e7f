"""
What depends on who looks: colours, progress and questions.

Rules:

1. Colours are for terminals, never where NO_COLOR is set (https://no-color.org) or TERM is
   "dumb"; CLICOLOR_FORCE asks for them anywhere.
2. Progress goes to stderr, for work that takes longer than a second, and only to a terminal.
3. Who destroys addresses is asked on a terminal, and says --yes anywhere else.
"""

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from poolctl.report import printable

_PATIENCE_S, _PAUSE_S = 1.0, 0.1
_BAR = 30
_WIDEST = 100
"""Longer lines of prose are hard to read."""


def has_colours() -> bool:
    """Tell whether stdout shows colours."""
    environ = os.environ
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return environ.get("CLICOLOR_FORCE", "0") != "0" or _is_terminal(sys.stdout)


def styled(text: str, **style: Any) -> str:
    """
    Write text as `click.style` does, where stdout shows colours.

    Print the result by `show`, which leaves what it says as it is.
    """
    return click.style(text, **style) if has_colours() else text


def show(text: str) -> None:
    """Write text made of printable parts and of `styled` ones to stdout."""
    click.echo(text, color=has_colours())


def clear() -> bool:
    """Clear the screen where stdout is one; tell whether it is."""
    if not _is_terminal(sys.stdout):
        return False
    click.clear()
    return True


def width() -> int:
    """Return how many columns stdout has: COLUMNS, or what the terminal says, or 80."""
    return shutil.get_terminal_size().columns


def wrapped(text: str, indent: int) -> list[str]:
    """
    Break a line of prose as wide as stdout is, between words only.

    Args:
        indent: Of all lines but the first.
    """
    return textwrap.wrap(
        printable(text),
        min(width(), _WIDEST),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def confirmed(question: str, *, yes: bool) -> bool:
    """
    Ask before something is destroyed.

    Args:
        question: Without the question mark.
        yes: The answer was given on the command line.

    Raises:
        click.UsageError: Nobody can be asked.
    """
    if yes:
        return True
    if not _is_terminal(sys.stdin):
        raise click.UsageError("standard input is no terminal: confirm with --yes")
    return click.confirm(printable(f"{question}?"), err=True)


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """
    Show how far work is that may take longer than a second.

    Args:
        total: Steps in all; None = nobody knows, and the steps done are counted.

    Yields:
        What is to be called with the number of steps that were done since the last call.
    """
    meter = _Meter(label, total)
    try:
        yield meter.advance
    finally:
        meter.close()


class _Meter:
    """A line on a terminal that is written over and over, and wiped away in the end."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total
        self._next_s = time.monotonic() + _PATIENCE_S
        self._done = 0
        self._line = ""

    def advance(self, steps: int) -> None:
        self._done += steps
        if time.monotonic() < self._next_s or not _is_terminal(sys.stderr):
            return
        self._next_s = time.monotonic() + _PAUSE_S
        self._line = f"{self._label}  {self._state()}"
        click.echo(f"\r{self._line}", nl=False, err=True)

    def _state(self) -> str:
        if not self._total:
            return f"{self._done:,}"
        share = min(1.0, self._done / self._total)
        bar = "#" * round(_BAR * share)
        return f"[{bar:-<{_BAR}}] {100 * share:3.0f}%"

    def close(self) -> None:
        if self._line:  # what comes next shall not stand behind it
            click.echo(f"\r{' ' * len(self._line)}\r", nl=False, err=True)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()
