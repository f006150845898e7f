"""
Which keys a copy holds, and in which order they are written back.

Rules:

1. Everything of Calico's and ours is copied but the epoch, which never comes back, and the
   marker of a copy that is being written.
2. Pools come last: without them no node, Calico's neither, assigns an address, so that a store
   that is only partly written serves nobody.
3. A block is written before the handles that count its addresses: a release in between finds
   both, or nothing to do.
"""

from collections.abc import Iterator

from poolmgr.api import IPPool, IPReservation, Node
from poolmgr.api.clusterinformation import DEFAULT, ClusterInformation
from poolmgr.core.records import (
    AFFINITIES,
    BLOCKS,
    CONFIG_KEY,
    HANDLES,
    resource_key,
    resource_range,
)
from poolmgr.core.txn import EPOCH_KEY, Range

MARKER_KEY = "/poolmgr/v1/copy"
"""Says, while a copy is being written back, which one, and how far it is."""

CLUSTER_KEY = resource_key(ClusterInformation.plural, DEFAULT)
POOLS = resource_range(IPPool.plural)
SESSIONS = Range.prefix("/poolmgr/v1/session/")
ATTACHMENTS = Range.prefix("/poolmgr/v1/attachment/")
PREFIXES = (Range.prefix("/calico/"), Range.prefix("/poolmgr/"))


def _one(key: str) -> Range:
    return Range(start=key, end=key + "\0")


_NAMED = {
    SESSIONS: "session fences",
    resource_range(Node.plural): "nodes",
    resource_range(IPReservation.plural): "reservations",
    _one(CONFIG_KEY): "IPAM configurations",
    BLOCKS[4]: "IPv4 blocks",
    BLOCKS[6]: "IPv6 blocks",
    AFFINITIES["host"]: "affinities",
    AFFINITIES["virtual"]: "virtual affinities",
    HANDLES: "handles",
    ATTACHMENTS: "sticky attachments",
    POOLS: "pools",
    _one(CLUSTER_KEY): "ClusterInformations",
}
_NEVER = (_one(EPOCH_KEY), _one(MARKER_KEY))


def _others() -> Iterator[Range]:
    """Yield what lies between the ranges that have a name."""
    known = sorted((*_NAMED, *_NEVER), key=lambda range_: range_.start)
    for whole in PREFIXES:
        start = whole.start
        for range_ in known:
            if range_.start in whole:
                yield Range(start=start, end=range_.start)
                start = range_.end
        yield Range(start=start, end=whole.end)


ORDER: tuple[Range, ...] = (
    *(range_ for range_ in _others() if range_.start < range_.end),
    *_NAMED,
)
"""Every key of a copy lies in one of them."""


def place(key: str) -> int | None:
    """Return which range of `ORDER` a key lies in; None = no copy holds it."""
    return next((at for at, range_ in enumerate(ORDER) if key in range_), None)


def name_of(range_: Range) -> str:
    """Return what people call the keys of a range of `ORDER`."""
    return _NAMED.get(range_, "other keys")
