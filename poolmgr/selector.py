"""
Label selectors such as `rack == "r1" && !has(spare)`, with the grammar of Calico's.

A selector is parsed once, from left to right without recursion, into two things: its canonical
text, and a program in postfix order that `matches` runs on a stack. Both take time linear in
the text, however deeply it is nested.

Rules:

1. Precedence is `!`, then `&&`, then `||`; blanks are space and tab; the empty selector matches
   everything.
2. A missing label makes every comparison false, but `!=` and `not in` true.
3. The canonical text parses to an equal selector: groups of several terms carry parentheses,
   others none; sets are sorted; two negations of one term cancel.

Source: Calico libcalico-go/lib/selector.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from poolmgr.errors import InvalidRequestError

MAX_LABEL_LENGTH = 512
_IDENT = r"[A-Za-z0-9_./-]"
_BLANKS = re.compile(r"[ \t]*")
_LABEL = re.compile(rf"{_IDENT}+")
_CALL = re.compile(r"(has|all|global)\(")
_OPERATOR = re.compile(
    rf"==|!=|(?:(contains)|(starts)[ \t]*with|(ends)[ \t]*with|(not)[ \t]*in|(in))(?!{_IDENT})"
)
_OPERATORS = {
    "contains": "contains",
    "starts": "starts with",
    "ends": "ends with",
    "not": "not in",
    "in": "in",
}
_COMPARE: Mapping[str, Callable[[str, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "in": lambda value, members: value in members,
    "not in": lambda value, members: value not in members,
    "contains": operator.contains,
    "starts with": str.startswith,
    "ends with": str.endswith,
}
_STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")


@dataclass(frozen=True, slots=True)
class _Test:
    """A leaf: one label against one string, or against a set of them."""

    label: str
    operator: str
    operand: str | frozenset[str] = ""

    def holds(self, labels: Mapping[str, str]) -> bool:
        if self.operator in ("all", "global"):
            return True
        value = labels.get(self.label)
        if value is None:
            return self.operator in ("!=", "not in")
        return self.operator == "has" or _COMPARE[self.operator](value, self.operand)

    def __str__(self) -> str:
        if self.operator in ("all", "global", "has"):
            return f"{self.operator}({self.label})"
        if isinstance(self.operand, str):
            return f"{self.label} {self.operator} {_quoted(self.operand)}"
        return (
            f"{self.label} {self.operator} {{{', '.join(map(_quoted, sorted(self.operand)))}}}"
        )


@dataclass(frozen=True, slots=True)
class _Join:
    """Takes `count` results off the stack and puts one back."""

    operator: str
    count: int

    def joins(self, terms: list[bool]) -> bool:
        match self.operator:
            case "&&":
                return all(terms)
            case "||":
                return any(terms)
            case _:
                return not terms[0]


_NOT = _Join("!", 1)


@dataclass(frozen=True, slots=True)
class Selector:
    """
    A parsed selector; `str()` gives its canonical text.

    Attributes:
        text: The canonical text.
        program: Tests and joins in postfix order.
    """

    text: str
    program: tuple[_Test | _Join, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is selected."""
        stack: list[bool] = []
        for step in self.program:
            if isinstance(step, _Test):
                stack.append(step.holds(labels))
            else:
                terms = stack[-step.count :]
                stack[-step.count :] = [step.joins(terms)]
        return stack[-1]

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=4096)
def parse(text: str) -> Selector:
    """
    Parse a selector.

    Raises:
        InvalidRequestError: `text` is not a selector; the message says at which character, and
            what was expected.
    """
    if not text.strip(" \t"):
        text = "all()"
    return _Parser(text).parse()


class _Group:
    """
    An open parenthesis, or the whole text.

    It counts its terms and knows where its canonical text begins.

    Attributes:
        not_at: Place of the `!` before the group, which stays empty where there is none.
        negated: Whether the group is negated.
    """

    def __init__(self, parts: list[str], *, not_at: int, negated: bool, opened_at: int) -> None:
        self.not_at, self.negated, self.opened_at = not_at, negated, opened_at
        self.ands = self.ors = 0
        self.or_at = _reserve(parts)
        self.and_at = _reserve(parts)


