"""`poolctl node drain`: empty blocks go, addresses in use stay."""

from types import SimpleNamespace

import pytest

from poolctl.report import INTERRUPTED, REFUSED, UNAVAILABLE, USAGE
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.records import affinity_key
from poolmgr.core.request import Release, ReleaseIPs
from poolmgr.errors import StoreUnavailableError
from poolmgr.ipam import IPAM
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.hooked import HookedStore, interrupt
from tests.support.poolctl import on, stored
from tests.support.tenants import settle


@pytest.fixture
def addresses(store):
    return settle(store)


@pytest.fixture
def empty(addresses, store):
    """Release what lies in node-a's block; what it borrows stays."""
    empty_block(store, addresses)


def empty_block(store, addresses):
    releases = tuple(Release(address=parse_address(each)) for each in addresses[:-1])
    IPAM(store).release_ips(ReleaseIPs(releases=releases))


def test_an_empty_block_can_be_claimed_by_others(empty, poolctl, store):
    result = poolctl("node", "drain", "node-a", "--yes")

    assert (0, "10.10.0.4/30 given up\n") == (result.exit_code, result.stdout)
    assert "nothing of node/node-a is in use" in result.stderr
    assert not any("host/node-a/" in key or "10.10.0.4-30" in key for key in stored(store))
    assert [] == list(Audit(store))


def test_a_block_with_addresses_stays_and_they_are_told(addresses, poolctl, store):
    before = stored(store)

    result = poolctl("node", "drain", "node-b", "--yes")

    assert REFUSED == result.exit_code
    assert [
        "10.10.0.0/30 kept: 2 addresses in use",
        "  10.10.0.0 of handle net-a.b1 (network net-a, interface eth0, node node-b)",
        "  10.10.0.1 of handle net-a.a5 (network net-a, interface eth0, node node-a)",
    ] == result.stdout.splitlines()
    assert "error: node/node-b keeps 1 block with 2 addresses in use" in result.stderr
    assert before == stored(store)


def test_a_dry_run_writes_nothing(empty, poolctl, store):
    before = stored(store)

    result = poolctl("node", "drain", "node-a", "--dry-run")

    assert (0, "10.10.0.4/30 would be given up\n") == (result.exit_code, result.stdout)
    assert before == stored(store)


def test_in_a_script_it_must_be_confirmed(empty, poolctl, store):
    before = stored(store)

    result = poolctl("node", "drain", "node-a")

    assert USAGE == result.exit_code
    assert before == stored(store)


def test_at_a_terminal_no_means_no(empty, poolctl, store, monkeypatch):
    monkeypatch.setattr("poolctl.terminal.sys", SimpleNamespace(stdin=_Terminal(), stderr=None))
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    before = stored(store)

    result = poolctl("node", "drain", "node-a")

    assert (REFUSED, "node/node-a keeps its blocks\n") == (result.exit_code, result.stdout)
    assert before == stored(store)


class _Terminal:
    def isatty(self):
        return True


def test_a_node_without_blocks_is_fine_and_an_unknown_one_is_refused(poolctl, raw):
    raw.put("/calico/resources/v3/projectcalico.org/nodes/node-c", "{}")

    fine, unknown = poolctl("node", "drain", "node-c"), poolctl("node", "drain", "node-cc")

    assert (0, "") == (fine.exit_code, fine.stdout)
    assert (REFUSED, "") == (unknown.exit_code, unknown.stdout)
    assert "did you mean node-c?" in unknown.stderr


def test_a_block_that_nobody_can_give_up_is_an_error(empty, poolctl, raw):
    raw.delete(affinity_key("node-a", parse_network("10.10.0.4/30")))

    result = poolctl("node", "drain", "node-a", "--yes")

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "10.10.0.4/30 could not be given up; poolctl ipam check tells" in result.stderr


def test_a_block_that_gets_an_address_meanwhile_is_kept_and_not_given_up():
    store = HookedStore()
    empty_block(store, settle(store))
    store.before = lambda: attach(store, "new")

    result = on(store)("node", "drain", "node-a", "--yes")

    assert REFUSED == result.exit_code
    assert [
        "10.10.0.4/30 kept: 1 address in use",
        "  10.10.0.4 of handle net-a.new (network net-a, interface eth0, node node-a)",
    ] == result.stdout.splitlines()


class _Deaf(HookedStore):
    """A store that does not answer reads after its next write."""

    is_deaf = False

    def read(self, fetch, **options):
        if self.is_deaf:
            raise StoreUnavailableError("no answer")
        return super().read(fetch, **options)

    def go_deaf(self):
        self.is_deaf = True


@pytest.mark.parametrize(("is_deaf", "status"), [(True, UNAVAILABLE), (False, INTERRUPTED)])
def test_a_drain_that_is_cut_off_says_that_something_may_be_done(is_deaf, status):
    store = _Deaf()
    empty_block(store, settle(store))
    store.after = store.go_deaf if is_deaf else interrupt

    result = on(store, timeout_s=2)("node", "drain", "node-a", "--yes")

    assert (status, "") == (result.exit_code, result.stdout)
    assert (
        "poolctl: warning: empty blocks of node/node-a may be given up already; what was done "
        "stays done, and running the command again does the rest\n"
    ) in result.stderr
