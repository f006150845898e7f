"""`poolctl node status`: which IPAM this node uses, and what is wrong with it."""

import json
import os

import pytest

from poolctl.report import FOUND
from poolmgr.core.records import resource_key
from poolmgr.core.txn import EPOCH_KEY, Txn
from tests.support.kube_api import Fault, KubeApi
from tests.support.poolctl import manifest, pool, put, stored
from tests.support.world import stored_resource

OURS = {"type": "ptp", "ipam": {"type": "poolmgr-ipam"}}
CAPABILITY = {"capabilities": {"io.kubernetes.cri.pod-annotations": True}}


class Host:
    """A node's directories."""

    def __init__(self, root):
        self.conf, self.bin = root / "net.d", root / "bin"
        self.conf.mkdir()
        self.bin.mkdir()
        for name in ("ptp", "bridge", "poolmgr-ipam", "poolmgr-ipam.direct"):
            self.program(name)

    def program(self, name, mode=0o755):
        (self.bin / name).write_text("")
        (self.bin / name).chmod(mode)

    def network(self, file, *plugins, name="net-a", **more):
        conf = {"cniVersion": "1.0.0", "name": name, "plugins": list(plugins), **more}
        (self.conf / file).write_text(json.dumps(conf))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def status(at_memory, host):
    """The status as JSON, and the exit status; its argument is what runs poolctl."""

    def run(poolctl=at_memory):
        dirs = ("--conf-dir", str(host.conf), "--bin-dir", str(host.bin))
        result = poolctl("node", "status", *dirs, "-o", "json")
        code = getattr(result, "returncode", getattr(result, "exit_code", None))
        assert "" == result.stderr
        return json.loads(result.stdout), code

    return run


@pytest.fixture
def ours(host):
    """A network of node-a with our plugin; its arguments are further keys of the plugin."""

    def write(file="10-net.conflist", ipam=None, **more):
        plugin = {**OURS, "nodename": "node-a", **more}
        host.network(file, {**plugin, "ipam": {"type": "poolmgr-ipam", **(ipam or {})}})

    return write


@pytest.fixture
def api():
    """A Kubernetes API that knows the labels of node-a."""
    with KubeApi() as server:
        server.put("nodes", "node-a", labels={"rack": "r1"})
        yield server


@pytest.fixture
def asked(api, tmp_path):
    """Keys of a plugin that asks the API."""
    return {"kubernetes": {"kubeconfig": api.kubeconfig(tmp_path / "kubeconfig")}}


def problems(found):
    return [
        *found["problems"],
        *(text for each in found["networks"] for text in each["problems"]),
    ]


def test_a_node_that_works_is_fine(program, poolctl, etcd_endpoint, host, status, ours):
    poolctl("apply", "-f", "-", stdin=pool())
    ours(**CAPABILITY)

    found, code = status(lambda *args: program(*args, ETCD_ENDPOINTS=etcd_endpoint))

    assert 0 == code
    assert {
        "confDir": str(host.conf),
        "binDirs": [str(host.bin)],
        "networks": [
            {
                "file": "10-net.conflist",
                "name": "net-a",
                "default": True,
                "delegatedBy": None,
                "mainPlugin": {"type": "ptp", "path": f"{host.bin}/ptp"},
                "ipamPlugin": {
                    "type": "poolmgr-ipam",
                    "path": f"{host.bin}/poolmgr-ipam",
                    "ours": True,
                },
                "chainedPlugins": [],
                "problems": [],
                "node": "node-a",
                "podAnnotations": ["runtime"],
                "pools": [
                    {
                        "family": 4,
                        "serving": [{"name": "pool-a", "cidr": "10.10.0.0/16"}],
                        "notServing": [],
                    }
                ],
            }
        ],
        "problems": [],
    } == found


