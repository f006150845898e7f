"""
What a handle holds: the ordinals of its blocks, seen from one interface or as a whole.

Rules:

1. An entry belongs to an interface if it names it; for a release or a check also if it names
   none (calico-ipam's). An ADD is never answered with an entry that names none.
2. A network that an entry names must agree, since "a.b" + "c" and "a" + "b.c" make the same id.
"""

from poolmgr.cidr import address_at
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block
from poolmgr.core.draft import Draft
from poolmgr.core.link import Link, LinkError, LinkPolicy, resolve
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import pool_of
from poolmgr.core.request import Attachment
from poolmgr.errors import NoMatchingPoolError


def matches(
    attribute: Attribute, attachment: Attachment | None, *, strict: bool = False
) -> bool:
    """
    Tell whether an entry of the attachment's handle is the attachment's.

    Args:
        attachment: None = every entry matches.
        strict: Entries that name no interface do not match.
    """
    if attachment is None:
        return True
    interface, network = (
        attribute.secondary.get("interface"),
        attribute.secondary.get("network"),
    )
    if interface is None and strict:
        return False
    return interface in (None, attachment.interface) and network in (None, attachment.network)


def blocks_of(draft: Draft, handle: str) -> list[Block]:
    """Return the existing blocks that a handle names, in the handle's order."""
    draft.need(records.handle_key(handle))
    stored = draft.handle(handle)
    cidrs = [] if stored is None else list(stored.blocks)
    draft.need_since(records.handle_key(handle), *(records.block_key(cidr) for cidr in cidrs))
    return [block for cidr in cidrs if (block := draft.block(cidr)) is not None]


def held_by(
    draft: Draft,
    handle: str,
    attachment: Attachment | None,
    link: LinkPolicy,
    *,
    strict: bool = True,
) -> tuple[Allocation, ...]:
    """Return what a handle or one interface of it holds, and compare the blocks that say so."""
    found: list[Allocation] = []
    for block in blocks_of(draft, handle):
        pool = pool_of(draft.pools(), block.cidr, enabled=False)
        mine = [
            ordinal
            for ordinal in block.ordinals_of(handle)
            if (attribute := block.attribute_at(ordinal))
            and matches(attribute, attachment, strict=strict)
        ]
        if not mine:
            continue
        # "You have it" is true only while the block says so.
        draft.compare(records.block_key(block.cidr))
        try:
            annotations = pool.metadata.annotations if pool else {}
            rules = resolve(
                pool.spec.cidr if pool else block.cidr,
                annotations,
                link if pool else LinkPolicy(),
            )
        except LinkError as error:
            if strict:  # an ADD must not be answered with what its plugin cannot use
                raise NoMatchingPoolError(
                    f"address {address_at(block.cidr, mine[0])} of the interface does not fit",
                    {pool.metadata.name if pool else str(block.cidr): str(error)},
                ) from error
            # The pool changed; the address is theirs all the same.
            rules = Link(prefix_length=block.cidr.max_prefixlen)
        found.extend(
            Allocation(
                address=address_at(block.cidr, ordinal),
                block=block.cidr,
                pool=pool.metadata.name if pool else "",
                link=rules,
                sequence_number=block.sequence_numbers.get(ordinal, 0),
            )
            for ordinal in mine
        )
    return tuple(found)
