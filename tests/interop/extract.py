"""
Make `data/<scenario>.json` from a directory of recordings.

    python -m tests.interop.extract DIRECTORY [SCENARIO ...]

Kept is what was called, whether it succeeded, the addresses of the answer and the keys that
changed. What the recorded programs printed is left out.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop.recording import DATA, packed, result_addresses

SCENARIOS = (
    "first-add",
    "cni-surface",
    "specific-address",
    "fill-borrow-strict",
    "ipv6-sizes",
    "pool-lifecycle",
    "reservations",
    "config",
    "pool-requests",
    "namespace-selector",
    "half-finished",
    "reclaim",
    "cooldown",
    "lib-multi",
    "lib-release",
    "lib-options",
    "release-cli",
    "split",
    "check",
)

CALL = ("program", "argv", "op", "args", "put", "delete", "seconds", "env", "stdin", "files")


def extracted(recording: Mapping[str, Any]) -> str:
    """Return the text of the data file: a line per call and per changed key."""
    head = {"scenario": recording["scenario"], "recorded_with": recording["recorded_with"]}
    steps = ",\n".join(_step(step) for step in recording["steps"])
    return f'{json.dumps(head)[:-1]}, "steps": [\n{steps}\n]}}\n'


def _step(step: Mapping[str, Any]) -> str:
    kept = {name: step[name] for name in CALL if name in step} | _answer(step)
    changes = (
        f"\n  {_line(key)}: {_line(packed(entry))}" for key, entry in step["changes"].items()
    )
    return f'{_line(kept)[:-1]}, "changes": {{{",".join(changes)}}}}}'


def _answer(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return exit class, and addresses or result, without texts."""
    match step["program"]:
        case "libcalico":
            return {"exit": int("error" in step), "result": _without_messages(step["result"])}
        case "calico-ipam" if step["exit"] == 0 and step["stdout"]:
            return {"exit": 0, "addresses": result_addresses(json.loads(step["stdout"]))}
        case "calico-ipam" | "calicoctl":
            return {"exit": int(step["exit"] != 0)}
        case _:
            return {}


def _without_messages(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_messages(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_messages(item) for key, item in value.items() if key != "msgs"}
    return value


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(directory: str, *scenarios: str) -> None:
    """Write the data files of `scenarios`, or of those the tests replay."""
    for scenario in scenarios or SCENARIOS:
        recording = json.loads(Path(directory, f"{scenario}.json").read_text())
        (DATA / f"{scenario}.json").write_text(extracted(recording))


if __name__ == "__main__":
    main(*sys.argv[1:])
