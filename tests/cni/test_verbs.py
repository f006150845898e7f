import json
from dataclasses import replace

import pytest

from poolmgr.api import IPPool
from poolmgr.cidr import parse_address
from poolmgr.cni import verbs
from poolmgr.cni.args import Args
from poolmgr.cni.netconf import Call, Command
from poolmgr.cni.result import failure
from poolmgr.cni.wanted import PodView, settle
from poolmgr.core import records
from poolmgr.core.block import Attribute
from poolmgr.core.link import LinkPolicy, MainPlugin, Route
from poolmgr.core.outcome import Released
from poolmgr.core.request import Attachment
from poolmgr.core.txn import EPOCH_KEY, Committed, Fetch, Txn
from poolmgr.errors import (
    AddressInUseError,
    CheckFailedError,
    ContentionError,
    CorruptStateError,
    NoMatchingPoolError,
)
from poolmgr.ipam import IPAM
from poolmgr.kube.annotations import (
    ADDRESSES,
    FAMILIES,
    IP_ADDRS,
    NO_IPAM,
    POOLS,
    STICKY,
    Gates,
)
from poolmgr.store.memory import MemoryStore

NOW_NS = 1_795_461_196_864_963_229


@pytest.fixture
def store():
    store = MemoryStore()
    put(store, **{pool_key("four"): pool("four", "10.0.0.0/26", 28)})
    put(store, **{pool_key("six"): pool("six", "fd00::/120", 124)})
    return store


@pytest.fixture
def ipam(store):
    return IPAM(store)


def pool(name, cidr, block_size, **spec):
    manifest = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": cidr, "blockSize": block_size, **spec},
    }
    return IPPool.from_manifest(manifest).to_stored()


def pool_key(name):
    return records.resource_key("ippools", name)


def put(store, **values):
    fetch = Fetch(keys=frozenset({EPOCH_KEY}))
    epoch = store.read(fetch).found[EPOCH_KEY]
    done = store.commit(Txn(expect={}, epoch=epoch and epoch.value, puts=values))
    assert isinstance(done, Committed)


def stored(store, start):
    """Return what is stored below `start`."""
    (page,) = store.read(Fetch(ranges=frozenset({start}))).ranges.values()
    return {key: found.value for key, found in page.items}


def call(command=Command.ADD, container="c1", interface="eth0", network="net1", **keys):
    attachment = Attachment(network=network, container=container, interface=interface)
    return Call(
        command=command, version="1.0.0", network=network, attachment=attachment, **keys
    )


def add(*arguments, **options):
    return verbs.add(*arguments, **options)


def attributes(store):
    blocks = stored(store, records.BLOCKS[4])
    return [
        attribute.secondary
        for key, raw in blocks.items()
        for attribute in records.decode_block(key, raw).attributes
    ]


def only_ip(result):
    (ip,) = result["ips"]
    return ip["address"].partition("/")[0]


def test_an_add_gives_an_address_of_the_nodes_block(ipam, store):
    result = add(call(), "node-a", ipam)

    (key,) = stored(store, records.affinity_range("node-a", 4))
    block = key.rpartition("/")[2].replace("-", "/")
    first = block.partition("/")[0]
    assert result == {"cniVersion": "1.0.0", "ips": [{"address": f"{first}/32"}]}


def test_an_add_records_who_it_is_for(ipam, store):
    args = Args(pod="web-0", namespace="prod")
    add(call(args=args), "node-a", ipam, now_ns=NOW_NS)

    assert attributes(store) == [
        {
            "node": "node-a",
            "timestamp": "2026-11-23 19:13:16.864963229 +0000 UTC",
            "pod": "web-0",
            "namespace": "prod",
            "network": "net1",
            "interface": "eth0",
        }
    ]
    assert list(stored(store, records.HANDLES)) == [records.handle_key("net1.c1")]


@pytest.mark.parametrize("args", [Args(), Args(pod="web-0"), Args(namespace="prod")])
def test_half_a_pods_name_is_not_recorded(args, ipam, store):
    add(call(args=args), "node-a", ipam)

    (secondary,) = attributes(store)
    assert secondary.keys() == {"node", "timestamp", "network", "interface"}


@pytest.mark.parametrize(
    ("now_ns", "text"),
    [
        (NOW_NS, "2026-11-23 19:13:16.864963229 +0000 UTC"),
        (1_795_461_196_864_960_000, "2026-11-23 19:13:16.86496 +0000 UTC"),
        (1_795_461_196_000_000_001, "2026-11-23 19:13:16.000000001 +0000 UTC"),
        (1_795_461_196_000_000_000, "2026-11-23 19:13:16 +0000 UTC"),
        (1_795_461_200_000_000_000, "2026-11-23 19:13:20 +0000 UTC"),
        (0, "1970-01-01 00:00:00 +0000 UTC"),
    ],
)
def test_times_are_written_as_go_prints_them(now_ns, text, ipam, store):
    add(call(), "node-a", ipam, now_ns=now_ns)

    (secondary,) = attributes(store)
    assert secondary["timestamp"] == text


