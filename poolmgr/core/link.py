"""
How a main plugin wants its addresses: prefix length, gateway, routes, and which addresses that keeps from pods.

The facts behind the rules are measured with the real plugins (DESIGN.md, D-010): `bridge` as gateway carries one
IPv4 gateway address; `ptp` cannot take a host prefix nor a gateway outside the prefix; everything else is flat L2
or routed by somebody else.

Rules:

1. Settings of the network configuration beat the pool's annotations, and these the plugin's defaults.
2. A gateway is one address for the whole pool, inside the prefix, the same on every node; never one per block.
3. With a prefix wider than a host, the first and last address of the prefix (IPv6: the first) and the gateway are
   withheld from pods; a prefix of two addresses withholds the gateway only.
4. What a pool's annotations name is withheld for every network that uses the pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from poolmgr.cidr import IPAddress


class MainPlugin(StrEnum):
    """The kinds of main plugin that differ in what they do with a result."""

    PTP = "ptp"
    BRIDGE_GATEWAY = "bridge as gateway"
    FLAT = "flat"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of the CNI result: destination CIDR, and next hop (None = the address's gateway)."""

    dst: str
    gw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy:
    """
    What the network configuration says; families it does not name are left to pool annotations and defaults.

    Attributes:
        main: Kind of the main plugin.
        adds_default_route: The main plugin adds the default route itself (`isDefaultGateway`).
        prefix_length: Family -> "host", "block", "pool" or a number not longer than the pool's.
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
    """

    prefix_length: int | None
    gateway: IPAddress | None = None
    routes: tuple[Route, ...] = ()
    dns: Mapping[str, object] | None = None
