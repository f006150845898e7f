"""Changing resources: what is written, what is compared, what is refused."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from poolctl.report import INTERRUPTED, REFUSED, UNAVAILABLE, UNKNOWN
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.request import AssignIP, AutoAssign
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import CommitUnknownError, StoreUnavailableError
from poolmgr.ipam import IPAM
from poolmgr.store.memory import Faults, MemoryStore
from tests.support.facts import block_of, stored_block
from tests.support.hooked import HookedStore, interrupt
from tests.support.poolctl import CLUSTER, POOL_A, manifest, on, pool, put, stored


class Beside(MemoryStore):
    """A store where another program writes just before the commit with a certain number."""

    def __init__(self, number, act) -> None:
        super().__init__()
        self._left, self._act = number, act

    def commit(self, txn: Txn, **options):
        self._left -= 1
        if self._left == 0:
            self._act(self)
        return super().commit(txn, **options)


def epoch(store) -> bytes | None:
    return stored(store).get(EPOCH_KEY)


def spec_of(store, key=POOL_A) -> dict:
    value = json.loads(stored(store)[key])["spec"]
    assert isinstance(value, dict)
    return value


def test_the_first_change_makes_identity_and_epoch_in_the_same_transaction(at_memory, memory):
    result = at_memory("create", "-f", "-", stdin=pool())

    assert ("ippool/pool-a created\n", 0) == (result.stdout, result.exit_code)
    assert {POOL_A, CLUSTER, EPOCH_KEY} == stored(memory).keys()
    assert re.fullmatch(rb"[0-9a-f]{32}", epoch(memory))
    assert spec_of(memory, CLUSTER)["datastoreReady"] is True


def test_identity_and_epoch_that_exist_are_left_alone(at_memory, memory):
    put(memory, {EPOCH_KEY: b"old", CLUSTER: b"{}"})

    result = at_memory("apply", "-f", "-", stdin=pool())

    assert result.exit_code == 0
    assert (b"old", b"{}") == (epoch(memory), stored(memory)[CLUSTER])


def test_a_stored_pool_is_as_calicoctl_stores_it(poolctl, raw):
    poolctl("create", "-f", "-", stdin=pool())

    assert re.fullmatch(
        rb'\{"kind":"IPPool","apiVersion":"projectcalico\.org/v3","metadata":\{"name":"pool-a",'
        rb'"uid":"[0-9a-f-]{36}","creationTimestamp":"20[0-9T:-]+Z"\},"spec":\{"cidr":"10\.10\.0\.0/16",'
        rb'"vxlanMode":"Never","ipipMode":"Never","blockSize":26,"nodeSelector":"all\(\)",'
        rb'"allowedUses":\["Workload","Tunnel"\],"assignmentMode":"Automatic"\}\}',
        raw.get(POOL_A),
    )


@pytest.mark.parametrize(
    ("command", "spec", "refusal"),
    [
        ("create", {}, "ippool/pool-a: already exists"),
        (
            "apply",
            {"cidr": "10.11.0.0/16"},
            "spec.cidr: 10.11.0.0/16 differs from 10.10.0.0/16",
        ),
        ("apply", {"blockSize": 27}, "spec.blockSize: 27 differs from 26"),
        ("create", {"name": "pool-x", "cidr": "10.10.4.0/24"}, "overlaps with pool pool-a"),
        (
            "apply",
            {"name": "pool-x", "cidr": "10.0.0.0/8", "disabled": True},
            "pool-a (10.10.0.0/16)",
        ),
        (
            "replace",
            {"name": "absent", "cidr": "10.99.0.0/16"},
            "ippool/absent: does not exist",
        ),
    ],
)
def test_what_the_present_state_forbids_is_refused_and_changes_nothing(
    at_memory, memory, command, spec, refusal
):
    at_memory("create", "-f", "-", stdin=pool())
    before = stored(memory)

    result = at_memory(command, "-f", "-", stdin=pool(**spec))

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("poolctl: error: ippool/")
    assert refusal in result.stderr
    assert "IPPool" not in result.stderr
    assert before == stored(memory)


def test_an_update_keeps_identity_and_unknown_fields_and_replaces_labels(at_memory, memory):
    at_memory("create", "-f", "-", stdin=pool())
    before = json.loads(stored(memory)[POOL_A])
    before["metadata"] |= {"labels": {"old": "1"}, "future": 1}
    before["spec"]["colour"] = "red"
    memory.commit(
        Txn(expect={}, epoch=epoch(memory), puts={POOL_A: json.dumps(before).encode()})
    )
    wanted = manifest(
        "IPPool", "pool-a", {"cidr": "10.10.0.0/16", "natOutgoing": True}, labels={"new": "2"}
    )

    result = at_memory("apply", "-f", "-", stdin=wanted)

    after = json.loads(stored(memory)[POOL_A])
    assert result.stdout == "ippool/pool-a configured\n"
    assert {**before["metadata"], "labels": {"new": "2"}} == after["metadata"]
    assert {**before["spec"], "natOutgoing": True} == after["spec"]


def test_nothing_is_written_when_nothing_differs(at_memory, memory):
    at_memory("create", "-f", "-", stdin=pool())
    before = memory.read(Fetch(keys=frozenset({POOL_A}))).revision

    result = at_memory("replace", "-f", "-", stdin=pool())

    assert result.stdout == "ippool/pool-a unchanged\n"
    assert before == memory.read(Fetch(keys=frozenset({POOL_A}))).revision


@pytest.mark.parametrize("command", ["apply", "replace", "delete"])
def test_a_resource_version_in_the_file_must_be_the_stored_one(at_memory, memory, command):
    at_memory("create", "-f", "-", stdin=pool())
    before = stored(memory)
    stale = manifest(
        "IPPool", "pool-a", {"cidr": "10.10.0.0/16", "natOutgoing": True}, resourceVersion="1"
    )

    result = at_memory(command, "-f", "-", stdin=stale)

    assert result.exit_code == REFUSED
    assert "metadata.resourceVersion: 1 is not the stored version, 2" in result.stderr
    assert before == stored(memory)


def test_a_pool_created_at_the_same_time_cannot_overlap():
    def create_other(store):
        put(
            store,
            {records.resource_key("ippools", "other"): pool("other", "10.0.0.0/8").encode()},
        )

    store = Beside(1, create_other)

    result = on(store)("create", "-f", "-", stdin=pool())

    assert result.exit_code == REFUSED
    assert "10.10.0.0/16 overlaps with pool other (10.0.0.0/8)" in result.stderr
    assert POOL_A not in stored(store)


def change_beside(store):
    value = json.loads(stored(store)[POOL_A])
    value["more"] = value.get("more", 0) + 1
    txn = Txn(expect={}, epoch=epoch(store), puts={POOL_A: json.dumps(value).encode()})
    MemoryStore.commit(store, txn)


class Busy(MemoryStore):
    """A store where the pool is changed before each of so many commits that would change it."""

    changes = 0

    def commit(self, txn: Txn, **options):
        if self.changes and POOL_A in txn.puts:
            self.changes -= 1
            change_beside(self)
        return super().commit(txn, **options)


def busy(changes: int) -> Busy:
    store = Busy()
    on(store)("create", "-f", "-", stdin=pool())
    store.changes = changes
    return store


@pytest.mark.parametrize(
    ("args", "stdin", "verb"),
    [
        (["apply", "-f", "-"], pool(natOutgoing=True), "configured"),
        (["replace", "-f", "-"], pool(natOutgoing=True), "configured"),
        (["patch", "ipp", "pool-a", "-p", "spec: {natOutgoing: true}"], "", "patched"),
    ],
)
def test_what_somebody_else_changes_at_the_same_time_is_kept_and_planned_on(args, stdin, verb):
    store = busy(4)

    result = on(store)(*args, stdin=stdin)

    assert (0, f"ippool/pool-a {verb}\n") == (result.exit_code, result.stdout)
    assert 4 == json.loads(stored(store)[POOL_A])["more"]
    assert spec_of(store)["natOutgoing"] is True


def test_a_label_that_somebody_else_sets_is_not_overwritten_at_the_second_look():
    def label(store):
        value = json.loads(stored(store)[POOL_A])
        value["metadata"]["labels"] = {"a": "theirs"}
        txn = Txn(expect={}, epoch=epoch(store), puts={POOL_A: json.dumps(value).encode()})
        MemoryStore.commit(store, txn)

    store = Beside(2, label)
    on(store)("create", "-f", "-", stdin=pool())

    result = on(store)("label", "ipp", "pool-a", "a=ours")

    assert REFUSED == result.exit_code
    assert "label a is 'theirs'" in result.stderr


def test_all_documents_are_planned_again():
    store = busy(1)

    result = on(store)(
        "apply", "-f", "-", stdin=f"[{manifest('Node', 'n')}, {pool(natOutgoing=True)}]"
    )

    assert ["node/n created", "ippool/pool-a configured"] == result.stdout.splitlines()
    assert 1 == json.loads(stored(store)[POOL_A])["more"]


def test_after_five_tries_it_is_given_up():
    store = busy(5)

    result = on(store)("apply", "-f", "-", stdin=pool(natOutgoing=True))

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "somebody else changed it" in result.stderr
    assert "natOutgoing" not in spec_of(store)


def test_who_names_a_version_is_told_of_a_change_at_the_same_time():
    store = busy(1)
    raw = store.read(Fetch(keys=frozenset({POOL_A}))).found[POOL_A]
    spec = {"cidr": "10.10.0.0/16", "natOutgoing": True}
    named = manifest("IPPool", "pool-a", spec, resourceVersion=str(raw.mod_revision))

    result = on(store)("apply", "-f", "-", stdin=named)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "somebody else changed it" in result.stderr
    assert 0 == store.changes
    assert "natOutgoing" not in spec_of(store)


def test_what_was_deleted_meanwhile_is_not_made_again_by_its_own_output(at_memory, memory):
    at_memory("create", "-f", "-", stdin=pool())
    text = at_memory("get", "ipp", "pool-a", "-o", "yaml").stdout
    at_memory("delete", "ipp", "pool-a")

    result = at_memory("apply", "-f", "-", stdin=text)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "it does not exist any more; remove metadata.resourceVersion" in result.stderr
    assert POOL_A not in stored(memory)
    assert 0 == at_memory("create", "-f", "-", stdin=text).exit_code


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (Faults(conflict={1, 2, 3, 4, 5}), REFUSED),
        (Faults(lost_ack={1}), UNKNOWN),
        (Faults(late={1}), UNKNOWN),
    ],
)
def test_the_exit_status_says_whether_it_may_have_happened(faults, code):
    result = on(MemoryStore(faults))("apply", "-f", "-", stdin=pool())

    assert (code, "") == (result.exit_code, result.stdout)


def test_an_unreachable_store_is_exit_3(poolctl):
    result = poolctl("--etcd-endpoints", "127.0.0.1:1", "apply", "-f", "-", stdin=pool())

    assert result.exit_code == UNAVAILABLE
    assert result.stderr.startswith(
        "poolctl: error: ippool/pool-a: etcd at http://127.0.0.1:1 "
    )


@pytest.mark.parametrize(
    ("block", "cidr", "spec", "fits"),
    [
        pytest.param("1.2.3.0/26", "1.2.2.0/23", {"blockSize": 28}, False, id="PC-51"),
        pytest.param("1.2.3.0/26", "1.2.3.0/26", {"blockSize": 26}, True, id="PC-50"),
        pytest.param(
            "1.2.0.0/20", "1.2.3.0/24", {"blockSize": 26}, False, id="around the pool"
        ),
        pytest.param("1.2.3.0/26", "1.2.4.0/24", {"blockSize": 29}, True, id="PC-53"),
        pytest.param("fd00::/122", "fd00::/64", {"blockSize": 120}, False, id="IPv6"),
    ],
)
def test_a_pool_must_fit_the_blocks_that_exist(at_memory, memory, block, cidr, spec, fits):
    put(memory, stored_block(block_of(block, "h")))

    result = at_memory("create", "-f", "-", stdin=pool(cidr=cidr, **spec))

    assert fits == (result.exit_code == 0)
    assert fits == (POOL_A in stored(memory))
    assert fits or f"block {block}, which exists" in result.stderr


def test_a_deleted_pool_leaves_assigned_addresses_and_no_empty_block(poolctl, store):
    poolctl("create", "-f", "-", stdin=pool(blockSize=30))
    poolctl("node", "register", "node-a")
    kept = IPAM(store).auto_assign(AutoAssign(host="node-a", handle="h", count={4: 1}))
    block = kept.allocations[0].block

    result = poolctl("delete", "ippool", "pool-a")

    after = stored(store)
    assert ("ippool/pool-a deleted\n", 0) == (result.stdout, result.exit_code)
    assert POOL_A not in after
    assert [] == [key for key in after if key.startswith("/calico/ipam/v2/host/")]
    assert json.loads(after[records.block_key(block)])["affinity"] is None


def test_a_pool_changed_while_it_is_deleted_stays_disabled(memory):
    def enable(store):
        value = json.loads(stored(store)[POOL_A])
        value["spec"]["natOutgoing"] = True
        MemoryStore.commit(
            store, Txn(expect={}, epoch=epoch(store), puts={POOL_A: json.dumps(value).encode()})
        )

    store = Beside(3, enable)
    on(store)("create", "-f", "-", stdin=pool())

    result = on(store)("delete", "ippool", "pool-a")

    assert result.exit_code == REFUSED
    assert "poolctl: warning: ippool/pool-a was disabled, but not deleted" in result.stderr
    assert spec_of(store)["disabled"] is True


def test_ctrl_c_amid_a_deletion_says_what_is_left(environ, poolctl, raw, etcd_endpoint):
    poolctl("create", "-f", "-", stdin=pool())
    process = subprocess.Popen(
        [sys.executable, "-m", "poolctl.main", "delete", "ippools", "pool-a"],
        env={**environ, "ETCD_ENDPOINTS": etcd_endpoint},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while b'"disabled":true' not in raw.get(POOL_A) and time.monotonic() < deadline:
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)

    assert (INTERRUPTED, "") == (process.returncode, stdout)
    assert (
        "poolctl: warning: ippool/pool-a was disabled, but not deleted; delete it again\n"
        in stderr
    )
    assert "Traceback" not in stderr
    assert b'"disabled":true' in raw.get(POOL_A)


def test_deleting_what_is_absent_is_an_error_unless_asked_otherwise(at_memory):
    refused = at_memory("delete", "ippool", "nope")
    passed = at_memory("delete", "ippool", "nope", "--skip-not-exists")

    assert (REFUSED, "poolctl: error: ippool/nope: does not exist\n") == (
        refused.exit_code,
        refused.stderr,
    )
    assert (0, "ippool/nope not found, skipped\n") == (passed.exit_code, passed.stdout)


def test_deleting_a_node_warns_of_the_blocks_it_owns(at_memory, memory):
    at_memory("create", "-f", "-", stdin=pool() + "\n")
    at_memory("node", "register", "node-a")
    IPAM(memory).assign_ip(
        AssignIP(addresses=(parse_address("10.10.0.7"),), host="node-a", handle="h")
    )

    result = at_memory("delete", "node", "node-a")

    assert ("node/node-a deleted\n", 0) == (result.stdout, result.exit_code)
    assert "poolctl: warning: node/node-a still owns 1 address block," in result.stderr
    assert records.block_key(parse_network("10.10.0.0/26")) in stored(memory)


def test_cluster_information_can_only_be_read(at_memory):
    result = at_memory("apply", "-f", "-", stdin=manifest("ClusterInformation", "default"))

    assert result.exit_code == REFUSED
    assert "clusterinformation/default: can only be read" in result.stderr


def test_a_stored_value_that_cannot_be_understood_is_not_overwritten(at_memory, memory):
    put(memory, {POOL_A: b"junk"})

    result = at_memory("apply", "-f", "-", stdin=pool())

    assert result.exit_code == REFUSED
    assert result.stderr.startswith(
        f"poolctl: error: ippool/pool-a: stored value of {POOL_A} is not usable: "
    )
    assert f"look at it: etcdctl get {POOL_A}; " in result.stderr
    assert stored(memory)[POOL_A] == b"junk"


def annotated(**annotations: str) -> str:
    names = {f"ipam.poolmgr.io/{name}": value for name, value in annotations.items()}
    spec = {"cidr": "10.10.0.0/24"}
    return manifest("IPPool", "pool-a", spec, annotations=names)


@pytest.mark.parametrize("command", ["create", "apply"])
def test_an_annotated_gateway_is_stored_and_calico_users_are_told(at_memory, command):
    result = at_memory(command, "-f", "-", stdin=annotated(gateway="10.10.0.9"))

    assert result.exit_code == 0
    assert "[10.10.0.0/32, 10.10.0.9/32, 10.10.0.255/32]" in result.stderr


def test_annotations_that_no_plugin_could_use_are_refused(at_memory, memory):
    at_memory("create", "-f", "-", stdin=pool(cidr="10.10.0.0/24"))
    before = stored(memory)

    result = at_memory("apply", "-f", "-", stdin=annotated(gateway="10.99.0.9"))

    assert REFUSED == result.exit_code
    assert "10.99.0.9" in result.stderr
    assert before == stored(memory)


def at_a_terminal(monkeypatch, store, *args, answer="n"):
    """Run poolctl for somebody who sits there and answers."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    return on(store)(*args, stdin=f"{answer}\n")


