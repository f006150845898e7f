"""Leases of the host-local plugin."""

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni.hostlocal import Lease, is_lease, lease
from poolmgr.errors import InvalidRequestError


@pytest.mark.parametrize("raw", [b"c1\r\neth0", b"c1\neth0\n", b" c1 \r\n eth0 "])
@pytest.mark.parametrize("address", ["10.0.0.5", "fd00::5"])
def test_a_lease_is_read(address, raw):
    assert Lease(address=parse_address(address), container="c1", interface="eth0") == lease(
        address, raw
    )


def test_old_leases_do_not_say_the_interface():
    assert "" == lease("10.0.0.5", b"c1").interface


def test_files_of_the_plugin_itself_are_no_leases():
    files = ["lock", "last_reserved_ip.0", "10.0.0.5", "fd00::5", "notes"]

    assert ["10.0.0.5", "fd00::5", "notes"] == [file for file in files if is_lease(file)]


@pytest.mark.parametrize(
    ("file", "raw", "message"),
    [
        ("notes", b"c1", "its file is not named after an address"),
        ("10.0.0.5~", b"c1", "its file is not named after an address"),
        ("10.0.0.5", b"", "'' is not a container id"),
        ("10.0.0.5", b"\xff", "its file is not text"),
        ("10.0.0.5", b"a/b\neth0", "'a/b' is not a container id"),
        ("10.0.0.5", b"c1\neth0\nmore", r"'eth0\\nmore' is not an interface name"),
        ("10.0.0.5", b"c1\nmuch-too-long-for-one", "is not an interface name"),
    ],
)
def test_what_is_no_lease_is_refused(file, raw, message):
    with pytest.raises(InvalidRequestError, match=message):
        lease(file, raw)
