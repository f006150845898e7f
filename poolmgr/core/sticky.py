"""
Sticky addresses: they stay their owner's while pods come and go.

Theory: a sticky address has a handle of its own, named after its owner, so that calico-ipam's
DEL and Calico's garbage collection pass it by. Beside it stands an attachment key, by which the
DEL of the present holder finds it; both change in the same transactions as the address.

Rules:

1. A pod's own identity has one slot: who comes takes it over, also before the DEL of who was
   there, for two live pods of one name do not exist. The late DEL finds no attachment key.
2. A shared identity has numbered slots. A slot is free after its holder's DEL, once garbage
   collection has let go of it, or when its holder is known to be gone; else the next slot is
   taken. A live pod's address never is.
3. DEL keeps the address for as long as its retention says. After that, whoever plans with its
   block, or garbage collection, frees it.
4. Under StrictAffinity an address does not leave its node.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, release, rfc3339, time_ns
from poolmgr.core.draft import Draft
from poolmgr.core.grant import count_down
from poolmgr.core.held import blocks_of, held_by
from poolmgr.core.outcome import Allocation
from poolmgr.core.request import Attachment, AutoAssign, Sticky
from poolmgr.core.session import Attached
from poolmgr.errors import AddressInUseError, PoolExhaustedError, StrictAffinityError

TYPE = "poolmgr-sticky"
SLOTS = 16
"""Slots of a shared identity that are looked at together."""

MOST_SLOTS = 1024
LONGEST_HANDLE = 128
FOREVER = "forever"


def handle_of(network: str, sticky: Sticky, slot: int = 0) -> str:
    """
    Return the handle id of an owner's slot.

    Source: long ids are hashed as Calico does it for virtual machines.
    """
    whose = f"{sticky.namespace}.{sticky.identity}" + (f".{slot}" if slot else "")
    if len(f"{network}.sticky.{whose}") > LONGEST_HANDLE:
        digest = hashlib.sha256(whose.encode()).digest()
        whose = "_" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return f"{network}.sticky.{whose}"


def is_sticky(attribute: Attribute) -> bool:
    """Tell whether an entry is that of a sticky address."""
    return attribute.secondary.get("type") == TYPE


def attributes_of(request: AutoAssign) -> dict[str, str]:
    """Return the owner attributes of the address while the request's attachment holds it."""
    at, sticky = request.attachment, request.sticky
    assert at is not None
    assert sticky is not None
    kept = FOREVER if sticky.retention_s is None else str(sticky.retention_s)
    return {
        "type": TYPE,
        "node": request.host,
        "network": at.network,
        "interface": at.interface,
        "identity": f"{sticky.namespace}/{sticky.identity}",
        "holder": sticky.holder,
        "container": at.container,
        "retention": kept,
    } | {k: v for k, v in request.attributes.items() if k == "timestamp"}


def handles_of(request: AutoAssign, first_slot: int = 0) -> list[str]:
    """Return the handle ids that the owner's first slots have."""
    at, sticky = request.attachment, request.sticky
    assert at is not None
    assert sticky is not None
    slots = range(first_slot, first_slot + SLOTS) if sticky.numbered else range(1)
    return [handle_of(at.network, sticky, slot) for slot in slots]


def choose(draft: Draft, request: AutoAssign) -> str:
    """
    Return the handle id of the slot that the request's attachment may have.

    Raises:
        Missing: More must be known.
        PoolExhaustedError: Every slot is held by a live pod.
    """
    at, sticky = request.attachment, request.sticky
    assert at is not None
    assert sticky is not None
    attached = draft.attached(at)
    if attached is not None:
        return attached.handle
    for first in range(0, MOST_SLOTS if sticky.numbered else 1, SLOTS):
        handles = handles_of(request, first)
        draft.need(*(records.handle_key(handle) for handle in handles))
        found = _first_free(draft, sticky, handles)
        if found is not None:
            return found
    raise PoolExhaustedError(
        f"all {MOST_SLOTS} addresses of {sticky.namespace}/{sticky.identity} are held"
    )


def _first_free(draft: Draft, sticky: Sticky, handles: Sequence[str]) -> str | None:
    vacant = None
    for handle in handles:
        draft.compare(records.handle_key(handle))  # somebody may take the slot, or leave it
        entries = [entry for _, entry in _entries(draft, handle)]
        if not entries:
            vacant = vacant or handle
        elif any(_may_have(entry, sticky) for entry in entries):
            return handle
    return vacant


def _may_have(entry: Attribute, sticky: Sticky) -> bool:
    owner = f"{sticky.namespace}/{sticky.identity}"
    if entry.secondary.get("identity") != owner:
        if sticky.numbered:
            return False
        raise AddressInUseError(
            "of this owner", entry.owner, note=f"{owner} has the same handle"
        )
    holder, container = entry.secondary.get("holder"), entry.secondary.get("container")
    return not sticky.numbered or not container or holder in sticky.gone


