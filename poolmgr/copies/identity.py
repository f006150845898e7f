"""
What tells one state of the data from another: the lock and the epoch.

The lock is Calico's: `datastoreReady` of the cluster's ClusterInformation. Its main plugin
heeds it; whoever assigns addresses, calico-ipam and we, does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from poolmgr.api.clusterinformation import ClusterInformation, new_cluster
from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.core.records import decode_resource
from poolmgr.core.txn import EPOCH_KEY, Committed, Fetch, KeyValue, Reading, Txn
from poolmgr.errors import CommitUnknownError, ContentionError, PoolmgrError, RefusedError
from poolmgr.store.port import Store

_TRIES = 10


@dataclass(frozen=True, slots=True)
class Renewed:
    """An epoch and the one before it; None = there was none."""

    old: bytes | None
    new: bytes


def is_locked(found: KeyValue | None) -> bool:
    """
    Tell whether a stored ClusterInformation locks the datastore.

    Raises:
        CorruptStateError: It cannot be understood.
    """
    return locks(found.value if found else None)


def locks(raw: bytes | None) -> bool:
    """
    Tell whether the value of a ClusterInformation locks the datastore; None = there is none.

    Raises:
        CorruptStateError: It cannot be understood.
    """
    return raw is not None and _cluster(raw).spec.datastore_ready is False


def with_ready(raw: bytes | None, now: str, *, ready: bool) -> bytes:
    """
    Return a ClusterInformation that locks the datastore or does not; unknown fields stay.

    Args:
        raw: As it is stored; None = it is not.
        now: RFC 3339, the time at which a new one is created.

    Raises:
        CorruptStateError: It cannot be understood.
    """
    cluster = new_cluster(now) if raw is None else _cluster(raw)
    spec = cluster.spec.model_copy(update={"datastore_ready": ready})
    return cluster.model_copy(update={"spec": spec}).to_stored()


def set_ready(store: Store, now: str, *, ready: bool, timeout_s: float) -> bool:
    """
    Unlock the datastore, or lock it, which creates the ClusterInformation where there is none.

    Returns:
        Whether it was not so before.

    Raises:
        RefusedError: There is nothing to unlock.
        CorruptStateError: What is stored cannot be understood.
        StoreError: See its kinds.
    """

    def change(seen: Reading) -> Txn | None:
        found, epoch = seen.found[CLUSTER_KEY], seen.found[EPOCH_KEY]
        if found is None and ready:
            raise RefusedError(
                "there is no ClusterInformation, so nothing is locked; "
                "poolctl apply makes it with the first resource"
            )
        if found and _cluster(found.value).spec.datastore_ready is ready:
            return None
        raw = with_ready(found.value if found else None, now, ready=ready)
        return Txn(
            # Whoever changed or created it since we looked shall not be overwritten.
            expect={CLUSTER_KEY: found.mod_revision if found else 0},
            epoch=epoch.value if epoch else None,
            puts={CLUSTER_KEY: raw},
        )

    return _changed(store, change, timeout_s) is not None


def renew_epoch(store: Store, new: Callable[[], bytes], *, timeout_s: float) -> Renewed:
    """
    Give the data another epoch, so that nobody commits what he planned before.

    Args:
        new: Makes a random text. Each attempt has its own, so that none is an epoch twice.

    Raises:
        StoreError: See its kinds.
    """
    tried: dict[bytes, Renewed] = {}
    renewed: Renewed | None = None

    def change(seen: Reading) -> Txn | None:
        nonlocal renewed
        found = seen.found[EPOCH_KEY]
        if found and found.value in tried:  # an attempt of ours whose answer got lost
            renewed = tried[found.value]
            return None
        renewed = Renewed(found.value if found else None, new())
        tried[renewed.new] = renewed
        # The epoch that is replaced is compared by its value.
        return Txn(expect={}, epoch=renewed.old, puts={EPOCH_KEY: renewed.new})

    _changed(store, change, timeout_s)
    assert renewed
    return renewed


def _changed(
    store: Store, change: Callable[[Reading], Txn | None], timeout_s: float
) -> Txn | None:
    """Look and commit until it is done; None = there was nothing to do."""
    fetch = Fetch(keys=frozenset({CLUSTER_KEY, EPOCH_KEY}))
    unknown: CommitUnknownError | None = None
    txn: Txn | None = None
    for _ in range(_TRIES):
        try:
            wanted = change(store.read(fetch, timeout_s=timeout_s))
            if wanted is None:
                return txn  # by a commit of ours whose answer got lost, or by nobody
            txn = wanted
            if isinstance(store.commit(txn, timeout_s=timeout_s), Committed):
                return txn
        except CommitUnknownError as error:
            unknown = error
        except PoolmgrError as error:
            if unknown is None:
                raise
            raise unknown from error  # What we found may be what became of it.
    raise unknown or ContentionError("others keep changing the same keys; nothing was written")


def _cluster(raw: bytes) -> ClusterInformation:
    return decode_resource(ClusterInformation, CLUSTER_KEY, raw)
