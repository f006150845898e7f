"""Copies the datastore to files and back, and tells about it."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import TypeVar

from poolctl.config import Session
from poolctl.datastore.state import new_epoch, unconfirmed
from poolctl.files import existing_file, new_file
from poolctl.report import FOUND, remark, say, warn
from poolctl.terminal import confirmed, progress
from poolmgr.api.meta import timestamp
from poolmgr.copies import backup, importing
from poolmgr.copies.backup import Source
from poolmgr.copies.export import Export, names_of_kubernetes
from poolmgr.copies.fill import Fill
from poolmgr.copies.identity import is_locked, locks
from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.copies.present import stored_counts
from poolmgr.copies.rename import Rename
from poolmgr.copies.staged import Staged
from poolmgr.core.flaws import Finding, Flaw
from poolmgr.core.records import resource_range
from poolmgr.core.txn import Fetch
from poolmgr.errors import CorruptStateError, PoolmgrError, RefusedError, StoreError
from poolmgr.store.port import Store
from poolmgr.survey import Audit

_FINDINGS = 20
"""Findings that are told one by one."""

_AUDIT_S = 600.0
T = TypeVar("T")


def export_to(
    session: Session, output: Path | None, *, calico: bool, renames: dict[str, str]
) -> int:
    """Write an export, and return the exit status."""
    source = Source(session.store, timeout_s=session.left_s)
    rename = Rename(_names(source, renames, calico=calico))
    if not is_locked(source.cluster):
        warn(
            "the datastore is not locked: addresses that are assigned or released from now on "
            f"are not in this export of revision {source.first.revision}"
        )
    exported = Export(source, rename)
    if output is None:
        with progress("Exporting keys") as advance:
            for steps in exported.write(sys.stdout.write):
                advance(steps)
    else:
        with new_file(output) as file, progress("Exporting keys") as advance:
            for steps in exported.write(lambda text: file.write(text.encode())):
                advance(steps)
        remark(f"Exported revision {source.first.revision} to {output}.")
    for what, number in sorted(exported.left_out.items()):
        remark(f"Left out: {number:,} of {what}; `poolctl datastore backup` copies everything.")
    return 0


def _names(source: Source, renames: dict[str, str], *, calico: bool) -> dict[str, str]:
    """Return the new name of every node."""
    nodes = {key.rpartition("/")[2] for key, _ in source.items(resource_range("nodes"))}
    for old in sorted(renames.keys() - nodes):
        warn(f"there is no Node {old}; what is stored of a host of that name is renamed")
    names = names_of_kubernetes(source) if calico else {node: node for node in nodes}
    return {**names, **renames}


def import_from(session: Session, path: Path, *, dry_run: bool, force: bool, yes: bool) -> int:
    """Write an export into an empty datastore, and return the exit status."""
    now, timeout_s = timestamp(time.time_ns()), session.left_s
    with _staged(path, partial(importing.read, now=now)) as (staged, _):
        counts = staged.counts()
        _refuse_findings(staged.findings(), force=force, what="import")
        if dry_run:
            say(f"{path} can be imported: {_listed(counts)}")
            return 0
        if not confirmed(f"Import {_listed(counts)}", yes=yes):
            return unconfirmed()
        return _written(session.store, staged, now, timeout_s, replaces=False)


def backup_to(session: Session, path: Path) -> int:
    """Write a backup, and return the exit status."""
    source = Source(session.store, timeout_s=session.left_s)
    keys = 0
    with new_file(path) as file, progress("Backing up keys") as advance:
        for steps in backup.write(source, file, now=timestamp(time.time_ns())):
            advance(steps)
            keys += steps
    say(f"{keys:,} keys of revision {source.first.revision} backed up to {path}")
    return 0


def restore_from(
    session: Session, path: Path, *, replaces: bool, force: bool, yes: bool
) -> int:
    """Write a backup back, and return the exit status."""
    now, timeout_s = timestamp(time.time_ns()), session.left_s
    with _staged(path, backup.read) as (staged, header):
        broken = (each for each in staged.findings() if each.flaw is Flaw.CORRUPT)
        _refuse_findings(broken, force=force, what="restore")
        question = f"Restore {_listed(staged.counts())}, as of {header.time}"
        if replaces:
            _refuse_unlocked(session, timeout_s, force=force)
            there = _listed(stored_counts(session.store, timeout_s=timeout_s))
            question += f", in place of what is stored: {there}"
        if not confirmed(question, yes=yes):
            return unconfirmed()
        return _written(session.store, staged, now, timeout_s, replaces=replaces)


@contextmanager
def _staged(
    path: Path, read: Callable[[BufferedReader, Staged], T]
) -> Iterator[tuple[Staged, T]]:
    """Read a file whole, and yield what it holds and what it says of itself."""
    with ExitStack() as stack:
        with existing_file(path) as file, progress("Reading keys") as advance:
            staged = stack.enter_context(Staged(advance))
            header = read(file, staged)
        yield staged, header


def _refuse_findings(findings: Iterator[Finding], *, force: bool, what: str) -> None:
    """
    Tell what is wrong with a copy.

    Raises:
        RefusedError: Something is, and that is not what is wanted.
    """
    number = _told(findings)
    if number and not force:
        raise RefusedError(
            f"{number:,} things are wrong with the copy; nothing was written; "
            f"{what} it as it is with --force"
        )


def _told(findings: Iterator[Finding]) -> int:
    first = list(islice(findings, _FINDINGS))
    for each in first:
        remark(f"{each.flaw}: {each.key}: {each.detail}")
    more = sum(1 for _ in findings)
    if more:
        remark(f"... and {more:,} more")
    return len(first) + more


def _refuse_unlocked(session: Session, timeout_s: float, *, force: bool) -> None:
    keys = frozenset({CLUSTER_KEY})
    found = session.store.read(Fetch(keys=keys), timeout_s=timeout_s).found[CLUSTER_KEY]
    try:
        locked = is_locked(found)
    except CorruptStateError as error:
        warn(str(error))
        locked = False
    if not locked and not force:
        raise RefusedError(
            "the datastore is not locked; lock it (poolctl datastore lock) and stop whoever "
            "starts pods, or use --force; nothing was written"
        )


def _written(
    store: Store, staged: Staged, now: str, timeout_s: float, *, replaces: bool
) -> int:
    """Write a copy that was found good, and audit what is stored then."""
    counts = staged.counts()
    fill = Fill(
        store, staged, replaces=replaces, new_epoch=new_epoch, now=now, timeout_s=timeout_s
    )
    with _advising(), progress("Writing keys", counts.total()) as advance:
        if after := fill.begin():
            remark(f"Going on after {after}.")
        for done in fill.run():
            advance(done)
    say(f"Written: {_listed(counts)}")
    with suppress(CorruptStateError):  # The audit before the first write told of it.
        if locks(staged.get(CLUSTER_KEY)):
            remark("The datastore is locked, as it was; unlock it: poolctl datastore unlock")
    if fill.overtaken:
        warn(
            "others wrote pools or blocks before everything was there: addresses that were "
            "assigned meanwhile may be forgotten, though pods use them; restart the pods that "
            "were started since"
        )
    status = _audited(store, timeout_s)
    return FOUND if fill.overtaken else status


def _audited(store: Store, timeout_s: float) -> int:
    """Audit what was written, and return the exit status."""
    audit = Audit(store, now_ns=time.time_ns(), timeout_s=max(timeout_s, _AUDIT_S))
    try:
        number = _told(iter(audit))
    except (StoreError, KeyboardInterrupt):
        warn("everything was written, but not audited to its end; do that: poolctl ipam check")
        raise
    if number:
        warn(f"{number:,} things are wrong with what is stored")
        return FOUND
    say(f"Audited, and found sound: {_listed(audit.checked)}")
    return 0


@contextmanager
def _advising() -> Iterator[None]:
    """Say what to do when writing breaks off."""
    try:
        yield
    except (PoolmgrError, KeyboardInterrupt) as error:
        if not isinstance(error, RefusedError):
            remark("Run it again with the same file: it goes on where it was.")
        raise


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {number:,}" for what, number in counts.items()) or "nothing"
