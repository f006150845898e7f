"""
Compare an answer of ours with the wanted one.

What cannot be the same twice is compared by form (times, uids, the cluster's GUID), relative to the
block's number (sequence numbers of a block made in this step), or after renaming (a step may claim
another free block of the same pool). All else must be equal, and in stored objects in the same order.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tests.interop.recording import Answer, Entry, State, compact
from tests.support.facts import SECOND

BLOCK_KEY = re.compile(r"/calico/ipam/v2/assignment/ipv[46]/block/(.+)-(\d+)")
POOL_KEY = "/calico/resources/v3/projectcalico.org/ippools/"

FORMS = {
    "a time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "a timestamp": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{0,8}[1-9])? \+0000 UTC"),
    "a uid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "a GUID": re.compile(r"[0-9a-f]{32}"),
}

# A new block counts from the nanosecond of its claim; this one is in 2001.
EARLIEST_SEQUENCE = 10**18

# What one call may add to a number; one that is made anew is far beyond.
LONGEST_COUNT = 1000


def compare(wanted: Answer, ours: Answer, state: State, *, named: bool) -> list[str]:
    """
    List the differences between two answers to a call that was made in `state`.

    Args:
        named: The call asks for a certain address, so that another block is a difference.
    """
    if not named:
        ours = _renamed(ours, _renamings(wanted, ours, state))
    found = []
    if wanted.ok != ours.ok:
        found.append(f"wanted {'success' if wanted.ok else 'refusal'}, got the opposite")
    if wanted.addresses != ours.addresses:
        found.append(f"wanted {wanted.addresses}, got {ours.addresses}")
    if wanted.result != ours.result:
        found.append(f"wanted {wanted.result}, got {ours.result}")
    for key in sorted(wanted.changes.keys() | ours.changes.keys()):
        want, got = (_comparable(each.changes, key, state) for each in (wanted, ours))
        if want != got:
            found.append(f"{key}\n  wanted {want}\n  got    {got}")
    return found


def recorded_times(changes: State) -> Iterator[int]:
    """Yield the times that changed values name, in nanoseconds since 1970."""
    for text in _texts(dict(changes)):
        if FORMS["a time"].fullmatch(text) or FORMS["a timestamp"].fullmatch(text):
            seconds, _, fraction = (
                text.removesuffix("Z").removesuffix(" +0000 UTC").partition(".")
            )
            moment = datetime.fromisoformat(f"{seconds}+00:00")
            yield int(moment.timestamp()) * SECOND + int(fraction.ljust(9, "0"))


def worded(given: Answer, word: Callable[[str], str]) -> Answer:
    """Apply `word` to the last part of each changed key, and to each text of the values."""
    changes = {}
    for key, entry in given.changes.items():
        path, _, last = key.rpartition("/")
        changes[f"{path}/{word(last)}"] = _mapped(entry, word)
    return replace(given, changes=changes)


def _comparable(changes: State, key: str, state: State) -> str:
    """Write what a key changed to, without what cannot be the same twice."""
    if key not in changes:
        return "no change"
    entry, before = changes[key], state.get(key)
    if entry is None:
        return "deleted"
    if "value" not in entry:
        return f"not compact JSON: {entry['raw']}"
    value = entry["value"]
    if BLOCK_KEY.fullmatch(key):
        value = _relative(value, before)
    known = set(_texts(before))
    return compact(_mapped(value, lambda text: text if text in known else _form(text)))


def _form(text: str) -> str:
    return next((name for name, form in FORMS.items() if form.fullmatch(text)), text)


def _relative(block: dict[str, Any], before: Entry) -> dict[str, Any]:
    """Count the sequence numbers of a block from its own, if it is new or was made anew."""
    base = block["sequenceNumber"]
    was = (before or {}).get("value", {}).get("sequenceNumber", 0)
    if base < max(EARLIEST_SEQUENCE, was + LONGEST_COUNT):
        return block
    per_ordinal = block["sequenceNumberForAllocation"].items()
    return block | {
        "sequenceNumber": 0,
        "sequenceNumberForAllocation": {ordinal: n - base for ordinal, n in per_ordinal},
    }


def _renamings(wanted: Answer, ours: Answer, state: State) -> dict[str, str]:
    """Pair the blocks that both made in the same pool, in order: our CIDR -> the wanted one."""
    theirs, mine = _new_blocks(wanted, state), _new_blocks(ours, state)
    return {
        cidr: other
        for pool in theirs.keys() & mine.keys()
        for cidr, other in zip(mine[pool], theirs[pool], strict=False)
    }


def _new_blocks(made: Answer, state: State) -> Mapping[str, Sequence[str]]:
    """Return the blocks that an answer made, by the key of their pool, in order of use."""
    found = {pool: list[str]() for pool in state if pool.startswith(POOL_KEY)}
    used = [ipaddress.ip_interface(address).ip for address in made.addresses]
    for block, pool in _made(made, state):
        found[pool].append(str(block))
        found[pool].sort(key=lambda cidr: _first_use(cidr, used))
    return found


def _first_use(cidr: str, used: Sequence[Any]) -> int:
    block = ipaddress.ip_network(cidr)
    return next((at for at, address in enumerate(used) if address in block), len(used))


def _made(made: Answer, state: State) -> Iterator[tuple[Any, str]]:
    """Yield the blocks that an answer made, with the key of their pool."""
    pools = {
        key: ipaddress.ip_network(entry["value"]["spec"]["cidr"])
        for key, entry in state.items()
        if key.startswith(POOL_KEY) and entry is not None
    }
    for key, entry in made.changes.items():
        found = BLOCK_KEY.fullmatch(key)
        if found and entry is not None and state.get(key) is None:
            block = ipaddress.ip_network("/".join(found.groups()))
            yield from ((block, name) for name, pool in pools.items() if block[0] in pool)


def _renamed(ours: Answer, names: Mapping[str, str]) -> Answer:
    """Write `ours` as if it had used the wanted blocks."""
    in_keys = {old.replace("/", "-"): new.replace("/", "-") for old, new in names.items()}
    words = {**names, **in_keys}
    addresses = tuple(_moved(address, names) for address in ours.addresses)
    return worded(replace(ours, addresses=addresses), lambda word: words.get(word, word))


def _moved(address: str, names: Mapping[str, str]) -> str:
    """Return the address with the same ordinal in the renamed block."""
    ip, _, length = address.partition("/")
    at = ipaddress.ip_address(ip)
    for old, new in names.items():
        block = ipaddress.ip_network(old)
        if at in block:
            return f"{ipaddress.ip_network(new)[int(at) - int(block[0])]}/{length}"
    return address


def _mapped(value: Any, word: Callable[[str], str]) -> Any:
    """Apply `word` to every text of a JSON value; where it changes keys they are sorted, as Go does."""
    if isinstance(value, str):
        return word(value)
    if isinstance(value, list):
        return [_mapped(item, word) for item in value]
    if isinstance(value, Mapping):
        mapped = {word(key): _mapped(item, word) for key, item in value.items()}
        return mapped if mapped.keys() == value.keys() else dict(sorted(mapped.items()))
    return value


def _texts(value: Any) -> Iterator[str]:
    """Yield every text of a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
