"""Copies through the command line, on a real etcd: nothing is lost, and nothing written twice."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from poolctl.report import FOUND, REFUSED, UNAVAILABLE, UNKNOWN
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.records import handle_key, resource_key
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.errors import StoreUnavailableError
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit
from tests.poolctl.conftest import COMMAND
from tests.support.assigned import attach
from tests.support.failing import FailingStore
from tests.support.filled import FOREIGN, fill
from tests.support.poolctl import CLUSTER, on, pool, put, stored


def kept(store):
    """What is stored, but for the epoch."""
    return {key: value for key, value in stored(store).items() if key != EPOCH_KEY}


def comparable(keys):
    found = {key: json.loads(raw) for key, raw in keys.items() if key != FOREIGN}
    for value in found.values():
        for name in ("uid", "creationTimestamp"):
            value.get("metadata", {}).pop(name, None)
    return found


@pytest.fixture
def filled(store):
    fill(store)
    return kept(store)


def test_a_backup_is_restored_byte_for_byte_and_its_addresses_are_usable(
    poolctl, store, raw, filled, tmp_path
):
    path = str(tmp_path / "copy.gz")
    made = poolctl("datastore", "backup", path)
    epoch = stored(store)[EPOCH_KEY]
    raw.delete_everything()
    result = poolctl("datastore", "restore", path, "--yes")

    assert (0, "") == (made.exit_code, made.stderr)
    assert f"{len(filled)} keys" in made.stdout
    assert (0, "") == (result.exit_code, result.stderr)
    assert filled == kept(store)
    assert epoch != stored(store)[EPOCH_KEY]
    assert [] == list(Audit(store))
    held = {attach(store, "c1", node="node-b"), attach(store, "new", node="node-b")}
    assert 2 == len(held)
    assert "found sound" in result.stdout


def test_an_export_is_imported_with_every_address(poolctl, store, raw, filled, tmp_path):
    path = str(tmp_path / "export")
    poolctl("datastore", "lock")
    filled = kept(store)
    made = poolctl("datastore", "migrate", "export", "-o", path)
    raw.delete_everything()
    tried = poolctl("datastore", "import", "-f", path, "--dry-run")

    assert (0, {}) == (tried.exit_code, stored(store))
    assert "can be imported" in tried.stdout
    result = poolctl("datastore", "migrate", "import", "-f", path, "--yes")
    assert 0 == result.exit_code
    assert "The datastore is locked, as it was" in result.stderr
    assert comparable(filled) == comparable(kept(store))
    assert [] == list(Audit(store))
    assert "not locked" not in made.stderr
    assert "Left out: 1 of /calico/felix" in made.stderr
    assert attach(store, "new", node="node-b")


def test_an_export_comes_through_a_pipe_and_names_change(poolctl, store, raw, filled):
    made = poolctl("datastore", "export", "--rename", "node-a=node-x", "--rename", "q=r")
    raw.delete_everything()
    result = poolctl("datastore", "import", "-f", "-", "--yes", stdin=made.stdout)

    assert "not locked" in made.stderr
    assert "no Node q" in made.stderr
    assert 0 == result.exit_code
    assert [] == list(Audit(store))
    assert not any("node-a" in key for key in kept(store))
    assert attach(store, "new", node="node-x")


def test_calicos_names_need_a_reference_on_every_node(poolctl, filled):
    result = poolctl("datastore", "export", "--calico")

    assert REFUSED == result.exit_code
    assert "orchRefs" in result.stderr
    assert "" == result.stdout


def test_nothing_is_imported_or_restored_over_what_is_there(poolctl, store, filled, tmp_path):
    export, backup = str(tmp_path / "export"), str(tmp_path / "backup")
    poolctl("datastore", "export", "-o", export)
    poolctl("datastore", "backup", backup)
    before = stored(store)

    for words in (("import", "-f", export), ("restore", backup)):
        result = poolctl("datastore", *words, "--yes")
        assert REFUSED == result.exit_code
        assert "not empty" in result.stderr
    assert before == stored(store)


def test_replacing_wants_a_lock_and_puts_everything_back(poolctl, store, filled, tmp_path):
    path = str(tmp_path / "copy")
    poolctl("datastore", "backup", path)
    attach(store, "after", node="node-d")
    refused = poolctl("datastore", "restore", "--replace", path, "--yes")

    assert REFUSED == refused.exit_code
    assert "not locked" in refused.stderr
    poolctl("datastore", "lock")
    result = poolctl("datastore", "restore", "--replace", path, "--yes")
    assert 0 == result.exit_code
    assert filled == kept(store)


def test_replacing_without_a_lock_is_forced(poolctl, store, filled, tmp_path):
    path = str(tmp_path / "copy")
    poolctl("datastore", "backup", path)
    put_anyway(store, {CLUSTER: b"{"})

    result = poolctl("datastore", "restore", "--replace", "--force", path, "--yes")
    assert 0 == result.exit_code
    assert filled == kept(store)


def put_anyway(store, values):
    epoch = store.read(Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    store.commit(Txn(expect={}, epoch=epoch and epoch.value, puts=values))


def test_the_question_counts_what_goes_and_what_comes(at_memory, memory, tmp_path, monkeypatch):
    fill(memory)
    path = str(tmp_path / "copy")
    at_memory("datastore", "backup", path)
    at_memory("datastore", "lock")
    before, asked = stored(memory), []
    monkeypatch.setattr("poolctl.terminal._is_terminal", lambda stream: True)
    monkeypatch.setattr("click.confirm", lambda text, **more: asked.append(text))

    result = at_memory("datastore", "restore", "--replace", path)

    assert REFUSED == result.exit_code
    assert before == stored(memory)
    assert "handles 7" in asked[0].partition("in place of")[0]
    assert "handles 7" in asked[0].partition("in place of")[2]


def test_a_damaged_file_writes_nothing(poolctl, store, filled, raw, tmp_path):
    path = tmp_path / "copy"
    poolctl("datastore", "backup", str(path))
    path.write_bytes(path.read_bytes()[:-40])
    raw.delete_everything()

    result = poolctl("datastore", "restore", str(path), "--yes")

    assert REFUSED == result.exit_code
    assert {} == stored(store)


def test_an_unsound_copy_is_told_and_wants_force(poolctl, store, filled, raw, tmp_path):
    put_anyway(store, {handle_key("ghost"): b'{"block":{"10.10.0.64/26":1}}'})
    export, backup = str(tmp_path / "export"), str(tmp_path / "backup")
    poolctl("datastore", "export", "-o", export)
    poolctl("datastore", "backup", backup)
    raw.delete_everything()

    refused = poolctl("datastore", "import", "-f", export, "--yes")
    assert REFUSED == refused.exit_code
    assert "ghost" in refused.stderr
    assert {} == stored(store)
    forced = poolctl("datastore", "import", "-f", export, "--yes", "--force")
    assert FOUND == forced.exit_code
    raw.delete_everything()
    assert FOUND == poolctl("datastore", "restore", backup, "--yes").exit_code


def test_a_value_that_does_not_decode_is_restored_only_by_force(
    poolctl, store, filled, raw, tmp_path
):
    key = resource_key("ippools", "pool-a")
    put_anyway(store, {key: b"{", CLUSTER: b"["})
    path = str(tmp_path / "copy")
    poolctl("datastore", "backup", path)
    raw.delete_everything()

    assert REFUSED == poolctl("datastore", "restore", path, "--yes").exit_code
    assert FOUND == poolctl("datastore", "restore", path, "--yes", "--force").exit_code
    assert b"{" == stored(store)[key]


def test_a_key_of_bytes_that_are_no_text_comes_back(poolctl, store, raw, tmp_path):
    raw.put(b"/calico/a\xff\xfe", b"1")
    raw.put("/calico/a\U00010000", b"2")
    before, path = kept(store), str(tmp_path / "copy")
    made = poolctl("datastore", "backup", path)
    for words in ((), ("--replace", "--force")):
        if not words:
            raw.delete_everything()
        result = poolctl("datastore", "restore", path, "--yes", *words)

        assert (0, 0) == (made.exit_code, result.exit_code)
        assert before == kept(store)


def test_an_unknown_outcome_says_to_run_it_again_which_goes_on(tmp_path):
    first = FailingStore()
    fill(first)
    path = str(tmp_path / "copy")
    on(first)("datastore", "backup", path)
    store = FailingStore()
    store.fail("never_applied", range(3, 50))
    result = on(store)("datastore", "restore", path, "--yes")

    assert UNKNOWN == result.exit_code
    assert "Run it again" in result.stderr
    assert MARKER_KEY in stored(store)
    store._planned["never_applied"].clear()
    again = on(store)("datastore", "restore", path, "--yes")
    assert 0 == again.exit_code
    assert "Going on after" in again.stderr
    assert kept(first) == kept(store)


def test_what_others_did_meanwhile_is_told_and_nothing_is_said_of_the_copy(tmp_path):
    """A pool comes just after the pools went, and a pod gets an address of it."""

    class Rivalled(MemoryStore):
        done = False

        def commit(self, txn, *, timeout_s=1.0):
            result = super().commit(txn, timeout_s=timeout_s)
            if b'"after": ""' in txn.puts.get(MARKER_KEY, b"") and not self.done:
                self.done = True
                theirs = resource_key("ippools", "theirs")
                put_anyway(self, {theirs: pool("theirs", "10.10.0.0/16").encode()})
                attach(self, "live", node="node-d")
            return result

    store = Rivalled()
    fill(store)
    path = str(tmp_path / "copy")
    on(store)("datastore", "backup", path)
    on(store)("datastore", "lock")
    result = on(store)("datastore", "restore", "--replace", path, "--yes")

    assert store.done
    assert FOUND == result.exit_code
    assert "restart the pods" in result.stderr
    assert "in the copy" not in result.stderr
    assert [] == list(Audit(store))


def test_a_pool_is_not_applied_while_a_copy_is_written(at_memory, memory):
    put(memory, {MARKER_KEY: b'{"copy":"x","replaces":false,"after":"/calico/x"}'})
    result = at_memory("apply", "-f", "-", stdin=pool())

    assert REFUSED == result.exit_code
    assert "run the same `poolctl datastore restore`" in result.stderr


def test_an_audit_that_gets_no_answer_does_not_deny_that_everything_was_written(
    tmp_path, monkeypatch
):
    store, path = MemoryStore(), str(tmp_path / "copy")
    fill(store)
    wanted = kept(store)
    on(store)("datastore", "backup", path)
    store = MemoryStore()

    def down(self):
        raise StoreUnavailableError("down")

    monkeypatch.setattr("poolctl.datastore.copying.Audit.__iter__", down)
    result = on(store)("datastore", "restore", path, "--yes")

    assert UNAVAILABLE == result.exit_code
    assert "everything was written, but not audited" in result.stderr
    assert "Run it again" not in result.stderr
    assert wanted == kept(store)


@pytest.mark.parametrize("words", [("backup",), ("export", "-o")])
def test_no_copy_is_made_of_one_that_is_half_written(words, at_memory, memory, tmp_path):
    put(memory, {MARKER_KEY: b'{"copy":"x","replaces":false,"after":"/calico/x"}'})
    path = tmp_path / "copy"
    result = at_memory("datastore", *words, str(path))

    assert REFUSED == result.exit_code
    assert "/calico/x" in result.stderr
    assert not path.exists()


def test_killed_by_the_kernel_it_goes_on(
    poolctl, store, raw, etcd_endpoint, environ, tmp_path: Path
):
    fill(store)
    many = {handle_key(f"h{n:05}"): b'{"block":{}}' for n in range(4000)}
    for at in range(0, len(many), 100):
        put_anyway(store, dict(list(many.items())[at : at + 100]))
    wanted, path = kept(store), str(tmp_path / "copy")
    poolctl("datastore", "backup", path)
    raw.delete_everything()
    command = [*COMMAND, "datastore", "restore", path, "--yes", "--force"]
    kills = 0
    for pause_s in (0.0, 0.02, 0.05):
        with subprocess.Popen(
            command,
            env=environ | {"ETCD_ENDPOINTS": etcd_endpoint},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            before = raw.get(MARKER_KEY)
            while raw.get(MARKER_KEY) == before and process.poll() is None:
                time.sleep(0.005)
            time.sleep(pause_s)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        kills += raw.get(MARKER_KEY) is not None
    result = poolctl("datastore", "restore", path, "--yes")

    assert kills
    assert result.exit_code in (0, FOUND)
    assert wanted == kept(store)
