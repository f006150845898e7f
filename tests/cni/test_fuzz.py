"""Random calls: whatever comes in, the answer is that of a plugin, and an error changes nothing."""

import json
import os
import random
import subprocess
import time
from collections import Counter
from functools import partial

import pytest

from poolctl.node.install import NAME, install
from poolmgr.cni import direct
from poolmgr.cni.result import LATEST, VERSIONS
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import KubernetesError
from poolmgr.kube.facts import NamespaceFacts, NodeFacts, PodFacts
from poolmgr.store.memory import MemoryStore
from tests.support.world import stored_resource

SEED = 20261124
COMMANDS = ("ADD", "ADD", "ADD", "ADD", "DEL", "DEL", "CHECK", "GC", "STATUS")
TEXTS = (
    "",
    "x",
    "ü",
    "\0",
    "\ud800",
    "a/b",
    "true",
    "4",
    "-1",
    "10.0.0.5",
    "[",
    "{}",
    "[1]",
    "é" * 300,
)
JUNK = (
    *TEXTS,
    None,
    True,
    False,
    0,
    -1,
    1 << 70,
    1e308,
    [],
    {},
    [[]],
    {"a": {"b": []}},
    [None],
)
ADDRESSES = (
    "10.0.0.5",
    "10.0.0.6/24",
    "fd00::5",
    "10.0.0.0",
    "10.1.0.5",
    "192.0.2.1",
    "fd00::5/64",
    "010.0.0.1",
    "::ffff:10.0.0.1",
)
POOLS = ("four", "six", "off", "none", "10.0.0.0/26", "fd00::/120", "10.9.0.0/16")
ANNOTATIONS = {
    "cni.projectcalico.org/ipAddrs": (
        '["10.0.0.7"]',
        '["fd00::7", "10.0.0.7"]',
        '["10.7.0.7"]',
        "[]",
    ),
    "cni.projectcalico.org/ipAddrsNoIpam": ('["10.0.0.7"]', "7"),
    "cni.projectcalico.org/ipv4pools": ('["four"]', '["six"]', '["off", "four"]', "[]"),
    "cni.projectcalico.org/ipv6pools": ('["six"]', '["fd00::/120"]', "[4]"),
    "cni.projectcalico.org/ipFamilies": ('["IPv4"]', '["IPv6", "IPv4"]', '["IPv5"]'),
    "ipam.poolmgr.io/addresses": (
        "10.0.0.8-10.0.0.9, fd00::8",
        '{"net1": ["10.0.0.16/30"], "net1/eth1": "fd00::9"}',
        "10.0.9.9",
        '["10.0.0.9-10.0.0.8"]',
    ),
    "ipam.poolmgr.io/sticky": ("true", "false", "web", '{"net1": "web"}', "a.b"),
    "ipam.poolmgr.io/sticky-retention": ("24h", "forever", '{"net2": "7d"}', "0"),
    "ipam.poolmgr.io/unknown": ("x",),
}


