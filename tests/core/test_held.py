"""What a handle holds, as a whole and for one interface."""

from dataclasses import replace

import pytest

from poolmgr.core import records
from poolmgr.core.block import Attribute, Block, auto_assign
from poolmgr.core.draft import POOLS, Draft, Missing
from poolmgr.core.handle import Handle
from poolmgr.core.held import STICKY, attachment_of, blocks_of, held_by, matches
from poolmgr.core.link import Link, LinkPolicy, MainPlugin
from poolmgr.core.outcome import Allocation
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import NoMatchingPoolError
from tests.support.facts import block_of, known, stored_block
from tests.support.world import NOON_NS, attachment, stored_resource

ETH0 = attachment("c1")
ANY = LinkPolicy()
NAMED = {"network": "net1", "interface": "eth0"}
KEPT = {**NAMED, "type": STICKY}


@pytest.mark.parametrize(
    ("handle", "secondary", "holder"),
    [
        ("net1.c1", NAMED, ETH0),
        ("net1.c1", {"network": "net1"}, None),
        ("net1.c1", {"interface": "eth0"}, None),
        ("net2.c1", NAMED, None),
        ("a.net1.c1", NAMED, None),
        ("net1.", NAMED, None),
        (None, NAMED, None),
        ("net1.sticky.ns.web", {**KEPT, "container": "c1"}, ETH0),
        ("net1.sticky.ns.web", {**KEPT, "container": ""}, None),
    ],
)
def test_an_entry_says_whole_who_holds_it_or_says_nothing(handle, secondary, holder):
    assert holder == attachment_of(Attribute(handle=handle, secondary=secondary))


@pytest.mark.parametrize(
    ("secondary", "loosely", "strictly"),
    [
        pytest.param({"interface": "eth0", "network": "net1"}, True, True, id="its own"),
        pytest.param({"interface": "eth0"}, True, True, id="no network"),
        pytest.param(
            {"interface": "net1", "network": "net1"}, False, False, id="other interface"
        ),
        pytest.param({"interface": "eth0", "network": "net"}, False, False, id="other network"),
        pytest.param({}, True, False, id="calico-ipam's"),
        pytest.param({"network": "net1"}, True, False, id="no interface"),
        pytest.param({"network": "net"}, False, False, id="no interface, other network"),
    ],
)
def test_an_entry_belongs_to_the_interface_it_names(secondary, loosely, strictly):
    attribute = Attribute(handle="net1.c1", secondary=secondary)

    assert loosely == matches(attribute, ETH0)
    assert strictly == matches(attribute, ETH0, strict=True)
    assert matches(attribute, None, strict=True)


def taken(cidr: str, *secondaries: dict[str, str]) -> Block:
    """A block with an address of the handle for each of these owners."""
    block = block_of(cidr, "another")
    for secondary in secondaries:
        block, _ = auto_assign(block, 1, Attribute(handle=ETH0.handle, secondary=secondary))
    return block


MINE, OTHERS, CALICOS = {"interface": "eth0"}, {"interface": "net1"}, {"node": "node-a"}
FIRST, SECOND = taken("10.0.0.0/29", MINE, OTHERS, CALICOS), taken("fd00::/125", MINE)
GONE = block_of("10.0.0.8/29").cidr
POOL = stored_resource("ippools", "IPPool", "p4", {"cidr": "10.0.0.0/24", "disabled": True})


def draft(*blocks: Block, pools: tuple[tuple[str, bytes], ...] = (POOL,)) -> Draft:
    """A draft in which the handle names these blocks, and one that does not exist."""
    handle = Handle(blocks={block.cidr: 1 for block in blocks} | {GONE: 1})
    values: dict[str, bytes | None] = {
        EPOCH_KEY: b"epoch",
        records.CONFIG_KEY: None,
        records.handle_key(ETH0.handle): records.encode_handle(handle),
        records.handle_key("unknown"): None,
        records.block_key(GONE): None,
        **dict(pools),
    }
    for block in blocks:
        values |= stored_block(block)
    return Draft(known(values, POOLS), NOON_NS)


def addresses(found: tuple[Allocation, ...]) -> list[str]:
    return [str(allocation.address) for allocation in found]


