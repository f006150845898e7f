"""
Make `data/kube.json` from a directory with recordings of a Kubernetes API server.

    python -m tests.interop.extract_kube DIRECTORY

Kept are requests, statuses and objects. What the server wrote for people, and who it thinks
owns which field, is left out.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.interop.recording import DATA


def extracted(recordings: list[Mapping[str, Any]]) -> str:
    """Return the text of the data file: a line per object."""
    answers = ",\n".join("".join(_answer(recording)) for recording in recordings)
    return f'{{"answers": [\n{answers}\n]}}\n'


def _answer(recording: Mapping[str, Any]) -> Iterator[str]:
    head = {name: recording[name] for name in ("name", "request", "status")}
    body = _facts(recording.get("body", {}))
    if "stream" in recording:
        body, listed, events = {}, "stream", recording["stream"]
    elif isinstance(body, dict) and "items" in body:
        listed, events = "items", body.pop("items")
    else:
        yield _line(head | {"body": body})
        return
    yield f'{_line(head | {"body": body})[:-1]}, "{listed}": [\n  '
    yield ",\n  ".join(_line(_facts(event)) for event in events)
    yield "]}"


def _facts(value: Any) -> Any:
    if isinstance(value, list):
        return [_facts(item) for item in value]
    if not isinstance(value, dict):
        return value
    prose = {"managedFields"} | ({"message"} if value.get("kind") == "Status" else set())
    return {key: _facts(item) for key, item in value.items() if key not in prose}


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def main(directory: str) -> None:
    """Write the data file."""
    paths = sorted(Path(directory).glob("*.json"))
    (DATA / "kube.json").write_text(extracted([json.loads(path.read_text()) for path in paths]))


if __name__ == "__main__":
    main(*sys.argv[1:])