def test_files_are_read_in_the_runtimes_order_and_the_first_is_its_default(
    status, host, at_memory
):
    at_memory("apply", "-f", "-", stdin=pool())
    host.network("20-b.conflist", OURS, name="b")
    host.network("10-a.conflist", {"type": "bridge", "ipam": {"type": "host-local"}}, name="a")
    (host.conf / "15-c.json").write_text(json.dumps({"name": "c", "type": "loopback"}))
    (host.conf / "05-old.conflist.bak").write_text("{")
    (host.conf / "01-dir.conf").mkdir()

    found, _ = status()

    assert [("a", True), ("c", False), ("b", False)] == [
        (each["name"], each["default"]) for each in found["networks"]
    ]
    assert [False, None, True] == [
        each["ipamPlugin"] and each["ipamPlugin"]["ours"] for each in found["networks"]
    ]


def test_a_file_that_runtimes_pass_over_is_told_and_is_not_the_default(
    status, host, ours, at_memory
):
    at_memory("apply", "-f", "-", stdin=pool())
    (host.conf / "01-bad.conflist").write_text("{")
    ours()

    found, code = status()

    assert FOUND == code
    assert [True] == [each["default"] for each in found["networks"]]
    assert problems(found)[0].startswith("01-bad.conflist is not JSON: ")
    assert 1 == len(problems(found))


def test_delegates_of_multus_are_looked_into(status, host, at_memory):
    at_memory("apply", "-f", "-", stdin=pool())
    delegate = {"name": "lan", "plugins": [{**OURS, **CAPABILITY}]}
    host.program("multus")
    host.network("00-multus.conflist", {"type": "multus", "delegates": [delegate]}, name="m")

    found, code = status()

    assert 0 == code
    assert [("m", None, True), ("lan", "m", False)] == [
        (each["name"], each["delegatedBy"], each["default"]) for each in found["networks"]
    ]
    assert [] == found["networks"][1]["podAnnotations"]


@pytest.mark.parametrize(
    ("keys", "ways"),
    [
        ({}, []),
        (CAPABILITY, ["runtime"]),
        ({"kubernetes": True}, ["kubernetes"]),
        ({**CAPABILITY, "kubernetes": True}, ["runtime", "kubernetes"]),
    ],
)
def test_how_pod_annotations_reach_us(status, ours, at_memory, asked, keys, ways):
    at_memory("apply", "-f", "-", stdin=pool())
    ours(**{**keys, **(asked if "kubernetes" in keys else {})})

    found, code = status()

    assert (0, ways) == (code, found["networks"][0]["podAnnotations"])


def test_pools_that_would_not_serve_are_told_with_their_reasons(status, ours, at_memory):
    spaces = {"namespaceSelector": "team == 'a'", "allowedUses": ["Workload"]}
    for each in (
        pool(),
        pool("off", "10.20.0.0/24", disabled=True),
        pool("rack-2", "10.30.0.0/24", nodeSelector="rack == 'r2'"),
        pool("spaces", "10.40.0.0/24", **spaces),
        pool("six", "fd00::/64"),
    ):
        at_memory("apply", "-f", "-", stdin=each)
    at_memory("node", "register", "node-a", "-l", "rack=r1")
    ours()

    found, code = status()
    (family,) = found["networks"][0]["pools"]

    assert 0 == code
    assert ["pool-a"] == [each["name"] for each in family["serving"]]
    assert {
        "off": "disabled",
        "rack-2": "nodeSelector rack == 'r2' does not match node-a {rack: r1}",
        "spaces": "namespaceSelector team == 'a' does not match {}",
    } == {each["name"]: each["reason"] for each in family["notServing"]}


def test_with_the_kubernetes_api_a_pool_may_serve_a_namespace(status, ours, at_memory, asked):
    spaces = {"namespaceSelector": "team == 'a'", "allowedUses": ["Workload"]}
    at_memory("apply", "-f", "-", stdin=pool("spaces", "10.40.0.0/24", **spaces))
    ours(**asked)

    found, code = status()

    assert 0 == code
    assert ["spaces"] == [each["name"] for each in found["networks"][0]["pools"][0]["serving"]]


