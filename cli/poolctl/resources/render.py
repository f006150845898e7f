"""Resources as tables, YAML, JSON and names."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from tabulate import tabulate

from poolctl.report import printable
from poolmgr.api import (
    BlockAffinity,
    ClusterInformation,
    IPAMConfiguration,
    IPPool,
    IPReservation,
    Node,
    Resource,
)
from poolmgr.api.meta import API_VERSION

_LONGEST_CELL = 80
_NOT_ESCAPED_BY_JSON = re.compile(r"[\x7f-\x9f\ud800-\udfff]")

_Cell = Callable[[Any], str]


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


_CLUSTER: dict[str, _Cell] = {
    "NAME": _name,
    "CLUSTERGUID": lambda cluster: cluster.spec.cluster_guid,
    "CLUSTERTYPE": lambda cluster: cluster.spec.cluster_type,
    "CALICOVERSION": lambda cluster: cluster.spec.calico_version,
    "DATASTOREREADY": lambda cluster: _truth(cluster.spec.datastore_ready),
}
_CONFIGURATION: dict[str, _Cell] = {
    "NAME": _name,
    "STRICTAFFINITY": lambda config: _truth(config.spec.strict_affinity),
    "AUTOALLOCATEBLOCKS": lambda config: _truth(config.spec.auto_allocate_blocks),
}
_AFFINITY: dict[str, _Cell] = {
    "NODE": lambda affinity: affinity.spec.node,
    "CIDR": lambda affinity: str(affinity.spec.cidr),
    "STATE": lambda affinity: affinity.spec.state,
}
_TABLE: Mapping[type[Resource], dict[str, _Cell]] = {
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
_WIDE: Mapping[type[Resource], dict[str, _Cell]] = {
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


def rendered(
    kind: type[Resource],
    resources: Sequence[Resource],
    output: str,
    *,
    revision: int,
    single: bool,
) -> str:
    """
    Write resources of one kind.

    Args:
        output: "table" or "ps", "wide", "yaml", "json" or "name".
        revision: Where they were read; becomes the resource version of a List.
        single: One was asked for by name; YAML and JSON are then the object, not a List.
    """
    match output:
        case "table" | "ps" | "wide":
            columns = (_WIDE if output == "wide" else _TABLE)[kind]
            rows = [[printable(cell(each)) for cell in columns.values()] for each in resources]
            return tabulate(rows, [*columns], tablefmt="plain", disable_numparse=True)
        case "name":
            return "\n".join(printable(each.ref) for each in resources)
        case _:
            value = _value(kind, resources, revision=revision, single=single)
            if output == "json":
                text = json.dumps(value, indent=2, ensure_ascii=False)
                return _NOT_ESCAPED_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
            return yaml.safe_dump(value, default_flow_style=False, allow_unicode=True).rstrip()


def _value(
    kind: type[Resource], resources: Sequence[Resource], *, revision: int, single: bool
) -> dict[str, Any]:
    if single:
        return resources[0].to_manifest()
    return {
        "kind": f"{kind.kind}List",
        "apiVersion": API_VERSION,
        "metadata": {"resourceVersion": str(revision)},
        "items": [each.to_manifest() for each in resources],
    }
