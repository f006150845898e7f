"""What is known, and which of two facts wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.core.snapshot import Fact, Snapshot, probe
from poolmgr.core.txn import EPOCH_KEY, KeyValue, Page, Range, Reading, Txn
from tests.strategies import QUICK
from tests.support.facts import known, reading

ALL = Range.prefix("/r/")
OTHER = Range.prefix("/s/")


def values(snapshot: Snapshot, range_: Range = ALL) -> dict[str, bytes]:
    return {key: kv.value for key, kv in snapshot.items(range_)}


def value_of(snapshot: Snapshot, key: str) -> bytes | None:
    fact = snapshot.find(key)
    assert fact is not None
    return None if fact.value is None else fact.value.value


# Finding


def test_nothing_is_known_at_first():
    assert Snapshot().find("/r/a") is None
    assert Snapshot().exists("/r/a") is None


def test_absent_is_a_fact():
    snapshot = known({"/r/a": None})

    assert Fact(None, 9) == snapshot.find("/r/a")
    assert snapshot.exists("/r/a") is False


def test_a_range_tells_about_every_key_in_it():
    snapshot = known({"/r/a": b"1"}, ALL)

    assert b"1" == value_of(snapshot, "/r/a")
    assert value_of(snapshot, "/r/b") is None
    assert snapshot.find("/s/a") is None


@pytest.mark.parametrize(("range_revision", "value"), [(8, b"key"), (10, b"range")])
def test_the_newer_of_key_and_range_wins(range_revision, value):
    snapshot = known({"/r/a": b"key"}, revision=9)
    page = Page(items=(("/r/a", KeyValue(value=b"range", mod_revision=4)),))

    snapshot = snapshot.merge(Reading(found={}, ranges={ALL: page}, revision=range_revision))

    assert value == value_of(snapshot, "/r/a")
    assert {"/r/a": value} == values(snapshot)


def test_a_probe_tells_whether_a_key_exists_and_no_value():
    there = Page(items=(("/r/a", KeyValue(value=b"", mod_revision=4)),))
    pages = {probe("/r/a"): there, probe("/r/b"): Page(items=())}
    snapshot = Snapshot().merge(Reading(found={}, ranges=pages, revision=9))

    assert snapshot.find("/r/a") is None
    assert snapshot.exists("/r/a") is True
    assert Fact(None, 9) == snapshot.find("/r/b")
    assert snapshot.exists("/r/b") is False


def test_a_probe_holds_its_key_alone():
    assert "/r/a" in probe("/r/a")
    assert "/r/a\0" not in probe("/r/a")


def test_a_range_is_had_once_it_was_read_whole_or_as_a_page():
    page = Range.prefix("/s/", limit=2)
    snapshot = known({"/r/a": b"1", "/t/a": None}, ALL, page)

    assert [True, True, False] == [snapshot.has(range_) for range_ in (ALL, page, OTHER)]


def test_a_range_is_listed_in_the_order_of_bytes_with_newer_keys_laid_over_it():
    snapshot = known({"/r/b": b"old", "/r/gone": b"old", "/r/stays": b"old"}, ALL, revision=5)
    newer = {
        "/r/b": b"new",
        "/r/gone": None,
        "/r/a": b"new",
        "/r/\U00010000": b"n",
        "/r/\uffff": b"n",
    }

    snapshot = snapshot.merge(reading({**newer, "/s/a": b"elsewhere"}, revision=6))

    assert ["/r/a", "/r/b", "/r/stays", "/r/\uffff", "/r/\U00010000"] == list(values(snapshot))
    assert b"new" == values(snapshot)["/r/b"]


# Merging


def test_a_newer_absent_wins_over_an_older_value():
    old = reading({"/r/a": b"value"}, revision=5, mod_revision=5)
    new = reading({"/r/a": None}, revision=8)

    assert value_of(Snapshot().merge(old).merge(new), "/r/a") is None
    assert value_of(Snapshot().merge(new).merge(old), "/r/a") is None


def test_an_older_listing_does_not_replace_a_newer_one():
    page = Range.prefix("/s/", limit=2)
    old, new = (
        reading({"/r/a": b"1"}, ALL, page, revision=5),
        reading({}, ALL, page, revision=8),
    )

    snapshot = Snapshot().merge(new).merge(old)

    assert (8, 8) == (snapshot.ranges[ALL].revision, snapshot.pages[page].revision)


def test_ranges_with_a_limit_or_without_values_are_pages():
    limited, keys_only = Range.prefix("/r/", limit=2), Range.prefix("/r/", keys_only=True)

    snapshot = known({}, ALL, limited, keys_only)

    assert ({ALL}, {limited, keys_only}) == (set(snapshot.ranges), set(snapshot.pages))


@QUICK
@given(st.data())
def test_the_order_of_arrival_does_not_matter(data):
    keys = ["/r/a", "/r/b", "/r/c"]
    readings = []
    history: dict[str, bytes | None] = dict.fromkeys(keys)
    for revision in range(1, 7):
        history[data.draw(st.sampled_from(keys))] = data.draw(
            st.none() | st.just(b"%d" % revision)
        )
        asked = data.draw(st.sets(st.sampled_from(keys)))
        listed = [ALL] if data.draw(st.booleans()) else []
        if listed:
            full = reading(history, ALL, revision=revision)
            found = {key: full.found[key] for key in asked}
            readings.append(Reading(found=found, ranges=full.ranges, revision=revision))
        else:
            readings.append(reading({key: history[key] for key in asked}, revision=revision))
    in_order, shuffled = Snapshot(), Snapshot()
    for one in readings:
        in_order = in_order.merge(one)
    for one in data.draw(st.permutations(readings)):
        shuffled = shuffled.merge(one)

    assert in_order == shuffled
    for key in keys:
        asked_last = [r for r in readings if key in r.found or ALL in r.ranges]
        assert bool(asked_last) == (in_order.find(key) is not None)


# The epoch


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        pytest.param(b"one", b"one", True, id="the same"),
        pytest.param(b"one", b"two", False, id="another"),
        pytest.param(b"one", None, False, id="gone"),
        pytest.param(None, b"one", True, id="the first"),
        pytest.param(None, None, True, id="none yet"),
    ],
)
def test_another_epoch_means_other_data(before, after, kept):
    snapshot = known({EPOCH_KEY: before, "/r/a": b"1"}, ALL, Range.prefix("/s/", limit=1))

    snapshot = snapshot.merge(reading({EPOCH_KEY: after, "/t/a": b"2"}, revision=12))

    assert kept == (snapshot.find("/r/a") is not None)
    assert kept == bool(snapshot.ranges)
    assert kept == bool(snapshot.pages)
    assert b"2" == value_of(snapshot, "/t/a")


def test_without_a_word_about_the_epoch_it_is_believed_to_be_the_same():
    snapshot = known({EPOCH_KEY: b"one", "/r/a": b"1"}).merge(
        reading({"/r/b": b"2"}, revision=12)
    )

    assert b"1" == value_of(snapshot, "/r/a")


# Committing


def test_a_commit_teaches_what_it_wrote():
    snapshot = known({"/r/a": b"1", "/r/b": b"1", "/r/c": b"1"}, ALL)
    txn = Txn(expect={}, puts={"/r/a": b"2", "/r/new": b"2"}, deletes=frozenset({"/r/b"}))

    snapshot = snapshot.apply(txn, 12)

    assert {"/r/a": b"2", "/r/c": b"1", "/r/new": b"2"} == values(snapshot)
    assert {"/r/a", "/r/new"} == snapshot.merge(reading({}, revision=13)).written
    assert Fact(KeyValue(value=b"2", mod_revision=12), 12) == snapshot.find("/r/a")
    assert Fact(None, 12) == snapshot.find("/r/b")
    assert 9 == snapshot.ranges[ALL].revision


def test_a_commit_proves_that_the_ranges_it_compared_have_nothing_new():
    before = known({"/r/a": b"1", "/r/b": b"1", "/s/a": b"1"}, ALL, OTHER)
    txn = Txn(expect={}, unchanged={ALL: 9}, puts={"/r/c": b"2"}, deletes=frozenset({"/r/b"}))

    snapshot = before.apply(txn, 12)

    assert {"/r/a": b"1", "/r/c": b"2"} == values(snapshot)
    assert (12, 9) == (snapshot.ranges[ALL].quiet_until, snapshot.ranges[OTHER].quiet_until)
    assert 9 == snapshot.ranges[ALL].revision
    assert {"/r/a": b"1", "/r/b": b"1"} == values(before)


@pytest.mark.parametrize(("stored", "exists"), [((), False), ((("/r/a", b"1"),), True)])
def test_a_newer_probe_wins_over_an_older_absence(stored, exists):
    older = Snapshot().merge(Reading(found={"/r/a": None}, revision=5))
    items = tuple((k, KeyValue(value=v, mod_revision=8)) for k, v in stored)

    newer = older.merge(
        Reading(found={}, ranges={probe("/r/a"): Page(items=items)}, revision=9)
    )

    assert newer.exists("/r/a") is exists
    assert (newer.find("/r/a") is None) is exists


def test_a_newer_probe_that_finds_the_key_leaves_its_value_as_it_was_read():
    there = Page(items=(("/r/a", KeyValue(value=b"", mod_revision=4)),))

    snapshot = known({"/r/a": b"1"}).merge(
        Reading(found={}, ranges={probe("/r/a"): there}, revision=12)
    )

    assert b"1" == value_of(snapshot, "/r/a")


# Forgetting


def test_a_full_block_is_forgotten_and_known_to_be_full():
    snapshot = known({"/r/a": b"1", "/r/b": b"1"})

    after = snapshot.forget(frozenset({"/r/a"}))

    assert (None, b"1") == (after.find("/r/a"), value_of(after, "/r/b"))
    assert frozenset({"/r/a"}) == after.full
    assert b"1" == value_of(snapshot, "/r/a")


def test_what_is_forgotten_adds_up():
    snapshot = known({}).forget(frozenset({"/r/a"})).forget(frozenset({"/r/b"}))

    assert frozenset({"/r/a", "/r/b"}) == snapshot.full
    assert snapshot is snapshot.forget(frozenset())


def test_a_block_that_is_read_again_is_not_believed_to_be_full():
    snapshot = known({}).forget(frozenset({"/r/a", "/r/b"}))

    assert frozenset({"/r/b"}) == snapshot.merge(reading({"/r/a": b"2"}, revision=12)).full


def test_another_epoch_drops_what_was_full():
    snapshot = known({EPOCH_KEY: b"one"}).forget(frozenset({"/r/a"}))

    assert frozenset() == snapshot.merge(reading({EPOCH_KEY: b"two"}, revision=12)).full


def test_what_was_worked_out_from_pages_is_kept_until_the_epoch_changes():
    snapshot = known({EPOCH_KEY: b"one"})
    snapshot.memo["name"] = ()
    txn = Txn(expect={}, puts={"/r/a": b"2"})

    for later in (
        snapshot.forget(frozenset({"/r/a"})),
        snapshot.apply(txn, 12),
        snapshot.merge(reading({"/r/b": b"1"}, revision=12)),
    ):
        assert {"name": ()} == later.memo
    assert {} == snapshot.merge(reading({EPOCH_KEY: b"two"}, revision=12)).memo
