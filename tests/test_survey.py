"""Questions about everything: counts and findings of one revision, in pages."""

import json
import threading
from collections import Counter

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.flaws import Flaw
from poolmgr.core.txn import Txn
from poolmgr.errors import CompactedError, InvalidRequestError, StoreUnavailableError
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit, Borrowings, map_of, networks_within, utilization
from tests.support.counting import CountingStore
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import put
from tests.support.world import stored_resource

AFFINITY = b'{"state":"confirmed","deleted":false}'


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


def pools(**cidrs: str) -> dict[str, bytes]:
    return dict(stored_resource("ippools", "IPPool", n, {"cidr": c}) for n, c in cidrs.items())


def owned(cidr: str, *handles: str) -> dict[str, bytes]:
    """A block of node-a, its affinity, and a handle for each of its first addresses."""
    count = f'{{"block":{{"{cidr}":1}},"deleted":false}}'.encode()
    return {
        **stored_block(block_of(cidr, *handles)),
        records.affinity_key("node-a", parse_network(cidr)): AFFINITY,
        **{records.handle_key(name): count for name in handles},
    }


def many(store, count: int = 200) -> None:
    """Store so many sound blocks with a handle each, in a pool."""
    put(store, pools(p="10.0.0.0/8"))
    cidrs = parse_network("10.0.0.0/16").subnets(new_prefix=29)
    for at, cidr in zip(range(count), cidrs, strict=False):
        put(store, owned(str(cidr), f"c{at}"))


def test_everything_is_counted(memory):
    many(memory)

    used = utilization(memory, keep_blocks=False)

    assert [("p", 200)] == [(pool.name, pool.usage.in_use) for pool in used.counts.pools]
    assert 202 == used.revision


def test_blocks_are_kept_when_asked_for(memory):
    put(memory, pools(p="10.0.0.0/24"))
    put(memory, owned("10.0.0.0/26", "a") | owned("10.9.0.0/26", "b"))

    kept, lean = utilization(memory).counts, utilization(memory, keep_blocks=False).counts

    assert ["10.0.0.0/26"] == [str(block.cidr) for block in kept.pools[0].blocks]
    assert ["10.9.0.0/26"] == [str(block.cidr) for block in kept.orphans]
    assert ((), ()) == (lean.pools[0].blocks, lean.orphans)
    assert kept.pools[0].usage == lean.pools[0].usage


def test_what_does_not_decode_is_named_and_not_counted(memory):
    junk = [
        records.resource_key("ippools", "junk"),
        records.resource_key("ipreservations", "junk"),
        records.block_key(parse_network("10.0.0.64/26")),
        records.block_key(parse_network("fd00::/122")),
    ]
    put(memory, pools(p="10.0.0.0/24") | owned("10.0.0.0/26", "a"))
    put(memory, dict.fromkeys(junk, b"junk"))

    used = utilization(memory)

    assert junk == [error.key for error in used.unreadable]
    assert [1] == [pool.usage.in_use for pool in used.counts.pools]


def test_a_sound_store_has_no_finding_and_all_of_it_is_checked(memory):
    many(memory)

    check = Audit(memory)

    assert [] == [*check]
    assert check.checked == Counter(
        pools=1, blocks=200, addresses=200, affinities=200, handles=200
    )


def test_an_audit_tells_every_address_and_how_far_it_is(memory):
    many(memory, 40)
    put(memory, {records.block_key(parse_network("10.9.0.0/29")): b"junk"})
    read: list[int] = []
    check = Audit(memory, advance=read.append)

    found = [(str(entry.address), entry.handle) for entry in check.entries()]

    expected = [(f"10.0.{at * 8 // 256}.{at * 8 % 256}", f"c{at}") for at in range(40)]
    assert sorted(expected) == sorted(found)
    assert 41 == sum(read)
    assert [Flaw.CORRUPT] == [finding.flaw for finding in check]


def test_findings_are_of_one_revision_whatever_is_written_meanwhile(memory):
    many(memory)
    check = Audit(memory)
    key = records.block_key(parse_network("10.0.0.8/29"))

    memory.commit(Txn(expect={}, deletes=frozenset({key})))
    now = Audit(memory)

    assert [] == [*check]
    assert {Flaw.AFFINITY_WITHOUT_BLOCK, Flaw.HANDLE_WITHOUT_ADDRESS} == {f.flaw for f in now}
    assert check.revision + 1 == now.revision


@pytest.mark.parametrize("ask", [lambda store: [*Audit(store)], utilization, map_of])
def test_a_revision_that_is_compacted_away_is_said_so(memory, ask):
    many(memory)

    class Compacting(CountingStore):
        def read(self, fetch, **arguments):
            reading = super().read(fetch, **arguments)
            if self.reads == 3:
                put(memory, {"/other": b""})
                memory.compact(reading.revision + 1)
            return reading

    with pytest.raises(CompactedError, match="revision 202 was compacted away"):
        ask(Compacting(memory))


def test_there_is_no_answer_after_the_deadline(memory):
    many(memory)

    with pytest.raises(StoreUnavailableError, match="not all was read in 0 s"):
        utilization(memory, timeout_s=0)


def test_no_thread_is_left_when_an_audit_is_dropped(memory):
    put(
        memory, {records.block_key(parse_network(f"10.0.{n}.0/26")): b"junk" for n in range(99)}
    )
    before = threading.active_count()

    findings = iter(Audit(memory))
    next(findings)
    del findings

    assert before == threading.active_count()


