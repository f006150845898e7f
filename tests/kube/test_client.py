"""The client of the Kubernetes API, at a server that speaks HTTP and TLS as a real one."""

import base64
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from poolmgr.errors import InvalidRequestError, KubernetesError
from poolmgr.kube.access import Access
from poolmgr.kube.client import Kubernetes
from poolmgr.kube.facts import NamespaceFacts, NodeFacts, PodFacts
from tests.support.kube_api import ADMIN, PKI, VIEWER, Fault, KubeApi

CLIENT = {
    "client-certificate": str(PKI / "client.pem"),
    "client-key": str(PKI / "client.key"),
}


def base64_of(name):
    return base64.b64encode((PKI / name).read_bytes()).decode()


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


@pytest.fixture
def connect(api, tmp_path):
    """Make clients of the server; arguments are those of Access and Kubernetes."""
    made = []

    def make(*, timeout_s=2.0, user=None, cluster=None, **access):
        path = api.kubeconfig(tmp_path / "kubeconfig", user=user, **(cluster or {}))
        client = Kubernetes(Access(**{"kubeconfig": path, **access}), timeout_s=timeout_s)
        made.append(client)
        return client

    yield make
    for each in made:
        each.close()


def refused(call):
    with pytest.raises(KubernetesError) as caught:
        call()
    return caught.value


# What it reads.


def test_a_pod_is_read_with_labels_annotations_and_place(connect):
    pod = connect().pod("prod", "web-0")

    assert pod == PodFacts(
        name="web-0",
        namespace="prod",
        labels={"app": "web", "statefulset.kubernetes.io/pod-name": "web-0"},
        annotations={"cni.projectcalico.org/ipAddrs": '["10.20.0.5"]'},
        node="node-a",
        phase="Running",
        addresses=("10.20.0.5",),
    )


def test_a_pod_on_the_hosts_network_and_one_being_deleted_are_told_apart(api, connect):
    api.put("pods", "leaving", namespace="plain", deletionTimestamp="2026-11-23T19:11:18Z")
    client = connect()

    flags = [
        (pod.host_network, pod.deleted, pod.node)
        for pod in (client.pod("plain", name) for name in ("hostnet", "leaving", "bare"))
    ]

    assert [(True, False, "node-a"), (False, True, ""), (False, False, "node-a")] == flags


def test_a_namespace_and_a_node_are_read_with_their_labels(connect):
    client = connect()

    assert client.namespace("prod") == NamespaceFacts(
        name="prod",
        labels={"kubernetes.io/metadata.name": "prod", "tier": "db"},
        annotations={"cni.projectcalico.org/ipv4pools": '["pool-ns"]'},
    )
    assert client.node("node-a") == NodeFacts(
        name="node-a", labels={"kubernetes.io/hostname": "node-a", "rack": "r1"}
    )


def test_what_the_api_does_not_know_is_none(connect):
    client = connect()

    found = [
        client.pod("prod", "nope"),
        client.pod("nope", "web-0"),
        client.namespace("nope"),
        client.node("nope"),
    ]

    assert [None] * 4 == found


def test_all_pods_of_a_node_are_read_and_no_others(connect):
    pods = connect().pods("node-a")

    assert ["api-7d4b9c-x2x2x", "bare", "hostnet", "web-0"] == [pod.name for pod in pods]
    assert ["Succeeded", "Pending", "Pending", "Running"] == [pod.phase for pod in pods]


def test_a_pod_has_the_addresses_that_it_reports(api, connect):
    several = {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}
    for name, status in (("one", {"podIP": "10.0.0.1"}), ("two", several), ("none", {})):
        api.put("pods", name, namespace="plain", status=status)
    client = connect()

    found = [client.pod("plain", name).addresses for name in ("one", "two", "none")]

    assert [("10.0.0.1",), ("10.0.0.1", "fd00::1"), ()] == found


def test_all_pods_of_all_nodes_come_in_pages(api, connect):
    few = [pod.name for pod in connect().all_pods()]
    for number in range(1100):
        api.put("pods", f"p{number:04}", namespace="zoo", spec={"nodeName": "node-c"})
    api.requests.clear()

    pods = [pod.name for pod in connect(timeout_s=20).all_pods()]

    assert "web-0" in few
    assert [*few, *(f"p{number:04}" for number in range(1100))] == pods
    assert 3 == len(api.requests)


def test_a_list_of_pods_that_breaks_off_is_an_error(api, connect):
    for number in range(600):
        api.put("pods", f"p{number:04}", namespace="zoo")
    pods = connect().all_pods()
    next(pods)
    api.fault = Fault.GONE

    error = refused(lambda: list(pods))

    assert 410 == error.status


