import json
import logging
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolctl.config import Session
from poolctl.ipam.explain import NETWORK, Explanation, explain
from poolctl.ipam.subject import Subject
from poolmgr.cni import direct, runtime
from poolmgr.cni.document import POD_ANNOTATIONS
from poolmgr.cni.netconf import parse
from poolmgr.cni.result import failure, with_prefix
from poolmgr.cni.verbs import add as serve
from poolmgr.cni.wire import Frame
from poolmgr.cni.witness import Witness
from poolmgr.core import records
from poolmgr.core.explain import Source
from poolmgr.core.request import AutoAssign
from poolmgr.errors import PoolmgrError, StoreUnavailableError
from poolmgr.ipam import IPAM
from poolmgr.kube.annotations import ADDRESSES, FAMILIES, IP_ADDRS, NO_IPAM, POOLS, STICKY
from poolmgr.store.memory import MemoryStore
from tests.strategies import QUICK
from tests.support.counting import CountingStore
from tests.support.kube_api import KubeApi
from tests.support.poolctl import put, stored
from tests.support.world import World, claimed_elsewhere, stored_resource

CAPABLE = {POD_ANNOTATIONS: True}


def network(ipam=None, *, plugin="ptp", capabilities=CAPABLE, **keys):
    """A network whose addresses come from us."""
    conf = {
        "cniVersion": "1.0.0",
        "name": "net1",
        "type": plugin,
        "capabilities": dict(capabilities),
        "ipam": {"type": runtime.OURS, **(ipam or {})},
        **keys,
    }
    (found,) = runtime.networks("net1.conf", json.dumps(conf).encode())
    return found


def explained(store, subject=None, conf=None, node="node-a") -> Explanation:
    session = Session(None, None, 30)
    session.store = store
    return explain(session, node, subject or Subject(), conf)


@dataclass
class Added:
    """What an ADD gave, and what it cost."""

    addresses: list[str] = field(default_factory=list)
    refusal: tuple[int, str] = (0, "")
    reads: int = 0
    commits: int = 0


def added(store, subject, conf, node="node-a") -> Added:
    """Serve an ADD as a runtime asks for it."""
    found, counting = Added(), CountingStore(store)
    (plugin,) = conf.plugins
    whole = dict(plugin.conf)
    if plugin.gets_annotations and subject.annotations is not None:
        whole["runtimeConfig"] = {POD_ANNOTATIONS: dict(subject.annotations)}
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    if subject.pod:
        args = f"K8S_POD_NAME={subject.pod};K8S_POD_NAMESPACE={subject.namespace}"
        env["CNI_ARGS"] = args
    witness = Witness(counting)
    try:
        call = direct.settled(parse(Frame(env=env, conf=json.dumps(whole).encode())), node)
        result = serve(call, node, IPAM(witness))
        direct.conclude(call, node, witness, deadline=time.monotonic() + 10)
        ips = json.loads(json.dumps(result)).get("ips", [])
        found.addresses = [each["address"] for each in ips]
    except PoolmgrError as error:
        answer = failure("", error)
        found.refusal = answer["code"], answer["msg"]
    found.reads, found.commits = counting.reads, counting.commits
    return found


def same(told: Explanation) -> Added:
    past = [f"{each}/{each.max_prefixlen}" for each in told.past_ipam]
    return Added(
        [with_prefix(each.allocation) for each in told.given] or past,
        (told.code, told.message),
        told.reads,
        told.transactions,
    )


# The property: small worlds, any wish

NAMES = ("one", "two", "six")
CIDRS = {"one": "10.0.0.0/29", "two": "10.0.1.0/29", "six": "fd00::/124"}
SIZES = {"one": 30, "two": 30, "six": 126}
SELECTORS = ("all()", "rack == 'r1'", "rack == 'r2'", "broken ==")

