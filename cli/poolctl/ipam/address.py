"""`poolctl ipam show --ip`: who holds an address."""

from collections.abc import Mapping
from typing import Any

from poolctl.config import Session
from poolctl.ipam.output import TABLE, show_document
from poolctl.ipam.show import warn_of
from poolctl.report import say
from poolmgr.api import IPPool
from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPAddress, network, ordinal_of
from poolmgr.core.block import Attribute, Block, rfc3339, time_ns
from poolmgr.core.held import is_sticky
from poolmgr.core.pools import pool_of
from poolmgr.core.records import block_key, decode_block, decode_resource, resource_range
from poolmgr.core.txn import Fetch, Reading
from poolmgr.errors import CorruptStateError

_POOLS = resource_range(IPPool.plural)


def show_address(session: Session, address: IPAddress, *, output: str) -> int:
    """
    Print who holds an address: its block says so, whatever became of its pool.

    Returns:
        The exit status; pools that do not decode are named on stderr.

    Raises:
        CorruptStateError: The block does not decode.
        StoreError: There is no answer.
    """
    keys = [block_key(network(address, size)) for size in BLOCK_SIZES[address.version]]
    fetch = Fetch(keys=frozenset(keys), ranges=frozenset({_POOLS}))
    reading = session.store.read(fetch, timeout_s=session.left_s)
    broken: list[CorruptStateError] = []
    pool = pool_of(_pools(reading, broken), address, enabled=False)
    found = next(((key, at.value) for key in keys if (at := reading.found[key])), None)
    block = decode_block(*found) if found else None
    owner = block.attribute_of(address) if block else None
    if output != TABLE:
        about: dict[str, Any] = {"revision": reading.revision, "address": str(address)}
        show_document(about | _document(address, pool, block, owner), output)
    elif block is None or owner is None:
        say(f"IP {address} is not assigned")
    elif owner.released_at is not None:
        say(f"IP {address} is not assigned; it cools down since {owner.released_at}")
    else:
        _show_owner(address, pool, block, owner)
    unknown = owner is not None or output != TABLE
    return warn_of(broken if unknown else (), "the address may be in it", session)


def _pools(reading: Reading, broken: list[CorruptStateError]) -> list[IPPool]:
    """Decode the pools; what cannot be understood goes to `broken`."""
    pools = []
    for key, stored in reading.ranges[_POOLS].items:
        try:
            pools.append(decode_resource(IPPool, key, stored.value, stored.mod_revision))
        except CorruptStateError as error:
            broken.append(error)
    return pools


def _show_owner(
    address: IPAddress, pool: IPPool | None, block: Block, owner: Attribute
) -> None:
    number = block.sequence_numbers.get(ordinal_of(block.cidr, address))
    affinity = f"of {block.affinity}" if block.affinity else "of no host"
    say(f"IP {address} {_state(owner)}")
    say(f"Handle ID: {owner.owner or '<none>'}")
    say(f"Block: {block.cidr}, {affinity}")
    say(f"Pool: {f'{pool.metadata.name}, {pool.spec.cidr}' if pool else '<none>'}")
    say(f"Sequence number: {'<none>' if number is None else number}")
    _show_attributes("Attributes", owner.secondary)
    if owner.alternate:
        _show_attributes("Alternate attributes", owner.alternate)


def _document(
    address: IPAddress, pool: IPPool | None, block: Block | None, owner: Attribute | None
) -> dict[str, Any]:
    """Write what is known for programs; null = there is no such thing."""
    number = block.sequence_numbers.get(ordinal_of(block.cidr, address)) if block else None
    return {
        "state": _word(owner),
        "pool": pool.metadata.name if pool else None,
        "block": str(block.cidr) if block else None,
        "affinity": block.affinity if block else None,
        "handle": owner.owner if owner else None,
        "sequenceNumber": number,
        "releasedAt": owner.released_at if owner else None,
        "attributes": dict(owner.secondary) if owner else {},
        "alternateAttributes": dict(owner.alternate) if owner else {},
    }


def _word(owner: Attribute | None) -> str:
    if owner is None:
        return "NotAssigned"
    if owner.released_at is not None:
        return "CoolingDown"
    return "Kept" if _is_kept(owner) else "InUse"


def _is_kept(owner: Attribute) -> bool:
    """Tell whether nobody uses an address that is assigned, because it is kept for him."""
    return is_sticky(owner) and not owner.secondary.get("container")


def _state(owner: Attribute) -> str:
    if not _is_kept(owner):
        return "is in use"
    attributes = owner.secondary
    return f"is kept for {attributes.get('identity', 'nobody knows whom')} {_until(attributes)}"


def _until(attributes: Mapping[str, str]) -> str:
    retention = attributes.get("retention", "")
    since_ns = time_ns(attributes.get("released-at", ""))
    if since_ns is None or not retention.isdecimal():
        return "for ever"
    try:
        return f"until {rfc3339(since_ns + int(retention) * 1_000_000_000)}"
    except (ValueError, OverflowError):  # beyond the calendar
        return "for ever"


def _show_attributes(title: str, attributes: Mapping[str, str]) -> None:
    say(f"{title}:{'' if attributes else ' <none>'}")
    for key, value in sorted(attributes.items()):
        say(f"  {key}: {value}")
