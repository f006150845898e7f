import time

import pytest

from poolmgr.cni.result import CallError
from poolmgr.cni.strict_json import SIZE_LIMIT_BYTES, loads


def test_an_object_is_read():
    raw = '{"a": [1, -2.5, true, null, "ü\\ud83d\\ude00[{"], "b": 18446744073709551615}'

    assert loads(raw.encode()) == {"a": [1, -2.5, True, None, "ü😀[{"], "b": 2**64 - 1}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"{not json", "Expecting property name enclosed in double quotes at line 1, column 2"),
        (b'{"a":1', "Expecting ',' delimiter at line 1, column 7"),
        (b"{} {}", "Extra data at line 1, column 4"),
        (b'{"a":"\n"}', "Invalid control character at at line 1, column 7"),
        (
            b"\xef\xbb\xbf{}",
            "Unexpected UTF-8 BOM (decode using utf-8-sig) at line 1, column 1",
        ),
        (b"[]", "it is not a JSON object"),
        (b'"text"', "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b'{"a":"\xff"}', "byte 6 is not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "byte 0 is not UTF-8"),
        (b'{"a":1,"a":1}', "the key 'a' is given twice in one object"),
        (b'{"x":{"a":1,"\\u0061":1}}', "the key 'a' is given twice in one object"),
        (b'{"a":NaN}', "NaN is not a JSON number"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON number"),
        (b'{"a":1e999}', "the number 1e999 is too large"),
        (
            b'{"a":18446744073709551616}',
            "the integer 18446744073709551616 does not fit in 64 bits",
        ),
        (
            b'{"a":-9223372036854775809}',
            "the integer -9223372036854775809 does not fit in 64 bits",
        ),
        (b'{"a":' + b"9" * 5000 + b"}", f"the integer {'9' * 40} does not fit in 64 bits"),
        (b'{"a":"\\ud800"}', "it holds half of a surrogate pair"),
        (b'{"a":"\\udc00"}', "it holds half of a surrogate pair"),
        (b"[" * 17, "it is nested deeper than 16"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "it is nested deeper than 16"),
        (b"[" * 500_000, "it is nested deeper than 16"),
        (b" " * (SIZE_LIMIT_BYTES + 1), "it exceeds 1,048,576 bytes"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(raw, why):
    with pytest.raises(CallError) as caught:
        loads(raw)

    assert (caught.value.code, str(caught.value)) == (
        6,
        f"the network configuration on standard input is not usable: {why}",
    )


def test_sixteen_levels_are_read():
    raw = b'{"a":' + b"[" * 15 + b"]" * 15 + b"}"

    assert list(loads(raw)) == ["a"]


@pytest.mark.parametrize("raw", [b'\\"' * 500_000, b'"' + b"\\" * 1_000_000, b'["' * 500_000])
def test_looking_for_brackets_takes_time_in_proportion_to_the_length(raw):
    started = time.perf_counter()
    with pytest.raises(CallError):
        loads(raw)

    assert time.perf_counter() - started < 5, "a quadratic search takes minutes"
