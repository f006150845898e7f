"""How `poolctl ipam explain` is written: for people or as JSON and YAML."""

from collections.abc import Iterator
from typing import Any

from poolctl.ipam.explain import Explanation, Given
from poolctl.report import document
from poolctl.terminal import wrapped
from poolmgr.cni.result import with_prefix
from poolmgr.core.explain import Origin, Source, Verdict
from poolmgr.core.link import Route

_INDENT = 16


def rendered(found: Explanation, output: str) -> str:
    """Write an explanation as "table", "json" or "yaml"."""
    return "\n".join(_lines(found)) if output == "table" else document(_value(found), output)


def _lines(found: Explanation) -> Iterator[str]:
    yield from _row("node", found.node)
    yield from _row("pod", found.pod or "none")
    main = f"main plugin {found.main}" if found.main else "main plugin unknown"
    yield from _row("network", f"{found.network}, {main}")
    for each in found.asked:
        yield from _row(f"  {each.what}", f"{each.value}  [{each.by}]")
    for note in found.notes:
        yield from _row("note", note)
    if found.verdicts:
        yield ""
        yield "pools, in the order of use"
    for verdict in found.verdicts:
        yield from _verdict(verdict)
    yield ""
    yield from _outcome(found)
    yield from _row("cost", _cost(found))


def _outcome(found: Explanation) -> Iterator[str]:
    for given in found.given:
        yield from _given(given)
    for address in found.past_ipam:
        yield from _row("address", f"{address}, past IPAM: nothing is assigned")
    if found.code:
        yield from _row("REFUSED", f"code {found.code}: {found.message}")
    elif not found.given and not found.past_ipam:
        yield from _row("address", "none: no family is asked for")


def _verdict(verdict: Verdict) -> Iterator[str]:
    rank = "-" if verdict.rank is None else str(verdict.rank)
    cidr = "" if verdict.cidr is None else f" {verdict.cidr}"
    yield from wrapped(f"  {rank:>2}  {verdict.name}{cidr}: {verdict.reason}", 6)


def _given(given: Given) -> Iterator[str]:
    allocation = given.allocation
    link = allocation.link
    yield from _row(
        f"IPv{allocation.address.version}",
        f"{allocation.address} from pool {allocation.pool or '<none>'}",
    )
    yield from _row("  block", f"{allocation.block}, {_told(given.origin)}")
    yield from _row(
        "  prefix", f"/{with_prefix(allocation).rpartition('/')[2]}  [{given.prefix_by}]"
    )
    gateway = "none" if link.gateway is None else str(link.gateway)
    yield from _row("  gateway", f"{gateway}  [{given.gateway_by}]")
    routes = ", ".join(_route_text(route) for route in link.routes)
    yield from _row("  routes", routes or "none")


def _told(where: Origin) -> str:
    kind, _, host = where.owner.partition(":")
    whose = "nobody's"
    if host:
        whose = f"of node {host}" if kind == "host" else f"of {kind} host {host}"
    match where.source:
        case Source.OWN:
            return "the node's own"
        case Source.CLAIMED:
            return "claimed anew"
        case Source.TAKEN:
            return f"taken over, empty, until now {whose}"
        case Source.BORROWED:
            return f"borrowed: the block is {whose}"
        case Source.KEPT:
            return f"where the address was kept: the block is {whose}"


def _route_text(route: Route) -> str:
    return f"{route.dst} via {route.gw}" if route.gw else f"{route.dst} via the gateway"


def _cost(found: Explanation) -> str:
    reads = _counted(found.reads, "read")
    return f"etcd: {reads}, {_counted(found.transactions, 'transaction')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _row(title: str, text: str) -> Iterator[str]:
    yield from wrapped(f"{title} ".ljust(_INDENT) + text, _INDENT)


def _value(found: Explanation) -> dict[str, Any]:
    return {
        "node": found.node,
        "pod": found.pod or None,
        "network": found.network,
        "mainPlugin": found.main or None,
        "asked": [
            {"what": each.what, "value": each.value, "by": each.by} for each in found.asked
        ],
        "pools": [
            {
                "name": each.name,
                "cidr": None if each.cidr is None else str(each.cidr),
                "rank": each.rank,
                "reason": each.reason,
            }
            for each in found.verdicts
        ],
        "addresses": [_address_value(each) for each in found.given],
        "pastIPAM": [str(each) for each in found.past_ipam],
        "refusal": {"code": found.code, "message": found.message} if found.code else None,
        "etcd": {"reads": found.reads, "transactions": found.transactions},
        "notes": found.notes,
    }


def _address_value(given: Given) -> dict[str, Any]:
    allocation, link = given.allocation, given.allocation.link
    return {
        "address": with_prefix(allocation),
        "pool": allocation.pool or None,
        "block": str(allocation.block),
        "blockIs": str(given.origin.source),
        "blockOwner": given.origin.owner or None,
        "prefixBy": given.prefix_by,
        "gateway": None if link.gateway is None else str(link.gateway),
        "gatewayBy": given.gateway_by,
        "routes": [
            {"dst": route.dst} | ({"gw": route.gw} if route.gw else {}) for route in link.routes
        ],
    }
