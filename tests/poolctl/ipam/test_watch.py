"""`--watch`: what is shown again, and when."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from poolctl import main as program
from poolctl.config import Session
from poolctl.ipam import watch
from poolctl.ipam.output import JSON, TABLE, YAML
from poolctl.ipam.watch import watched
from poolmgr.core.txn import Txn
from poolmgr.errors import StoreUnavailableError
from poolmgr.store.memory import MemoryStore


class Clock:
    """Time that passes in sleeps only; each is noted, and may change the store."""

    def __init__(self, changes: dict[int, Callable[[], object]]) -> None:
        self.now, self.slept, self.changes = 0.0, [], changes

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if change := self.changes.pop(len(self.slept), None):
            change()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store):
    return lambda: store.commit(Txn(expect={}, puts={"/a": b"x"}))


def interrupt():
    raise KeyboardInterrupt


def run(store, monkeypatch, changes, *, args=(), look_s=0.0, output=TABLE, fail=None, text=str):
    """Watch in a command; returns its result, the clock, and how often was looked."""
    clock, looks = Clock(changes), []
    monkeypatch.setattr("time.monotonic", clock.monotonic)
    monkeypatch.setattr("time.sleep", clock.sleep)
    timeout_s = float(args[1]) if args else None

    def look() -> int:
        looks.append(clock.now)
        clock.now += look_s
        if fail and len(looks) > 1:
            raise fail
        print(text(len(looks)))
        return len(looks)

    @program.main.command("watch-this")
    def _command() -> int:
        return watched(session, look, output=output)

    session = Session(None, None, timeout_s)
    session.store = store
    try:
        result = CliRunner().invoke(program.main, [*args, "watch-this"], obj=session)
    finally:
        del program.main.commands["watch-this"]
    return result, clock, looks


def test_it_is_shown_again_when_the_store_has_changed_until_interrupted(store, monkeypatch):
    changes = {3: put(store), 5: put(store), 40: interrupt}

    result, clock, looks = run(store, monkeypatch, changes)

    assert 130 == result.exit_code
    assert [0, 6, 10] == looks, "the default of --timeout ends no watch"
    assert {2.0} == {*clock.slept}
    assert "1\n\n2\n\n3\n" == result.stdout


def test_documents_are_not_separated_by_more_than_they_bring(store, monkeypatch):
    changes = {1: put(store), 2: interrupt}
    as_json, _, _ = run(store, monkeypatch, changes, output=JSON)
    as_yaml, _, _ = run(store, monkeypatch, {1: put(store), 2: interrupt}, output=YAML)

    assert "1\n2\n" == as_json.stdout
    assert "1\n---\n2\n" == as_yaml.stdout


@pytest.mark.parametrize(
    "text", ["{}\na: 1", '{{\n  "revision": {},\n  "a": 1\n}}', "revision: {}"]
)
def test_an_answer_that_is_the_same_is_not_shown_again(store, monkeypatch, text):
    numbered = text if "revision" in text else text.replace("{}", "x")

    result, _, looks = run(
        store, monkeypatch, {1: put(store), 2: interrupt}, text=numbered.format, output=JSON
    )

    assert 2 == len(looks)
    assert f"{numbered.format(1)}\n" == result.stdout


def test_no_more_than_a_fifth_of_the_time_is_spent_looking(store, monkeypatch):
    changes = {n: put(store) for n in range(1, 5)} | {5: interrupt}

    _, clock, _ = run(store, monkeypatch, changes, look_s=3)

    assert {12.0} == {*clock.slept}


def test_a_timeout_that_was_given_ends_it_with_the_last_status(store, monkeypatch):
    result, clock, looks = run(store, monkeypatch, {1: put(store)}, args=("--timeout", "7"))

    assert (2, 2) == (result.exit_code, len(looks))
    assert 7 == clock.now


def test_a_look_that_the_end_of_the_time_cuts_off_is_no_error(store, monkeypatch):
    result, _, looks = run(
        store,
        monkeypatch,
        {1: put(store)},
        args=("--timeout", "6"),
        look_s=1,
        fail=StoreUnavailableError("too late"),
    )

    assert (1, "") == (result.exit_code, result.stderr)
    assert 2 == len(looks)


def test_a_store_that_goes_away_is_waited_for(store, monkeypatch):
    changes = {1: put(store), 4: interrupt}

    result, _, looks = run(store, monkeypatch, changes, fail=StoreUnavailableError("gone"))

    assert 4 == len(looks), "what failed is tried again"
    assert 1 == result.stderr.count("poolctl: warning: gone; waiting for it\n")


def test_it_is_said_when_the_store_is_back(store, monkeypatch):
    read = store.read

    def away(*_args, **_options):
        raise StoreUnavailableError("gone")

    changes = {
        1: lambda: monkeypatch.setattr(store, "read", away),
        3: lambda: monkeypatch.setattr(store, "read", read),
        5: interrupt,
    }
    result, _, _ = run(store, monkeypatch, changes)

    told = ["poolctl: warning: gone; waiting for it", "etcd answers again"]
    assert told == result.stderr.split("\n")[:2]


def test_a_store_that_is_not_there_at_first_is_an_error(monkeypatch):
    class Gone(MemoryStore):
        def read(self, fetch, **options):
            raise StoreUnavailableError("gone")

    result, _, looks = run(Gone(), monkeypatch, {})

    assert (3, []) == (result.exit_code, looks)


def test_a_change_during_a_look_is_not_missed(store, monkeypatch):
    clock_changes = {4: interrupt}
    looks = []
    session = Session(None, None, 30)
    session.store = store
    clock = Clock(clock_changes)
    monkeypatch.setattr("time.sleep", clock.sleep)

    def look() -> int:
        looks.append(1)
        if len(looks) == 1:
            put(store)()
        return 0

    @program.main.command("watch-this")
    def _command() -> int:
        return watch.watched(session, look, output=JSON)

    try:
        CliRunner().invoke(program.main, ["watch-this"], obj=session)
    finally:
        del program.main.commands["watch-this"]

    assert 2 == len(looks)
