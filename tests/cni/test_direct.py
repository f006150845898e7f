import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poolmgr.api import IPPool
from poolmgr.cni import direct, host, verbs
from poolmgr.cni.result import version_text
from poolmgr.core import records
from tests.support.kube_api import Fault, KubeApi
from tests.support.world import NOON_NS, stored_resource

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "from poolmgr.cni.direct import main; main()"
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/var/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CLIENTS = (
    "lightkube",
    "poolmgr.kube.client",
    "grpc",
    "google.protobuf",
    "etcd3",
    "poolmgr.api",
    "poolmgr.ipam",
    "poolmgr.store.etcd",
)


@pytest.fixture(autouse=True)
def ctrl_c():
    """`main` gives Ctrl-C to the system; the tests keep theirs."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def netconf(endpoint="127.0.0.1:1", **keys):
    return {
        "cniVersion": "1.0.0",
        "name": "net1",
        "type": "ptp",
        "etcd_endpoints": endpoint,
        "nodename": "node-a",
        "ipam": {"type": "poolmgr-ipam"},
        **keys,
    }


def run(conf, **env):
    raw = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    status, text = direct.run(
        {**ENV, **env}, lambda: raw, started=time.monotonic(), alive=lambda: True
    )
    return status, json.loads(text) if text else None


def start(command=(sys.executable, "-c", ENTRY), **options):
    """Run the entry point as a process of its own."""
    env = {**ENV, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, check=False, timeout=60, **options
    )


@pytest.fixture
def endpoint(raw, etcd_endpoint):
    """An etcd that holds a pool."""
    manifest = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "four"},
        "spec": {"cidr": "10.0.0.0/24", "blockSize": 28},
    }
    raw.put(records.resource_key("ippools", "four"), IPPool.from_manifest(manifest).to_stored())
    return etcd_endpoint


def test_version_is_answered_without_reading_anything():
    def no_input():
        raise AssertionError("standard input was read")

    answer = direct.run({"CNI_COMMAND": "VERSION"}, no_input, started=0.0, alive=lambda: True)
    assert answer == (0, version_text() + "\n")


def test_a_call_is_served_from_add_to_del(endpoint, raw):
    conf = netconf(endpoint)
    status, result = run(conf)

    assert (status, result["cniVersion"]) == (0, "1.0.0")
    (ip,) = result["ips"]
    assert (ip["address"].endswith("/24"), ip["gateway"]) == (True, "10.0.0.1")
    assert run(conf) == (0, result)
    assert run({**conf, "prevResult": result}, CNI_COMMAND="CHECK") == (0, None)
    other = {"ips": [{"address": "10.0.0.250/24"}]}
    status, error = run({**conf, "prevResult": other}, CNI_COMMAND="CHECK")
    assert (status, error["code"]) == (1, 107)
    assert run(conf, CNI_COMMAND="DEL") == (0, None)
    assert run(conf, CNI_COMMAND="DEL") == (0, None)
    assert not [key for key in raw.dump() if "/handle/" in key]


def test_what_is_recorded_has_the_time_of_the_clock(endpoint, raw):
    conf = json.dumps(netconf(endpoint)).encode()
    direct.run(
        ENV, lambda: conf, started=time.monotonic(), alive=lambda: True, clock=lambda: NOON_NS
    )

    (block,) = (value for key, value in raw.dump().items() if "/assignment/" in key)
    assert b'"affinity_claim_time":"2026-11-18T11:06:40Z"' in block
    assert b'"timestamp":"2026-11-18 11:06:40 +0000 UTC"' in block


def test_status_tells_whether_etcd_answers(endpoint):
    up, down = netconf(endpoint, cniVersion="1.1.0"), netconf(cniVersion="1.1.0")

    assert run(up, CNI_COMMAND="STATUS") == (0, None)
    status, error = run(down, CNI_COMMAND="STATUS")
    assert (status, error["cniVersion"], error["code"]) == (1, "1.1.0", 50)


def test_status_tells_that_no_pool_serves_the_node(endpoint):
    conf = netconf(endpoint, cniVersion="1.1.0", ipam={"assign_ipv6": True})
    status, error = run(conf, CNI_COMMAND="STATUS")

    assert (status, error["code"]) == (1, 50)
    assert "no IPv6 pool serves node node-a: four: is an IPv4 pool" in error["msg"]


def test_gc_frees_what_the_runtime_does_not_list(endpoint, raw):
    conf = netconf(endpoint, cniVersion="1.1.0")
    run(conf)
    run(conf, CNI_CONTAINERID="c2")
    conf["cni.dev/valid-attachments"] = [{"containerID": "c2", "ifname": "eth0"}]

    assert run(conf, CNI_COMMAND="GC", CNI_CONTAINERID="", CNI_IFNAME="") == (0, None)
    handles = [key for key in raw.dump() if "/handle/" in key]
    assert [key.rpartition("/")[2] for key in handles] == ["net1.c2"]


def annotated(endpoint, annotations, **keys):
    runtime = {"io.kubernetes.cri.pod-annotations": annotations}
    return netconf(endpoint, type="macvlan", runtimeConfig=runtime, **keys)


POD_ARGS = {"CNI_ARGS": "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"}
NODE = "node-a"
NAMED = {"cni.projectcalico.org/ipAddrs": '["10.0.0.9"]'}


def test_annotations_that_the_runtime_passes_are_heeded(endpoint):
    conf = annotated(endpoint, NAMED)
    status, result = run(conf)

    assert (status, result["ips"]) == (0, [{"address": "10.0.0.9/24"}])
    assert run({**conf, "prevResult": result}, CNI_COMMAND="CHECK") == (0, None)


def test_a_wrong_annotation_is_refused_and_does_not_stop_the_delete(endpoint, raw):
    conf = annotated(endpoint, {"cni.projectcalico.org/ipAddrs": "10.0.0.9"})
    before = raw.dump()
    status, error = run(conf)

    assert (status, error["code"]) == (1, 7)
    assert "annotation cni.projectcalico.org/ipAddrs = '10.0.0.9': " in error["msg"]
    assert raw.dump() == before
    assert run(conf, CNI_COMMAND="DEL") == (0, None)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("cni.projectcalico.org/ipv4pools", '["none"]', 100),
        ("cni.projectcalico.org/ipv4pools", '["10.7.0.0/24"]', 100),
        ("cni.projectcalico.org/ipAddrs", '["192.0.2.1"]', 100),
        ("cni.projectcalico.org/ipAddrs", '["10.0.0.0"]', 104),
        ("cni.projectcalico.org/ipAddrs", '["10.0.0.33"]', 104),
        ("cni.projectcalico.org/ipAddrs", '["10.0.0.77"]', 103),
        ("cni.projectcalico.org/ipFamilies", '["IPv6"]', 100),
        ("ipam.poolmgr.io/addresses", "192.0.2.1-192.0.2.9", 100),
        ("ipam.poolmgr.io/addresses", "10.0.0.77, 10.0.0.32/30", 101),
    ],
)
def test_an_annotation_that_is_not_granted_is_named(name, value, code, endpoint, raw):
    reserved = {"reservedCIDRs": ["10.0.0.32/30"]}
    raw.put(*stored_resource("ipreservations", "IPReservation", "kept", reserved))
    run(netconf(endpoint), CNI_CONTAINERID="c2", CNI_ARGS="IP=10.0.0.77")
    before = raw.dump()
    status, error = run(annotated(endpoint, {name: value}))

    assert (status, error["code"]) == (1, code)
    assert error["msg"].startswith(f"annotation {name} = '{value}': ")
    assert raw.dump() == before


@pytest.mark.parametrize("value", ["true", "web", '{"net1": "web"}'])
def test_a_sticky_address_is_kept_for_the_next_container(value, endpoint):
    conf = annotated(endpoint, {"ipam.poolmgr.io/sticky": value})
    result = run(conf, **POD_ARGS)[1]

    checked = {**conf, "prevResult": result}
    assert run(checked, CNI_COMMAND="CHECK", **POD_ARGS) == (0, None)
    assert run(conf, CNI_COMMAND="DEL", **POD_ARGS) == (0, None)
    other = run(netconf(endpoint, type="macvlan"), CNI_CONTAINERID="c2")[1]
    assert run(conf, CNI_CONTAINERID="c3", **POD_ARGS) == (0, result)
    assert result["ips"] != other["ips"]


def test_a_pod_and_an_identity_of_one_name_share_no_address(endpoint):
    own, shared = (
        run(
            annotated(endpoint, {"ipam.poolmgr.io/sticky": value}),
            CNI_CONTAINERID=container,
            CNI_ARGS=f"K8S_POD_NAMESPACE=prod;K8S_POD_NAME={pod}",
        )[1]["ips"]
        for value, container, pod in (("web", "c1", "web-x"), ("true", "c2", "web"))
    )

    assert own != shared


def test_addresses_past_ipam_need_no_etcd():
    conf = annotated(
        "127.0.0.1:1",
        {"cni.projectcalico.org/ipAddrsNoIpam": '["10.9.0.9"]'},
        feature_control={"ip_addrs_no_ipam": True},
    )

    assert run(conf)[1]["ips"] == [{"address": "10.9.0.9/32"}]


def test_pools_that_select_unknown_labels_are_logged(endpoint, raw, caplog):
    spec = {"cidr": "10.0.1.0/24", "namespaceSelector": "team == 'x'"}
    raw.put(*stored_resource("ippools", "IPPool", "team", spec))

    assert run(netconf(endpoint), **POD_ARGS)[0] == 0
    (message,) = caplog.messages
    assert message.startswith("IPPools team select namespaces by label")
    done = start(input=json.dumps(netconf(endpoint)).encode(), env=POD_ARGS)
    assert done.stderr.decode() == f"{message}\n"


API_ARGS = {"CNI_ARGS": "K8S_POD_NAMESPACE=fresh;K8S_POD_NAME=web-0"}


@pytest.fixture
def server():
    """A Kubernetes API that knows the pod web-0 in the namespace fresh, and this node."""
    with KubeApi() as server:
        server.put("namespaces", "fresh", labels={"team": "x"})
        server.put("pods", "web-0", namespace="fresh", annotations=NAMED)
        server.put("nodes", NODE, labels={"rack": "r1"})
        yield server


@pytest.fixture
def api(server, tmp_path):
    kubeconfig = server.kubeconfig(tmp_path / "kubeconfig")
    return {"kubernetes": {"kubeconfig": kubeconfig}, "type": "macvlan"}


def test_annotations_come_from_the_api_where_it_is_named(endpoint, api):
    conf = netconf(endpoint, **api)

    assert run(conf, **API_ARGS)[1]["ips"] == [{"address": "10.0.0.9/24"}]
    assert run(conf, CNI_COMMAND="DEL", **API_ARGS) == (0, None)


def test_a_pod_that_the_api_does_not_know_gets_nothing(endpoint, raw, api):
    before = raw.dump()
    args = API_ARGS["CNI_ARGS"].replace("web-0", "web-1")
    status, error = run(netconf(endpoint, **api), CNI_ARGS=args)

    assert (status, error["code"], "pod fresh/web-1" in error["msg"]) == (1, 7, True)
    assert raw.dump() == before


def test_labels_of_the_namespace_come_from_the_api(endpoint, raw, api, caplog):
    spec = {"cidr": "10.0.1.0/24", "namespaceSelector": "team == 'x'"}
    raw.put(*stored_resource("ippools", "IPPool", "a-team", spec))
    api["runtimeConfig"] = {"io.kubernetes.cri.pod-annotations": {}}
    (ip,) = run(netconf(endpoint, **api), **API_ARGS)[1]["ips"]

    assert (ip["address"].startswith("10.0.1."), caplog.messages) == (True, [])


def test_the_stored_node_follows_the_labels_that_kubernetes_has(endpoint, raw, server, api):
    spec = {"cidr": "10.0.1.0/24", "nodeSelector": "rack == 'r1'"}
    raw.put(*stored_resource("ippools", "IPPool", "a-rack", spec))
    raw.put(*stored_resource("nodes", "Node", NODE, {"kept": True}, labels={"rack": "r9"}))
    api["runtimeConfig"] = {"io.kubernetes.cri.pod-annotations": {}}
    (ip,) = run(netconf(endpoint, **api), **API_ARGS)[1]["ips"]
    node = json.loads(raw.get("/calico/resources/v3/projectcalico.org/nodes/" + NODE))

    assert ip["address"].startswith("10.0.1.")
    assert ({"rack": "r1"}, {"kept": True}) == (node["metadata"]["labels"], node["spec"])


def test_a_node_that_kubernetes_does_not_have_is_warned_of(endpoint, raw, server, api, caplog):
    api["kubernetes"]["node_name"] = "elsewhere"
    status, _ = run(netconf(endpoint, **api), **API_ARGS)

    assert 0 == status
    assert [
        "Kubernetes has no node elsewhere; its labels are those stored; write the name that "
        "Kubernetes has for this node as kubernetes.node_name"
    ] == caplog.messages


def test_an_api_that_is_down_is_try_again(endpoint, raw):
    before = raw.dump()
    keys = {"policy": {"type": "k8s", "k8s_api_root": "https://127.0.0.1:1"}}
    status, error = run(netconf(endpoint, **keys), **POD_ARGS)

    assert (status, error["code"]) == (1, 11)
    assert raw.dump() == before
    assert run(netconf(endpoint, **keys), CNI_COMMAND="DEL", **POD_ARGS) == (0, None)


@pytest.mark.parametrize(
    ("fault", "user"),
    [
        (Fault.HANG, None),
        (Fault.HANDSHAKE, None),
        (Fault.ERROR, None),
        (Fault.NOT_JSON, None),
        (None, {}),
        (None, {"token": "wrong"}),
    ],
)
def test_an_api_that_gives_no_answer_is_try_again_in_time(fault, user, endpoint, raw, tmp_path):
    before, started = raw.dump(), time.monotonic()
    with KubeApi() as server:
        server.put("pods", "web-0", namespace="prod")
        server.fault = fault
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig", user=user)
        conf = netconf(endpoint, kubernetes={"kubeconfig": kubeconfig})
        status, error = run(conf, **POD_ARGS)

    assert (status, error["code"]) == (1, 11)
    assert time.monotonic() - started < 8
    assert raw.dump() == before


def test_a_named_address_outside_of_every_pool_is_refused(endpoint, raw):
    before = raw.dump()
    status, error = run(netconf(endpoint), CNI_ARGS="IP=192.168.0.5")

    assert (status, error["code"]) == (1, 100)
    assert raw.dump() == before


def test_a_pool_that_does_not_exist_is_refused(endpoint, raw):
    before = raw.dump()
    status, error = run(netconf(endpoint, ipam={"ipv4_pools": ["five"]}))

    assert (status, error["code"], "five" in error["msg"]) == (1, 100, True)
    assert raw.dump() == before


def test_a_full_pool_is_refused(endpoint):
    codes = [
        run(netconf(endpoint, ipam={"ipv4_pools": ["four"]}), CNI_CONTAINERID=f"c{i}")
        for i in range(254)
    ]

    assert [status for status, _ in codes] == [0] * 253 + [1]
    assert codes[-1][1]["code"] == 101


def test_a_block_that_does_not_decode_is_refused(endpoint, raw):
    run(netconf(endpoint))
    (key,) = (key for key in raw.dump() if "/assignment/" in key)
    raw.put(key, "garbage")
    before = raw.dump()

    for command in ("ADD", "DEL", "CHECK"):
        status, error = run(netconf(endpoint), CNI_COMMAND=command)
        assert (status, error["code"], key in error["msg"]) == (1, 110, True)
    assert raw.dump() == before


def test_an_etcd_that_is_not_there_is_told_from_a_wrong_call():
    started = time.monotonic()
    status, error = direct_run_late(netconf())

    assert (status, error["code"]) == (1, 11)
    assert "nothing was written" in error["msg"]
    assert time.monotonic() - started < 8


def direct_run_late(conf):
    """Run a call that began nine seconds ago."""
    status, text = direct.run(
        ENV,
        lambda: json.dumps(conf).encode(),
        started=time.monotonic() - 9,
        alive=lambda: True,
    )
    return status, json.loads(text)


@pytest.mark.parametrize(
    ("conf", "env", "code", "version"),
    [
        (b"", {}, 6, "1.1.0"),
        (b"{", {}, 6, "1.1.0"),
        (b"[]", {}, 6, "1.1.0"),
        ({"cniVersion": "0.4.0"}, {}, 7, "0.4.0"),
        ({"cniVersion": "9.9.9", "name": "net1"}, {}, 1, "1.1.0"),
        ({"cniVersion": 1}, {}, 7, "1.1.0"),
        (netconf(), {"CNI_COMMAND": "FROBNICATE"}, 4, "1.0.0"),
        (netconf(), {"CNI_IFNAME": ""}, 4, "1.0.0"),
        (netconf(nodename="a/b"), {}, 7, "1.0.0"),
        (netconf("ftp://h:1"), {}, 7, "1.0.0"),
        (netconf(ipam={"assign_ipv4": 1}), {}, 7, "1.0.0"),
    ],
)
def test_bad_input_is_refused_in_the_version_of_the_call(conf, env, code, version):
    status, error = run(conf, **env)

    assert (status, error["code"], error["cniVersion"]) == (1, code, version)


@pytest.mark.parametrize(
    "conf",
    [
        b"{",
        netconf(ipam=[]),
        netconf(nodename="a/b"),
        netconf("ftp://h:1"),
        netconf(kubernetes={"kubeconfig": 5}),
        annotated("", {"ipam.poolmgr.io/sticky": "a.b"}),
    ],
)
def test_bad_input_is_refused_before_an_etcd_client_is_imported(conf):
    code = f"""
