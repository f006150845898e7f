"""STATUS: whether an ADD could be served now."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from poolmgr.api import IPPool, Node
from poolmgr.cni.netconf import Call
from poolmgr.core import records
from poolmgr.core.pools import Criteria, select
from poolmgr.core.txn import Fetch, KeyValue
from poolmgr.errors import CorruptStateError

if TYPE_CHECKING:
    from poolmgr.store.port import Store

TIMEOUT_S = 2.0
POOLS = records.resource_range("ippools")


def status(call: Call, node: str, store: "Store", *, timeout_s: float = TIMEOUT_S) -> None:
    """
    Find out whether an ADD could be served: the store answers, and has pools for this node.

    Whether their addresses are used up is not looked at: a runtime would stop using the node.

    Raises:
        StoreError: The store does not answer.
        NoMatchingPoolError: No enabled pool serves this node; the reasons are in it.
        CorruptStateError: The node's resource or a selector is not readable.
    """
    key = records.resource_key("nodes", node)
    reading = store.read(
        Fetch(keys=frozenset({key}), ranges=frozenset({POOLS})), timeout_s=timeout_s
    )
    stored = reading.found[key]
    found = None if stored is None else records.decode_resource(Node, key, stored.value)
    pools, unreadable = _decoded(reading.ranges[POOLS].items)
    if call.kubernetes is not None:  # some namespace may be selected
        pools = [_for_any_namespace(pool) for pool in pools]
    for family in call.families:
        criteria = Criteria(
            family=family,
            host=node,
            node_labels=None if found is None else found.metadata.labels,
            requested=call.pools.get(family, ()),
            link=call.link,
        )
        select(pools, criteria, unreadable=unreadable)


def _decoded(stored: Iterable[tuple[str, KeyValue]]) -> tuple[list[IPPool], dict[str, str]]:
    """Return the pools, and what is wrong with each of the others."""
    pools, unreadable = [], {}
    for key, value in stored:
        try:
            pools.append(records.decode_resource(IPPool, key, value.value))
        except CorruptStateError as error:
            unreadable[key.rpartition("/")[2]] = str(error)
    return pools, unreadable


def _for_any_namespace(pool: IPPool) -> IPPool:
    spec = pool.spec.model_copy(update={"namespace_selector": ""})
    return pool.model_copy(update={"spec": spec})
