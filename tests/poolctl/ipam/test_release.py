"""`poolctl ipam release`: an address is taken from who holds it now."""

from types import SimpleNamespace

import pytest

from poolctl.config import Session
from poolctl.ipam import release
from poolctl.report import REFUSED, USAGE
from poolmgr.cidr import parse_address
from poolmgr.core.request import AssignIP, OwnerOf, Release, ReleaseIPs, Sticky
from poolmgr.ipam import IPAM
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.poolctl import pool, stored


@pytest.fixture
def run(program, poolctl, etcd_endpoint):
    poolctl("apply", "-f", "-", stdin=pool())
    return lambda *args: program("ipam", "release", *args, ETCD_ENDPOINTS=etcd_endpoint)


@pytest.fixture
def at_terminal(monkeypatch, memory, at_memory):
    """Somebody at a terminal, who answers questions as the first argument does."""
    at_memory("apply", "-f", "-", stdin=pool())
    session = Session(None, None, 30)
    session.store = memory

    def run(answer, address):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
        monkeypatch.setattr("click.confirm", answer)
        return release.release_addresses(session, [parse_address(address)], yes=False)

    return run


def test_an_address_is_released_and_its_owner_told(run, store):
    address = attach(store, "c1")

    result = run("--ip", address, "--yes")

    assert (0, "") == (result.returncode, result.stderr)
    assert (
        f"{address} released, was of handle net-a.c1 (node node-a, network net-a, interface eth0)\n"
    ) == result.stdout
    assert not any(key.startswith("/calico/ipam/v2/handle/") for key in stored(store))
    assert [] == list(Audit(store))


def test_several_are_released_and_those_that_are_not_assigned_are_errors(run, store):
    one, two = attach(store, "c1"), attach(store, "c2")

    result = run("--ip", one, "--ip", "10.10.99.99", "--ip", two, "--ip", "192.0.2.1", "-y")

    assert REFUSED == result.returncode
    assert [f"{one} released", f"{two} released"] == [
        line.partition(",")[0] for line in result.stdout.splitlines()
    ]
    assert [
        "poolctl: error: address 10.10.99.99 is not assigned",
        "poolctl: error: address 192.0.2.1 is not assigned",
    ] == result.stderr.splitlines()


def test_a_sticky_address_ends(run, store):
    sticky = Sticky(namespace="default", identity="web-0", retention_s=None, holder="web-0")
    address = attach(store, "c1", sticky=sticky)

    result = run("--ip", address, "--yes")

    assert f"{address} released, was of handle net-a.sticky.default.web-0 " in result.stdout
    assert "identity default/web-0" in result.stdout
    assert address != attach(store, "c2", sticky=sticky)
    assert [] == list(Audit(store))


def test_in_a_script_it_must_be_confirmed(run, store):
    address = attach(store, "c1")
    before = stored(store)

    result = run("--ip", address)

    assert (USAGE, "") == (result.returncode, result.stdout)
    assert "standard input is no terminal: confirm with --yes; see " in result.stderr
    assert before == stored(store)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing option '--ip'"),
        (["--ip", "10.0.0.300"], "invalid IP address '10.0.0.300'"),
        (["--ip", "10.0.0.1", "--ip", "10.0.0.0/30"], "invalid IP address '10.0.0.0/30'"),
        (["--ip", ""], "invalid IP address ''"),
    ],
)
def test_a_wrong_call_is_refused(at_memory, args, message):
    result = at_memory("ipam", "release", "--yes", *args)

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


@pytest.mark.parametrize(("yes", "status"), [(True, 0), (False, REFUSED)])
def test_at_a_terminal_the_owner_is_shown_and_no_means_no(memory, at_terminal, yes, status):
    address = attach(memory, "c1")
    before, asked = stored(memory), []

    def answer(text):
        asked.append(text)
        return yes

    code = at_terminal(answer, address)

    assert status == code
    assert [
        f"Release {address}, of handle net-a.c1 (node node-a, network net-a, interface eth0)?"
    ] == asked
    assert yes != (before == stored(memory))


def test_who_takes_the_address_meanwhile_keeps_it(memory, at_terminal, capsys):
    address = parse_address(attach(memory, "c1"))
    ipam = IPAM(memory)

    def dawdle(_):
        ipam.release_ips(ReleaseIPs(releases=(Release(address=address),)))
        ipam.assign_ip(AssignIP(addresses=(address,), host="node-a", handle="net-a.c2"))
        return True

    code = at_terminal(dawdle, str(address))

    assert REFUSED == code
    assert "look and try again" in capsys.readouterr().err
    assert "net-a.c2" == ipam.owner_of(OwnerOf(address=address)).handle


def test_who_released_it_meanwhile_is_told(memory, at_terminal, capsys):
    address = parse_address(attach(memory, "c1"))

    def dawdle(_):
        IPAM(memory).release_ips(ReleaseIPs(releases=(Release(address=address),)))
        return True

    code = at_terminal(dawdle, str(address))

    assert REFUSED == code
    assert f"poolctl: error: address {address} " in capsys.readouterr().err