import json, sys
from poolmgr.cni import direct
status, text = direct.run({ENV!r}, sys.stdin.buffer.read, started=0.0, alive=lambda: True)
print(json.dumps([json.loads(text)["code"], [name for name in {CLIENTS!r} if name in sys.modules]]))
"""
    raw = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    done = start((sys.executable, "-c", code), input=raw)

    refused, imported = json.loads(done.stdout)
    assert (refused in (6, 7), imported) == (True, [])


def test_an_unforeseen_error_is_answered_without_a_traceback(monkeypatch):
    def broken(naming):
        raise RuntimeError("boom")

    monkeypatch.setattr(host, "node_name", broken)
    status, error = run(netconf())

    assert (status, error["code"]) == (1, 999)
    assert error["msg"] == "internal error, please report it: RuntimeError: boom"


def test_the_process_answers_as_a_plugin_does(endpoint):
    done = start(input=json.dumps(netconf(endpoint)).encode())

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["cniVersion"] == "1.0.0"
    again = start(input=json.dumps(netconf(endpoint)).encode(), env={"CNI_COMMAND": "DEL"})
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")


def test_the_process_refuses_as_a_plugin_does():
    done = start(input=b"{")

    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads(done.stdout)["code"] == 6


def test_the_environment_names_etcd_where_the_configuration_does_not(endpoint):
    conf = json.dumps(netconf("")).encode()
    done = start(input=conf, env={"ETCD_ENDPOINTS": endpoint})

    assert (done.returncode, done.stderr) == (0, b"")


def test_a_process_without_standard_input_says_so():
    done = start(("/bin/sh", "-c", f'exec {sys.executable} -c "{ENTRY}" <&-'))

    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 5)


ORPHAN = """
import os, subprocess, sys
from poolmgr.cni import direct

