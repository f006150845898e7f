"""
Where our programs answer otherwise than the recorded ones, on purpose, and what they answer.

Ids are those of DESIGN.md. `RULES` change what is wanted of many steps in the same way; `STEPS` are
single steps with an answer of their own.
"""

import ipaddress
import json
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

from tests.interop.recording import Answer, Entry, State, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """
    Our answer to one recorded step.

    Attributes:
        id: Of the decision in DESIGN.md.
        ok: Whether ours succeeds.
        like: Number of the step of the same scenario whose recorded answer ours equals; None = ours
            gives no address and changes nothing.
        words: Words of that answer -> ours.
        instead: Makes ours of the recorded answer and the state before the step; without `like`.
    """

    id: str
    ok: bool
    like: int | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    instead: Callable[[State, Answer], Answer] | None = None


HANDLES = "/calico/ipam/v2/handle/"
BLOCKS = "/calico/ipam/v2/assignment/ipv4/block/"


def answering(result: object) -> Callable[[State, Answer], Answer]:
    """Want another result."""
    return lambda _state, recorded: replace(recorded, result=result)


def one_write_less(_state: State, recorded: Answer) -> Answer:
    """Want the last assigned address of each block, and the block, one number lower."""

    def lower(key: str, entry: Entry) -> Entry:
        if entry is None or not key.startswith(BLOCKS):
            return entry
        value = deepcopy(entry["value"])
        value["sequenceNumber"] -= 1
        numbers = value["sequenceNumberForAllocation"]
        numbers[max(numbers, key=numbers.__getitem__)] -= 1
        return {"value": value}

    changes = {key: lower(key, entry) for key, entry in recorded.changes.items()}
    return replace(recorded, changes=changes)


def disabled_parts(_state: State, recorded: Answer) -> Answer:
    """Want the pools that were created disabled, as the one was that they replace."""
    changes = deepcopy(dict(recorded.changes))
    for entry in changes.values():
        if entry is not None:
            rest = entry["value"]["spec"]
            first = {name: rest.pop(name) for name in ("cidr", "vxlanMode", "ipipMode")}
            entry["value"]["spec"] = {**first, "disabled": True, **rest}  # in Calico's order
    return replace(recorded, changes=changes)


def borrowing(block: str, *, count: int, handle: str) -> Callable[[State, Answer], Answer]:
    """Want the first free addresses of an IPv4 block, under a new handle or, if "", none."""
    key = BLOCKS + block.replace("/", "-")

    def answer(state: State, recorded: Answer) -> Answer:
        value = deepcopy((state[key] or {})["value"])
        taken, value["unallocated"] = value["unallocated"][:count], value["unallocated"][count:]
        for ordinal in taken:
            value["allocations"][ordinal] = len(value["attributes"])
            value["sequenceNumberForAllocation"][str(ordinal)] = value["sequenceNumber"]
        value["attributes"].append({"handle_id": handle} if handle else {})
        value["sequenceNumberForAllocation"] = dict(
            sorted(value["sequenceNumberForAllocation"].items())
        )
        value["sequenceNumber"] += 1
        changes: dict[str, Entry] = {key: {"value": value}}
        if handle:
            counts = {"block": {block: count}, "deleted": False}
            changes[HANDLES + handle] = {"value": counts}
        network = ipaddress.ip_network(block)
        addresses = tuple(f"{network[n]}/{network.prefixlen}" for n in taken)
        return replace(recorded, addresses=addresses, changes=changes)

    return answer


STEPS = {
    # A missing Node counts as one without labels, and the only pool selects every node.
    ("first-add", 1): Deviation(id="D-012", ok=True, like=3, words={"net1.c1": "net1.early"}),
    # CNI 1.1.0 is spoken.
    ("cni-surface", 9): Deviation(id="D-013", ok=True, like=29, words={"net1.x": "net1.v110"}),
    # STATUS of that version too: etcd answers.
    ("cni-surface", 15): Deviation(id="D-013", ok=True),
    # A named address honours reservations.
    ("specific-address", 16): Deviation(id="D-011", ok=False),
    # A node's walk through the pool is its own. Ours comes first to the block that the recorded
    # one claimed last, and other ordinals of it are reserved.
    ("reservations", 11): Deviation(
        id="D-004", ok=True, like=23, words={"net1.c12": "net1.c0"}
    ),
    ("reservations", 15): Deviation(
        id="D-004", ok=True, like=23, words={"net1.c12": "net1.c4"}
    ),
    # The block and its affinity are confirmed and drawn from in one write.
    ("half-finished", 8): Deviation(id="D-004", ok=True, instead=one_write_less),
    # A block that does not decode is named, and the exit status tells.
    ("half-finished", 20): Deviation(id="D-013", ok=False),
    # An address that cools down is described.
    ("cooldown", 11): Deviation(id="D-013", ok=True),
    # Settings of Calico's controllers are none of address management.
    ("cooldown", 12): Deviation(id="D-013", ok=False),
    # A call that names nothing is a mistake.
    ("release-cli", 9): Deviation(id="D-013", ok=False),
    ("release-cli", 12): Deviation(id="D-013", ok=False),
    ("check", 4): Deviation(id="D-013", ok=False),
    # A check needs no settings of Calico's controllers, and tells by its exit status what it found.
    ("release-cli", 11): Deviation(id="D-013", ok=True),
    ("check", 3): Deviation(id="D-013", ok=True),
    ("check", 14): Deviation(id="D-013", ok=False),
    ("check", 15): Deviation(id="D-013", ok=False),
    ("check", 16): Deviation(id="D-013", ok=False),
    ("check", 18): Deviation(id="D-013", ok=False),
    # An export keeps the nodes' names, unless Kubernetes' are asked for.
    ("split", 12): Deviation(id="D-013", ok=True),
    # A handle that is absent holds nothing.
    ("lib-multi", 9): Deviation(id="D-015", ok=True, instead=answering([])),
    # A node's walk through the blocks of others is its own, too.
    ("lib-multi", 12): Deviation(
        id="D-004", ok=True, instead=borrowing("10.20.0.0/29", count=2, handle="h5")
    ),
    ("lib-multi", 13): Deviation(
        id="D-004", ok=True, instead=borrowing("10.20.0.0/29", count=1, handle="")
    ),
    ("lib-multi", 14): Deviation(
        id="D-004", ok=True, instead=borrowing("10.20.0.0/29", count=1, handle="h6")
    ),
    # What was not assigned is not called released.
    ("lib-release", 9): Deviation(
        id="D-015",
        ok=True,
        instead=answering({"released": [], "unallocated": ["10.20.0.8"]}),
    ),
    # A split needs no lock; what it refuses stays enabled, and parts of a disabled pool are
    # disabled.
    ("split", 3): Deviation(id="D-013", ok=True, like=10),
    ("split", 6): Deviation(id="D-013", ok=False),
    ("split", 10): Deviation(id="D-013", ok=True, instead=disabled_parts),
    # A refused request leaves no claimed block behind.
    ("lib-options", 17): Deviation(id="D-004", ok=False),
}


