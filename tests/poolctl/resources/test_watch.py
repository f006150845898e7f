"""What changes, as --watch tells it."""

import itertools
import json
import signal
import subprocess
import sys
import time

import pytest

from poolctl.config import Session
from poolctl.report import INTERRUPTED
from poolctl.resources import watch as module
from poolctl.resources.reading import Reader
from poolctl.resources.render import Output
from poolctl.resources.watch import Watch
from poolmgr.api import BlockAffinity, Node
from poolmgr.core.txn import Fetch
from poolmgr.errors import StoreUnavailableError
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import on, put
from tests.support.world import stored_resource


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """Look without a pause: what happens between looks is part of each test."""
    monkeypatch.setattr(module, "_PAUSE_S", 0)


def labelled(name: str, value: str) -> dict[str, bytes]:
    key, raw = stored_resource("nodes", "Node", name, {})
    resource = json.loads(raw)
    resource["metadata"]["labels"] = {"v": value}
    return {key: json.dumps(resource).encode()}


def watched(store, *steps, kind=Node, form="table", names=()):
    """Run a watch during which each step happens before a look."""
    session = Session(None, None, 30)
    session.store = store
    since = store.read(Fetch(keys=frozenset({"/"}))).revision
    left, asked = list(steps), itertools.count()

    def over() -> bool:
        if next(asked) % 2:  # It is asked again after the pause.
            return False
        if not left:
            return True
        if step := left.pop(0):
            step()
        return False

    Watch(session, Output.of(kind, form), names=names, since=since).run(over=over)


def test_each_change_is_told_once(capsys):
    store = MemoryStore()
    put(store, labelled("a", "1") | labelled("b", "1"))

    watched(
        store,
        None,
        lambda: put(store, labelled("a", "2")),
        None,
        lambda: put(store, labelled("c", "1") | labelled("b", "2")),
        lambda: put(store, {"/other": b""}),
        lambda: on(store)("delete", "node", "a"),
        None,
    )

    told = ["a", "b", "c", "node/a deleted"]
    assert told == capsys.readouterr().out.splitlines()


def test_only_what_was_named_is_told(capsys):
    store = MemoryStore()
    put(store, labelled("a", "1"))

    watched(store, lambda: put(store, labelled("a", "2") | labelled("b", "1")), names=("b",))

    assert "b\n" == capsys.readouterr().out


def test_rows_are_as_wide_as_those_of_the_table_before(at_memory, memory, capsys):
    session = Session(None, None, 30)
    session.store = memory
    output = Output.of(Node, "custom-columns=NAME,V:.metadata.labels.v")
    put(memory, labelled("a-long-name", "1"))
    reader = Reader(session, Node)
    table = [*output.chunks(reader.everything(), revision=0, single=False)]

    put(memory, labelled("b", "2"))
    row = output.one(Reader(session, Node).named(["b"])[0])

    assert ["NAME          V", "a-long-name   1", "b             2"] == [*table, row]


def test_names_are_all_that_is_told_where_names_are_asked_for(capsys):
    store = MemoryStore()

    watched(store, lambda: put(store, labelled("a", "1")), form="name")

    assert "node/a\n" == capsys.readouterr().out


def test_json_and_yaml_are_the_objects_that_changed(capsys):
    for form in ("json", "yaml"):
        store = MemoryStore()
        watched(
            store,
            lambda store=store: put(store, labelled("a", "1")),
            lambda store=store: on(store)("delete", "node", "a"),
            form=form,
        )
    captured = capsys.readouterr()

    as_json, as_yaml = captured.out.split("---\n")
    assert "a" == json.loads(as_json)["metadata"]["name"]
    assert as_yaml.startswith("apiVersion: projectcalico.org/v3\nkind: Node\n")
    assert ["node/a deleted"] * 2 == captured.err.splitlines()


def test_affinities_are_watched_by_their_keys(capsys):
    store = MemoryStore()
    key = "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26"

    watched(
        store,
        lambda: put(store, {key: b'{"state":"pending"}', "/calico/ipam/v2/host/n1": b""}),
        lambda: put(store, {key: b'{"state":"confirmed"}'}),
        kind=BlockAffinity,
    )

    told = capsys.readouterr().out.splitlines()
    assert ["n1"] * 2 == [line.split()[0] for line in told]
    assert ["pending", "confirmed"] == [
        next(word for word in ("pending", "confirmed") if word in line) for line in told
    ]


def test_what_cannot_be_understood_is_named_and_the_watch_goes_on(capsys):
    store = MemoryStore()
    key, _ = stored_resource("nodes", "Node", "bad", {})

    watched(store, lambda: put(store, {key: b"junk"}), lambda: put(store, labelled("a", "1")))

    captured = capsys.readouterr()
    assert "a\n" == captured.out
    assert f"stored value of {key} is not usable" in captured.err


def test_a_store_that_is_away_for_a_while_is_waited_for(capsys, monkeypatch):
    store = MemoryStore()
    read = store.read

    def away(*_args, **_options):
        raise StoreUnavailableError("etcd is away")

    watched(
        store,
        lambda: monkeypatch.setattr(store, "read", away),
        None,
        lambda: monkeypatch.setattr(store, "read", read),
        lambda: put(store, labelled("a", "1")),
    )

    captured = capsys.readouterr()
    assert "a\n" == captured.out
    told = ["poolctl: warning: etcd is away; waiting for it", "etcd answers again"]
    assert told == captured.err.splitlines()


def test_the_command_shows_all_and_then_what_changes(environ, poolctl, raw, etcd_endpoint):
    raw.put(*labelled("a", "1").popitem())
    process = subprocess.Popen(
        [sys.executable, "-m", "poolctl.main", "get", "node", "-w"],
        env={**environ, "ETCD_ENDPOINTS": etcd_endpoint, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    head = [process.stdout.readline(), process.stdout.readline()]
    time.sleep(0.5)

    raw.put(*labelled("b", "1").popitem())
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert ["NAME\n", "a\n", "b\n"] == [*head, line]
    assert INTERRUPTED == process.returncode


def test_a_timeout_that_is_given_ends_a_watch(program, raw, etcd_endpoint):
    started = time.monotonic()

    result = program("--timeout", "1", "get", "node", "-w", ETCD_ENDPOINTS=etcd_endpoint)

    assert (0, "NAME\n") == (result.returncode, result.stdout)
    assert time.monotonic() - started >= 1
