"""
What the data files say: calls of real programs, and the state they left.

`data/<scenario>.json` holds the steps of one recording; `extract.py` makes it. Free lists and
allocations of blocks are packed as text in the file, and lists again after `load`.
"""

import json
import os
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"

RECORDINGS = Path(
    os.environ.get("POOLMGR_INTEROP") or Path(__file__).parents[2].parent / "shared" / "interop"
)
"""Where the recordings are that `extract.py` and `extract_kube.py` read, if they are at hand."""

ORPHANS = "orphaned allocation blocks"
"""The pool that libcalico's counts have for blocks without one."""

Entry = Mapping[str, Any] | None
"""What a key holds: {"value": parsed}, {"raw": text} if not compact JSON, None = no such key."""

State = Mapping[str, Entry]
"""Key -> what it holds."""

Step = Mapping[str, Any]
"""One recorded call, as in the data file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What a call did.

    Attributes:
        ok: Exit status 0.
        addresses: "address/length", in the order of the CNI result.
        result: What else a call of the library answered.
        changes: Key below /calico -> what it holds now; unchanged keys are absent.
    """

    ok: bool
    addresses: tuple[str, ...] = ()
    result: Any = None
    changes: Mapping[str, Entry] = field(default_factory=dict)


def load(scenario: str) -> list[dict[str, Any]]:
    """Read the steps of a scenario; `changes` hold the stored values literally."""
    steps: list[dict[str, Any]] = json.loads((DATA / f"{scenario}.json").read_text())["steps"]
    for step in steps:
        step["changes"] = {key: unpacked(entry) for key, entry in step["changes"].items()}
    return steps


def answer(step: Step) -> Answer:
    """Return what the recorded program did in this step."""
    return Answer(
        ok=step["exit"] == 0,
        addresses=tuple(step.get("addresses", ())) or _assigned(step),
        result=_result(step),
        changes=step["changes"],
    )


def _assigned(step: Step) -> tuple[str, ...]:
    """Return what libcalico assigned automatically."""
    if step.get("op") != "auto":
        return ()
    families = (step["result"][name] for name in ("v4", "v6"))
    return tuple(ip for family in families if family is not None for ip in family["ips"])


def _result(step: Step) -> Any:
    """Return what else libcalico answered, with CIDRs as text and no pseudo pool of orphans."""
    match step.get("op"), step.get("result"):
        case None | "auto", _:
            return None
        case "utilization", pools:
            return [_counts(pool) for pool in pools or () if pool["Name"] != ORPHANS]
        case _, result:
            return result


def _counts(counted: Mapping[str, Any]) -> dict[str, Any]:
    mask = b64decode(counted["CIDR"]["Mask"])
    length = int.from_bytes(mask).bit_count()
    blocks = counted.get("Blocks")
    return {
        **counted,
        "CIDR": f"{counted['CIDR']['IP']}/{length}",
        **({} if blocks is None else {"Blocks": [_counts(block) for block in blocks]}),
    }


def stored_text(entry: Mapping[str, Any]) -> str:
    """Return the text under a key, as the recorded program wrote it."""
    return str(entry["raw"]) if "raw" in entry else compact(entry["value"])


def entry_of(text: str) -> Mapping[str, Any]:
    """Describe a stored text the way the recordings do."""
    try:
        value = json.loads(text)
    except ValueError:
        return {"raw": text}
    return {"value": value} if compact(value) == text else {"raw": text}


def compact(value: object) -> str:
    """Write JSON without blanks, keys in the order they have."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def result_addresses(result: Mapping[str, Any]) -> list[str]:
    """Return the addresses of a CNI result of any version; none of anything else."""
    old = [result[family]["ip"] for family in ("ip4", "ip6") if family in result]
    return old + [ip["address"] for ip in result.get("ips", ())]


def packed(entry: Entry) -> Entry:
    """Shorten the two lists of a block that have an entry per ordinal."""
    if (
        entry is None
        or not isinstance(value := entry.get("value"), dict)
        or "unallocated" not in value
    ):
        return entry
    lists = {
        "allocations": _equal_runs(value["allocations"]),
        "unallocated": _ranges(value["unallocated"]),
    }
    short = {**entry, "value": value | lists}
    assert unpacked(short) == entry
    return short


def unpacked(entry: Entry) -> Entry:
    """Undo `packed`."""
    if (
        entry is None
        or not isinstance(value := entry.get("value"), dict)
        or "unallocated" not in value
    ):
        return entry
    allocations: list[int | None] = []
    for token in value["allocations"].split():
        index, _, count = token.partition("*")
        allocations += [None if index == "-" else int(index)] * int(count or 1)
    unallocated: list[int] = []
    for token in value["unallocated"].split():
        first, _, last = token.partition("-")
        unallocated += range(int(first), int(last or first) + 1)
    return {**entry, "value": value | {"allocations": allocations, "unallocated": unallocated}}


def _equal_runs(allocations: list[int | None]) -> str:
    """Write [0, 0, None, None, None] as "0*2 -*3"."""
    runs = ((index, len(list(run))) for index, run in groupby(allocations))
    return " ".join(
        ("-" if index is None else str(index)) + (f"*{count}" if count > 1 else "")
        for index, count in runs
    )


def _ranges(unallocated: list[int]) -> str:
    """Write [5, 6, 7, 0] as "5-7 0"."""
    runs = (
        [n for _, n in run]
        for _, run in groupby(enumerate(unallocated), lambda at: at[1] - at[0])
    )
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