def stored_additions(step: Step, state: State, wanted: Answer) -> Answer:
    """Want network and interface beside Calico's attributes in what an ADD assigns."""
    if step.get("env", {}).get("CNI_COMMAND") != "ADD" or not wanted.changes:
        return wanted
    ours = {
        "network": json.loads(step["stdin"])["name"],
        "interface": step["env"]["CNI_IFNAME"],
    }

    def with_ours(key: str, entry: Entry) -> Entry:
        if entry is None or "attributes" not in entry["value"]:
            return entry
        known = (state.get(key) or {"value": {}})["value"].get("attributes") or []
        attributes = [
            held
            if held in known
            else held | {"secondary": dict(sorted((held["secondary"] | ours).items()))}
            for held in entry["value"]["attributes"]
        ]
        return {"value": entry["value"] | {"attributes": attributes}}

    return replace(
        wanted, changes={key: with_ours(key, entry) for key, entry in wanted.changes.items()}
    )


def host_prefix(step: Step, state: State, wanted: Answer) -> Answer:
    """Want addresses with the host's prefix, as a main plugin that we do not know gets them."""
    addresses = (ipaddress.ip_interface(address).ip for address in wanted.addresses)
    return replace(wanted, addresses=tuple(f"{ip}/{ip.max_prefixlen}" for ip in addresses))


def no_tiers(step: Step, state: State, wanted: Answer) -> Answer:
    """Want no Tier from an apply: they are policy, not address management."""
    tiers = "/calico/resources/v3/projectcalico.org/tiers/"
    kept = {key: entry for key, entry in wanted.changes.items() if not key.startswith(tiers)}
    return replace(wanted, changes=kept)


def exact_counts(step: Step, state: State, wanted: Answer) -> Answer:
    """Want handles that count the addresses assigned, not those asked for (D-004)."""
    key = HANDLES + step.get("args", {}).get("handle", "")
    entry = wanted.changes.get(key)
    if step.get("op") != "auto" or entry is None:
        return wanted
    counts = Counter((state.get(key) or {"value": {"block": {}}})["value"]["block"])
    addresses = [ipaddress.ip_interface(address).ip for address in wanted.addresses]
    for block in entry["value"]["block"]:
        within = ipaddress.ip_network(block)
        counts[block] += sum(address in within for address in addresses)
    value = entry["value"] | {"block": dict(sorted(counts.items()))}
    return replace(wanted, changes={**wanted.changes, key: {"value": value}})


Rule = Callable[[Step, State, Answer], Answer]

RULES: Mapping[str, tuple[Rule, ...]] = {
    "D-002": (stored_additions,),
    "D-004": (exact_counts,),
    "D-013": (host_prefix, no_tiers),
}


def _fenced(state: State, ours: Answer) -> set[str]:
    """Return the fences of the nodes that addresses were taken from by force."""
    nodes: set[str] = set()
    for key, entry in ours.changes.items():
        before = (state.get(key) or {"value": {}})["value"].get("attributes") or []
        after = (entry or {"value": {}})["value"].get("attributes") or []
        nodes |= {
            held["secondary"]["node"]
            for held in before
            if held not in after and (held.get("secondary") or {}).get("node")
        }
    return {f"/poolmgr/v1/session/{node}" for node in nodes}


def our_keys(step: Step, state: State, ours: Answer) -> frozenset[str]:
    """Return the keys of our own that a call writes where there are none yet (D-014)."""
    epoch, ok = "/poolmgr/v1/epoch", ours.ok
    if step["program"] == "libcalico":
        return frozenset({epoch} if ours.changes else ())
    match (step.get("env", {}).get("CNI_COMMAND"), step.get("argv")):
        case ("ADD", _) | (_, ["apply" | "create" | "replace" | "patch" | "label", *_]) if ok:
            return frozenset({epoch})
        case (_, ["delete", *_]) if any("/ippools/" in key for key in ours.changes):
            return frozenset({epoch})  # a pool is written once more before it goes
        case (_, ["ipam", "release", *_]) if ours.changes:
            return frozenset({epoch, *_fenced(state, ours)})
        case (_, ["ipam", "configure" | "split", *_]) if ours.changes:
            return frozenset({epoch})
        case ("DEL", _) if ok:
            return frozenset(
                {epoch, f"/poolmgr/v1/session/{json.loads(step['stdin'])['nodename']}"}
            )
        case _:
            return frozenset()
