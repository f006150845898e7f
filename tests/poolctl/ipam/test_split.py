"""`poolctl ipam split`: parts in place of a pool."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from poolctl.report import REFUSED, UNKNOWN, USAGE
from poolmgr.cidr import parse_address, parse_network
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core import records
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH
from poolmgr.core.request import AssignIP, AutoAssign, ReleaseByHandle
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import CommitUnknownError
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import on, put, stored
from tests.support.world import stored_resource

SPEC = {
    "cidr": "10.0.0.0/24",
    "blockSize": 28,
    "vxlanMode": "Never",
    "ipipMode": "Always",
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}
POOLS = records.resource_range("ippools")


def put_pool(store, name="p", *, metadata=None, **spec) -> None:
    put(
        store,
        dict([stored_resource("ippools", "IPPool", name, SPEC | spec, **(metadata or {}))]),
    )


def pools(store) -> dict[str, dict]:
    return {
        (value := json.loads(raw))["metadata"]["name"]: value
        for key, raw in stored(store).items()
        if key in POOLS
    }


def others(store) -> dict[str, bytes]:
    return {key: raw for key, raw in stored(store).items() if key not in POOLS}


@pytest.mark.parametrize("how", [("--name", "p"), ("--cidr", "10.0.0.0/24")])
def test_parts_take_the_place_of_the_pool(at_memory, memory, how):
    put_pool(memory, theirs=1)

    result = at_memory("ipam", "split", "4", *how)

    assert 0 == result.exit_code
    assert [
        "ippool/p split into 4 parts",
        *(f"ippool/split-p-{n} created, 10.0.0.{64 * n}/26" for n in range(4)),
    ] == result.stdout.splitlines()
    assert "that name p or 10.0.0.0/24 do not find it any more" in result.stderr
    assert {
        f"split-p-{n}": {**SPEC, "cidr": f"10.0.0.{64 * n}/26", "theirs": 1} for n in range(4)
    } == {name: pool["spec"] for name, pool in pools(memory).items()}
    assert 4 == len({pool["metadata"]["uid"] for pool in pools(memory).values()})


def test_an_ipv6_pool_is_found_by_any_spelling(at_memory, memory):
    put_pool(memory, cidr="fd00::/112", blockSize=122, ipipMode="Never")

    result = at_memory("ipam", "split", "2", "--cidr", "FD00:0:0::0/112")

    assert 0 == result.exit_code
    assert ["fd00::/113", "fd00::8000/113"] == [
        pool["spec"]["cidr"] for pool in pools(memory).values()
    ]


def test_addresses_stay_and_are_released_and_assigned_as_before(poolctl, store, raw):
    put_pool(store, ipipMode="Never")
    ipam = IPAM(store)
    wanted = parse_address("10.0.0.77")
    ipam.assign_ip(AssignIP(addresses=(wanted,), host="node-a", handle="h"))
    before = others(store)

    assert 0 == poolctl("ipam", "split", "4", "--name", "p").exit_code
    assert before == others(store)
    again = ipam.auto_assign(AutoAssign(host="node-a", handle="i", count={4: 1}))
    assert "split-p-1" == again.allocations[0].pool
    assert parse_network("10.0.0.64/28") == again.allocations[0].block
    assert (wanted,) == ipam.release_by_handle(ReleaseByHandle(handles=("h",))).released


def test_labels_annotations_and_status_are_those_of_the_pool(at_memory, memory):
    metadata = {"labels": {"a": "b"}, "annotations": {"team": "red"}, "uid": "old"}
    key, value = stored_resource("ippools", "IPPool", "p", SPEC, **metadata)
    status = {"conditions": [{"type": "Allocatable", "status": "False"}]}
    put(memory, {key: json.dumps(json.loads(value) | {"status": status}).encode()})

    at_memory("ipam", "split", "2", "--name", "p")

    for pool in pools(memory).values():
        assert {"a": "b"} == pool["metadata"]["labels"]
        assert {"team": "red"} == pool["metadata"]["annotations"]
        assert "old" != pool["metadata"]["uid"]
        assert status == pool["status"]


def test_parts_of_a_disabled_pool_are_disabled(at_memory, memory):
    put_pool(memory, disabled=True)

    result = at_memory("ipam", "split", "2", "--name", "p")

    assert "ippool/p split into 2 parts, disabled as it was\n" in result.stdout
    assert [True, True] == [pool["spec"]["disabled"] for pool in pools(memory).values()]


def test_the_first_change_of_all_makes_the_epoch(at_memory, memory):
    put_pool(memory)

    at_memory("ipam", "split", "64", "--name", "p")
    first = stored(memory).get(EPOCH_KEY)
    at_memory("ipam", "split", "16", "--name", "p")

    assert 16 == len(pools(memory))
    assert first is None, "64 parts were refused"
    assert stored(memory)[EPOCH_KEY]


def test_64_parts_go_into_one_transaction_of_etcd(poolctl, store, raw):
    put_pool(store, cidr="10.0.0.0/16")
    before = store.commit(Txn(expect={})).revision

    assert 0 == poolctl("ipam", "split", "64", "--name", "p").exit_code
    assert 64 == len(pools(store))
    assert before + 1 == store.commit(Txn(expect={}, epoch=stored(store)[EPOCH_KEY])).revision


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["32", "--name", "p"], "ippool/p: 10.0.0.0/24 has 16 blocks of /28: too few for 32"),
        (["2", "--name", "nope"], "there is no pool nope"),
        (["2", "--cidr", "10.0.0.0/25"], "there is no pool 10.0.0.0/25"),
    ],
)
def test_what_cannot_be_done_changes_nothing(at_memory, memory, args, message):
    put_pool(memory)
    before = stored(memory)

    result = at_memory("ipam", "split", *args)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert message in result.stderr
    assert before == stored(memory)


@pytest.mark.parametrize("number", ["0", "1", "3"])
def test_a_number_that_no_pool_can_be_split_into_is_a_wrong_call(at_memory, number):
    result = at_memory("ipam", "split", number, "--name", "p")

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert f"{number} is no power of two, such as 2, 4 or 8" in result.stderr


def test_a_part_takes_no_other_pools_name(at_memory, memory):
    put_pool(memory)
    put_pool(memory, "split-p-1", cidr="10.9.0.0/24")

    result = at_memory("ipam", "split", "2", "--name", "p")

    assert REFUSED == result.exit_code
    assert "a part would be called split-p-1, as a pool is that exists" in result.stderr


def test_annotations_that_are_too_large_for_so_many_parts_are_refused(at_memory, memory):
    put_pool(memory, metadata={"annotations": {"a": "x" * 200_000}})

    refused = at_memory("ipam", "split", "16", "--name", "p")

    assert REFUSED == refused.exit_code
    assert "more than etcd takes at once; ask for fewer parts" in refused.stderr
    assert 0 == at_memory("ipam", "split", "4", "--name", "p").exit_code


def test_a_dry_run_tells_and_changes_nothing(at_memory, memory):
    put_pool(memory)
    before = stored(memory)

    result = at_memory("ipam", "split", "2", "--name", "p", "--dry-run")

    assert 0 == result.exit_code
    assert "ippool/p split into 2 parts (dry run)\n" in result.stdout
    assert before == stored(memory)


def test_a_pool_that_does_not_decode_is_named_only_if_it_may_be_the_one(at_memory, memory):
    put_pool(memory)
    broken = records.resource_key("ippools", "broken")
    put(memory, {broken: b"junk"})

    assert broken in at_memory("ipam", "split", "2", "--cidr", "10.1.0.0/24").stderr
    assert broken in at_memory("ipam", "split", "2", "--name", "broken").stderr
    assert 0 == at_memory("ipam", "split", "2", "--name", "p").exit_code


class Meanwhile(MemoryStore):
    """A store where something happens just before the first commit."""

    happens: Callable[[], object] | None = None

    def commit(self, txn, **options):
        if happens := self.happens:
            self.happens = None
            happens()
        return super().commit(txn, **options)


@pytest.mark.parametrize(
    "rival",
    [
        lambda store: put_pool(store, natOutgoing=True),
        lambda store: put_pool(store, "split-p-0", cidr="10.9.0.0/24"),
        lambda store: put_pool(store, "other", cidr="10.9.0.0/24"),
        lambda store: store.commit(
            Txn(expect={}, deletes=frozenset({records.resource_key("ippools", "p")}))
        ),
    ],
    ids=["changed", "name taken", "another pool", "deleted"],
)
def test_what_somebody_else_does_at_the_same_time_is_not_overwritten(rival):
    store = Meanwhile()
    put_pool(store)
    store.happens = lambda: rival(store)

    result = on(store)("ipam", "split", "2", "--name", "p")

    assert REFUSED == result.exit_code
    assert "somebody else changed a pool at the same time; nothing was written" in result.stderr
    assert "split-p-1" not in pools(store)


def test_nothing_is_split_while_a_copy_is_written():
    store = Meanwhile()
    put_pool(store)
    store.happens = lambda: put(store, {MARKER_KEY: b"{}"})
    result = on(store)("ipam", "split", "2", "--name", "p")

    assert REFUSED == result.exit_code
    assert "a copy is being written" in result.stderr
    assert "datastore restore" in result.stderr
    assert ["p"] == [*pools(store)]


def test_data_that_was_restored_meanwhile_is_left_alone():
    store = Meanwhile()
    put_pool(store)
    store.happens = lambda: put(store, {EPOCH_KEY: b"other"})

    assert REFUSED == on(store)("ipam", "split", "2", "--name", "p").exit_code
    assert ["p"] == [*pools(store)]


def test_an_unknown_outcome_is_called_so():
    store = Meanwhile()
    put_pool(store)

    def lost():
        raise CommitUnknownError("no answer")

    store.happens = lost

    result = on(store)("ipam", "split", "2", "--name", "p")

    assert (UNKNOWN, "") == (result.exit_code, result.stdout)


def test_the_parts_leave_no_gap_and_come_at_once(poolctl, store, raw):
    put_pool(store, cidr="10.0.0.0/16")
    poolctl("ipam", "split", "16", "--name", "p")

    found = sorted(parse_network(pool["spec"]["cidr"]) for pool in pools(store).values())
    page = store.read(Fetch(ranges=frozenset({POOLS}))).ranges[POOLS]

    assert all(one.broadcast_address + 1 == two.network_address for one, two in pairwise(found))
    assert 2**16 == sum(part.num_addresses for part in found)
    assert 1 == len({at.mod_revision for _, at in page.items})


def attach(store, **attributes) -> None:
    """A pod's address in the pool, as our plugin assigns it, or calico-ipam without network."""
    IPAM(store).auto_assign(
        AutoAssign(host="node-a", handle="h", count={4: 1}, attributes=attributes)
    )


