"""
Changing resources: all changes of a command are looked at before the first is made.

Rules:

1. If one resource of a command is refused, none is written.
2. What somebody else changes at the same time is read again, and all is planned again, unless
   a manifest names the version that its author looked at.
3. A pool is deleted in steps: disabled, its blocks taken from their hosts, its key deleted.
   After each step the next run can go on.
4. Deleting keeps assigned addresses assigned: nothing is destroyed that a script would have to
   confirm. A person at a terminal is told what stays behind, and asked.
"""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from poolctl.config import Session
from poolctl.report import REFUSED, failed, remark, say, warn
from poolctl.resources.plans import (
    CONFIGURED,
    UNCHANGED,
    Change,
    Planner,
    check_version,
    check_writable,
)
from poolctl.resources.state import State, Target, look
from poolctl.resources.writing import OvertakenError, Writer, batches, refs
from poolctl.terminal import confirmed
from poolmgr.api import IPPool, Node, Resource
from poolmgr.core.records import affinity_range
from poolmgr.core.request import ReleaseAffinities
from poolmgr.core.txn import Fetch, Txn
from poolmgr.errors import CommitUnknownError, PoolmgrError, RefusedError, StoreError
from poolmgr.ipam import IPAM
from poolmgr.survey import utilization

DELETED = "deleted"
_DRY = " (dry run)"

_DISABLE_PAUSE_S = 0.5
"""Calico's programs may still act on the pool as they read it; they are given this long."""

_DISABLING, _TAKING, _DELETING = range(3)
_STAYS = "was disabled, but not deleted; delete it again"
_LEFT = {
    (_DISABLING, False): "",
    (_DISABLING, True): "may be disabled, and was not deleted; delete it again",
    (_TAKING, False): _STAYS,
    (_TAKING, True): _STAYS,
    (_DELETING, False): _STAYS,
    (_DELETING, True): "was disabled, and may be deleted; look, and delete it again if not",
}
"""What is known of a pool after a step of its deletion failed, and whether nobody knows how."""

_TRIES = 5

How = Callable[[Planner, Resource], Change]