real = direct._standard_input

def announced():
    os.write(2, b"reading")
    return real()

direct._standard_input = announced
direct.main()
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(60)
"""


def test_a_process_whose_parent_is_gone_writes_nothing(endpoint, raw):
    before = raw.dump()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, ORPHAN],
        env={**ENV, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    assert parent.stderr.read(7) == b"reading"
    parent.kill()
    parent.wait()
    answer, _ = parent.communicate(json.dumps(netconf(endpoint)).encode(), timeout=30)
    error = json.loads(answer)
    assert (error["code"], "the caller is gone" in error["msg"]) == (11, True)
    assert raw.dump() == before


@pytest.fixture
def in_process(monkeypatch):
    """Lets `main` run here."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)


def test_main_reads_to_the_end_and_writes_the_answer(in_process, monkeypatch, capfd):
    parts = [b'{"cniVersion": ', b'"0.4.0"}', b""]
    monkeypatch.setattr(os, "read", lambda fd, size: parts.pop(0))

    with pytest.raises(SystemExit, match="1"):
        direct.main()
    error = json.loads(capfd.readouterr().out)
    assert (error["cniVersion"], error["code"], parts) == ("0.4.0", 7, [])


def test_main_stops_reading_at_the_limit(in_process, monkeypatch, capfd):
    monkeypatch.setattr(os, "read", lambda fd, size: b" " * min(size, 1 << 19))

    with pytest.raises(SystemExit, match="1"):
        direct.main()
    error = json.loads(capfd.readouterr().out)
    assert (error["code"], "exceeds 1,048,576 bytes" in error["msg"]) == (6, True)