def test_pods_of_our_plugin_whose_gateway_may_change_are_asked_for(at_memory, memory):
    put_pool(memory)
    attach(memory, network="net1", node="node-a")

    result = at_memory("ipam", "split", "2", "--name", "p")

    assert USAGE == result.exit_code
    assert "Pods of network net1 have addresses in 10.0.0.0/24. " in result.stderr
    assert "confirm with --yes" in result.stderr
    assert ["p"] == [*pools(memory)]


@pytest.mark.parametrize(
    ("options", "annotations"),
    [
        (["--yes"], {}),
        (["--keep-gateway"], {PREFIX_LENGTH: "24", GATEWAY: "10.0.0.1"}),
        (["--keep-prefix", "--yes"], {PREFIX_LENGTH: "24"}),
    ],
)
def test_what_the_parts_name_can_be_said(at_memory, memory, options, annotations):
    put_pool(memory)
    attach(memory, network="net1", node="node-a")

    assert 0 == at_memory("ipam", "split", "2", "--name", "p", *options).exit_code
    assert [annotations] * 2 == [
        pool["metadata"].get("annotations", {}) for pool in pools(memory).values()
    ]


def test_pods_of_calicos_plugin_are_no_reason_to_ask(at_memory, memory):
    put_pool(memory)
    attach(memory, node="node-a")

    assert 0 == at_memory("ipam", "split", "2", "--name", "p").exit_code


def test_a_no_keeps_the_pool(at_memory, memory, monkeypatch):
    put_pool(memory)
    attach(memory, network="net1")
    monkeypatch.setattr("poolctl.ipam.split.confirmed", lambda *_, **__: False)

    result = at_memory("ipam", "split", "2", "--name", "p")

    assert (REFUSED, "ippool/p kept\n") == (result.exit_code, result.stdout)
    assert ["p"] == [*pools(memory)]