@pytest.fixture
def in_use(at_memory, memory):
    """A pool with an address that somebody has, and the node of its block."""
    at_memory("create", "-f", "-", stdin=pool())
    at_memory("node", "register", "node-a")
    IPAM(memory).auto_assign(AutoAssign(host="node-a", handle="h", count={4: 1}))
    return memory


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (("ippool", "pool-a"), "ippool/pool-a: 1 address is assigned and stays so"),
        (("node", "node-a"), "node/node-a still owns 1 address block, which no other"),
    ],
)
def test_a_person_is_asked_about_what_stays_behind(in_use, monkeypatch, target, told):
    before = stored(in_use)

    refused = at_a_terminal(monkeypatch, in_use, "delete", *target)
    unchanged = before == stored(in_use)
    agreed = at_a_terminal(monkeypatch, in_use, "delete", *target, answer="y")

    assert told in refused.stderr
    assert (REFUSED, True) == (refused.exit_code, unchanged)
    assert "nothing was deleted" in refused.stderr
    assert (0, f"{'/'.join(target)} deleted\n") == (agreed.exit_code, agreed.stdout)


def test_a_script_is_told_and_not_stopped(in_use):
    result = on(in_use)("delete", "ippool", "pool-a")

    assert (0, "ippool/pool-a deleted\n") == (result.exit_code, result.stdout)
    assert "1 address is assigned and stays so" in result.stderr


