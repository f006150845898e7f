"""JSON from outside, read strictly: what two readers could read differently is refused."""

import json
import math
import re

from poolmgr.cni.result import CallError, Code, Json

SIZE_LIMIT_BYTES = 1 << 20
NESTING_LIMIT = 16
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]", re.ASCII)


def loads(raw: bytes) -> Json:
    """
    Read one JSON object: UTF-8, no key twice, no NaN or infinity, 64-bit integers, 16 levels.

    Raises:
        CallError: With code 6; the message says what is wrong and where.
    """
    if len(raw) > SIZE_LIMIT_BYTES:
        raise _undecodable(f"it exceeds {SIZE_LIMIT_BYTES:,} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as err:
        raise _undecodable(f"byte {err.start} is not UTF-8") from err
    if not text.strip():
        raise _undecodable("it is empty")
    try:
        _check_nesting(text)
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        if _ESCAPED_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as err:
        raise _undecodable("it holds half of a surrogate pair") from err
    except json.JSONDecodeError as err:
        raise _undecodable(f"{err.msg} at line {err.lineno}, column {err.colno}") from err
    if not isinstance(value, dict):
        raise _undecodable("it is not a JSON object")
    return value


def _undecodable(why: str) -> CallError:
    return CallError(
        Code.NOT_DECODABLE, f"the network configuration on standard input is not usable: {why}"
    )


def _check_nesting(text: str) -> None:
    """Refuse deep nesting before the parser recurses into it."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth > NESTING_LIMIT:
            raise _undecodable(f"it is nested deeper than {NESTING_LIMIT}")


def _object(pairs: list[tuple[str, object]]) -> Json:
    value: Json = {}
    for key, item in pairs:
        if key in value:
            raise _undecodable(f"the key {key!r:.80} is given twice in one object")
        value[key] = item
    return value


def _constant(word: str) -> object:
    raise _undecodable(f"{word} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 64:
        raise _undecodable(f"the integer {digits:.40} does not fit in 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _undecodable(f"the number {digits:.40} is too large")
    return value
