"""
Node: a host's labels, which pools select by, and what Calico's node agent records about it.

Source: Calico libcalico-go/lib/apis/internalapi/node.go.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from poolmgr.api.meta import AsTuple, Model, Resource, Text, Texts, Violation, shown

ADDRESS_TYPES = ("CalicoNodeIP", "InternalIP", "ExternalIP")


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
        """Check BGP settings and address types."""
        if self.spec.bgp is not None and not self.spec.bgp.dump():
            yield "spec.bgp", "must not be empty"
        for index, address in enumerate(self.spec.addresses):
            if address.type and address.type not in ADDRESS_TYPES:
                why = f"{shown(address.type)} is not allowed: {', '.join(ADDRESS_TYPES)}"
                yield f"spec.addresses[{index}].type", why
