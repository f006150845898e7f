"""
What a handle holds: the ordinals of its blocks, seen from one interface or as a whole.

Rules:

1. An entry belongs to an interface if it names it; for a release or a check also if it names
   none (calico-ipam's). An ADD is never answered with an entry that names none.
2. A network that an entry names must agree, since "a.b" + "c" and "a" + "b.c" make the same id.
"""

from poolmgr.api import IPPool
from poolmgr.cidr import address_at
from poolmgr.core import records
from poolmgr.core.block import Attribute, Block
from poolmgr.core.draft import Draft
from poolmgr.core.link import Link, LinkError, LinkPolicy, MainPlugin, resolve
from poolmgr.core.outcome import Allocation
from poolmgr.core.pools import pool_of
from poolmgr.core.request import Attachment
from poolmgr.errors import NoMatchingPoolError

STICKY = "poolmgr-sticky"
"""What the attribute `type` of a sticky address says; see core/sticky.py."""


def is_sticky(attribute: Attribute) -> bool:
    """Tell whether an entry is that of a sticky address."""
    return attribute.secondary.get("type") == STICKY


def attachment_of(attribute: Attribute) -> Attachment | None:
    """Return who holds the addresses of an entry; None = it does not say."""
    of = attribute.secondary
    network, interface = of.get("network", ""), of.get("interface", "")
    if is_sticky(attribute):
        container = of.get("container", "")
    else:
        owner, _, container = (attribute.owner or "").partition(f"{network}.")
        container = "" if owner else container
    if not (network and container and interface):
        return None
    return Attachment(network=network, container=container, interface=interface)


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
    if is_sticky(attribute):
        return False
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
        rules = link_in(pool, block, mine[0], link, strict=strict)
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


def link_in(
    pool: IPPool | None, block: Block, ordinal: int, link: LinkPolicy, *, strict: bool
) -> Link:
    """
    Return how the main plugin shall configure an address that is held.

    Args:
        pool: What is around the block now; None = it was deleted.
        strict: Refuse what the main plugin cannot use; else the bare address answers.

    Raises:
        NoMatchingPoolError: The pool has changed, or gone, and the main plugin needs more.
    """
    why = f"there is no pool around block {block.cidr} any more"
    if pool is None and link.main not in (MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY):
        return resolve(block.cidr, {}, LinkPolicy())
    if pool is not None:
        try:
            return resolve(pool.spec.cidr, pool.metadata.annotations, link)
        except LinkError as error:
            why = str(error)
    if not strict:
        return Link(prefix_length=block.cidr.max_prefixlen)
    raise NoMatchingPoolError(
        f"address {address_at(block.cidr, ordinal)} of the interface does not fit",
        {pool.metadata.name if pool else str(block.cidr): why},
    )
