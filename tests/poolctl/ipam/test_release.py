"""`poolctl ipam release`: an address is taken from who holds it now."""

from types import SimpleNamespace

import pytest

from poolctl.config import Session
from poolctl.ipam import release
from poolctl.report import INTERRUPTED, REFUSED, UNKNOWN, USAGE
from poolmgr.cidr import parse_address
from poolmgr.core.records import decode_session, session_key
from poolmgr.core.request import (
    AssignIP,
    Attachment,
    AutoAssign,
    OwnerOf,
    Release,
    ReleaseIPs,
    Sticky,
)
from poolmgr.errors import CommitUnknownError
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.hooked import HookedStore, interrupt
from tests.support.poolctl import on, pool, stored
from tests.support.tenants import settle


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
        monkeypatch.setattr("click.confirm", lambda text, *, err: err and answer(text))
        return release.release_addresses(session, [parse_address(address)], yes=False)

    return run


def test_an_address_is_released_and_its_owner_told(run, store):
    address = attach(store, "c1")

    result = run("--ip", address, "--yes")

    assert (0, "") == (result.returncode, result.stderr)
    assert (
        f"{address} released, was of handle net-a.c1 (network net-a, interface eth0, node node-a)\n"
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
        ([], "give one of --ip, --handle and --from-report"),
        (["--ip", "10.0.0.1", "--handle", "h"], "give one of --ip, --handle and --from-report"),
        (["--handle", "h", "--from-report", "r"], "give one of --ip, --handle and"),
        (["--ip", "10.0.0.1", "--force"], "--force goes with --from-report"),
        (["--ip", "10.0.0.300"], "invalid IP address '10.0.0.300'"),
        (["--ip", "10.0.0.1", "--ip", "10.0.0.0/30"], "invalid IP address '10.0.0.0/30'"),
        (["--ip", ""], "invalid IP address ''"),
    ],
)
def test_a_wrong_call_is_refused(at_memory, args, message):
    result = at_memory("ipam", "release", "--yes", *args)

    assert (USAGE, "") == (result.exit_code, result.stdout)
    assert message in result.stderr


PLACE = "network net-a, interface eth0, node node-a"


def test_what_a_handle_holds_is_released_and_counted(run, store):
    address, kept = attach(store, "c1"), attach(store, "c2")

    result = run("--handle", "net-a.c1", "--handle", "nobodys", "--handle", "net-a.c1", "-y")

    assert REFUSED == result.returncode
    assert (
        f"handle net-a.c1: of 1 address ({address}): 1 released, 0 not assigned any more, "
        "0 refused, as they belong to somebody else by now\n"
    ) == result.stdout
    assert "poolctl: error: handle nobodys holds no address\n" == result.stderr
    assert kept == str(IPAM(store).owner_of(OwnerOf(address=parse_address(kept))).address)
    assert [] == list(Audit(store))


def test_a_handle_with_hundreds_of_addresses_is_released_in_parts(run, store):
    request = AutoAssign(host="node-a", handle="many", count={4: 600})
    assert 600 == len(IPAM(store).auto_assign(request).allocations)

    result = run("--handle", "many", "--yes")

    assert (0, "") == (result.returncode, result.stderr)
    assert "handle many: of 600 addresses (" in result.stdout
    assert " and 595 more): 600 released, 0 not assigned" in result.stdout
    assert [] == list(Audit(store))


def test_a_dry_run_tells_and_releases_nothing(run, store):
    address = attach(store, "c1")
    before = stored(store)

    by_address = run("--ip", address, "--dry-run")
    by_handle = run("--handle", "net-a.c1", "--dry-run")

    assert (0, f"{address} would be released, of handle net-a.c1 ({PLACE})\n") == (
        by_address.returncode,
        by_address.stdout,
    )
    assert (0, f"{address} would be released, of handle net-a.c1\n") == (
        by_handle.returncode,
        by_handle.stdout,
    )
    assert before == stored(store)


def test_a_handle_in_a_script_must_be_confirmed(run, store):
    attach(store, "c1")
    before = stored(store)

    result = run("--handle", "net-a.c1")

    assert (USAGE, "") == (result.returncode, result.stdout)
    assert before == stored(store)


@pytest.mark.parametrize(("yes", "status"), [(True, 0), (False, REFUSED)])
def test_at_a_terminal_the_addresses_of_a_handle_are_shown(
    memory, at_terminal, monkeypatch, yes, status
):
    address, asked = attach(memory, "c1"), []
    at_terminal(lambda _: False, address)

    def answer(text, **_):
        asked.append(text)
        return yes

    monkeypatch.setattr("click.confirm", answer)
    session = Session(None, None, 30)
    session.store = memory

    code = release.release_handles(session, ["net-a.c1"], yes=False)

    assert status == code
    assert [f"Release 1 address ({address}), of handle net-a.c1?"] == asked


class Silent(MemoryStore):
    """Says nothing of any commit once it is told to be silent."""

    silent = False

    def commit(self, txn, *, timeout_s=2.0):
        if self.silent:
            raise CommitUnknownError("no answer")
        return super().commit(txn, timeout_s=timeout_s)


def test_addresses_of_an_unknown_outcome_are_counted_as_such(capsys):
    store = Silent()
    on(store)("apply", "-f", "-", stdin=pool())
    attach(store, "c1")
    store.silent = True
    session = Session(None, None, 0.3)
    session.store = store

    with pytest.raises(CommitUnknownError):
        release.release_handles(session, ["net-a.c1"], yes=True)

    assert "by now; of 1 it is unknown\n" in capsys.readouterr().out


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
        f"Release {address}, of handle net-a.c1 (network net-a, interface eth0, node node-a)?"
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


def test_an_add_that_is_still_under_way_gets_nothing_after_the_release(run, store):
    address = attach(store, "c1")
    before = stored(store).get(session_key("node-a"))

    result = run("--ip", address, "--yes")

    fence = decode_session("", stored(store)[session_key("node-a")])
    digest = Attachment(network="net-a", container="c1", interface="eth0").digest
    assert (0, None) == (result.returncode, before)
    assert (f"{digest}@1",) == fence.deleted


def test_an_add_for_a_handle_that_was_released_gets_nothing_either(run, store):
    attach(store, "c1")

    run("--handle", "net-a.c1", "--yes")

    assert 1 == decode_session("", stored(store)[session_key("node-a")]).n


@pytest.mark.parametrize("what", ["--ip", "--handle"])
def test_an_address_that_is_anothers_after_a_lost_answer_is_not_called_refused(what):
    store = HookedStore()
    address = settle(store)[0]

    def lose():
        assert address in [attach(store, f"z{number}") for number in range(3)]
        raise CommitUnknownError("answer lost")

    store.after = lose
    named = {"--ip": address, "--handle": "net-a.a1"}[what]

    result = on(store)("ipam", "release", what, named, "--yes")

    assert UNKNOWN == result.exit_code
    assert f"error: address {address} may have been released by this call" in result.stderr
    assert "it is kept" not in result.stderr
    if what == "--handle":
        assert result.stdout.endswith(
            "0 refused, as they belong to somebody else by now; of 1 it is unknown\n"
        )


def test_addresses_of_an_interrupted_release_are_of_unknown_outcome():
    store = HookedStore()
    settle(store)
    store.after = interrupt

    result = on(store)("ipam", "release", "--handle", "net-a.a1", "--yes")

    assert INTERRUPTED == result.exit_code
    assert "0 released" in result.stdout
    assert result.stdout.endswith("; of 1 it is unknown\n")
