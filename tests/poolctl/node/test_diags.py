"""The archive for a bug report: complete, and without secrets."""

import json
import re
import stat
import tarfile

import pytest
import yaml

from poolctl.node.masking import MASK
from poolctl.report import REFUSED
from poolmgr.core.records import resource_key
from tests.support.poolctl import manifest, pool

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----"


@pytest.fixture
def conf_dir(tmp_path):
    directory = tmp_path / "net.d"
    directory.mkdir()
    return directory


@pytest.fixture
def diags(poolctl, tmp_path, conf_dir):
    """What an archive holds, by name; the argument is what runs poolctl."""

    def run(*before):
        file = tmp_path / "diags.tar.gz"
        file.unlink(missing_ok=True)
        result = poolctl(*before, "node", "diags", "-o", str(file), "--conf-dir", str(conf_dir))
        assert (0, "") == (result.exit_code, result.stderr)
        with tarfile.open(file) as archive:
            return result.stdout, {
                each.name.partition("/")[2]: archive.extractfile(each).read().decode()
                for each in archive.getmembers()
            }

    return run


def test_it_holds_what_a_report_needs_and_says_so(poolctl, diags, conf_dir, etcd_endpoint):
    poolctl("apply", "-f", "-", stdin=pool())
    (conf_dir / "10-net.conf").write_text('{"name": "net-a", "type": "ptp"}')

    said, parts = diags()

    assert etcd_endpoint in yaml.safe_load(parts["settings.yaml"])["etcd"]
    assert yaml.safe_load(parts["versions.yaml"])["packages"]["grpcio"]
    assert json.loads(parts["doctor.json"])["findings"]
    assert [str(conf_dir)] == [json.loads(parts["node-status.json"])["confDir"]]
    assert {"name": "net-a", "type": "ptp"} == json.loads(parts["cni/10-net.conf"])
    assert "pool-a" in parts["resources/ippools.yaml"]
    assert "10.10.0.0/16" in parts["ipam-show.txt"]
    assert "ipam-check.txt" in parts
    for name, text in parts.items():
        assert f"  {name}, {len(text.encode()):,} bytes\n" in said


