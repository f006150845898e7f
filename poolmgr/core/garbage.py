"""
Garbage collection: what attachments of a node hold that do not exist any more.

Theory: a runtime that lost its state (a reboot, a crash) never sends the DEL. It knows what
exists; of the rest everything goes that this network gave on this node. Borrowed addresses lie in
blocks of other nodes, so all blocks are read, a part at a time; only those whose text names the
node are decoded, and none is kept.

Rules:

1. Only entries whose `network` and `node` are the request's are touched: calico-ipam's have no
   network.
2. A sticky address is let go of, as by its DEL; once its retention is over it is freed.
3. Entries that are younger than what the caller knows are left alone: the list of what exists
   may be older than they are.
4. A part that frees something is a DEL of every attachment of the node (core/session.py).
"""

from collections.abc import Iterator
from dataclasses import replace

from poolmgr.cidr import IPNetwork, address_at
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block
from poolmgr.core.draft import POOLS, Draft
from poolmgr.core.outcome import Released
from poolmgr.core.release import free
from poolmgr.core.request import Attachment, CollectGarbage
from poolmgr.core.session import EVERY_ATTACHMENT
from poolmgr.core.sticky import expire, has_expired, is_sticky, leave
from poolmgr.core.grant import count_down
from poolmgr.core.txn import EPOCH_KEY, Range

PART = 60
"""Blocks looked at by one part."""

WRITTEN = 12
"""Blocks written by one part."""


def plan_collect_garbage(draft: Draft, request: CollectGarbage) -> Released | CollectGarbage:
    """
    Release what nobody has any more.

    Returns:
        The answer, or what remains to be asked.

    Raises:
        Missing: More must be known.
    """
    node, session = (
        records.resource_key("nodes", request.host),
        records.session_key(request.host),
    )
    draft.need(EPOCH_KEY, records.CONFIG_KEY, node, session, ranges=(POOLS,))
    so_far = request.so_far or Released(released=())
    page = _next_page(draft, request)
    if page is None:
        return so_far
    keys, after = page
    draft.need(*keys)
    released, written = list(so_far.released), 0
    for key in keys:
        if written == WRITTEN:
            break
        after_key = key
        cidr = records.block_of_key(key)
        if cidr is None or not draft.mentions(key, request.host):
            continue
        before = len(released)
        written += _collect(draft, request, cidr, released)
        assert len(released) >= before
    else:
        after_key = after
    if written:
        draft.put(session, draft.session(request.host).bump(EVERY_ATTACHMENT))
    return replace(request, after=after_key, so_far=replace(so_far, released=tuple(released)))
