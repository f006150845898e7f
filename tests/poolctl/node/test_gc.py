"""`poolctl node gc`: what the runtime does not know is released, and nothing else."""

import base64
import json
import os

import pytest

from poolctl.report import REFUSED, UNAVAILABLE
from poolmgr.core.request import Sticky
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.attached import remember
from tests.support.poolctl import pool, stored

CONF = {
    "cniVersion": "1.0.0",
    "name": "net-a",
    "nodename": "node-a",
    "type": "ptp",
    "ipam": {"type": "poolmgr-ipam"},
}
MULTUS = base64.b64encode(b'{"name": "m", "type": "multus"}').decode()


@pytest.fixture
def conf(tmp_path):
    file = tmp_path / "net-a.conf"
    file.write_text(json.dumps(CONF))
    return file


@pytest.fixture
def cache(tmp_path):
    """The runtime's cache; it knows a container of another network."""
    directory = tmp_path / "cache"
    remember(directory, "net-b", "other")
    return directory


@pytest.fixture
def gc(program, poolctl, etcd_endpoint, conf, cache):
    poolctl("apply", "-f", "-", stdin=pool())

    def run(*args):
        given = ("--conf", str(conf), "--cache-dir", str(cache), *args)
        return program("node", "gc", *given, ETCD_ENDPOINTS=etcd_endpoint)

    return run


@pytest.fixture
def is_held(poolctl):
    return lambda address: "Handle ID: " in poolctl("ipam", "show", "--ip", address).stdout


def test_what_the_runtime_does_not_know_is_released(gc, store, cache, is_held):
    gone, alive = attach(store, "gone"), attach(store, "alive")
    remember(cache, "net-a", "alive")

    result = gc()

    assert (0, "") == (result.returncode, result.stderr)
    assert [
        f"{gone} released",
        "network net-a on node-a: 1 address released; the runtime knows 2 attachments",
    ] == result.stdout.splitlines()
    assert (False, True) == (is_held(gone), is_held(alive))
    assert [] == list(Audit(store))


def test_other_nodes_other_networks_and_young_addresses_stay(gc, store, is_held):
    others = [
        attach(store, "c1", node="node-b"),
        attach(store, "c2", network="net-a-b"),
        attach(store, "c3", age_s=20),
    ]

    result = gc()

    assert "0 addresses released" in result.stdout
    assert [True] * 3 == [is_held(address) for address in others]


def test_another_interface_of_a_container_is_another_attachment(gc, store, cache, is_held):
    eth0, net1 = attach(store, "c1"), attach(store, "c1", interface="net1")
    remember(cache, "net-a", "c1", "net1")

    gc()

    assert (False, True) == (is_held(eth0), is_held(net1))


def test_an_attachment_that_is_remembered_under_an_old_network_name_exists(
    gc, store, cache, is_held
):
    address = attach(store, "c1")
    remember(cache, "old-name", "c1")

    gc()

    assert is_held(address)


def test_a_sticky_address_stays_its_owners(gc, store, is_held):
    sticky = Sticky(namespace="default", identity="web-0", holder="web-0")
    address = attach(store, "gone", sticky=sticky)

    result = gc()

    assert "0 addresses released" in result.stdout
    assert is_held(address)
    assert address == attach(store, "new", sticky=sticky)


def test_a_dry_run_tells_what_would_be_released_and_writes_nothing(gc, store):
    gone = [attach(store, f"c{number}") for number in range(3)]
    before = stored(store)

    dry = gc("--dry-run")
    unchanged = before == stored(store)
    real = gc()

    assert unchanged
    assert 0 == dry.returncode
    assert {f"{address} would be released" for address in gone} == set(
        dry.stdout.splitlines()[:-1]
    )
    assert dry.stdout.replace("would be released", "released") == real.stdout


def test_a_dry_run_goes_through_many_blocks(at_memory, memory, conf, cache):
    at_memory("apply", "-f", "-", stdin=pool(cidr="10.0.0.0/24", blockSize=30))
    for number in range(80):  # 20 blocks; a part writes 12
        attach(memory, f"c{number}")
    args = ("node", "gc", "--conf", str(conf), "--cache-dir", str(cache))

    dry, real = at_memory(*args, "--dry-run"), at_memory(*args)

    assert 81 == len(real.stdout.splitlines())
    assert real.stdout == dry.stdout.replace("would be released", "released")


