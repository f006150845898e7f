"""`--verbose`: every etcd operation and its time on stderr."""

import time
from collections.abc import Callable
from typing import TypeVar

from poolctl.report import remark
from poolmgr.core.txn import Committed, Conflict, Fetch, Reading, Txn
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store

_FEW = 3

T = TypeVar("T")


class Traced:
    """A store that tells what another one is asked, and how long the answer takes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(
        self,
        fetch: Fetch,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        revision: int | None = None,
    ) -> Reading:
        """See `Store.read`."""
        names = [*sorted(fetch.keys), *sorted(f"{each.start}..." for each in fetch.ranges)]
        what = f"read {_listed(names)}" + (f" at revision {revision}" if revision else "")
        return _timed(
            what,
            lambda: self._store.read(fetch, timeout_s=timeout_s, revision=revision),
            _found,
        )

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        """See `Store.commit`."""
        puts = [f"put {key}" for key in sorted(txn.puts)]
        deletes = [f"delete {key}" for key in sorted(txn.deletes)]
        compares = len(txn.expect) + len(txn.unchanged) + 1
        what = f"transaction, {compares} compares: {_listed([*puts, *deletes]) or 'a check'}"
        return _timed(what, lambda: self._store.commit(txn, timeout_s=timeout_s), _outcome)

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()


def _timed(what: str, call: Callable[[], T], outcome: Callable[[T], str]) -> T:
    started, answer = time.perf_counter(), "failed"
    try:
        result = call()
        answer = outcome(result)
        return result
    finally:
        remark(f"etcd: {what}: {answer}, {1000 * (time.perf_counter() - started):.1f} ms")


def _found(reading: Reading) -> str:
    pages = reading.ranges.values()
    values = [found for found in reading.found.values() if found]
    values += [value for page in pages for _, value in page.items]
    size = sum(len(each.value) for each in values)
    return f"{len(values):,} keys, {size:,} bytes, revision {reading.revision}"


def _outcome(result: Committed | Conflict) -> str:
    if isinstance(result, Conflict):
        return f"conflict at revision {result.current.revision}"
    return f"revision {result.revision}"


def _listed(names: list[str]) -> str:
    rest = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {rest:,} more" if rest > 0 else "")


_: type[Store] = Traced
