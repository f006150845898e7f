"""The order of the checks, and what becomes of those that cannot be made."""

import contextlib
import json
from pathlib import Path

import pytest

from poolctl.config import Session
from poolctl.doctor import examine as module
from poolctl.doctor.findings import Verdict
from poolmgr.core.records import resource_key
from poolmgr.store.embedded import EmbeddedEtcd
from tests.support.kube_api import Fault, KubeApi
from tests.support.poolctl import pool
from tests.support.rawetcd import RawEtcd

NOWHERE = Path("/nonexistent")


@pytest.fixture(autouse=True)
def _no_etcd_is_named(monkeypatch):
    for name in ("ETCD_ENDPOINTS", "CALICO_ETCD_ENDPOINTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def look():
    """Check -> its findings."""

    def run(endpoints, *, config=None, conf_dir=NOWHERE, kubeconfig=None, bin_dir=NOWHERE):
        session = Session(config, endpoints, 30)
        found = {}
        try:
            for each in module.examine(session, conf_dir, [bin_dir], kubeconfig):
                found.setdefault(each.check, []).append(each)
        finally:
            session.close()
        return found

    return run


def test_without_settings_the_rest_is_still_looked_at(look):
    found = look(None)

    assert {"settings", "plugin"} == found.keys()
    assert Verdict.PROBLEM == found["settings"][0].verdict
    assert "no etcd endpoints are configured" in found["settings"][0].fact


def test_an_etcd_that_does_not_answer_is_a_finding(look):
    found = look("127.0.0.1:1")

    assert Verdict.PROBLEM == found["reachable"][0].verdict
    assert (Verdict.UNKNOWN, "nothing can be read") == (
        found["stored"][0].verdict,
        found["stored"][0].fact,
    )
    assert {"settings", "reachable", "tls", "stored", "plugin"} == found.keys()


def test_every_check_is_made_of_an_etcd_that_answers(look, raw, etcd_endpoint):
    raw.put(resource_key("ippools", "pool-a"), pool())

    found = look(etcd_endpoint)

    assert [
        *("settings", "reachable", "version", "cluster", "alarms", "space", "clock", "tls"),
        *("compaction", "permissions", "datastore", "epoch", "configuration", "pools"),
        *("usage", "calico", "plugin"),
    ] == list(found)
    assert not any(each.verdict is Verdict.PROBLEM for all_ in found.values() for each in all_)


def test_one_endpoint_of_two_is_enough_to_read_what_is_stored(look, raw, etcd_endpoint):
    found = look(f"127.0.0.1:1,{etcd_endpoint}")

    assert [Verdict.PROBLEM, Verdict.OK] == [each.verdict for each in found["reachable"]]
    assert "pools" in found


def test_a_compacted_etcd_is_told_apart(look, raw, etcd_endpoint):
    raw.compact(raw.put("/a", "1"))

    (finding,) = look(etcd_endpoint)["compaction"]

    assert Verdict.OK == finding.verdict


def test_a_full_etcd_is_still_looked_at(look, full_etcd):
    found = look(full_etcd.endpoint)

    assert "etcd has raised NOSPACE" == found["alarms"][0].fact
    assert Verdict.OK == found["permissions"][0].verdict
    assert "pools" in found


def test_settings_that_do_not_count_are_named(look, monkeypatch, tmp_path):
    monkeypatch.setenv("ETCD_ENDPOINTS", "http://etcd-2:1")
    (finding,) = look("127.0.0.1:1")["settings"]

    assert "http://127.0.0.1:1, from --etcd-endpoints; ignored: ETCD_ENDPOINTS" == finding.fact


def test_variables_beside_a_file_are_named_without_their_values(look, monkeypatch, tmp_path):
    config = tmp_path / "etcd.cfg"
    spec = {"etcdEndpoints": "http://127.0.0.1:1"}
    document = {"apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig", "spec": spec}
    config.write_text(json.dumps(document))
    monkeypatch.setenv("ETCD_PASSWORD", "hunter2")
    present, absent = tmp_path / "present.cfg", tmp_path / "absent.cfg"
    present.touch()
    monkeypatch.setattr(module, "CONFIG_FILE", present)
    monkeypatch.setattr(module, "CALICO_FILE", absent)

    (finding,) = look(None, config=config)["settings"]

    assert f"from file {config}; ignored: ETCD_PASSWORD, {present}" in finding.fact
    assert "hunter2" not in finding.fact


@pytest.fixture
def networks(tmp_path):
    """A directory that holds a network; its argument is the type of the IPAM plugin."""

    def write(ipam):
        conf = {"cniVersion": "1.0.0", "name": "net-a", "type": "ptp", "ipam": {"type": ipam}}
        (tmp_path / "10-net.conf").write_text(json.dumps(conf))
        return tmp_path

    return write


def test_a_host_without_networks_of_ours_is_only_warned(look, networks):
    (finding,) = look(None, conf_dir=networks("host-local"))["plugin"]

    assert Verdict.WARNING == finding.verdict


def test_what_keeps_our_network_from_serving_is_a_problem(look, networks):
    found = look(None, conf_dir=networks("poolmgr-ipam"))["plugin"]

    assert {Verdict.PROBLEM} == {each.verdict for each in found}
    assert "10-net.conf, network net-a: plugin ptp is not in /nonexistent" == found[0].fact
    assert "install it, or name --bin-dir" == found[0].remedy


def test_a_network_of_ours_that_serves_is_fine(look, networks, monkeypatch, raw, etcd_endpoint):
    monkeypatch.setenv("ETCD_ENDPOINTS", etcd_endpoint)
    raw.put(resource_key("ippools", "pool-a"), pool())
    conf_dir = networks("poolmgr-ipam")
    for name in ("ptp", "poolmgr-ipam", "poolmgr-ipam.direct"):
        (conf_dir / name).touch(mode=0o755)

    (finding,) = look(None, conf_dir=conf_dir, bin_dir=conf_dir)["plugin"]

    assert (Verdict.OK, "serves net-a") == (finding.verdict, finding.fact)


@pytest.fixture
def kube():
    with KubeApi() as api:
        yield api


def test_the_kubernetes_api_is_asked_for_this_node(look, kube, tmp_path, monkeypatch):
    conf = kube.kubeconfig(tmp_path / "kubeconfig")
    found = {}
    for name in ("node-a", "node-z"):
        monkeypatch.setattr("poolmgr.cni.host.node_name", lambda _options, name=name: name)
        (found[name],) = look(None, kubeconfig=str(conf))["kubernetes"]

    assert Verdict.OK == found["node-a"].verdict
    assert " pods of node node-a" in found["node-a"].fact
    assert Verdict.WARNING == found["node-z"].verdict
    assert "has no node node-z" in found["node-z"].fact


def test_an_api_that_does_not_answer_is_a_problem(look, kube, tmp_path):
    conf = kube.kubeconfig(tmp_path / "kubeconfig")
    kube.fault = Fault.HANDSHAKE

    (finding,) = look(None, kubeconfig=str(conf))["kubernetes"]
    (missing,) = look(None, kubeconfig="/nope")["kubernetes"]

    assert Verdict.PROBLEM == finding.verdict
    assert (Verdict.PROBLEM, True) == (missing.verdict, "/nope" in missing.fact)


def test_an_etcd_with_tls_is_judged_whole(look, monkeypatch, tls_etcd, authority, client_pair):
    monkeypatch.setenv("ETCD_CA_CERT_FILE", str(authority.ca))
    monkeypatch.setenv("ETCD_CERT_FILE", str(client_pair.cert))
    monkeypatch.setenv("ETCD_KEY_FILE", str(client_pair.key))

    found = look(tls_etcd)

    assert [] == [e.fact for e in found["reachable"] if e.verdict is not Verdict.OK]
    assert 4 == len(found["tls"])
    assert Verdict.OK == found["clock"][0].verdict
    assert "whom the client certificate names may" in found["permissions"][0].fact


def test_a_client_that_is_not_let_in_is_a_finding(look, monkeypatch, tls_etcd, authority):
    monkeypatch.setenv("ETCD_CA_CERT_FILE", str(authority.ca))

    found = look(tls_etcd)

    assert Verdict.PROBLEM == found["reachable"][0].verdict
    assert "wants a client certificate, and none is set" in found["reachable"][0].fact


@pytest.fixture
def guarded(etcd_binary):
    with EmbeddedEtcd(etcd_binary) as etcd, contextlib.closing(RawEtcd(etcd.endpoint)) as raw:
        raw.grant("nobody", "secret", {})
        raw.require_password("secret")
        yield etcd.endpoint


def test_a_user_that_is_not_named_is_one_finding(look, guarded):
    found = look(guarded)

    (finding,) = found["permissions"]
    assert (Verdict.PROBLEM, "etcd wants a user and a password") == (
        finding.verdict,
        finding.fact,
    )
    assert "set ETCD_USERNAME and ETCD_PASSWORD" in finding.remedy
    assert not {"compaction", "pools", "calico"} & found.keys()


def test_a_user_who_may_not_read_is_named(look, guarded, monkeypatch):
    monkeypatch.setenv("ETCD_USERNAME", "nobody")
    monkeypatch.setenv("ETCD_PASSWORD", "secret")

    found = look(guarded)

    for check in ("compaction", "stored", "calico"):
        assert found[check][0].fact.startswith("user nobody may not read it: ")


def test_a_wrong_password_is_a_matter_of_the_password(look, guarded, monkeypatch):
    monkeypatch.setenv("ETCD_USERNAME", "nobody")
    monkeypatch.setenv("ETCD_PASSWORD", "wrong")

    (finding,) = look(guarded)["reachable"]

    assert "refuses the password" in finding.fact
    assert "see that user and password are right" in finding.remedy
