"""
What every store does. `test_etcd.py` and `test_memory.py` run this suite, so that the double cannot drift.

A subclass gives the fixtures `store` (empty, without an epoch) and `compact` (a function of a revision).
"""

import threading
from collections.abc import Callable, Mapping

import pytest

from poolmgr.core.txn import (
    EPOCH_KEY,
    Committed,
    Conflict,
    Fetch,
    KeyValue,
    Page,
    Range,
    Reading,
    Txn,
)
from poolmgr.errors import CompactedError, StoreRefusedError
from poolmgr.store.port import Store, pages

Compact = Callable[[int], None]


def put(store: Store, puts: Mapping[str, bytes | str], *deletes: str) -> int:
    """Write without comparing anything but the epoch, and return the revision."""
    values = {key: v if isinstance(v, bytes) else v.encode() for key, v in puts.items()}
    epoch = get(store, EPOCH_KEY)
    txn = Txn(
        expect={},
        puts=values,
        deletes=frozenset(deletes),
        epoch=epoch.value if epoch else None,
    )
    return committed(store.commit(txn))


def get(store: Store, key: str) -> KeyValue | None:
    return store.read(Fetch(keys=frozenset({key}))).found[key]


def value(store: Store, key: str) -> bytes | None:
    found = get(store, key)
    return found.value if found else None


def read_range(store: Store, range_: Range, revision: int | None = None) -> Page:
    return store.read(Fetch(ranges=frozenset({range_})), revision=revision).ranges[range_]


def committed(result: Committed | Conflict) -> int:
    assert isinstance(result, Committed)
    return result.revision


def conflict(result: Committed | Conflict) -> Reading:
    assert isinstance(result, Conflict)
    return result.current


def many(count: int) -> list[str]:
    return [f"/many/{number:04}" for number in range(count)]