def test_main_says_that_it_has_no_standard_input(in_process, monkeypatch, capfd):
    def closed(fd, size):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "read", closed)
    with pytest.raises(SystemExit, match="1"):
        direct.main()
    error = json.loads(capfd.readouterr().out)
    assert (error["code"], error["msg"]) == (
        5,
        "standard input is not readable: Bad file descriptor",
    )


def test_main_fails_when_nobody_takes_the_answer(in_process, monkeypatch):
    def closed(fd, data):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setenv("CNI_COMMAND", "VERSION")
    monkeypatch.setattr(os, "write", closed)
    with pytest.raises(SystemExit, match="1"):
        direct.main()


def test_main_asks_whether_its_parent_lives(in_process, monkeypatch):
    asked = []

    def run(environ, read_input, *, started, alive):
        asked.append(alive())
        return 0, ""

    monkeypatch.setattr(direct, "run", run)
    with pytest.raises(SystemExit, match="0"):
        direct.main()

    assert asked == [True]


@pytest.mark.parametrize(
    "later",
    [
        {"cni.projectcalico.org/ipAddrs": "garbage"},
        {"cni.projectcalico.org/ipAddrsNoIpam": '["10.9.0.9"]'},
        {"cni.projectcalico.org/ipFamilies": '["IPv6"]'},
        {"ipam.poolmgr.io/unknown": "x"},
        {"ipam.poolmgr.io/sticky": "other"},
    ],
)
def test_a_check_does_not_mind_annotations_that_came_later(later, endpoint):
    result = run(annotated(endpoint, {}), **POD_ARGS)[1]
    conf = {**annotated(endpoint, later), "prevResult": result}

    assert run(conf, CNI_COMMAND="CHECK", **POD_ARGS) == (0, None)


