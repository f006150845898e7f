"""Why real endpoints do not let us in."""

import socket

import pytest

from poolctl.doctor import reach
from poolctl.doctor.findings import Verdict
from poolctl.doctor.greeting import greet
from poolmgr.errors import StoreRefusedError, StoreUnavailableError
from poolmgr.store.settings import Settings
from tests.support.authority import Authority, etcd_with_tls, settings_for

ERROR = StoreUnavailableError("no answer")


def explained(settings, error=ERROR):
    (endpoint,) = settings.addresses
    greeting = greet(endpoint, settings, timeout_s=5)
    found = reach.explain(endpoint, error, greeting, settings, timeout_s=5)
    assert ("reachable", Verdict.PROBLEM) == (found.check, found.verdict)
    return found.fact, found.remedy


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """Another authority."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def test_who_is_not_there_is_a_matter_of_etcd_and_the_way():
    fact, remedy = explained(Settings(endpoints=("127.0.0.1:1",)))

    assert "no answer" == fact
    assert "no firewall or missing route is in the way" in remedy


def test_who_is_silent_is_waited_for_no_longer_than_said():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(endpoints=(f"https://127.0.0.1:{silent.getsockname()[1]}",))
        (endpoint,) = settings.addresses
        greeting = greet(endpoint, settings, timeout_s=0.2)
        found = reach.explain(endpoint, ERROR, greeting, settings, timeout_s=0.2)

    assert "no answer" == found.fact


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("refuses (authentication failed, invalid user ID)", "see that user and password are"),
        ("wants (etcdserver: user name is empty)", "set ETCD_USERNAME and ETCD_PASSWORD"),
    ],
)
def test_who_wants_to_know_us_better_says_so(settings, text, remedy):
    fact, advised = explained(settings, StoreRefusedError(text))

    assert text == fact
    assert advised.startswith(remedy)


def test_http_is_named_where_tls_is_spoken(tls_etcd):
    fact, remedy = explained(Settings(endpoints=(tls_etcd.replace("https", "http"),)))

    assert "it speaks TLS, and http:// is named" in fact
    assert f"name it {tls_etcd}, " in remedy


def test_https_is_named_where_no_tls_is_spoken(etcd_endpoint):
    fact, remedy = explained(Settings(endpoints=(f"https://{etcd_endpoint}",)))

    assert "it does not speak TLS, and https:// is named" in fact
    assert f"name it http://{etcd_endpoint}, " in remedy


def test_an_authority_that_is_not_ours_is_told(tls_etcd, stranger, client_pair):
    fact, remedy = explained(settings_for(tls_etcd, stranger, client_pair))

    assert f"signed the server's certificate is not in {stranger.ca}" in fact
    assert "ETCD_CA_CERT_FILE" in remedy


def test_an_authority_that_nobody_named_is_told(tls_etcd):
    fact, _ = explained(Settings(endpoints=(tls_etcd,)))

    assert "signed the server's certificate is not known to this host" in fact


def test_a_client_certificate_that_is_missing_is_told(tls_etcd, authority):
    fact, remedy = explained(Settings(endpoints=(tls_etcd,), ca_file=str(authority.ca)))

    assert "it wants a client certificate, and none is set" in fact
    assert remedy.startswith("set ETCD_CERT_FILE and ETCD_KEY_FILE")


@pytest.mark.parametrize("days", [100, -2])
def test_a_client_certificate_that_is_refused_is_told(tls_etcd, authority, stranger, days):
    pair = (stranger if days > 0 else authority).signed(f"refused{days}", days=days)

    fact, remedy = explained(settings_for(tls_etcd, authority, pair))

    assert f"it refuses the client certificate {pair.cert}" in fact
    assert "--trusted-ca-file has signed" in remedy


def test_a_name_that_the_certificate_lacks_is_told(tls_etcd, authority, client_pair):
    url = tls_etcd.replace("127.0.0.1", "localhost")

    fact, remedy = explained(settings_for(url, authority, client_pair))

    assert "the server's certificate is not for localhost" in fact
    assert "name the endpoint as the certificate does" in remedy


@pytest.mark.parametrize(
    ("days", "why", "remedy"),
    [
        (-1, "the server's certificate has expired", "renew it on the server"),
        (4100, "the server's certificate is not valid yet", "set the clocks of both by NTP"),
    ],
)
def test_a_certificate_out_of_its_time_is_told(
    etcd_binary, authority, client_pair, tmp_path, days, why, remedy
):
    server = authority.signed(f"late{days}", days=days)
    with etcd_with_tls(etcd_binary.path, authority, server, tmp_path / "data") as url:
        fact, advised = explained(settings_for(url, authority, client_pair))

    assert f"{url} cannot be used: {why}" == fact
    assert remedy == advised
