"""Section 19: everything is moved to another etcd, as its own process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.audit import invariants
from poolmgr.core.records import affinity_key, block_key, handle_key
from poolmgr.core.request import AutoAssign
from poolmgr.ipam import IPAM
from poolmgr.store.embedded import EmbeddedEtcd
from tests.behaviours.row import Row, each
from tests.support.rawetcd import RawEtcd
from tests.support.world import stored_resource

POOLS = {
    "ipam-test-v4": {"cidr": "10.65.0.0/16"},
    "ipam-test-v6": {"cidr": "fd5f:abcd:64::/48"},
    "ipam-test-v4-b29": {"cidr": "10.66.0.0/16", "blockSize": 29},
}
BLOCK = parse_network("192.168.201.0/26")


@dataclass(frozen=True, slots=True)
class Moved(Row):
    """
    Addresses in use that are moved to another etcd.

    Attributes:
        used: Pool and number of addresses, one request after another.
        looks: Arguments after `ipam`, and texts that must stand together on a line of the output.
    """

    used: tuple[tuple[str, int], ...]
    looks: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Renamed(Row):
    """A node that is called `new` in the export."""

    new: str


MOVED = (
    Moved(
        "CT-28",
        (("ipam-test-v4", 5), ("ipam-test-v6", 7), ("ipam-test-v4-b29", 11)),
        (
            (("show",), ("10.65.0.0/16", "5", "65,531")),
            (("show",), ("fd5f:abcd:64::/48", "7")),
            (("show", "--show-blocks"), ("Block", "10.65", "5 (8%)", "59 (92%)")),
            (("show", "--show-blocks"), ("Block", "10.66", "8 (100%)", "0 (0%)")),
        ),
    ),
)
RENAMED = (Renamed("CT-29", "new"), Renamed("CT-30", "old"))
ROWS = (*MOVED, *RENAMED)


@pytest.fixture
def elsewhere(etcd_binary):
    """Another etcd, which is empty."""
    with EmbeddedEtcd(etcd_binary) as etcd:
        yield etcd.endpoint


def stored_at(endpoint: str) -> dict[str, bytes]:
    other = RawEtcd(endpoint)
    found = other.dump()
    other.close()
    return found


def put_resources(raw, specs: Mapping[str, dict], node: str) -> None:
    for name, spec in specs.items():
        raw.put(*stored_resource("ippools", "IPPool", name, spec))
    raw.put(*stored_resource("nodes", "Node", node, {}))


@each(MOVED)
def test_counts_stay_the_same_on_the_way_to_another_etcd(
    row, program, raw, store, elsewhere, tmp_path
):
    put_resources(raw, POOLS, "node4")
    for pool, count in row.used:
        family = 6 if "v6" in pool else 4
        request = AutoAssign(
            host="node4", handle="h", count={family: count}, pools={family: (pool,)}
        )
        assert count == len(IPAM(store).auto_assign(request).allocations)
    path = str(tmp_path / "export")
    there = ("--etcd-endpoints", elsewhere)

    assert "Datastore locked.\n" == program("datastore", "migrate", "lock").stdout
    assert 0 == program("datastore", "migrate", "export", "-o", path).returncode
    done = program(*there, "datastore", "migrate", "import", "-f", path, "--yes")
    unlocked = program(*there, "datastore", "migrate", "unlock")

    assert (0, 0) == (done.returncode, unlocked.returncode)
    assert () == invariants(stored_at(elsewhere).items())
    for call, texts in row.looks:
        shown = program(*there, "ipam", *call).stdout
        assert program("ipam", *call).stdout == shown
        assert any(all(text in line for text in texts) for line in shown.splitlines()), shown


def state(node: str) -> dict[str, dict]:
    """What is stored of a block, under the name of its node."""
    tunnel = f"ipip-tunnel-addr-{node}"
    return {
        affinity_key(node, BLOCK): {"state": "confirmed", "deleted": False},
        handle_key(tunnel): {"block": {str(BLOCK): 1}, "deleted": False},
        block_key(BLOCK): {
            "cidr": str(BLOCK),
            "affinity": f"host:{node}",
            "allocations": [0, *[None] * 63],
            "unallocated": [*range(1, 64)],
            "attributes": [
                {
                    "handle_id": tunnel,
                    "secondary": {"node": node, "type": "ipipTunnelAddress"},
                    "alternateOwnerAttrs": {"node": node},
                }
            ],
            "sequenceNumber": 7,
            "sequenceNumberForAllocation": {"0": 6},
            "deleted": False,
        },
    }


@each(RENAMED)
def test_a_node_has_its_new_name_everywhere(row, program, raw, elsewhere, tmp_path):
    put_resources(raw, {"pool": {"cidr": "192.168.0.0/16"}}, "old")
    for key, value in state("old").items():
        raw.put(key, json.dumps(value))
    path = str(tmp_path / "export")

    made = program("datastore", "export", "--rename", f"old={row.new}", "-o", path)
    done = program("--etcd-endpoints", elsewhere, "datastore", "import", "-f", path, "--yes")

    found = stored_at(elsewhere)
    assert (0, 0) == (made.returncode, done.returncode)
    assert () == invariants(found.items())
    assert state(row.new) == {
        key: json.loads(value) for key, value in found.items() if "/ipam/v2/" in key
    }