specs = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "disabled": st.booleans(),
        "nodeSelector": st.sampled_from(SELECTORS),
        "namespaceSelector": st.sampled_from(("", "team == 'x'")),
        "assignmentMode": st.sampled_from(("Automatic", "Manual")),
        "allowedUses": st.sampled_from((["Workload"], ["Tunnel"])),
    },
)
marks = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "ipam.poolmgr.io/priority": st.sampled_from(("5", "-1", "high")),
        "ipam.poolmgr.io/prefix-length": st.sampled_from(("pool", "block", "host")),
        "ipam.poolmgr.io/gateway": st.sampled_from(("first-of-pool", "none", "10.0.0.3")),
    },
)
named = st.sampled_from(("one", "two", "nope", "10.0.0.0/29"))
wishes = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        POOLS[4]: st.lists(named, min_size=1, max_size=2).map(json.dumps),
        POOLS[6]: st.sampled_from(('["six"]', '["one"]')),
        FAMILIES: st.sampled_from(('["IPv4"]', '["IPv6"]', '["IPv4","IPv6"]', "IPv5")),
        IP_ADDRS: st.sampled_from(('["10.0.0.5"]', '["10.0.1.2","fd00::9"]', '["192.0.2.1"]')),
        ADDRESSES: st.sampled_from(("10.0.0.4-10.0.0.9", "10.0.1.0/29", "192.0.2.1")),
        STICKY: st.sampled_from(("true", "db")),
        NO_IPAM: st.just('["10.9.9.9"]'),
    },
)
choices = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "assign_ipv4": st.booleans(),
        "assign_ipv6": st.booleans(),
        "ipv4_pools": st.lists(st.sampled_from(("one", "two")), min_size=1, max_size=2),
        "prefixLength": st.sampled_from(("pool", "host")),
        "gateway": st.sampled_from(("none", "first-of-pool")),
    },
)
plugins = st.sampled_from(("ptp", "bridge", "macvlan", "own-plugin"))


@st.composite
def worlds(draw):
    world = World()
    for name in draw(st.sets(st.sampled_from(NAMES), min_size=1)):
        world.pool(
            name,
            CIDRS[name],
            blockSize=SIZES[name],
            annotations=draw(marks),
            **draw(specs),
        )
    if draw(st.booleans()):
        world.node("node-a", rack="r1")
    if draw(st.booleans()):
        world.reserve("kept", *draw(st.sets(st.sampled_from(("10.0.0.0/30", "10.0.1.1")))))
    if draw(st.booleans()):
        limit = draw(st.sampled_from((0, 1, 1, 2)))
        strict = draw(st.booleans())
        world.configure(maxBlocksPerHost=limit, strict_affinity=strict)
    for cidr in draw(st.sets(st.sampled_from(("10.0.0.4/30", "10.0.1.0/30", "10.0.1.4/30")))):
        claimed_elsewhere(world, cidr, "node-b", full=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        world.put(records.resource_key("ippools", "junk"), b"{")
    return world


@given(
    world=worlds(),
    notes=wishes | st.none(),
    ipam=choices,
    plugin=plugins,
    capable=st.booleans(),
    gateway=st.booleans(),
    before=st.tuples(st.integers(0, 6), st.integers(0, 4)),
)
@settings(QUICK, max_examples=150)
def test_it_tells_what_the_add_that_follows_answers_and_writes_nothing(
    world, notes, ipam, plugin, capable, gateway, before
):
    conf = network(
        ipam,
        plugin=plugin,
        capabilities=CAPABLE if capable else {},
        isGateway=gateway,
        feature_control={"ip_addrs_no_ipam": True},
    )
    subject = Subject(namespace="prod", pod="web-0", annotations=notes)
    for host, count in zip(("node-a", "node-b"), before, strict=True):
        if count:  # the nodes have addresses already
            world.ask(AutoAssign(host=host, handle="earlier", count={4: count}))
    content = stored(world.store)

    told = explained(world.store, subject, conf)

    assert content == stored(world.store)
    assert added(world.store, subject, conf) == same(told)
    serving = {each.name for each in told.verdicts if each.rank is not None}
    assert all(
        each.origin.source is Source.KEPT or each.allocation.pool in serving
        for each in told.given
    )
    assert all(each.reason for each in told.verdicts)


def test_on_a_real_etcd_it_is_what_the_add_does(store, raw):
    put(
        store,
        dict(
            [
                stored_resource(
                    "ippools", "IPPool", "one", {"cidr": "10.0.0.0/26", "blockSize": 28}
                ),
                stored_resource(
                    "ippools", "IPPool", "off", {"cidr": "10.1.0.0/26", "disabled": True}
                ),
            ]
        ),
    )
    conf, subject = network(), Subject(namespace="prod", pod="web-0", annotations={})
    before = stored(store)

    told = explained(store, subject, conf)

    assert before == stored(store)
    assert added(store, subject, conf) == same(told)
    assert [Source.CLAIMED] == [each.origin.source for each in told.given]
    again = explained(store, subject, conf)
    assert [Source.OWN] == [each.origin.source for each in again.given]


# What is told


def asked(told):
    return [(each.what, each.value, each.by) for each in told.asked]


def one_pool():
    return World().pool("one", "10.0.0.0/28", blockSize=30)


def test_defaults_are_told_as_such():
    told = explained(one_pool().store)

    assert [
        ("families", "IPv4", "default"),
        ("IPv4 pools", "all that select the node", "default"),
    ] == asked(told)
    assert (NETWORK, "", "") == (told.network, told.main, told.pod)
    assert any("without --conf" in note for note in told.notes)


def test_who_asked_for_what_is_told():
    world = one_pool().pool("six", "fd00::/120")
    notes = {POOLS[4]: '["one"]', STICKY: "true"}
    told = explained(
        world.store,
        Subject(namespace="prod", pod="web-0", annotations=notes),
        network({"assign_ipv6": True, "ipv6_pools": ["six"]}),
    )

    assert [
        ("families", "IPv4, IPv6", "ipam.assign_ipv6"),
        ("IPv4 pools", "one", f"annotation {POOLS[4]}"),
        ("IPv6 pools", "six", "ipam.ipv6_pools"),
        ("kept for", "prod/web-0@eth0", f"annotation {STICKY}"),
    ] == asked(told)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (IP_ADDRS, '["10.0.0.5"]', ("addresses", "10.0.0.5")),
        (
            ADDRESSES,
            "10.0.0.5-10.0.0.6, 10.0.0.9",
            ("IPv4 addresses", "10.0.0.5-10.0.0.6, 10.0.0.9"),
        ),
        (NO_IPAM, '["10.9.9.9"]', ("addresses past IPAM", "10.9.9.9")),
    ],
)
def test_named_addresses_are_told(name, value, expected):
    conf = network(plugin="macvlan", feature_control={"ip_addrs_no_ipam": True})
    told = explained(
        one_pool().store, Subject(namespace="p", pod="w", annotations={name: value}), conf
    )

    assert (*expected, f"annotation {name}") in asked(told)
    assert 0 == told.code