def test_pods_come_in_pages(api, connect):
    for number in range(1100):
        api.put("pods", f"p{number:04}", namespace="many", spec={"nodeName": "node-c"})

    pods = connect(timeout_s=20).pods("node-c")

    assert [f"p{number:04}" for number in range(1100)] == [pod.name for pod in pods]
    assert 3 == len(api.requests)


def test_all_nodes_are_read_with_their_addresses_and_pod_ranges(api, connect):
    addresses = [
        {"type": "InternalIP", "address": "10.0.0.9"},
        {"type": "Hostname", "address": "node-z"},
        {"type": "ExternalIP", "address": "fd00::9"},
    ]
    ranges = ["10.244.9.0/24", "fd01::/64"]
    api.put("nodes", "node-z", status={"addresses": addresses}, spec={"podCIDRs": ranges})

    nodes = {node.name: node for node in connect().nodes()}

    assert {"node-a", "node-z"} <= nodes.keys()
    assert ("10.0.0.9", "fd00::9") == nodes["node-z"].addresses
    assert tuple(ranges) == nodes["node-z"].pod_cidrs


def test_service_ranges_are_read(api, connect):
    cidrs = ["10.96.0.0/12", "fd02::/112"]
    api.put("servicecidrs", "kubernetes", spec={"cidrs": cidrs})

    assert tuple(cidrs) == connect().service_ranges()


def test_where_there_are_no_service_ranges_the_apis_own_service_tells_one_address(api, connect):
    api.has_service_ranges = False
    spec = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}
    api.put("services", "kubernetes", namespace="default", spec=spec)

    assert ("10.96.0.1",) == connect().service_ranges()


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.CLOSE])
def test_half_an_answer_about_nodes_or_services_is_none(api, connect, fault):
    client = connect()
    api.fault = fault

    for call in (client.nodes, client.service_ranges):
        assert api.url in str(refused(call))


# How it finds and proves itself to the server.


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"token": ADMIN}, {"certificate-authority": str(PKI / "ca.pem")}),
        ({"token": ADMIN}, {"certificate-authority-data": base64_of("ca.pem")}),
        ({"token": ADMIN}, {"insecure-skip-tls-verify": True}),
        (CLIENT, {}),
        (
            {
                "client-certificate-data": base64_of("client.pem"),
                "client-key-data": base64_of("client.key"),
            },
            {},
        ),
        ({"token": "", **CLIENT}, {}),
    ],
    ids=["token", "ca-data", "insecure", "certificate", "certificate-data", "empty-token"],
)
def test_what_a_kubeconfig_says_is_used(connect, user, cluster):
    assert connect(user=user, cluster=cluster).node("node-b") is not None


def test_a_token_file_beside_the_kubeconfig_is_read_again_when_it_changes(connect, tmp_path):
    (tmp_path / "token").write_text(f"{ADMIN}\n")
    client = connect(user={"tokenFile": "token"})
    before = client.node("node-b")

    (tmp_path / "token").write_text("stale")
    kept = client.node("node-b")
    (tmp_path / "token").write_text(ADMIN)

    assert before == kept == client.node("node-b") is not None


def test_a_kubeconfig_names_its_current_context_among_several(api, connect, tmp_path):
    path = tmp_path / "several"
    api.kubeconfig(path)
    conf = json.loads(path.read_text())
    conf["contexts"].insert(0, {"name": "other", "context": {"cluster": "far", "user": "u"}})
    conf["clusters"].insert(0, {"name": "far", "cluster": {"server": "https://127.0.0.1:1"}})
    path.write_text(json.dumps(conf))

    assert connect(kubeconfig=str(path)).node("node-b") is not None


def test_overrides_alone_are_enough_and_calicos_path_is_understood(api, connect):
    client = connect(
        kubeconfig="",
        api_root=f"{api.url}/api/v1/",
        token=ADMIN,
        certificate_authority=str(PKI / "ca.pem"),
    )

    assert (api.url, True) == (client.server, client.node("node-b") is not None)


@pytest.mark.parametrize(
    ("wrong", "override"),
    [
        ({"user": {"token": "wrong"}}, {"token": ADMIN}),
        ({"user": {"tokenFile": "/missing"}}, {"token": ADMIN}),
        (
            {"user": {"token": ADMIN}, "cluster": {"server": "https://127.0.0.1:1"}},
            {"certificate_authority": str(PKI / "ca.pem")},
        ),
        (
            {
                "user": {
                    "client-certificate-data": base64_of("server.pem"),
                    "client-key-data": base64_of("server.key"),
                }
            },
            {
                "client_certificate": CLIENT["client-certificate"],
                "client_key": CLIENT["client-key"],
            },
        ),
    ],
    ids=["token", "token-file", "server-and-authority", "certificate"],
)
def test_overrides_beat_the_kubeconfig(api, connect, wrong, override):
    client = connect(**wrong, **override, api_root=api.url)

    assert client.node("node-b") is not None