def test_the_blocks_of_a_handle_are_those_that_exist_in_the_order_stored():
    assert [FIRST, SECOND] == blocks_of(draft(SECOND, FIRST), ETH0.handle)
    assert [] == blocks_of(draft(), ETH0.handle)
    assert [] == blocks_of(draft(FIRST), "unknown")


def test_all_blocks_of_a_handle_are_fetched_in_one_read():
    handle = Handle(blocks={FIRST.cidr: 1, SECOND.cidr: 1})
    key = records.handle_key(ETH0.handle)
    subject = Draft(known({key: records.encode_handle(handle)}), NOON_NS)

    with pytest.raises(Missing) as caught:
        blocks_of(subject, ETH0.handle)

    assert {
        records.block_key(FIRST.cidr),
        records.block_key(SECOND.cidr),
    } == caught.value.fetch.keys


@pytest.mark.parametrize(
    ("to", "strict", "held"),
    [
        (ETH0, True, ["10.0.0.1"]),
        (ETH0, False, ["10.0.0.1", "10.0.0.3"]),
        (None, True, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (attachment("c1", interface="eth9"), True, []),
        (attachment("c1", interface="eth9"), False, ["10.0.0.3"]),
    ],
)
def test_a_handles_addresses_are_found_for_one_interface_or_all(to, strict, held):
    assert held == addresses(held_by(draft(FIRST), ETH0.handle, to, ANY, strict=strict))


def test_an_allocation_names_its_block_pool_and_number():
    (found,) = held_by(draft(FIRST), ETH0.handle, ETH0, ANY)

    assert (FIRST.cidr, "p4", NOON_NS + 1) == (found.block, found.pool, found.sequence_number)
    assert 32 == found.link.prefix_length


def test_an_ordinal_without_a_recorded_number_has_zero():
    (found,) = held_by(draft(replace(FIRST, sequence_numbers={})), ETH0.handle, ETH0, ANY)

    assert 0 == found.sequence_number


def test_only_blocks_that_answer_are_compared():
    subject = draft(FIRST, taken("10.0.0.16/29", OTHERS))

    held_by(subject, ETH0.handle, ETH0, ANY)

    txn = subject.txn(b"seed")
    assert txn is not None
    assert {records.block_key(FIRST.cidr)} == txn.expect.keys()


def test_who_holds_nothing_makes_nothing_to_compare():
    subject = draft(FIRST)

    assert () == held_by(subject, "unknown", None, ANY)
    assert subject.txn(b"seed") is None


def test_an_address_that_no_pool_contains_any_more_stays_its_owners():
    (found,) = held_by(draft(SECOND, pools=()), ETH0.handle, ETH0, LinkPolicy())

    assert ("fd00::1", "") == (str(found.address), found.pool)
    assert 128 == found.link.prefix_length


def test_an_address_that_no_pool_contains_any_more_does_not_answer_a_plugin_with_a_gateway():
    policy = LinkPolicy(main=MainPlugin.PTP)

    with pytest.raises(NoMatchingPoolError, match="no pool around block"):
        held_by(draft(SECOND, pools=()), ETH0.handle, ETH0, policy)


def test_an_address_of_a_pool_that_the_plugin_cannot_use_any_more_stays_its_owners():
    policy = LinkPolicy(prefix_length={4: 30})

    found, *_ = held_by(draft(FIRST), ETH0.handle, ETH0, policy, strict=False)

    assert ("10.0.0.1", "p4") == (str(found.address), found.pool)
    assert Link(prefix_length=32) == found.link


def test_an_assignment_is_not_answered_with_an_address_that_the_plugin_cannot_use():
    policy = LinkPolicy(prefix_length={4: 30})

    with pytest.raises(NoMatchingPoolError, match=r"10\.0\.0\.1 of the interface does not fit"):
        held_by(draft(FIRST), ETH0.handle, ETH0, policy)


def test_the_pools_annotations_and_the_plugin_shape_the_answer():
    annotated = stored_resource(
        "ippools",
        "IPPool",
        "p4",
        {"cidr": "10.0.0.0/24"},
        annotations={"ipam.poolmgr.io/gateway": "10.0.0.254"},
    )
    policy = LinkPolicy(main=MainPlugin.FLAT)

    (found,) = held_by(draft(FIRST, pools=(annotated,)), ETH0.handle, ETH0, policy)

    assert (24, "10.0.0.254") == (found.link.prefix_length, str(found.link.gateway))
