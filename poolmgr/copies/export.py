"""
Exports: the text that `calicoctl datastore migrate export` writes, and what it leaves out.

Three parts, with lines `===` between them: the resources, a YAML list for each kind; the
ClusterInformation as JSON; and the state of address management as JSON, an entry a line.
Resources stand in YAML as JSON, so that no text can be taken for a number. What calicoctl does
not export but an import of ours needs (virtual affinities, sticky attachments, session fences)
is in the field "poolmgr" of the third part, which Calico's import passes over.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from poolmgr.api.meta import API_VERSION
from poolmgr.copies.backup import Source
from poolmgr.copies.order import ATTACHMENTS, ORDER, SESSIONS
from poolmgr.copies.rename import Rename
from poolmgr.core.fields import load
from poolmgr.core.records import AFFINITIES, BLOCKS, CONFIG_KEY, HANDLES, resource_range
from poolmgr.core.txn import Range
from poolmgr.errors import RefusedError

KINDS: Mapping[str, str] = {
    "IPPool": "ippools",
    "BGPPeer": "bgppeers",
    "Tier": "tiers",
    "GlobalNetworkPolicy": "globalnetworkpolicies",
    "StagedGlobalNetworkPolicy": "stagedglobalnetworkpolicies",
    "GlobalNetworkSet": "globalnetworksets",
    "HostEndpoint": "hostendpoints",
    "KubeControllersConfiguration": "kubecontrollersconfigurations",
    "NetworkPolicy": "networkpolicies",
    "StagedNetworkPolicy": "stagednetworkpolicies",
    "StagedKubernetesNetworkPolicy": "stagedkubernetesnetworkpolicies",
    "NetworkSet": "networksets",
    "Node": "nodes",
    "BGPConfiguration": "bgpconfigurations",
    "FelixConfiguration": "felixconfigurations",
    "IPReservation": "ipreservations",
    "BGPFilter": "bgpfilters",
}
"""Kinds of resources that an export holds, in its order -> as in keys."""

_RESOURCES = "/calico/resources/v3/projectcalico.org/"
_OURS = (AFFINITIES["virtual"], ATTACHMENTS, SESSIONS)
_PARTS: Mapping[str, tuple[Range, ...]] = {
    "block_affinities": (AFFINITIES["host"],),
    "blocks": tuple(BLOCKS.values()),
    "handles": (HANDLES,),
    "poolmgr": _OURS,
}
_OF_THE_STORE = ("uid", "creationTimestamp", "resourceVersion", "generation", "managedFields",
                 "selfLink")  # fmt: skip
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

Write = Callable[[str], object]


class Export:
    """
    Writes an export.

    Args:
        rename: New names of nodes.

    Attributes:
        left_out: Keys that no part has, by kind: only a backup holds them.
    """

    def __init__(self, source: Source, rename: Rename) -> None:
        self._source, self._rename = source, rename
        self.left_out: Counter[str] = Counter()

    def write(self, out: Write) -> Iterator[int]:
        """
        Write it; iterate over it to do so.

        Yields:
            1 for each key.

        Raises:
            CorruptStateError: A value is not JSON.
            StoreError: It is not complete.
        """
        yield from self._resources(out)
        out("===\n")
        if cluster := self._source.cluster:
            value = bare(load("the ClusterInformation", cluster.value))
            out(json.dumps(value, indent=2) + "\n")
        else:
            out("{}\n")
        out("===\n")
        yield from self._addresses(out)
        self._count_others()

    def _resources(self, out: Write) -> Iterator[int]:
        for kind, plural in KINDS.items():
            out(f"apiVersion: {API_VERSION}\nkind: {kind}List\nmetadata:\n")
            out(f'  resourceVersion: "{self._source.first.revision}"\nitems:')
            begin = "\n"
            for key, raw in self._source.items(resource_range(plural)):
                value = bare(load(key, raw))
                if kind == "Node":
                    metadata = value["metadata"]
                    metadata["name"] = self._rename.host(str(metadata.get("name", "")))
                out(f"{begin}- {in_yaml(value)}\n")
                begin = ""
                yield 1
            out(" []\n---\n" if begin else "---\n")

    def _addresses(self, out: Write) -> Iterator[int]:
        out("{")
        for part, ranges in _PARTS.items():
            out(f'"{part}":[')
            comma = ""
            for range_ in ranges:
                for key, raw in self._source.items(range_):
                    out(f"{comma}\n{self._entry(key, raw)}")
                    comma = ","
                    yield 1
            out("],\n")
        config = next(
            (
                raw
                for _, raw in self._source.items(Range(start=CONFIG_KEY, end=CONFIG_KEY + "\0"))
            ),
            None,
        )
        out('"config":')
        out("null" if config is None else self._entry(CONFIG_KEY, config))
        out("}\n")

    def _entry(self, key: str, raw: bytes) -> str:
        value = load(key, raw or b"{}")  # an empty affinity is an old form of a confirmed one
        if self._rename and any(key in blocks for blocks in BLOCKS.values()):
            self._rename.block(value)
        entry = {"Key": self._rename.key(key), "Value": value, "TTL": 0}
        return json.dumps(entry, separators=(",", ":"))

    def _count_others(self) -> None:
        known = tuple(resource_range(plural) for plural in KINDS.values())
        covered = (*known, *_OURS, *(r for ranges in _PARTS.values() for r in ranges))
        for range_ in ORDER[:-1]:
            if range_ in covered or range_.start == CONFIG_KEY:
                continue
            for key, _ in self._source.items(range_):
                if not any(key in each for each in covered):
                    self.left_out[_kind_of(key)] += 1


def bare(value: dict[str, Any]) -> dict[str, Any]:
    """Return a resource without what its store gave it."""
    metadata = value.get("metadata")
    kept = metadata if isinstance(metadata, dict) else {}
    kept = {name: each for name, each in kept.items() if name not in _OF_THE_STORE}
    return {**value, "metadata": kept}


def in_yaml(value: Mapping[str, Any]) -> str:
    """Write JSON, on one line, that YAML reads as the same."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def names_of_kubernetes(source: Source) -> dict[str, str]:
    """
    Return what Kubernetes calls each node, by its reference in the Node resource.

    Raises:
        RefusedError: A node has none.
        CorruptStateError: A node cannot be understood.
    """
    names = {}
    for key, raw in source.items(resource_range("nodes")):
        old = key.rpartition("/")[2]
        references = (load(key, raw).get("spec") or {}).get("orchRefs") or ()
        new = [each.get("nodeName") for each in references if each.get("orchestrator") == "k8s"]
        if not new or not new[0]:
            raise RefusedError(
                f"node/{old}: spec.orchRefs: names no node of the orchestrator k8s; "
                "add one, or export without --calico"
            )
        names[old] = new[0]
    return names


def _kind_of(key: str) -> str:
    if key.startswith(_RESOURCES):
        return key.removeprefix(_RESOURCES).partition("/")[0]
    return "/".join(key.split("/")[:3])
