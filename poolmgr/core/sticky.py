"""
Sticky addresses: they stay their owner's while pods come and go.

Theory: a sticky address has a handle of its own, named after its owner, so that calico-ipam's
DEL and Calico's garbage collection pass it by. Beside it stands an attachment key, by which the
DEL of the present holder finds it; both change in the same transactions as the address.

Rules:

1. A pod's own identity has one slot: who comes takes it over, also before the DEL of who was
   there, for two live pods of one name do not exist. The late DEL finds no attachment key.
2. A shared identity has numbered slots. A slot is free after its holder's DEL, or once garbage
   collection has let go of it; else the next slot is taken. A live pod's address never is.
3. An attachment key says where to look; only an entry that names the attachment's container
   says that it holds the address. An attachment changes neither owner nor kind: what it holds
   has to be released first.
4. DEL keeps the address for as long as its retention says. After that, whoever plans with its
   block, or garbage collection, frees it; a few at a time, for a transaction is small.
5. Under StrictAffinity an address does not leave its node.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from poolmgr.cidr import address_at
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, release, rfc3339, time_ns
from poolmgr.core.draft import Draft
from poolmgr.core.grant import count_down
from poolmgr.core.held import STICKY, attachment_of, blocks_of, is_sticky, link_in
from poolmgr.core.link import LinkPolicy
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import pool_of
from poolmgr.core.request import Attachment, AutoAssign, Sticky
from poolmgr.core.session import Attached
from poolmgr.errors import AddressInUseError, PoolExhaustedError, StrictAffinityError

SLOTS = 16
"""Slots of a shared identity that are looked at together."""

MOST_SLOTS = 1024
EXPIRED = 16
"""Entries of a block that expire at once: each takes an operation for its handle."""

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


def attributes_of(request: AutoAssign) -> dict[str, str]:
    """Return the owner attributes of the address while the request's attachment holds it."""
    at, sticky = request.attachment, request.sticky
    assert at is not None
    assert sticky is not None
    kept = FOREVER if sticky.retention_s is None else str(sticky.retention_s)
    return {
        "type": STICKY,
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


def holds(
    draft: Draft, attachment: Attachment, link: LinkPolicy, *, strict: bool = True
) -> tuple[Allocation, ...]:
    """
    Return what sticky addresses an attachment holds, and compare what says so.

    Raises:
        Missing: More must be known.
        NoMatchingPoolError: With `strict`: the main plugin cannot use one any more.
    """
    attached = draft.attached(attachment)
    if attached is None:
        return ()
    # The answer "you have it" holds only while it is so.
    draft.compare(records.attachment_key(attachment))
    mine = [
        (block, ordinal)
        for block, ordinal, entry in _entries(draft, attached.handle)
        if attachment_of(entry) == attachment
    ]
    return tuple(_allocation(draft, *each, link, strict=strict) for each in mine)


def choose(draft: Draft, request: AutoAssign) -> str:
    """
    Return the handle id of the slot that the request's attachment may have.

    Raises:
        Missing: More must be known.
        AddressInUseError: The attachment holds an address of another owner.
        PoolExhaustedError: Every slot is held by a live pod.
    """
    at, sticky = request.attachment, request.sticky
    assert at is not None
    assert sticky is not None
    attached = draft.attached(at)
    for block, ordinal, entry in _entries(draft, attached.handle) if attached else ():
        if attached is not None and attachment_of(entry) == at:
            if entry.secondary.get("identity") == _owner(sticky):
                return attached.handle
            raise _held_otherwise(block, ordinal, entry)
    for first in range(0, MOST_SLOTS if sticky.numbered else 1, SLOTS):
        handles = handles_of(request, first)
        draft.need(*(records.handle_key(handle) for handle in handles))
        found = _first_free(draft, request, sticky, handles)
        if found is not None:
            return found
    raise PoolExhaustedError(f"all {MOST_SLOTS} addresses of {_owner(sticky)} are held")


def check_ordinary(held: Sequence[Allocation], handle: str | None) -> None:
    """
    Refuse to make an interface's ordinary address sticky behind its back.

    Raises:
        AddressInUseError: It holds one.
    """
    if held:
        raise AddressInUseError(
            str(held[0].address), handle, note=f"it is not sticky; {_DELETE_FIRST}"
        )


_DELETE_FIRST = "delete the attachment first"


def _held_otherwise(block: Block, ordinal: int, entry: Attribute) -> AddressInUseError:
    owner = entry.secondary.get("identity", "")
    return AddressInUseError(
        str(address_at(block.cidr, ordinal)),
        entry.owner,
        note=f"the interface holds it for {owner}; {_DELETE_FIRST}",
    )


def _owner(sticky: Sticky) -> str:
    return f"{sticky.namespace}/{sticky.identity}"


def _first_free(
    draft: Draft, request: AutoAssign, sticky: Sticky, handles: Sequence[str]
) -> str | None:
    vacant = None
    for handle in handles:
        draft.compare(records.handle_key(handle))  # somebody may take the slot, or leave it
        for block in blocks_of(draft, handle):
            expire(draft, block)
        entries = list(_entries(draft, handle))
        if not entries:
            vacant = vacant or handle
        elif all(_may_have(draft, request, sticky, *each) for each in entries):
            return handle
    return vacant


def _may_have(
    draft: Draft,
    request: AutoAssign,
    sticky: Sticky,
    block: Block,
    ordinal: int,
    entry: Attribute,
) -> bool:
    """Tell whether a slot's address is to be had; an identity's only one must be."""
    mine = entry.secondary.get("identity") == _owner(sticky)
    stays = draft.config().strict_affinity and block.affinity != request.claimant.owner
    if sticky.numbered:
        return mine and not stays and not entry.secondary.get("container")
    if not mine:
        raise _held_otherwise(block, ordinal, entry)
    if stays:
        raise StrictAffinityError(
            str(address_at(block.cidr, ordinal)),
            str(block.cidr),
            block.affinity,
            note=f"it is kept for {_owner(sticky)}; poolctl ipam release --ip gives it up",
        )
    return True


def _entries(draft: Draft, handle: str) -> Iterator[tuple[Block, int, Attribute]]:
    """Iterate over the sticky addresses of a handle."""
    for block in blocks_of(draft, handle):
        for ordinal in block.ordinals_of(handle):
            entry = block.attribute_at(ordinal)
            if entry is not None and is_sticky(entry):
                yield block, ordinal, entry


def _allocation(
    draft: Draft, block: Block, ordinal: int, link: LinkPolicy, *, strict: bool = True
) -> Allocation:
    draft.compare(records.block_key(block.cidr))  # only the block says who holds it
    pool = pool_of(draft.pools(), block.cidr, enabled=False)
    return Allocation(
        address=address_at(block.cidr, ordinal),
        block=block.cidr,
        pool=pool.metadata.name if pool else "",
        link=link_in(pool, block, ordinal, link, strict=strict),
        sequence_number=block.sequence_numbers.get(ordinal, 0),
    )


def inherit(draft: Draft, request: AutoAssign, handle: str) -> tuple[Allocation, ...]:
    """
    Make the request's attachment the holder of what a slot has of the families it asks for.

    Raises:
        Missing: More must be known.
        NoMatchingPoolError: The main plugin cannot use it any more.
    """
    mine: list[Allocation] = []
    for block, ordinal, entry in list(_entries(draft, handle)):
        before, wanted = attachment_of(entry), attributes_of(request)
        if before is not None and before != request.attachment:
            draft.need(records.attachment_key(before))
            if draft.exists(records.attachment_key(before)):
                draft.delete(records.attachment_key(before))
        if not request.count.get(block.cidr.version):
            if before is not None:
                leave(draft, block, entry)
            continue
        mine.append(_allocation(draft, block, ordinal, request.link))
        if {**wanted, "timestamp": ""} != {**entry.secondary, "timestamp": ""}:
            _rewrite(draft, block, entry, wanted)
    return tuple(mine)


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
    for block, _, entry in list(_entries(draft, attached.handle)):
        if attachment_of(entry) == attachment:
            leave(draft, block, entry)
    draft.delete(key)


def leave(draft: Draft, block: Block, entry: Attribute) -> None:
    """Note that nobody holds a sticky address now, and since when."""
    released = {"container": "", "released-at": rfc3339(draft.now_ns)}
    left = replace(entry, secondary={**entry.secondary, **released})
    _rewrite(draft, block, entry, left.secondary)
    # A retention of 0.
    expire(draft, draft.block(block.cidr) or block, first=left, most=1)


def has_expired(entry: Attribute, now_ns: int) -> bool:
    """Tell whether the retention of a released sticky address is over."""
    if not is_sticky(entry) or entry.secondary.get("container"):
        return False
    retention, since = entry.secondary.get("retention", ""), entry.secondary.get("released-at")
    left_ns = None if since is None else time_ns(since)
    if left_ns is None or not retention.isdecimal():
        return False  # for ever, or nobody can say
    return left_ns + int(retention) * 1_000_000_000 <= now_ns


def expire(
    draft: Draft, block: Block, *, first: Attribute | None = None, most: int = EXPIRED
) -> Block:
    """
    Free sticky addresses of a block whose retention is over, and write the block if any is.

    Args:
        first: An entry that must not wait, if it is one of them.
        most: Entries that go at once; the others wait for their turn.

    Raises:
        Missing: A handle must be read.
    """
    over = [entry for entry in block.attributes if has_expired(entry, draft.now_ns)]
    over = sorted(over, key=lambda entry: entry != first)[:most]
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
    if block.empty and block.affinity is None:
        draft.delete(records.block_key(block.cidr))
    return block


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
