"""`poolctl ipam check`: what is wrong in the store, and beside the pods of a Kubernetes API."""

import json
import time

import pytest

from poolctl.report import FOUND, REFUSED, UNAVAILABLE
from poolmgr.cidr import parse_address
from poolmgr.cni.verbs import timestamp
from poolmgr.core import records
from poolmgr.core.request import AssignIP, Sticky
from poolmgr.core.txn import EPOCH_KEY, Txn
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from tests.support.assigned import attach
from tests.support.facts import SECOND
from tests.support.kube_api import VIEWER, Fault, KubeApi
from tests.support.poolctl import CLUSTER, on, pool, stored

HOUR_S = 3600
NOT_ASKED = (
    "Not checked: whether pods still use the addresses: no Kubernetes API is given; name a "
    "kubeconfig file in --kubeconfig or KUBECONFIG."
)


@pytest.fixture(autouse=True)
def _no_kubeconfig(monkeypatch):
    """Whoever runs the tests may have one."""
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture
def check(memory, at_memory):
    """`poolctl ipam check` on a store with pool 10.10.0.0/16."""
    at_memory("apply", "-f", "-", stdin=pool())
    return lambda *args: at_memory("ipam", "check", *args)


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


@pytest.fixture
def compare(check, api, tmp_path):
    """The same, beside a Kubernetes API."""
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
    return lambda *args: check("--kubeconfig", kubeconfig, *args)


def assign(
    store, address: str, handle: str = "h", *, age_s: int = HOUR_S, **attributes
) -> None:
    """Assign an address as another program does, with these attributes."""
    attributes["timestamp"] = timestamp(time.time_ns() - age_s * SECOND)
    node = attributes.setdefault("node", "node-a")
    IPAM(store).assign_ip(
        AssignIP(
            addresses=(parse_address(address),),
            host=node,
            handle=handle,
            attributes=attributes,
        )
    )


def runs(api, name: str, *addresses: str, node: str = "node-a", **more) -> None:
    """Let a pod of namespace default run, with the addresses that it reports."""
    status = {
        "phase": "Running",
        **({"podIP": addresses[0]} if addresses else {}),
        "podIPs": [{"ip": each} for each in addresses],
    }
    spec = {"nodeName": node, **more.pop("spec", {})}
    status |= more.pop("status", {})
    api.put("pods", name, namespace="default", spec=spec, status=status, **more)


def orphan(store, *handles: str) -> None:
    """Store handles that no address carries."""
    value = b'{"block":{"10.10.0.0/26":1},"deleted":false}'
    keys, epoch = [*map(records.handle_key, handles or ("orphan",))], stored(store)[EPOCH_KEY]
    for at in range(0, len(keys), 100):
        puts = dict.fromkeys(keys[at : at + 100], value)
        store.commit(Txn(expect={}, epoch=epoch, puts=puts))


def test_a_sound_store_is_told_to_be_so_and_pods_not_to_be_checked(check, memory):
    attach(memory, "c1")

    result = check()

    revision = memory._revision
    assert (0, "") == (result.exit_code, result.stderr)
    assert [
        f"Checked at revision {revision:,}: 1 pools, 1 blocks, 1 addresses, 1 affinities, "
        "1 handles.",
        NOT_ASKED,
        "0 problems found.",
    ] == result.stdout.splitlines()


def test_a_problem_is_told_with_its_place_cause_and_remedy(check, memory):
    orphan(memory)
    before = stored(memory)

    result = check()

    lines = result.stdout.splitlines()
    assert (FOUND, "") == (result.exit_code, result.stderr)
    assert [
        "1 x handle that no address carries",
        f"  {records.handle_key('orphan')}: counts 1 in 10.10.0.0/26",
    ] == lines[:2]
    assert lines[2].startswith("  Left by: Calico")
    assert lines[3].startswith("  Remedy: delete the handle")
    assert "1 problem found." == lines[-1]
    assert before == stored(memory)


def test_of_many_problems_ten_are_told_and_all_when_asked_for(check, memory):
    orphan(memory, *(f"o{number}" for number in range(1_234)))

    some, every = check(), check("--show-problem-ips")

    assert "1,234 x handle that no address carries" in some.stdout
    assert 10 == some.stdout.count("counts 1 in")
    assert "  and 1,224 more; --show-problem-ips tells of all" in some.stdout
    assert "1,234 problems found." in some.stdout
    assert 1_234 == every.stdout.count("handle that no address carries: /calico")


