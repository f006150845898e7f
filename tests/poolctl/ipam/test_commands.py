"""The arguments of `poolctl ipam`."""

import pytest

from poolctl.report import USAGE


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ipam"], "Missing command; see 'poolctl ipam --help'"),
        (["ipam", "show", "--ip", "10.240.0.300"], "invalid IP address '10.240.0.300'"),
        (["ipam", "show", "--ip", "fe80::1%eth0"], "invalid IP address 'fe80::1%eth0'"),
        (["ipam", "show", "--ip", "10.0.0.1", "--show-blocks"], "either --ip or --show-blocks"),
    ],
)
def test_a_wrong_call_is_refused(at_memory, args, message):
    result = at_memory(*args)

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


def test_without_pools_the_table_is_its_header(at_memory):
    result = at_memory("ipam", "show", "--show-blocks")

    assert result.exit_code == 0
    assert "IPS RESERVED" in result.stdout
