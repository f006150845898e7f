"""
`--watch`: look again whenever the store has changed, and show an answer that is another.

What tells only that the store has moved on, the revision in a document, makes no other answer.
"""

import io
import re
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout

import click

from poolctl.config import Session
from poolctl.ipam.output import TABLE, YAML
from poolctl.report import remark, warn
from poolctl.terminal import clear
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import StoreUnavailableError

_SHORTEST_PAUSE_S = 2.0
_REVISION = re.compile(r'^ *"?revision"?: \d+,?$', re.MULTILINE)
_PAUSES = 4
"""Pauses as long as this many looks: no more than a fifth of the time is spent looking."""


def watched(session: Session, look: Callable[[], int], *, output: str) -> int:
    """
    Call `look` now, and again after the store's revision has moved; show what differs.

    It goes on until it is interrupted, or until the end of --timeout if that was given.

    Args:
        look: Shows something, and returns the exit status.

    Returns:
        The exit status of the last look.

    Raises:
        PoolmgrError: Any that `look` raises; but for the first time, a store that gives no
            answer is waited for.
    """
    began, seen = time.monotonic(), _revision(session)
    status, text = _looked(look)
    click.echo(text, nl=False)
    silent = False
    pause_s = _pause_after(began)
    while _paused(session, pause_s):
        try:
            began, now = time.monotonic(), _revision(session)
            if now != seen:
                before = text
                status, text = _looked(look)
                seen, pause_s = now, _pause_after(began)
                if _answer(text) != _answer(before):
                    _separate(output)
                    click.echo(text, nl=False)
            if silent:
                remark("etcd answers again")
            silent = False
        except StoreUnavailableError as error:
            if not silent and session.left_s:
                warn(f"{error}; waiting for it")
            silent = True
    return status


class _Shown(io.StringIO):
    """What is written to stdout, with colours where stdout would have them."""

    def __init__(self) -> None:
        super().__init__()
        self._is_terminal = sys.stdout.isatty()

    def isatty(self) -> bool:
        """Tell whether it ends up on a terminal."""
        return self._is_terminal


def _looked(look: Callable[[], int]) -> tuple[int, str]:
    shown = _Shown()
    with redirect_stdout(shown):
        status = look()
    return status, shown.getvalue()


def _answer(text: str) -> str:
    return _REVISION.sub("", text)


def _pause_after(began: float) -> float:
    return max(_SHORTEST_PAUSE_S, _PAUSES * (time.monotonic() - began))


def _paused(session: Session, pause_s: float) -> bool:
    """Wait; False = the time is over."""
    if session.is_endless:
        time.sleep(pause_s)
        return True
    is_over = session.left_s <= pause_s
    time.sleep(min(pause_s, session.left_s))
    return not is_over


def _separate(output: str) -> None:
    if output == YAML:
        click.echo("---")
    elif output == TABLE and not clear():
        click.echo()


def _revision(session: Session) -> int:
    fetch = Fetch(keys=frozenset({EPOCH_KEY}))
    return session.store.read(fetch, timeout_s=session.left_s).revision
