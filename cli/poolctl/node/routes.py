"""`poolctl node routes`: how a bridge or ptp network reaches other nodes' blocks."""

from collections.abc import Iterable, Iterator

import click

from poolctl.config import Session
from poolctl.node.hosts import check_known, warn_of
from poolctl.report import REFUSED, document, printable, remark, warn
from poolctl.terminal import progress
from poolmgr.cidr import IPAddress
from poolmgr.core.outline import Outline
from poolmgr.core.tenancy import Route, own_borrowed
from poolmgr.core.tenancy import routes as routes_of
from poolmgr.fleet import Fleet

_FAMILIES = (4, 6)


def print_routes(session: Session, me: str, output: str) -> int:
    """
    Print the routes that a node needs.

    Args:
        me: The node.
        output: "ip", "bird", "frr" or "json".

    Returns:
        The exit status: routes whose next hop is not known are left out, and that is an error.

    Raises:
        RefusedError: There is no such node.
    """
    with progress("reading blocks") as advance:
        fleet = Fleet(session.store, timeout_s=session.scan_s, advance=advance)
        nodes = fleet.addresses()
        routes: list[Route] = []
        mine: list[IPAddress] = []

        def look(block: Outline) -> None:
            routes.extend(routes_of(block, me, nodes))
            mine.extend(own_borrowed(block, me))

        check_known(fleet.census(look=look), me)
    known = [route for route in routes if route.via is not None]
    if output == "json":
        click.echo(document(_value(me, fleet.revision, known), "json"))
    else:
        for line in _WRITERS[output](known):
            click.echo(line)
    _tell_own(me, mine)
    lost = _tell_lost(route for route in routes if route.via is None)
    return max(lost, warn_of(fleet, session))


def _ip(routes: list[Route]) -> Iterator[str]:
    for route in routes:
        ip = "ip" if route.destination.version == 4 else "ip -6"
        target = f"{route.destination} via {route.via} proto static"
        yield f"{ip} route replace {target}  # {printable(route.node)}"


def _bird(routes: list[Route]) -> Iterator[str]:
    for family in _FAMILIES:
        yield f"protocol static poolmgr{family} {{"
        yield f"  ipv{family};"
        for route in routes:
            if route.destination.version == family:
                yield f"  route {route.destination} via {route.via};  # {printable(route.node)}"
        yield "}"


def _frr(routes: list[Route]) -> Iterator[str]:
    for route in routes:
        command = "ip" if route.destination.version == 4 else "ipv6"
        yield f"{command} route {route.destination} {route.via}"


_WRITERS = {"ip": _ip, "bird": _bird, "frr": _frr}


def _value(me: str, revision: int, routes: list[Route]) -> dict[str, object]:
    return {
        "node": me,
        "revision": revision,
        "routes": [
            {
                "destination": str(route.destination),
                "family": route.destination.version,
                "via": str(route.via),
                "node": route.node,
            }
            for route in routes
        ],
    }


def _tell_own(me: str, mine: list[IPAddress]) -> None:
    """Tell of addresses that a route to the block around them would lead away."""
    for address in mine:
        ip, length = "ip" if address.version == 4 else "ip -6", address.max_prefixlen
        remark(
            f"{me} itself uses {address} of another node's block; ptp has made its route, with "
            f"a bridge it needs: {ip} route replace {address}/{length} dev BRIDGE"
        )


def _tell_lost(routes: Iterable[Route]) -> int:
    lost: dict[tuple[str, int], int] = {}
    for route in routes:
        key = (route.node, route.destination.version)
        lost[key] = lost.get(key, 0) + 1
    for (node, family), count in sorted(lost.items()):
        what = f"{count:,} {'route' if count == 1 else 'routes'}"
        warn(
            f"node/{node} has no IPv{family} address: {what} left out; set spec.bgp or "
            "spec.addresses of its Node resource"
        )
    return REFUSED if lost else 0