def test_a_repeated_add_gives_the_same_address(ipam):
    first = add(call(), "node-a", ipam)

    assert first == add(call(), "node-a", ipam)
    assert first != add(call(interface="eth1"), "node-a", ipam)
    assert first != add(call(network="net2"), "node-a", ipam)


def test_both_families_come_ipv4_first(ipam):
    result = add(call(families=(4, 6)), "node-a", ipam)

    four, six = (ip["address"] for ip in result["ips"])
    assert (four.startswith("10.0.0."), six.startswith("fd00::")) == (True, True)


def test_without_a_family_the_store_is_not_asked():
    result = add(call(families=()), "node-a", ipam=None)

    assert result == {"cniVersion": "1.0.0"}


def test_the_pools_asked_for_are_used(ipam):
    with pytest.raises(NoMatchingPoolError) as caught:
        add(call(pools={4: ("five",)}), "node-a", ipam)

    assert "five" in caught.value.reasons


def test_the_main_plugins_rules_reach_the_result(ipam):
    result = add(call(link=LinkPolicy(main=MainPlugin.PTP)), "node-a", ipam)

    (ip,) = result["ips"]
    assert (ip["address"].partition("/")[2], ip["gateway"]) == ("26", "10.0.0.1")
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]


def test_a_named_address_is_assigned_whatever_the_families(ipam):
    addresses = (parse_address("10.0.0.37"),)

    for families in ((6,), ()):
        assert (
            only_ip(add(call(addresses=addresses, families=families), "node-a", ipam))
            == "10.0.0.37"
        )


def test_a_named_address_that_is_taken_is_refused(ipam):
    addresses = (parse_address("10.0.0.37"),)
    add(call(addresses=addresses), "node-a", ipam)

    with pytest.raises(AddressInUseError):
        add(call(container="c2", addresses=addresses), "node-a", ipam)


@pytest.mark.parametrize("addresses", [(), (parse_address("10.0.0.37"),)])
def test_nothing_is_written_for_a_caller_who_is_gone(addresses, ipam, store):
    with pytest.raises(ContentionError, match="the caller is gone"):
        add(call(addresses=addresses), "node-a", ipam, alive=lambda: False)

    assert stored(store, records.HANDLES) == {}


def test_a_delete_frees_what_the_interface_holds(ipam, store):
    add(call(), "node-a", ipam)
    other = add(call(interface="eth1"), "node-a", ipam)

    verbs.delete(call(Command.DEL), "node-a", ipam)

    assert [each["interface"] for each in attributes(store)] == ["eth1"]
    assert other == add(call(interface="eth1"), "node-a", ipam)


def test_a_delete_of_nothing_succeeds_and_is_noted(ipam, store):
    verbs.delete(call(Command.DEL), "node-a", ipam)

    key = records.session_key("node-a")
    found = store.read(Fetch(keys=frozenset({key}))).found[key]
    digest = call().attachment.digest
    assert json.loads(found.value) == {"n": 1, "deleted": [f"{digest}@1"]}


@pytest.mark.parametrize(
    ("handle", "args"),
    [
        ("c1", Args()),
        ("prod.web-0", Args(pod="web-0", namespace="prod")),
        ("c1", Args(pod="web-0")),
    ],
)
def test_a_delete_frees_what_old_versions_left(handle, args, ipam, store):
    add(call(), "node-a", ipam)
    rename_handle(store, handle)

    verbs.delete(call(Command.DEL, args=args), "node-a", ipam)

    assert stored(store, records.HANDLES) == {}
    assert attributes(store) == []


