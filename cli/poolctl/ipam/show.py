"""What `poolctl ipam show` prints: counts per pool and block, or who holds an address."""

from collections.abc import Mapping, Sequence

import click
from tabulate import tabulate

from poolctl.config import Session
from poolctl.report import advice, exit_code, say, warn
from poolctl.resources.changes import R, decoded
from poolmgr.api import IPPool
from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPAddress, network, ordinal_of
from poolmgr.core.block import Attribute, Block, rfc3339, time_ns
from poolmgr.core.held import is_sticky
from poolmgr.core.pools import pool_of
from poolmgr.core.records import block_key, decode_block, resource_range
from poolmgr.core.txn import Fetch, Range, Reading
from poolmgr.core.usage import BlockUsage, Usage
from poolmgr.errors import CorruptStateError
from poolmgr.survey import utilization

_POOLS = resource_range(IPPool.plural)
_COLUMNS = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE")
_ALIGN = ("left", "left", "right", "right", "right", "right")


def show_usage(session: Session, *, show_blocks: bool) -> int:
    """
    Print the table of pools, and of blocks if wanted, as of one revision.

    Returns:
        The exit status; what does not decode is named on stderr and not counted.
    """
    counted = utilization(session.store, keep_blocks=show_blocks, timeout_s=session.left_s)
    used = counted.counts
    rows = []
    for pool in used.pools:
        rows.append(("IP Pool", str(pool.cidr), *_cells(pool.usage)))
        rows += [_block_row("Block", block) for block in pool.blocks]
    rows += [_block_row("Block, no pool", block) for block in used.orphans]
    align = _ALIGN if rows else None
    click.echo(tabulate(rows, _COLUMNS, tablefmt="pretty", colalign=align))
    return _warn_of(counted.unreadable, "the counts lack it", session)


def show_address(session: Session, address: IPAddress) -> int:
    """
    Print who holds an address: its block says so, whatever became of its pool.

    Returns:
        The exit status; pools that do not decode are named on stderr.

    Raises:
        CorruptStateError: The block does not decode.
    """
    sizes = BLOCK_SIZES[address.version]
    keys = [block_key(network(address, size)) for size in sizes]
    reading = _read(session, Fetch(keys=frozenset(keys), ranges=frozenset({_POOLS})))
    for key in keys:
        found = reading.found[key]
        if found is not None:
            block = decode_block(key, found.value)
            break
    else:
        say(f"IP {address} is not assigned")
        return 0
    broken: list[CorruptStateError] = []
    _show_in_block(block, address, _decoded(IPPool, reading, _POOLS, broken))
    return _warn_of(broken, "the address may be in it", session)


def _show_in_block(block: Block, address: IPAddress, pools: list[IPPool]) -> None:
    owner = block.attribute_of(address)
    if owner is None:
        say(f"IP {address} is not assigned")
        return
    if owner.released_at is not None:
        say(f"IP {address} is not assigned; it cools down since {owner.released_at}")
        return
    pool = pool_of(pools, address, enabled=False)
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


def _state(owner: Attribute) -> str:
    """Say whether somebody uses an address that is assigned, or it is only kept for him."""
    attributes = owner.secondary
    if not is_sticky(owner) or attributes.get("container"):
        return "is in use"
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


def _read(session: Session, fetch: Fetch) -> Reading:
    return session.store.read(fetch, timeout_s=session.left_s)


def _decoded(
    kind: type[R], reading: Reading, range_: Range, broken: list[CorruptStateError]
) -> list[R]:
    """Decode the resources of a range; what cannot be understood goes to `broken`."""
    found: list[R] = []
    for key, stored in reading.ranges[range_].items:
        try:
            found.append(decoded(kind, key, stored))
        except CorruptStateError as error:
            broken.append(error)
    return found


def _warn_of(broken: Sequence[CorruptStateError], consequence: str, session: Session) -> int:
    for error in broken:
        warn(f"{error}; {consequence}{advice(error, session)}")
    return max(map(exit_code, broken), default=0)


def _block_row(grouping: str, block: BlockUsage) -> tuple[str, ...]:
    return grouping, str(block.cidr), *_cells(block.usage)


def _cells(usage: Usage) -> tuple[str, ...]:
    counts = (usage.in_use, usage.reserved, usage.free)
    return f"{usage.total:,}", *(f"{n:,} ({_percent(n, usage.total)}%)" for n in counts)


def _percent(count: int, total: int) -> int:
    """Round to a whole number, half to even, exactly: floats cannot hold IPv6 counts."""
    whole, rest = divmod(100 * count, total)
    return whole + (2 * rest > total or (2 * rest == total and whole % 2))
