"""`poolctl ipam show`: how many addresses are in use, reserved and free, per pool and block."""

from collections.abc import Sequence
from typing import Any

from poolctl.config import Session
from poolctl.ipam.output import TABLE, Table, show_document
from poolctl.report import advice, exit_code, warn
from poolmgr import survey
from poolmgr.cidr import IPNetwork
from poolmgr.core.usage import BlockUsage, PoolUsage, Usage, Utilization
from poolmgr.errors import CorruptStateError, RefusedError
from poolmgr.survey import utilization

_COLUMNS = ("GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE")


def show_usage(
    session: Session, pools: Sequence[str], *, show_blocks: bool, output: str
) -> int:
    """
    Print the counts of pools, and of blocks if wanted, as of one revision.

    Args:
        pools: Names and CIDRs of the pools to count; () = all.

    Returns:
        The exit status; what does not decode is named on stderr and not counted.

    Raises:
        RefusedError: There is no such pool.
        StoreError: There is no answer.
    """
    counted = utilization(
        session.store, pools=pools, keep_blocks=show_blocks, timeout_s=session.scan_s
    )
    check_names(pools, [(pool.name, pool.cidr) for pool in counted.counts.pools])
    if output == TABLE:
        _show_counts(counted.counts)
    else:
        show_document(_document(counted, with_blocks=show_blocks), output)
    return warn_of(counted.unreadable, "the counts lack it", session)


def check_names(wanted: Sequence[str], found: Sequence[tuple[str, IPNetwork]]) -> None:
    """
    Check that each pool that was asked for is there.

    Raises:
        RefusedError: One is not.
    """
    known = {text for name, cidr in found for text in (name, str(cidr))}
    for name in wanted:
        if name not in known:
            raise RefusedError(f"there is no pool {name}")


def _show_counts(used: Utilization) -> None:
    with Table(_COLUMNS, right=_COLUMNS[2:]) as table:
        for pool in used.pools:
            table.add(("IP Pool", str(pool.cidr), *_cells(pool.usage)))
            for block in pool.blocks:
                table.add(_block_row("Block", block))
        for block in used.orphans:
            table.add(_block_row("Block, no pool", block))
        table.show()


def _document(counted: survey.Usage, *, with_blocks: bool) -> dict[str, Any]:
    """Write counts for programs; blocks only where they were counted."""
    used = counted.counts
    pools: list[dict[str, Any]] = []
    for pool in used.pools:
        blocks = {"blocks": [_counts(block) for block in pool.blocks]} if with_blocks else {}
        pools.append({"name": pool.name, **_counts(pool), **blocks})
    orphans = {"blocksWithoutPool": [_counts(block) for block in used.orphans]}
    return {
        "revision": counted.revision,
        "pools": pools,
        **(orphans if with_blocks else {}),
    }


def _counts(counted: PoolUsage | BlockUsage) -> dict[str, Any]:
    usage = counted.usage
    return {
        "cidr": str(counted.cidr),
        "total": usage.total,
        "inUse": usage.in_use,
        "reserved": usage.reserved,
        "free": usage.free,
    }


def warn_of(broken: Sequence[CorruptStateError], consequence: str, session: Session) -> int:
    """Name on stderr what does not decode; returns the exit status."""
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
