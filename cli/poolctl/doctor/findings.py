"""What `poolctl doctor` finds, and how it is written: for people, or as JSON and YAML."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from poolctl.report import document, printable
from poolctl.terminal import styled, width

_NARROWEST, _WIDEST = 60, 120
_INDENT = 24


class Verdict(StrEnum):
    """What is to be thought of a fact."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "not known"


_STYLES: dict[Verdict, dict[str, Any]] = {
    Verdict.OK: {"fg": "green"},
    Verdict.WARNING: {"fg": "yellow"},
    Verdict.PROBLEM: {"fg": "red", "bold": True},
    Verdict.UNKNOWN: {"dim": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One fact.

    Attributes:
        check: What was looked at, in a word or two.
        remedy: What to do about it; "" = nothing.
    """

    check: str
    verdict: Verdict
    fact: str
    remedy: str = ""


def ok(check: str, fact: str) -> Finding:
    """Find that nothing is to be done."""
    return Finding(check=check, verdict=Verdict.OK, fact=fact)


def warning(check: str, fact: str, remedy: str) -> Finding:
    """Find what may do harm one day."""
    return Finding(check=check, verdict=Verdict.WARNING, fact=fact, remedy=remedy)


def problem(check: str, fact: str, remedy: str) -> Finding:
    """Find what does harm."""
    return Finding(check=check, verdict=Verdict.PROBLEM, fact=fact, remedy=remedy)


def unknown(check: str, fact: str, remedy: str = "") -> Finding:
    """Find that nobody can say."""
    return Finding(check=check, verdict=Verdict.UNKNOWN, fact=fact, remedy=remedy)


def rendered(findings: Sequence[Finding], output: str) -> str:
    """Write findings as "table", "json" or "yaml"."""
    return (
        "\n".join(_lines(findings)) if output == "table" else document(value(findings), output)
    )


def value(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return findings as plain values."""
    counts = Counter(each.verdict for each in findings)
    return {
        "counts": {str(verdict): counts[verdict] for verdict in Verdict},
        "findings": [
            {
                "check": each.check,
                "verdict": str(each.verdict),
                "fact": each.fact,
                "remedy": each.remedy or None,
            }
            for each in findings
        ],
    }


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    columns = min(max(width(), _NARROWEST), _WIDEST)
    for each in findings:
        word = str(each.verdict)
        word = word.upper() if each.verdict in (Verdict.WARNING, Verdict.PROBLEM) else word
        first, *rest = _wrapped(each.fact, columns) or [""]
        yield f"{styled(f'{word:10}', **_STYLES[each.verdict])}{each.check:14}{first}".rstrip()
        rest += _wrapped(f"-> {each.remedy}", columns) if each.remedy else []
        yield from (f"{'':{_INDENT}}{line}" for line in rest)
    yield ""
    yield _summary(findings)


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(
        printable(" ".join(text.split())),
        columns - _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(each.verdict for each in findings)
    said = [
        f"{count:,} {word if count == 1 else word + 's'}"
        for verdict, word in ((Verdict.PROBLEM, "problem"), (Verdict.WARNING, "warning"))
        if (count := counts[verdict])
    ]
    if counts[Verdict.UNKNOWN]:
        said.append(f"{counts[Verdict.UNKNOWN]:,} not known")
    return ", ".join(said) or "all is well"