def test_a_check_asks_the_store_alone(endpoint, server, api):
    server.put("pods", "web-0", namespace="fresh", annotations={})
    conf = netconf(endpoint, **api)
    result = run(conf, **API_ARGS)[1]
    server.fault, asked = Fault.HANG, len(server.requests)
    other = {"ips": [{"address": "10.0.0.250/24"}]}

    checked = run({**conf, "prevResult": result}, CNI_COMMAND="CHECK", **API_ARGS)
    failed = run({**conf, "prevResult": other}, CNI_COMMAND="CHECK", **API_ARGS)

    assert ((0, None), 107) == (checked, failed[1]["code"])
    assert asked == len(server.requests)


@pytest.mark.parametrize("told_by", ["runtime", "api"])
def test_a_check_of_addresses_past_ipam(told_by, endpoint, server, api):
    said = {"cni.projectcalico.org/ipAddrsNoIpam": '["10.9.0.9"]'}
    if told_by == "runtime":
        conf = annotated(endpoint, said)
    else:
        server.put("pods", "web-0", namespace="fresh", annotations=said)
        conf = netconf(endpoint, **api)
    conf["feature_control"] = {"ip_addrs_no_ipam": True}
    result = run(conf, **API_ARGS)[1]

    checked = run({**conf, "prevResult": result}, CNI_COMMAND="CHECK", **API_ARGS)

    assert ([{"address": "10.9.0.9/32"}], (0, None)) == (result["ips"], checked)