class Changes:
    """
    Creates and updates resources.

    Args:
        dry_run: Say what would happen, and write nothing.
    """

    def __init__(self, session: Session, *, dry_run: bool = False) -> None:
        self._session, self._dry_run = session, dry_run

    def change(
        self,
        resources: Sequence[Resource],
        how: How,
        *,
        before: Callable[[State, Sequence[Change]], None] = lambda _state, _changes: None,
        again: str = "",
    ) -> int:
        """
        Change all resources, or none if one of them is refused; say what came of each.

        Args:
            how: What is to be done with each.
            before: Called when none was refused, before the first write.
            again: How to go on where some were written; "" = by the same command.

        Returns:
            The exit status.
        """
        if not resources:
            return 0
        targets = [Target.of(each) for each in resources]
        tries = 1 if any(target.resource_version for target in targets) else _TRIES
        warned = False

        def plan() -> tuple[State, list[Change], int]:
            nonlocal warned
            pools = any(each.kind is IPPool for each in targets)
            state = look(self._session, targets, pools=pools)
            planner = Planner(self._session, state)
            changes, status = self._planned(resources, lambda each: how(planner, each))
            if not status and not warned:
                before(state, changes)
                warned = True
            return state, changes, status

        try:
            return self._written(plan, tries=tries, again=again)
        except StoreError as error:
            return failed(error, self._session, what=refs(targets))

    def edit(
        self,
        target: Target,
        edit: Callable[[Resource], Resource],
        *,
        verbs: tuple[str, str] = (CONFIGURED, UNCHANGED),
    ) -> int:
        """
        Change one resource to what `edit` makes of it; return the exit status.

        Args:
            verbs: Words for what was done, if something was, and if nothing was.
        """

        def plan() -> tuple[State, list[Change], int]:
            state = look(self._session, [target])
            change = Planner(self._session, state).edit(target, edit)
            verb = verbs[change.verb == UNCHANGED]
            return state, [replace(change, verb=verb)], 0

        try:
            return self._written(plan, tries=_TRIES)
        except PoolmgrError as error:
            return failed(error, self._session, what=target.ref)

    def label(self, node: Node, *, only: bool = False) -> str:
        """
        Store a node; one that exists keeps its other labels, unless `only`, and all else.

        Returns:
            A word for what was done.
        """
        for _ in range(_TRIES - 1):
            with suppress(OvertakenError):
                return self._label(node, only=only)
        return self._label(node, only=only)

    def _label(self, node: Node, *, only: bool) -> str:
        target = Target.of(node)
        state = look(self._session, [target])
        planner, stored = Planner(self._session, state), state.stored(target)
        if stored is None:
            change = planner.create(node)
        else:
            old = stored.metadata
            labels = {**({} if only else old.labels), **node.metadata.labels}
            metadata = old.model_copy(update={"labels": labels})
            after = stored.model_copy(update={"metadata": metadata})
            change = planner.put(target, stored, after)
        Writer(self._session, state).write([change])
        return change.verb

    def _written(
        self,
        plan: Callable[[], tuple[State, list[Change], int]],
        *,
        tries: int,
        again: str = "",
    ) -> int:
        """Plan and write, anew where somebody else was faster; return the exit status."""
        for _ in range(tries - 1):
            state, changes, status = plan()
            with suppress(OvertakenError):
                return status or self._write(state, changes, again, may_retry=True)
        state, changes, status = plan()
        return status or self._write(state, changes, again)

    def _planned(
        self, resources: Sequence[Resource], plan: Callable[[Resource], Change]
    ) -> tuple[list[Change], int]:
        """Plan all changes, and say of each that is refused why."""
        changes, status = [], 0
        for resource in resources:
            try:
                changes.append(plan(resource))
            except StoreError:
                raise
            except PoolmgrError as error:
                status = max(status, failed(error, self._session, what=resource.ref))
        if status and changes:
            others = _counted(len(changes), "other resource")
            remark(f"nothing was written, though {others} would be fine")
        return changes, status

    def _write(
        self,
        state: State,
        changes: Sequence[Change],
        again: str = "",
        *,
        may_retry: bool = False,
    ) -> int:
        """
        Write what was planned, and say so; return the exit status.

        Raises:
            OvertakenError: Nothing was written, and it may be tried again.
        """
        if self._dry_run:
            for change in changes:
                say(f"{change.target.ref} {change.verb}{_DRY}")
            return 0
        writer = Writer(self._session, state)
        writer.guard_pools = any(change.new_pool for change in changes)
        left = len(changes)
        for batch in batches(changes):
            try:
                writer.write(batch)
            except PoolmgrError as error:
                if may_retry and isinstance(error, OvertakenError) and left == len(changes):
                    raise
                status = failed(error, self._session, what=refs(c.target for c in batch))
                _tell_of_others(len(changes) - left, left - len(batch), again)
                return status
            left -= len(batch)
            for change in batch:
                say(f"{change.target.ref} {change.verb}")
        return 0


def _tell_of_others(before: int, after: int, again: str) -> None:
    if before:
        remark(f"{before:,} resources before were written{again}")
    if after:
        remark(f"{after:,} resources after were not tried")