def test_named_pools_leave_the_others_out(status, ours, at_memory):
    at_memory("apply", "-f", "-", stdin=pool())
    at_memory("apply", "-f", "-", stdin=pool("pool-b", "10.20.0.0/24"))
    ours(ipam={"ipv4_pools": ["pool-b"]})

    (family,) = status()[0]["networks"][0]["pools"]

    assert ["pool-b"] == [each["name"] for each in family["serving"]]
    assert [
        {"name": "pool-a", "reason": "the network configuration names other pools"}
    ] == family["notServing"]


def test_a_pool_that_cannot_be_read_is_told(status, ours, at_memory, memory):
    at_memory("apply", "-f", "-", stdin=pool())
    epoch = stored(memory)[EPOCH_KEY]
    memory.commit(Txn(expect={}, epoch=epoch, puts={resource_key("ippools", "junk"): b"junk"}))
    ours()

    (family,) = status()[0]["networks"][0]["pools"]

    assert ["junk"] == [each["name"] for each in family["notServing"]]


BROKEN_KEYS = [
    ({"nodename": "a/b"}, "'a/b' is not a node name"),
    ({"ipam": {"asign_ipv6": True}}, "'asign_ipv6' is not a known key"),
    ({"policy": {"type": "k8s"}}, "it is not said where the Kubernetes API is"),
    (
        {"kubernetes": {"kubeconfig": "/missing/kubeconfig"}},
        "no pod gets an address, and which nodeSelectors match is not known: kubeconfig /missing/",
    ),
    ({"ipam": {"assign_ipv6": True}}, "no IPv6 pool serves node node-a: there is no IPPool; "),
    ({"ipam": {"ipv4_pools": ["typo"]}}, "a requested pool cannot be used; change a pool, or"),
]


@pytest.mark.parametrize(("keys", "message"), BROKEN_KEYS)
def test_a_configuration_that_gives_no_pod_an_address_is_told(
    status, ours, at_memory, keys, message
):
    at_memory("apply", "-f", "-", stdin=pool())
    ours(**keys)

    found, code = status()

    assert FOUND == code
    assert 1 == len(problems(found))
    assert message in problems(found)[0]


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("poolmgr-ipam", None, "plugin poolmgr-ipam is not in {bin}; poolctl node install "),
        ("poolmgr-ipam", 0o644, "{bin}/poolmgr-ipam is not executable; poolctl node install "),
        ("poolmgr-ipam.direct", None, "{bin}/poolmgr-ipam.direct is missing; poolctl node "),
        ("poolmgr-ipam.direct", 0o600, "{bin}/poolmgr-ipam.direct is not executable; poolctl "),
        ("ptp", None, "plugin ptp is not in {bin}; install it, or name --bin-dir"),
        ("ptp", 0o644, "{bin}/ptp is not executable; chmod +x it"),
    ],
)
def test_a_plugin_that_cannot_be_run_is_told(
    status, host, ours, at_memory, name, mode, message
):
    at_memory("apply", "-f", "-", stdin=pool())
    ours()
    (host.bin / name).unlink()
    if mode is not None:
        host.program(name, mode)

    found, code = status()

    assert (FOUND, 1) == (code, len(problems(found)))
    assert problems(found)[0].startswith(message.format(bin=host.bin))


def test_plugins_of_networks_that_are_nobodys_business_do_not_matter(
    status, host, ours, at_memory
):
    at_memory("apply", "-f", "-", stdin=pool())
    ours()
    host.network("90-x.conflist", {"type": "x", "ipam": {"type": "host-local"}}, name="x")

    found, code = status()

    assert (0, None) == (code, found["networks"][1]["mainPlugin"]["path"])


def test_a_stored_selector_that_does_not_parse_is_told(status, ours, at_memory, memory):
    spec = {"cidr": "10.0.0.0/24", "nodeSelector": "rack =="}
    put(memory, dict([stored_resource("ippools", "IPPool", "pool-a", spec)]))
    at_memory("node", "register", "node-a")
    ours()

    found, code = status()

    assert (FOUND, 1) == (code, len(problems(found)))
    assert "stored value of IPPool pool-a is not usable: nodeSelector: " in problems(found)[0]


