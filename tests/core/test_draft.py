"""The working copy of a plan: what it knows, what it changes, what it compares."""

import json
from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.affinity import Affinity, AffinityState
from poolmgr.core.block import Attribute
from poolmgr.core.config import IPAMConfig
from poolmgr.core.draft import POOLS, RESERVATIONS, Draft, Missing
from poolmgr.core.handle import Handle
from poolmgr.core.session import Session
from poolmgr.core.snapshot import Snapshot, probe
from poolmgr.core.txn import EPOCH_KEY, Fetch, KeyValue, Page, Range, Reading, Txn
from poolmgr.core.values import Value
from poolmgr.errors import CorruptStateError
from tests.support.facts import SECOND, block_of, known, stored_block
from tests.support.world import NOON_NS, stored_resource

SEED = b"seed"
BLOCK = block_of("10.0.0.0/30", "c1")
CIDR = BLOCK.cidr
KEY = records.block_key(CIDR)
HANDLE = records.handle_key("c1")
HANDLED = b'{"block":{"10.0.0.0/30":1},"deleted":false}'
CONFIGURED: dict[str, bytes | None] = {records.CONFIG_KEY: None, EPOCH_KEY: b"epoch"}
REVISION = 5
"""The mod_revision of what `known` knows."""


def draft(
    values: dict[str, bytes | None] | None = None, *ranges: Range, now_ns: int = NOON_NS
) -> Draft:
    return Draft(known({**CONFIGURED, **(values or {})}, *ranges), now_ns)


def committed(subject: Draft) -> Txn:
    txn = subject.txn(SEED)
    assert txn is not None
    return txn


# What is known


def test_what_is_not_known_is_asked_for_in_one_fetch():
    with pytest.raises(Missing) as caught:
        draft({"/r/a": None}).need("/r/a", "/r/b", "/r/c", ranges=(POOLS,))

    assert (
        Fetch(keys=frozenset({"/r/b", "/r/c"}), ranges=frozenset({POOLS})) == caught.value.fetch
    )


def test_what_is_known_is_not_asked_for():
    draft({"/r/a": None, **dict([stored_resource("ippools", "IPPool", "p", {})])}, POOLS).need(
        "/r/a", records.resource_key("ippools", "other"), ranges=(POOLS,)
    )


@pytest.mark.parametrize(
    ("look", "key"),
    [
        (lambda d: d.block(CIDR), KEY),
        (lambda d: d.affinity("node-a", CIDR), records.affinity_key("node-a", CIDR)),
        (
            lambda d: d.affinity("lb", CIDR, "virtual"),
            records.affinity_key("lb", CIDR, "virtual"),
        ),
        (lambda d: d.handle("c1"), HANDLE),
        (lambda d: d.session("node-a"), records.session_key("node-a")),
        (lambda d: d.config(), records.CONFIG_KEY),
        (lambda d: d.node_labels("node-a"), records.resource_key("nodes", "node-a")),
        (lambda d: d.compare("/r/a"), "/r/a"),
    ],
    ids=[
        "block",
        "affinity",
        "virtual affinity",
        "handle",
        "session",
        "config",
        "node",
        "compare",
    ],
)
def test_nothing_is_assumed_of_an_unknown_value(look, key):
    with pytest.raises(Missing) as caught:
        look(Draft(Snapshot(), NOON_NS))

    assert Fetch(keys=frozenset({key})) == caught.value.fetch


def test_what_is_absent_is_none_or_the_default():
    empty = draft(
        dict.fromkeys(
            (
                KEY,
                HANDLE,
                records.affinity_key("node-a", CIDR),
                records.session_key("node-a"),
                records.resource_key("nodes", "node-a"),
            )
        )
    )

    assert empty.block(CIDR) is None
    assert empty.handle("c1") is None
    assert empty.affinity("node-a", CIDR) is None
    assert empty.node_labels("node-a") is None
    assert Session() == empty.session("node-a")
    assert IPAMConfig() == empty.config()


def test_stored_values_are_decoded():
    subject = draft(
        {
            **stored_block(BLOCK),
            HANDLE: HANDLED,
            records.affinity_key("node-a", CIDR): b'{"state":"pending"}',
            records.session_key("node-a"): b'{"n":3,"deleted":[]}',
            records.CONFIG_KEY: b'{"strict_affinity":true}',
            **dict([stored_resource("nodes", "Node", "node-a", {}, labels={"rack": "r1"})]),
        }
    )

    assert BLOCK == subject.block(CIDR)
    assert Handle(blocks={CIDR: 1}) == subject.handle("c1")
    assert Affinity(state=AffinityState.PENDING) == subject.affinity("node-a", CIDR)
    assert Session(n=3) == subject.session("node-a")
    assert (
        IPAMConfig(strict_affinity=True, auto_allocate_blocks=False, kubevirt_persistence=None)
        == subject.config()
    )
    assert {"rack": "r1"} == subject.node_labels("node-a")