class StoreContract:
    def test_an_absent_key_is_found_as_none(self, store: Store):
        reading = store.read(Fetch(keys=frozenset({"/a"})))

        assert reading.found == {"/a": None}

    def test_a_value_comes_back_with_the_revision_of_its_commit(self, store: Store):
        revision = put(store, {"/a": b"\x00\xff"})

        assert get(store, "/a") == KeyValue(value=b"\x00\xff", mod_revision=revision)

    def test_an_empty_value_is_not_an_absent_key(self, store: Store):
        revision = put(store, {"/a": b""})

        assert get(store, "/a") == KeyValue(value=b"", mod_revision=revision)

    def test_keys_and_ranges_are_read_together_at_one_revision(self, store: Store):
        first = put(store, {"/a": "1", "/r/b": "2"})
        second = put(store, {"/r/c": "3", "/s/d": "4"})

        r, s = Range.prefix("/r/"), Range.prefix("/s/")
        reading = store.read(Fetch(keys=frozenset({"/a", "/x"}), ranges=frozenset({r, s})))

        assert reading == Reading(
            found={"/a": KeyValue(value=b"1", mod_revision=first), "/x": None},
            ranges={
                r: Page(
                    items=(
                        ("/r/b", KeyValue(value=b"2", mod_revision=first)),
                        ("/r/c", KeyValue(value=b"3", mod_revision=second)),
                    )
                ),
                s: Page(items=(("/s/d", KeyValue(value=b"4", mod_revision=second)),)),
            },
            revision=second,
        )

    def test_a_fetch_of_nothing_tells_the_revision(self, store: Store):
        revision = put(store, {"/a": "1"})

        assert store.read(Fetch()) == Reading(found={}, revision=revision)

    def test_a_range_is_in_order_of_keys_from_start_to_before_end(self, store: Store):
        put(store, {key: "" for key in ("/r/é", "/r", "/r/b", "/r/", "/r/a", "/r0", "/r/𝄞")})

        page = read_range(store, Range(start="/r/", end="/r0"))

        assert [key for key, _ in page.items] == ["/r/", "/r/a", "/r/b", "/r/é", "/r/𝄞"]

    @pytest.mark.parametrize(
        ("limit", "count", "more"), [(0, 3, False), (2, 2, True), (3, 3, False), (4, 3, False)]
    )
    def test_a_limit_cuts_a_range_and_says_that_more_follows(
        self, store: Store, limit: int, count: int, more: bool
    ):
        put(store, {"/r/a": "", "/r/b": "", "/r/c": ""})

        page = read_range(store, Range.prefix("/r/", limit=limit))

        assert (len(page.items), page.more) == (count, more)

    def test_a_keys_only_range_has_revisions_and_no_values(self, store: Store):
        revision = put(store, {"/r/a": "1"})

        page = read_range(store, Range.prefix("/r/", keys_only=True))

        assert page == Page(items=(("/r/a", KeyValue(value=b"", mod_revision=revision)),))

    def test_a_deleted_key_is_absent_everywhere(self, store: Store):
        put(store, {"/r/a": "1"})
        put(store, {}, "/r/a")

        assert get(store, "/r/a") is None
        assert read_range(store, Range.prefix("/r/")) == Page(items=())

    def test_a_pinned_range_shows_the_past(self, store: Store):
        put(store, {"/r/a": "1", "/r/b": "1"})
        then = put(store, {"/r/a": "2"})
        put(store, {"/r/a": "3", "/r/c": "1"}, "/r/b")

        page = read_range(store, Range.prefix("/r/"), revision=then)

        assert [(key, kv.value) for key, kv in page.items] == [("/r/a", b"2"), ("/r/b", b"1")]

    def test_a_pinned_reading_carries_the_revision_asked_for(self, store: Store):
        then = put(store, {"/a": "1"})
        put(store, {"/a": "2"})

        fetch = Fetch(ranges=frozenset({Range.prefix("/r/")}))

        assert store.read(fetch, revision=then).revision == then

    def test_what_is_compacted_cannot_be_read_but_what_is_not_can(
        self, store: Store, compact: Compact
    ):
        gone = put(store, {"/r/a": "1", "/r/b": "1", "/r/c": "1"})
        kept = put(store, {"/r/a": "2"}, "/r/b")
        put(store, {"/r/a": "3"})
        compact(kept)

        page = read_range(store, Range.prefix("/r/"), revision=kept)

        assert [(key, kv.value) for key, kv in page.items] == [("/r/a", b"2"), ("/r/c", b"1")]
        with pytest.raises(CompactedError):
            read_range(store, Range.prefix("/r/"), revision=gone)

    def test_compacting_leaves_the_present_alone(self, store: Store, compact: Compact):
        old = put(store, {"/a": "1", "/b": "1"})
        now = put(store, {"/c": "1"}, "/b")
        compact(now)

        assert get(store, "/a") == KeyValue(value=b"1", mod_revision=old)
        assert get(store, "/b") is None

    def test_a_future_revision_cannot_be_read(self, store: Store):
        revision = put(store, {"/a": "1"})

        with pytest.raises(CompactedError):
            read_range(store, Range.prefix("/r/"), revision=revision + 1)

    def test_pages_do_not_see_what_is_written_meanwhile(self, store: Store):
        put(store, {f"/r/{n}": "old" for n in range(5)})
        reader = pages(store, Range.prefix("/r/"), page_size=2)

        seen = [next(reader)]
        put(store, {"/r/3": "new", "/r/9": "new"}, "/r/4")
        seen += reader

        assert [[(key, kv.value) for key, kv in page.items] for page in seen] == [
            [("/r/0", b"old"), ("/r/1", b"old")],
            [("/r/2", b"old"), ("/r/3", b"old")],
            [("/r/4", b"old")],
        ]

    def test_revision_0_lets_a_key_be_created_once(self, store: Store):
        create = Txn(expect={"/a": 0}, puts={"/a": b"1"})

        first = committed(store.commit(create))
        current = conflict(store.commit(create))

        assert current.found["/a"] == KeyValue(value=b"1", mod_revision=first)

    def test_a_key_at_the_expected_revision_is_replaced(self, store: Store):
        first = put(store, {"/a": "1"})

        second = committed(store.commit(Txn(expect={"/a": first}, puts={"/a": b"2"})))

        assert get(store, "/a") == KeyValue(value=b"2", mod_revision=second)

    def test_a_key_that_has_moved_on_stops_the_whole_transaction(self, store: Store):
        first = put(store, {"/a": "1", "/c": "1"})
        second = put(store, {"/a": "2"})

        result = store.commit(
            Txn(
                expect={"/a": first, "/b": 0},
                puts={"/a": b"3", "/b": b"3"},
                deletes=frozenset({"/c"}),
            )
        )

        assert conflict(result).found["/a"] == KeyValue(value=b"2", mod_revision=second)
        assert [value(store, key) for key in ("/a", "/b", "/c")] == [b"2", None, b"1"]

    def test_a_deleted_key_is_a_conflict_that_shows_it_absent(self, store: Store):
        first = put(store, {"/a": "1"})
        put(store, {}, "/a")

        result = store.commit(Txn(expect={"/a": first}, puts={"/a": b"2"}))

        assert conflict(result).found["/a"] is None

    def test_a_key_that_was_deleted_and_created_again_has_another_revision(self, store: Store):
        first = put(store, {"/a": "1"})
        put(store, {}, "/a")
        put(store, {"/a": "1"})

        result = store.commit(Txn(expect={"/a": first}, puts={"/a": b"2"}))

        conflict(result)
        assert value(store, "/a") == b"1"

    def test_an_unchanged_range_lets_the_commit_pass(self, store: Store):
        then = put(store, {"/r/a": "1"})
        put(store, {"/other": "1"})

        result = store.commit(
            Txn(expect={}, unchanged={Range.prefix("/r/"): then}, puts={"/x": b"1"})
        )

        committed(result)

    def test_an_empty_range_is_unchanged(self, store: Store):
        result = store.commit(
            Txn(expect={}, unchanged={Range.prefix("/r/"): 0}, puts={"/x": b"1"})
        )

        committed(result)

    @pytest.mark.parametrize("changed", ["/r/a", "/r/new"])
    def test_an_edit_or_addition_in_a_range_stops_the_commit(self, store: Store, changed: str):
        then = put(store, {"/r/a": "1"})
        put(store, {changed: "2"})

        range_ = Range.prefix("/r/")
        result = store.commit(Txn(expect={}, unchanged={range_: then}, puts={"/x": b"1"}))

        assert dict(conflict(result).ranges[range_].items)[changed].value == b"2"
        assert get(store, "/x") is None

    def test_a_deletion_alone_leaves_a_range_unchanged(self, store: Store):
        then = put(store, {"/r/a": "1", "/r/b": "1"})
        put(store, {}, "/r/b")

        result = store.commit(
            Txn(expect={}, unchanged={Range.prefix("/r/"): then}, puts={"/x": b"1"})
        )

        committed(result)

    def test_no_epoch_means_that_there_must_be_none(self, store: Store):
        put(store, {EPOCH_KEY: "e1"})

        result = store.commit(Txn(expect={}, puts={"/x": b"1"}))

        found = conflict(result).found[EPOCH_KEY]
        assert found is not None
        assert found.value == b"e1"

    def test_the_right_epoch_lets_the_commit_pass(self, store: Store):
        put(store, {EPOCH_KEY: "e1"})

        committed(store.commit(Txn(expect={}, epoch=b"e1", puts={"/x": b"1"})))

    def test_another_epoch_stops_the_commit(self, store: Store):
        put(store, {EPOCH_KEY: "e2"})

        conflict(store.commit(Txn(expect={}, epoch=b"e1", puts={"/x": b"1"})))

        assert get(store, "/x") is None

    def test_an_epoch_that_is_absent_equals_no_value(self, store: Store):
        conflict(store.commit(Txn(expect={}, epoch=b"", puts={"/x": b"1"})))

        assert get(store, "/x") is None

    def test_the_epoch_can_be_created_by_the_transaction_that_finds_it_absent(
        self, store: Store
    ):
        result = store.commit(Txn(expect={EPOCH_KEY: 0}, puts={EPOCH_KEY: b"e1"}))

        committed(result)
        assert value(store, EPOCH_KEY) == b"e1"

    def test_a_conflict_shows_everything_compared_at_one_revision(self, store: Store):
        first = put(store, {"/a": "1", "/r/b": "2", EPOCH_KEY: "e1"})
        range_ = Range.prefix("/r/")

        result = store.commit(
            Txn(
                expect={"/a": first, "/absent": 7},
                unchanged={range_: first},
                epoch=b"e1",
                puts={"/written": b"1"},
            )
        )

        assert result == Conflict(
            current=Reading(
                found={
                    "/a": KeyValue(value=b"1", mod_revision=first),
                    "/absent": None,
                    EPOCH_KEY: KeyValue(value=b"e1", mod_revision=first),
                },
                ranges={
                    range_: Page(items=(("/r/b", KeyValue(value=b"2", mod_revision=first)),))
                },
                revision=first,
            )
        )

    def test_all_puts_and_deletes_share_one_revision(self, store: Store):
        before = put(store, {"/a": "1"})

        revision = put(store, {"/b": "1", "/c": "1"}, "/a")

        reading = store.read(Fetch(keys=frozenset({"/a", "/b", "/c"})))
        written = KeyValue(value=b"1", mod_revision=revision)
        assert reading.found == {"/a": None, "/b": written, "/c": written}
        assert revision == before + 1

    def test_a_check_writes_nothing_and_tells_the_revision(self, store: Store):
        revision = put(store, {"/a": "1"})

        result = store.commit(Txn(expect={"/a": revision, "/b": 0}))

        assert result == Committed(revision=revision)

    def test_deleting_what_is_absent_makes_no_revision(self, store: Store):
        revision = put(store, {"/a": "1"})

        result = store.commit(Txn(expect={}, deletes=frozenset({"/b"})))

        assert result == Committed(revision=revision)

    def test_of_rival_writers_one_wins_each_time(self, store: Store):
        put(store, {"/n": "0"})

        def count_up() -> None:
            for _ in range(10):
                while True:
                    found = get(store, "/n")
                    assert found is not None
                    more = str(int(found.value) + 1).encode()
                    result = store.commit(
                        Txn(expect={"/n": found.mod_revision}, puts={"/n": more})
                    )
                    if isinstance(result, Committed):
                        break

        threads = [threading.Thread(target=count_up) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert value(store, "/n") == b"40"

    def test_128_operations_are_fine(self, store: Store):
        keys = many(128)

        committed(
            store.commit(Txn(expect=dict.fromkeys(keys[1:], 0), puts=dict.fromkeys(keys, b"1")))
        )
        reading = store.read(Fetch(keys=frozenset(keys)))

        assert all(reading.found.values())

    @pytest.mark.parametrize(
        "txn",
        [
            pytest.param(Txn(expect={}, puts=dict.fromkeys(many(129), b"1")), id="puts"),
            pytest.param(Txn(expect={}, deletes=frozenset(many(129))), id="deletes"),
            pytest.param(
                Txn(expect={}, puts=dict.fromkeys(many(128), b"1"), deletes=frozenset({"/d"})),
                id="puts and deletes",
            ),
            pytest.param(
                Txn(expect=dict.fromkeys(many(128), 0), puts={"/many/0000": b"1"}),
                id="compares with the epoch's",
            ),
            pytest.param(
                Txn(expect={}, puts={"/many/0000": b"1"}, deletes=frozenset({"/many/0000"})),
                id="a key twice",
            ),
            pytest.param(Txn(expect={}, puts={"/many/0000": b"x" * 1_600_000}), id="1.6 MB"),
            pytest.param(Txn(expect={}, puts={"/many/0000": b"x" * 3_000_000}), id="3 MB"),
        ],
    )
    def test_what_etcd_does_not_take_is_refused_and_not_written(self, store: Store, txn: Txn):
        with pytest.raises(StoreRefusedError):
            store.commit(txn)

        assert read_range(store, Range.prefix("/many/")) == Page(items=())

    def test_a_read_of_129_keys_is_refused(self, store: Store):
        with pytest.raises(StoreRefusedError):
            store.read(Fetch(keys=frozenset(many(129))))

    def test_a_request_of_1_4_mb_is_fine(self, store: Store):
        committed(store.commit(Txn(expect={}, puts={"/a": b"x" * 1_400_000})))

    def test_closing_twice_is_fine(self, store: Store):
        store.close()
        store.close()
