"""Counting what is asked of a store: around one, and at etcd itself (with grpc_proxy: by kind)."""

import http.client
import re
from collections import Counter

from poolmgr.core.txn import Committed, Conflict, Fetch, Reading, Txn
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store


class CountingStore:
    """A store that counts the calls on their way to another one; not exact between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = 0
        self.commits = 0

    def read(
        self, fetch: Fetch, *, timeout_s: float = ATTEMPT_TIMEOUT_S, revision: int | None = None
    ) -> Reading:
        self.reads += 1
        return self._store.read(fetch, timeout_s=timeout_s, revision=revision)

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        self.commits += 1
        return self._store.commit(txn, timeout_s=timeout_s)

    def close(self) -> None:
        self._store.close()


_: type[Store] = CountingStore

_HANDLED = re.compile(
    r'^grpc_server_handled_total\{.*grpc_method="(\w+)",grpc_service="([\w.]+)".*\} (\S+)$',
    re.MULTILINE,
)


def server_calls(endpoint: str) -> Counter[str]:
    """Return how many calls an etcd has answered, by method, for example "etcdserverpb.KV/Txn"."""
    connection = http.client.HTTPConnection(endpoint, timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    counts: Counter[str] = Counter()
    for method, service, count in _HANDLED.findall(text):
        counts[f"{service}/{method}"] += int(float(count))
    return counts