def test_a_check_whose_families_an_annotation_chose(endpoint, raw):
    spec = {"cidr": "fd00::/120", "blockSize": 124}
    raw.put(*stored_resource("ippools", "IPPool", "six", spec))
    conf = annotated(endpoint, {"cni.projectcalico.org/ipFamilies": '["IPv6"]'})
    result = run(conf)[1]
    later = {**annotated(endpoint, {}), "prevResult": result}

    assert run(later, CNI_COMMAND="CHECK") == (0, None)
    run(conf, CNI_COMMAND="DEL")
    assert run(later, CNI_COMMAND="CHECK")[1]["code"] == 107


@pytest.mark.parametrize(("began_s_ago", "given_s"), [(0, 1.0), (9.6, 0.4), (9.95, None)])
def test_storing_the_labels_of_the_node_has_what_time_the_add_left(
    began_s_ago, given_s, monkeypatch
):
    given = []
    monkeypatch.setattr("poolmgr.nodes.label_node", lambda *args: given.append(args[-1]))
    began = time.monotonic() - began_s_ago

    direct._label("node-a", {}, None, deadline=began + 10)

    assert given == ([] if given_s is None else [pytest.approx(given_s, abs=0.05)])


def test_a_slow_add_leaves_less_time_for_the_labels(endpoint, api, monkeypatch):
    given, real = [], verbs.add

    def slow(*args, **keys):
        time.sleep(0.3)
        return real(*args, **keys)

    monkeypatch.setattr(verbs, "add", slow)
    monkeypatch.setattr("poolmgr.nodes.label_node", lambda *args: given.append(args[-1]))
    raw = json.dumps(netconf(endpoint, **api)).encode()
    direct.run(
        {**ENV, **API_ARGS}, lambda: raw, started=time.monotonic() - 9.0, alive=lambda: True
    )

    assert [True] == [each < 0.7 for each in given]


def test_a_name_that_no_node_of_kubernetes_can_have_is_refused_with_the_remedy(endpoint, api):
    status, error = run(netconf(endpoint, **{**api, "nodename": "Node_A"}), **API_ARGS)

    assert (status, error["code"]) == (1, 7)
    assert (
        "write the name that Kubernetes has for this node as kubernetes.node_name"
        in (error["msg"])
    )


def test_status_judges_by_the_labels_that_an_add_would_have(endpoint, raw, server, api):
    spec = {"cidr": "10.0.0.0/24", "blockSize": 28, "nodeSelector": "rack == 'r1'"}
    raw.put(*stored_resource("ippools", "IPPool", "four", spec))
    conf = netconf(endpoint, **api, cniVersion="1.1.0")

    assert run(conf, CNI_COMMAND="STATUS") == (0, None)
    server.put("nodes", NODE, labels={"rack": "r2"})
    assert run(conf, CNI_COMMAND="STATUS")[1]["code"] == 50
    server.fault = Fault.ERROR
    assert run(conf, CNI_COMMAND="STATUS") == (0, None)