def _entries(draft: Draft, handle: str) -> Iterator[tuple[Block, Attribute]]:
    for block in blocks_of(draft, handle):
        for ordinal in block.ordinals_of(handle):
            entry = block.attribute_at(ordinal)
            if entry is not None and is_sticky(entry):
                yield block, entry


def inherit(draft: Draft, request: AutoAssign, handle: str) -> tuple[Allocation, ...]:
    """
    Make the request's attachment the holder of what a slot has.

    Raises:
        Missing: More must be known.
        StrictAffinityError: The address belongs to another node's block.
        NoMatchingPoolError: The main plugin cannot use it any more.
    """
    strict, who = draft.config().strict_affinity, request.claimant
    mine = held_by(draft, handle, None, request.link)
    for block, entry in list(_entries(draft, handle)):
        if strict and block.affinity != who.owner:
            held = ", ".join(str(each.address) for each in mine)
            raise StrictAffinityError(held, str(block.cidr), block.affinity)
        wanted = attributes_of(request)
        if {**wanted, "timestamp": ""} == {**entry.secondary, "timestamp": ""}:
            continue
        before = _attachment_of(entry)
        if before is not None and before != request.attachment:
            draft.need(records.attachment_key(before))
            if draft.exists(records.attachment_key(before)):
                draft.delete(records.attachment_key(before))
        _rewrite(draft, block, entry, wanted)
    return mine


def attach(draft: Draft, request: AutoAssign, handle: str, held: Iterable[Allocation]) -> None:
    """Note what the attachment holds, for its DEL."""
    assert request.attachment is not None
    key = records.attachment_key(request.attachment)
    now = Attached(
        handle=handle, addresses=tuple(f"{each.address}/{each.block}" for each in held)
    )
    stored = draft.attached(request.attachment)
    if stored is None or replace(stored, extra={}) != now:
        draft.put(key, replace(now, extra=stored.extra if stored else {}))
    else:
        draft.compare(key)  # the answer "you have it" holds only while it is so


def let_go(draft: Draft, attachment: Attachment) -> None:
    """
    Keep what an attachment holds for its owner, and forget the attachment.

    Raises:
        Missing: More must be known.
    """
    key = records.attachment_key(attachment)
    attached = draft.attached(attachment)
    draft.compare(key)  # an ADD may attach an address between our look and the fence
    if attached is None:
        return
    for block, entry in list(_entries(draft, attached.handle)):
        if entry.secondary.get("container") == attachment.container:
            leave(draft, block, entry)
    draft.delete(key)


def leave(draft: Draft, block: Block, entry: Attribute) -> None:
    """Note that nobody holds a sticky address now, and since when."""
    released = {"container": "", "released-at": rfc3339(draft.now_ns)}
    _rewrite(draft, block, entry, {**entry.secondary, **released})
    expire(draft, draft.block(block.cidr) or block)  # a retention of 0


def has_expired(entry: Attribute, now_ns: int) -> bool:
    """Tell whether the retention of a released sticky address is over."""
    if not is_sticky(entry) or entry.secondary.get("container"):
        return False
    retention, since = entry.secondary.get("retention", ""), entry.secondary.get("released-at")
    left_ns = None if since is None else time_ns(since)
    if left_ns is None or not retention.isdecimal():
        return False  # for ever, or nobody can say
    return left_ns + int(retention) * 1_000_000_000 <= now_ns


def expire(draft: Draft, block: Block) -> Block:
    """
    Free the sticky addresses of a block whose retention is over, and write the block if any is.

    Raises:
        Missing: A handle must be read.
    """
    over = [entry for entry in block.attributes if has_expired(entry, draft.now_ns)]
    if not over:
        return block
    draft.need(*(records.handle_key(entry.handle) for entry in over if entry.handle))
    for entry in over:
        ordinals = [n for n in range(block.size) if block.attribute_at(n) == entry]
        cooldown_s = draft.config().cooldown_s
        block = release(block, ordinals, now_ns=draft.now_ns, cooldown_s=cooldown_s, bump=False)
        draft.put_block(block)
        count_down(draft, entry.handle, block.cidr, len(ordinals))
    draft.compare(records.CONFIG_KEY)  # the cooldown decides whether the address is free
    return block


def _attachment_of(entry: Attribute) -> Attachment | None:
    of = entry.secondary
    if not of.get("container") or not of.get("network") or not of.get("interface"):
        return None
    return Attachment(
        network=of["network"], container=of["container"], interface=of["interface"]
    )


def _rewrite(
    draft: Draft, block: Block, entry: Attribute, secondary: Mapping[str, str]
) -> None:
    now = draft.block(block.cidr) or block
    attributes = tuple(
        replace(entry, secondary=dict(secondary)) if each == entry else each
        for each in now.attributes
    )
    draft.put_block(
        replace(now, attributes=attributes, sequence_number=now.sequence_number + 1)
    )
