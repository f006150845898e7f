"""
How a main plugin wants its addresses.

Prefix length, gateway, routes, and which addresses that keeps from pods.

The facts behind the rules are measured with the real plugins (DESIGN.md, D-010): `bridge` as
gateway carries one IPv4 gateway address; `ptp` fails with a host prefix, or a gateway that the
prefix does not contain; everything else is flat L2 or routed by somebody else.

Rules:

1. Settings of the network configuration beat the pool's annotations, and these the plugin's
   defaults.
2. A gateway is one address for the whole pool, inside the prefix, the same on every node; never
   one per block.
3. Pods get neither the gateway nor the ends of a prefix of more than two addresses (IPv6: only
   its first one is kept from them).
4. What a pool's own annotations keep from pods, no network that uses the pool gives out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from poolmgr.cidr import (
    HOST_PREFIX,
    IPAddress,
    IPNetwork,
    contains,
    network,
    parse_address,
    parse_network,
)
from poolmgr.core.reservation import AddressSet, Interval

PREFIX_LENGTH = "ipam.poolmgr.io/prefix-length"
GATEWAY = "ipam.poolmgr.io/gateway"
ROUTES = "ipam.poolmgr.io/routes"
DNS = "ipam.poolmgr.io/dns"

_DEFAULT_ROUTES = {4: "0.0.0.0/0", 6: "::/0"}


class MainPlugin(StrEnum):
    """The kinds of main plugin that differ in what they do with a result."""

    PTP = "ptp"
    BRIDGE_GATEWAY = "bridge as gateway"
    FLAT = "flat"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of the CNI result: destination CIDR, and next hop; None = the gateway."""

    dst: str
    gw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy:
    """
    What the network configuration says.

    Families it does not name are left to pool annotations and defaults.

    Attributes:
        main: Kind of the main plugin.
        adds_default_route: The main plugin adds the default route itself (`isDefaultGateway`).
        prefix_length: Family -> "host", "block", "pool" or a number up to the pool's.
        gateway: Family -> "none", "first-of-pool" or an address.
        routes: Routes for the result; None = not set.
        dns: CNI `dns` object; None = not set.
    """

    main: MainPlugin = MainPlugin.OTHER
    adds_default_route: bool = False
    prefix_length: Mapping[int, str | int] = field(default_factory=dict)
    gateway: Mapping[int, str] = field(default_factory=dict)
    routes: tuple[Route, ...] | None = None
    dns: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """
    How one pool's addresses are configured on an interface.

    Attributes:
        prefix_length: Of the address in the result; None = the length of the address's block.
        gateway: Address in the result's `gateway`; None = there is none.
        routes: Routes of the result that belong to this address's family.
        dns: CNI `dns` object; None = none.
        withheld: Addresses of the pool that pods do not get.
        by_block: Whether pods do not get the ends of each block either.
    """

    prefix_length: int | None
    gateway: IPAddress | None = None
    routes: tuple[Route, ...] = ()
    dns: Mapping[str, object] | None = None
    withheld: AddressSet = field(default_factory=AddressSet)
    by_block: bool = False

    def withheld_in(self, block: IPNetwork) -> AddressSet:
        """Return the withheld addresses that matter in `block`."""
        if not self.by_block:
            return self.withheld
        return self.withheld | AddressSet.union_of(_edges(block))


class LinkError(ValueError):
    """The pool cannot serve this main plugin; the text says why, and what to change."""


