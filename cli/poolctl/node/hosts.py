"""`poolctl node list` and `show`: what every node has, or one of them."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

import click
from tabulate import tabulate

from poolctl.config import Session
from poolctl.report import advice, document, exit_code, printable, say, warn
from poolctl.terminal import progress
from poolmgr.api import Node
from poolmgr.api.violations import similar
from poolmgr.cidr import address_at
from poolmgr.core.affinity import AffinityState
from poolmgr.core.outline import Outline
from poolmgr.core.reservation import AddressSet
from poolmgr.core.tenancy import (
    Addresses,
    Census,
    Tenancy,
    addresses_of,
    cooling,
    host_of,
    users,
)
from poolmgr.core.usage import count
from poolmgr.errors import RefusedError
from poolmgr.fleet import Fleet

_TABLE = ("NAME", "IPV4-BLOCKS", "IPV6-BLOCKS", "IN-USE", "FREE", "RESERVED", "COOLING",
          "USED", "BORROWED", "LENT", "RESOURCE")  # fmt: skip
_WIDE = (*_TABLE, "SESSION", "ADDRESSES")
_BLOCKS = ("BLOCK", "STATE", "IN-USE", "FREE", "RESERVED", "COOLING", "LENT")
_COUNTS = ("inUse", "free", "reserved", "cooling", "lent")
_BORROWED = ("BORROWED", "BLOCK", "OWNER")


def list_nodes(session: Session, output: str) -> int:
    """
    Print what every node has.

    Args:
        output: "table", "wide", "json", "yaml" or "name".

    Returns:
        The exit status; what does not decode is named on stderr and not counted.
    """
    with progress("reading blocks") as advance:
        fleet = Fleet(session.store, timeout_s=session.scan_s, advance=advance)
        census = fleet.census(reserved=fleet.reserved())
        addresses = fleet.addresses() if output != "name" else {}
    nodes = {name: each for name, each in sorted(census.items()) if each.remains}
    if output == "name":
        for name in nodes:
            say(f"node/{name}")
    elif output in ("json", "yaml"):
        items = [
            {"name": name, **_facts(each), "addresses": _texts(addresses.get(name, {}))}
            for name, each in nodes.items()
        ]
        click.echo(document({"revision": fleet.revision, "nodes": items}, output))
    else:
        columns = _TABLE if output == "table" else _WIDE
        rows = [
            _row(name, each, addresses.get(name, {}))[: len(columns)]
            for name, each in nodes.items()
        ]
        _table(rows, columns, ("NAME", "RESOURCE", "SESSION", "ADDRESSES"))
    return warn_of(fleet, session)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Borrowed:
    address: str
    block: str
    owner: str | None


class _Details:
    """Gathers, block by block, what is told of one node alone."""

    def __init__(self, name: str, reserved: AddressSet) -> None:
        self._name, self._reserved = name, reserved
        self.blocks: list[dict[str, Any]] = []
        self.borrowed: list[_Borrowed] = []

    def look(self, block: Outline) -> None:
        used = users(block)
        owner = host_of(block.affinity)
        if owner == self._name:
            cold, usage = cooling(block), count(block, block.cidr, self._reserved)
            lent = sum(len(each) for node, each in used.items() if node != owner)
            self.blocks.append(
                {
                    "block": str(block.cidr),
                    "inUse": usage.in_use - cold,
                    "free": usage.free,
                    "reserved": usage.reserved,
                    "cooling": cold,
                    "lent": lent,
                }
            )
            return
        for ordinal in used.get(self._name, ()):
            address = str(address_at(block.cidr, ordinal))
            whose = owner or block.affinity or None
            self.borrowed.append(_Borrowed(address=address, block=str(block.cidr), owner=whose))


def show_node(session: Session, name: str, output: str) -> int:
    """
    Print what one node has; options and answer are those of `list_nodes`.

    Raises:
        RefusedError: There is no such node.
    """
    with progress("reading blocks") as advance:
        fleet = Fleet(session.store, timeout_s=session.scan_s, advance=advance)
        affinities = fleet.affinities(name)  # refuses what is no name
        reserved = fleet.reserved()
        details = _Details(name, reserved)
        census = fleet.census(reserved=reserved, look=details.look)
    check_known(census, name)
    node = fleet.resource(name)
    states = {str(cidr): _state(state) for cidr, state in affinities.items()}
    blocks = [
        {"block": each["block"], "state": states.pop(each["block"], "no affinity"), **each}
        for each in details.blocks
    ]
    blocks += [{"block": cidr, "state": f"{state}, no block"} for cidr, state in states.items()]
    value = {
        "name": name,
        "revision": fleet.revision,
        **_facts(census[name]),
        "deletions": fleet.deletions(name),
        **_resource(node),
        "blocks": blocks,
        "borrowedAddresses": [
            {"address": each.address, "block": each.block, "owner": each.owner}
            for each in details.borrowed
        ],
    }
    if output == "table":
        _show(value, details.borrowed)
    else:
        click.echo(document(value, output))
    return warn_of(fleet, session)


def check_known(census: Census, name: str) -> None:
    """
    Check that there is anything of a node.

    Raises:
        RefusedError: There is nothing; similar names are told.
    """
    if name in census and census[name].remains:
        return
    known = [each for each, found in census.items() if found.remains]
    hint = similar(name, known)
    raise RefusedError(
        f"node/{name} has no resource, no block and no address{hint and f'; {hint}'}"
    )


def warn_of(fleet: Fleet, session: Session) -> int:
    """Tell what does not decode; return the exit status."""
    for error in fleet.unreadable:
        warn(f"{error}; the counts lack it{advice(error, session)}")
    return max(map(exit_code, fleet.unreadable), default=0)


def _facts(tenancy: Tenancy) -> dict[str, Any]:
    return {
        "resource": tenancy.has_resource,
        "session": tenancy.has_session,
        "ipv4Blocks": tenancy.blocks[4],
        "ipv6Blocks": tenancy.blocks[6],
        "inUse": tenancy.in_use,
        "free": tenancy.free,
        "reserved": tenancy.reserved,
        "cooling": tenancy.cooling,
        "used": tenancy.used,
        "borrowed": tenancy.borrowed,
        "lent": tenancy.lent,
    }


def _resource(node: Node | None) -> dict[str, Any]:
    if node is None:
        return {"labels": {}, "addresses": []}
    labels = dict(sorted(node.metadata.labels.items()))
    return {"labels": labels, "addresses": _texts(addresses_of(node))}


def _texts(addresses: Addresses) -> list[str]:
    return [str(addresses[family]) for family in sorted(addresses)]


def _row(name: str, tenancy: Tenancy, addresses: Addresses) -> list[str]:
    counts = (
        tenancy.blocks[4],
        tenancy.blocks[6],
        tenancy.in_use,
        tenancy.free,
        tenancy.reserved,
        tenancy.cooling,
        tenancy.used,
        tenancy.borrowed,
        tenancy.lent,
    )
    flags = (_yes(tenancy.has_resource), _yes(tenancy.has_session))
    listed = ",".join(_texts(addresses)) or "<none>"
    return [printable(name), *(f"{count:,}" for count in counts), *flags, listed]


def _state(state: AffinityState | None) -> str:
    return "unreadable" if state is None else str(state) or "confirmed"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _show(value: dict[str, Any], borrowed: list[_Borrowed]) -> None:
    for title, text in _lines(value):
        say(f"{title + ':':<12}{text}")
    blocks = [
        [str(each.get(key, "-")) for key in ("block", "state")]
        + [f"{each[key]:,}" if key in each else "-" for key in _COUNTS]
        for each in value["blocks"]
    ]
    if blocks:
        click.echo()
        _table(blocks, _BLOCKS, ("BLOCK", "STATE"))
    if borrowed:
        click.echo()
        rows = [[each.address, each.block, each.owner or "<none>"] for each in borrowed]
        _table([[printable(cell) for cell in row] for row in rows], _BORROWED, _BORROWED)


def _lines(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Name", value["name"]
    yield "Resource", _yes(value["resource"])
    labels = [f"{key}={text}" for key, text in value["labels"].items()]
    yield "Labels", ", ".join(labels) or "<none>"
    yield "Addresses", ", ".join(value["addresses"]) or "<none>"
    yield "Blocks", f"{value['ipv4Blocks']:,} IPv4, {value['ipv6Blocks']:,} IPv6"
    in_use, free, kept, cold = (
        f"{value[key]:,}" for key in ("inUse", "free", "reserved", "cooling")
    )
    yield (
        "In them",
        f"{in_use} in use, {value['lent']:,} of them lent; {free} free; "
        f"{kept} reserved; {cold} cooling",
    )
    yield "Uses", f"{value['used']:,} addresses, {value['borrowed']:,} of them borrowed"
    yield "Deletions", f"{value['deletions']:,} since its first"


def _table(rows: list[list[str]], columns: tuple[str, ...], left: Container[str]) -> None:
    """Print a table; the columns that are not `left` are numbers."""
    align = ["left" if column in left else "right" for column in columns]
    text = tabulate(
        rows,
        columns,
        tablefmt="plain",
        disable_numparse=True,
        colalign=align if rows else None,
    )
    click.echo(text)
