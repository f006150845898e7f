import os
import subprocess
import sys
from pathlib import Path

import pytest

from poolmgr.errors import InvalidRequestError
from poolmgr.store.settings import Settings
from poolmgr.store.source import settings_from

HEAD = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n"

# Made for these tests: openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=y
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCAROgAwIBAgIUYfki2DF6MyQ/GzLinL5m2Wcx4nMwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeTAeFw0yNjExMjQwMDExMDdaFw0zNjExMjEwMDExMDdaMAwx
CjAIBgNVBAMMAXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARwmImxkbUE3Zjg
/U9xSPXj7rpt8S/pemjuuee0YirxpkdrnqfYI74Ux997Jj2bxWBsdWeWwBhs7VMh
O10JK5QRo1MwUTAdBgNVHQ4EFgQU6IJYdS+3s5jRPKAAcIRdxCK2KI4wHwYDVR0j
BBgwFoAU6IJYdS+3s5jRPKAAcIRdxCK2KI4wDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNJADBGAiEAvyuqkXhuentlZhP6JeASyMQD7bj2TMcN0/WZNgBauAsC
IQD8/NS1JkLNsDoHDGBWEyBwFSv+mvkpORRAJuSF63Hd5A==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgipZ8pVWRCQpRPbM3
q2n7Bl2expcH6qB0HamfkElOyjOhRANCAARwmImxkbUE3Zjg/U9xSPXj7rpt8S/p
emjuuee0YirxpkdrnqfYI74Ux997Jj2bxWBsdWeWwBhs7VMhO10JK5QR
-----END PRIVATE KEY-----
"""

OTHER_KEY = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIOkIe5+Xb6Vuk+8lXdxKjyBsvfx7z9xodA6YXtvlHOTmoAoGCCqGSM49
AwEHoUQDQgAE/9yYWNtEsPBC2Iu3iX8XJ/HRHGyh/CCY2KhNj9/a9bZWVNY5pemu
plG9HnftuGz97cTcD+tVjsH4Z1VLgeQ4Dg==
-----END EC PRIVATE KEY-----
"""
ENCRYPTED_KEY = """\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,48B988FCF12BA7CB55E8A49BEAA4899F

pP5TAYaip9vcAkkSocMA7NerDr814S7Lld9kH1nUmA38qF0rqCn5U54yIomXFjMZ
WM77KpFAvKZU7wsJZZRbDxkmfE4Mg9/c2w5c5Yv+H/cW4s9ivuUNia5R3xB/pkcM
P8C5ARjpfzHpLc/N3go/EEICjORT3f5Fx+MX+DJHg20=
-----END EC PRIVATE KEY-----
"""


@pytest.fixture
def pem(tmp_path):
    """Files of TLS, option -> path."""
    files = {"ca_file": CERTIFICATE, "cert_file": CERTIFICATE, "key_file": KEY}
    for name, text in files.items():
        (tmp_path / f"{name}.pem").write_text(f"# möglich\n{text}", encoding="utf-8")
    return {name: str(tmp_path / f"{name}.pem") for name in files}


