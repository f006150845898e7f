"""
Resources as tables.

A table is written while its rows are read. Columns are as wide as the first thousand rows want
them; a wider cell after that pushes what stands right of it, and widens the column from there.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from poolctl.report import printable
from poolctl.resources.jsonpath import finder, text_of
from poolmgr.api import (
    BlockAffinity,
    ClusterInformation,
    IPAMConfiguration,
    IPPool,
    IPReservation,
    Node,
    Resource,
)

_LONGEST_CELL = 80
_LOOKED_AT = 1000
_GAP = 3
_NONE = "<none>"

Cell = Callable[[Any], str]
Columns = Mapping[str, Cell]


def _name(resource: Resource) -> str:
    return resource.metadata.name


def _truth(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def _cidrs(reservation: IPReservation) -> str:
    text = ",".join(reservation.spec.reserved_cidrs)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 3]}..."


def _as_number(node: Node) -> str:
    bgp = node.spec.bgp
    return "" if bgp is None or bgp.as_number is None else str(bgp.as_number)


_CLUSTER: dict[str, Cell] = {
    "NAME": _name,
    "CLUSTERGUID": lambda cluster: cluster.spec.cluster_guid,
    "CLUSTERTYPE": lambda cluster: cluster.spec.cluster_type,
    "CALICOVERSION": lambda cluster: cluster.spec.calico_version,
    "DATASTOREREADY": lambda cluster: _truth(cluster.spec.datastore_ready),
}
_CONFIGURATION: dict[str, Cell] = {
    "NAME": _name,
    "STRICTAFFINITY": lambda config: _truth(config.spec.strict_affinity),
    "AUTOALLOCATEBLOCKS": lambda config: _truth(config.spec.auto_allocate_blocks),
}
_AFFINITY: dict[str, Cell] = {
    "NODE": lambda affinity: affinity.spec.node,
    "CIDR": lambda affinity: str(affinity.spec.cidr),
    "STATE": lambda affinity: affinity.spec.state,
}
_TABLE: Mapping[type[Resource], dict[str, Cell]] = {
    IPPool: {
        "NAME": _name,
        "CIDR": lambda pool: str(pool.spec.cidr),
        "SELECTOR": lambda pool: pool.spec.node_selector,
    },
    IPReservation: {"NAME": _name},
    Node: {"NAME": _name},
    ClusterInformation: _CLUSTER,
    IPAMConfiguration: _CONFIGURATION,
    BlockAffinity: _AFFINITY,
}
_WIDE: Mapping[type[Resource], dict[str, Cell]] = {
    IPPool: {
        "NAME": _name,
        "CIDR": lambda pool: str(pool.spec.cidr),
        "NAT": lambda pool: _truth(pool.spec.nat_outgoing),
        "IPIPMODE": lambda pool: pool.spec.ipip_mode,
        "VXLANMODE": lambda pool: pool.spec.vxlan_mode,
        "DISABLED": lambda pool: _truth(pool.spec.disabled),
        "DISABLEBGPEXPORT": lambda pool: _truth(pool.spec.disable_bgp_export),
        "SELECTOR": lambda pool: pool.spec.node_selector,
        "ASSIGNMENTMODE": lambda pool: pool.spec.assignment_mode,
    },
    IPReservation: {"NAME": _name, "CIDRS": _cidrs},
    Node: {
        "NAME": _name,
        "ASN": _as_number,
        "IPV4": lambda node: node.spec.bgp.ipv4_address if node.spec.bgp else "",
        "IPV6": lambda node: node.spec.bgp.ipv6_address if node.spec.bgp else "",
    },
    ClusterInformation: _CLUSTER,
    IPAMConfiguration: {
        **_CONFIGURATION,
        "MAXBLOCKSPERHOST": lambda config: str(config.spec.max_blocks_per_host),
    },
    BlockAffinity: {
        "NAME": _name,
        **_AFFINITY,
        "TYPE": lambda affinity: affinity.spec.type,
    },
}


def columns_of(kind: type[Resource], *, wide: bool) -> Columns:
    """Return the columns that a kind's table has."""
    return (_WIDE if wide else _TABLE)[kind]


def custom(kind: type[Resource], text: str) -> Columns:
    """
    Return the columns that somebody asks for: headings of the wide table, or HEADING:.path.

    Raises:
        ValueError: One is neither.
    """
    found: dict[str, Cell] = {}
    for word in text.split(","):
        heading, colon, path = word.strip().partition(":")
        if colon:
            found[heading] = _at(path)
        elif heading.upper() in _WIDE[kind]:
            found[heading.upper()] = _WIDE[kind][heading.upper()]
        else:
            valid = ", ".join(_WIDE[kind])
            raise ValueError(f"there is no column {heading!r}; there are {valid}")
    return found


def lines(
    columns: Columns, resources: Iterable[Resource], widths: list[int] | None = None
) -> Iterator[str]:
    """
    Yield the lines of a table, its headings first.

    Args:
        widths: Becomes the columns' widths, for rows that follow.
    """
    widths = [] if widths is None else widths
    rows = ([printable(cell(each)) for cell in columns.values()] for each in resources)
    first = [[printable(heading) for heading in columns], *itertools.islice(rows, _LOOKED_AT)]
    widths[:] = [max(map(len, column)) for column in zip(*first, strict=True)]
    for row in itertools.chain(first, rows):
        yield _line(row, widths)


def line(columns: Columns, resource: Resource, widths: list[int]) -> str:
    """Write a row that follows a table of certain widths."""
    return _line([printable(cell(resource)) for cell in columns.values()], widths)


def _line(row: Sequence[str], widths: list[int]) -> str:
    """Write a row; what is wider than its column widens it from there."""
    known = widths or [0] * len(row)
    widths[:] = [max(width, len(cell)) for width, cell in zip(known, row, strict=True)]
    padded = (cell.ljust(width + _GAP) for cell, width in zip(row, widths, strict=True))
    return "".join(padded).rstrip()


def _at(path: str) -> Cell:
    find = finder(path.strip().removeprefix("{").removesuffix("}"))

    def cell(resource: Resource) -> str:
        return ",".join(map(text_of, find(resource.to_manifest()))) or _NONE

    return cell
