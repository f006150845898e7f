"""What `poolctl ipam show` prints: counts per pool and block, or who holds an address."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import click
from tabulate import tabulate

from poolctl.changes import decoded
from poolctl.config import Session
from poolctl.report import complain, exit_code
from poolmgr.api import IPPool, IPReservation
from poolmgr.api.ippool import BLOCK_SIZES
from poolmgr.cidr import IPAddress, network, ordinal_of
from poolmgr.core.block import Block
from poolmgr.core.pools import pool_of
from poolmgr.core.records import BLOCKS, block_key, decode_block, resource_range
from poolmgr.core.reservation import AddressSet
from poolmgr.core.txn import Fetch, Reading
from poolmgr.core.usage import BlockUsage, Usage, utilization
from poolmgr.errors import CorruptStateError

_POOLS = resource_range(IPPool.plural)
_RESERVATIONS = resource_range(IPReservation.plural)
_COLUMNS = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE")
_ALIGN = ("left", "left", "right", "right", "right", "right")
_PAGE_ADDRESSES = 32_768
"""Addresses in a page of blocks: at 250 bytes each, a quarter of what etcd may send."""


def show_usage(session: Session, *, show_blocks: bool) -> int:
    """
    Print the table of pools, and of blocks if wanted, as of one revision.

    Returns:
        The exit status; blocks that do not decode are named on stderr and not counted.
    """
    reading = _read(session, Fetch(ranges=frozenset({_POOLS, _RESERVATIONS})))
    pools = _pools(reading)
    reservations = (
        decoded(IPReservation, key, found) for key, found in reading.ranges[_RESERVATIONS].items
    )
    reserved = AddressSet.of(
        text for reservation in reservations for text in reservation.spec.reserved_cidrs
    )
    largest = max(
        (1 << pool.spec.cidr.max_prefixlen - pool.spec.block_size for pool in pools), default=1
    )
    page_size = max(1, min(500, _PAGE_ADDRESSES // largest))
    broken: list[CorruptStateError] = []
    blocks = _blocks(session, reading.revision, page_size, broken)
    used = utilization(pools, reserved, blocks)
    rows = []
    for pool in used.pools:
        rows.append(("IP Pool", str(pool.cidr), *_cells(pool.usage)))
        rows += [_block_row("Block", block) for block in pool.blocks if show_blocks]
    if show_blocks:
        rows += [_block_row("Block, no pool", block) for block in used.orphans]
    align = _ALIGN if rows else None
    click.echo(tabulate(rows, _COLUMNS, tablefmt="pretty", colalign=align))
    for error in broken:
        complain(str(error))
    return max(map(exit_code, broken), default=0)


def show_address(session: Session, address: IPAddress) -> None:
    """Print who holds an address: its block says so, whatever became of its pool."""
    sizes = BLOCK_SIZES[address.version]
    keys = [block_key(network(address, size)) for size in sizes]
    reading = _read(session, Fetch(keys=frozenset(keys), ranges=frozenset({_POOLS})))
    for key in keys:
        found = reading.found[key]
        if found is not None:
            return _show_in_block(decode_block(key, found.value), address, _pools(reading))
    click.echo(f"IP {address} is not assigned")
    return None


def _show_in_block(block: Block, address: IPAddress, pools: list[IPPool]) -> None:
    owner = block.attribute_of(address)
    if owner is None:
        click.echo(f"IP {address} is not assigned")
        return
    if owner.released_at is not None:
        click.echo(f"IP {address} is not assigned; it cools down since {owner.released_at}")
        return
    pool = pool_of(pools, address, enabled=False)
    number = block.sequence_numbers.get(ordinal_of(block.cidr, address))
    affinity = f"of {block.affinity}" if block.affinity else "of no host"
    click.echo(f"IP {address} is in use")
    click.echo(f"Handle ID: {owner.owner or '<none>'}")
    click.echo(f"Block: {block.cidr}, {affinity}")
    click.echo(f"Pool: {f'{pool.metadata.name}, {pool.spec.cidr}' if pool else '<none>'}")
    click.echo(f"Sequence number: {'<none>' if number is None else number}")
    _show_attributes("Attributes", owner.secondary)
    if owner.alternate:
        _show_attributes("Alternate attributes", owner.alternate)


def _show_attributes(title: str, attributes: Mapping[str, str]) -> None:
    click.echo(f"{title}:{'' if attributes else ' <none>'}")
    for key, value in sorted(attributes.items()):
        click.echo(f"  {key}: {value}")


def _read(session: Session, fetch: Fetch) -> Reading:
    return session.store.read(fetch, timeout_s=session.left_s)


def _pools(reading: Reading) -> list[IPPool]:
    return [decoded(IPPool, key, found) for key, found in reading.ranges[_POOLS].items]


def _blocks(
    session: Session, revision: int, page_size: int, broken: list[CorruptStateError]
) -> Iterator[Block]:
    """Read all blocks in pages, as of `revision`; what does not decode goes to `broken`."""
    for range_ in BLOCKS.values():
        asked, more = replace(range_, limit=page_size), True
        while more:
            fetch = Fetch(ranges=frozenset({asked}))
            reading = session.store.read(fetch, timeout_s=session.left_s, revision=revision)
            page = reading.ranges[asked]
            for key, found in page.items:
                try:
                    yield decode_block(key, found.value)
                except CorruptStateError as error:
                    broken.append(error)
            more = page.more
            if more:
                asked = asked.after(page.items[-1][0])


def _block_row(grouping: str, block: BlockUsage) -> tuple[str, ...]:
    return grouping, str(block.cidr), *_cells(block.usage)


def _cells(usage: Usage) -> tuple[str, ...]:
    counts = (usage.in_use, usage.reserved, usage.free)
    return f"{usage.total:,}", *(f"{n:,} ({_percent(n, usage.total)}%)" for n in counts)


def _percent(count: int, total: int) -> int:
    """Round to a whole number, half to even, exactly: floats cannot hold IPv6 counts."""
    whole, rest = divmod(100 * count, total)
    return whole + (2 * rest > total or (2 * rest == total and whole % 2))
