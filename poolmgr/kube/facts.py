"""What matters to us of the objects of Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFacts:
    """A namespace."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """
    A node of the cluster.

    Attributes:
        addresses: Its own IP addresses.
        pod_cidrs: The ranges that Kubernetes gave it for pods.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """
    A pod.

    Attributes:
        node: Where it runs; "" = not decided yet.
        phase: "Pending", "Running", "Succeeded", "Failed" or "Unknown"; "" = not said.
        host_network: True where it has the node's addresses instead of its own.
        deleted: True once its deletion was asked for.
        addresses: What it reports; () = nothing yet. On its node's network they are the node's.
    """

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    phase: str = ""
    host_network: bool = False
    deleted: bool = False
    addresses: tuple[str, ...] = ()
