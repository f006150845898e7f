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
5. A release by force is a DEL of every attachment that it takes an address from.
6. Large requests are planned part by part; each part is complete in itself. A block from which
   many owners lose addresses may take several.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPAddress, IPNetwork, address_at, contains, network, ordinal_of
from poolmgr.core import records
from poolmgr.core.affinity import owner
from poolmgr.core.block import Attribute, Block, check_release, release
from poolmgr.core.draft import POOLS, Draft
from poolmgr.core.grant import count_down
from poolmgr.core.held import attachment_of, blocks_of, matches
from poolmgr.core.outcome import Released
from poolmgr.core.parts import BLOCKS, OWNERS, READ, first_part
from poolmgr.core.pools import pool_of, strayed
from poolmgr.core.request import Release, ReleaseByHandle, ReleaseIPs
from poolmgr.core.session import EVERY_ATTACHMENT
from poolmgr.core.sticky import let_go
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import CorruptStateError, RefusedError

LOOKED_AT = 96
"""Addresses whose blocks one part of a large request looks for."""


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
    freed = list(request.so_far)
    part = len(first_part((cidr for _, cidr in work), BLOCKS))
    for handle, cidr in work[:part]:
        block = draft.block(cidr)
        assert block is not None
        ordinals = _ordinals(block, handle, request)
        freed += [address_at(block.cidr, ordinal) for ordinal in ordinals]
        free(draft, block, ordinals, host=request.host, bump=False)
        count_down(draft, handle, block.cidr, len(ordinals))
    if part < len(work):
        return replace(request, so_far=tuple(freed))
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
    blocks = locate(draft, {release_.address for release_ in request.releases[:LOOKED_AT]})
    absent = {address for address, block in blocks.items() if block is None}
    found = {block.cidr: block for block in blocks.values() if block is not None}
    answer = request.so_far or Released(released=())
    unallocated = (*answer.unallocated, *sorted(absent, key=_order))
    answer, done = replace(answer, unallocated=unallocated), set(absent)
    owners: list[Attribute] = []
    for cidr in sorted(first_part(found, BLOCKS), key=str):
        mine = [r for r in request.releases if contains(cidr, r.address)]
        error = next((e for r in mine if (e := _mismatch(found[cidr], r)) is not None), None)
        if error is not None:
            answer = replace(answer, errors=(*answer.errors, error))
            done.update(r.address for r in mine)
            continue
        taken = _first_owners(found[cidr], {r.address for r in mine}, owners)
        answer = _free_some(draft, request, found[cidr], taken, answer)
        done.update(taken)
    rest = tuple(r for r in request.releases if r.address not in done)
    return replace(request, releases=rest, so_far=answer) if rest else answer


def _first_owners(
    block: Block, addresses: Iterable[IPAddress], owners: list[Attribute]
) -> list[IPAddress]:
    """Return the first addresses that a part has room for, and note their owners."""
    taken = []
    for address in sorted(addresses, key=_order):
        entry = block.attribute_of(address)
        if entry is not None and entry not in owners:
            if len(owners) == OWNERS:
                break
            owners.append(entry)
        taken.append(address)
    return taken


def _free_some(
    draft: Draft,
    request: ReleaseIPs,
    block: Block,
    addresses: list[IPAddress],
    answer: Released,
) -> Released:
    """Free addresses of one block, and add them to the answer."""
    entries = {address: block.attribute_of(address) for address in addresses}
    owned = {a: e for a, e in entries.items() if e is not None and e.released_at is None}
    handles = Counter(entry.owner for entry in owned.values() if entry.owner)
    draft.need(*(records.handle_key(handle) for handle in handles))
    kind, _, host = (block.affinity or "").partition(":")
    ordinals = [ordinal_of(block.cidr, address) for address in owned]
    free(draft, block, ordinals, host=host if kind == "host" else "", bump=True)
    for handle, count in handles.items():
        count_down(draft, handle, block.cidr, count)
    if request.fence:
        _fence(draft, owned.values())
    unallocated = (address for address in addresses if address not in owned)
    return replace(
        answer,
        released=(*answer.released, *owned),
        unallocated=(*answer.unallocated, *unallocated),
    )


def _fence(draft: Draft, entries: Iterable[Attribute]) -> None:
    """Note on every node named that its attachments, or else all of them, were deleted."""
    deleted: dict[str, set[str]] = {}
    for entry in entries:
        attachment, node = attachment_of(entry), entry.secondary.get("node", "")
        if records.is_segment(node):
            digest = EVERY_ATTACHMENT if attachment is None else attachment.digest
            deleted.setdefault(node, set()).add(digest)
    draft.need(*map(records.session_key, deleted))
    for node, digests in deleted.items():
        session = draft.session(node)
        for digest in sorted({EVERY_ATTACHMENT} if EVERY_ATTACHMENT in digests else digests):
            session = session.bump(digest)
        draft.put(records.session_key(node), session)


def _mismatch(block: Block, wanted: Release) -> RefusedError | None:
    return check_release(
        block,
        ordinal_of(block.cidr, wanted.address),
        handle=wanted.handle,
        sequence_number=wanted.sequence_number,
    )


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
    cidrs = sorted({network(a, size) for a in sizes for size in sizes[a]}, key=str)
    while part := first_part(cidrs[:LOOKED_AT], READ):
        draft.need(*map(records.block_key, part))
        cidrs = cidrs[len(part) :]
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
