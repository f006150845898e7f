import json

import pytest
import yaml

from poolctl.config import Session
from poolctl.ipam.capacity import Wanted, capacity
from poolctl.ipam.capacity_text import rendered
from tests.support.world import World

CIDR = """\
pool            10.244.0.0/16, not stored
wanted          120 nodes, 110 pods each: 13,200 addresses
addresses       65,536; reserved 0; kept by prefix and gateway 3, for main
                plugin ptp
block limit     20 blocks per node, the default
strict affinity off: a node without a free block borrows; that is not counted on
                here

BLOCKS    IPS  PER NODE  AVAILABLE  NODES    PODS  STRANDED  FITS
/20     4,096         1         16     16   1,760    63,773  no
/21     2,048         1         32     32   3,520    62,013  no
/22     1,024         1         64     64   7,040    58,493  no
/23       512         1        128    128  14,080    48,240  yes
/24       256         1        256    256  28,160    17,520  yes
/25       128         1        512    512  56,320     2,160  yes    best
/26        64         2      1,024    512  56,320     2,160  yes
/27        32         4      2,048    512  56,320     2,160  yes
/28        16         7      4,096    585  64,350       240  yes
/29         8        14      8,192    585  64,350       240  yes
/30         4        28     16,384      0       0         0  limit
/31         2        55     32,767      0       0         0  limit
/32         1       110     65,533      0       0         0  limit

fits            with blocks of /25; room for 392 more nodes, or for 402 more
                pods on each of the 120
recommended     blocks of /25: the fewest blocks per node, and so the fewest
                routes, among the sizes that strand at most one address for 3
                pods"""

POOL = """\
pool            pods, 10.0.0.0/28
wanted          2 nodes, 5 pods each: 10 addresses
addresses       16; reserved 4; kept by prefix and gateway 3, for main plugin
                ptp
now             0 blocks of /30, owned by 0 nodes
block limit     1 block per node, configured
strict affinity on: a node without a free block refuses pods

BLOCKS  IPS  PER NODE  AVAILABLE  NODES  PODS  STRANDED  FITS
/28      16         1          1      1     5         6  no
/29       8         1          2      1     5         2  no
/30       4         2          3      0     0         0  limit  now
/31       2         3          6      0     0         0  limit
/32       1         5         11      0     0         0  limit

DOES NOT FIT    with blocks of /30: a node needs 2 of them and may own 1, enough
                for 4 pods; raise maxBlocksPerHost (poolctl ipam configure),
                which is 20 by default, or take larger blocks
recommended     a larger network: no size of blocks fits"""


def answer(world, **wanted):
    session = Session(None, None, 30)
    session.store = world.store
    return capacity(session, Wanted(**wanted))


def small():
    world = World().pool("pods", "10.0.0.0/28", blockSize=30).reserve("r", "10.0.0.0/30")
    return world.configure(maxBlocksPerHost=1, strict_affinity=True)


def test_a_network_that_fits():
    assert CIDR == rendered(answer(World(), nodes=120, pods=110, pool="10.244.0.0/16"), "table")


def test_a_pool_that_does_not_fit():
    assert POOL == rendered(answer(small(), nodes=2, pods=5), "table")


def test_exact_numbers_of_ipv6_stay_within_80_columns():
    text = rendered(answer(World(), nodes=12, pods=30, pool="fd00::/48"), "table")

    assert "  available     37,778,931,862,957,161,709,568" in text
    assert "/123  best" in text
    assert "/121" not in text
    assert "and 10 other sizes: -o wide" in text
    assert max(map(len, text.splitlines())) <= 80


def test_all_sizes_are_told_where_they_are_asked_for_or_fit(monkeypatch):
    found = answer(World(), nodes=12, pods=30, pool="fd00::/48")
    wide = rendered(found, "wide")
    monkeypatch.setenv("COLUMNS", "200")

    assert [f"/{size}" for size in range(116, 129)] == [
        line.split()[0] for line in wide.splitlines() if line.startswith("/")
    ]
    assert "1,180,591,620,717,411,303,424" in wide
    assert "BLOCKS " in rendered(found, "table")


def test_where_nothing_fits_the_sizes_that_carry_most_nodes_are_told(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = rendered(answer(World(), nodes=10**6, pods=10**6, pool="fd00::/104"), "table")

    assert ["/116", "/117"] == [each for each in text.splitlines() if each.startswith("/")]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"nodes": 3, "pods": 5, "pool": "10.0.0.0/28", "size": 28},
            "/28: 1 of the 3 nodes can have that many pods; 1 block can be claimed",
        ),
        (
            {"nodes": 3, "pods": 30, "pool": "10.0.0.0/26", "size": 28},
            "/28: 1 of the 3 nodes can have that many pods, all of them 16",
        ),
        ({"nodes": 9, "pods": 5, "pool": "10.0.0.0/29"}, "with no size of blocks"),
        (
            {"nodes": 4, "pods": 28, "pool": "10.0.0.0/24", "size": 27},
            "recommended /27 as given: the fewest blocks per node",
        ),
        (
            {"nodes": 3, "pods": 30, "pool": "10.0.0.0/24", "size": 26},
            "fits with blocks of /26; room for 1 more node, or for 34 more pods on each of the 3 "
            "recommended blocks of /27",
        ),
        ({"nodes": 1, "pods": 1, "pool": "10.0.0.0/31"}, "room for 0 more nodes"),
    ],
)
def test_the_verdict_says_why(wanted, said):
    text = " ".join(rendered(answer(World(), **wanted), "table").split())

    assert said in text


def test_no_limit_of_blocks_is_told():
    world = World().configure(maxBlocksPerHost=-1)
    text = rendered(answer(world, nodes=1, pods=1, pool="10.0.0.0/24"), "table")

    assert "block limit     none" in text


def test_json_and_yaml_say_the_same():
    found = answer(small(), nodes=2, pods=5)
    value = json.loads(rendered(found, "json"))

    assert value == yaml.safe_load(rendered(found, "yaml"))
    assert {"name": "pods", "cidr": "10.0.0.0/28"} == value["pool"]
    assert (False, 30, None, None) == (
        value["fits"], value["given"], value["recommended"], value["growth"],
    )  # fmt: skip
    assert {
        "blockSize": 29,
        "addressesPerBlock": 8,
        "blocksPerNode": 1,
        "blocks": 2,
        "blocksAvailable": 2,
        "nodes": 1,
        "pods": 5,
        "stranded": 2,
        "mostPodsPerNode": 4,
        "limited": False,
        "fits": False,
    } == value["sizes"][1]


def test_growth_is_told_where_it_fits():
    found = answer(World(), nodes=2, pods=30, pool="10.0.0.0/24")
    value = json.loads(rendered(found, "json"))

    assert {"nodes": 6, "podsPerNode": 95} == value["growth"]
    assert 27 == value["recommended"]["blockSize"]
