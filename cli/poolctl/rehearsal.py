"""A dry run: the library decides as ever, on a store that forgets what it is told."""

from poolmgr.core.txn import Committed, Conflict, Fetch, Reading, Txn
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store


class Rehearsal:
    """
    A store that answers from another one, and never writes to it.

    One call of the library sees its own writes; the next one does not.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = 0

    def read(
        self,
        fetch: Fetch,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        revision: int | None = None,
    ) -> Reading:
        """See `Store.read`."""
        reading = self._store.read(fetch, timeout_s=timeout_s, revision=revision)
        self._revision = max(self._revision, reading.revision)
        return reading

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:  # noqa: ARG002 - the port's
        """Pretend that it happened."""
        return Committed(revision=self._revision)

    def close(self) -> None:
        """Do nothing: the other store is not ours."""


_: type[Store] = Rehearsal