def rename_handle(store, new):
    """Make it look as if an old calico-ipam had written everything."""
    ((key, raw),) = stored(store, records.BLOCKS[4]).items()
    ((handle_key, handle),) = stored(store, records.HANDLES).items()
    block = records.decode_block(key, raw)
    attribute = Attribute(handle=new, secondary={"node": "node-a"})
    epoch = store.read(Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    done = store.commit(
        Txn(
            expect={},
            epoch=epoch.value,
            puts={
                key: records.encode_block(replace(block, attributes=(attribute,))),
                records.handle_key(new): handle,
            },
            deletes=frozenset({handle_key}),
        )
    )
    assert isinstance(done, Committed)


def test_a_delete_that_cannot_read_a_block_fails(ipam, store):
    add(call(), "node-a", ipam)
    (key,) = stored(store, records.BLOCKS[4])
    put(store, **{key: b"garbage"})

    with pytest.raises(CorruptStateError, match=key):
        verbs.delete(call(Command.DEL), "node-a", ipam)


def check(ipam, *previous, **keys):
    addresses = frozenset(parse_address(each) for each in previous)
    verbs.check(call(Command.CHECK, previous=addresses, **keys), ipam)


def test_a_check_passes_when_the_recorded_addresses_are_held(ipam):
    result = add(call(families=(4, 6)), "node-a", ipam)

    addresses = [ip["address"].partition("/")[0] for ip in result["ips"]]
    check(ipam, *addresses, families=(4, 6))
    check(ipam, *addresses, families=())
    verbs.check(call(Command.CHECK), ipam)


def test_a_check_allows_addresses_of_other_plugins(ipam):
    mine = only_ip(add(call(), "node-a", ipam))

    check(ipam, mine, "192.168.0.1", "fe80::1")


def test_a_check_of_a_named_address_looks_at_its_family(ipam):
    addresses = (parse_address("fd00::7"),)
    add(call(addresses=addresses), "node-a", ipam)

    check(ipam, "fd00::7", addresses=addresses)


def test_a_check_without_families_asks_for_nothing(ipam):
    check(ipam, families=())


def test_a_check_fails_when_another_address_is_held(ipam):
    mine = only_ip(add(call(), "node-a", ipam))

    with pytest.raises(CheckFailedError) as caught:
        check(ipam, "192.168.0.1", "fe80::1")
    assert str(caught.value) == f"net1/c1/eth0 holds {mine}, and prevResult has 192.168.0.1"


def test_a_check_fails_when_a_held_family_is_not_recorded(ipam):
    result = add(call(families=(4, 6)), "node-a", ipam)
    four, six = (ip["address"].partition("/")[0] for ip in result["ips"])

    with pytest.raises(CheckFailedError) as caught:
        check(ipam, four)
    assert str(caught.value) == (
        f"net1/c1/eth0 holds {six}, and prevResult has no IPv6 address"
    )


@pytest.mark.parametrize("previous", [None, frozenset({parse_address("10.0.0.1")})])
def test_a_check_fails_when_nothing_is_held(previous, ipam):
    with pytest.raises(CheckFailedError, match=r"^net1/c1/eth0 holds no IPv4 address$"):
        verbs.check(call(Command.CHECK, previous=previous), ipam)


def test_a_check_of_another_interface_fails(ipam):
    mine = only_ip(add(call(), "node-a", ipam))

    with pytest.raises(CheckFailedError, match=r"^net1/c1/eth1 holds no IPv4 address$"):
        check(ipam, mine, interface="eth1")


def settled(pod, container="c1", **keys):
    return settle(
        call(container=container, gates=Gates(ip_addrs_no_ipam=True), **keys),
        PodView(annotations=pod),
    )


@pytest.mark.parametrize(
    ("pod", "addresses"),
    [
        ({IP_ADDRS: '["fd00::7", "10.0.0.7"]'}, ["10.0.0.7", "fd00::7"]),
        ({ADDRESSES: "10.0.0.9,fd00::9"}, ["10.0.0.9", "fd00::9"]),
        ({FAMILIES: '["IPv6"]', POOLS[6]: '["six"]', ADDRESSES: "fd00::9"}, ["fd00::9"]),
    ],
)
def test_annotations_decide_what_is_given_and_checked(pod, addresses, ipam):
    result = add(settled(pod), "node-a", ipam)

    assert [ip["address"].partition("/")[0] for ip in result["ips"]] == addresses
    previous = frozenset(parse_address(each) for each in addresses)
    verbs.check(settled(pod, previous=previous), ipam)
    with pytest.raises(CheckFailedError):
        verbs.check(settled(pod, previous=frozenset({parse_address("10.9.9.9")})), ipam)


def test_a_refusal_names_the_annotation_that_led_to_it(ipam):
    with pytest.raises(NoMatchingPoolError) as caught:
        add(settled({POOLS[4]: '["five"]'}), "node-a", ipam)

    said = f"annotation {POOLS[4]} = '[\"five\"]': a requested pool cannot be used: five: "
    assert said in str(failure("1.0.0", caught.value)["msg"])


def test_the_labels_of_the_namespace_select_pools(ipam, store):
    spec = {"namespaceSelector": "team == 'x'", "allowedUses": ["Workload"]}
    put(store, **{pool_key("four"): pool("four", "10.0.0.0/26", 28, **spec)})
    view = PodView(namespace_labels={"team": "x"})

    assert add(settle(call(), view), "node-a", ipam)["ips"]
    with pytest.raises(NoMatchingPoolError):
        add(settle(call(container="c2"), PodView()), "node-a", ipam)


def test_what_has_no_effect_is_logged_on_one_line(ipam, caplog):
    add(call(warnings=("one", "two")), "node-a", ipam)

    assert caplog.messages == ["one; two"]


def test_addresses_past_ipam_are_in_the_result_and_nowhere_else():
    link = LinkPolicy(
        routes=(Route(dst="0.0.0.0/0", gw="10.9.0.1"), Route(dst="::/0")), dns={"domain": "d"}
    )
    mine = settled({NO_IPAM: '["10.9.0.5", "fd00:9::5"]'}, families=(4, 6), link=link)
    result = add(mine, "node-a", ipam=None)

    assert result == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.9.0.5/32"}, {"address": "fd00:9::5/128"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}, {"dst": "::/0"}],
        "dns": {"domain": "d"},
    }
    verbs.check(mine, ipam=None)
    previous = frozenset(map(parse_address, ("10.9.0.5", "fd00:9::5")))
    verbs.check(replace(mine, previous=previous), ipam=None)
    with pytest.raises(CheckFailedError, match="fd00:9::5"):
        verbs.check(replace(mine, previous=frozenset({parse_address("10.9.0.5")})), ipam=None)


