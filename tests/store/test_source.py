import subprocess
import sys

import pytest

from poolmgr.errors import InvalidRequestError
from poolmgr.store.settings import Settings
from poolmgr.store.source import settings_from

HEAD = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="file.cfg"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def settings(endpoint, **options):
    return Settings(endpoints=(endpoint,), **options)


def test_the_network_configuration_comes_first(write):
    netconf = {
        "etcd_endpoints": "https://conf:1, https://conf:2",
        "etcd_ca_cert_file": "/ca",
        "etcd_cert_file": "/cert",
        "etcd_key_file": "/key",
    }
    path = write(f"{HEAD}spec: {{etcdEndpoints: 'http://file:1'}}")

    found = settings_from(netconf, {"ETCD_ENDPOINTS": "http://env:1"}, path)
    assert found == (
        Settings(
            endpoints=("https://conf:1", "https://conf:2"),
            ca_file="/ca",
            cert_file="/cert",
            key_file="/key",
        ),
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


def test_the_environment_comes_before_files(write):
    path = write(f"{HEAD}spec: {{etcdEndpoints: 'http://file:1'}}")
    environ = {
        "ETCD_ENDPOINTS": "https://env:1",
        "ETCD_CA_CERT_FILE": "/ca",
        "ETCD_CERT_FILE": "/cert",
        "ETCD_KEY_FILE": "/key",
        "ETCD_USERNAME": "me",
        "ETCD_PASSWORD": "secret",
        "DATASTORE_TYPE": "etcdv3",
    }

    found = settings_from({"etcd_endpoints": ""}, environ, path)
    assert found == (
        settings(
            "https://env:1",
            ca_file="/ca",
            cert_file="/cert",
            key_file="/key",
            username="me",
            password="secret",
        ),
        "environment",
    )


def test_the_prefixed_variable_wins():
    environ = {"ETCD_ENDPOINTS": "http://plain:1", "CALICO_ETCD_ENDPOINTS": "http://prefixed:1"}

    assert settings_from(None, environ)[0] == settings("http://prefixed:1")


def test_a_file_holds_everything(write):
    path = write(
        f"""{HEAD}metadata:
spec:
  datastoreType: etcdv3
  etcdEndpoints: https://file:1
  etcdCACertFile: /ca
  etcdCertFile: /cert
  etcdKeyFile: /key
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
            ca_file="/ca",
            cert_file="/cert",
            key_file="/key",
            username="me",
            password="secret",
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
            "network configuration: key_file is given, but cert_file is not",
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


def test_a_file_that_is_absent_but_asked_for_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match=r"is not readable: No such file"):
        settings_from(None, {}, tmp_path / "absent")


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


def test_importing_it_imports_neither_yaml_nor_an_etcd_client():
    code = """
import sys
import poolmgr.store.source
print([name for name in ("yaml", "grpc", "etcd3") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
