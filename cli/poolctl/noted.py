"""A store that remembers that it was told to write, for when the run ends before its time."""

from poolctl.config import Record
from poolmgr.core.txn import Committed, Conflict, Fetch, Reading, Txn
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store


class Noted:
    """A store that notes, before another one commits, that this was begun."""

    def __init__(self, store: Store, record: Record) -> None:
        self._store, self._record = store, record

    def read(
        self,
        fetch: Fetch,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        revision: int | None = None,
    ) -> Reading:
        """See `Store.read`."""
        return self._store.read(fetch, timeout_s=timeout_s, revision=revision)

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        """See `Store.commit`; one that changes nothing is only a check."""
        self._record.began |= bool(txn.puts or txn.deletes)
        return self._store.commit(txn, timeout_s=timeout_s)

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()


_: type[Store] = Noted
