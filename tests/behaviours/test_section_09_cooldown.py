"""Section 9: cooldown. Times are seconds before or after the library's clock."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import (
    Attribute,
    assign,
    auto_assign,
    collect,
    new_block,
    release,
    rfc3339,
)
from poolmgr.core.flaws import Flaw
from poolmgr.core.request import CollectCold, OwnerOf, ReleaseAffinities
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import AddressInUseError, RefusedError
from poolmgr.survey import Audit
from tests.behaviours.row import Row, each
from tests.support.facts import assert_sound
from tests.support.poolctl import manifest
from tests.support.site import Meddled, block_key, texts
from tests.support.world import NOON_NS

SECOND = 1_000_000_000
CIDR = "100.64.0.0/24"
NET = parse_network(CIDR)


def ago(seconds: int) -> dict[str, str]:
    """An attribute of addresses that were released some time ago."""
    return {"releasedAt": rfc3339(NOON_NS - seconds * SECOND)}


@dataclass(frozen=True, slots=True)
class Pure(Row):
    """
    A collection in a /24 block as a value.

    Attributes:
        attributes: As stored, used or not.
        taken: Ordinal -> index into them.
        left: Ordinals that are allocated afterwards; None = the block is not changed.
        used: How many attributes there are afterwards.
    """

    attributes: tuple[Attribute, ...] = ()
    taken: Mapping[int, int] | None = None
    cooldown_s: int = 0
    left: tuple[int, ...] | None = None
    used: int = 0


LIVE, OTHER = Attribute(handle="live"), Attribute(handle="other")
OLD = Attribute(released_at=ago(60)["releasedAt"])
NEW = Attribute(released_at=ago(-60)["releasedAt"])

PURE = (
    Pure("CD-01"),
    Pure("CD-02", (OTHER, LIVE, NEW), {32: 1}, left=(32,), used=1),
    Pure(
        "CD-03",
        (OLD, NEW, LIVE),
        {31: 0, 33: 0, 42: 1, 44: 1, 52: 2, 54: 2},
        cooldown_s=30,
        left=(42, 44, 52, 54),
        used=2,
    ),
)

WRITTEN, NOTHING, AT_ONCE, AHEAD = map(Row, ("CD-04", "CD-05", "CD-06", "CD-08"))
NEGATIVE, ALIASES, COOLING = map(Row, ("CD-09", "CD-14", "CD-15"))

ROWS = (*PURE, WRITTEN, NOTHING, AT_ONCE, AHEAD, NEGATIVE, ALIASES, COOLING)


@each(PURE)
def test_collecting_frees_what_is_cold_and_drops_what_nobody_refers_to(row):
    taken = row.taken or {}
    block = replace(
        new_block(NET, "host:node-a", NOON_NS),
        attributes=row.attributes,
        allocations=tuple(taken.get(n) for n in range(256)),
        unallocated=tuple(n for n in range(256) if n not in taken),
    )

    after = collect(block, now_ns=NOON_NS, cooldown_s=row.cooldown_s)

    left = [n for n, index in enumerate(after.allocations) if index is not None]
    assert_sound(after)
    assert (row.left is None) == (after is block)
    assert [*(row.left or ())] == left
    assert (256 - len(left), row.used) == (len(after.unallocated), len(after.attributes))


@pytest.fixture
def cold(site):
    """A block with an address released an hour ago, and one that is assigned."""
    site.pool("pool-a", CIDR, 24)
    site.seed(CIDR, [ago(3600), {"handle_id": "live"}], {31: 0, 52: 1}, number=7)
    return site


@each([WRITTEN])
def test_collecting_is_one_guarded_write(row, cold):
    cold.config(ipCooldownSeconds=30)
    key = block_key(CIDR)
    found = cold.store.read(Fetch(keys=frozenset({key}))).found[key]
    mine = records.decode_block(key, found.value)
    store = Meddled(cold.store)

    answer = cold.ipam(store).collect_cold(CollectCold(block=NET))

    (txn,) = store.commits
    block = cold.blocks()[CIDR]
    assert ["100.64.0.31"] == texts(answer.addresses)
    assert {key} == txn.puts.keys() - {EPOCH_KEY}
    assert found.mod_revision == txn.expect[key]
    assert (None, 0) == (block["allocations"][31], block["allocations"][52])
    assert (31, [{"handle_id": "live"}]) == (block["unallocated"][-1], block["attributes"])
    assert (0, 1) == (mine.allocations[31], mine.allocations[52])


@each([NOTHING])
def test_collecting_before_the_time_writes_nothing(row, cold):
    cold.config(ipCooldownSeconds=100_000)
    store, before = Meddled(cold.store), cold.content()

    answer = cold.ipam(store).collect_cold(CollectCold(block=NET))

    assert ((), []) == (answer.addresses, store.commits)
    assert before == cold.content()


@pytest.mark.parametrize("way", ["DEL", "address", "handle"])
@each([AT_ONCE])
def test_without_a_cooldown_an_address_is_free_at_once(row, way, site):
    site.pool("pool-a", "10.0.0.0/32", 32)
    address = site.add("c1")

    match way:
        case "DEL":
            site.delete("c1")
        case "address":
            site.release(address)
        case "handle":
            site.release_handle("net1.c1")

    block = site.blocks()["10.0.0.0/32"]
    assert ([0], [], {}) == (
        block["unallocated"],
        block["attributes"],
        block["sequenceNumberForAllocation"],
    )
    assert address == site.add("c2")


@each([AHEAD])
def test_a_release_in_the_future_is_found(row, site):
    site.pool("pool-a", CIDR, 24)
    site.seed(CIDR, [ago(-60)], {31: 0})

    (found,) = Audit(site.store, now_ns=NOON_NS)

    assert (Flaw.RELEASED_IN_FUTURE, block_key(CIDR)) == (found.flaw, found.key)
    assert [] == [*Audit(site.store, now_ns=NOON_NS + 61 * SECOND)]


@each([AHEAD])
def test_poolctl_finds_a_release_in_the_future(row, site, program):
    site.pool("pool-a", CIDR, 24)
    site.seed(CIDR, [{"releasedAt": rfc3339(time.time_ns() + 3600 * SECOND)}], {31: 0})

    done = program("ipam", "check")

    assert 5 == done.returncode
    assert str(Flaw.RELEASED_IN_FUTURE) in done.stdout


@each([NEGATIVE])
def test_a_negative_cooldown_is_refused(row, site, program):
    stdin = manifest("IPAMConfiguration", "default", {"ipCooldownSeconds": -1})
    result = program("create", "-f", "-", stdin=stdin)

    assert (1, True) == (result.returncode, "spec.ipCooldownSeconds" in result.stderr)
    assert {} == site.content()


FULLEST = {
    "cidr": "10.0.0.0/30",
    "affinity": "host:node-a",
    "affinity_claim_time": "2026-01-01T00:00:00Z",
    "allocations": [0, 1, None, None],
    "unallocated": [3, 2],
    "attributes": [
        {
            "handle_id": "h",
            "secondary": {"node": "node-a", "pod": "p"},
            "alternateOwnerAttrs": {"pod": "q"},
        },
        ago(3600),
    ],
    "sequenceNumber": 12,
    "sequenceNumberForAllocation": {"0": 10, "1": 11},
    "deleted": False,
    "fromTheFuture": {"a": [1]},
}


@each([ALIASES])
def test_a_changed_block_shares_nothing_with_what_it_was_made_of(row):
    key, raw = block_key("10.0.0.0/30"), json.dumps(FULLEST, separators=(",", ":")).encode()
    block = records.decode_block(key, raw)
    assert raw == records.encode_block(block)

    auto_assign(block, 2, Attribute(handle="x"))
    assign(block, 2, Attribute(handle="y"))
    release(block, [0], now_ns=NOON_NS, cooldown_s=0, bump=True)
    collect(block, now_ns=NOON_NS, cooldown_s=30)

    assert raw == records.encode_block(block)
    assert block == records.decode_block(key, raw)


@each([COOLING])
def test_an_address_that_cools_down_is_neither_free_nor_owned(row, site):
    site.pool("pool-a", "10.0.0.0/31", 31)
    site.config(ipCooldownSeconds=30)
    held = site.add("c1")
    other = site.add("c2")
    site.delete("c1")
    ordinal = int(held == "10.0.0.1")

    block = site.blocks()["10.0.0.0/31"]
    assert {"releasedAt"} == block["attributes"][block["allocations"][ordinal]].keys()
    assert [] == block["unallocated"]
    assert [] == site.addresses()
    with pytest.raises(AddressInUseError):
        site.add("c3", address=held)

    again = site.release(held)
    assert ([held], (), ()) == (texts(again.unallocated), again.released, again.errors)
    with pytest.raises(RefusedError, match="cools down since"):
        site.ipam().owner_of(OwnerOf(address=parse_address(held)))
    shown = site.poolctl("ipam", "show", "--ip", held)
    assert (0, True) == (shown.exit_code, "cools down" in shown.stdout)

    site.delete("c2")
    kept = site.ipam().release_affinities(ReleaseAffinities(host="node-a", only_empty=True))
    assert (0, 1) == (kept.blocks, len(kept.errors))

    site.now_ns += 32 * SECOND
    before = site.content()
    with pytest.raises(RefusedError, match=r"is not assigned$"):
        site.ipam().owner_of(OwnerOf(address=parse_address(held)))
    assert before == site.content()
    assert other in site.addresses(2, handle="h")
    assert [{"handle_id": "h"}] == site.blocks()["10.0.0.0/31"]["attributes"]