def test_every_address_is_told_when_asked_for(check, memory):
    address = attach(memory, "c1")

    result = check("--show-all-ips")

    assert (
        f"{address} assigned; of handle net-a.c1 (network net-a, interface eth0, node node-a)"
        == result.stdout.splitlines()[0]
    )


def test_hostile_text_cannot_steer_the_terminal(check, memory):
    assign(memory, "10.10.0.5", pod="\x1b[2Jweb", namespace="default")

    result = check("--show-all-ips")

    assert "\x1b" not in result.stdout
    assert r"pod \x1b[2Jweb" in result.stdout


def test_a_pod_that_is_gone_has_leaked_its_address(compare, memory, api):
    assign(memory, "10.10.0.5", "gone", pod="web-7", namespace="default")
    assign(memory, "10.10.0.6", "live", pod="web-8", namespace="default")
    runs(api, "web-8", "10.10.0.6")

    result = compare()

    assert (FOUND, "") == (result.exit_code, result.stderr)
    assert (
        "1 x address of a pod that is not there\n  10.10.0.5: of handle gone" in result.stdout
    )
    assert (
        "of all addresses 1 in use, 0 cools down, 0 cannot be judged, 1 leaked."
        in result.stdout
    )
    assert "Not checked" not in result.stdout


@pytest.mark.parametrize(
    ("pod", "leaked"),
    [
        ({}, False),
        ({"deletionTimestamp": "2026-11-23T19:11:18Z"}, False),
        ({"status": {"phase": "Pending"}}, False),
        ({"status": {"phase": "Succeeded"}}, True),
        ({"status": {"phase": "Failed"}}, True),
        ({"spec": {"hostNetwork": True}}, True),
        ({"node": "node-b"}, True),
    ],
)
def test_what_becomes_of_a_pod_decides_about_its_address(compare, memory, api, pod, leaked):
    assign(memory, "10.10.0.5", pod="web-7", namespace="default")
    runs(api, "web-7", **pod)
    runs(api, "beside")  # so that node-a is one of Kubernetes'

    assert (FOUND if leaked else 0) == compare().exit_code


def test_others_than_pods_have_not_leaked(compare, memory):
    assign(memory, "10.10.0.5", "ipip-tunnel-addr-node-a", type="ipipTunnelAddress")
    assign(memory, "10.10.0.6", "podman.c1")
    assign(memory, "10.10.0.7", "new", pod="web-7", namespace="default", age_s=5)
    sticky = Sticky(namespace="default", identity="web-0", retention_s=None, holder="web-0")
    attach(memory, "c1", sticky=sticky)

    result = compare()

    assert 0 == result.exit_code
    assert "1 in use, 0 cools down, 3 cannot be judged, 0 leaked" in result.stdout
    assert "An address cannot be judged when it names no pod" in result.stdout


def test_a_pod_whose_address_is_not_assigned_is_told(compare, memory, api):
    assign(memory, "10.10.0.6", pod="web-8", namespace="default")
    runs(api, "web-8", "10.10.0.6")
    runs(api, "free", "10.10.0.5")
    runs(api, "taken", "10.10.0.6")
    runs(api, "elsewhere", "192.0.2.7")
    runs(api, "host", "10.10.0.9", spec={"hostNetwork": True})
    runs(api, "leaving", "10.10.0.10", deletionTimestamp="2026-11-23T19:11:18Z")
    runs(api, "done", "10.10.0.11", status={"phase": "Succeeded"})

    result = compare()

    assert FOUND == result.exit_code
    assert [
        "2 x pod uses an address that it was not given",
        "  pod default/free: 10.10.0.5 is not assigned",
        "  pod default/taken: 10.10.0.6 is assigned to pod default/web-8",
    ] == result.stdout.splitlines()[:3]


def test_a_pod_that_shares_an_entry_without_a_name_is_no_problem(compare, memory, api):
    assign(memory, "10.10.0.5", "podman.c1")
    runs(api, "web-8", "10.10.0.5")

    assert 0 == compare().exit_code


