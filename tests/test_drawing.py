"""The map of everything, of one revision."""

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.drawing import map_of
from poolmgr.errors import InvalidRequestError
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import put
from tests.support.stocked import owned, pools
from tests.support.world import stored_resource


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


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
        InvalidRequestError, match=r"'x'; there are p00 \(10.0.0.0/24\), .* and 25 more"
    ):
        map_of(memory, pools=["p01", "x"])
