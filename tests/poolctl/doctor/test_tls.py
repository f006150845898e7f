"""Encryption, certificates and keys."""

import pytest

from poolctl.doctor.findings import Verdict
from poolctl.doctor.greeting import Greeting, greet
from poolctl.doctor.tls import examine
from poolmgr.store.settings import Settings
from tests.support.authority import settings_for

URL = "https://127.0.0.1:2379"


def findings(settings, *greetings):
    return [(each.verdict, each.fact) for each in examine(settings, greetings)]


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_on_one_host_nothing_is_encrypted_and_that_is_fine(endpoint):
    assert [(Verdict.OK, "none is needed: etcd is on this host")] == findings(
        Settings(endpoints=(endpoint,))
    )


@pytest.mark.parametrize("endpoint", ["10.0.0.1:1", "etcd-1:1", "[2001:db8::1]:1"])
def test_plain_text_on_a_network_is_warned_of(endpoint):
    ((verdict, fact),) = findings(Settings(endpoints=(endpoint, "https://etcd-2:1")))

    assert Verdict.WARNING == verdict
    assert fact.startswith(f"http://{endpoint}: whoever is on the way")


def test_each_file_and_the_servers_certificate_are_judged_by_their_end(
    tls_etcd, authority, client_pair
):
    settings = settings_for(tls_etcd, authority, client_pair)
    greeting = greet(settings.addresses[0], settings, timeout_s=5)

    ca, client, key, server = findings(settings, greeting)

    assert (Verdict.OK, True) == (ca[0], ca[1].endswith("in 3,650 days"))
    assert (Verdict.OK, True) == (client[0], client[1].endswith("in 400 days"))
    assert (Verdict.OK, f"key {client_pair.key} is its owner's alone") == key
    assert (Verdict.WARNING, True) == (server[0], server[1].endswith("in 20 days"))
    assert f"server certificate of {tls_etcd} expires on 20" in server[1]


def test_what_has_expired_is_a_problem(authority):
    settings = settings_for(URL, authority, authority.signed("late", days=-2))

    assert Verdict.PROBLEM == findings(settings)[1][0]
    assert "late.pem expired on 20" in findings(settings)[1][1]


def test_of_several_certificates_the_first_to_expire_counts(authority, tmp_path):
    soon = authority.signed("soon", days=3).cert.read_bytes()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority.ca.read_bytes() + soon)

    (verdict, fact), *_ = findings(Settings(endpoints=(URL,), ca_file=str(bundle)))

    assert (Verdict.WARNING, True) == (verdict, fact.endswith("in 3 days"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_use_is_warned_of(authority, mode):
    pair = authority.signed("open", days=100)
    pair.key.chmod(mode)

    finding = list(examine(settings_for(URL, authority, pair), ()))[2]

    assert (Verdict.WARNING, f"chmod 0600 {pair.key}") == (finding.verdict, finding.remedy)
    assert f"has mode {mode:04o}" in finding.fact


def test_what_is_not_there_or_no_certificate_is_told(authority, client_pair, tmp_path):
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("nonsense")
    missing = Settings(
        endpoints=(URL,), ca_file=str(nonsense), cert_file="/nope.pem", key_file="/nope.key"
    )

    ca, cert, key = findings(missing)

    assert (Verdict.UNKNOWN, True) == (ca[0], "cannot be understood" in ca[1])
    assert (Verdict.PROBLEM, "client certificate /nope.pem: No such file or directory") == cert
    assert (Verdict.PROBLEM, "key /nope.key: No such file or directory") == key


def test_an_endpoint_that_speaks_tls_is_not_told_to_need_none(tls_etcd):
    settings = Settings(endpoints=(tls_etcd.replace("https", "http"),))
    greeting = greet(settings.addresses[0], settings, timeout_s=5)

    ((_, fact),) = findings(settings, greeting)

    assert fact.startswith("server certificate of http://127.0.0.1")


def test_a_server_that_hides_its_certificate_is_not_known():
    hidden = Greeting(endpoint=URL, date="now", certificate=b"")

    assert [(Verdict.UNKNOWN, f"{URL} does not show its certificate")] == findings(
        Settings(endpoints=(URL,)), hidden
    )
