"""
Node resources that say what Kubernetes says of its nodes: their labels, by which pools select.

Labels of Kubernetes count alone, so that one removed there is removed here. Everything else of
a resource, unknown fields too, belongs to others and stays.
"""

import time
from collections.abc import Mapping

from poolmgr.api import Node
from poolmgr.api.meta import ObjectMeta, new_uid, timestamp
from poolmgr.core.records import affinity_range, decode_resource, resource_key, session_key
from poolmgr.core.txn import EPOCH_KEY, Conflict, Fetch, KeyValue, Range, Txn
from poolmgr.errors import ContentionError, InvalidRequestError, RefusedError
from poolmgr.kube.client import Kubernetes
from poolmgr.store.port import Store


def label_node(store: Store, name: str, labels: Mapping[str, str], timeout_s: float) -> bool:
    """
    Give the Node resource these labels and no others; create it if there is none.

    Args:
        timeout_s: For all that is asked of the store.

    Returns:
        Whether anything was written.

    Raises:
        ContentionError: Somebody else changed the resource at the same time; not written.
        CorruptStateError: The stored resource cannot be understood; not written.
        StoreError: See its kinds.
    """
    deadline = time.monotonic() + timeout_s
    key = resource_key(Node.plural, name)
    fetch = Fetch(keys=frozenset({key, EPOCH_KEY}))
    found = store.read(fetch, timeout_s=_left_s(deadline)).found
    stored, epoch = found[key], found[EPOCH_KEY]
    wanted = labelled(_decoded(key, stored), name, labels, uid=new_uid(), now_ns=time.time_ns())
    if wanted is None:
        return False
    txn = Txn(
        # Whoever changed or created it since we looked shall not be overwritten.
        expect={key: stored.mod_revision if stored else 0},
        epoch=epoch.value if epoch else None,
        puts={key: wanted.to_stored()},
    )
    result = store.commit(txn, timeout_s=_left_s(deadline))
    if isinstance(result, Conflict):
        # Pods that start together do this together: the first one did it for all.
        present = _decoded(key, result.current.found[key])
        if present is None or present.metadata.labels != labels:
            raise ContentionError(f"{wanted.ref} was changed by somebody else at the same time")
        return False
    return True


def delete_node(store: Store, name: str, timeout_s: float, *, since: int) -> bool:
    """
    Delete the Node resource of a node that is gone.

    Args:
        timeout_s: For all that is asked of the store.
        since: Revision as of which the node was seen to have nothing; it must have claimed no
            block since then, nor deleted an attachment.

    Returns:
        Whether there was one.

    Raises:
        RefusedError: The node is back; not deleted.
        ContentionError: Somebody else changed the resource at the same time; not deleted.
        CommitUnknownError: It may be deleted; asking again is safe.
        StoreError: See its kinds.
    """
    deadline = time.monotonic() + timeout_s
    key = resource_key(Node.plural, name)
    fetch = Fetch(keys=frozenset({key, EPOCH_KEY}))
    found = store.read(fetch, timeout_s=_left_s(deadline)).found
    stored, epoch = found[key], found[EPOCH_KEY]
    session = session_key(name)
    signs = [
        *(affinity_range(name, family) for family in (4, 6)),
        Range(start=session, end=f"{session}\0"),
    ]
    txn = Txn(
        # Who changes it meanwhile may have brought the node back.
        expect={key: stored.mod_revision if stored else 0},
        unchanged=dict.fromkeys(signs, since),
        epoch=epoch.value if epoch else None,
        deletes=frozenset({key} if stored else ()),
    )
    result = store.commit(txn, timeout_s=_left_s(deadline))
    if not isinstance(result, Conflict):
        return stored is not None
    pages = result.current.ranges.values()
    if any(found.mod_revision > since for page in pages for _, found in page.items):
        raise RefusedError(
            f"node/{name} came back while it was removed; stop what runs there, and run the "
            "command again"
        )
    if result.current.found[key] is not None:
        raise ContentionError(f"node/{name} was changed by somebody else at the same time")
    return False


def kubernetes_labels(kubernetes: Kubernetes, name: str) -> Mapping[str, str]:
    """
    Read the labels of a Kubernetes node.

    Raises:
        InvalidRequestError: There is no such node.
        KubernetesError: No answer.
    """
    node = kubernetes.node(name)
    if node is None:
        raise InvalidRequestError(
            f"Kubernetes at {kubernetes.server} has no node {name}; set nodename, or the node "
            "name file, to the name that Kubernetes has for this host",
            field="nodename",
        )
    return node.labels


def labelled(
    stored: Node | None, name: str, labels: Mapping[str, str], *, uid: str, now_ns: int
) -> Node | None:
    """
    Return the resource to store so that its labels are `labels`; None = they are already.

    Args:
        stored: The present one; None = there is none.
        uid: For a new one, as is `now_ns`.
    """
    if stored is None:
        metadata = ObjectMeta(name=name, labels=labels)
        return Node(metadata=metadata).created(uid=uid, now=timestamp(now_ns))
    if stored.metadata.labels == labels:
        return None
    metadata = stored.metadata.model_copy(update={"labels": labels})
    return stored.model_copy(update={"metadata": metadata})


def _decoded(key: str, found: KeyValue | None) -> Node | None:
    return decode_resource(Node, key, found.value, found.mod_revision) if found else None


def _left_s(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())
