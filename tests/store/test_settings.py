"""Settings: endpoints as people write them, and options that need each other."""

import subprocess
import sys

import pytest

from poolmgr.errors import InvalidRequestError
from poolmgr.store.settings import Endpoint, Settings


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("10.0.0.1:2379", Endpoint("http", "10.0.0.1", 2379)),
        ("http://etcd-0.etcd:2379", Endpoint("http", "etcd-0.etcd", 2379)),
        ("https://etcd_0:1/", Endpoint("https", "etcd_0", 1)),
        ("http://[2001:db8::1]:65535", Endpoint("http", "[2001:db8::1]", 65535)),
    ],
)
def test_an_endpoint_is_taken_apart(text: str, endpoint: Endpoint):
    assert Settings(endpoints=(text,)).addresses == (endpoint,)


@pytest.mark.parametrize(
    "text",
    [
        "etcd",
        "http://etcd",
        "etcd:",
        ":2379",
        "etcd:0",
        "etcd:65536",
        "etcd:٢٣٧٩",
        "etcd:2379\n",
        "etcd:2379/v3",
        "http:/etcd:2379",
        "unix://etcd:2379",
        "2001:db8::1:2379",
        "etcd:2379 etcd:2380",
        "",
    ],
)
def test_what_is_no_endpoint_is_refused_and_quoted(text: str):
    with pytest.raises(InvalidRequestError) as failure:
        Settings(endpoints=(text,))

    assert failure.value.field == "endpoints"
    assert repr(text) in str(failure.value)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("http://me:secret@etcd:2379", "'http://***@etcd:2379'"),
        ("me:secret@etcd:2379", "'***@etcd:2379'"),
        ("HTTPS://me:sec@ret@etcd:2379", "'HTTPS://***@etcd:2379'"),
        ("http://me:sec/ret@etcd", "'http://***@etcd'"),
        ("http://me:secr,et@etcd:2379,http://b:1", "'http://***@etcd:2379,http://b:1'"),
        ("http://me:sec\nret@etcd:2379", "'http://***@etcd:2379'"),
    ],
)
def test_a_password_in_an_endpoint_is_refused_and_not_quoted(text: str, quoted: str):
    with pytest.raises(InvalidRequestError) as failure:
        Settings.parse(text)

    assert str(failure.value).startswith(f"etcd endpoint {quoted} names a user; ")
    assert "ETCD_PASSWORD" in str(failure.value)


def test_messages_call_options_what_the_user_calls_them():
    names = {
        "ca_file": "etcdCACertFile",
        "cert_file": "etcdCertFile",
        "key_file": "etcdKeyFile",
    }

    for options, message in (
        ({"ca_file": "/ca"}, "etcdCACertFile is given, but no etcd endpoint begins with"),
        ({"cert_file": "/cert"}, "etcdCertFile is given, but etcdKeyFile is not"),
        ({"key_file": "/key"}, "etcdKeyFile is given, but etcdCertFile is not"),
    ):
        with pytest.raises(InvalidRequestError, match=message) as failure:
            Settings.parse("http://a:1", names=names, **options)

        assert failure.value.field in names.values()


def test_endpoints_come_as_one_text_with_commas():
    settings = Settings.parse(" http://a:1, https://b:2 ,", ca_file="/ca.pem")

    assert settings == Settings(endpoints=("http://a:1", "https://b:2"), ca_file="/ca.pem")


def test_endpoints_are_kept_in_one_form():
    assert Settings.parse("a:1,http://a:1/").endpoints == ("http://a:1", "http://a:1")


@pytest.mark.parametrize("text", ["", " , "])
def test_no_endpoint_at_all_is_refused(text: str):
    with pytest.raises(InvalidRequestError) as failure:
        Settings.parse(text)

    assert failure.value.field == "endpoints"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("cert_file", "key_file"),
        ("key_file", "cert_file"),
        ("username", "password"),
        ("password", "username"),
    ],
)
def test_an_option_without_the_one_it_needs_is_refused(given: str, missing: str):
    with pytest.raises(InvalidRequestError, match=f"{given} .*{missing}") as failure:
        Settings.parse("https://a:1", **{given: "x"})

    assert failure.value.field == missing


@pytest.mark.parametrize(
    "options", [{"ca_file": "/ca.pem"}, {"cert_file": "/cert.pem", "key_file": "/key.pem"}]
)
def test_tls_files_want_an_https_endpoint(options: dict[str, str]):
    with pytest.raises(InvalidRequestError, match="https") as failure:
        Settings.parse("http://a:1,b:2", **options)

    assert failure.value.field in options


def test_an_empty_option_is_one_that_is_not_given():
    options = dict.fromkeys(("ca_file", "cert_file", "key_file", "username", "password"), "")

    assert Settings.parse("http://a:1", **options) == Settings.parse("http://a:1")


def test_a_password_is_not_shown():
    assert "secret" not in repr(Settings.parse("a:1", username="u", password="secret"))


def test_settings_and_the_store_in_memory_need_no_etcd_client():
    program = (
        "import sys, poolmgr.store.settings, poolmgr.store.memory, poolmgr.store.embedded\n"
        "print(*{'grpc', 'etcd3', 'google'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert printed.stdout == "\n"
