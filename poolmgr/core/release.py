"""
Giving addresses back.

Rules (Calico libcalico-go/lib/ipam, ReleaseIPs, ReleaseByHandle):

1. Releasing what is not assigned is a success, and is said. Only a handle or a sequence number
   that does not match is an error, and then nothing of that block changes; a release by handle
   passes over the address instead.
2. An empty block goes when it belongs to nobody, and stays with its host otherwise, unless the
   pool that contains it no longer selects the host: then the release that empties it takes
   block and affinity away. A DEL does so for blocks of its own node only.
3. A handle loses exactly what was freed; see core/handle.py for the surplus that Calico leaves.
4. Every DEL rewrites the session key of its node, also when it finds nothing: see
   core/session.py.
5. Large requests are planned part by part; each part is complete in itself.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPAddress, IPNetwork, address_at, contains, network, ordinal_of
from poolmgr.core import records
from poolmgr.core.affinity import owner
from poolmgr.core.block import Block, check_release, release
from poolmgr.core.draft import POOLS, Draft
from poolmgr.core.grant import count_down
from poolmgr.core.held import blocks_of, matches
from poolmgr.core.outcome import Released
from poolmgr.core.pools import pool_of, strayed
from poolmgr.core.request import Release, ReleaseByHandle, ReleaseIPs
from poolmgr.core.sticky import let_go
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import CorruptStateError, RefusedError

PART = 24
"""Blocks of 64 addresses, or their like, that one part of a large request touches."""


def plan_release_by_handle(
    draft: Draft, request: ReleaseByHandle
) -> Released | ReleaseByHandle:
    """
    Release what handles hold.

    Returns:
        The answer, or what remains to be asked.

    Raises:
        Missing: More must be known.
    """
    keys = [records.handle_key(handle) for handle in request.handles]
    node, session = [], []
    if request.host:
        node = [records.resource_key("nodes", request.host)]
    if request.attachment is not None:
        at = request.attachment
        session = [records.session_key(request.host), records.attachment_key(at)]
    draft.need(EPOCH_KEY, records.CONFIG_KEY, *keys, *node, *session, ranges=(POOLS,))
    work = [
        (handle, b.cidr)
        for handle in dict.fromkeys(request.handles)
        for b in _to_release(draft, request, handle)
    ]
    freed, touched = list(request.so_far), 0
    for handle, cidr in work:
        if touched >= PART * 64:
            return replace(request, so_far=tuple(freed))
        block = draft.block(cidr)
        assert block is not None
        ordinals = _ordinals(block, handle, request)
        freed += [address_at(block.cidr, ordinal) for ordinal in ordinals]
        free(draft, block, ordinals, host=request.host, bump=False)
        count_down(draft, handle, block.cidr, len(ordinals))
        touched += max(64, block.size)
    if request.attachment is not None:
        let_go(draft, request.attachment)
        for key in keys:
            draft.compare(key)  # an ADD may land between our look and the fence
        draft.put(session[0], draft.session(request.host).bump(request.attachment.digest))
    return Released(released=tuple(freed))


def _to_release(draft: Draft, request: ReleaseByHandle, handle: str) -> list[Block]:
    stored = draft.handle(handle)
    if request.host and stored is not None:
        keys = [
            (records.block_key(c), records.affinity_key(request.host, c)) for c in stored.blocks
        ]
        draft.need(*(key for pair in keys for key in pair))
    return [block for block in blocks_of(draft, handle) if _ordinals(block, handle, request)]


def _ordinals(block: Block, handle: str, request: ReleaseByHandle) -> list[int]:
    return [
        ordinal
        for ordinal in block.ordinals_of(handle)
        if (attribute := block.attribute_at(ordinal))
        and matches(attribute, request.attachment)
        and request.sequence_number in (None, block.sequence_numbers.get(ordinal, 0))
    ]


def plan_release_ips(draft: Draft, request: ReleaseIPs) -> Released | ReleaseIPs:
    """
    Release addresses, block by block.

    Returns, raises:
        As `plan_release_by_handle`.
    """
    draft.need(EPOCH_KEY, records.CONFIG_KEY, ranges=(POOLS,))
    part = request.releases[: PART * 4]
    blocks = locate(draft, {release_.address for release_ in part})
    chosen = _first_blocks(blocks.values())
    so_far = request.so_far or Released(released=())
    freed, unallocated, errors = (
        list(so_far.released),
        list(so_far.unallocated),
        list(so_far.errors),
    )
    unallocated += sorted({r.address for r in part if blocks[r.address] is None}, key=_order)
    for cidr in sorted(chosen, key=str):
        block = next(b for b in blocks.values() if b is not None and b.cidr == cidr)
        mine = [r for r in request.releases if contains(cidr, r.address)]
        error = next((e for e in (_mismatch(block, r) for r in mine) if e is not None), None)
        if error is not None:
            errors.append(error)
            continue
        ordinals = sorted({ordinal_of(cidr, r.address) for r in mine})
        owned = [n for n in ordinals if (a := block.attribute_at(n)) and a.released_at is None]
        unallocated += [address_at(cidr, n) for n in ordinals if n not in owned]
        handles = Counter(a.owner for n in owned if (a := block.attribute_at(n)) and a.owner)
        draft.need(*(records.handle_key(handle) for handle in handles))
        freed += [address_at(cidr, n) for n in owned]
        kind, _, host = (block.affinity or "").partition(":")
        free(draft, block, owned, host=host if kind == "host" else "", bump=True)
        for handle, count in handles.items():
            count_down(draft, handle, cidr, count)
    answer = Released(
        released=tuple(freed), unallocated=tuple(unallocated), errors=tuple(errors)
    )
    absent = {a for a, b in blocks.items() if b is None}
    rest = tuple(
        r
        for r in request.releases
        if r.address not in absent and not any(contains(c, r.address) for c in chosen)
    )
    return replace(request, releases=rest, so_far=answer) if rest else answer


def _mismatch(block: Block, wanted: Release) -> RefusedError | None:
    return check_release(
        block,
        ordinal_of(block.cidr, wanted.address),
        handle=wanted.handle,
        sequence_number=wanted.sequence_number,
    )


def _first_blocks(blocks: Iterable[Block | None]) -> set[IPNetwork]:
    """Return as many of the blocks as one part touches, at least one."""
    chosen: dict[IPNetwork, int] = {}
    for block in blocks:
        if block is not None and sum(chosen.values()) < PART * 64:
            chosen[block.cidr] = max(64, block.size)
    return set(chosen)


def locate(draft: Draft, addresses: Iterable[IPAddress]) -> dict[IPAddress, Block | None]:
    """
    Find the block of each address.

    By its pool's block size, else by every size a block can have.
    """
    sizes: dict[IPAddress, Sequence[int]] = {}
    for address in addresses:
        pool = pool_of(draft.pools(), address, enabled=False)
        sizes[address] = (
            BLOCK_SIZES[address.version] if pool is None else (pool.spec.block_size,)
        )
    keys = {records.block_key(network(a, size)) for a in sizes for size in sizes[a]}
    draft.need(*keys)
    return {
        a: next(
            (b for size in sizes[a] if (b := draft.block(network(a, size))) is not None), None
        )
        for a in sorted(sizes, key=_order)
    }


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def free(draft: Draft, block: Block, ordinals: list[int], *, host: str, bump: bool) -> None:
    """
    Free ordinals of a block.

    An empty block that nobody has, or may have any longer, is deleted.
    """
    if not ordinals:
        return
    after = release(
        block, ordinals, now_ns=draft.now_ns, cooldown_s=draft.config().cooldown_s, bump=bump
    )
    draft.compare(records.CONFIG_KEY)  # the cooldown decides whether the address is free
    key = records.block_key(block.cidr)
    draft.put(key, after)
    if not after.empty:
        return
    if after.affinity is None:
        draft.delete(key)
    elif host and after.affinity == owner(host) and _strayed(draft, host, block.cidr):
        draft.delete(key)
        draft.delete(records.affinity_key(host, block.cidr))


def _strayed(draft: Draft, host: str, cidr: IPNetwork) -> bool:
    """Tell whether the enabled pool around a block no longer selects the host."""
    try:
        labels = draft.node_labels(host)
    except CorruptStateError:
        return False  # tidying up must not stop a release
    if labels is None or not strayed(draft.pools(), cidr, labels):
        return False
    draft.compare(records.resource_key("nodes", host))  # the label may come back
    draft.compare_range(POOLS)  # the selector may change
    return True
