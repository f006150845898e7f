"""`--watch`: show an answer again whenever the store has changed."""

import time
from collections.abc import Callable

import click

from poolctl.config import Session
from poolctl.ipam.output import TABLE
from poolctl.report import warn
from poolctl.terminal import clear
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import StoreUnavailableError

_SHORTEST_PAUSE_S = 2.0
_PAUSES = 4
"""Pauses as long as this many looks: no more than a fifth of the time is spent looking."""


def watched(session: Session, look: Callable[[], int], *, output: str) -> int:
    """
    Call `look` now, and again after the store's revision has moved.

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
    status, silent = look(), False
    pause_s = _pause_after(began)
    while _paused(session, pause_s):
        try:
            began, now = time.monotonic(), _revision(session)
            if now != seen:
                _separate(output)
                status, seen = look(), now
                pause_s = _pause_after(began)
            silent = False
        except StoreUnavailableError as error:
            if not silent and session.left_s:
                warn(f"{error}; waiting for it")
            silent = True
    return status


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
    if output == TABLE and not clear():
        click.echo()


def _revision(session: Session) -> int:
    fetch = Fetch(keys=frozenset({EPOCH_KEY}))
    return session.store.read(fetch, timeout_s=session.left_s).revision
