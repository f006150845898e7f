"""Stored JSON is read as strictly as Go does it."""

import pytest

from poolmgr.core.fields import dump, load, optional, texts, zero
from poolmgr.errors import CorruptStateError


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_corrupt_and_named(raw):
    with pytest.raises(CorruptStateError, match="/a/key"):
        load("/a/key", raw)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_json_cannot_write_is_corrupt(number):
    with pytest.raises(CorruptStateError, match="no number"):
        load("/a/key", f'{{"x":{number}}}'.encode())


def test_unknown_fields_come_last_and_unchanged():
    extra = load("/a/key", b'{"x":1.5,"y":[1e3,null]}')

    assert b'{"known":true,"x":1.5,"y":[1000.0,null]}' == dump({"known": True}, extra)


def test_absent_and_null_are_the_zero_value():
    value = {"null": None, "there": 7}

    assert [0, 0, 7] == [zero(value, name, int) for name in ("null", "absent", "there")]
    assert {} == value


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1, bool), ("1", int), (1.0, int)])
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(TypeError):
        zero({"x": value}, "x", kind)
    with pytest.raises(TypeError):
        optional(value, kind)


@pytest.mark.parametrize("value", [[], "text", {"key": 1}, {"key": None}])
def test_texts_are_an_object_of_strings(value):
    with pytest.raises(TypeError):
        texts(value)

    assert {} == texts(None)
    assert {"a": "b"} == texts({"a": "b"})
