"""Keys, ranges and transactions."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poolmgr.core.txn import EPOCH_KEY, Fetch, Range, Txn, prefix_end

# Characters where UTF-8 gets longer, where surrogates are left out, and the last one.
EDGES = "\0a\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff"
KEYS = st.text(st.sampled_from(EDGES), max_size=4) | st.text(max_size=8)


PREFIXES = KEYS.filter(lambda text: text.strip("\U0010ffff") != "")


@st.composite
def prefixes_with_neighbours(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a prefix, and a key that shares part of it."""
    prefix = draw(PREFIXES)
    return prefix, prefix[: draw(st.integers(0, len(prefix)))] + draw(KEYS)


@given(prefix=PREFIXES, rest=KEYS)
def test_prefix_end_is_above_every_key_with_the_prefix(prefix: str, rest: str):
    assert (prefix + rest).encode() < prefix_end(prefix).encode()


@given(prefixes_with_neighbours())
def test_no_lower_key_is_above_every_key_with_the_prefix(pair: tuple[str, str]):
    prefix, key = pair
    assume(key.encode() < prefix_end(prefix).encode())

    assert key.encode() < (prefix + "\U0010ffff" * (len(key) + 1)).encode()


@given(prefixes_with_neighbours())
def test_a_range_of_a_prefix_holds_just_the_keys_with_the_prefix(pair: tuple[str, str]):
    prefix, key = pair

    assert (key in Range.prefix(prefix)) == key.startswith(prefix)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("/a/", "/a0"),
        ("a\x7f", "a\x80"),
        ("\ud7ff", "\ue000"),
        ("a\U0010ffff", "b"),
        ("a\U0010ffff\U0010ffff", "b"),
    ],
)
def test_prefix_end_raises_the_last_character_that_can_be_raised(prefix: str, end: str):
    assert prefix_end(prefix) == end


@pytest.mark.parametrize("prefix", ["", "\U0010ffff", "\U0010ffff\U0010ffff"])
def test_a_prefix_with_no_key_above_it_has_no_end(prefix: str):
    with pytest.raises(ValueError, match="no key lies above"):
        prefix_end(prefix)


@given(left=KEYS, right=KEYS)
def test_texts_are_ordered_as_their_utf8_bytes_are(left: str, right: str):
    """Which lets `in` compare texts, and the store in memory keep its keys in order."""
    assert (left < right) == (left.encode() < right.encode())


@pytest.mark.parametrize(
    ("key", "inside"), [("/q", False), ("/r/", True), ("/r/a", True), ("/r0", False)]
)
def test_a_range_holds_the_keys_from_start_to_before_end(key: str, inside: bool):
    assert (key in Range.prefix("/r/")) == inside


def test_the_next_page_starts_right_after_the_last_key():
    page = Range.prefix("/r/", limit=2, keys_only=True).after("/r/b")

    assert page == Range(start="/r/b\0", end="/r0", limit=2, keys_only=True)
    assert "/r/b" not in page


def test_fetches_add_up():
    a, b = Range.prefix("/a/"), Range.prefix("/b/")
    both = Fetch(keys=frozenset("xy"), ranges=frozenset({a})) | Fetch(
        keys=frozenset("yz"), ranges=frozenset({b})
    )

    assert both == Fetch(keys=frozenset("xyz"), ranges=frozenset({a, b}))
    assert len(both) == 5


def test_to_learn_of_a_transaction_is_to_fetch_all_it_compares_or_touches():
    range_ = Range.prefix("/r/")
    txn = Txn(
        expect={"/compared": 3, "/put": 0},
        unchanged={range_: 9},
        puts={"/put": b""},
        deletes=frozenset({"/deleted"}),
    )

    assert Fetch.of(txn) == Fetch(
        keys=frozenset({EPOCH_KEY, "/compared", "/put", "/deleted"}), ranges=frozenset({range_})
    )


@pytest.mark.parametrize(
    ("txn", "operations"),
    [
        (Txn(expect={}), 1),
        (Txn(expect={"/a": 0, "/b": 0}, unchanged={Range.prefix("/r/"): 1}), 4),
        (Txn(expect={"/a": 0}, puts={"/a": b"", "/b": b""}, deletes=frozenset({"/c"})), 3),
    ],
)
def test_operations_are_the_longest_of_the_lists_that_etcd_limits(txn: Txn, operations: int):
    assert txn.operations() == operations


def test_size_counts_the_bytes_of_keys_and_values():
    txn = Txn(expect={"/é": 0}, puts={"/ab": b"\0\0"}, deletes=frozenset({"/abcd"}))

    assert txn.size_bytes() == 3 + 3 + 2 + 5
