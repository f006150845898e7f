"""
Which of Calico's programs work on the same etcd, and what to mind then.

Rules:

1. A trace is what only Calico's programs write. Having none proves nothing.
2. Only the first nodes and blocks are looked at: there may be a million, and one trace is
   enough.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from poolctl.doctor.findings import Finding, ok, problem, warning
from poolmgr.api import ClusterInformation, Node
from poolmgr.api.clusterinformation import DEFAULT
from poolmgr.core.records import BLOCKS, CONFIG_KEY, resource_key, resource_range
from poolmgr.core.txn import Fetch, KeyValue, Range, Reading
from poolmgr.store.port import Store, pages

_CLUSTER = resource_key(ClusterInformation.plural, DEFAULT)
_CONTROLLERS = resource_key("kubecontrollersconfigurations", DEFAULT)
_PART = 512
_NODES = Range.prefix(resource_range(Node.plural).start, limit=_PART)
_FETCH = Fetch(keys=frozenset({_CLUSTER, _CONTROLLERS, CONFIG_KEY}), ranges=frozenset({_NODES}))
_KNOWS_COOLDOWN = (3, 33)


def examine(store: Store, *, timeout_s: float) -> Iterator[Finding]:
    """
    Look for traces.

    Raises:
        StoreError: There is no answer.
    """
    reading = store.read(_FETCH, timeout_s=timeout_s)
    version = _spec(reading.found[_CLUSTER]).get("calicoVersion")
    version = version if isinstance(version, str) else ""
    blocks = list(_first_blocks(store, reading.revision, timeout_s))
    traces = list(_traces(reading, blocks, version))
    if not traces:
        yield ok("calico", "no trace of Calico's programs on this etcd")
        return
    yield warning(
        "calico",
        f"Calico's programs use this etcd, too: {'; '.join(traces)}",
        "never run calicoctl ipam release --from-report here: calicoctl takes every address "
        "that another main plugin than Calico's uses for leaked; poolctl ipam check does not",
    )
    if reading.found[_CONTROLLERS]:
        yield warning(
            "calico",
            "kube-controllers, where it runs, releases the addresses of pods on nodes without "
            "a Node resource, once the pods are gone",
            "give every node one: poolctl node register",
        )
    yield from _cooldown(reading, version)


def _first_blocks(store: Store, revision: int, timeout_s: float) -> Iterator[int]:
    """Yield for each block how many of its entries are not ours."""
    for range_ in BLOCKS.values():
        looked_at = 0
        for page in pages(
            store, range_, page_size=_PART, timeout_s=timeout_s, revision=revision
        ):
            yield from (_foreign(stored.value) for _, stored in page.items)
            looked_at += len(page.items)
            if looked_at >= _PART:
                break


def _traces(reading: Reading, blocks: list[int], version: str) -> Iterator[str]:
    if version:
        yield (
            f"ClusterInformation names Calico {version} (calicoctl of another version refuses "
            "to run without --allow-version-mismatch)"
        )
    nodes = [
        key.rpartition("/")[2]
        for key, stored in reading.ranges[_NODES].items
        if _has_run(_spec(stored))
    ]
    if nodes:
        more = f" and {len(nodes) - 1:,} more run" if len(nodes) > 1 else " runs"
        yield f"node {nodes[0]}{more} calico/node"
    if sum(blocks):
        yield (
            f"calico-ipam wrote {sum(blocks):,} entries of the {len(blocks):,} blocks looked at"
        )
    if reading.found[_CONTROLLERS]:
        yield "kube-controllers has its configuration here"


def _has_run(spec: dict[str, Any]) -> bool:
    """Tell whether calico/node wrote to a Node; spec.bgp alone is also what routes want."""
    bgp = spec.get("bgp")
    keys = {*spec, *(bgp if isinstance(bgp, dict) else ())}
    return bool({"orchRefs", "wireguard"} & keys) or any("TunnelAddr" in key for key in keys)


def _cooldown(reading: Reading, version: str) -> Iterator[Finding]:
    config = _object(reading.found[CONFIG_KEY])
    cooldown = config.get("ipCooldownSeconds")
    if not isinstance(cooldown, int) or cooldown <= 0:
        return
    remedy = "poolctl ipam configure --cooldown 0, or update Calico to 3.33"
    digits = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if not digits:
        yield warning(
            "calico",
            f"the cooldown is {cooldown:,} s; Calico before 3.33 would leak every address that "
            "cools down, and its version is not known",
            remedy,
        )
    elif digits < _KNOWS_COOLDOWN:
        yield problem(
            "calico",
            f"the cooldown is {cooldown:,} s; Calico {version} leaks every address that cools "
            "down in a block that it rewrites",
            remedy,
        )


def _foreign(raw: bytes) -> int:
    """Count a block's entries that carry no network: ours always do."""
    entries = _object(raw).get("attributes")
    return sum(
        isinstance(entry, dict)
        and bool(entry.get("handle_id"))
        and "network" not in (entry.get("secondary") or {})
        for entry in (entries if isinstance(entries, list) else ())
    )


def _spec(stored: KeyValue | None) -> dict[str, Any]:
    spec = _object(stored).get("spec")
    return spec if isinstance(spec, dict) else {}


def _object(stored: KeyValue | bytes | None) -> dict[str, Any]:
    """Read a JSON object; what is none counts as empty here, other checks name it."""
    raw = stored.value if isinstance(stored, KeyValue) else stored
    try:
        found = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
