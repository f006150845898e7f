"""
Single addresses: who holds one, who it is stored for, and when its cooldown is over.

Rules (Calico libcalico-go/lib/ipam, GetAssignmentAttributes, SetOwnerAttributes,
GarbageCollectColdIPs):

1. An owner is rewritten only under the handle that holds the address, and only after every
   check; addresses that share the stored entry change with it.
2. An address that cools down has no owner.
3. Collecting writes only what it changes; an empty block of nobody goes.
"""

from collections.abc import Mapping
from dataclasses import replace

from poolmgr.cidr import IPAddress, address_at, ordinal_of
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block
from poolmgr.core.draft import POOLS, Draft
from poolmgr.core.outcome import Collected, Owner
from poolmgr.core.release import locate
from poolmgr.core.request import CollectCold, OwnerCheck, OwnerOf, SetOwner
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import InvalidRequestError, OwnerChangedError, RefusedError


def plan_owner_of(draft: Draft, request: OwnerOf) -> Owner:
    """
    Tell who holds an address.

    Raises:
        Missing: More must be known.
        RefusedError: Nobody does.
    """
    # On a fork, because a question needs no transaction: what was read is the answer.
    block, attribute = _held(draft.fork(), request.address)
    return _owner(block, request.address, attribute)


def plan_set_owner(draft: Draft, request: SetOwner) -> Owner:
    """
    Rewrite who an address is stored for.

    Raises:
        Missing: More must be known.
        InvalidRequestError: The request changes nothing.
        OwnerChangedError: Another handle or another owner than expected.
        RefusedError: Nobody holds the address.
    """
    if request.active is None and request.alternate is None:
        raise InvalidRequestError("neither active nor alternate is to be set", field="active")
    block, attribute = _held(draft, request.address)
    draft.compare(records.CONFIG_KEY)  # the cooldown decides what else is free in the block
    address, key = str(request.address), records.block_key(block.cidr)
    if attribute.owner != request.handle.partition("\r")[0]:
        raise OwnerChangedError(
            address, f"handle {attribute.owner} holds it, not {request.handle}"
        )
    for what, check, stored in (
        ("owner", request.active_is, attribute.secondary),
        ("alternate owner", request.alternate_is, attribute.alternate),
    ):
        if check is not None and not _is(stored, check):
            raise OwnerChangedError(address, f"its {what} is {dict(stored) or 'nobody'}")
    changed = replace(
        attribute,
        secondary=attribute.secondary if request.active is None else dict(request.active),
        alternate=attribute.alternate if request.alternate is None else dict(request.alternate),
    )
    entries = tuple(changed if a == attribute else a for a in block.attributes)
    after = replace(block, attributes=entries, sequence_number=block.sequence_number + 1)
    draft.put(key, after)
    return _owner(after, request.address, changed)


def plan_collect(draft: Draft, request: CollectCold) -> Collected:
    """
    Free the addresses of a block whose cooldown is over.

    Raises:
        Missing: More must be known.
    """
    key = records.block_key(request.block)
    draft.need(EPOCH_KEY, records.CONFIG_KEY, key)
    stored, warm = draft.stored_block(request.block), draft.block(request.block)
    if stored is None or warm is None:
        return Collected(addresses=())
    leftover = warm.empty and warm.affinity is None
    if warm is stored and not leftover:
        return Collected(addresses=())
    draft.compare(records.CONFIG_KEY)  # the cooldown decides what is free
    draft.put(key, replace(warm, sequence_number=warm.sequence_number + 1))
    if leftover:
        draft.delete(key)
    freed = sorted(set(warm.unallocated) - set(stored.unallocated))
    return Collected(addresses=tuple(address_at(request.block, n) for n in freed))


def _held(draft: Draft, address: IPAddress) -> tuple[Block, Attribute]:
    draft.need(EPOCH_KEY, records.CONFIG_KEY, ranges=(POOLS,))
    block = locate(draft, [address])[address]
    attribute = None if block is None else block.attribute_of(address)
    if block is None or attribute is None:
        raise RefusedError(f"address {address} is not assigned")
    if attribute.released_at is not None:
        raise RefusedError(
            f"address {address} is not assigned; it cools down since {attribute.released_at}"
        )
    return block, attribute


def _owner(block: Block, address: IPAddress, attribute: Attribute) -> Owner:
    return Owner(
        address=address,
        block=block.cidr,
        handle=attribute.owner,
        attributes=attribute.secondary,
        alternate=attribute.alternate,
        sequence_number=block.sequence_numbers.get(ordinal_of(block.cidr, address), 0),
    )


def _is(stored: Mapping[str, str], check: OwnerCheck) -> bool:
    if check.pod is None and check.namespace is None:
        return not stored
    return (stored.get("pod"), stored.get("namespace")) == (check.pod, check.namespace)
