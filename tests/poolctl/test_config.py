"""Which etcd a run uses, and how long it may take."""

import os
import time

import pytest

from poolctl.config import Session
from poolctl.report import REFUSED
from poolmgr.errors import InvalidRequestError
from tests.support.poolctl import pool


@pytest.fixture
def no_etcd_named(monkeypatch):
    for name in ("ETCD_ENDPOINTS", "CALICO_ETCD_ENDPOINTS", "DATASTORE_TYPE"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_names_the_etcd(poolctl, no_etcd_named, etcd_endpoint, tmp_path, monkeypatch):
    file = tmp_path / "poolmgr.cfg"
    file.write_text(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata: {}\n"
        f"spec: {{datastoreType: etcdv3, etcdEndpoints: 'http://{etcd_endpoint}'}}\n"
    )
    session = Session(file, None, 5)
    session.store.close()
    poolctl("apply", "-f", "-", stdin=pool())

    assert (
        poolctl("--config", str(file), "get", "ippool", "-o", "name").stdout
        == "ippool/pool-a\n"
    )


def test_a_kubernetes_datastore_is_refused(no_etcd_named, tmp_path):
    file = tmp_path / "poolmgr.cfg"
    file.write_text(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n"
        "spec: {datastoreType: kubernetes, etcdEndpoints: 'http://127.0.0.1:1'}\n"
    )

    with pytest.raises(InvalidRequestError, match="only etcdv3 is supported"):
        _ = Session(file, None, 5).store


def test_the_option_beats_the_environment(poolctl, etcd_endpoint):
    result = poolctl("--etcd-endpoints", "http://127.0.0.1:1", "get", "nodes")

    assert result.exit_code == 3
    assert "127.0.0.1:1 " in result.stderr
    assert "endpoints in use: http://127.0.0.1:1, from --etcd-endpoints; " in result.stderr


def test_time_runs_out():
    session = Session(None, None, 0.02)

    before = session.left_s
    time.sleep(0.03)

    assert 0.02 >= before > session.left_s == 0


@pytest.mark.parametrize("variable", ["ETCD_ENDPOINTS", "CALICO_ETCD_ENDPOINTS"])
def test_a_file_that_the_environment_beats_is_not_ignored_silently(program, variable):
    result = program("-c", "unread.cfg", "get", "nodes", **{variable: "127.0.0.1:1"})

    warning, error = result.stderr.splitlines()
    assert f"--config unread.cfg is ignored: {variable} in the environment names" in warning
    assert f"endpoints in use: http://127.0.0.1:1, from {variable} in the environment" in error


def test_endpoints_that_do_not_answer_are_named_with_their_file(program, tmp_path):
    file = tmp_path / "poolmgr.cfg"
    file.write_text(
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n"
        "spec: {etcdEndpoints: 'http://127.0.0.1:1,http://127.0.0.1:2'}\n"
    )

    result = program("-c", str(file), "get", "nodes")

    assert result.returncode == 3
    assert f"http://127.0.0.1:1, http://127.0.0.1:2, from file {file}; " in result.stderr
    assert "warning" not in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 9000, "is nested too deeply"),
        ("&a [*a]", "is not an object"),
        (None, "it is not a regular file"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(program, tmp_path, content, message):
    file = tmp_path / "poolmgr.cfg"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_text(content)

    result = program("-c", str(file), "get", "nodes")

    assert (REFUSED, 1) == (result.returncode, result.stderr.count("\n"))
    assert str(file) in result.stderr
    assert message in result.stderr


def test_a_network_configuration_names_the_etcd_of_its_plugin(no_etcd_named, capsys):
    session = Session(None, "http://127.0.0.1:1", 5)

    other = session.following({"etcd_endpoints": "http://127.0.0.1:2", "etcd_key_file": ""})
    _ = other.store, session.store

    assert "http://127.0.0.1:2, from network configuration" == other.etcd
    assert "http://127.0.0.1:1, from --etcd-endpoints" == session.etcd
    assert 1 == capsys.readouterr().err.count("--etcd-endpoints is ignored: the network")
    session.close()


def test_a_network_configuration_that_names_no_etcd_changes_nothing():
    session = Session(None, None, 5)

    assert session is session.following({"etcd_endpoints": ""})


def test_a_run_has_the_time_that_is_given():
    session = Session(None, None, 5)

    assert 4 < session.scan_s <= session.left_s + 1 <= 6
    assert not session.is_endless


def test_a_run_without_a_given_time_has_some_for_each_step_and_more_to_read_everything():
    session = Session(None, None, None)

    assert (30, 3600, True) == (session.left_s, session.scan_s, session.is_endless)
