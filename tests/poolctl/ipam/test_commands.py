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
        (
            ["ipam", "show", "--show-configuration", "--show-borrowed"],
            "either --show-borrowed or --show-configuration",
        ),
        (["ipam", "show", "--ip", "10.0.0.1", "pool-a"], "--ip takes no pool"),
        (["ipam", "show", "--show-configuration", "p"], "--show-configuration takes no pool"),
        (["ipam", "show", "10.0.0.1/24"], "'10.0.0.1/24' is not a network such as"),
        (["ipam", "show", "-o", "wide"], "'wide' is not one of 'table', 'json', 'yaml'"),
        (["ipam", "configure"], "name at least one option"),
        (["ipam", "configure", "--strictaffinity", "maybe"], "'maybe' is neither true nor"),
        (["ipam", "configure", "--strictaffinity", "tRUE"], "'tRUE' is neither true nor false"),
        (["ipam", "configure", "--max-blocks-per-host", "x"], "'x' is not a valid integer"),
        (["ipam", "configure", "--max-blocks-per-host", str(2**31)], "is not in the range"),
        (["ipam", "configure", "--ip-cooldown-seconds", "-5"], "-5 is not in the range 0<=x"),
        (["ipam", "configure", "--kubevirt-ip-persistence", "Perhaps"], "'Perhaps' is not one"),
        (["ipam", "split", "2"], "give either --cidr or --name"),
        (
            ["ipam", "split", "2", "--name", "a", "--cidr", "10.0.0.0/8"],
            "give either --cidr or",
        ),
        (
            ["ipam", "split", "2", "--cidr", "10.0.0.1/8"],
            "'10.0.0.1/8' is not a network such as",
        ),
        (["ipam", "split", "x", "--name", "a"], "'x' is not a valid integer"),
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