@pytest.fixture
def write(tmp_path):
    def write(text, name="file.cfg"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def settings(endpoint, **options):
    return Settings(endpoints=(endpoint,), **options)


def test_the_network_configuration_comes_first(write, pem):
    netconf = {
        "etcd_endpoints": "https://conf:1, https://conf:2",
        "etcd_ca_cert_file": pem["ca_file"],
        "etcd_cert_file": pem["cert_file"],
        "etcd_key_file": pem["key_file"],
    }
    path = write(f"{HEAD}spec: {{etcdEndpoints: 'http://file:1'}}")

    found = settings_from(netconf, {"ETCD_ENDPOINTS": "http://env:1"}, path)
    assert found == (
        Settings(endpoints=("https://conf:1", "https://conf:2"), **pem),
        "network configuration",
    )


def test_sources_are_not_mixed():
    environ = {"ETCD_CA_CERT_FILE": "/ca", "ETCD_CERT_FILE": "/cert", "ETCD_KEY_FILE": "/key"}

    found, _ = settings_from({"etcd_endpoints": "https://conf:1"}, environ)
    assert found == settings("https://conf:1")


def test_user_and_password_come_from_the_environment_alone():
    environ = {"ETCD_USERNAME": "me", "CALICO_ETCD_PASSWORD": "secret"}

    found, _ = settings_from({"etcd_endpoints": "http://conf:1"}, environ)
    assert found == settings("http://conf:1", username="me", password="secret")


def test_the_environment_comes_before_files(write, pem):
    path = write(f"{HEAD}spec: {{etcdEndpoints: 'http://file:1'}}")
    environ = {
        "ETCD_ENDPOINTS": "https://env:1",
        "ETCD_CA_CERT_FILE": pem["ca_file"],
        "ETCD_CERT_FILE": pem["cert_file"],
        "ETCD_KEY_FILE": pem["key_file"],
        "ETCD_USERNAME": "me",
        "ETCD_PASSWORD": "secret",
        "DATASTORE_TYPE": "etcdv3",
    }

    found = settings_from({"etcd_endpoints": ""}, environ, path)
    assert found == (
        settings(
            "https://env:1",
            username="me",
            password="secret",
            **pem,
        ),
        "environment",
    )


def test_the_prefixed_variable_wins():
    environ = {"ETCD_ENDPOINTS": "http://plain:1", "CALICO_ETCD_ENDPOINTS": "http://prefixed:1"}

    assert settings_from(None, environ)[0] == settings("http://prefixed:1")


def test_a_file_holds_everything(write, pem):
    path = write(
        f"""{HEAD}metadata:
spec:
  datastoreType: etcdv3
  etcdEndpoints: https://file:1
  etcdCACertFile: {pem["ca_file"]}
  etcdCertFile: {pem["cert_file"]}
  etcdKeyFile: {pem["key_file"]}
  etcdUsername: me
  etcdPassword: secret
  kubeconfig: /ignored
  k8sAPIEndpoint: ignored
  etcdDiscoverySrv: ""
"""
    )

    assert settings_from(None, {}, path) == (
        settings(
            "https://file:1",
            username="me",
            password="secret",
            **pem,
        ),
        f"file {path}",
    )


def test_a_file_may_be_json(write):
    path = write(
        '{"apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig",'
        ' "spec": {"etcdEndpoints": "http://file:1"}}'
    )

    assert settings_from(None, {}, path)[0] == settings("http://file:1")


def test_the_first_default_file_that_names_endpoints_counts(write, tmp_path):
    files = (
        tmp_path / "absent",
        write(f"{HEAD}spec: {{datastoreType: kubernetes}}", "without"),
        write(f"{HEAD}spec: {{etcdEndpoints: 'http://first:1'}}", "first"),
        write("garbage: [", "not-looked-at"),
    )

    assert settings_from(None, {}, default_files=files) == (
        settings("http://first:1"),
        f"file {files[2]}",
    )


def test_the_default_files_are_not_looked_at_when_one_is_asked_for(write):
    asked = write(f"{HEAD}spec:", "asked")
    default = write(f"{HEAD}spec: {{etcdEndpoints: 'http://default:1'}}", "default")

    with pytest.raises(InvalidRequestError, match=f"{asked} names no etcdEndpoints"):
        settings_from(None, {}, asked, default_files=(default,))


def test_no_source_at_all_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(InvalidRequestError) as caught:
        settings_from(None, {}, default_files=(tmp_path / "absent",))

    assert str(caught.value) == (
        "no etcd endpoints are configured: set etcd_endpoints in the network configuration, "
        f"ETCD_ENDPOINTS in the environment, or etcdEndpoints in {tmp_path / 'absent'}"
    )


@pytest.mark.parametrize(
    ("netconf", "environ", "why"),
    [
        (
            {"etcd_cert_file": "/cert"},
            {"ETCD_ENDPOINTS": "https://env:1"},
            "etcd_cert_file without etcd_endpoints: name the endpoints beside it, or remove it",
        ),
        (
            {"etcd_endpoints": "http://h"},
            {},
            "network configuration: etcd endpoint 'http://h' is not of the form",
        ),
        (
            {"etcd_endpoints": "https://h:1", "etcd_key_file": "/key"},
            {},
            "network configuration: etcd_key_file is given, but etcd_cert_file is not",
        ),
        (
            {},
            {"ETCD_ENDPOINTS": "ftp://h:1"},
            "environment: etcd endpoint 'ftp://h:1' is not of the form",
        ),
        (
            {},
            {"ETCD_ENDPOINTS": "http://h:1", "DATASTORE_TYPE": "kubernetes"},
            "environment, DATASTORE_TYPE is 'kubernetes'; only etcdv3 is supported",
        ),
    ],
)
def test_a_source_that_is_not_usable_is_not_passed_over(netconf, environ, why):
    with pytest.raises(InvalidRequestError) as caught:
        settings_from(netconf, environ)

    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", " is not an object"),
        ("[]", " is not an object"),
        ("1: 2", " is not an object"),
        ("a: [", " is neither YAML nor JSON, at line 1"),
        ("kind: Node", ": apiVersion must be projectcalico.org/v3"),
        (HEAD.replace("CalicoAPIConfig", "Node"), ": kind must be CalicoAPIConfig"),
        (f"{HEAD}specs: {{}}", ": unknown key specs"),
        (f"{HEAD}spec: 5", ": spec is not an object"),
        (f"{HEAD}spec: {{etcdEndpoint: x}}", ": unknown key spec.etcdEndpoint"),
        (f"{HEAD}spec: {{etcdEndpoints: [x]}}", ": spec.etcdEndpoints must be a string"),
        (f"{HEAD}spec: {{etcdEndpoints: x}}", ": etcd endpoint 'x' is not of the form"),
        (
            f"{HEAD}spec: {{etcdKey: PEM}}",
            ": spec.etcdKey is not supported; write it to a file and name that in etcdKeyFile",
        ),
        (
            f"{HEAD}spec: {{etcdEndpoints: 'h:1', datastoreType: kubernetes}}",
            ": spec.datastoreType is 'kubernetes'; only etcdv3 is supported",
        ),
    ],
)
def test_a_file_that_is_not_usable_is_refused(text, why, write):
    path = write(text)

    with pytest.raises(InvalidRequestError) as caught:
        settings_from(None, {}, path)
    assert str(caught.value).startswith(f"{path}{why}")