def test_a_node_resource_that_pools_need_is_told(status, ours, at_memory):
    at_memory("apply", "-f", "-", stdin=pool(nodeSelector="rack == 'r1'"))
    ours()

    found, code = status()

    assert FOUND == code
    assert problems(found)[0].endswith("create it with poolctl node register node-a")


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_without_configurations_that_is_told(status, host, place):
    if place == "missing":
        host.conf.rmdir()
    elif place == "file":
        host.conf.rmdir()
        host.conf.write_text("")

    found, code = status()

    assert (FOUND, 1, []) == (code, len(problems(found)), found["networks"])
    assert str(host.conf) in problems(found)[0]


def test_that_nobody_uses_us_is_told(status, host):
    host.network("10-a.conflist", {"type": "bridge", "ipam": {"type": "bridge"}})

    found, code = status()

    assert FOUND == code
    assert problems(found)[0].startswith("no network gets addresses from poolmgr-ipam; ")


def test_an_etcd_that_does_not_answer_is_told_beside_the_rest(program, status, ours):
    ours()

    found, code = status(
        lambda *args: program("--timeout", "1", *args, ETCD_ENDPOINTS="127.0.0.1:1")
    )

    assert FOUND == code
    assert "ptp" == found["networks"][0]["mainPlugin"]["type"]
    assert "endpoints in use: http://127.0.0.1:1, from ETCD_ENDPOINTS" in problems(found)[0]


def test_the_etcd_is_the_one_that_the_plugin_uses(
    program, status, ours, poolctl, etcd_endpoint
):
    poolctl("apply", "-f", "-", stdin=pool())
    ours(etcd_endpoints=f"http://{etcd_endpoint}")

    found, code = status(
        lambda *args: program("--timeout", "5", *args, ETCD_ENDPOINTS="127.0.0.1:1")
    )

    assert (0, []) == (code, problems(found))


def test_nothing_is_written(status, ours, at_memory, memory):
    at_memory("apply", "-f", "-", stdin=manifest("IPReservation", "r", {}))
    before = stored(memory)
    ours()

    status()

    assert before == stored(memory)


def test_with_the_kubernetes_api_its_labels_of_the_node_count(
    status, ours, at_memory, api, asked
):
    at_memory("apply", "-f", "-", stdin=pool(nodeSelector="rack == 'r1'"))
    at_memory("node", "register", "node-a", "-l", "rack=r9")
    ours(**asked)

    served, code = status()
    api.put("nodes", "node-a", labels={"rack": "r2"})
    moved, moved_code = status()

    assert (0, FOUND) == (code, moved_code)
    assert ["pool-a"] == [each["name"] for each in served["networks"][0]["pools"][0]["serving"]]
    (reason,) = moved["networks"][0]["pools"][0]["notServing"]
    assert "nodeSelector rack == 'r1' does not match node-a {rack: r2}" == reason["reason"]


def test_a_kubernetes_api_that_does_not_answer_is_told(status, ours, at_memory, api, asked):
    at_memory("apply", "-f", "-", stdin=pool(nodeSelector="rack == 'r9'"))
    api.fault = Fault.ERROR
    ours(**asked)

    found, code = status()

    assert (FOUND, 1) == (code, len(problems(found)))
    assert problems(found)[0].startswith("no pod gets an address, and which nodeSelectors ")
    assert api.url in problems(found)[0]


def test_what_is_no_regular_file_is_told_and_not_read(program, host, ours):
    os.mkfifo(host.conf / "01-fifo.conf")
    ours()

    dirs = ("--conf-dir", str(host.conf), "--bin-dir", str(host.bin))
    result = program("--timeout", "1", "node", "status", *dirs, ETCD_ENDPOINTS="127.0.0.1:1")

    assert FOUND == result.returncode
    assert "01-fifo.conf is not a regular file, so" in " ".join(result.stdout.split())
    assert "10-net.conflist: network net-a, the runtime's default" in result.stdout
