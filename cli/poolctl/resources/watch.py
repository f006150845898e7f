"""
Watching resources: what changes, from a look every second.

Rules:

1. A change is told once, as the resource that came of it. What changed twice between two looks
   is told as it is now.
2. A store that gives no answer for a while is waited for.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import click

from poolctl.config import Session
from poolctl.report import remark, say, warn
from poolctl.resources.reading import Reader
from poolctl.resources.render import Output
from poolctl.resources.state import KEYS_AT_ONCE
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import StoreUnavailableError
from poolmgr.store.port import pages

_PAUSE_S = 1.0


class Watch:
    """
    Tells changes of one kind.

    Args:
        names: Those to tell of; none = all.
        output: How to write what changed.
        since: Revision as of which everything was told.
    """

    def __init__(
        self, session: Session, output: Output, *, names: tuple[str, ...], since: int
    ) -> None:
        self._session, self._output, self._since = session, output, since
        self._names = frozenset(names)
        self._known = self._revisions(since)

    def run(self, *, over: Callable[[], bool]) -> None:
        """Tell changes until somebody interrupts it, or it is over."""
        silent = False
        while not over():
            time.sleep(_PAUSE_S)
            if over():
                return
            try:
                self._look()
                if silent:
                    remark("etcd answers again")
                silent = False
            except StoreUnavailableError as error:
                if not silent:
                    warn(f"{error}; waiting for it")
                silent = True

    def _look(self) -> None:
        fetch = Fetch(keys=frozenset({EPOCH_KEY}))
        now = self._session.store.read(fetch, timeout_s=self._session.left_s).revision
        if now == self._since:
            return
        revisions = self._revisions(now)
        for key in sorted(self._known.keys() - revisions.keys()):
            self._tell_gone(key)
            del self._known[key]
        self._tell({k: r for k, r in revisions.items() if self._known.get(k) != r})
        self._since = now

    def _revisions(self, now: int) -> dict[str, int]:
        """Read which keys there are, and when each was changed."""
        session, reader = self._session, self._reader()
        found: dict[str, int] = {}
        for range_ in reader.ranges:
            keys = replace(range_, keys_only=True)
            for page in pages(session.store, keys, timeout_s=session.left_s, revision=now):
                found |= {key: stored.mod_revision for key, stored in page.items}
        return {key: r for key, r in found.items() if self._is_wanted(reader.ref_of(key))}

    def _is_wanted(self, ref: str) -> bool:
        return bool(ref) and (not self._names or ref.partition("/")[2] in self._names)

    def _tell(self, changed: Mapping[str, int]) -> None:
        """Read what changed, and tell it; what is gone by now is told by the next look."""
        session, keys = self._session, sorted(changed)
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            fetch = Fetch(keys=frozenset(some))
            found = session.store.read(fetch, timeout_s=session.left_s).found
            reader = self._reader()
            for key in some:
                if (stored := found[key]) is None:
                    continue
                # As read now: it may be newer than the look, which then must not tell it again.
                self._known[key] = stored.mod_revision
                for resource in reader.decoded(key, stored):
                    click.echo(self._output.one(resource))
            reader.status()

    def _tell_gone(self, key: str) -> None:
        # What is gone is no object that could stand among the others.
        tell = remark if self._output.form in ("yaml", "json") else say
        tell(f"{self._reader().ref_of(key)} deleted")

    def _reader(self) -> Reader:
        return Reader(self._session, self._output.kind, revision=self._since)
