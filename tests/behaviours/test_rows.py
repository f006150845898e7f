"""
Every behaviour that Calico's own suites assert is tested here, or known not to apply.

`rows.txt` lists ids and who can see the behaviour: `a` the CNI executable, `b` the command line,
`c` the stored keys, `k8s` the Kubernetes API, `lib` the library, `main` Calico's main plugin (a
comma: each alone, a plus: together). Each module here
has a tuple `ROWS`; DESIGN.md has the table of what does not apply, with reasons. What can be seen
with `poolctl` alone is seen with the executable.
"""

import importlib
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from tests.behaviours import conftest
from tests.behaviours.row import Row
from tests.behaviours.story import Told

HERE = Path(__file__).parent
DESIGN = HERE.parents[1] / "DESIGN.md"
HEADING = "Rows of Calico's suites that do not apply, or not yet"
OURS = {"a", "b", "c", "lib", "k8s"}
MODULES = sorted(path.stem for path in HERE.glob("test_*.py") if path.name != "test_rows.py")


def marked() -> dict[str, list[set[str]]]:
    """Read rows.txt: id -> ways to see it, each of which needs all of these."""
    lines = (line.split() for line in (HERE / "rows.txt").read_text().splitlines())
    return {id_: [set(way.split("+")) for way in marks.split(",")] for id_, marks in lines}


def listed() -> dict[str, bool]:
    """Return id -> whether it can be seen without a garbage collector or a main plugin."""
    return {id_: any(way <= OURS for way in ways) for id_, ways in marked().items()}


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


def modules() -> list[ModuleType]:
    return [importlib.import_module(f"tests.behaviours.{name}") for name in MODULES]


def in_tables() -> list[str]:
    """Return the ids of the tables of all modules."""
    return [row.id for module in modules() for row in module.ROWS]


def fixtures(function: object, module: ModuleType) -> Iterator[str]:
    """Name the fixtures that a test or a fixture of a module is built on."""
    for name in inspect.signature(function).parameters:
        yield name
        found = vars(module).get(name, vars(conftest).get(name))
        if found is not None and name != "place":  # of its stories only some run poolctl
            yield from fixtures(found, module)


def by_poolctl(module: ModuleType) -> Iterator[str]:
    """Return the ids of what a module tests with the executable; a story says so itself."""
    for name, test in vars(module).items():
        if not (name.startswith("test_") and isinstance(test, FunctionType)):
            continue
        runs = "executable" in fixtures(test, module)
        for mark in getattr(test, "pytestmark", ()):
            rows: list[Row] = [*mark.args[1]] if mark.args[:1] == ("row",) else []
            yield from (
                row.id for row in rows if (row.by_poolctl if isinstance(row, Told) else runs)
            )


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


def test_what_poolctl_shows_is_seen_with_its_executable():
    known = {id_ for module in modules() for id_ in by_poolctl(module)}
    shown = {id_ for id_, ways in marked().items() if any("b" in way for way in ways)}

    assert [] == sorted(shown - known - {*not_applying()})
