"""The allocation block: single rules and properties; recorded sequences are in tests/interop."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.block import (
    Attribute,
    Block,
    HostReserved,
    assign,
    auto_assign,
    check_release,
    collect,
    new_block,
    release,
    rfc3339,
    time_ns,
)
from poolmgr.core.reservation import AddressSet
from poolmgr.errors import StaleReleaseError
from tests.strategies import QUICK, blocks, networks
from tests.support.facts import SECOND, assert_sound, block_of
from tests.support.world import NOON_NS


def taken(
    cidr: str, owners: dict[int, Attribute | str], numbers: dict[int, int] | None = None
) -> Block:
    """A block with these ordinals taken; a handle stands for an attribute with nothing else."""
    block = new_block(parse_network(cidr), "host:node-a", 1000)
    for ordinal, owner in owners.items():
        block = assign(
            block, ordinal, Attribute(handle=owner) if isinstance(owner, str) else owner
        )
    return replace(block, sequence_numbers={**block.sequence_numbers, **(numbers or {})})


# New blocks, and who owns what


@pytest.mark.parametrize("cidr", ["10.0.0.0/30", "fd00::/126"])
def test_a_new_block_is_free_in_ascending_order_and_numbered_by_the_clock(cidr):
    block = new_block(parse_network(cidr), "host:node-a", NOON_NS)

    assert_sound(block)
    assert (4, (0, 1, 2, 3)) == (block.size, block.unallocated)
    assert (NOON_NS, {}) == (block.sequence_number, block.sequence_numbers)
    assert ("host:node-a", rfc3339(NOON_NS)) == (block.affinity, block.claimed_at)
    assert block.empty


@pytest.mark.parametrize(
    ("first", "last", "kept", "free"),
    [
        pytest.param(2, 1, (0, 1, 3), (2,), id="HR-01"),
        pytest.param(0, 1, (3,), (0, 1, 2), id="the end only"),
        pytest.param(1, 0, (0,), (1, 2, 3), id="the start only"),
        pytest.param(2, 2, (0, 1, 2, 3), (), id="the whole block"),
        pytest.param(0, 0, (), (0, 1, 2, 3), id="nothing"),
    ],
)
def test_what_the_host_keeps_of_a_block_is_taken_from_the_start(first, last, kept, free):
    reserved = HostReserved(first=first, last=last, handle="kept", note="for the host")

    block = new_block(parse_network("10.0.0.0/30"), "host:node-a", NOON_NS, reserved)

    assert_sound(block)
    assert (kept, free) == (block.ordinals_of("kept"), block.unallocated)
    assert first + last == reserved.count
    assert {} == block.sequence_numbers
    assert [{"note": "for the host"}] * bool(kept) == [a.secondary for a in block.attributes]


def test_what_the_host_keeps_without_a_note_has_none():
    reserved = HostReserved(first=1, last=0, handle="kept")

    block = new_block(parse_network("10.0.0.0/30"), "host:node-a", NOON_NS, reserved)

    assert (Attribute(handle="kept", secondary={"note": ""}),) == block.attributes


@pytest.mark.parametrize(
    ("owner", "empty"),
    [
        pytest.param(Attribute(handle="windows-reserved-ipam-handle"), True, id="HR-03"),
        pytest.param(
            Attribute(handle="Windows-Reserved-IPAM-Handle"), True, id="HR-03 in other case"
        ),
        pytest.param(Attribute(released_at="2026-11-23T19:42:03Z"), False, id="CD-15"),
        pytest.param(Attribute(handle="net1.c1"), False, id="owned"),
        pytest.param(Attribute(), False, id="owned by nobody"),
    ],
)
def test_a_block_is_empty_when_nobody_owns_an_address_of_it(owner, empty):
    assert empty == taken("100.64.0.0/24", {255: owner}).empty


def test_ordinals_of_a_handle_are_found_whatever_entry_they_share():
    """RH-09."""
    block = taken(
        "100.64.0.0/24",
        {
            3: "singleton",
            10: "tens",
            20: "tens",
            34: Attribute(handle="thirties", secondary={"pod": "a"}),
            33: Attribute(handle="thirties", secondary={"pod": "b"}),
            40: "junk\rbehind",
        },
    )

    assert () == block.ordinals_of("no-such-handle")
    assert (3,) == block.ordinals_of("singleton")
    assert (10, 20) == block.ordinals_of("tens")
    assert (33, 34) == block.ordinals_of("thirties")
    assert (40,) == block.ordinals_of("junk")


def test_the_owner_is_the_handle_without_junk_behind_a_carriage_return():
    assert "net1.c1" == Attribute(handle="net1.c1\rjunk").owner
    assert Attribute().owner is None


def test_an_address_is_owned_by_the_entry_of_its_ordinal():
    block = taken("10.0.0.0/30", {2: "c1"})

    assert Attribute(handle="c1") == block.attribute_of(parse_address("10.0.0.2"))
    assert block.attribute_of(parse_address("10.0.0.1")) is None
    with pytest.raises(ValueError, match="is not in block"):
        block.attribute_of(parse_address("10.0.0.4"))


# Assigning


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_as_many_addresses_are_assigned_as_are_wanted_or_left(count):
    before = block_of("10.0.0.0/30")

    block, ordinals = auto_assign(before, count, Attribute(handle="c1"))

    assert tuple(range(min(count, 4))) == ordinals
    assert_sound(block)
    assert before.sequence_number + (1 if count else 0) == block.sequence_number


def test_what_is_blocked_keeps_its_place_in_the_queue():
    block, ordinals = auto_assign(
        block_of("10.0.0.0/29", "old"),
        3,
        Attribute(handle="c1"),
        blocked=AddressSet.of(["10.0.0.1", "10.0.0.4/31"]),
    )

    assert (2, 3, 6) == ordinals
    assert (1, 4, 5, 7) == block.unallocated


def test_a_block_without_anything_to_give_is_not_written():
    full, reserved = block_of("10.0.0.0/31", "a", "b"), block_of("10.0.0.2/31")

    assert (full, ()) == auto_assign(full, 1, Attribute())
    assert (reserved, ()) == auto_assign(
        reserved, 1, Attribute(), blocked=AddressSet.of(["10.0.0.0/24"])
    )


def test_equal_owners_share_an_entry_and_others_do_not():
    c1, c2 = Attribute(handle="c1"), Attribute(handle="c1", secondary={"node": "node-a"})

    block = taken("10.0.0.0/29", {5: c1, 0: c2, 3: c1, 4: replace(c1, extra={"future": 1})})

    assert (c1, c2, replace(c1, extra={"future": 1})) == block.attributes
    assert (1, None, None, 0, 2, 0, None, None) == block.allocations


def test_a_taken_ordinal_is_never_assigned_again():
    with pytest.raises(AssertionError):
        assign(block_of("10.0.0.0/30", "c1"), 0, Attribute(handle="c2"))


@pytest.mark.parametrize("bump", [True, False])
def test_sq_06_the_number_before_the_write_is_recorded(bump):
    block = replace(
        new_block(parse_network("192.168.0.0/26"), "host:node-a", 0), sequence_number=0
    )

    block = assign(block, 1, Attribute())

    assert ({1: 0}, 1) == (block.sequence_numbers, block.sequence_number)
    cooling = release(block, [1], now_ns=NOON_NS, cooldown_s=60, bump=bump)
    assert ({1: 1 if bump else 0}, 2) == (cooling.sequence_numbers, cooling.sequence_number)


# Releasing

LUCKY = Attribute(handle="lucky")


@pytest.mark.parametrize(
    ("owners", "ordinals", "left"),
    [
        pytest.param({13: "unlucky"}, [13], [], id="RI-14"),
        pytest.param({13: LUCKY, 26: LUCKY, 39: LUCKY}, [13], [26, 39], id="RI-15"),
        pytest.param({15: "fifteen", 20: "twenty"}, [15], [20], id="RH-05"),
        pytest.param({15: "a", 25: "b", 35: "c", 45: "d"}, [15, 25, 35], [45], id="RH-07"),
        pytest.param({15: LUCKY, 25: LUCKY, 35: LUCKY}, [15, 25, 35], [], id="RH-08"),
        pytest.param({15: "a", 25: "b", 35: "c"}, [35, 15, 25], [], id="FO-09"),
        pytest.param({1: "a", 2: "b"}, [1, 1], [2], id="RI-08"),
    ],
)
@pytest.mark.parametrize("bump", [True, False])
def test_released_ordinals_join_the_tail_in_ascending_order(owners, ordinals, left, bump):
    before = taken("100.64.0.0/24", owners)

    after = release(before, ordinals, now_ns=NOON_NS, cooldown_s=0, bump=bump)

    assert_sound(after)
    assert (*before.unallocated, *sorted(set(ordinals))) == after.unallocated
    assert left == [n for n, index in enumerate(after.allocations) if index is not None]
    assert left == sorted(after.sequence_numbers)
    assert all(before.attribute_at(n) == after.attribute_at(n) for n in left)
    assert before.sequence_number + 1 == after.sequence_number


def test_fo_01_an_address_comes_back_when_the_block_has_been_used_once_round():
    block, seen = block_of("10.0.0.0/30"), []
    for _ in range(5):
        block, ordinals = auto_assign(block, 1, LUCKY)
        block = release(block, ordinals, now_ns=NOON_NS, cooldown_s=0, bump=False)
        seen += ordinals

    assert [0, 1, 2, 3, 0] == seen


def test_fo_04_the_first_address_handed_out_is_the_first_that_is_not_reserved():
    note = Attribute(handle="test-handle", secondary={"note": "ipam ut"})
    block = taken("10.0.0.0/30", {0: note, 1: note, 3: note})

    _, ordinals = auto_assign(block, 1, LUCKY)

    assert ((2,), (2,), 1) == (block.unallocated, ordinals, len(block.attributes))


def test_a_release_of_nothing_changes_nothing():
    block = block_of("10.0.0.0/30", "c1")

    assert block is release(block, [], now_ns=NOON_NS, cooldown_s=0, bump=True)


def test_a_free_ordinal_is_never_released():
    with pytest.raises(AssertionError):
        release(block_of("10.0.0.0/30"), [0], now_ns=NOON_NS, cooldown_s=0, bump=True)


@pytest.mark.parametrize("cooldown_s", [0, -1])
def test_without_a_cooldown_a_release_frees_within_the_same_second(cooldown_s):
    """CD-06."""
    block = release(
        block_of("10.0.0.0/30", "c1"), [0], now_ns=NOON_NS, cooldown_s=cooldown_s, bump=True
    )

    assert ((1, 2, 3, 0), ()) == (block.unallocated, block.attributes)


def test_a_cooling_ordinal_is_neither_free_nor_owned():
    """CD-15."""
    block = release(
        block_of("10.0.0.0/30", "c1"), [0], now_ns=NOON_NS, cooldown_s=30, bump=True
    )

    assert (Attribute(released_at=rfc3339(NOON_NS)),) == block.attributes
    assert () == block.ordinals_of("c1")
    assert (1, 2, 3) == block.unallocated
    assert not block.empty
    assert check_release(block, 0, handle="c1", sequence_number=None) is None


# Collecting


def test_cd_01_collecting_from_an_untouched_block_changes_nothing():
    block = block_of("100.64.0.0/24")

    assert block is collect(block, now_ns=NOON_NS, cooldown_s=0)


@pytest.mark.parametrize("cold", [{33: Attribute(released_at=rfc3339(NOON_NS))}, {}])
def test_collecting_also_drops_entries_that_nobody_refers_to(cold):
    """CD-02."""
    block = taken("100.64.0.0/24", {32: "live", **cold})
    littered = replace(
        block,
        attributes=(Attribute(handle="x"), *block.attributes, Attribute(handle="y")),
        allocations=tuple(None if i is None else i + 1 for i in block.allocations),
    )

    after = collect(littered, now_ns=NOON_NS + 2 * SECOND, cooldown_s=0)

    assert_sound(after)
    assert (Attribute(handle="live"),) == after.attributes
    assert (32,) == after.ordinals_of("live")
    assert littered.sequence_number == after.sequence_number


def test_cd_03_only_what_was_released_longer_ago_than_the_cooldown_is_freed():
    old = Attribute(released_at=rfc3339(NOON_NS - 60 * SECOND))
    new = Attribute(released_at=rfc3339(NOON_NS + 60 * SECOND))
    block = taken("100.64.0.0/24", {31: old, 33: old, 42: new, 44: new, 52: "a", 54: "b"})

    after = collect(block, now_ns=NOON_NS, cooldown_s=30)

    assert_sound(after)
    assert (252, (31, 33)) == (len(after.unallocated), after.unallocated[-2:])
    assert (42, 44, 52, 54) == tuple(
        n for n, i in enumerate(after.allocations) if i is not None
    )
    assert {42, 44, 52, 54} == after.sequence_numbers.keys()


def test_cd_05_nothing_is_freed_before_its_time():
    block = taken("100.64.0.0/24", {31: Attribute(released_at=rfc3339(NOON_NS))})

    assert block is collect(block, now_ns=NOON_NS + 3600 * SECOND, cooldown_s=100_000)


@pytest.mark.parametrize(
    ("released_at", "age_ns", "cooldown_s", "freed"),
    [
        pytest.param("2026-11-23T19:42:03Z", 4 * SECOND, 4, False, id="exactly the cooldown"),
        pytest.param("2026-11-23T19:42:03Z", 4 * SECOND + 1, 4, True, id="a nanosecond longer"),
        pytest.param("2026-11-23T19:42:03Z", 0, 0, False, id="at once"),
        pytest.param("2026-11-23T19:42:03Z", -3600 * SECOND, -1, True, id="negative cooldown"),
        pytest.param(
            "2026-11-23T20:42:03+01:00", 4 * SECOND + 1, 4, True, id="other time zone"
        ),
        pytest.param("2026-11-23T19:42:03.5Z", 4 * SECOND + 1, 4, False, id="fraction"),
        pytest.param("yesterday", 3600 * SECOND, 0, False, id="garbage"),
        pytest.param("yesterday", 3600 * SECOND, -1, True, id="garbage, negative cooldown"),
        pytest.param("2026-11-23T19:42:03", 3600 * SECOND, 0, False, id="no time zone"),
    ],
)
def test_the_cooldown_is_over_strictly_after_it(released_at, age_ns, cooldown_s, freed):
    since = time_ns("2026-11-23T19:42:03Z")
    assert since is not None
    block = taken("10.0.0.0/30", {0: Attribute(released_at=released_at)})

    after = collect(block, now_ns=since + age_ns, cooldown_s=cooldown_s)

    assert freed == (0 in after.unallocated)


# What a release believes


@pytest.mark.parametrize(
    ("handle", "number", "why"),
    [
        pytest.param(None, None, None, id="RI-10"),
        pytest.param(None, 0, None, id="RI-11"),
        pytest.param(None, 1, "its sequence number is 0, not 1", id="RI-12"),
        pytest.param(
            "fakehandle", None, "it belongs to handle None, not fakehandle", id="RI-13"
        ),
    ],
)
def test_a_release_names_what_it_believes(handle, number, why):
    block = replace(
        new_block(parse_network("192.168.0.0/26"), "host:node-a", 0), sequence_number=0
    )
    block = assign(block, 1, Attribute())

    error = check_release(block, 1, handle=handle, sequence_number=number)

    assert (why is None) == (error is None)
    if error is not None:
        assert isinstance(error, StaleReleaseError)
        assert f"address 192.168.0.1 was not released: {why}" == str(error)


@pytest.mark.parametrize(
    ("block", "ordinal", "handle", "number", "stale"),
    [
        pytest.param(block_of("100.64.0.0/24"), 13, "unlucky", None, False, id="RI-17"),
        pytest.param(
            taken("100.64.0.0/24", {100: "newstuff"}), 100, "oldstuff", None, True, id="RI-18"
        ),
        pytest.param(
            taken("100.64.0.0/24", {13: "h"}, {13: 10}), 13, None, 999, True, id="RI-19"
        ),
        pytest.param(
            taken("100.64.0.0/24", {13: "h"}, {13: 10}), 13, "h", 10, False, id="both right"
        ),
        pytest.param(
            block_of("100.64.0.0/24"), 13, None, 10, True, id="free, but with a number"
        ),
        pytest.param(block_of("100.64.0.0/24"), 13, None, 0, False, id="free, with number 0"),
        pytest.param(
            taken("100.64.0.0/24", {13: "h\rjunk"}), 13, "h", None, False, id="stored junk"
        ),
        pytest.param(
            taken("100.64.0.0/24", {13: "h"}), 13, "h\rjunk", None, False, id="junk asked for"
        ),
    ],
)
def test_a_release_must_not_hit_a_later_owner(block, ordinal, handle, number, stale):
    error = check_release(block, ordinal, handle=handle, sequence_number=number)

    assert stale == isinstance(error, StaleReleaseError)
    assert stale == (error is not None)


def test_sq_01_a_number_from_before_the_last_assignment_never_matches_again():
    block, seen = block_of("10.0.0.0/30"), []
    for _ in range(10):
        block = assign(block, 0, LUCKY)
        seen.append(block.sequence_numbers[0])
        stale = [check_release(block, 0, handle="lucky", sequence_number=n) for n in seen]
        block = release(block, [0], now_ns=NOON_NS, cooldown_s=0, bump=True)

        assert [None] == [error for error in stale[-1:] if error is None]
        assert all(error is not None for error in stale[:-1])


# Times


def test_times_are_written_in_whole_seconds_of_utc():
    assert "2026-11-23T19:42:03Z" == rfc3339(1_795_462_923_999_999_999)
    assert 1_795_462_923 * SECOND == time_ns("2026-11-23T19:42:03Z")
    assert 1_795_462_923 * SECOND + 123_456_000 == time_ns("2026-11-23T19:42:03.123456789Z")


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-23", "2026-11-23T19:42:03", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_moment_in_time_is_none(text):
    assert time_ns(text) is None


# Properties

HANDLES = ("a", "b", None)


@dataclass
class Model:
    """What a block should hold: a queue, owners, and when ordinals began to cool."""

    queue: list[int]
    owners: dict[int, str | None] = field(default_factory=dict)
    cooling: dict[int, int] = field(default_factory=dict)
    writes: int = 0

    def give(self, ordinals: list[int], owner: str | None) -> None:
        self.queue = [n for n in self.queue if n not in ordinals]
        self.owners |= dict.fromkeys(ordinals, owner)
        self.writes += bool(ordinals)

    def take_back(self, ordinals: list[int], at_s: int, cooldown_s: int) -> None:
        for ordinal in sorted(ordinals):
            del self.owners[ordinal]
            if cooldown_s:
                self.cooling[ordinal] = at_s
            else:
                self.queue.append(ordinal)
        self.writes += bool(ordinals)

    def collect(self, now_s: int, cooldown_s: int) -> None:
        for ordinal in sorted(
            n for n, at_s in self.cooling.items() if at_s < now_s - cooldown_s
        ):
            del self.cooling[ordinal]
            self.queue.append(ordinal)


ordinal_sets = st.sets(st.integers(0, 7), min_size=1, max_size=4)
operations = st.one_of(
    st.tuples(
        st.just("auto"),
        st.integers(0, 5),
        st.sampled_from(HANDLES),
        st.just(frozenset()) | ordinal_sets,
    ),
    st.tuples(st.just("assign"), st.integers(0, 7), st.sampled_from(HANDLES)),
    st.tuples(st.just("release"), ordinal_sets, st.booleans()),
    st.tuples(st.just("by handle"), st.sampled_from(HANDLES)),
    st.tuples(st.just("wait"), st.integers(1, 4)),
)


@QUICK
@given(
    networks(host_bits=(1, 3)),
    st.lists(operations, min_size=10, max_size=30),
    st.sampled_from((0, 2)),
)
def test_p3_assigned_free_and_cooling_add_up_after_any_operations(cidr, wanted, cooldown_s):
    block = new_block(cidr, "host:node-a", NOON_NS)
    model, now_s = Model(queue=[*block.unallocated]), NOON_NS // SECOND
    for operation in wanted:
        block = collect(block, now_ns=now_s * SECOND, cooldown_s=cooldown_s)
        model.collect(now_s, cooldown_s)
        match operation:
            case ("auto", count, owner, blocked):
                names = AddressSet.of(str(cidr[n]) for n in blocked if n < block.size)
                block, got = auto_assign(block, count, Attribute(handle=owner), blocked=names)
                expected = [n for n in model.queue if n not in blocked][:count]
                assert tuple(expected) == got
                model.give(expected, owner)
            case ("assign", ordinal, owner) if ordinal in model.queue:
                block = assign(block, ordinal, Attribute(handle=owner))
                model.give([ordinal], owner)
            case ("release", chosen, bump):
                mine = [n for n in chosen if n in model.owners]
                block = release(
                    block, mine, now_ns=now_s * SECOND, cooldown_s=cooldown_s, bump=bump
                )
                model.take_back(mine, now_s, cooldown_s)
            case ("by handle", owner) if owner is not None:
                mine = list(block.ordinals_of(owner))
                assert sorted(n for n, name in model.owners.items() if name == owner) == mine
                block = release(
                    block, mine, now_ns=now_s * SECOND, cooldown_s=cooldown_s, bump=False
                )
                model.take_back(mine, now_s, cooldown_s)
            case ("wait", seconds):
                now_s += seconds

        assert_sound(block)
        assert tuple(model.queue) == block.unallocated
        held = {n: a for n in range(block.size) if (a := block.attribute_at(n)) is not None}
        assert model.owners == {n: a.handle for n, a in held.items() if a.released_at is None}
        assert model.cooling.keys() == {n for n, a in held.items() if a.released_at is not None}
        assert block.size == len(model.queue) + len(model.owners) + len(model.cooling)
        assert held.keys() == block.sequence_numbers.keys()
        assert NOON_NS + model.writes == block.sequence_number
        assert all(number < block.sequence_number for number in block.sequence_numbers.values())


@QUICK
@given(
    blocks().filter(lambda b: b.unallocated), st.data(), st.sampled_from(HANDLES), st.booleans()
)
def test_p4_assign_then_release_gives_back_the_same_block(before, data, owner, bump):
    attribute = data.draw(st.sampled_from((Attribute(handle=owner), *before.attributes)))
    count = data.draw(st.integers(1, len(before.unallocated)))

    taken_block, ordinals = auto_assign(before, count, attribute)
    after = release(taken_block, ordinals, now_ns=NOON_NS, cooldown_s=0, bump=bump)

    assert before.unallocated[:count] == ordinals
    rest = before.unallocated[count:]
    assert (
        replace(
            before,
            unallocated=(*rest, *sorted(ordinals)),
            sequence_number=before.sequence_number + 2,
        )
        == after
    )


@QUICK
@given(blocks().filter(lambda b: b.unallocated), st.data())
def test_p4_an_assignment_touches_nothing_else(before, data):
    ordinal = data.draw(st.sampled_from(before.unallocated))

    after = assign(before, ordinal, LUCKY)

    assert LUCKY == after.attribute_at(ordinal)
    assert before.sequence_number == after.sequence_numbers[ordinal]
    assert tuple(n for n in before.unallocated if n != ordinal) == after.unallocated
    others = [n for n in range(before.size) if n != ordinal]
    assert [before.attribute_at(n) for n in others] == [after.attribute_at(n) for n in others]
