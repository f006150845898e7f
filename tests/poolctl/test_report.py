"""Errors in words and numbers."""

import json

import pytest
import yaml

from poolctl.report import complain, document, exit_code, warn
from poolmgr import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RefusedError("x"), 1),
        (errors.CorruptStateError("/key", "x"), 1),
        (errors.InvalidRequestError("x"), 1),
        (errors.StoreUnavailableError("x"), 3),
        (errors.StoreRefusedError("x"), 3),
        (errors.ContentionError("x"), 3),
        (errors.CommitUnknownError("x"), 4),
    ],
)
def test_each_kind_of_error_has_its_exit_status(error, code):
    assert code == exit_code(error)


def test_a_message_is_one_line_without_control_characters(capsys):
    complain("a\nb  c\x1b[31m\u200b")
    warn("d")

    assert (
        capsys.readouterr().err
        == "poolctl: error: a b c\\x1b[31m\\u200b\npoolctl: warning: d\n"
    )


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_document_cannot_steer_a_terminal_and_says_all(output, load):
    value = {"b": "\x1b[31m\x7f\x9b\u202e", "a": [1, None, "ü"]}

    text = document(value, output)

    assert value == load(text)
    assert ["b", "a"] == [*load(text)]
    assert set(text) <= {"\n", *map(chr, range(32, 127))}