def test_blocks_of_4096_addresses_after_small_ones_are_read(store):
    # 40 of them are more than an answer of etcd may hold.
    put(store, pools(p="10.0.0.0/8"))
    for at in range(20):
        put(store, owned(f"10.0.{at}.0/32", f"c{at}"))
    value = {
        "allocations": [*range(4096)],
        "unallocated": [],
        "attributes": [
            {"handle_id": f"{n:064x}", "secondary": {"pod": f"{n:0130}"}} for n in range(4096)
        ],
    }
    for at in range(40):
        cidr = f"10.{at + 100}.0.0/20"
        raw = json.dumps({"cidr": cidr, "affinity": None, **value}, separators=(",", ":"))
        put(store, {records.block_key(parse_network(cidr)): raw.encode()})

    used = utilization(store)

    assert 20 + 40 * 4096 == used.counts.pools[0].usage.in_use
    assert () == used.unreadable


def used(cidr: str, **entry: str) -> dict[str, bytes]:
    """A block of node-a whose first address has this entry."""
    block = new_block(parse_network(cidr), "host:node-a", 1)
    block, _ = auto_assign(block, 1, Attribute(handle="h", secondary=entry))
    return stored_block(block)


def test_borrowed_addresses_are_found_in_pages_at_one_revision(memory):
    many(memory)
    put(memory, used("10.0.0.0/29", node="node-b") | used("10.9.0.0/29", node="node-a"))

    found = Borrowings(memory)
    borrowed = [str(each.address) for each in found]

    assert ["10.0.0.0"] == borrowed
    assert 199 == found.without_node
    assert (203, [], ()) == (found.revision, found.unreadable, found.pools)


def test_borrowed_addresses_are_looked_for_in_certain_pools(memory):
    broken = records.block_key(parse_network("10.2.0.0/29"))
    put(memory, pools(a="10.1.0.0/16", b="fd00::/64") | {broken: b"junk"})
    put(memory, used("10.1.0.0/29", node="n") | used("10.9.0.0/29") | used("fd00::/122"))

    found = Borrowings(memory, pools=["10.1.0.0/16"])

    assert ["10.1.0.0"] == [str(each.address) for each in found]
    assert ["a"] == [pool.metadata.name for pool in found.pools]
    assert 0 == found.without_node
    assert [broken] == [error.key for error in found.unreadable]


def test_the_networks_of_our_plugin_are_found_by_their_addresses(memory):
    put(memory, used("10.1.0.0/29", network="net1") | used("10.1.0.8/29", network="net2"))
    put(memory, used("10.2.0.0/29", network="net3") | used("10.1.0.16/29", node="n"))

    assert {"net1", "net2"} == networks_within(memory, parse_network("10.1.0.0/24"))
    assert {"net2"} == networks_within(memory, parse_network("10.1.0.8/30"))
    assert frozenset() == networks_within(memory, parse_network("fd00::/64"))


def test_a_map_has_every_block_and_what_its_nodes_have(memory):
    put(memory, pools(p="10.0.0.0/24"))
    put(memory, owned("10.0.0.0/26", "a", "b") | owned("10.9.0.0/26", "c"))
    put(
        memory,
        dict(
            [
                stored_resource(
                    "ipreservations", "IPReservation", "r", {"reservedCIDRs": ["10.0.0.3"]}
                )
            ]
        ),
    )
    seen: list[int] = []

    found = map_of(memory, advance=seen.append)

    (sheet,), (orphan,) = found.atlas.sheets, found.atlas.orphans
    assert [("10.0.0.0/26", 2, 1)] == [(str(p.cidr), p.in_use, p.reserved) for p in sheet.plots]
    assert "10.9.0.0/26" == str(orphan.cidr)
    assert (2, 3) == (
        found.atlas.tenants["node-a"].blocks,
        found.atlas.tenants["node-a"].addresses,
    )
    assert [1, 1] == seen
    assert ((), 4) == (found.unreadable, found.revision)


def test_a_map_names_what_does_not_decode(memory):
    junk = [
        records.resource_key("ippools", "junk"),
        records.resource_key("ipreservations", "junk"),
        records.block_key(parse_network("10.0.0.64/26")),
    ]
    put(memory, owned("10.0.0.0/26", "a") | dict.fromkeys(junk, b"junk"))

    found = map_of(memory)

    assert junk == [error.key for error in found.unreadable]
    assert 1 == len(found.atlas.orphans)


@pytest.mark.parametrize("name", ["p", "fd00::/64", "FD00:0::/64", "fd00::1/64"])
def test_a_map_of_one_pool_reads_only_its_family(memory, name):
    put(memory, pools(p="fd00::/64", other="10.0.0.0/24"))
    put(
        memory,
        owned("fd00::/122", "a") | {records.block_key(parse_network("10.0.0.0/26")): b"junk"},
    )

    found = map_of(memory, pools=[name])

    assert ["p"] == [sheet.name for sheet in found.atlas.sheets]
    assert (1, ()) == (len(found.atlas.sheets[0].plots), found.unreadable)


def test_a_message_names_some_of_many_pools(memory):
    put(memory, pools(**{f"p{n:02}": f"10.{n}.0.0/24" for n in range(30)}))

    with pytest.raises(
        InvalidRequestError, match=r"'x'; there are p00 \(10.0.0.0/24\), .* and 10 more"
    ):
        map_of(memory, pools=["p01", "x"])