def test_a_server_without_tls_is_fine(tmp_path):
    with KubeApi(tls=False) as api:
        client = Kubernetes(Access(api_root=api.url, token=ADMIN))

        assert client.node("node-b") is not None
        client.close()


def test_proxies_of_the_environment_are_not_used(connect, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert connect().node("node-b") is not None


# What cannot be used.


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "not found"),
        ("", "not a kubeconfig"),
        ("just text", "not a kubeconfig"),
        ("[1, 2]", "not a kubeconfig"),
        ("{}", "'clusters' is missing"),
        ("token: [hunter2", "it is not YAML"),
        ("clusters: []\ncontexts: []\n", "No current context"),
        ("clusters: []\ncontexts: []\ncurrent-context: x\n", "Context 'x' not found"),
        (
            "clusters: []\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: c}}]",
            "'c' is missing or not defined",
        ),
        (
            "clusters: [{name: c, cluster: {server: 7}}]\ncurrent-context: x\n"
            "contexts: [{name: x, context: {cluster: c}}]",
            "Expected `str`, got `int`",
        ),
        (
            "clusters: [{name: c, cluster: {}}]\ncurrent-context: x\n"
            "contexts: [{name: x, context: {cluster: c, user: u}}]\nusers: [{name: u, user: "
            "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: /bin/true}}}]",
            "credentials from a program",
        ),
    ],
)
def test_a_bad_kubeconfig_is_named_with_what_is_wrong(tmp_path, text, why):
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)

    with pytest.raises(InvalidRequestError) as caught:
        Kubernetes(Access(kubeconfig=str(path)))

    assert "kubernetes.kubeconfig" == caught.value.field
    assert f"kubeconfig {path} cannot be used: " in str(caught.value)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["/", "/dev/zero", "\0", "relative/missing"])
def test_a_path_that_is_no_file_is_refused(path):
    with pytest.raises(InvalidRequestError, match="not found"):
        Kubernetes(Access(kubeconfig=path))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "kubeconfig").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InvalidRequestError, match="cannot be used"):
        Kubernetes(Access(kubeconfig=str(tmp_path / "kubeconfig")))


@pytest.mark.parametrize(
    "access",
    [
        {"certificate_authority": "/missing/ca.pem"},
        {"certificate_authority": str(PKI / "client.key")},
        {"client_certificate": "/missing/client.pem", "client_key": "/missing/client.key"},
        {"client_certificate": str(PKI / "client.pem"), "client_key": str(PKI / "server.key")},
        {"client_certificate": str(PKI / "client.pem")},
        {"api_root": "https://[bad"},
        {"api_root": "127.0.0.1:6443"},
        {"api_root": "ftp://127.0.0.1"},
    ],
)
def test_certificates_and_urls_that_are_of_no_use_are_refused(access):
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        Kubernetes(Access(**{"api_root": "https://127.0.0.1:1", **access}))


def test_nothing_configured_is_refused():
    with pytest.raises(InvalidRequestError, match="no way to reach the Kubernetes API"):
        Kubernetes(Access())


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a?watch=1", "a#b", "a%2Fb", "a\n"])
def test_names_that_would_become_another_path_are_not_asked_for(api, connect, name):
    client = connect()

    for call in (
        lambda: client.pod("prod", name),
        lambda: client.pod(name, "web-0"),
        lambda: client.namespace(name),
        lambda: client.node(name),
        lambda: client.pods(name),
    ):
        with pytest.raises(InvalidRequestError, match="is not a Kubernetes name"):
            call()
    assert [] == api.requests


# What is not an answer.


@pytest.mark.parametrize(
    ("user", "status", "remedy"),
    [
        ({"token": "wrong"}, 401, "check the token or client certificate"),
        ({"token": VIEWER}, 403, "allow its user to get and list pods"),
        ({}, 403, "allow its user to get and list pods"),
    ],
)
def test_a_refusal_names_server_question_status_and_remedy(api, connect, user, status, remedy):
    cluster = {"certificate-authority": str(PKI / "ca.pem")}

    error = refused(lambda: connect(user=user, cluster=cluster).pod("prod", "web-0"))

    assert (status, True) == (error.status, error.definite)
    assert str(error).startswith(f"Kubernetes API {api.url}, pod prod/web-0: {status}, ")
    assert str(error).endswith(remedy) or remedy in str(error)


