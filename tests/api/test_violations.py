"""Values in messages."""

import pytest

from poolmgr.api.violations import shown, title

DEEP: list = []
for _ in range(10_000):
    DEEP = [DEEP]
WIDE: list = ["x"]
for _ in range(100):
    WIDE = [WIDE] * 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("ä\n", '"ä\\n"'),
        ({"a": [1, True]}, '{"a": [1, true]}'),
        ("x" * 78, f'"{"x" * 78}"'),
        ("x" * 79, f'"{"x" * 76}...'),
        (DEEP, f"{'[' * 77}..."),
        (WIDE, f"{'[' * 77}..."),
        ([1, 16**5000], "[1..."),
        (b"raw", "\"b'raw'\""),
    ],
    ids=range(9),
)
def test_a_value_is_shown_on_one_short_line_whatever_it_is(value, text):
    assert text == shown(value)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"name": "a"}, "IPPool a"),
        ({"name": DEEP}, f"IPPool {'[' * 77}..."),
        ({}, "IPPool"),
        (None, "IPPool"),
    ],
    ids=range(4),
)
def test_a_resource_is_named_by_its_kind_and_name(metadata, text):
    assert text == title("IPPool", {"metadata": metadata})
