"""`poolctl ipam history`: who held an address, as far back as etcd remembers."""

from collections.abc import Iterator
from typing import Any

import click
from tabulate import tabulate

from poolctl.config import Session
from poolctl.report import document, printable, remark, warn
from poolctl.terminal import progress
from poolmgr.cidr import IPAddress, IPNetwork
from poolmgr.core.block import Attribute
from poolmgr.core.chronicle import Event, What
from poolmgr.errors import RefusedError
from poolmgr.history import Historian, History, find_block

_COLUMNS = ("REVISION", "TIME", "EVENT", "NODE", "HOLDER", "INTERFACE", "HANDLE")
_OF_BLOCK = (What.CLAIMED, What.LEFT, What.DELETED)


def show_history(
    session: Session, address: IPAddress, *, block: IPNetwork | None, limit: int, output: str
) -> None:
    """
    Print what happened to an address, oldest first, and on stderr how much of it is known.

    Args:
        block: Where it lay, if neither its block nor its pool exist any more.
        limit: Revisions to look at.
        output: "table", "json" or "yaml".

    Raises:
        RefusedError: Nobody knows its block.
        StoreError: There is no answer.
    """
    found, exists, revision = find_block(session.store, address, timeout_s=session.left_s)
    cidr = block or found
    if exists and cidr != found:
        raise RefusedError(f"address {address} lies in block {found} now, not in {block}")
    if cidr is None:
        raise RefusedError(
            f"address {address} lies in no block and in no pool; if it did, name the block "
            "by --block"
        )
    with progress("looking at revisions") as advance:
        historian = Historian(
            session.store,
            cidr,
            address,
            limit=limit,
            timeout_s=session.scan_s,
            advance=advance,
        )
        history = historian.history(revision)
    if output == "table":
        _print_table(address, history)
    else:
        click.echo(document(_value(address, cidr, revision, history), output))
    _tell_limits(cidr, history)


def _print_table(address: IPAddress, history: History) -> None:
    rows = [[printable(cell) for cell in _row(event)] for event in history.events]
    if rows:
        click.echo(tabulate(rows, _COLUMNS, tablefmt="plain", disable_numparse=True))
    else:
        click.echo(f"nothing is known of {address}")


def _row(event: Event) -> tuple[str, ...]:
    holder = _holder(event.holder) if event.holder else {}
    node = holder.get("node", "")
    if event.what in _OF_BLOCK:
        node = _host(event.affinity) or "<none>"
    interface = "/".join(filter(None, (holder.get("network"), holder.get("interface"))))
    what = f"{event.what}: {event.note}" if event.note else str(event.what)
    cells = (event.time, what, node, _name(holder), interface, holder.get("handle", ""))
    return str(event.revision), *(cell or "-" for cell in cells)


def _name(holder: dict[str, str]) -> str:
    if "pod" in holder:
        return "/".join(filter(None, (holder.get("namespace"), holder["pod"])))
    return holder.get("identity") or holder.get("type", "")


def _host(affinity: str | None) -> str:
    return (affinity or "").removeprefix("host:")


def _holder(owner: Attribute) -> dict[str, str]:
    stored = {key: text for key, text in owner.secondary.items() if text}
    return ({"handle": owner.owner} if owner.owner else {}) | stored


def _value(
    address: IPAddress, block: IPNetwork, revision: int, history: History
) -> dict[str, Any]:
    return {
        "address": str(address),
        "block": str(block),
        "revision": revision,
        "knownSinceRevision": history.since,
        "earlierIsCompacted": history.compacted,
        "complete": history.complete,
        "missedBlockLifeRevisions": history.missed,
        "revisionsRead": history.reads,
        "events": [dict(_fields(event)) for event in history.events],
    }


def _fields(event: Event) -> Iterator[tuple[str, Any]]:
    yield "revision", event.revision
    yield "time", event.time or None
    yield "event", str(event.what)
    if event.what in _OF_BLOCK:
        yield "blockNode", _host(event.affinity) or None
    if event.holder is not None:
        yield "holder", _holder(event.holder)
    if event.note:
        yield "note", event.note


def _tell_limits(block: IPNetwork, history: History) -> None:
    if not history.events and history.since <= 1 and history.complete:
        remark(f"block {block}: nothing was ever stored of it")
        return
    reads = f"{history.reads:,} {'revision' if history.reads == 1 else 'revisions'}"
    remark(f"block {block}: {reads} looked at, back to revision {history.since}")
    if not history.complete:
        warn(
            "that is not all: the limit or the time was used up; give more by --limit, or by "
            "poolctl --timeout"
        )
    elif history.compacted:
        remark(f"nothing is known before revision {history.since}, which etcd compacted away")
    if history.missed:
        warn(
            "the block did not exist all the time; if it did for no more than "
            f"{history.missed:,} revisions in between, that may be missing"
        )