class _Parser:
    """State of one parse: position, canonical parts, program, open groups."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.parts: list[str] = []
        self.program: list[_Test | _Join] = []
        self.groups = [
            _Group(self.parts, not_at=_reserve(self.parts), negated=False, opened_at=0)
        ]

    def parse(self) -> Selector:
        while True:
            self._operands()
            if self._closes():
                return Selector("".join(self.parts), tuple(self.program))

    def _operands(self) -> None:
        """Read `!` and `(` as often as they come, then one test."""
        while True:
            not_at, negated = _reserve(self.parts), False
            while self._take("!"):
                negated = not negated
            opened_at = self.at
            if not self._take("("):
                break
            self.groups.append(
                _Group(self.parts, not_at=not_at, negated=negated, opened_at=opened_at)
            )
        test = self._test()
        self.parts.append(str(test))
        self.program.append(test)
        self._negate(not_at, negated=negated)

    def _closes(self) -> bool:
        """
        Read what follows an operand.

        True = the end of the text, False = another operand must follow.
        """
        while True:
            group = self.groups[-1]
            group.ands += 1
            if self._take("&&"):
                self.parts.append(" && ")
                return False
            self._end_and(group)
            if self._take("||"):
                self.parts.append(" || ")
                group.and_at = _reserve(self.parts)
                return False
            self._end_or(group)
            if len(self.groups) == 1:
                if self.at < len(self.text):
                    raise self._error("expected && or || or the end")
                return True
            if not self._take(")"):
                raise self._error(
                    f"expected && or || or the ) of character {group.opened_at + 1}"
                )
            self.groups.pop()
            self._negate(group.not_at, negated=group.negated)

    def _end_and(self, group: _Group) -> None:
        if group.ands > 1:
            self._parenthesise(group.and_at)
            self.program.append(_Join("&&", group.ands))
        group.ands = 0
        group.ors += 1

    def _end_or(self, group: _Group) -> None:
        if group.ors > 1:
            self._parenthesise(group.or_at)
            self.program.append(_Join("||", group.ors))

    def _parenthesise(self, start: int) -> None:
        self.parts[start] = "("
        self.parts.append(")")

    def _negate(self, not_at: int, *, negated: bool) -> None:
        """Negate the operand just read; a second negation undoes the first."""
        if not negated:
            return
        if self.program[-1] is _NOT:
            inner = not_at + 1
            while self.parts[inner] != "!":
                inner += 1
            self.parts[inner] = ""
            self.program.pop()
        else:
            self.parts[not_at] = "!"
            self.program.append(_NOT)

    def _test(self) -> _Test:
        if call := self._match(_CALL):
            return self._call(call[1])
        start = self.at
        label = self._match(_LABEL)
        if label is None:
            raise self._error('expected a label, has(label), all(), "!" or "("')
        name = self._short(label[0], start)
        self._skip_blanks()
        found = self._match(_OPERATOR)
        if found is None:
            raise self._error(
                f"expected an operator (==, !=, in, not in, contains, …) after label {name}"
            )
        word = _OPERATORS.get(found[found.lastindex or 0], found[0])
        self._skip_blanks()
        if word in ("in", "not in"):
            return _Test(name, word, self._set())
        return _Test(name, word, self._string())

    def _call(self, function: str) -> _Test:
        self._skip_blanks()
        start, label = self.at, self._match(_LABEL)
        if (function == "has") != (label is not None):
            self.at = start
            raise self._error(
                "expected a label in has()" if function == "has" else "expected )"
            )
        name = self._short(label[0], start) if label else ""
        if not self._take(")"):
            raise self._error("expected )")
        return _Test(name, function)

    def _set(self) -> frozenset[str]:
        if not self._take("{"):
            raise self._error('expected a set such as {"a", "b"}')
        members = set()
        while not self._take("}"):
            members.add(self._string())
            if not self._take(","):
                if not self._take("}"):
                    raise self._error("expected , or }")
                break
        return frozenset(members)

    def _string(self) -> str:
        string = self._match(_STRING)
        if string is None:
            raise self._error("expected a quoted string")
        self._skip_blanks()
        return string[string.lastindex or 1]

    def _short(self, label: str, start: int) -> str:
        if len(label) > MAX_LABEL_LENGTH:
            self.at = start
            raise self._error(f"a label has at most {MAX_LABEL_LENGTH} characters")
        return label

    def _take(self, token: str) -> bool:
        self._skip_blanks()
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        self._skip_blanks()
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def _skip_blanks(self) -> None:
        self._match(_BLANKS)

    def _error(self, expected: str) -> InvalidRequestError:
        rest = self.text[self.at : self.at + 20]
        found = f"found {rest!r}" if rest else "the text ends"
        return InvalidRequestError(
            f"selector is wrong at character {self.at + 1}: {expected}, {found}"
        )


def _reserve(parts: list[str]) -> int:
    """Keep a place for a `!` or `(` that may turn out to be needed; return its index."""
    parts.append("")
    return len(parts) - 1


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'