def test_without_a_cache_nothing_is_released(gc, store, tmp_path, is_held):
    address = attach(store, "gone")
    before = stored(store)

    result = gc("--cache-dir", str(tmp_path / "typo"))

    assert (REFUSED, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert f"there is no {tmp_path}/typo/results" in result.stderr
    assert "--after-reboot" in result.stderr
    assert before == stored(store)

    confirmed = gc("--cache-dir", str(tmp_path / "typo"), "--after-reboot")

    assert 0 == confirmed.returncode
    assert not is_held(address)


def test_a_cache_that_is_there_counts_after_a_reboot_too(gc, store, cache, is_held):
    address = attach(store, "alive")
    remember(cache, "net-a", "alive")

    gc("--after-reboot")

    assert is_held(address)


def test_after_a_reboot_attachments_without_their_namespace_do_not_count(
    gc, store, cache, is_held, tmp_path
):
    there = tmp_path / "netns"
    there.touch()
    gone, alive = attach(store, "gone"), attach(store, "alive")
    for container, sandbox in (("gone", tmp_path / "no-netns"), ("alive", there)):
        interfaces = [{"name": "veth1"}, {"name": "eth0", "sandbox": str(sandbox)}]
        remember(cache, "net-a", container, result={"interfaces": interfaces})

    gc()
    before = is_held(gone)
    gc("--after-reboot")

    assert before
    assert (False, True) == (is_held(gone), is_held(alive))


@pytest.mark.parametrize("text", ["", "junk", '{"cniVersion": "0.3.1"}'])
def test_a_foreign_file_in_the_cache_is_named_and_nothing_released(gc, store, cache, text):
    attach(store, "gone")
    (cache / "results" / "net-a-gone-eth0").write_text(text)
    before = stored(store)

    result = gc()

    assert (REFUSED, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert f"{cache}/results/net-a-gone-eth0 does not tell which attachment" in result.stderr
    assert before == stored(store)


@pytest.mark.parametrize("place", ["folder", "results"])
def test_what_is_no_file_or_no_directory_is_named(gc, tmp_path, cache, place):
    if place == "folder":
        (cache / "results" / "folder").mkdir()
    else:
        cache = tmp_path / "other"
        cache.mkdir()
        (cache / "results").write_text("")

    result = gc("--cache-dir", str(cache))

    assert (REFUSED, 1) == (result.returncode, result.stderr.count("\n"))
    assert f"{cache}/results" in result.stderr


def test_the_cache_of_the_runtime_says_nothing_of_what_multus_delegates(gc, store, cache):
    attach(store, "c1", interface="net1")
    remember(cache, "m", "c1", config=MULTUS)
    before = stored(store)

    result = gc()

    assert REFUSED == result.returncode
    assert "--cache-dir, usually /var/lib/cni/multus" in result.stderr
    assert before == stored(store)


def test_delegates_of_multus_are_looked_after(gc, store, conf, cache, is_held):
    conf.write_text(json.dumps({"name": "m", "type": "multus", "delegates": [CONF]}))
    gone = attach(store, "gone")

    gc()

    assert not is_held(gone)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"name": "net-a", "type": "ptp"}', "has no plugin whose ipam.type is poolmgr-ipam"),
        (json.dumps({**CONF, "nodename": "a/b"}), "'a/b' is not a node name"),
        (json.dumps({**CONF, "name": "a b"}), "'a b' is not a network name"),
        (json.dumps({**CONF, "cniVersion": "9"}), "cniVersion '9' is not supported"),
        (None, "is not readable: No such file or directory"),
    ],
)
def test_a_configuration_that_is_not_usable_is_refused(gc, store, conf, text, message):
    attach(store, "gone")
    before = stored(store)
    conf.unlink() if text is None else conf.write_text(text)

    result = gc()

    assert (REFUSED, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert message in result.stderr
    assert before == stored(store)


def test_the_etcd_is_the_one_that_the_plugin_uses(program, etcd_endpoint, conf, cache):
    conf.write_text(json.dumps({**CONF, "etcd_endpoints": "http://127.0.0.1:1"}))
    args = ("node", "gc", "--conf", str(conf), "--cache-dir", str(cache))

    result = program("--timeout", "1", *args, ETCD_ENDPOINTS=etcd_endpoint)

    assert UNAVAILABLE == result.returncode
    assert "127.0.0.1:1" in result.stderr


def test_what_is_no_regular_file_in_the_cache_is_told_and_not_read(gc, store, cache):
    os.mkfifo(cache / "results" / "net-a-c1-eth0")
    attach(store, "gone")
    before = stored(store)

    result = gc()

    assert (REFUSED, "") == (result.returncode, result.stdout)
    assert "net-a-c1-eth0 does not tell which attachment exists: it is not a regular file" in (
        result.stderr
    )
    assert before == stored(store)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"ipam": {"type": "poolmgr-ipam", "typo": 1}}, "'typo' is not a known key"),
        ({"nodename": "a/b"}, "'a/b' is not a node name"),
    ],
)
def test_a_configuration_that_the_plugin_refuses_is_named(gc, conf, keys, why):
    conf.write_text(json.dumps({**CONF, **keys}))

    result = gc()

    assert (REFUSED, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith(f"poolctl: error: {conf}: ")
    assert why in result.stderr
