"""
Every behaviour that Calico's own suites assert is tested here, or known not to apply.

`rows.txt` lists ids and who can see the behaviour: `a` the CNI executable, `b` the command line,
`c` the stored keys, `k8s` the Kubernetes API, `lib` the library, `main` Calico's main plugin (a
comma: each alone, a plus: together). Each module here
has a tuple `ROWS`; DESIGN.md has the table of what does not apply, with reasons.
"""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DESIGN = HERE.parents[1] / "DESIGN.md"
HEADING = "Rows of Calico's suites that do not apply, or not yet"
OURS = {"a", "b", "c", "lib", "k8s"}
MODULES = sorted(path.stem for path in HERE.glob("test_*.py") if path.name != "test_rows.py")


def listed() -> dict[str, bool]:
    """Read rows.txt: id -> whether it can be seen without a garbage collector or a main plugin."""
    lines = (line.split() for line in (HERE / "rows.txt").read_text().splitlines())
    return {
        id_: any(set(way.split("+")) <= OURS for way in marks.split(","))
        for id_, marks in lines
    }


def expanded(cell: str) -> list[str]:
    """Return the ids of a cell such as "PC-13, SL-162 to SL-193"."""
    found = []
    for prefix, first, last in re.findall(r"([A-Z]{2})-(\d+)(?: to \1-(\d+))?", cell):
        numbers = range(int(first), int(last or first) + 1)
        found += [f"{prefix}-{number:0{len(first)}}" for number in numbers]
    return found


def not_applying() -> list[str]:
    """Return the ids of the table in DESIGN.md; a row without a reason counts for nothing."""
    _, _, section = DESIGN.read_text().partition(f"\n## {HEADING}\n")
    table = re.split(r"\n#+ ", section)[0]
    rows = re.findall(r"^\| *([A-Z]{2}-\d+[^|]*)\|([^|]*)\|", table, re.MULTILINE)
    return [id_ for ids, reason in rows if reason.strip() for id_ in expanded(ids)]


def in_tables() -> list[str]:
    """Return the ids of the tables of all modules."""
    modules = (importlib.import_module(f"tests.behaviours.{name}") for name in MODULES)
    return [row.id for module in modules for row in module.ROWS]


@pytest.mark.parametrize(
    ("cell", "ids"),
    [
        ("PC-13", ["PC-13"]),
        ("PC-13, CF-01", ["PC-13", "CF-01"]),
        ("SL-099 to SL-101", ["SL-099", "SL-100", "SL-101"]),
    ],
)
def test_a_cell_names_ids_and_ranges(cell, ids):
    assert ids == expanded(cell)


def test_every_row_is_tested_or_known_not_to_apply():
    known = {*in_tables(), *not_applying()}

    assert [] == [id_ for id_, ours in listed().items() if ours and id_ not in known]


def test_only_rows_that_exist_are_named_and_each_at_one_place():
    counts = Counter([*set(in_tables()), *not_applying()])

    assert [] == sorted(counts.keys() - listed().keys())
    assert [] == sorted(id_ for id_, count in counts.items() if count > 1)