def test_no_secret_is_in_it_wherever_it_stood(diags, conf_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("ETCD_PASSWORD", "pass-hunter")
    monkeypatch.setenv("ETCD_USERNAME", "somebody")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("token: kube-hunter")
    conf = {
        "cniVersion": "1.0.0",
        "name": "net-a",
        "type": "ptp",
        "policy": {"k8s_auth_token": "token-hunter"},
        "nodename": "quoted token-hunter elsewhere",
        "etcd_endpoints": "https://user:url-hunter@etcd-1:2379",
        "etcd_key": PEM,
        "note": f"inline {PEM} here",
        "kubernetes": {"kubeconfig": str(kubeconfig), "client-key-data": "data-hunter"},
        "args": ["--token=flag-hunter", "--password", "next-hunter"],
        "headers": ["Authorization: Bearer header-hunter"],
        "env": [{"name": "DB_PASS", "value": "env-hunter"}],
        "text": "user=a password=text-hunter",
        "auth": {"passphrase": "phrase-hunter", "psk": 7, "jwt": "jwt-hunter"},
        "credentials": {"value": "deep-hunter"},
        "ipam": {"type": "poolmgr-ipam"},
    }
    (conf_dir / "10-net.conf").write_text(json.dumps(conf))
    (conf_dir / "20-broken.conf").write_text('{"password": "broken-hunter"')

    _, parts = diags()

    for name, text in parts.items():
        assert "hunter" not in text, name
        assert "MHcCAQ" not in text, name
    assert MASK in parts["cni/10-net.conf"]
    assert "left out: not JSON" in parts["cni/20-broken.conf"]
    assert MASK == yaml.safe_load(parts["settings.yaml"])["password"]


def test_no_secret_of_a_resource_is_in_it(raw, diags):
    last = json.dumps({"spec": {"password": "applied-hunter"}})
    spec = {
        "bgp": {"ipv4Address": "10.0.0.1/24", "password": {"secretKeyRef": "bgp-hunter"}},
        "wireguard": {"privateKey": "wire-hunter"},
        "secretRef": {"name": "ref-hunter"},
        "notes": "password: note-hunter",
        "quoted": "said bgp-hunter",
    }
    metadata = {
        "annotations": {"last-applied-configuration": last, "db-token": "annotation-hunter"},
        "labels": {"psk": "label-hunter"},
    }
    raw.put(resource_key("nodes", "node-a"), manifest("Node", "node-a", spec, **metadata))
    held = pool(notes="--password pool-hunter", credentials={"value": "value-hunter"})
    raw.put(resource_key("ippools", "pool-a"), held)
    broken = '{"spec": {"password": "broken-hunter"'
    raw.put(resource_key("ippools", "pool-b"), broken)

    _, parts = diags()

    for name, text in parts.items():
        assert "hunter" not in text, name
    (node,) = yaml.safe_load(parts["resources/nodes.yaml"])["items"]
    assert ("node-a", "10.0.0.1/24") == (
        node["metadata"]["name"],
        node["spec"]["bgp"]["ipv4Address"],
    )
    assert MASK == node["spec"]["bgp"]["password"]


def test_only_the_owner_may_read_it(diags, tmp_path):
    diags()

    assert 0o600 == stat.S_IMODE((tmp_path / "diags.tar.gz").stat().st_mode)


@pytest.mark.parametrize("link", [False, True])
def test_no_file_is_overwritten(poolctl, tmp_path, link):
    target, file = tmp_path / "target", tmp_path / "file"
    target.write_text("precious")
    if link:
        file.symlink_to(target)
    else:
        file.write_text("precious")

    result = poolctl("node", "diags", "-o", str(file))

    assert (REFUSED, f"poolctl: error: {file} exists; it is not overwritten\n") == (
        result.exit_code,
        result.stderr,
    )
    assert "precious" == file.read_text()


def test_a_directory_that_is_not_there_is_one_line(poolctl):
    result = poolctl("node", "diags", "-o", "/nonexistent/diags.tar.gz")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "cannot write /nonexistent/diags.tar.gz: No such file" in result.stderr


def test_what_cannot_be_found_out_is_in_it_as_an_error(diags):
    _, parts = diags("--etcd-endpoints", "127.0.0.1:1", "--timeout", "20")

    assert "cannot be reached" in parts["resources/ippools.yaml"]
    assert "# exit status 3\n" in parts["resources/ippools.yaml"]
    assert "failed: " in parts["versions.yaml"]
    assert json.loads(parts["doctor.json"])["counts"]["problem"]


def test_a_directory_of_networks_that_is_not_readable_is_told(diags, conf_dir):
    conf_dir.rmdir()

    _, parts = diags()

    assert "No such file or directory" in parts["cni/failed.txt"]


def test_by_default_it_is_named_after_host_and_time(
    program, raw, etcd_endpoint, tmp_path, shell
):
    result = shell(f"cd {tmp_path} && poolctl node diags", ETCD_ENDPOINTS=etcd_endpoint)

    (file,) = tmp_path.glob("*.tar.gz")
    assert re.fullmatch(r"poolctl-diags-[\w.-]+-\d{8}T\d{6}Z\.tar\.gz", file.name)
    assert result.stdout.startswith(f"{file.name} written")


def test_nothing_half_written_stays(poolctl, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device", str(tmp_path / "a"))

    monkeypatch.setattr(tarfile, "open", fail)

    result = poolctl("node", "diags", "-o", str(tmp_path / "a"))

    assert REFUSED == result.exit_code
    assert "No space left on device" in result.stderr
    assert not (tmp_path / "a").exists()
