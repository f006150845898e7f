"""
What an ADD reads anyway, kept for a warning: pools that select namespaces.

Without the Kubernetes API nobody knows a namespace's labels. As in Calico such a pool is then
judged as if there were none; whoever wonders why it is not used finds the reason in the log.
"""

from collections.abc import Sequence

from poolmgr.api import IPPool
from poolmgr.cni.netconf import Call
from poolmgr.cni.status import POOLS, readable
from poolmgr.core.txn import Committed, Conflict, Fetch, KeyValue, Reading, Txn
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store


class Witness:
    """A store that remembers the pools it has read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pools: Sequence[tuple[str, KeyValue]] = ()

    def read(
        self,
        fetch: Fetch,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        revision: int | None = None,
    ) -> Reading:
        """See `Store.read`."""
        reading = self._store.read(fetch, timeout_s=timeout_s, revision=revision)
        if POOLS in reading.ranges:
            self._pools = reading.ranges[POOLS].items
        return reading

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        """See `Store.commit`."""
        return self._store.commit(txn, timeout_s=timeout_s)

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()

    def warning(self, call: Call) -> str:
        """Say that pools select namespaces by labels that nobody knows; "" = none does."""
        from_any = set(call.families) - call.pools.keys() - call.among.keys()
        named = call.addresses or call.without_ipam
        if call.kubernetes is not None or not call.args.namespace or named or not from_any:
            return ""
        pools, _ = readable(self._pools)
        names = [pool.metadata.name for pool in pools if _selects_namespaces(pool)]
        if not names:
            return ""
        return (
            f"IPPools {', '.join(names)} select namespaces by label, and the labels of "
            f"{call.args.namespace} are not known; name kubernetes.kubeconfig in the network "
            "configuration"
        )


def _selects_namespaces(pool: IPPool) -> bool:
    selector = pool.spec.namespace_selector.strip()
    return not pool.spec.disabled and selector not in ("", "all()")


_: type[Store] = Witness
