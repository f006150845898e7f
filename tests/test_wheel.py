import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIM = ROOT / "cni_shim" / "poolmgr_ipam.py"


def run(*argv):
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory)
    (path,) = directory.iterdir()
    return path


@pytest.fixture(scope="module")
def prefix(wheel, tmp_path_factory):
    """An environment into which an installer has put the wheel, without its dependencies."""
    directory = tmp_path_factory.mktemp("prefix")
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    quiet = ("--quiet", "--disable-pip-version-check", "--python", directory / "bin" / "python")
    run(sys.executable, "-m", "pip", *quiet, "install", "--no-deps", "--no-index", wheel)
    return directory


def test_the_top_level_is_the_two_packages_the_shim_and_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    version = wheel.name.split("-")[1]
    assert {
        "poolmgr",
        "poolctl",
        f"poolmgr-{version}.data",
        f"poolmgr-{version}.dist-info",
    } == {name.split("/")[0] for name in names}
    assert [f"poolmgr-{version}.data/data/libexec/poolmgr/poolmgr-ipam"] == [
        name for name in names if ".data/" in name
    ]


def test_every_module_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith((".py", "py.typed"))}

    sources = {
        str(path.relative_to(top))
        for top, package in ((ROOT, "poolmgr"), (ROOT / "cli", "poolctl"))
        for path in (top / package).rglob("*")
        if path.name.endswith((".py", "py.typed"))
    }
    assert sources == packed


def test_the_shim_is_installed_byte_by_byte_and_executable(prefix):
    installed = prefix / "libexec" / "poolmgr" / "poolmgr-ipam"

    assert SHIM.read_bytes() == installed.read_bytes()
    assert installed.read_bytes().startswith(b"#!/usr/bin/python3 -IS\n")
    assert stat.S_IMODE(installed.stat().st_mode) & 0o555 == 0o555


def test_poolctl_is_installed_as_a_command(prefix):
    assert Path(prefix, "bin", "poolctl").is_file()