def collected(network="net1", *valid):
    return Call(command=Command.GC, version="1.1.0", network=network, valid=frozenset(valid))


def test_gc_frees_what_is_not_listed_of_its_node_and_network(ipam, store):
    for container, interface, network, node in (
        ("c1", "eth0", "net1", "node-a"),
        ("c1", "eth1", "net1", "node-a"),
        ("c2", "eth0", "net1", "node-a"),
        ("c3", "eth0", "net2", "node-a"),
        ("c4", "eth0", "net1", "node-b"),
    ):
        add(call(container=container, interface=interface, network=network), node, ipam)

    verbs.collect(collected("net1", ("c1", "eth0")), "node-a", ipam)

    left = [(each["node"], each["network"], each["interface"]) for each in attributes(store)]
    assert sorted(left) == [
        ("node-a", "net1", "eth0"),
        ("node-a", "net2", "eth0"),
        ("node-b", "net1", "eth0"),
    ]


def test_gc_leaves_alone_what_is_younger_than_its_list(ipam, store):
    add(call(), "node-a", ipam, now_ns=NOW_NS + 1)
    add(call(container="c2"), "node-a", ipam, now_ns=NOW_NS)

    verbs.collect(collected(), "node-a", ipam, now_ns=NOW_NS)

    assert list(stored(store, records.HANDLES)) == [records.handle_key("net1.c1")]


def test_gc_fails_when_a_block_was_left_alone(ipam, monkeypatch):
    broken = CorruptStateError("/key", "garbage")
    answer = Released(released=(), errors=(broken,))
    monkeypatch.setattr(ipam, "collect_garbage", lambda request, **options: answer)

    with pytest.raises(CorruptStateError):
        verbs.collect(collected(), "node-a", ipam)


@pytest.mark.parametrize(
    ("now", "outside"),
    [
        ({}, ""),
        ({POOLS[4]: '["four"]'}, ""),
        ({POOLS[4]: '["10.0.0.0/26"]'}, ""),
        ({POOLS[4]: '["other", "four"]'}, ""),
        ({ADDRESSES: "10.0.0.0/26"}, ""),
        ({POOLS[4]: '["other"]'}, "pools"),
        ({POOLS[4]: '["10.7.0.0/26"]'}, "pools"),
        ({ADDRESSES: "10.7.0.1-10.7.0.9"}, "addresses"),
    ],
)
def test_a_kept_address_outside_of_what_is_asked_for_is_named(
    now, outside, ipam, store, caplog
):
    put(store, **{pool_key("other"): pool("other", "10.7.0.0/26", 28)})
    keys = {"pools": {}, "args": Args(pod="web-0", namespace="prod")}
    kept = settled({STICKY: "true", POOLS[4]: '["four"]'}, **keys)
    mine = only_ip(add(kept, "node-a", ipam))
    verbs.delete(kept, "node-a", ipam)

    again = only_ip(add(settled({STICKY: "true", **now}, "c2", **keys), "node-a", ipam))

    said = (
        f"{mine} is kept although it lies outside of the {outside} that are asked for; to give "
        f"it up, delete the pod and say poolctl ipam release --ip {mine}"
    )
    assert (mine, [said] if outside else []) == (again, caplog.messages)