def test_a_node_that_does_not_decode_is_corrupt():
    key = records.resource_key("nodes", "node-a")

    with pytest.raises(CorruptStateError) as caught:
        draft({key: b"[]"}).node_labels("node-a")

    assert key == caught.value.key


def test_a_block_is_handed_out_with_its_cold_addresses_collected():
    cooling = replace(BLOCK, attributes=(Attribute(released_at="2026-01-01T00:00:00Z"),))
    values = {**stored_block(cooling), records.CONFIG_KEY: b'{"ipCooldownSeconds":60}'}
    since = 1_767_225_600 * SECOND

    early = draft(values, now_ns=since + 60 * SECOND).block(CIDR)
    late = draft(values, now_ns=since + 61 * SECOND).block(CIDR)

    assert cooling == early
    assert late is not None
    assert (1, 2, 3, 0) == late.unallocated


def test_pools_that_do_not_decode_are_skipped():
    values = dict(
        [
            stored_resource("ippools", "IPPool", "b", {"cidr": "10.1.0.0/24"}),
            stored_resource("ippools", "IPPool", "a", {"cidr": "10.0.0.0/24"}),
            stored_resource("ippools", "IPPool", "no-cidr", {}),
            stored_resource(
                "ipreservations", "IPReservation", "r", {"reservedCIDRs": ["10.0.0.1"]}
            ),
            stored_resource(
                "ipreservations", "IPReservation", "s", {"reservedCIDRs": ["fd00::/64"]}
            ),
        ]
    )
    values[records.resource_key("ippools", "garbage")] = b"garbage"
    subject = draft({**values}, POOLS, RESERVATIONS)

    assert ["a", "b"] == [pool.metadata.name for pool in subject.pools()]
    assert ["r", "s"] == [reservation.metadata.name for reservation in subject.reservations()]
    assert parse_address("10.0.0.1") in subject.reserved()
    assert parse_address("fd00::1") in subject.reserved()
    assert parse_address("10.0.0.2") not in subject.reserved()
    assert subject.reserved() is subject.fork().reserved()
    assert subject.pools() is subject.fork().pools()


@pytest.mark.parametrize("name", ["a/b", ""])
def test_a_pool_whose_key_has_no_name_is_one_that_does_not_decode(name):
    key, value = stored_resource("ippools", "IPPool", "b", {"cidr": "10.1.0.0/24"})
    named = value.replace(b'"name": "b"', f'"name": "{name}"'.encode())
    slashed = f"{POOLS.start}a/b"
    subject = draft({slashed: value, key: named}, POOLS)

    assert () == subject.pools()
    assert {
        "a/b": "its stored value is wrong ('a/b' is no name)",
        "b": f"its stored value is wrong ({name!r} is no name)",
    } == dict(subject.unreadable_pools())


def test_a_reservation_that_does_not_decode_stops_every_assignment():
    key = records.resource_key("ipreservations", "garbage")
    subject = draft({key: b"{}"}, RESERVATIONS)

    with pytest.raises(CorruptStateError, match="ipreservations/garbage"):
        subject.reserved()


def test_affinities_are_those_stored_and_written_but_not_deleted():
    range_ = records.affinity_range("node-a", 4)
    cidrs = [parse_network(f"10.0.0.{n}/30") for n in (64, 128, 0, 4)]
    gone, stays, new, elsewhere = (records.affinity_key("node-a", cidr) for cidr in cidrs)
    elsewhere = elsewhere.replace("node-a", "node-b")
    confirmed = records.encode_affinity(Affinity())
    subject = draft({gone: confirmed, stays: confirmed, new: None, elsewhere: None}, range_)

    subject.delete(gone)
    subject.put(new, Affinity())
    subject.put(elsewhere, Affinity())

    assert (new, stays) == subject.affinities(range_)


