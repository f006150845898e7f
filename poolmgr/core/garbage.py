"""
Garbage collection: what attachments of a node hold that do not exist any more.

Theory: a runtime that lost its state (a reboot, a crash) never sends the DEL. It knows what
exists; of the rest everything goes that this network gave on this node. Borrowed addresses lie
in blocks of other nodes, so all blocks are read, a part at a time; only those whose text names
the node are decoded, and none is kept.

Rules:

1. Only entries whose `network` and `node` are the request's are touched: calico-ipam's have no
   network.
2. A sticky address is let go of, as by its DEL; once its retention is over it is freed.
3. Entries that are younger than what the caller knows are left alone: the list of what exists
   may be older than they are.
4. A part that frees something is a DEL of every attachment of the node (core/session.py).
5. A block with more to free than a part has room for is looked at again by the next part.
"""

from collections.abc import Sequence
from dataclasses import replace

from poolmgr.cidr import IPAddress, IPNetwork, address_at
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block
from poolmgr.core.draft import POOLS, Draft
from poolmgr.core.grant import count_down
from poolmgr.core.held import is_sticky
from poolmgr.core.outcome import Released
from poolmgr.core.parts import BLOCKS, OWNERS, READ, first_part
from poolmgr.core.release import free
from poolmgr.core.request import Attachment, CollectGarbage
from poolmgr.core.session import EVERY_ATTACHMENT
from poolmgr.core.sticky import expire, has_expired, leave
from poolmgr.core.txn import EPOCH_KEY, Range

PART = 60
"""Blocks looked at by one part."""


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
    cidrs, after = page
    draft.need(*map(records.block_key, cidrs))
    released, written, done = list(so_far.released), list[IPNetwork](), request.after
    room = OWNERS
    for cidr in cidrs:
        gone = _gone(draft, request, cidr)
        if gone and (not room or cidr not in first_part([*written, cidr], BLOCKS)):
            break
        if gone:
            released += _collect(draft, request, cidr, gone[:room])
            written.append(cidr)
        if len(gone) > room:
            break  # the next part looks at this block again
        room -= len(gone)
        done = records.block_key(cidr)
    else:
        done = after
    if written:
        draft.put(session, draft.session(request.host).bump(EVERY_ATTACHMENT))
    return replace(request, after=done, so_far=replace(so_far, released=tuple(released)))


def _next_page(draft: Draft, request: CollectGarbage) -> tuple[list[IPNetwork], str] | None:
    """Return the next blocks, and the key where they end; None = there are no more."""
    for range_ in records.BLOCKS.values():
        if request.after >= range_.end:
            continue
        start = request.after + "\0" if request.after in range_ else range_.start
        asked = Range(start=start, end=range_.end, limit=PART, keys_only=True)
        keys, more = draft.page(asked)
        cidrs = [cidr for key in keys if (cidr := records.block_of_key(key)) is not None]
        part = first_part(cidrs, READ)
        if len(part) < len(cidrs):
            return part, records.block_key(part[-1])
        return part, keys[-1] if more else range_.end
    return None


def _gone(draft: Draft, request: CollectGarbage, cidr: IPNetwork) -> list[Attribute]:
    """Return the entries of a block that go: first what has expired, then what nobody has."""
    if not draft.mentions(records.block_key(cidr), request.host):
        return []
    block = draft.block(cidr)
    entries = () if block is None else block.attributes
    expired = [entry for entry in entries if has_expired(entry, draft.now_ns)]
    return expired + [entry for entry in entries if _is_gone(entry, request)]


def _collect(
    draft: Draft, request: CollectGarbage, cidr: IPNetwork, gone: Sequence[Attribute]
) -> list[IPAddress]:
    """Free entries of a block, and say which addresses that were."""
    block = draft.block(cidr)
    assert block is not None
    before = _owned(block)
    expired = sum(has_expired(entry, draft.now_ns) for entry in gone)
    expire(draft, block, most=expired)
    for entry in gone[expired:]:
        now = draft.block(cidr) or block
        if is_sticky(entry):
            key = records.attachment_key(_attachment_of(entry))
            draft.need(key)
            if draft.exists(key):
                draft.delete(key)
            leave(draft, now, entry)
            continue
        ordinals = [n for n in range(now.size) if now.attribute_at(n) == entry]
        free(draft, now, ordinals, host=request.host, bump=False)
        count_down(draft, entry.owner, cidr, len(ordinals))
    after = draft.block(cidr)
    still = set() if after is None else _owned(after)
    return [address_at(cidr, ordinal) for ordinal in sorted(before - still)]


def _owned(block: Block) -> set[int]:
    entries = (block.attribute_at(n) for n in range(block.size))
    return {n for n, e in enumerate(entries) if e is not None and e.released_at is None}


def _is_gone(entry: Attribute, request: CollectGarbage) -> bool:
    """Tell whether an entry is the request's, and its attachment does not exist."""
    of = entry.secondary
    if (of.get("network"), of.get("node")) != (request.network, request.host):
        return False
    at = _attachment_of(entry)
    if not at.container or (at.container, at.interface) in request.valid:
        return False
    return request.until is None or of.get("timestamp", "") <= request.until


def _attachment_of(entry: Attribute) -> Attachment:
    of = entry.secondary
    network = of.get("network", "")
    named = (entry.owner or "").removeprefix(f"{network}.")
    container = of.get("container", "") if is_sticky(entry) else named
    return Attachment(network=network, container=container, interface=of.get("interface", ""))
