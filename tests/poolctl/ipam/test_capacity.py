import json

import click
import pytest

from poolctl.config import Session
from poolctl.ipam.capacity import Wanted, capacity
from poolmgr.core import records
from poolmgr.core.request import AutoAssign
from poolmgr.errors import CorruptStateError, InvalidRequestError, StoreUnavailableError
from tests.support.poolctl import on
from tests.support.world import World, claimed_elsewhere


def planned(world, **wanted):
    session = Session(None, None, 30)
    session.store = world.store
    return capacity(session, Wanted(**{"nodes": 1, "pods": 1, "plugin": "other", **wanted}))


def unreachable():
    return Session(None, "127.0.0.1:1", 30)


def pods(**spec):
    return World().pool("pods", "10.0.0.0/24", blockSize=28, **spec)


def test_a_stored_pool_counts_with_what_it_has():
    world = pods().reserve("kept", "10.0.0.0/28", "10.9.0.0/16")
    world.ask(AutoAssign(host="node-a", handle="h", count={4: 20}))
    claimed_elsewhere(world, "10.0.0.16/28", "node-b")
    found = planned(world, nodes=3, pods=30, pool="pods")

    assert found.given is not None
    assert (28, 2, 3) == (found.given.size, found.owners, found.existing)
    assert 12 == found.given.available
    assert 2 + (12 - 1) // 2 == found.given.nodes
    assert found.is_enough
    other = next(each for each in found.fits if each.size == 27)
    assert 8 - 1 + 1 == other.available
    assert any("new pool" in note for note in found.notes)


def test_the_cidr_of_a_pool_names_it_too():
    assert "pods" == planned(pods(), pool="10.0.0.0/24").pool


def test_a_pool_need_not_be_named_if_it_is_the_only_one_for_pods():
    world = pods().pool("off", "10.1.0.0/24", disabled=True).pool("six", "fd00::/112")
    world.pool("hand", "10.2.0.0/24", assignmentMode="Manual")
    world.pool("tunnel", "10.3.0.0/24", allowedUses=["Tunnel"])

    assert "pods" == planned(world).pool
    assert "six" == planned(world, family=6).pool
    with pytest.raises(click.UsageError, match="IPv4 pods there are more, pods"):
        planned(world.pool("more", "10.4.0.0/24"))
    with pytest.raises(click.UsageError, match="none"):
        planned(World())


def test_settings_of_the_store_count_for_a_network_that_is_no_pool():
    world = pods().configure(maxBlocksPerHost=3, strict_affinity=True)
    world.reserve("kept", "10.8.0.0/30")
    found = planned(world, pool="10.8.0.0/24", pods=4, size=32)

    assert "" == found.pool
    assert (3, 252) == (found.fits[0].goal.limit, found.fits[-1].available)
    assert found.given is not None
    assert (True, False) == (found.given.limited, found.is_enough)
    assert found.config is not None
    assert found.config.strict_affinity


def test_an_overlap_with_a_pool_is_told():
    (note,) = planned(pods(), pool="10.0.0.0/16").notes

    assert "10.0.0.0/16 overlaps IPPool pods (10.0.0.0/24)" in note


def test_pools_that_do_not_serve_everybody_say_so():
    notes = planned(pods(disabled=True, nodeSelector="has(gpu)"), pool="pods").notes

    assert [
        "nobody is served from the pool now: disabled",
        "it serves only nodes with has(gpu)",
    ] == [note.partition(";")[0] for note in notes]


def test_a_network_needs_no_etcd(capsys):
    found = capacity(unreachable(), Wanted(nodes=3, pods=60, pool="10.7.0.0/24"))

    assert found.is_enough
    assert found.config is None
    assert "planned without etcd" in capsys.readouterr().err


def test_a_pool_by_name_does():
    with pytest.raises(StoreUnavailableError):
        capacity(unreachable(), Wanted(nodes=5, pods=60, pool="pods"))


def test_what_cannot_be_read_is_passed_over_unless_it_is_meant(capsys):
    world = pods()
    world.put(records.resource_key("ippools", "junk"), b"{")

    assert "pods" == planned(world).pool
    assert "junk" in capsys.readouterr().err
    with pytest.raises(CorruptStateError, match="junk"):
        planned(world, pool="junk")
    with pytest.raises(InvalidRequestError, match="there is no IPPool none"):
        planned(world, pool="none")


def test_a_main_plugin_that_cannot_use_the_pool_is_refused_with_the_remedy():
    world = pods(annotations={"ipam.poolmgr.io/prefix-length": "block"})

    with pytest.raises(InvalidRequestError, match="name another one by --main-plugin"):
        planned(world, pool="pods", plugin="ptp")
    assert planned(world, pool="pods", pods=14, nodes=16).is_enough


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nodes", "0"], "--nodes"),
        (["--nodes", "-3"], "--nodes"),
        (["--nodes", "1.5"], "--nodes"),
        (["--nodes", "9999999999"], "--nodes"),
        (["--pods-per-node", "0"], "--pods-per-node"),
        (["--pool", "10.0.0.0/33"], "--pool"),
        (["--pool", "10.0.0.1/24"], "--pool"),
        (["--pool", "fd00::/64", "--family", "4"], "--family"),
        (["--pool", "10.0.0.0/24", "--block-size", "23"], "24 to 32"),
        (["--pool", "10.0.0.0/24", "--block-size", "-1"], "--block-size"),
        (["--pool", "10.0.0.0/24", "--block-size", "33"], "--block-size"),
    ],
)
def test_numbers_that_make_no_sense_are_usage_errors(at_memory, arguments, said):
    usual = ["--nodes", "3", "--pods-per-node", "9"]
    result = at_memory("ipam", "plan", *usual, *arguments)

    assert 2 == result.exit_code
    assert said in result.output


def test_the_exit_status_is_that_of_the_answer(at_memory):
    plan = ("ipam", "plan", "--pool", "10.0.0.0/26", "--pods-per-node", "30", "--nodes")
    enough, too_little = at_memory(*plan, "1", "-o", "json"), at_memory(*plan, "9")

    assert (0, 1) == (enough.exit_code, too_little.exit_code)
    assert json.loads(enough.output)["fits"]
    assert "DOES NOT FIT" in too_little.output


def test_it_reads_the_same_from_a_real_etcd(poolctl, store):
    run = on(store)
    run("apply", "-f", "-", stdin=json.dumps(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": "pods"},
            "spec": {"cidr": "10.0.0.0/24", "blockSize": 28},
        }
    ))  # fmt: skip
    plan = ("ipam", "plan", "--nodes", "4", "--pods-per-node", "16", "-o", "json")
    before = json.loads(poolctl(*plan).output)
    assert 0 == poolctl("ipam", "explain", "--node", "node-a").exit_code

    assert (15, 0) == (before["growth"]["nodes"] + before["nodes"], before["owners"])
    assert before == json.loads(run(*plan).output)


def test_a_pool_that_does_not_decode_is_passed_over_unless_it_is_the_one(capsys):
    world = pods()
    world.put(records.resource_key("ippools", "bad"), b"{")

    assert "pods" == planned(world, pool="10.0.0.0/24").pool
    assert "" == planned(world, pool="10.9.0.0/24").pool
    assert 2 == capsys.readouterr().err.count("it is passed over")
    with pytest.raises(CorruptStateError, match="ippools/bad"):
        planned(world, pool="bad")


def test_a_similar_pool_is_suggested():
    with pytest.raises(InvalidRequestError, match="did you mean pods"):
        planned(pods(), pool="podz")
