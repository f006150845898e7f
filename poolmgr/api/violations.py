"""What is said of input that is wrong: where, which value, and what would be right."""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from poolmgr.errors import InvalidRequestError

Violation = tuple[str, str]
"""Path of the field, and what is wrong with it."""

_LONGEST_VALUE = 80
_LISTED = 5
_LIKENESS = 0.7
_EXPECTED = {
    "missing": "is required",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
}


def refused(who: str, wrong: list[Violation]) -> InvalidRequestError:
    """Make the one error that lists everything wrong with a resource."""
    listed = "; ".join(f"{path}: {why}" if path else why for path, why in wrong)
    return InvalidRequestError(f"{who}: {listed}" if who else listed, field=wrong[0][0])


def title(kind: str, obj: Mapping[str, Any]) -> str:
    """Name a resource in messages: "IPPool pool-a"."""
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not name:
        return kind
    return f"{kind} {name if isinstance(name, str) else shown(name)}"


def shown(value: object) -> str:
    """Write a value into a message: JSON, on one line, cut where it is long."""
    text = ""
    try:
        # Piece by piece: the whole may be too deep to write, or with YAML aliases too large.
        for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
            text += piece
            if len(text) > _LONGEST_VALUE:
                return f"{text[: _LONGEST_VALUE - 3]}..."
    except ValueError:  # a number with more digits than Python writes
        return f"{text}..."
    return text


def one_of(path: str, value: str, allowed: tuple[str, ...]) -> Iterator[Violation]:
    """Check that `value` is one of a few words."""
    if value not in allowed:
        yield path, f"{shown(value)} is not allowed: {', '.join(allowed)}"


def similar(wrong: str, known: Sequence[str]) -> str:
    """Ask whether one of the few most similar names was meant; "" = none is similar."""
    near = get_close_matches(wrong, known, cutoff=_LIKENESS)
    return f"did you mean {' or '.join(near)}?" if near else ""


def listed(known: Sequence[str]) -> str:
    """Tell what there is, the first few of it."""
    if not known:
        return "there is none"
    more = f" and {len(known) - _LISTED:,} more" if len(known) > _LISTED else ""
    verb = "is" if len(known) == 1 else "are"
    return f"there {verb} {', '.join(known[:_LISTED])}{more}"


def readable(error: ValidationError) -> Iterator[Violation]:
    """Translate pydantic's findings, one by one."""
    for found in error.errors(include_url=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]
        ).lstrip(".")
        kind, value = found["type"], found.get("input")
        if kind == "value_error":
            yield path, str(found["ctx"]["error"])
        elif kind == "missing":
            yield path, _EXPECTED[kind]
        else:
            yield path, f"{shown(value)} {_EXPECTED.get(kind, found['msg'])}"