def test_nobody_is_asked_who_said_yes_or_where_nothing_stays(in_use, monkeypatch):
    on(in_use)("create", "-f", "-", stdin=pool("empty", "10.99.0.0/16"))

    empty = at_a_terminal(monkeypatch, in_use, "delete", "ippool", "empty")
    sure = at_a_terminal(monkeypatch, in_use, "delete", "ippool", "pool-a", "-y")

    assert [0, 0] == [empty.exit_code, sure.exit_code]
    assert "" == empty.stderr


def test_what_somebody_else_deleted_meanwhile_is_said(at_memory, memory, monkeypatch):
    at_memory("create", "-f", "-", stdin=manifest("Node", "a"))
    warned = "poolctl.resources.changes.Deletions._left_behind"

    def overtaken(*_args):
        with monkeypatch.context() as patch:
            patch.setattr(warned, lambda *_args: "")
            at_memory("delete", "node", "a")
        return ""

    monkeypatch.setattr(warned, overtaken)
    result = at_memory("delete", "node", "a")

    assert REFUSED == result.exit_code
    assert "node/a: does not exist any more" in result.stderr


MAY_BE_DISABLED = "may be disabled, and was not deleted; delete it again"
DISABLED = "was disabled, but not deleted; delete it again"
MAY_BE_GONE = "was disabled, and may be deleted; look, and delete it again if not"


