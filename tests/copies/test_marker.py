import pytest

from poolmgr.copies.marker import Marker, decode_marker
from poolmgr.errors import CorruptStateError


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_marker_survives_being_stored(overtaken):
    marker = Marker(copy="c", replaces=True, after="/calico/x", overtaken=overtaken)

    assert marker == decode_marker(marker.encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"[]",
        b'{"copy":1,"replaces":true,"after":""}',
        b'{"copy":"","replaces":true,"after":"","overtaken":1}',
    ],
)
def test_garbage_is_no_marker(raw):
    with pytest.raises(CorruptStateError):
        decode_marker(raw)