def resolve(pool: IPNetwork, annotations: Mapping[str, str], policy: LinkPolicy) -> Link:
    """
    Apply the rules to one pool.

    Args:
        annotations: The pool's; ours begin with "ipam.poolmgr.io/".

    Raises:
        LinkError: The pool is out: a setting does not fit it, or no address is left for a pod.
    """
    named = _Settings.of_annotations(annotations)
    wanted = _Settings(
        prefix_length=policy.prefix_length.get(pool.version),
        gateway=policy.gateway.get(pool.version),
        routes=policy.routes,
        dns=policy.dns,
    )
    prefix_length, gateway = _checked(pool, policy.main, wanted.over(named))
    keep = _withheld(pool, prefix_length, gateway)
    if named.prefix_length is not None or named.gateway is not None:
        # Whatever else this network uses, what the pool's owner named stays out of the hands of
        # pods.
        keep |= _withheld(pool, *_checked(pool, MainPlugin.FLAT, named))
    if keep.covers(pool):
        raise LinkError("its prefix and gateway leave no address for a pod")
    settings = wanted.over(named)
    routes = settings.routes
    if routes is None:
        routes = (
            () if gateway is None or policy.adds_default_route else (_default_route(gateway),)
        )
    elif policy.adds_default_route and _DEFAULT_ROUTES[pool.version] in [r.dst for r in routes]:
        raise LinkError(
            "with isDefaultGateway the bridge plugin adds the default route itself and fails "
            f"on that of annotation {ROUTES}; remove it there, or set routes for this network"
        )
    return Link(
        prefix_length=prefix_length,
        gateway=gateway,
        routes=tuple(route for route in routes if (":" in route.dst) == (pool.version == 6)),
        dns=settings.dns,
        withheld=keep,
        by_block="block" in (settings.prefix_length, named.prefix_length),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """One source of settings, for one family; None = not set."""

    prefix_length: str | int | None = None
    gateway: str | None = None
    routes: tuple[Route, ...] | None = None
    dns: Mapping[str, object] | None = None

    def over(self, other: "_Settings") -> "_Settings":
        """Take from `other` what this one leaves open."""
        return _Settings(
            prefix_length=other.prefix_length
            if self.prefix_length is None
            else self.prefix_length,
            gateway=other.gateway if self.gateway is None else self.gateway,
            routes=other.routes if self.routes is None else self.routes,
            dns=other.dns if self.dns is None else self.dns,
        )

    @classmethod
    def of_annotations(cls, annotations: Mapping[str, str]) -> "_Settings":
        """Read a pool's annotations."""
        length = annotations.get(PREFIX_LENGTH)
        routes, dns = _json(annotations, ROUTES, list), _json(annotations, DNS, dict)
        return cls(
            prefix_length=int(length)
            if length is not None and length.isdecimal() and len(length) < 4
            else length,
            gateway=annotations.get(GATEWAY),
            routes=None if routes is None else tuple(_route(item) for item in routes),
            dns=dns,
        )


def _json(annotations: Mapping[str, str], name: str, kind: type) -> Any:
    text = annotations.get(name)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        what = "a JSON list" if kind is list else "a JSON object"
        raise LinkError(f"annotation {name} is {text!r}, not {what}")
    return value


def _route(item: object) -> Route:
    if isinstance(item, dict) and item.keys() <= {"dst", "gw"} and "dst" in item:
        try:
            dst = parse_network(str(item["dst"]), strict=False)
            gw = parse_address(str(item["gw"])) if item.get("gw") else None
        except ValueError:
            pass
        else:
            if gw is None or gw.version == dst.version:
                return Route(dst=str(dst), gw=None if gw is None else str(gw))
    raise LinkError(
        f'annotation {ROUTES} has {item!r}; entries are {{"dst": CIDR, "gw": address}}, '
        "both of one family"
    )


def _checked(
    pool: IPNetwork, main: MainPlugin, settings: _Settings
) -> tuple[int | None, IPAddress | None]:
    """Return prefix length (None = the block's) and gateway, if they fit pool and plugin."""
    length = _prefix_length(pool, settings.prefix_length, main)
    gateway = _gateway(pool, settings.gateway, main, length)
    if main is MainPlugin.PTP and length == HOST_PREFIX[pool.version]:
        raise LinkError(
            f"ptp cannot use a /{length}; set prefixLength to pool, in a pool of two or more"
        )
    if gateway is None:
        if main in (MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY):
            raise LinkError(
                f"{main} needs a gateway; set it to first-of-pool or to an address of the pool"
            )
        return length, None
    # Block and host prefixes differ from pod to pod; no gateway is inside all of them.
    around = (
        None
        if length is None or length > pool.prefixlen
        else network(pool.network_address, length)
    )
    if around is None or not contains(around, gateway):
        prefix = "the block" if length is None else f"/{length}"
        raise LinkError(
            f"gateway {gateway} is outside the prefix ({prefix}), where nobody reaches it; "
            "set prefixLength to pool"
        )
    if around.version == 4 and around.num_addresses > 2 and gateway in (around[0], around[-1]):
        what = "network" if gateway == around[0] else "broadcast"
        raise LinkError(f"gateway {gateway} is the {what} address of {around}; name another")
    return length, gateway


def _prefix_length(pool: IPNetwork, setting: str | int | None, main: MainPlugin) -> int | None:
    if setting is None:
        setting = "host" if main is MainPlugin.OTHER else "pool"
    if setting == "block":
        return None
    if setting == "host":
        return HOST_PREFIX[pool.version]
    if setting == "pool":
        return pool.prefixlen
    if isinstance(setting, int) and 0 < setting <= pool.prefixlen:
        return setting
    raise LinkError(
        f"prefixLength {setting} is not host, block, pool or a number up to {pool.prefixlen}"
    )


def _gateway(
    pool: IPNetwork, setting: str | None, main: MainPlugin, length: int | None
) -> IPAddress | None:
    if setting is None:
        setting = (
            "first-of-pool" if main in (MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY) else "none"
        )
    if setting == "none":
        return None
    if setting == "first-of-pool":
        prefix = pool if length is None else network(pool.network_address, length)
        at_edge = prefix.num_addresses > 2 and pool.network_address == prefix.network_address
        return (
            pool.network_address + 1
            if at_edge and pool.num_addresses > 1
            else pool.network_address
        )
    try:
        gateway = parse_address(setting)
    except ValueError:
        raise LinkError(
            f"gateway {setting!r} is neither none, first-of-pool nor an address"
        ) from None
    if gateway.version != pool.version:
        raise LinkError(f"gateway {setting} is not IPv{pool.version}")
    return gateway


def _withheld(pool: IPNetwork, length: int | None, gateway: IPAddress | None) -> AddressSet:
    kept: list[Interval] = []
    if length is not None:
        kept.extend(_edges(network(pool.network_address, length)))
    if gateway is not None:
        kept.append((gateway.version, int(gateway), int(gateway)))
    return AddressSet.union_of(kept)


def _edges(prefix: IPNetwork) -> list[Interval]:
    """Return the addresses of an on-link prefix that hosts do not use."""
    if prefix.num_addresses <= 2:
        return []
    first, last = (
        int(prefix.network_address),
        int(prefix.network_address) + prefix.num_addresses - 1,
    )
    edges: list[Interval] = [(prefix.version, first, first)]
    if prefix.version == 4:
        edges.append((4, last, last))
    return edges


def _default_route(gateway: IPAddress) -> Route:
    return Route(dst=_DEFAULT_ROUTES[gateway.version], gw=str(gateway))
