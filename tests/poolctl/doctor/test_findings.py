"""How findings are written."""

import json

import pytest
import yaml

from poolctl.doctor.findings import Verdict, ok, problem, rendered, unknown, value, warning

ALL = [
    ok("one", "is fine"),
    warning("two", "may harm", "do this"),
    problem("three", "does harm", "do that"),
    unknown("four", "nobody tells"),
]


def test_people_read_a_line_for_each_with_its_remedy_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    assert rendered(ALL, "table").splitlines() == [
        "ok        one           is fine",
        "WARNING   two           may harm",
        "                        -> do this",
        "PROBLEM   three         does harm",
        "                        -> do that",
        "not known four          nobody tells",
        "",
        "1 problem, 1 warning, 1 not known",
    ]


def test_nothing_wrong_is_said_in_words():
    assert "all is well" == rendered(ALL[:1], "table").splitlines()[-1]


@pytest.mark.parametrize(("columns", "longest"), [("80", 80), ("160", 120), ("10", 60)])
def test_lines_are_as_wide_as_is_good_to_read(monkeypatch, columns, longest):
    monkeypatch.setenv("COLUMNS", columns)
    lines = rendered([problem("check", "word " * 100, "word " * 100)], "table").splitlines()

    assert longest - 5 < max(map(len, lines)) <= longest


def test_what_is_stored_cannot_steer_the_terminal():
    assert "\\x1b[2J" in rendered([ok("check", "es\x1b[2Jcape")], "table")


def test_colours_are_for_terminals(monkeypatch):
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = rendered(ALL, "table")
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[" in coloured
    assert "\x1b[" not in rendered(ALL, "table")


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_read_the_same(output, load):
    found = load(rendered(ALL, output))

    assert value(ALL) == found
    assert {"ok": 1, "warning": 1, "problem": 1, "not known": 1} == found["counts"]
    assert {
        "check": "two",
        "verdict": "warning",
        "fact": "may harm",
        "remedy": "do this",
    } == found["findings"][1]
    assert found["findings"][0]["remedy"] is None
    assert {str(each) for each in Verdict} == found["counts"].keys()
