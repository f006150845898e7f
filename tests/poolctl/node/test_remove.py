"""`poolctl node remove`: what a dead node held is free again, whatever happens on the way."""

from itertools import count

import pytest

from poolctl.report import INTERRUPTED, REFUSED, UNKNOWN, USAGE
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.records import affinity_key, block_key, session_key
from poolmgr.core.request import AssignIP, OwnerOf, Sticky
from poolmgr.errors import CommitUnknownError, PoolmgrError
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.failing import FailingStore
from tests.support.hooked import HookedStore
from tests.support.kube_api import KubeApi
from tests.support.poolctl import on, pool, stored
from tests.support.tenants import NODE_A, settle

STICKY = Sticky(namespace="default", identity="web-0", retention_s=None, holder="web-0")


@pytest.fixture
def addresses(store):
    return settle(store)


def of_node(store, name: str) -> list[str]:
    """Keys that tell of a node, and values that name it; its fence stays."""
    return [
        key
        for key, value in stored(store).items()
        if key != session_key(name) and (name in key or f'"{name}"'.encode() in value)
    ]


def test_everything_that_a_node_held_is_released(addresses, poolctl, store):
    result = poolctl("node", "remove", "node-a", "--yes")

    assert (0, "") == (result.exit_code, result.stderr)
    first, *released, last = result.stdout.splitlines()
    assert ("node/node-a: 1 block given up", "node/node-a deleted") == (first, last)
    assert sorted(addresses) == [line.split()[0] for line in released]
    assert released[0].endswith(
        " released, was of handle net-a.a5 (network net-a, interface eth0, node node-a)"
    )
    assert [] == of_node(store, "node-a")
    assert [] == list(Audit(store))


def test_what_others_use_of_its_blocks_stays_theirs(addresses, poolctl, store):
    result = poolctl("node", "remove", "node-b", "--yes")

    assert 0 == result.exit_code
    borrowed = parse_address(addresses[-1])
    assert "net-a.a5" == IPAM(store).owner_of(OwnerOf(address=borrowed)).handle
    assert [] == list(Audit(store))


def test_a_sticky_address_is_kept_for_its_owner(addresses, poolctl, store):
    address = attach(store, "s", node="node-b", sticky=STICKY)

    result = poolctl("node", "remove", "node-b", "--yes")

    assert f"{address} kept for default/web-0\n" in result.stdout
    assert address == attach(store, "t", sticky=STICKY)
    assert [] == list(Audit(store))


def test_addresses_that_no_network_is_noted_of_are_released(addresses, poolctl, store):
    """Calico's own: tunnels, and pods of calico-ipam."""
    address = parse_address("10.10.0.2")
    tunnel = {"node": "node-a", "type": "ipipTunnelAddress"}
    request = AssignIP(addresses=(address,), host="node-a", handle="tunnel", attributes=tunnel)
    IPAM(store).assign_ip(request)

    result = poolctl("node", "remove", "node-a", "--yes")

    assert "10.10.0.2 released, was of handle tunnel (type ipipTunnelAddress" in result.stdout
    assert [] == of_node(store, "node-a")


def test_a_dry_run_tells_all_and_writes_nothing(addresses, poolctl, store):
    attach(store, "s", node="node-b", sticky=STICKY)
    before = stored(store)

    result = poolctl("node", "remove", "node-b", "--dry-run")

    assert [
        "block 10.10.0.0/30 would be given up",
        "10.10.0.0 would be released, of handle net-a.b1 "
        "(network net-a, interface eth0, node node-b)",
        "10.10.0.2 would be kept for default/web-0",
        "node/node-b would be deleted",
    ] == result.stdout.splitlines()
    assert (0, before) == (result.exit_code, stored(store))


def test_in_a_script_it_must_be_confirmed(addresses, poolctl, store):
    before = stored(store)

    result = poolctl("node", "remove", "node-a")

    assert (USAGE, before) == (result.exit_code, stored(store))


