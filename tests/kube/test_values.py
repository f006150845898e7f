import json

import pytest

from poolmgr.cidr import parse_address
from poolmgr.kube.values import (
    addresses_of,
    candidates_of,
    families_of,
    identity_of,
    loads,
    one_per_family,
    pool,
    pools_of,
    retention_of,
    shown,
)

HOUR_S = 3600


def ip(text):
    return parse_address(text)


def test_a_text_is_shown_on_one_line_and_not_at_full_length():
    assert (shown('["a"]\n'), len(shown("x" * 1000))) == ("'[\"a\"]\\n'", 205)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is not JSON: .* at column 2"),
        ('{"a": 1, "a": 2}', "a key is given twice"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "integer string"),
    ],
)
def test_what_is_not_json_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        loads(text)


@pytest.mark.parametrize(
    ("value", "families"),
    [(["IPv4"], (4,)), (["IPv6"], (6,)), (["IPv6", "IPv4", "IPv6"], (4, 6))],
)
def test_families_are_told_by_name(value, families):
    assert families_of(value) == families


@pytest.mark.parametrize("value", [[], ["ipv4"], ["IPv4", "x"], [4], "IPv4", None, {}])
def test_other_families_are_refused(value):
    with pytest.raises(ValueError, match=r"famil|list of strings"):
        families_of(value)


@pytest.mark.parametrize(
    ("family", "value", "pools"),
    [
        (4, ["lan", "10.0.0.7/24"], ("lan", "10.0.0.0/24")),
        (6, ["FD00:0::/64"], ("fd00::/64",)),
        (4, [], ()),
    ],
)
def test_pools_are_names_or_cidrs(family, value, pools):
    assert pools_of(family)(value) == pools


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("", "empty string"),
        ("fd00::/64", "IPv6"),
        ("a/b", "address/length"),
        ("1.2.3/8", "1.2"),
    ],
)
def test_other_pools_are_refused(entry, why):
    with pytest.raises(ValueError, match=why):
        pool(entry, 4)


def test_addresses_are_at_most_one_of_a_family_and_ipv4_comes_first():
    assert addresses_of(["fd00::5", "10.0.0.5"]) == (ip("10.0.0.5"), ip("fd00::5"))
    assert one_per_family([ip("10.0.0.5"), ip("10.0.0.5")]) == (ip("10.0.0.5"),)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (["10.0.0.5", "10.0.0.6"], "10.0.0.5 and 10.0.0.6 are both IPv4"),
        ([], "names no address"),
        (["10.0.0.5/32"], "10.0.0.5/32"),
        (["10.0.0.05"], "10.0.0.05"),
        (["host"], "host"),
        ([5], "list of strings"),
        ("10.0.0.5", "list of strings"),
    ],
)
def test_other_addresses_are_refused(value, why):
    with pytest.raises(ValueError, match=why):
        addresses_of(value)


@pytest.mark.parametrize(
    "value",
    [
        "10.0.0.5, 10.0.0.8-10.0.0.9,fd00::/126 ,10.0.1.0/30",
        '["10.0.0.5", "10.0.0.8 - 10.0.0.9", "fd00::/126", "10.0.1.0/30"]',
        ["10.0.0.5", "10.0.0.8-10.0.0.9", "fd00::-fd00::3", "10.0.1.0-10.0.1.3"],
    ],
)
def test_candidates_are_addresses_ranges_and_cidrs_in_order(value):
    assert candidates_of(value) == {
        4: (
            (ip("10.0.0.5"), ip("10.0.0.5")),
            (ip("10.0.0.8"), ip("10.0.0.9")),
            (ip("10.0.1.0"), ip("10.0.1.3")),
        ),
        6: ((ip("fd00::"), ip("fd00::3")),),
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("10.0.0.5,", "does not appear"),
        ("10.0.0.9-10.0.0.8", "is not a range"),
        ("10.0.0.9-fd00::1", "is not a range"),
        ("10.0.0.5/24", "host bits"),
        ("10.0.0.1-10.0.0.2-10.0.0.3", "does not appear"),
        ("[]", "it has 0 entries"),
        (["10.0.0.1"] * 257, "it has 257 entries"),
        ("[1]", "list of strings"),
        ('{"a": "b"}', "does not appear"),
        (7, "list of strings"),
    ],
)
def test_other_candidates_are_refused(value, why):
    with pytest.raises(ValueError, match=why):
        candidates_of(value)


def test_as_many_candidates_as_allowed_are_taken():
    assert len(candidates_of(json.dumps(["10.0.0.1"] * 256))[4]) == 256


@pytest.mark.parametrize(
    ("value", "identity"),
    [("true", "true"), (True, "true"), (False, "false"), ("web", "web"), ("a-0", "a-0")],
)
def test_identities_are_words_of_dns(value, identity):
    assert identity_of(value) == identity
    assert identity_of("a" * 63) == "a" * 63


@pytest.mark.parametrize(
    "value", ["a.b", "Web", "-a", "a-", "", "a" * 64, "a_b", "é", 1, [], "a\n"]
)
def test_other_identities_are_refused(value):
    with pytest.raises(ValueError, match="write"):
        identity_of(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("24h", 24 * HOUR_S),
        ("90m", 5400),
        ("7d", 7 * 24 * HOUR_S),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1500ms", 1),
        ("1s", 1),
        ("36600d", 100 * 366 * 24 * HOUR_S),
        ("forever", None),
    ],
)
def test_retentions_are_durations(value, seconds):
    assert retention_of(value) == (seconds,)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "24",
        "h",
        "-1h",
        "1h 30m",
        "0s",
        "999ms",
        "36601d",
        "1w",
        "1h!",
        "for ever",
        "1e3s",
        24,
        None,
        "٣h",
    ],
)
def test_other_retentions_are_refused(value):
    with pytest.raises(ValueError, match='"forever" or a time'):
        retention_of(value)
