"""Reading resources: all of a kind, page by page at one revision, or those of certain names."""

from collections.abc import Iterator, Sequence

from poolctl.config import Session
from poolctl.report import failed
from poolctl.resources.affinities import affinity_at
from poolctl.resources.state import KEYS_AT_ONCE, decoded
from poolmgr.api import BlockAffinity, Resource
from poolmgr.core.records import AFFINITIES, resource_key, resource_range
from poolmgr.core.txn import EPOCH_KEY, Fetch, KeyValue, Range, Reading
from poolmgr.errors import CorruptStateError, PoolmgrError, RefusedError
from poolmgr.store.port import pages


class Reader:
    """
    Reads resources of one kind.

    Args:
        revision: As of which everything is read; None = now.

    Attributes:
        wrong: What could not be understood or found, so far.
    """

    def __init__(
        self, session: Session, kind: type[Resource], *, revision: int | None = None
    ) -> None:
        self._session, self._kind = session, kind
        self._revision = revision
        self.wrong: list[PoolmgrError] = []

    @property
    def revision(self) -> int:
        """As of which everything is read; of certain names, as of which the last was."""
        if self._revision is None:
            self._revision = self._read(Fetch(keys=frozenset({EPOCH_KEY}))).revision
        return self._revision

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The ranges of keys that resources of the kind are made of."""
        if self._kind is BlockAffinity:
            return tuple(AFFINITIES.values())
        return (resource_range(self._kind.plural),)

    def ref_of(self, key: str) -> str:
        """Return kind and name of what a key holds; "" = nothing of concern."""
        if self._kind is BlockAffinity:
            shown = affinity_at(key, KeyValue(value=b"{}", mod_revision=0))
            return shown[0].ref if shown else ""
        return f"{self._kind.kind.lower()}/{key.rpartition('/')[2]}"

    def everything(self) -> Iterator[Resource]:
        """Yield all resources that can be understood, in the order of their keys."""
        timeout_s = self._session.left_s
        for range_ in self.ranges:
            found = pages(
                self._session.store, range_, timeout_s=timeout_s, revision=self.revision
            )
            for page in found:
                for key, stored in page.items:
                    yield from self.decoded(key, stored)

    def named(self, names: Sequence[str]) -> list[Resource]:
        """Return the resources of these names, in their order."""
        names = list(dict.fromkeys(names))
        if self._kind is BlockAffinity:
            found = {each.metadata.name: each for each in self.everything()}
            self.wrong = []  # of affinities that nobody asked for
            known = [found[name] for name in names if name in found]
            absent = [name for name in names if name not in found]
        else:
            known, absent = self._by_keys(names)
        kind = self._kind.kind.lower()
        self.wrong += (RefusedError(f"{kind}/{name} does not exist") for name in absent)
        return known

    def decoded(self, key: str, stored: KeyValue) -> list[Resource]:
        """Return what a key holds: nothing if it is of no concern or cannot be understood."""
        try:
            if self._kind is BlockAffinity:
                return [*affinity_at(key, stored)]
            return [decoded(self._kind, key, stored)]
        except CorruptStateError as error:
            self.wrong.append(error)
            return []

    def status(self) -> int:
        """Say what is wrong, and return the exit status."""
        return max((failed(each, self._session) for each in self.wrong), default=0)

    def _by_keys(self, names: Sequence[str]) -> tuple[list[Resource], list[str]]:
        known: list[Resource] = []
        absent: list[str] = []
        keys = {resource_key(self._kind.plural, name): name for name in names}
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = [*keys][start : start + KEYS_AT_ONCE]
            reading = self._read(Fetch(keys=frozenset(some)))
            self._revision = reading.revision
            for key in some:
                if (stored := reading.found[key]) is None:
                    absent.append(keys[key])
                else:
                    known += self.decoded(key, stored)
        return known, absent

    def _read(self, fetch: Fetch) -> Reading:
        return self._session.store.read(fetch, timeout_s=self._session.left_s)
