"""Locks, unlocks, and gives the data another epoch."""

import secrets
import time

from poolctl.config import Session
from poolctl.report import REFUSED, remark, say
from poolctl.terminal import confirmed
from poolmgr.api.meta import timestamp
from poolmgr.copies.identity import renew_epoch, set_ready


def set_lock(session: Session, *, locked: bool) -> int:
    """Lock or unlock the datastore, and return the exit status."""
    now = timestamp(time.time_ns())
    changed = set_ready(session.store, now, ready=not locked, timeout_s=session.left_s)
    say(f"Datastore {'locked' if locked else 'unlocked'}.")
    if not changed:
        remark("It was before; nothing was written.")
    if locked:
        remark("calico-ipam and poolmgr go on assigning and releasing addresses meanwhile.")
    return 0


def renew(session: Session, *, yes: bool) -> int:
    """Renew the epoch, and return the exit status."""
    question = "Renew the epoch, so that whatever is under way is planned again"
    if not confirmed(question, yes=yes):
        return unconfirmed()
    renewed = renew_epoch(session.store, new_epoch, timeout_s=session.left_s)
    say(f"old epoch: {'none' if renewed.old is None else renewed.old.decode(errors='replace')}")
    say(f"new epoch: {renewed.new.decode()}")
    return 0


def unconfirmed() -> int:
    """Tell that the answer was no, and return the exit status."""
    say("Nothing was written.")
    return REFUSED


def new_epoch() -> bytes:
    """Return a random text that no data have had before."""
    return secrets.token_hex(16).encode()
