"""
Node: a host's labels, which pools select by, and what Calico's node agent records about it.

Source: Calico libcalico-go/lib/apis/internalapi/node.go.
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from poolmgr.api.ippool import parse_cidr
from poolmgr.api.meta import AsTuple, Model, Resource, Text, Texts
from poolmgr.api.violations import Violation, one_of, shown
from poolmgr.cidr import parse_address

ADDRESS_TYPES = ("CalicoNodeIP", "InternalIP", "ExternalIP")
_MAC = re.compile(
    r"[0-9a-f]{2}([:-])([0-9a-f]{2}\1){4}[0-9a-f]{2}|([0-9a-f]{4}\.){2}[0-9a-f]{4}",
    re.IGNORECASE,
)


def _as_number(value: object) -> object:
    """Read an AS number, which people also write as text or as high.low."""
    if not isinstance(value, str):
        return value
    high, dot, low = value.rpartition(".")
    if not all(part.isascii() and part.isdigit() for part in (high, low) if part or dot):
        return value
    return (int(high) << 16) + int(low) if dot else int(value)


class NodeBGP(Model):
    """A node's BGP settings."""

    as_number: Annotated[int | None, BeforeValidator(_as_number)] = None
    ipv4_address: Text = ""
    ipv6_address: Text = ""
    ipv4_ipip_tunnel_addr: Text = ""
    route_reflector_cluster_id: Text = ""


class OrchRef(Model):
    """The name an orchestrator knows the node by."""

    node_name: Text = ""
    orchestrator: Text = ""


class NodeWireguard(Model):
    """Addresses of the WireGuard interfaces."""

    interface_ipv4_address: Text = ""
    interface_ipv6_address: Text = ""


class NodeAddress(Model):
    """One address of the node."""

    address: Text = ""
    type: Text = ""


class NodeInterface(Model):
    """One interface of the node."""

    name: Text = ""
    addresses: Texts = ()


class NodeSpec(Model):
    """What is configured for a node; nothing of it matters to IPAM."""

    bgp: NodeBGP | None = None
    ipv4_vxlan_tunnel_addr: Text = ""
    vxlan_tunnel_mac_addr: Text = ""
    ipv6_vxlan_tunnel_addr: Text = ""
    vxlan_tunnel_mac_addr_v6: Text = ""
    orch_refs: Annotated[tuple[OrchRef, ...], AsTuple] = ()
    wireguard: NodeWireguard | None = None
    addresses: Annotated[tuple[NodeAddress, ...], AsTuple] = ()
    interfaces: Annotated[tuple[NodeInterface, ...], AsTuple] = ()


class NodeStatus(Model):
    """What programs report about a node."""

    wireguard_public_key: Text = ""
    wireguard_public_key_v6: Text = ""
    pod_cidrs: Texts = ()


class Node(Resource):
    """A host; pools select it by `metadata.labels`."""

    kind: ClassVar[str] = "Node"
    plural: ClassVar[str] = "nodes"
    aliases: ClassVar[tuple[str, ...]] = ("no", "nos")

    spec: NodeSpec = Field(default_factory=NodeSpec)
    status: NodeStatus = Field(default_factory=NodeStatus)

    def violations(self) -> Iterator[Violation]:
        """Check BGP settings, addresses and their types."""
        spec = self.spec
        if spec.bgp is not None:
            yield from _bgp_violations(spec.bgp)
        yield from _address("spec.ipv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, 4)
        yield from _address("spec.ipv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, 6)
        yield from _mac("spec.vxlanTunnelMACAddr", spec.vxlan_tunnel_mac_addr)
        yield from _mac("spec.vxlanTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6)
        if wireguard := spec.wireguard:
            path = "spec.wireguard.interfaceIPv"
            yield from _address(f"{path}4Address", wireguard.interface_ipv4_address, 4)
            yield from _address(f"{path}6Address", wireguard.interface_ipv6_address, 6)
        for index, address in enumerate(spec.addresses):
            if address.type:
                yield from one_of(f"spec.addresses[{index}].type", address.type, ADDRESS_TYPES)


def _bgp_violations(bgp: NodeBGP) -> Iterator[Violation]:
    if not bgp.dump():
        yield "spec.bgp", "must not be empty"
    yield from _address("spec.bgp.ipv4Address", bgp.ipv4_address, 4, with_length=True)
    yield from _address("spec.bgp.ipv6Address", bgp.ipv6_address, 6, with_length=True)
    yield from _address("spec.bgp.ipv4IPIPTunnelAddr", bgp.ipv4_ipip_tunnel_addr, 4)


def _address(
    path: str, text: str, family: int, *, with_length: bool = False
) -> Iterator[Violation]:
    """Check an address of one family, "" = none; `with_length` allows address/length too."""
    if text and _family(text, with_length=with_length) != family:
        form = "address or address/length" if with_length else "address"
        yield path, f"{shown(text)} is not an IPv{family} {form}"


def _family(text: str, *, with_length: bool) -> int | None:
    try:
        if with_length and "/" in text:
            return parse_cidr(text, strict=False).version
        return parse_address(text).version
    except ValueError:
        return None


def _mac(path: str, text: str) -> Iterator[Violation]:
    if text and not _MAC.fullmatch(text):
        yield path, f"{shown(text)} is not a MAC address such as 66:0a:2b:00:00:01"
