"""
BlockAffinity: which node a block belongs to, as a resource that can only be read.

With etcd as Calico's datastore the affinities that count are not resources, but keys of address
management: the block is in the key, the state is the value. `block_affinity` shows one of them.

Source: Calico api/pkg/apis/projectcalico/v3/blockaffinity.go.
"""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from poolmgr.api.meta import Model, ObjectMeta, Resource, Text
from poolmgr.api.violations import Violation, one_of, shown
from poolmgr.cidr import IPNetwork, parse_network

STATES = ("confirmed", "pending", "pendingDeletion")
TYPES = ("host", "virtual")


def _block(value: object) -> object:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        return parse_network(str(value))
    except ValueError:
        raise ValueError(f"{shown(value)} is not a block of the form address/length") from None


class BlockAffinitySpec(Model):
    """
    Whose block it is.

    Attributes:
        state: "confirmed", or what an interrupted writer was about to do.
        type: "host" for a node, "virtual" for what no node has; "" = host.
        deleted: "true" while its deletion is under way.
    """

    state: Text
    node: Text
    type: Text = ""
    cidr: Annotated[IPNetwork, BeforeValidator(_block)]
    deleted: Text = ""


class BlockAffinity(Resource):
    """The right of a node to assign a block's addresses first."""

    kind: ClassVar[str] = "BlockAffinity"
    plural: ClassVar[str] = "blockaffinities"

    spec: BlockAffinitySpec

    def violations(self) -> Iterator[Violation]:
        """Check the words."""
        yield from one_of("spec.state", self.spec.state, STATES)
        yield from one_of("spec.type", self.spec.type or TYPES[0], TYPES)
        yield from one_of("spec.deleted", self.spec.deleted or "false", ("true", "false"))


def block_affinity(
    node: str, block: IPNetwork, *, state: str, type_: str, revision: int
) -> BlockAffinity:
    """
    Show an affinity key as a resource.

    Args:
        state: As stored; "" = an old form of confirmed.
        type_: "host" or "virtual".
        revision: Of the key's last change.
    """
    dashed = str(block).replace(".", "-").replace(":", "-").replace("/", "-")
    metadata = ObjectMeta(name=f"{node}-{dashed}", resource_version=str(revision))
    spec = BlockAffinitySpec(state=state or STATES[0], node=node, type=type_, cidr=block)
    return BlockAffinity(metadata=metadata, spec=spec)