def test_whether_a_key_exists_is_what_was_written_or_probed():
    there = Page(items=(("/r/there", KeyValue(value=b"", mod_revision=1)),))
    snapshot = known({**CONFIGURED, KEY: None, HANDLE: HANDLED}).merge(
        Reading(found={}, ranges={probe("/r/there"): there}, revision=9)
    )
    subject = Draft(snapshot, NOON_NS)
    assert (False, True, True, None) == tuple(
        map(subject.exists, (KEY, HANDLE, "/r/there", "/r/unknown"))
    )

    subject.put_block(BLOCK)
    subject.delete(HANDLE)

    assert (True, False) == (subject.exists(KEY), subject.exists(HANDLE))


def test_a_page_is_its_keys_and_whether_more_follow():
    range_ = Range.prefix("/r/", limit=2, keys_only=True)
    items = (
        ("/r/a", KeyValue(value=b"", mod_revision=1)),
        ("/r/b", KeyValue(value=b"", mod_revision=2)),
    )
    page = Page(items=items, more=True)
    snapshot = Snapshot().merge(Reading(found={}, ranges={range_: page}, revision=9))

    assert (["/r/a", "/r/b"], True) == Draft(snapshot, NOON_NS).page(range_)
    with pytest.raises(Missing):
        draft().page(range_)


# Full blocks, and what is worked out of pages

FULL = block_of("10.0.0.0/30", *["c1"] * 4)
FULL_KEY = stored_block(FULL)


def test_a_full_block_is_asked_to_be_forgotten_with_the_next_question():
    subject = draft({**FULL_KEY, "/r/a": None})

    assert subject.is_full(KEY)
    assert not subject.is_full("/r/a")
    with pytest.raises(Missing) as caught:
        subject.fork().need("/r/b")

    assert Fetch(keys=frozenset({"/r/b"}), full=frozenset({KEY})) == caught.value.fetch


def test_a_full_block_that_the_plan_depends_on_is_not_forgotten():
    subject = draft(FULL_KEY)
    subject.compare(KEY)

    assert subject.is_full(KEY)
    with pytest.raises(Missing) as caught:
        subject.need("/r/b")

    assert frozenset() == caught.value.fetch.full


def test_a_block_with_room_is_not_full():
    assert not draft(stored_block(BLOCK)).is_full(KEY)


def test_a_block_that_the_draft_writes_is_judged_by_nobody():
    subject = draft(FULL_KEY)

    subject.put_block(BLOCK)

    assert not subject.is_full(KEY)


def test_whether_an_unknown_block_is_full_must_be_read():
    with pytest.raises(Missing):
        draft().is_full(KEY)


def test_a_forgotten_block_was_full_unless_the_draft_writes_it():
    subject = Draft(known({**CONFIGURED, HANDLE: None}).forget(frozenset({KEY})), NOON_NS)
    fork = subject.fork()
    fork._written[KEY] = BLOCK

    assert subject.was_full(KEY)
    assert not subject.was_full(HANDLE)
    assert not fork.was_full(KEY)


def test_a_spent_block_is_noted_for_the_whole_batch():
    subject = draft(FULL_KEY)
    before = subject.is_spent(KEY, BLOCK.affinity)

    subject.fork().note_spent(KEY)

    assert (False, True) == (before, subject.is_spent(KEY, BLOCK.affinity))


@pytest.mark.parametrize(("block", "spent"), [(BLOCK, False), (FULL, True)])
def test_a_block_that_the_draft_writes_is_spent_as_it_writes_it(block, spent):
    subject = draft(FULL_KEY)
    subject.put_block(block)

    subject.note_spent(KEY)

    assert spent == subject.is_spent(KEY, BLOCK.affinity)
    assert not subject.is_spent(KEY, "host:another")
    assert not draft(FULL_KEY).is_spent(KEY, BLOCK.affinity)


def test_the_blocks_that_are_written_inside_a_network_are_told():
    other = block_of("10.0.1.0/30")
    subject = draft(dict.fromkeys([KEY, records.block_key(other.cidr), HANDLE]))
    subject.put_block(BLOCK)
    subject.put_block(other)
    subject.put(HANDLE, Handle(blocks={CIDR: 1}))

    assert [KEY] == subject.written_blocks(parse_network("10.0.0.0/24"))


def test_the_blocks_that_the_batch_has_committed_are_told_too():
    affinity = records.affinity_key("node-a", CIDR)
    txn = Txn(expect={}, puts={**stored_block(BLOCK), affinity: b"{}"})
    subject = Draft(known(CONFIGURED).apply(txn, 12), NOON_NS)

    assert [KEY] == subject.written_blocks(parse_network("10.0.0.0/24"))
    assert [] == subject.written_blocks(parse_network("10.9.0.0/24"))
    assert [] == subject.written_blocks(parse_network("fd00::/64"))


