r"""
Templates as kubectl's `-o jsonpath=` has them.

Text stands as it is; in braces stand a path (`{.items[*].metadata.name}`), a text in quotes
(`{"\n"}`), or `{range PATH}` ... `{end}`. Paths are evaluated by a library for RFC 9535, which
differs from kubectl in the form of names only: here `.a\.b/c` becomes `['a.b/c']`.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from poolctl.report import printable

_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_PART = re.compile(rf"\{{((?:{_QUOTED}|[^{{}}\"'])*)\}}|([^{{}}]+)", re.DOTALL)
_NAME = re.compile(r"(?:\\.|[^\s.\[\](){}\\'\",|&=<>!])+")
_OPENED, _CLOSED = "range", "end"

Find = Callable[[Any], list[Any]]


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Path:
    find: Find


@dataclass(frozen=True, slots=True)
class _Range:
    find: Find
    parts: "Sequence[_Part]"


_Part = _Text | _Path | _Range


class Template:
    """
    A template.

    Args:
        text: As typed; a path without braces is one, too.

    Raises:
        ValueError: It is none; the message says why.
    """

    def __init__(self, text: str) -> None:
        if "{" not in text:
            text = f"{{{text}}}"
        tokens, end = [], 0
        for found in _PART.finditer(text):
            if found.start() != end:
                break
            end = found.end()
            tokens.append((found[1], found[2]))
        if end != len(text):
            raise ValueError(f"{text[end : end + 20]!r}: braces or quotes do not match")
        parts = iter(tokens)
        self._parts = _parts(parts, within=False)

    def render(self, value: object) -> str:
        """Fill it in; what is stored cannot steer a terminal by it."""
        return "".join(_rendered(self._parts, value))


def finder(path: str) -> Find:
    """
    Return what finds all values at a path.

    Raises:
        ValueError: It is no path.
    """
    import jsonpath

    try:
        compiled = jsonpath.compile(_standard(path.strip()))
    except jsonpath.JSONPathError as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"{path!r} is not a path: {why}") from None

    def find(value: Any) -> list[Any]:
        return list(compiled.findall(value))

    return find


def text_of(value: object) -> str:
    """Write a value that was found: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return printable(value)
    return printable(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _parts(tokens: Iterator[tuple[str | None, str | None]], *, within: bool) -> list[_Part]:
    parts: list[_Part] = []
    for expression, text in tokens:
        if text is not None:
            parts.append(_Text(text))
            continue
        word, _, rest = (expression or "").strip().partition(" ")
        if word == _CLOSED and within:
            return parts
        if word == _CLOSED:
            raise ValueError("{end} without {range}")
        if word == _OPENED:
            parts.append(_Range(finder(rest), _parts(tokens, within=True)))
        else:
            parts += _expression((expression or "").strip())
    if within:
        raise ValueError("{range} without {end}")
    return parts


def _expression(text: str) -> Iterator[_Part]:
    if re.fullmatch(_QUOTED, text, re.DOTALL):
        try:
            yield _Text(str(ast.literal_eval(text)))
        except (ValueError, SyntaxError):
            raise ValueError(f"{text} is not a text in quotes") from None
    else:
        yield _Path(finder(text))


def _rendered(parts: Sequence[_Part], value: Any) -> Iterator[str]:
    for part in parts:
        match part:
            case _Text(text):
                yield text
            case _Path(find):
                yield " ".join(map(text_of, find(value)))
            case _Range(find, inner):
                for each in find(value):
                    yield from _rendered(inner, each)


def _standard(path: str) -> str:
    """Write kubectl's form of a path as RFC 9535 has it."""
    if path in ("", "@", "$", "."):
        return "$"
    path = path.removeprefix("@").removeprefix("$")
    if path[:1] not in (".", "["):
        path = f".{path}"
    written, at = "$", 0
    while at < len(path):
        if path[at] == "[":
            end = _closing(path, at)
            written += path[at:end]
        else:
            step, end = _step(path, at)
            written += step
        at = end
    return written


def _step(path: str, at: int) -> tuple[str, int]:
    """Write what begins with a dot at `at`, and say where it ends."""
    if path[at] != ".":
        raise ValueError(f"{path[at:]!r} in {path!r}: a '.' or '[' must stand here")
    dots = ".." if path.startswith("..", at) else ""
    at += len(dots) or 1
    if path[at : at + 1] == "*":
        return f"{dots}[*]", at + 1
    if name := _NAME.match(path, at):
        plain = re.sub(r"\\(.)", r"\1", name[0])
        return f"{dots}[{json.dumps(plain, ensure_ascii=False)}]", name.end()
    if path[at : at + 1] != "[":
        raise ValueError(f"{path!r}: a name is missing after '.'")
    return dots, at


def _closing(path: str, start: int) -> int:
    """Return where the bracket that opens at `start` is closed."""
    depth = 0
    for found in re.compile(rf"{_QUOTED}|\[|\]").finditer(path, start):
        depth += {"[": 1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    raise ValueError(f"{path!r}: a bracket is not closed")