NAMES = {
    "netconf": {
        "ca_file": "etcd_ca_cert_file",
        "cert_file": "etcd_cert_file",
        "key_file": "etcd_key_file",
    },
    "environ": {
        "ca_file": "ETCD_CA_CERT_FILE",
        "cert_file": "ETCD_CERT_FILE",
        "key_file": "ETCD_KEY_FILE",
    },
    "file": {
        "ca_file": "etcdCACertFile",
        "cert_file": "etcdCertFile",
        "key_file": "etcdKeyFile",
    },
}


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("option", ["ca_file", "cert_file", "key_file"])
def test_a_tls_file_that_is_absent_is_named_as_the_user_named_it(source, option, write, pem):
    Path(pem[option]).unlink()
    name = NAMES[source][option]
    given = {NAMES[source][each]: file for each, file in pem.items()}
    netconf = {"etcd_endpoints": "https://h:1", **given} if source == "netconf" else None
    environ = {"ETCD_ENDPOINTS": "https://h:1", **given} if source == "environ" else {}
    lines = [f"  {key}: {value}" for key, value in given.items()]
    file = write("\n".join([f"{HEAD}spec:", "  etcdEndpoints: https://h:1", *lines]))

    with pytest.raises(InvalidRequestError) as caught:
        settings_from(netconf, environ, file)

    assert caught.value.field == name
    assert f": {name} {pem[option]} is not readable: No such file" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "text", "why"),
    [
        ("ca_file", "", "holds no certificate in PEM form, or a broken one"),
        ("ca_file", "no PEM", "holds no certificate in PEM form, or a broken one"),
        ("ca_file", KEY, "holds no certificate in PEM form, or a broken one"),
        ("ca_file", CERTIFICATE.replace("M", "A"), "holds no certificate in PEM form"),
        ("cert_file", "no PEM", "holds no certificate in PEM form, or a broken one"),
        ("key_file", "no PEM", "holds no key, in PEM form and without passphrase"),
        ("key_file", CERTIFICATE, "holds no key, in PEM form and without passphrase"),
        ("key_file", OTHER_KEY, "of the certificate in "),
        ("key_file", ENCRYPTED_KEY, "without passphrase"),
    ],
)
def test_a_tls_file_without_what_its_option_says_is_refused(option, text, why, pem):
    Path(pem[option]).write_text(text)
    environ = {NAMES["environ"][each]: file for each, file in pem.items()}

    with pytest.raises(InvalidRequestError) as caught:
        settings_from(None, {"ETCD_ENDPOINTS": "https://h:1", **environ})

    assert str(caught.value).startswith(
        f"environment: {NAMES['environ'][option]} {pem[option]} holds no "
    )
    assert why in str(caught.value)


def test_a_tls_file_that_is_no_regular_file_is_refused_at_once(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    for file in (fifo, tmp_path, "nul\0"):
        netconf = {"etcd_endpoints": "https://h:1", "etcd_ca_cert_file": str(file)}
        with pytest.raises(InvalidRequestError, match=f"etcd_ca_cert_file {file} is not read"):
            settings_from(netconf, {})


def test_a_file_that_is_absent_but_asked_for_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match=r"is not readable: No such file"):
        settings_from(None, {}, tmp_path / "absent")


def test_a_default_file_that_cannot_be_looked_at_is_not_passed_over(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    with pytest.raises(InvalidRequestError, match=f"{loop} is not readable: Too many levels"):
        settings_from(None, {}, default_files=(tmp_path / "absent", loop))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "file.cfg"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidRequestError, match=r"is neither YAML nor JSON$"):
        settings_from(None, {}, path)


def test_a_broken_file_does_not_show_its_password(write):
    path = write(f"{HEAD}spec:\n  etcdPassword: secret: secret\n")

    with pytest.raises(InvalidRequestError) as caught:
        settings_from(None, {}, path)
    assert str(caught.value) == f"{path} is neither YAML nor JSON, at line 4"


def test_importing_it_imports_neither_yaml_nor_tls_nor_an_etcd_client():
    code = """
import sys
import poolmgr.store.source
print([name for name in ("yaml", "ssl", "grpc", "etcd3") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
