"""Values in messages."""

import pytest

from poolmgr.api.violations import listed, shown, similar, title

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


def test_similar_names_are_suggested_and_others_are_not():
    assert "did you mean pods?" == similar("podz", ["pods", "lan"])
    assert "" == similar("x", ["pods", "lan"])
    assert 3 == len(similar("node-x", [f"node-{n}" for n in range(9)]).split(" or "))


def test_of_many_names_the_first_few_are_listed():
    assert "there is none" == listed([])
    assert "there is a" == listed(["a"])
    assert "there are a, b" == listed(["a", "b"])
    assert "there are 0, 1, 2, 3, 4 and 1,000 more" == listed([str(n) for n in range(1005)])
