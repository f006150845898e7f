"""
Writing what was planned.

Rules:

1. What is written together is one transaction, or few where etcd's limits want it; it happens
   wholly or not at all.
2. A transaction compares the epoch and the revision of what it rewrites. A conflict is an
   error here: whoever planned the change may look again and plan anew.
3. New pools compare the range of all pools, so that two created at the same time cannot
   overlap.
4. Nothing is written while a copy of the datastore is: pools that come before the copy is
   complete would let addresses be assigned on half of it.
5. The first change makes the cluster's identity and the epoch in the same transaction.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from poolctl.config import Session
from poolctl.resources.plans import Change
from poolctl.resources.state import CLUSTER, POOLS, State, Target
from poolmgr.api.clusterinformation import new_cluster
from poolmgr.api.meta import timestamp
from poolmgr.copies.marker import BEING_WRITTEN, HOW_TO_END
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.txn import EPOCH_KEY, Committed, Conflict, Txn
from poolmgr.errors import RefusedError

_MOST, _MOST_BYTES = 100, 1024 * 1024  # compares in a transaction: below what etcd takes
_FEW = 5  # names in a message


class OvertakenError(RefusedError):
    """Somebody else was faster, and nothing of this transaction was written; look again."""


class Writer:
    """
    Commits transactions on a state, which it keeps up to date.

    Attributes:
        guard_pools: Nothing may happen to any pool but what this writer does.
    """

    def __init__(self, session: Session, state: State) -> None:
        self._session, self._epoch = session, state.epoch
        self._has_cluster = state.found[CLUSTER] is not None
        self._pools_revision = state.revision
        self._written = "nothing was written"
        self.guard_pools = False

    def write(self, changes: Sequence[Change]) -> None:
        """
        Make changes, all or none.

        Raises:
            OvertakenError: Somebody else was faster.
            RefusedError: A copy of the datastore is being written.
            StoreError: See its kinds.
        """
        puts = {c.target.key: c.after.to_stored() for c in changes if c.after is not None}
        if not puts:
            return
        # Whoever changed or created one of them since we looked shall not be overwritten.
        expect = {c.target.key: c.revision for c in changes if c.after is not None}
        expect |= {key: 0 for c in changes for key in c.absent}
        self.commit(Txn(expect=expect, puts=puts))

    def commit(self, txn: Txn) -> Committed:
        """Commit, and with the first put what every datastore needs; raises as `write`."""
        expect, puts = {**txn.expect, MARKER_KEY: 0}, dict(txn.puts)
        if puts and not self._has_cluster:
            # Two first changes must not give the cluster two identities.
            expect[CLUSTER] = 0
            puts[CLUSTER] = new_cluster(timestamp(time.time_ns())).to_stored()
        if puts and self._epoch is None:
            puts[EPOCH_KEY] = secrets.token_hex(16).encode()
        # A pool created beside us would be in this range, newer than what we looked at.
        unchanged = {POOLS: self._pools_revision} if self.guard_pools else {}
        whole = replace(txn, expect=expect, unchanged=unchanged, epoch=self._epoch, puts=puts)
        result = self._session.store.commit(whole, timeout_s=self._session.left_s)
        if isinstance(result, Conflict):
            raise _conflict(whole, result, self._written)
        self._pools_revision = result.revision
        self._epoch = puts.get(EPOCH_KEY, self._epoch)
        self._has_cluster |= CLUSTER in puts
        self._written = "nothing more was written"
        return result


def _conflict(txn: Txn, conflict: Conflict, written: str) -> RefusedError:
    """Say who was overtaken, and what was written."""
    found = conflict.current.found
    if found[MARKER_KEY]:
        return RefusedError(f"{BEING_WRITTEN}; {written}; {HOW_TO_END}")
    now = {key: stored.mod_revision if stored else 0 for key, stored in found.items()}
    names = [key.rpartition("/")[2] for key, was in txn.expect.items() if now.get(key) != was]
    which = f"{', '.join(names[:_FEW])} was changed" if names and len(txn.expect) > 2 else ""
    return OvertakenError(
        f"somebody else changed it, or what it depends on, at the same time"
        f"{f' ({which})' if which else ''}; {written}, look and try again"
    )


def batches(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """Cut changes into what one transaction takes."""
    batch: list[Change] = []
    compares = size = 0
    for change in changes:
        more = len(change.after.to_stored()) if change.after is not None else 0
        if batch and (compares + change.compares > _MOST or size + more > _MOST_BYTES):
            yield batch
            batch, compares, size = [], 0, 0
        batch.append(change)
        compares += change.compares
        size += more
    if batch:
        yield batch


def refs(targets: Iterable[Target]) -> str:
    """Name a few of many resources."""
    refs = [target.ref for target in targets]
    more = len(refs) - _FEW
    return ", ".join(refs[:_FEW]) + (f" and {more:,} more" if more > 0 else "")
