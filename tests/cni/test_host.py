import os

import pytest

from poolmgr.cni.host import node_name
from poolmgr.cni.result import CallError


@pytest.fixture
def default_file(tmp_path):
    return tmp_path / "nodename"


def test_the_name_in_the_configuration_comes_first(default_file):
    default_file.write_text("from-file")
    naming = {"nodename": "from-conf", "nodename_file": str(default_file), "hostname": "host"}

    assert node_name(naming, default_file=default_file) == "from-conf"


def test_the_file_named_comes_before_the_default_file(default_file, tmp_path):
    default_file.write_text("default")
    named = tmp_path / "other"
    named.write_text("Named Node")

    assert node_name({"nodename_file": str(named)}, default_file=default_file) == "Named Node"


def test_the_default_file_comes_before_the_hostname(default_file):
    default_file.write_text("from-file")

    assert node_name({"hostname": "host"}, default_file=default_file) == "from-file"


def test_without_a_file_the_hostname_counts(default_file):
    assert node_name({"hostname": "Host"}, default_file=default_file) == "Host"


def test_at_last_the_hosts_own_name_counts_in_lower_case(default_file, monkeypatch):
    own = os.uname()
    named = os.uname_result(
        (own.sysname, "Node-A.Example", own.release, own.version, own.machine)
    )
    monkeypatch.setattr(os, "uname", lambda: named)

    assert node_name({}, default_file=default_file) == "node-a.example"


@pytest.mark.parametrize("name", ["a/b", "a\n", "a\0", "a" * 254, "\udcff"])
def test_a_name_that_is_no_name_is_refused(name, default_file):
    with pytest.raises(CallError, match=r"^nodename: .* is not a node name") as caught:
        node_name({"nodename": name}, default_file=default_file)

    assert caught.value.code == 7


@pytest.mark.parametrize("content", [b"", b"node-a\n", b"a/b"])
def test_a_file_is_taken_as_it_stands(content, default_file):
    default_file.write_bytes(content)

    with pytest.raises(
        CallError, match=rf"^node name file {default_file}: .* is not a node name"
    ):
        node_name({}, default_file=default_file)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"\xff", "'utf-8' codec can't decode byte 0xff")],
)
def test_a_file_that_is_not_readable_is_named(content, why, tmp_path):
    named = tmp_path / "other"
    if content is not None:
        named.write_bytes(content)

    with pytest.raises(
        CallError, match=rf"{named} is not readable: {why}.*write the node's name"
    ):
        node_name({"nodename_file": str(named)})


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    for path in (fifo, tmp_path, "/dev/zero"):
        with pytest.raises(CallError, match=f"{path} is not readable: it is not a regular"):
            node_name({"nodename_file": str(path)})
