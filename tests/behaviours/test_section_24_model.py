"""Section 24.6: what is stored, and under which keys."""

import json
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from poolmgr.cidr import address_at, ordinal_of, parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.affinity import AffinityState
from poolmgr.core.block import Block
from poolmgr.core.flaws import Flaw
from poolmgr.core.handle import Handle
from tests.behaviours.row import Row, each
from tests.support.site import affinity_key, block_key, literal_block

CIDR = "10.0.0.0/29"


@dataclass(frozen=True, slots=True)
class Size(Row):
    cidr: str
    addresses: int


@dataclass(frozen=True, slots=True)
class Ordinal(Row):
    cidr: str
    ordinal: int
    address: str


@dataclass(frozen=True, slots=True)
class State(Row):
    """
    An affinity as it is stored.

    Attributes:
        used: The same after its host has used the block.
    """

    value: str
    state: AffinityState
    used: str


CONFIRMED = '{"state":"confirmed","deleted":false}'

SIZES = (Size("BK-01", "10.0.0.0/16", 65536), Size("BK-01", "10.0.0.0/32", 1))
ORDINALS = (
    *(Ordinal("BK-02", "10.0.0.0/30", n, f"10.0.0.{n}") for n in range(4)),
    *(Ordinal("BK-02", "10.0.0.64/30", n, f"10.0.0.{64 + n}") for n in range(4)),
    Ordinal("BK-02", "10.0.0.64/32", 0, "10.0.0.64"),
    Ordinal("BK-02", "10.0.128.0/17", 0, "10.0.128.0"),
    Ordinal("BK-02", "10.0.128.0/17", 256, "10.0.129.0"),
    Ordinal("BK-02", "10.0.128.0/17", 257, "10.0.129.1"),
)
STATES = (
    State("BK-04", '{"state":"confirmed"}', AffinityState.CONFIRMED, '{"state":"confirmed"}'),
    State("BK-05", '{"state":"pending"}', AffinityState.PENDING, CONFIRMED),
    State("BK-07", "", AffinityState.LEGACY, ""),
    State("BK-08", "{}", AffinityState.LEGACY, "{}"),
)
COPIES, FRAGMENTS = Row("BK-09"), Row("BK-10")

ROWS = (*SIZES, *ORDINALS, *STATES, COPIES, FRAGMENTS)


@each(SIZES)
def test_a_block_has_as_many_addresses_as_its_cidr(row):
    assert row.addresses == parse_network(row.cidr).num_addresses


@each(ORDINALS)
def test_an_ordinal_is_the_offset_in_the_block(row):
    block, address = parse_network(row.cidr), parse_address(row.address)

    assert (address, row.ordinal) == (
        address_at(block, row.ordinal),
        ordinal_of(block, address),
    )


def test_stored_ordinals_are_offsets_in_the_block(site):
    site.pool("pool-a", "10.0.128.0/20", 20)
    site.assign("10.0.129.1", handle="h")

    block = site.blocks()["10.0.128.0/20"]
    assert [257] == [n for n, index in enumerate(block["allocations"]) if index is not None]
    assert ["257"] == [*block["sequenceNumberForAllocation"]]


@each(STATES)
def test_every_form_of_an_affinity_is_read_and_its_block_used(row, site):
    key = affinity_key("node-a", CIDR)
    site.pool("pool-a", CIDR, 29)
    site.seed(CIDR, number=1)
    site.put(key, row.value)

    assert row.state == records.decode_affinity(key, row.value.encode()).state
    assert "10.0.0.0" == site.add("c1")
    assert row.used == site.content()[key].decode()


@each([COPIES])
def test_values_cannot_be_changed_only_made_anew(row):
    raw = json.dumps(literal_block(CIDR, [{"handle_id": "h"}], {0: 0})).encode()
    block = records.decode_block(block_key(CIDR), raw)
    handle = Handle(blocks={block.cidr: 1})

    for value in (block, handle, *block.attributes):
        for each_ in fields(value):
            with pytest.raises(FrozenInstanceError):
                setattr(value, each_.name, None)
    assert 2 == handle.add(block.cidr, 1).blocks[block.cidr]
    assert {} == handle.subtract(block.cidr, 1).blocks
    assert {block.cidr: 1} == handle.blocks
    assert block == Block(**{each_.name: getattr(block, each_.name) for each_ in fields(block)})


SEEDS = (
    "/calico/v1/ipam",
    "/calico/ipam/v2",
    "/calico/ipam/v2/assignment/ipv4/1.2.3.4-26",
    "/calico/ipam/v2/handle/foobar",
    "/calico/ipam/v2/handle/foobar/baz",
    "/calico/ipam/v2/host/foobar/ipv4/block/1.2.3.4-5",
    "calico/ipam/v2/host/0/ipv0/block/0",
)
SOUND = (
    "/calico/ipam/v2/assignment/ipv4/block/1.2.3.0-26",
    "/calico/ipam/v2/host/foobar/ipv6/block/fd00::-122",
    "/calico/ipam/v2/virtual/foobar/ipv4/block/1.2.3.0-26",
)
KEYS = [
    form
    for seed in (*SEEDS, *SOUND)
    for form in (
        seed,
        seed.removeprefix("/"),
        f"{seed}/",
        seed.replace("/", "//"),
        f"/cluster/cluster-1{seed}",
    )
]


@pytest.mark.parametrize("key", KEYS)
@each([FRAGMENTS])
def test_a_key_that_is_understood_is_written_back_as_it_was(row, key):
    block, host = records.block_of_key(key), records.host_of_key(key)

    assert (key in SOUND) == (block is not None)
    if block is not None and host is not None:
        assert key == records.affinity_key(host[1], block, host[0])
    elif block is not None:
        assert key == records.block_key(block)


@each([FRAGMENTS])
def test_keys_that_mean_nothing_stop_nobody(row, site):
    site.pool("pool-a", CIDR, 29)
    for key in KEYS:
        if key not in SOUND:
            site.put(key, "{}")

    assert "10.0.0.0" == site.add("c1", node="foobar")
    assert "10.0.0.1" == site.add("c2", node="node-a")
    site.delete("c1", node="foobar")
    block = json.loads(site.content()[block_key(CIDR)])
    assert [2, 3, 4, 5, 6, 7, 0] == block["unallocated"]
    site.left = {Flaw.CORRUPT, Flaw.HANDLE_WITHOUT_ADDRESS}
