"""The arguments of `poolctl migrate`."""

import os

import pytest

from poolctl.report import REFUSED, USAGE
from tests.support.poolctl import pool, stored


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ([], USAGE, "Missing command"),
        (["host-local"], USAGE, "Missing option '--network'"),
        (["host-local", "--network", "a b"], USAGE, "'a b' is not a network name"),
        (["host-local", "--network", "../a"], USAGE, "'../a' is not a network name"),
        (["host-local", "--network", "a="], USAGE, "'' is not a network name"),
        (["host-local", "--network", "=a"], USAGE, "'' is not a network name"),
        (["host-local", "--network", "a", "--network", "a=b"], USAGE, "a is given twice"),
        (["host-local", "--network", "a", "--nodename", "x/y"], REFUSED, "is not a node name"),
        (["host-local", "--network", "a", "--nodename-file", "/missing"], REFUSED, "/missing"),
    ],
)
def test_a_wrong_call_is_refused(at_memory, memory, args, status, message):
    result = at_memory("migrate", *args)

    assert (status, "") == (result.exit_code, result.stdout)
    assert message in result.stderr
    assert {} == stored(memory)


def test_the_node_is_the_one_that_the_plugin_uses(at_memory, tmp_path):
    at_memory("apply", "-f", "-", stdin=pool())
    (tmp_path / "net-a").mkdir()
    (tmp_path / "name").write_text("from-file")
    args = ("migrate", "host-local", "--data-dir", str(tmp_path), "--network", "net-a")

    from_file = at_memory(*args, "--nodename-file", str(tmp_path / "name"))
    from_host = at_memory(*args)

    assert "0 leases on from-file: none\n" == from_file.stdout
    if not os.path.exists("/var/lib/calico/nodename"):
        assert f"0 leases on {os.uname().nodename.lower()}: none\n" == from_host.stdout
