"""Questions about everything: counts and findings of one revision, in pages."""

from collections import Counter

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.block import Attribute, auto_assign, new_block
from poolmgr.core.flaws import Flaw
from poolmgr.core.txn import Txn
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit, Borrowings, networks_within, utilization
from tests.support.facts import stored_block
from tests.support.poolctl import put
from tests.support.stocked import many, owned, pools


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


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
