"""`poolctl ipam show --show-borrowed`: addresses used on other nodes than their block's."""

from collections.abc import Sequence

import click

from poolctl.config import Session
from poolctl.ipam.output import TABLE, Table, show_document
from poolctl.ipam.show import check_names, warn_of
from poolmgr.core.borrowed import Borrowed
from poolmgr.survey import Borrowings

_COLUMNS = ("IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO")


def show_borrowed(session: Session, pools: Sequence[str], *, output: str) -> int:
    """
    Print the borrowed addresses, as of one revision.

    Args:
        pools: Names and CIDRs of the pools to look into; () = everywhere.

    Returns:
        The exit status; what does not decode is named on stderr.

    Raises:
        RefusedError: There is no such pool.
        StoreError: There is no answer.
    """
    found = Borrowings(session.store, pools=pools, timeout_s=session.scan_s)
    check_names(pools, [(pool.metadata.name, pool.spec.cidr) for pool in found.pools])
    if output == TABLE:
        _show_table(found)
    else:
        rows = [_fields(each) for each in found]
        show_document(
            {"revision": found.revision, "borrowed": rows, "withoutNode": found.without_node},
            output,
        )
    return warn_of(found.unreadable, "what is borrowed in it is not shown", session)


def _show_table(found: Borrowings) -> None:
    with Table(_COLUMNS) as table:
        for each in found:
            table.add(_fields(each).values())
        table.show()
    if count := found.without_node:
        click.echo(
            f"\nNote: {count:,} allocation{'s name' if count > 1 else ' names'} no node, "
            "so that nobody can tell whether the address is borrowed."
        )


def _fields(each: Borrowed) -> dict[str, str]:
    return {
        "address": str(each.address),
        "node": each.node,
        "block": str(each.block),
        "owner": each.owner,
        "type": each.type,
        "allocatedTo": each.allocated_to,
    }