@pytest.mark.parametrize(
    ("fault", "status", "why"),
    [
        (Fault.ERROR, 500, "500, etcdserver: request timed out"),
        (Fault.PLAIN_ERROR, 502, "502, and no word of Kubernetes"),
        (Fault.GONE, 410, "410, "),
        (Fault.NOT_FOUND, 404, "404, and no word of Kubernetes"),
        (Fault.NO_SUCH_KIND, 404, "404, the server could not find"),
        (Fault.REDIRECT, 302, "302, and no word of Kubernetes"),
        (Fault.NOT_JSON, None, "the answer is not understood"),
        (Fault.OTHER_SHAPE, None, "the answer is not understood"),
        (Fault.CLOSE, None, "peer closed connection"),
    ],
)
def test_what_is_no_answer_is_an_error_for_every_question(api, connect, fault, status, why):
    client = connect()
    api.fault = fault

    errors = [
        refused(call)
        for call in (
            lambda: client.pod("prod", "nope"),
            lambda: client.namespace("prod"),
            lambda: client.node("node-a"),
            lambda: client.pods("node-a"),
        )
    ]

    assert {status} == {error.status for error in errors}
    assert [True] * 4 == [why in str(error) for error in errors]
    assert 4 == len(api.requests)


def test_another_object_than_asked_for_is_no_answer(api, connect):
    api.fault = Fault.OTHER_OBJECT

    assert "'somebody-else'" in str(refused(lambda: connect().pod("prod", "web-0")))


@pytest.mark.parametrize(
    "fault", [Fault.HANG, Fault.HANDSHAKE, Fault.TRICKLE, Fault.TRICKLE_HEADERS]
)
def test_a_call_ends_at_its_deadline_and_leaves_no_thread(api, connect, fault):
    client = connect(timeout_s=0.5)
    api.fault = fault

    started = time.monotonic()
    error = refused(lambda: client.pod("prod", "web-0"))
    took_s = time.monotonic() - started

    assert "no answer within 0.5 s" in str(error)
    assert took_s < 5
    api.stop()
    assert _gone("kubernetes")


def _gone(name):
    """Tell whether no thread of this name is left, giving them a moment to end."""
    for _ in range(100):
        if not any(each.name == name for each in threading.enumerate()):
            return True
        time.sleep(0.02)
    return False


def test_a_thread_that_was_cut_off_ends_although_the_server_goes_on(api, connect):
    client = connect(timeout_s=0.3)
    api.fault = Fault.TRICKLE_HEADERS  # 100 s of them

    refused(lambda: client.pod("prod", "web-0"))

    assert _gone("kubernetes")


def test_all_pages_together_have_one_deadline(api, connect):
    for number in range(1100):
        api.put("pods", f"p{number:04}", namespace="many", spec={"nodeName": "node-c"})
    api.slow_s = 0.4

    error = refused(lambda: connect(timeout_s=0.9).pods("node-c"))

    assert "no answer within 0.9 s" in str(error)


def test_after_a_deadline_the_client_still_works(api, connect):
    client = connect(timeout_s=0.5)
    client.node("node-a")
    api.fault = Fault.HANG
    refused(lambda: client.node("node-a"))

    api.fault = None

    assert client.node("node-a") is not None


def test_a_refused_connection_is_an_error_at_once_and_tried_once(api, connect):
    client = connect(timeout_s=5)
    api.stop()

    started = time.monotonic()
    error = refused(lambda: client.pod("prod", "web-0"))

    assert "refused" in str(error)
    assert time.monotonic() - started < 4


def test_a_name_that_does_not_resolve_is_an_error(connect):
    error = refused(lambda: connect(api_root="https://kube.invalid:6443").node("node-a"))

    assert "check the server's address" in str(error)


def test_a_resolver_that_hangs_is_cut_off_too(connect, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30))
    client = connect(timeout_s=0.3, api_root="https://kube.invalid:6443")

    error = refused(lambda: client.node("node-a"))
    over.set()

    assert "no answer within 0.3 s" in str(error)
    assert _gone("kubernetes")


@pytest.mark.parametrize(
    "cluster", [{"certificate-authority": str(PKI / "other-ca.pem")}, {"server": None}]
)
def test_a_server_that_cannot_prove_itself_is_not_believed(api, connect, cluster):
    if cluster == {"server": None}:  # no authority at all: the system's, which did not sign
        cluster = {"server": api.url}

    error = refused(lambda: connect(user={"token": ADMIN}, cluster=cluster).node("node-a"))

    assert "certificate verify failed" in str(error).lower()
    assert [] == api.requests


def test_importing_the_module_does_not_import_lightkube():
    program = (
        "import sys, poolmgr.kube.client;"
        "print([n for n in ('lightkube', 'httpx2', 'msgspec', 'ssl') if n in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "[]\n" == done.stdout