class Calls:
    """Makes up calls: sound ones with a few things that are not."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, likely, *, junk=0.04):
        return self.random.choice(JUNK if self.random.random() < junk else likely)

    def texts(self, likely):
        count = self.random.choice((0, 1, 1, 1, 2))
        return [self.some(likely, junk=0.02) for _ in range(count)]

    def maybe(self, share, key, make):
        return {key: make()} if self.random.random() < share else {}

    def annotations(self):
        names = self.random.sample(list(ANNOTATIONS), self.random.choice((0, 1, 1, 2, 3)))
        return {
            name: self.random.choice(TEXTS if self.random.random() < 0.1 else ANNOTATIONS[name])
            for name in names
        }

    def ipam(self):
        return {
            **self.maybe(0.3, "assign_ipv4", lambda: self.some((True, False, "true", "false"))),
            **self.maybe(0.5, "assign_ipv6", lambda: self.some((True, "true"))),
            **self.maybe(0.2, "ipv4_pools", lambda: self.texts(POOLS)),
            **self.maybe(0.1, "ipv6_pools", lambda: self.texts(POOLS)),
            **self.maybe(0.2, "prefixLength", lambda: self.some(("pool", "host", "block", 24))),
            **self.maybe(0.1, "gateway", lambda: self.some(("none", "10.0.0.1", "fd00::1"))),
            **self.maybe(
                0.1, "routes", lambda: self.some(([{"dst": "0.0.0.0/0"}], [{"dst": "x"}]))
            ),
            **self.maybe(0.02, "typo", lambda: 1),
        }

    def runtime(self):
        return {
            **self.maybe(0.2, "ips", lambda: self.texts(ADDRESSES)),
            **self.maybe(
                0.5,
                "io.kubernetes.cri.pod-annotations",
                lambda: self.some([self.annotations()]),
            ),
        }

    def document(self):
        valid = [{"containerID": "c1", "ifname": "eth0"}]
        conf = {
            "cniVersion": self.some((*VERSIONS, *[LATEST] * 7), junk=0.02),
            "name": self.some(("net1", "net1", "net2"), junk=0.02),
            "type": self.some(("ptp", "bridge", "macvlan", "calico")),
            "nodename": self.some(("node-a", "node-b"), junk=0.02),
            "etcd_endpoints": self.some(("127.0.0.1:1",), junk=0.02),
            **self.maybe(0.9, "ipam", lambda: self.some([self.ipam()])),
            **self.maybe(0.5, "runtimeConfig", lambda: self.some([self.runtime()])),
            **self.maybe(
                0.1,
                "args",
                lambda: self.some([{"cni": {"ips": self.texts(ADDRESSES)}}, {"cni": 1}]),
            ),
            **self.maybe(0.3, "isGateway", lambda: self.some((True, False))),
            **self.maybe(0.2, "kubernetes", lambda: self.some([{"kubeconfig": "/k"}])),
            **self.maybe(0.05, "policy", lambda: self.some([{"type": "k8s"}])),
            **self.maybe(
                0.3, "feature_control", lambda: self.some([{"ip_addrs_no_ipam": True}])
            ),
            **self.maybe(
                0.2, "prevResult", lambda: self.some([{"ips": [{"address": "10.0.0.5/24"}]}])
            ),
            **self.maybe(0.8, "cni.dev/valid-attachments", lambda: self.some((valid, [], [1]))),
        }
        for key in list(conf):
            if self.random.random() < 0.005:
                conf[key] = self.random.choice(JUNK)
        return conf

    def stdin(self):
        raw = json.dumps(self.document()).encode()
        if self.random.random() < 0.05:
            at = self.random.randrange(len(raw))
            change = bytes([self.random.randrange(256)])
            raw = self.random.choice(
                (raw[:at], raw[:at] + change + raw[at + 1 :], b"", change * 99)
            )
        return raw

    def args(self):
        named = self.random.choice(("web-0", "web-1", "db", "gone"))
        parts = self.random.sample(
            (
                f"K8S_POD_NAMESPACE=prod;K8S_POD_NAME={named}",
                f"IP={self.random.choice(ADDRESSES[:1] + ADDRESSES[2:6])}",
                "IgnoreUnknown=1",
                "K8S_POD_UID=1",
            ),
            self.random.choice((0, 1, 1, 2)),
        )
        if self.random.random() < 0.1:
            parts.append(
                self.random.choice(("FOO=bar", ";", "IP=é", "IP=10.0.0.5/24", "=", "IP"))
            )
        return ";".join(parts)

    def environment(self):
        env = {
            "CNI_COMMAND": self.random.choice(COMMANDS),
            "CNI_CONTAINERID": f"c{self.random.randrange(9)}",
            "CNI_NETNS": "/var/run/netns/x",
            "CNI_IFNAME": self.random.choice(("eth0", "eth0", "eth1")),
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": self.args(),
        }
        for name in env:
            if self.random.random() < 0.01:
                env[name] = self.random.choice(
                    ("", "x", "a/b", "ü", "VERSION", "..", "x" * 300)
                )
        return env


def yes():
    return True


def judge(case, status, text):
    """Check that an answer is that of a plugin, and return its code; 0 = it is no error."""
    if status == 0:
        if text:
            assert json.loads(text)["cniVersion"] in VERSIONS, case
        return 0
    error = json.loads(text)
    assert (status, error["cniVersion"] in VERSIONS) == (1, True), case
    assert error["msg"], case
    assert 0 < error["code"] < 999, (case, error)
    return error["code"]


class Api:
    """A Kubernetes API with odd pods, one of which is gone, and now and then no answer."""

    calls = Calls(SEED)

    def __init__(self, access, *, timeout_s):
        pass

    def pod(self, namespace, name):
        if self.calls.random.random() < 0.1:
            raise KubernetesError("https://h", "pod", "it is down", remedy="start it")
        if name == "gone":
            return None
        return PodFacts(namespace=namespace, name=name, annotations=self.calls.annotations())

    def namespace(self, name):
        return NamespaceFacts(name=name, labels={}, annotations=self.calls.annotations())

    def node(self, name):
        known = self.calls.random.random() < 0.5
        return NodeFacts(name=name, labels={"rack": "r1"}) if known else None

    def close(self):
        pass


def filled():
    pools = (
        ("four", {"cidr": "10.0.0.0/26", "blockSize": 28}),
        ("six", {"cidr": "fd00::/120", "blockSize": 124}),
        ("off", {"cidr": "10.1.0.0/24", "disabled": True}),
        ("team", {"cidr": "10.2.0.0/24", "namespaceSelector": "has(team)"}),
    )
    store = MemoryStore()
    stored = dict(stored_resource("ippools", "IPPool", name, spec) for name, spec in pools)
    store.commit(Txn(expect={}, epoch=None, puts={EPOCH_KEY: b"e", **stored}))
    return store


def revision(store):
    return store.read(Fetch(keys=frozenset({EPOCH_KEY}))).revision


@pytest.mark.parametrize(
    "count", [3_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_random_calls_in_one_process_are_answered(count, monkeypatch, capfd, caplog):
    caplog.set_level("ERROR", "poolmgr")
    stores = []
    monkeypatch.setattr("poolmgr.store.etcd.EtcdStore", lambda settings: stores[-1])
    monkeypatch.setattr("poolmgr.kube.client.Kubernetes", Api)
    calls, codes = Calls(SEED), Counter()
    for number in range(count):
        if number % 500 == 0:
            stores.append(filled())
        case = (raw, env) = calls.stdin(), calls.environment()
        before = revision(stores[-1])
        status, text = direct.run(env, partial(bytes, raw), started=time.monotonic(), alive=yes)
        code = judge(case, status, text)
        codes[code] += 1

        assert code == 0 or revision(stores[-1]) == before, (case, code)
    assert "Traceback" not in capfd.readouterr().err
    # Were all calls refused for the same reason, the test would say nothing.
    assert {0, 1, 4, 6, 7, 11, 50, 100, 103, 107} <= codes.keys(), codes
    assert codes[0] > count / 5


@pytest.mark.parametrize(
    "count", [20, pytest.param(1_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_random_calls_of_the_executable_are_answered(count, raw, etcd_endpoint, tmp_path):
    install(tmp_path)
    for name, spec in (("four", {"cidr": "10.0.0.0/26"}), ("six", {"cidr": "fd00::/120"})):
        raw.put(*stored_resource("ippools", "IPPool", name, spec))
    calls = Calls(SEED)
    for _ in range(count):
        stdin = calls.stdin().replace(b"127.0.0.1:1", etcd_endpoint.encode())
        env = calls.environment()
        before = raw.dump()
        done = subprocess.run(
            [tmp_path / NAME],
            input=stdin,
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            timeout=60,
            check=False,
        )
        code = judge((stdin, env), done.returncode, done.stdout.decode())

        assert b"Traceback" not in done.stderr
        assert code == 0 or raw.dump() == before