class Deletions:
    """
    Deletes resources.

    Args:
        skip_absent: What does not exist is no error.
        dry_run: Say what would happen, and delete nothing.
        yes: Ask nobody.
    """

    def __init__(
        self,
        session: Session,
        *,
        skip_absent: bool = False,
        dry_run: bool = False,
        yes: bool = False,
    ) -> None:
        self._session = session
        self._skip_absent, self._dry_run, self._yes = skip_absent, dry_run, yes

    def delete(self, targets: Sequence[Target], *, together: bool) -> int:
        """
        Delete resources, one after another.

        Args:
            together: Delete none if one of them is refused.

        Returns:
            The exit status.
        """
        targets = list(dict.fromkeys(targets))
        if not targets:
            return 0
        try:
            state = look(self._session, targets)
        except StoreError as error:
            return failed(error, self._session, what=refs(targets))
        allowed, status = self._allowed(state, targets)
        if status and together:
            if allowed:
                others = _counted(len(allowed), "other resource")
                remark(f"nothing was deleted, though {others} could be")
            return status
        if not self._agreed([stored for _, stored in allowed if stored is not None]):
            remark("nothing was deleted")
            return REFUSED
        for target, stored in allowed:
            try:
                say(f"{target.ref} {self._done(target, stored)}")
            except PoolmgrError as error:
                status = max(status, failed(error, self._session, what=target.ref))
        return status

    def _allowed(
        self, state: State, targets: Sequence[Target]
    ) -> tuple[list[tuple[Target, Resource | None]], int]:
        """Return what may be deleted; say of the others why not."""
        allowed, status = [], 0
        for target in targets:
            try:
                allowed.append((target, self._checked(state, target)))
            except PoolmgrError as error:
                status = max(status, failed(error, self._session, what=target.ref))
        return allowed, status

    def _checked(self, state: State, target: Target) -> Resource | None:
        check_writable(target.kind)
        stored = state.stored(target)
        if stored is None and not self._skip_absent:
            raise RefusedError("does not exist")
        if stored is not None:
            check_version(state, target, target.resource_version)
        return stored

    def _agreed(self, resources: Sequence[Resource]) -> bool:
        """Tell what stays behind; ask whoever sits at a terminal."""
        told = [why for each in resources if (why := self._left_behind(each))]
        for why in told:
            warn(why)
        # A script is not stopped: nothing is lost, and calicoctl does not ask either.
        if not told or self._dry_run or not (sys.stdin and sys.stdin.isatty()):
            return True
        return confirmed("Delete all the same", yes=self._yes)

    def _left_behind(self, resource: Resource) -> str:
        session, name = self._session, resource.metadata.name
        if isinstance(resource, IPPool):
            counts = utilization(
                session.store, pools=[name], keep_blocks=False, timeout_s=session.scan_s
            ).counts
            used = sum(each.usage.in_use for each in counts.pools if each.name == name)
            have = _counted(used, "address", "es")
            stay = "is assigned and stays so" if used == 1 else "are assigned and stay so"
            return f"{resource.ref}: {have} {stay}" if used else ""
        if isinstance(resource, Node):
            ranges = [
                replace(affinity_range(name, family), keys_only=True) for family in (4, 6)
            ]
            fetch = Fetch(ranges=frozenset(ranges))
            reading = session.store.read(fetch, timeout_s=session.left_s)
            count = sum(len(page.items) for page in reading.ranges.values())
            have = f"{_counted(count, 'address block')}, which no other node can claim"
            return f"{resource.ref} still owns {have}" if count else ""
        return ""

    def _done(self, target: Target, stored: Resource | None) -> str:
        if stored is None:
            return "not found, skipped"
        if self._dry_run:
            return f"{DELETED}{_DRY}"
        # What was shown may be old by now, after a question or the deletion of others.
        state = look(self._session, [target])
        if (present := state.stored(target)) is None:
            raise RefusedError("does not exist any more")
        check_version(state, target, target.resource_version)
        writer, revision = Writer(self._session, state), state.revision_of(target)
        if not isinstance(present, IPPool):
            return self._delete(writer, target, revision)
        return self._delete_pool(writer, target, present, revision)

    def _delete_pool(self, writer: Writer, target: Target, pool: IPPool, revision: int) -> str:
        step = _DISABLING
        try:
            if not pool.spec.disabled:
                spec = pool.spec.model_copy(update={"disabled": True})
                raw = pool.model_copy(update={"spec": spec}).to_stored()
                # Whoever changed it since we looked shall not be overwritten.
                expect = {target.key: revision}
                revision = writer.commit(Txn(expect=expect, puts={target.key: raw})).revision
            step = _TAKING
            time.sleep(min(_DISABLE_PAUSE_S, self._session.left_s))
            for kind in ("host", "virtual"):
                request = ReleaseAffinities(cidr=pool.spec.cidr, kind=kind)
                timeout_s = self._session.left_s
                IPAM(self._session.store).release_affinities(request, timeout_s=timeout_s)
            step = _DELETING
            return self._delete(writer, target, revision)
        except (PoolmgrError, KeyboardInterrupt) as error:
            is_open = isinstance(error, (CommitUnknownError, KeyboardInterrupt))
            if left := _LEFT[step, is_open]:
                warn(f"{target.ref} {left}")
            raise

    def _delete(self, writer: Writer, target: Target, revision: int) -> str:
        # Whoever changed it since we looked shall be asked again.
        expect, deletes = {target.key: revision}, frozenset({target.key})
        writer.commit(Txn(expect=expect, deletes=deletes))
        return DELETED


def _counted(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{plural if number > 1 else ''}"