def lose():
    raise CommitUnknownError("answer lost")


def fail():
    raise StoreUnavailableError("down")


@pytest.mark.parametrize(
    ("is_last", "moment", "act", "warning", "status"),
    [
        (False, "before", fail, None, UNAVAILABLE),
        (False, "after", lose, MAY_BE_DISABLED, UNKNOWN),
        (False, "after", interrupt, MAY_BE_DISABLED, INTERRUPTED),
        (True, "before", fail, DISABLED, UNAVAILABLE),
        (True, "before", lose, MAY_BE_GONE, UNKNOWN),
        (True, "after", lose, MAY_BE_GONE, UNKNOWN),
        (True, "after", interrupt, MAY_BE_GONE, INTERRUPTED),
    ],
)
def test_a_deletion_that_is_cut_off_says_what_is_known_of_the_pool(
    is_last, moment, act, warning, status
):
    store = HookedStore()
    on(store)("create", "-f", "-", stdin=pool())
    store.when = lambda txn: POOL_A in (txn.deletes if is_last else txn.puts)
    setattr(store, moment, act)

    result = on(store)("delete", "ippool", "pool-a")

    told = [line for line in result.stderr.splitlines() if "warning" in line]
    assert status == result.exit_code
    assert ([f"poolctl: warning: ippool/pool-a {warning}"] if warning else []) == told


def test_a_pool_that_is_enabled_again_while_it_is_deleted_is_not_called_disabled():
    store = HookedStore()
    on(store)("create", "-f", "-", stdin=pool())
    enable = '{"spec":{"disabled":false}}'
    store.when = lambda txn: POOL_A in txn.deletes
    store.before = lambda: on(store)("patch", "ippool", "pool-a", "-p", enable)

    result = on(store)("delete", "ippool", "pool-a")

    assert REFUSED == result.exit_code
    assert "ippool/pool-a is disabled" not in result.stderr
    assert f"ippool/pool-a {DISABLED}" in result.stderr
    assert "nothing more was written" in result.stderr
