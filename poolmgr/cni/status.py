"""Which pools an ADD could be served from now: for STATUS, and `poolctl node status`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poolmgr.api import IPPool, Node
from poolmgr.cni.netconf import Call
from poolmgr.cni.pod import api_of, labels_of_node
from poolmgr.core import records
from poolmgr.core.pools import Criteria, select
from poolmgr.core.txn import Fetch, KeyValue
from poolmgr.errors import CorruptStateError, InvalidRequestError, KubernetesError

if TYPE_CHECKING:
    from poolmgr.store.port import Store

TIMEOUT_S = 2.0
POOLS = records.resource_range("ippools")


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """
    What an ADD would choose from; for whichever namespace, where namespaces are looked up.

    Attributes:
        pools: Those that can be read, in name order.
        unreadable: Name -> what is wrong with each of the others.
        node_labels: By which an ADD would judge; None = there is no Node resource.
        unanswered: Why Kubernetes did not say the node's labels, so that every nodeSelector
            passes; None = it did, or is not asked.
    """

    pools: tuple[IPPool, ...]
    unreadable: Mapping[str, str]
    node_labels: Mapping[str, str] | None
    unanswered: KubernetesError | InvalidRequestError | None = None

    def criteria(self, call: Call, node: str, family: int) -> Criteria:
        """Return what an ADD would want of a pool of `family`."""
        return Criteria(
            family=family,
            host=node,
            node_labels=self.node_labels,
            requested=call.pools.get(family, ()),
            link=call.link,
        )


def status(call: Call, node: str, store: "Store", *, timeout_s: float = TIMEOUT_S) -> None:
    """
    Find out whether an ADD could be served: the store answers, and has pools for this node.

    Whether their addresses are used up is not looked at: a runtime would stop using the node.
    Nor is it for a Kubernetes API that does not answer: no node would help.

    Raises:
        InvalidRequestError: The Kubernetes API cannot be asked as configured.
        StoreError: The store does not answer.
        NoMatchingPoolError: No enabled pool serves this node; the reasons are in it.
        CorruptStateError: The node's resource or a selector is not readable.
    """
    found = supply(call, node, store, timeout_s=timeout_s)
    if isinstance(found.unanswered, InvalidRequestError):
        raise found.unanswered
    for family in call.families:
        select(found.pools, found.criteria(call, node, family), unreadable=found.unreadable)


def supply(call: Call, node: str, store: "Store", *, timeout_s: float = TIMEOUT_S) -> Supply:
    """
    Read the pools, and the labels of the node from where an ADD has them.

    Args:
        timeout_s: For the store, and for the Kubernetes API if that is configured.

    Raises:
        StoreError: The store does not answer.
        CorruptStateError: The node's resource is not readable.
    """
    key = records.resource_key("nodes", node)
    reading = store.read(
        Fetch(keys=frozenset({key}), ranges=frozenset({POOLS})), timeout_s=timeout_s
    )
    pools, unreadable = readable(reading.ranges[POOLS].items)
    labels, unanswered = None, None
    undecided: dict[str, str] = {}
    if call.kubernetes is not None:
        undecided["namespace_selector"] = ""  # some namespace may be selected
        try:
            labels = _labels_of_api(call, node, timeout_s)
        except (InvalidRequestError, KubernetesError) as error:
            unanswered = error
            undecided["node_selector"] = ""
    stored = reading.found[key]
    if labels is None and unanswered is None and stored is not None:
        labels = records.decode_resource(Node, key, stored.value).metadata.labels
    return Supply(
        pools=tuple(_with(pool, undecided) for pool in pools),
        unreadable=unreadable,
        node_labels=labels,
        unanswered=unanswered,
    )


def readable(stored: Iterable[tuple[str, KeyValue]]) -> tuple[list[IPPool], dict[str, str]]:
    """Return the pools, and what is wrong with each of the others."""
    pools, unreadable = [], {}
    for key, value in stored:
        try:
            pools.append(records.decode_resource(IPPool, key, value.value))
        except CorruptStateError as error:
            unreadable[key.rpartition("/")[2]] = str(error)
    return pools, unreadable


def _labels_of_api(call: Call, node: str, timeout_s: float) -> Mapping[str, str] | None:
    api = api_of(call, most_s=timeout_s)
    try:
        return labels_of_node(call, node, api)
    finally:
        api.close()


def _with(pool: IPPool, changes: Mapping[str, str]) -> IPPool:
    spec = pool.spec.model_copy(update=changes)
    return pool.model_copy(update={"spec": spec})
