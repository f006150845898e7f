"""Tables and documents."""

import json

import pytest
import yaml
from tabulate import tabulate

from poolctl.ipam import output
from poolctl.ipam.output import JSON, YAML, Table, show_document

COLUMNS = ("NAME", "COUNT")
NASTY = {"name": "a\x7f\x1b[2J\u200b\ud800 b", "count": 2**80, "none": None}


def shown(capsys, rows, **options) -> str:
    with Table(COLUMNS, **options) as table:
        for row in rows:
            table.add(row)
        table.show()
    return capsys.readouterr().out


@pytest.mark.parametrize("rows", [[("a", "1"), ("b c", "1,234,567")], [("", "")]])
def test_a_table_looks_as_tabulates_pretty_one(capsys, rows):
    align = ("left", "right")

    assert tabulate(rows, COLUMNS, tablefmt="pretty", colalign=align) == shown(
        capsys, rows, right=["COUNT"]
    ).removesuffix("\n")


def test_a_table_without_rows_is_its_header(capsys):
    border = "+------+-------+\n"

    assert f"{border}| NAME | COUNT |\n{border}{border}" == shown(capsys, [])


def test_what_is_stored_can_neither_steer_the_terminal_nor_break_the_table(capsys):
    lines = shown(capsys, [("a\tb\n\x1b[2J\u200b\ud800", "1")]).splitlines()

    assert r"| a\tb\n\x1b[2J\u200b\ud800 | 1     |" == lines[3]
    assert 1 == len({*map(len, lines)})


def test_rows_that_do_not_fit_into_memory_wait_in_a_file(capsys, monkeypatch):
    monkeypatch.setattr(output, "_IN_MEMORY_BYTES", 100)
    rows = [(f"row {n}", str(n)) for n in range(2500)]

    text = shown(capsys, rows)

    assert 2504 == text.count("\n")
    assert "| row 2499 | 2499  |\n" in text


@pytest.mark.parametrize(
    ("kind", "read"), [(JSON, json.loads), (YAML, yaml.safe_load)], ids=[JSON, YAML]
)
def test_documents_keep_values_in_ascii(capsys, kind, read):
    value = NASTY if kind == JSON else NASTY | {"name": "a\x7f\x1b[2J\u200b b"}
    show_document(value, kind)
    text = capsys.readouterr().out

    assert value == read(text)
    assert all(char == "\n" or " " <= char <= "~" for char in text)


def test_one_yaml_document_needs_no_mark(capsys):
    show_document({"a": 1}, YAML)

    assert "a: 1\n" == capsys.readouterr().out
