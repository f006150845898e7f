import json
import os
import stat
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from poolctl.node import install as module
from poolctl.node.install import install, uninstall
from poolmgr.cni.result import version_text
from poolmgr.errors import InvalidRequestError

ROOT = Path(__file__).resolve().parents[3]
SYSTEM_PYTHON = Path("/usr/bin/python3")
SHIM_PYTHON = SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else Path(sys.executable).resolve()


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """An interpreter that finds poolmgr by itself, as that of an installation does."""
    directory = tmp_path_factory.mktemp("v")
    venv.create(directory, with_pip=False, symlinks=True)
    (site,) = directory.glob("lib/python*/site-packages")
    paths = [ROOT, ROOT / "cli", sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (site / "poolmgr.pth").write_text("".join(f"{path}\n" for path in paths))
    return str(directory / "bin" / "python")


def first_line(path):
    return path.read_text().partition("\n")[0]


def test_both_files_are_written_and_run(tmp_path, python):
    written = install(tmp_path, python)

    assert written == [tmp_path / "poolmgr-ipam.direct", tmp_path / "poolmgr-ipam"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o755}
    for path in written:
        done = subprocess.run(
            [path], env={"CNI_COMMAND": "VERSION"}, capture_output=True, text=True, check=True
        )
        assert done.stdout == version_text() + "\n"


def test_the_shim_leads_to_the_direct_entry(tmp_path, python):
    install(tmp_path, python)
    done = subprocess.run(
        [tmp_path / "poolmgr-ipam"],
        env={"CNI_COMMAND": "ADD", "CNI_PATH": str(tmp_path)},
        input=b"",
        capture_output=True,
        check=False,
    )

    error = json.loads(done.stdout)
    assert (done.returncode, error["code"]) == (1, 4)
    assert error["msg"].startswith("CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME must be set")


def test_the_shim_runs_on_the_systems_python(tmp_path, python):
    direct, shim = install(tmp_path, python)

    assert direct.read_text() == (
        f"#!{python} -I\nfrom poolmgr.cni.direct import main; main()\n"
    )
    assert first_line(shim) == f"#!{SHIM_PYTHON} -IS"
    original = (ROOT / "cni_shim" / "poolmgr_ipam.py").read_text()
    assert shim.read_text().partition("\n")[2] == original.partition("\n")[2]


def test_without_one_the_shim_runs_on_the_base_of_ours(tmp_path, python, monkeypatch):
    monkeypatch.setattr(module, "_SYSTEM_PYTHON", "/absent/python3")
    _, shim = install(tmp_path, python)

    assert first_line(shim) == f"#!{os.path.realpath(python)} -IS"


def test_an_older_installation_is_replaced(tmp_path, python):
    (tmp_path / "poolmgr-ipam").write_text("old")
    running = (tmp_path / "poolmgr-ipam").open()
    install(tmp_path, python)

    with running:
        assert running.read() == "old", "what runs is not written to"
    assert first_line(tmp_path / "poolmgr-ipam") == f"#!{SHIM_PYTHON} -IS"


def test_uninstall_removes_what_install_wrote_and_nothing_else(tmp_path, python):
    (tmp_path / "bridge").write_text("another plugin")
    written = install(tmp_path, python)

    assert sorted(uninstall(tmp_path)) == sorted(written)
    assert uninstall(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["bridge"]


def test_a_file_that_cannot_be_removed_is_named(tmp_path):
    (tmp_path / "poolmgr-ipam").mkdir()

    with pytest.raises(
        InvalidRequestError, match=rf"^{tmp_path}/poolmgr-ipam cannot be removed"
    ):
        uninstall(tmp_path)


def test_a_directory_that_is_not_there_is_refused(tmp_path, python):
    with pytest.raises(
        InvalidRequestError, match=r"cannot be written: No such file or directory"
    ):
        install(tmp_path / "absent", python)


def test_a_failed_installation_leaves_no_half_written_file(tmp_path, python):
    (tmp_path / "poolmgr-ipam.direct").mkdir()
    with pytest.raises(InvalidRequestError, match="cannot be written: Is a directory"):
        install(tmp_path, python)

    assert [path.name for path in tmp_path.iterdir()] == ["poolmgr-ipam.direct"]


def test_an_interpreter_without_poolmgr_is_refused(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python, target = str(tmp_path / "bare" / "bin" / "python"), tmp_path / "bin"
    target.mkdir()

    with pytest.raises(InvalidRequestError, match=f"^{python} -I cannot import poolmgr"):
        install(target, python)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("python", ["python3", "./python", "/a b/python", "/a\nb/python"])
def test_an_interpreter_that_no_first_line_can_name_is_refused(python, tmp_path):
    with pytest.raises(
        InvalidRequestError, match="must be an absolute path without white space"
    ):
        install(tmp_path, python)


def test_an_interpreter_that_is_too_long_for_a_first_line_is_refused(tmp_path):
    longest = "/" + "x" * (127 - len("#!/ -I"))
    with pytest.raises(InvalidRequestError, match="cannot import poolmgr"):
        install(tmp_path, longest)

    with pytest.raises(InvalidRequestError, match=r"is too long for a script's first line"):
        install(tmp_path, longest + "x")


def test_no_interpreter_for_the_shim_is_refused(tmp_path, python, monkeypatch):
    monkeypatch.setattr(module, "_SHIM_PROBE", "raise SystemExit(1)")

    with pytest.raises(
        InvalidRequestError, match=r"^no Python 3.8 or later .* tried /usr/bin/python3"
    ):
        install(tmp_path, python)
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_that_hangs_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "_DIRECT_PROBE", "import time; time.sleep(60)")

    with pytest.raises(InvalidRequestError, match="cannot import poolmgr"):
        install(tmp_path, sys.executable)


def test_the_shim_of_an_installed_wheel_is_found(tmp_path, python, monkeypatch):
    wheel_data = tmp_path / "prefix" / "libexec" / "poolmgr"
    wheel_data.mkdir(parents=True)
    (wheel_data / "poolmgr-ipam").write_text("#!/shipped\nshipped\n")
    monkeypatch.setattr(module, "__file__", "/site-packages/poolctl/install.py")
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path / "prefix"))
    target = tmp_path / "bin"
    target.mkdir()
    _, shim = install(target, python)

    assert shim.read_text() == f"#!{SHIM_PYTHON} -IS\nshipped\n"


def test_an_installation_without_the_shim_is_refused(tmp_path, python, monkeypatch):
    monkeypatch.setattr(module, "__file__", "/site-packages/poolctl/install.py")
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))

    with pytest.raises(InvalidRequestError, match=f"looked at {tmp_path}/libexec/poolmgr"):
        install(tmp_path, python)