def test_addresses_of_the_network_configuration_are_told():
    told = explained(one_pool().store, conf=network(args={"cni": {"ips": ["10.0.0.6"]}}))

    assert ["10.0.0.6"] == [str(each.allocation.address) for each in told.given]
    assert ("addresses", "10.0.0.6") == asked(told)[0][:2]


def test_who_sets_prefix_and_gateway_is_told():
    world = World().pool(
        "one", "10.0.0.0/24", annotations={"ipam.poolmgr.io/gateway": "10.0.0.9"}
    )
    (given_,) = explained(world.store, conf=network({"prefixLength": 24})).given

    assert "ipam.prefixLength of the network configuration" == given_.prefix_by
    assert "annotation ipam.poolmgr.io/gateway of pool one" == given_.gateway_by
    (other,) = explained(one_pool().store, conf=network()).given
    assert ("default for ptp", "default for ptp") == (other.prefix_by, other.gateway_by)


def test_annotations_that_do_not_reach_the_plugin_have_no_effect():
    subject = Subject(namespace="p", pod="w", annotations={POOLS[4]: '["nope"]'})
    told = explained(one_pool().store, subject, network(capabilities={}))

    assert 0 == told.code
    assert any("annotations do not reach the plugin" in note for note in told.notes)


def test_what_is_not_known_is_told():
    told = explained(one_pool().store, Subject(namespace="prod", pod="web-0"), network())

    assert any("annotations of the pod are not known" in note for note in told.notes)
    assert any("of namespace prod are not known" in note for note in told.notes)


def test_what_the_add_would_log_is_a_note_and_goes_nowhere_else(capsys, caplog):
    world = one_pool().pool("team", "10.0.1.0/28", namespaceSelector="team == 'x'")
    notes = {"cni.projectcalico.org/floatingIPs": "[]"}
    told = explained(
        world.store, Subject(namespace="prod", pod="w", annotations=notes), network()
    )

    assert any("floatingIPs has no effect" in note for note in told.notes)
    assert any("IPPools team select namespaces" in note for note in told.notes)
    assert "" == capsys.readouterr().err
    assert [] == logging.getLogger("poolmgr").handlers


def test_a_pod_of_the_nodes_network_gets_no_add():
    told = explained(one_pool().store, Subject(pod="w", annotations={}, host_network=True))

    assert any("hostNetwork" in note for note in told.notes)


def test_a_configuration_that_the_plugin_refuses_is_a_refusal():
    told = explained(MemoryStore(), conf=network({"prefixLength": "wide"}))

    assert 7 == told.code
    assert "prefixLength" in told.message
    assert (0, 0) == (told.reads, told.transactions)


def test_a_pod_is_named_even_where_the_configuration_is_refused():
    wrong = network({"prefixLength": "wide"})
    named = explained(MemoryStore(), Subject(namespace="web", pod="x1"), wrong)

    assert ("web/x1", "") == (named.pod, explained(MemoryStore(), conf=wrong).pod)


