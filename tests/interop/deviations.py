"""
Where our programs answer otherwise than the recorded ones, on purpose, and what they answer.

Ids are those of DESIGN.md. `RULES` change what is wanted of many steps in the same way; `STEPS` are
single steps with an answer of their own; `LATER` are calls that poolctl does not have yet.
"""

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tests.interop.recording import Answer, Entry, State, Step

LATER = (
    ("patch",),
    ("label",),
    ("get", "ippool", "-o", "custom-columns=NAME,CIDR"),
    ("get", "ippool", "pool-full", "-o", "yaml", "--export"),
    ("ipam", "configure"),
    ("ipam", "show", "--show-borrowed"),
    ("ipam", "show", "--show-configuration"),
)
"""How the arguments of a call start that poolctl gets later."""


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
    """

    id: str
    ok: bool
    like: int | None = None
    words: Mapping[str, str] = field(default_factory=dict)


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


Rule = Callable[[Step, State, Answer], Answer]

RULES: Mapping[str, tuple[Rule, ...]] = {
    "D-002": (stored_additions,),
    "D-013": (host_prefix, no_tiers),
}


def our_keys(step: Step, ours: Answer) -> frozenset[str]:
    """Return the keys of our own that a call writes where there are none yet (D-014)."""
    epoch, ok = "/poolmgr/v1/epoch", ours.ok
    match (step.get("env", {}).get("CNI_COMMAND"), step.get("argv")):
        case ("ADD", _) | (_, ["apply" | "create" | "replace", *_]) if ok:
            return frozenset({epoch})
        case (_, ["delete", *_]) if any("/ippools/" in key for key in ours.changes):
            return frozenset({epoch})  # a pool is written once more before it goes
        case ("DEL", _) if ok:
            return frozenset(
                {epoch, f"/poolmgr/v1/session/{json.loads(step['stdin'])['nodename']}"}
            )
        case _:
            return frozenset()