def test_at_a_terminal_the_counts_are_told_and_no_means_no(
    addresses, poolctl, store, monkeypatch
):
    asked, before = [], stored(store)

    def no(question, *, yes):
        asked.append(question)
        return yes

    monkeypatch.setattr("poolctl.node.remove.confirmed", no)

    result = poolctl("node", "remove", "node-a")

    assert [
        "Remove node/node-a for good: release the 5 addresses that it uses and its 1 block"
    ] == asked
    assert (REFUSED, before) == (result.exit_code, stored(store))


def test_a_node_that_was_given_an_address_just_now_is_alive(addresses, poolctl, store):
    attach(store, "b2", node="node-b", age_s=10)
    before = stored(store)

    refused = poolctl("node", "remove", "node-b", "--yes")
    unchanged = before == stored(store)
    forced = poolctl("node", "remove", "node-b", "--yes", "--force")

    assert (REFUSED, True) == (refused.exit_code, unchanged)
    assert "node/node-b was given 10.10.0.2 at " in refused.stderr
    assert 0 == forced.exit_code


def test_a_node_that_kubernetes_has_is_refused(addresses, poolctl, store, tmp_path):
    before = stored(store)
    with KubeApi() as kube:
        conf = kube.kubeconfig(tmp_path / "kubeconfig")

        there = poolctl("node", "remove", "node-a", "--yes", "--kubeconfig", conf)
        kube.stop()
        down = poolctl("node", "remove", "node-a", "--yes", "--kubeconfig", conf)
        unchanged = before == stored(store)
        forced = poolctl("node", "remove", "node-a", "--yes", "--kubeconfig", conf, "--force")

    assert "has node node-a; delete it there" in there.stderr
    assert (REFUSED, REFUSED, True) == (there.exit_code, down.exit_code, unchanged)
    assert 0 == forced.exit_code


def test_a_node_that_kubernetes_does_not_have_is_removed(poolctl, store, tmp_path):
    settle(store)
    attach(store, "x1", node="node-x")
    with KubeApi() as kube:
        conf = kube.kubeconfig(tmp_path / "kubeconfig")

        result = poolctl("node", "remove", "node-x", "--yes", "--kubeconfig", conf)

    assert 0 == result.exit_code
    assert "node/node-x removed; it had no Node resource\n" in result.stdout
    assert [] == of_node(store, "node-x")


def test_an_add_that_was_under_way_is_refused(addresses, poolctl, store):
    poolctl("node", "remove", "node-a", "--yes")

    with pytest.raises(PoolmgrError, match="deleted"):
        attach(store, "late", since=0)

    assert [] == of_node(store, "node-a")


def test_an_unknown_node_is_refused_and_one_that_is_removed_is_fine(addresses, poolctl):
    poolctl("node", "remove", "node-a", "--yes")

    again, unknown = (poolctl("node", "remove", name, "--yes") for name in ("node-a", "node-c"))

    assert (0, "nothing is left of node/node-a\n") == (again.exit_code, again.stdout)
    assert REFUSED == unknown.exit_code
    assert "did you mean node-b?" in unknown.stderr


def test_blocks_that_cannot_be_given_up_keep_the_node(addresses, poolctl, store, raw):
    raw.delete(affinity_key("node-b", parse_network("10.10.0.0/30")))

    result = poolctl("node", "remove", "node-b", "--yes")

    assert REFUSED == result.exit_code
    assert "addresses 0 and blocks 1 are still its own" in result.stderr
    assert "/calico/resources/v3/projectcalico.org/nodes/node-b" in stored(store)


def test_an_affinity_that_does_not_decode_goes_with_its_node(addresses, poolctl, store, raw):
    raw.put(affinity_key("node-a", parse_network("10.10.0.4/30")), "{")

    result = poolctl("node", "remove", "node-a", "--yes")

    assert 0 == result.exit_code
    assert [] == of_node(store, "node-a")


def test_what_does_not_decode_is_told_once(addresses, poolctl, raw):
    raw.put(block_key(parse_network("10.9.0.0/30")), "junk")

    result = poolctl("node", "remove", "node-a", "--dry-run", "--force")

    assert 1 == result.stderr.count("poolctl: warning: ")