def test_a_pool_under_a_key_that_is_no_name_is_passed_over_by_the_add_too():
    world = World().pool("pods", "10.0.0.0/24", blockSize=28)
    key, value = stored_resource("ippools", "IPPool", "b", {"cidr": "10.1.0.0/24"})
    world.put(key.removesuffix("b") + "a/b", value.replace(b'"b"', b'"a/b"'))
    told = explained(world.store, conf=network())

    assert same(told) == added(world.store, Subject(), network())
    assert told.given
    assert "its stored value is wrong ('a/b' is no name)" == next(
        each.reason for each in told.verdicts if each.name == "a/b"
    )


def test_a_store_without_answers_is_no_refusal(monkeypatch):
    monkeypatch.setattr("poolmgr.cni.verbs.TIMEOUT_S", 0.2)

    class Down(MemoryStore):
        def read(self, fetch, **_):
            raise StoreUnavailableError("down")

    with pytest.raises(StoreUnavailableError):
        explained(Down())


@pytest.fixture
def kube(tmp_path):
    """A network whose plugin asks the Kubernetes API."""
    with KubeApi() as server:
        server.put("namespaces", "fresh", labels={"team": "x"})
        server.put("pods", "web-0", namespace="fresh", annotations={IP_ADDRS: '["10.0.1.2"]'})
        server.put("nodes", "node-a", labels={"rack": "r1"})
        server.put("nodes", "k8s-a", labels={"rack": "r2"})
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
        yield lambda **more: network(
            capabilities={}, kubernetes={"kubeconfig": kubeconfig, **more}, nodename="node-a"
        )


def racks():
    return (
        World()
        .pool(
            "r1",
            "10.0.1.0/28",
            blockSize=30,
            nodeSelector="rack == 'r1'",
            namespaceSelector="team == 'x'",
        )
        .pool("r2", "10.0.2.0/28", blockSize=30, nodeSelector="rack == 'r2'")
    )


@pytest.mark.parametrize(
    "subject",
    [
        Subject(namespace="fresh", pod="web-0"),
        Subject(namespace="fresh", pod="web-9"),
        Subject(namespace="test", pod="web-0"),
    ],
)
def test_the_kubernetes_api_is_asked_as_for_an_add(kube, subject):
    world = racks()
    told = explained(world.store, subject, kube())

    assert added(world.store, subject, kube()) == same(told)


def test_a_pod_that_does_not_exist_yet_has_the_annotations_given(kube):
    world = racks()
    subject = Subject(namespace="fresh", pod="new", annotations={})
    told = explained(world.store, subject, kube())

    assert ["r1"] == [each.allocation.pool for each in told.given]
    assert ["r1"] == [
        each.allocation.pool
        for each in explained(world.store, Subject(namespace="fresh"), kube()).given
    ]
    assert not any("not known" in note for note in told.notes)


def test_the_name_of_a_node_in_kubernetes_is_that_of_the_configured_node_only(kube):
    world, subject = racks(), Subject(namespace="fresh", annotations={})

    (here,) = explained(world.store, subject, kube(node_name="k8s-a")).given
    there = explained(world.store, subject, kube(node_name="k8s-a"), "k8s-a").given

    assert "r2" == here.allocation.pool
    assert ["r2"] == [each.allocation.pool for each in there]
    refused = explained(world.store, subject, kube(node_name="k8s-a"), "node-z")
    assert any("no node node-z" in note for note in refused.notes)


# The command


def test_the_exit_status_is_that_of_the_answer(at_memory, memory):
    refused = at_memory("ipam", "explain", "--node", "node-a")
    put(memory, dict([stored_resource("ippools", "IPPool", "one", {"cidr": "10.0.0.0/24"})]))
    given_ = at_memory("ipam", "explain", "--node", "node-a", "-o", "json")

    assert (1, 0) == (refused.exit_code, given_.exit_code)
    assert "REFUSED         code 100" in refused.output
    assert {"reads": 2, "transactions": 1} == json.loads(given_.output)["etcd"]


def test_a_node_that_cannot_exist_is_a_usage_error(at_memory):
    result = at_memory("ipam", "explain", "--node", "a/b")

    assert 2 == result.exit_code
    assert "--node" in result.output


def test_standard_input_is_one_file(at_memory, tmp_path):
    both = at_memory("ipam", "explain", "--node", "a", "-f", "-", "--conf", "-")
    folders = [
        at_memory("ipam", "explain", "--node", "a", option, str(tmp_path))
        for option in ("-f", "--conf")
    ]
    deep = at_memory("ipam", "explain", "--node", "a", "--conf", "-", stdin="[" * 100_000)

    assert 2 == both.exit_code
    assert "standard input (-) can be one file only" in both.stderr
    line = f"poolctl: error: cannot read {tmp_path}: it is not a regular file\n"
    assert [(1, line)] * 2 == [(each.exit_code, each.stderr) for each in folders]
    assert "poolctl: error: standard input is nested too deeply\n" == deep.stderr