def test_what_is_worked_out_once_is_remembered_for_the_whole_batch():
    subject, asked = draft(), []

    def make():
        asked.append(1)
        return (KEY,)

    first, second = subject.remember("name", make), subject.fork().remember("name", make)

    assert (KEY,) == first == second
    assert (KEY,) == subject.remember("other", make)
    assert 2 == len(asked)


# What must hold, and what changes


def test_a_plan_that_decided_nothing_needs_no_transaction():
    assert draft({KEY: None}).txn(SEED) is None


def test_comparing_alone_makes_a_check():
    subject = draft({KEY: None, HANDLE: HANDLED}, POOLS)

    subject.compare(KEY)
    subject.compare(HANDLE)
    subject.compare_range(POOLS)

    assert Txn(
        expect={KEY: 0, HANDLE: REVISION}, unchanged={POOLS: 9}, epoch=b"epoch"
    ) == committed(subject)


def test_what_is_written_is_compared_and_read_back():
    subject = draft({KEY: None, HANDLE: HANDLED})

    subject.put_block(BLOCK)
    subject.put(HANDLE, Handle(blocks={CIDR: 2}))

    assert BLOCK == subject.block(CIDR)
    assert Handle(blocks={CIDR: 2}) == subject.handle("c1")
    txn = committed(subject)
    assert {KEY: 0, HANDLE: REVISION} == txn.expect
    assert {KEY: records.encode_block(BLOCK), HANDLE: HANDLED.replace(b":1", b":2")} == txn.puts
    assert frozenset() == txn.deletes


def test_what_is_deleted_is_compared_and_gone():
    subject = draft({HANDLE: HANDLED})

    subject.delete(HANDLE)

    assert subject.handle("c1") is None
    assert Txn(
        expect={HANDLE: REVISION}, epoch=b"epoch", deletes=frozenset({HANDLE})
    ) == committed(subject)


def test_what_never_existed_needs_no_delete():
    subject = draft({HANDLE: None})

    subject.put(HANDLE, Handle(blocks={CIDR: 1}))
    subject.delete(HANDLE)

    assert Txn(expect={HANDLE: 0}, epoch=b"epoch") == committed(subject)


def test_every_kind_of_value_is_written():
    written: dict[str, Value] = {
        KEY: BLOCK,
        records.affinity_key("node-a", CIDR): Affinity(),
        HANDLE: Handle(blocks={CIDR: 1}),
        records.session_key("node-a"): Session(n=1),
        records.CONFIG_KEY: IPAMConfig(),
    }
    subject = draft(dict.fromkeys(written))

    for key, value in written.items():
        subject.put(key, value)

    puts = committed(subject).puts
    assert written.keys() == puts.keys()
    assert all(isinstance(json.loads(raw), dict) for raw in puts.values())
    assert IPAMConfig() == subject.config()


def test_the_first_that_writes_creates_the_epoch_and_compares_that_there_is_none():
    subject = draft({EPOCH_KEY: None, HANDLE: None})

    subject.put(HANDLE, Handle(blocks={CIDR: 1}))

    txn = committed(subject)
    assert (None, SEED) == (txn.epoch, txn.puts[EPOCH_KEY])


def test_a_check_or_a_delete_creates_no_epoch():
    subject = draft({EPOCH_KEY: None, HANDLE: HANDLED})

    subject.delete(HANDLE)

    txn = committed(subject)
    assert (None, {}) == (txn.epoch, txn.puts)


# Forks


def test_a_fork_can_be_thrown_away():
    subject = draft({KEY: None, HANDLE: HANDLED, records.session_key("node-a"): None}, POOLS)
    subject.put_block(BLOCK)

    fork = subject.fork()
    fork.delete(HANDLE)
    fork.compare(records.session_key("node-a"))
    fork.compare_range(POOLS)

    assert {KEY, HANDLE, records.session_key("node-a")} == committed(fork).expect.keys()
    assert Txn(
        expect={KEY: 0}, epoch=b"epoch", puts={KEY: records.encode_block(BLOCK)}
    ) == committed(subject)
    assert subject.handle("c1") is not None


def test_a_value_is_encoded_once_for_a_whole_batch():
    subject = draft({KEY: None})
    subject.put_block(BLOCK)

    first, second = committed(subject).puts[KEY], committed(subject.fork()).puts[KEY]

    assert first is second