def test_pods_come_in_pages(compare, memory, api):
    for number in range(1_100):
        api.put("pods", f"p{number:04}", namespace="many", spec={"nodeName": "node-c"})
    assign(memory, "10.10.0.5", pod="p1099", namespace="many", node="node-c")
    assign(memory, "10.10.0.6", pod="p1100", namespace="many", node="node-c")

    result = compare("--show-problem-ips")

    assert "10.10.0.6: of handle h" in result.stdout
    assert "1 problem found." in result.stdout
    assert 3 == len([line for line in api.requests if "/pods" in line])


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.CLOSE, Fault.NOT_JSON])
def test_without_an_answer_of_kubernetes_the_store_is_checked_and_that_is_said(
    compare, memory, api, fault, tmp_path
):
    assign(memory, "10.10.0.5", pod="web-7", namespace="default")
    api.fault = fault

    result = compare("-o", str(tmp_path / "r.json"))

    assert UNAVAILABLE == result.exit_code
    assert result.stderr.startswith(f"poolctl: error: Kubernetes API {api.url}, pods: ")
    assert "Not checked: whether pods still use the addresses" in result.stdout
    assert "0 problems found." in result.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert [True] == [each["inUse"] for (each,) in report["allocations"].values()]
    assert "checkedBy" not in report


def test_without_permission_problems_of_the_store_are_found_all_the_same(
    check, memory, api, tmp_path
):
    orphan(memory)
    kubeconfig = api.kubeconfig(tmp_path / "k", user={"token": VIEWER})

    result = check("--kubeconfig", kubeconfig)

    assert FOUND == result.exit_code
    assert "allow its user to get and list pods" in result.stderr
    assert "Not checked: whether pods" in result.stdout


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("absent", "kubeconfig absent cannot be used"),
        ("a:b", "KUBECONFIG names several files; name the one to use in --kubeconfig"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_refused(check, monkeypatch, paths, message):
    monkeypatch.setenv("KUBECONFIG", paths)

    result = check()

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


def test_the_kubeconfig_of_the_environment_is_used(check, api, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path / "k"))

    result = check()

    assert f"pods of {api.url}" in result.stdout
    assert "Not checked" not in result.stdout


def test_a_report_tells_what_has_leaked(compare, memory, api, tmp_path):
    assign(memory, "10.10.0.5", "gone", pod="web-7", namespace="default")
    assign(memory, "10.10.0.6", "live", pod="web-8", namespace="default")
    runs(api, "web-8", "10.10.0.6")
    orphan(memory)

    result = compare("-o", str(tmp_path / "r.json"))

    report = json.loads((tmp_path / "r.json").read_text())
    found = stored(memory)
    assert FOUND == result.exit_code
    assert f"Report written: {tmp_path / 'r.json'}.\n" in result.stdout
    assert json.loads(found[CLUSTER])["spec"]["clusterGUID"] == report["clusterGUID"]
    assert {"10.10.0.5": False, "10.10.0.6": True} == {
        ip: each["inUse"] for ip, (each,) in report["allocations"].items()
    }
    assert [("orphan", str(memory._revision))] == [
        (each["ID"], each["Revision"]) for each in report["leakedHandles"]
    ]
    assert report["checkedBy"].startswith("poolctl ")


def test_of_hundreds_of_leaked_handles_the_report_has_all(check, memory, tmp_path):
    orphan(memory, *(f"o{number}" for number in range(250)))

    check("-o", str(tmp_path / "r.json"))

    report = json.loads((tmp_path / "r.json").read_text())
    assert {f"o{number}" for number in range(250)} == {
        each["ID"] for each in report["leakedHandles"]
    }
    assert 250 == len(report["leakedHandles"])


def test_a_handle_that_is_written_meanwhile_is_not_in_the_report(tmp_path):
    class Rival(MemoryStore):
        def read(self, fetch, **more):
            if records.handle_key("busy") in fetch.keys:
                orphan(self, "busy")
            return super().read(fetch, **more)

    store = Rival()
    run = on(store)
    run("apply", "-f", "-", stdin=pool())
    orphan(store, "busy", "idle")

    run("ipam", "check", "-o", str(tmp_path / "r.json"))

    report = json.loads((tmp_path / "r.json").read_text())
    assert ["idle"] == [each["ID"] for each in report["leakedHandles"]]


def test_a_report_needs_a_cluster_and_a_directory(tmp_path, check):
    nameless = on(MemoryStore())("ipam", "check", "-o", str(tmp_path / "r.json"))
    nowhere = check("-o", str(tmp_path / "absent" / "r.json"))

    assert (REFUSED, "") == (nameless.exit_code, nameless.stdout)
    assert "the datastore has no ClusterInformation yet" in nameless.stderr
    assert (REFUSED, "") == (nowhere.exit_code, nowhere.stdout)
    path = tmp_path / "absent" / "r.json"
    assert f"cannot write {path}: No such file or directory" in nowhere.stderr
    assert [] == [*tmp_path.iterdir()]