def test_a_block_that_does_not_decode_keeps_the_node(addresses, poolctl, store, raw):
    raw.put(block_key(parse_network("10.10.0.0/30")), "{}")

    result = poolctl("node", "remove", "node-a", "--yes")

    assert REFUSED == result.exit_code
    assert "10.10.0.0-30" in result.stderr
    assert NODE_A[0] in stored(store)


class _Killed(MemoryStore):
    """A store whose user is interrupted at a commit, before it happens or after."""

    kill_at, after = 0, False

    def commit(self, txn, *, timeout_s=2.0):
        self.kill_at -= 1
        if self.kill_at == 0 and not self.after:
            raise KeyboardInterrupt
        result = super().commit(txn, timeout_s=timeout_s)
        if self.kill_at == 0:
            raise KeyboardInterrupt
        return result


@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_was_cut_off_anywhere_is_finished_by_the_next(after):
    codes = []
    for at in count(1):
        store = _Killed()
        settle(store)
        attach(store, "s", node="node-b", sticky=STICKY)
        store.kill_at, store.after = at, after

        first = on(store)("node", "remove", "node-b", "--yes")
        second = on(store)("node", "remove", "node-b", "--yes")

        codes.append(first.exit_code)
        assert 0 == second.exit_code, second.stderr
        assert ["/calico/ipam/v2/assignment/ipv4/block/10.10.0.0-30"] == of_node(
            store, "node-b"
        )
        assert [] == list(Audit(store))
        if store.kill_at > 0:
            break
        assert "running the command again does the rest" in first.stderr

    assert [*[INTERRUPTED] * (len(codes) - 1), 0] == codes
    assert len(codes) > 3


def test_an_outcome_that_is_unknown_is_said_and_trying_again_is_safe():
    rehearsal, store = FailingStore(), FailingStore()
    for each in (rehearsal, store):
        settle(each)
    on(rehearsal)("node", "remove", "node-a", "--yes")
    store.fail("never_applied", [rehearsal._commits])  # the last one deletes the resource

    first = on(store)("node", "remove", "node-a", "--yes")
    second = on(store)("node", "remove", "node-a", "--yes")

    assert UNKNOWN == first.exit_code
    assert "node/node-a is not wholly removed" in first.stderr
    assert 0 == second.exit_code
    assert [] == of_node(store, "node-a")


def test_a_node_that_claims_a_block_at_the_last_moment_keeps_its_resource():
    store = HookedStore()
    settle(store)
    on(store)("apply", "-f", "-", stdin=pool("pool-b", "10.11.0.0/16"))
    store.when = lambda txn: NODE_A[0] in txn.deletes
    store.before = lambda: attach(store, "late")

    result = on(store)("node", "remove", "node-a", "--yes")

    assert REFUSED == result.exit_code
    assert "error: node/node-a came back while it was removed" in result.stderr
    assert "node/node-a is not wholly removed" in result.stderr
    assert NODE_A[0] in stored(store)


def test_a_release_of_unknown_outcome_is_not_called_refused(monkeypatch):
    """Somebody gets the address again, for the same node, whenever the answer is lost."""
    store, commit = HookedStore(), HookedStore.commit
    address = parse_address(settle(store)[0])

    def lose(self, txn, **options):
        key = block_key(parse_network("10.10.0.4/30"))
        held = _holder(store, address)
        result = commit(self, txn, **options)
        if (
            held is not None
            and key in {*txn.puts, *txn.deletes}
            and _holder(store, address) is None
        ):
            monkeypatch.setattr(HookedStore, "commit", commit)
            request = AssignIP(
                addresses=(address,),
                host="node-a",
                handle="again",
                attributes={"node": "node-a"},
            )
            IPAM(store).assign_ip(request)
            monkeypatch.setattr(HookedStore, "commit", lose)
            raise CommitUnknownError("answer lost")
        return result

    monkeypatch.setattr(HookedStore, "commit", lose)

    result = on(store)("node", "remove", "node-a", "--yes")

    assert UNKNOWN == result.exit_code
    assert f"address {address} may have been released by this call" in result.stderr
    assert NODE_A[0] in stored(store)


def _holder(store, address) -> str | None:
    return next((e.handle for e in Audit(store).entries() if e.address == address), None)
