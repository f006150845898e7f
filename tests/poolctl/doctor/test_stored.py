"""What is thought of pools, configuration and identity."""

import json

import pytest

from poolctl.doctor.findings import Verdict
from poolctl.doctor.stored import examine
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.records import CONFIG_KEY, resource_key
from poolmgr.core.txn import EPOCH_KEY
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import CLUSTER, POOL_A, manifest, pool, put

POOL = {POOL_A: pool("pool-a", "10.10.0.0/24").encode()}


def look(values):
    """Check -> its findings' verdicts and facts, of a store that holds some values."""
    store = MemoryStore()
    put(
        store,
        {
            key: each if isinstance(each, bytes) else each.encode()
            for key, each in values.items()
        },
    )
    found = {}
    for each in examine(store, timeout_s=5):
        assert (each.verdict in (Verdict.WARNING, Verdict.PROBLEM)) == bool(each.remedy)
        found.setdefault(each.check, []).append((each.verdict, each.fact))
    return found


def cluster(**spec):
    return {CLUSTER: manifest("ClusterInformation", "default", spec)}


def test_an_empty_etcd_lacks_a_pool_and_nothing_else():
    found = look({})

    assert [(Verdict.PROBLEM, "there is no pool: no address can be assigned")] == found["pools"]
    assert {Verdict.OK} == {
        v for check, all_ in found.items() if check != "pools" for v, _ in all_
    }


def test_a_used_etcd_is_fine():
    found = look(POOL | cluster(clusterGUID="abc", datastoreReady=True) | {EPOCH_KEY: "e"})

    assert [(Verdict.OK, "is ready; cluster abc")] == found["datastore"]
    assert [(Verdict.OK, "is there")] == found["epoch"]
    assert [(Verdict.OK, "1 of 1 are enabled")] == found["pools"]
    assert [Verdict.OK] == [verdict for verdict, _ in found["usage"]]


def test_a_locked_datastore_is_warned_of():
    assert Verdict.WARNING == look(cluster(datastoreReady=False))["datastore"][0][0]


def test_a_copy_that_broke_off_is_a_problem():
    found = look({MARKER_KEY: "{}"})

    assert [Verdict.PROBLEM] == [verdict for verdict, _ in found["copy"]]
    assert "copy" not in look({})


def test_no_pool_is_made_in_the_way_of_a_copy():
    store = MemoryStore()
    put(store, {MARKER_KEY: b"{}"})

    (finding,) = (each for each in examine(store, timeout_s=5) if each.check == "pools")

    assert Verdict.PROBLEM == finding.verdict
    assert "poolctl apply" not in finding.remedy
    assert "poolctl datastore restore" in finding.remedy


def test_an_epoch_that_was_deleted_is_warned_of():
    found = look({"/poolmgr/v1/session/node-a": '{"n": 1, "deleted": []}'})

    assert Verdict.WARNING == found["epoch"][0][0]


@pytest.mark.parametrize(
    ("config", "verdict", "fact"),
    [
        (
            '{"strict_affinity":true}',
            Verdict.OK,
            "as configured: strict affinity on, 20 blocks",
        ),
        ('{"auto_allocate_blocks":true,"maxBlocksPerHost":-1}', Verdict.OK, "any number of"),
        ("{}", Verdict.WARNING, "StrictAffinity and AutoAllocateBlocks are both false"),
        ("[]", Verdict.PROBLEM, CONFIG_KEY),
    ],
)
def test_the_configuration_is_judged_by_the_rules_for_a_new_one(config, verdict, fact):
    ((judged, said),) = look({CONFIG_KEY: config})["configuration"]

    assert verdict == judged
    assert fact in said


def test_a_resource_that_nobody_reads_is_warned_of():
    key = resource_key("ipamconfigurations", "default")

    found = look({key: manifest("IPAMConfiguration", "default")})["configuration"]

    assert [Verdict.OK, Verdict.WARNING] == [verdict for verdict, _ in found]


def test_pools_that_are_all_disabled_serve_nobody():
    found = look({POOL_A: pool(disabled=True)})

    assert [(Verdict.PROBLEM, "all 1 pools are disabled: no address can be assigned")] == found[
        "pools"
    ]


def test_pools_that_overlap_are_named_in_pairs():
    key = resource_key("ippools", "pool-b")
    sixth = resource_key("ippools", "pool-c")

    found = look(
        POOL | {key: pool("pool-b", "10.10.0.128/25"), sixth: pool("pool-c", "fd00::/64")}
    )

    assert [Verdict.OK, Verdict.PROBLEM] == [verdict for verdict, _ in found["pools"]]
    assert "pool-a (10.10.0.0/24) and pool-b (10.10.0.128/25) overlap" in found["pools"][1][1]


def test_a_pool_that_does_not_decode_is_named():
    found = look(POOL | {resource_key("ippools", "pool-b"): "nonsense"})

    assert Verdict.PROBLEM == found["pools"][0][0]
    assert "ippools/pool-b" in found["pools"][0][1]


@pytest.mark.parametrize(("in_use", "verdict"), [(57, Verdict.OK), (58, Verdict.WARNING)])
def test_a_pool_with_less_than_a_tenth_free_is_nearly_full(in_use, verdict):
    block = {
        "cidr": "10.10.0.0/26",
        "affinity": "host:node-a",
        "allocations": [0] * in_use + [None] * (64 - in_use),
        "unallocated": list(range(in_use, 64)),
        "attributes": [{"handle_id": "h"}],
    }
    key = "/calico/ipam/v2/assignment/ipv4/block/10.10.0.0-26"

    ((judged, fact),) = look({POOL_A: pool("pool-a", "10.10.0.0/26"), key: json.dumps(block)})[
        "usage"
    ]

    assert verdict == judged
    if verdict is Verdict.WARNING:
        assert "has 6 of 64 addresses free; 58 in use, 0 reserved" in fact


def test_a_block_that_does_not_decode_is_named():
    key = "/calico/ipam/v2/assignment/ipv4/block/10.10.0.0-26"

    found = look(POOL | {key: "nonsense"})["usage"]

    assert Verdict.PROBLEM == found[0][0]
    assert key in found[0][1]
