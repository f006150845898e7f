"""What an endpoint tells anybody."""

import socket
import time
from email.utils import parsedate_to_datetime

from poolctl.doctor.greeting import greet
from poolmgr.store.settings import Settings
from tests.support.authority import settings_for


def greeting(settings, timeout_s=5.0):
    return greet(settings.addresses[0], settings, timeout_s=timeout_s)


def test_a_plain_etcd_tells_the_time(settings):
    told = greeting(settings)

    assert abs(parsedate_to_datetime(told.date).timestamp() - time.time()) < 5
    assert b"" == told.certificate
    assert settings.endpoints[0] == told.endpoint


def test_an_etcd_with_tls_shows_its_certificate_as_well(tls_etcd, authority, client_pair):
    told = greeting(settings_for(tls_etcd, authority, client_pair))

    assert told.certificate.startswith(b"\x30")
    assert told.date


def test_without_our_certificate_it_may_hang_up(tls_etcd, authority):
    told = greeting(Settings(endpoints=(tls_etcd,), ca_file=str(authority.ca)))

    assert "" == told.date


def test_who_is_silent_is_waited_for_no_longer_than_said():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        told = greeting(Settings(endpoints=(f"127.0.0.1:{port}",)), timeout_s=0.3)
        took_s = time.monotonic() - started

    assert ("", b"") == (told.date, told.certificate)
    assert took_s < 3


def test_a_plain_etcd_that_is_named_https_still_tells_the_time(etcd_endpoint):
    told = greeting(Settings(endpoints=(f"https://{etcd_endpoint}",)))

    assert told.date
    assert b"" == told.certificate


def test_an_etcd_with_tls_that_is_named_http_still_shows_its_certificate(tls_etcd):
    told = greeting(Settings(endpoints=(tls_etcd.replace("https", "http"),)))

    assert told.certificate.startswith(b"\x30")


def test_who_is_not_there_tells_nothing():
    told = greeting(Settings(endpoints=("127.0.0.1:1",)))

    assert ("", b"") == (told.date, told.certificate)
