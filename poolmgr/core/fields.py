"""Fields of stored JSON: read as strictly as Go reads them, written as compactly."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from poolmgr.errors import CorruptStateError

T = TypeVar("T")


def dump(value: Mapping[str, Any], extra: Mapping[str, object]) -> bytes:
    """Write an object, its unknown fields last."""
    return json.dumps({**value, **extra}, separators=(",", ":")).encode()


def load(key: str, raw: bytes) -> dict[str, Any]:
    """
    Read the object stored under `key`.

    Raises:
        CorruptStateError: It is none, or has a number that JSON cannot write again.
    """
    try:
        value = json.loads(raw, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise CorruptStateError(key, f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise CorruptStateError(key, "not a JSON object")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON can write")
    return number


def unknown_fields(value: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of an object once its known fields are taken out."""
    value.pop("deleted", None)
    return value


def texts(value: object) -> dict[str, str]:
    """Read an object of texts; null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return {checked(key, str): checked(text, str) for key, text in value.items()}


def checked(value: object, kind: type[T]) -> T:
    """Return a value that is of the type it should be."""
    # A bool is an int to Python, but not to Go.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def zero(value: dict[str, Any], name: str, kind: type[T]) -> T:
    """Take a field out; absent and null are the zero value, as Go reads them."""
    found = value.pop(name, None)
    return kind() if found is None else checked(found, kind)


def optional(value: object, kind: type[T]) -> T | None:
    """Return a value of a type, or None."""
    return None if value is None else checked(value, kind)
