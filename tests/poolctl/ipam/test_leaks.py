"""`poolctl ipam release --from-report`: only what is still as the reports say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from poolctl.config import Session
from poolctl.ipam import leaks
from poolctl.report import INTERRUPTED, REFUSED, UNKNOWN, USAGE
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.request import AssignIP, AutoAssign, Release, ReleaseByHandle, ReleaseIPs
from poolmgr.core.txn import EPOCH_KEY, Conflict, Fetch, Txn
from poolmgr.errors import CommitUnknownError
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.hooked import interrupt
from tests.support.poolctl import CLUSTER, on, pool, stored

CLEAN = "0 refused, as they belong to somebody else by now"


class Rival(MemoryStore):
    """A store where somebody else may do something right before a deletion of handles."""

    before: Callable[[], object] | None = None

    def commit(self, txn, *, timeout_s=2.0):
        act, self.before = (self.before, None) if _is_deletion(txn) else (None, self.before)
        if act:
            act()
        return super().commit(txn, timeout_s=timeout_s)


def _is_deletion(txn: Txn) -> bool:
    return bool(txn.deletes) and not txn.puts


class Reports:
    """A store with a pool, and reports on it."""

    def __init__(self, folder) -> None:
        self.store, self._folder = Rival(), folder
        self.run = on(self.store)
        self.run("apply", "-f", "-", stdin=pool())
        self.change_cluster(datastoreReady=False)

    def put(self, key: str, value: bytes) -> int:
        """Write as another program does, and return the revision."""
        epoch = stored(self.store).get(EPOCH_KEY)
        done = self.store.commit(Txn(expect={}, epoch=epoch, puts={key: value}))
        assert not isinstance(done, Conflict)
        return done.revision

    def change_cluster(self, **spec) -> None:
        value = json.loads(stored(self.store)[CLUSTER])
        value["spec"] |= spec
        self.put(CLUSTER, json.dumps(value).encode())

    def orphan(self, handle: str, *blocks: str) -> int:
        counts = json.dumps({"block": dict.fromkeys(blocks or ("10.10.0.0/26",), 1)})
        return self.put(records.handle_key(handle), counts.encode())

    def write(self, *leaked: str, name: str = "r.json", handles=None, ours=True, **head) -> str:
        """Write a report that calls these addresses leaked, as they are assigned now."""
        found = self.store.read(Fetch(keys=frozenset({CLUSTER}))).found[CLUSTER]
        allocations = {
            str(entry.address): [
                {
                    "ip": str(entry.address),
                    **({"handle": entry.handle} if entry.handle else {}),
                    "sequenceNumber": entry.sequence_number,
                    "inUse": str(entry.address) not in leaked,
                    "owners": None,
                }
            ]
            for entry in Audit(self.store).entries()
        }
        report = {
            "version": "",
            "clusterGUID": json.loads(found.value)["spec"]["clusterGUID"],
            "clusterInformationRevision": str(found.mod_revision),
            **({"checkedBy": "poolctl 1"} if ours else {}),
            **head,
            "allocations": allocations,
            "leakedHandles": [
                {"ID": id_, "UID": None, "Revision": str(at)}
                for id_, at in (handles or {}).items()
            ],
        }
        path = self._folder / name
        path.write_text(json.dumps(report))
        return str(path)

    def release(self, *paths: str, more=("--yes",)):
        options = [option for path in paths for option in ("--from-report", path)]
        return self.run("ipam", "release", *options, *more)

    def held(self) -> dict[str, str | None]:
        """Return address -> handle."""
        return {str(each.address): each.handle for each in Audit(self.store).entries()}


@pytest.fixture
def reports(tmp_path):
    return Reports(tmp_path)


def test_leaked_addresses_and_handles_go_and_others_stay(reports):
    gone, kept = attach(reports.store, "c1"), attach(reports.store, "c2")
    path = reports.write(gone, handles={"orphan": reports.orphan("orphan")})

    result = reports.release(path)

    assert 0 == result.exit_code
    assert [
        f"addresses: 1 released, 0 not assigned any more, {CLEAN}",
        "handles: 1 deleted, 0 not there any more, 0 kept, as they were changed or hold "
        "addresses by now",
    ] == result.stdout.splitlines()
    assert {kept: "net-a.c2"} == reports.held()
    assert [] == list(Audit(reports.store))


def test_the_same_report_again_finds_nothing_to_do(reports):
    path = reports.write(attach(reports.store, "c1"), handles={"o": reports.orphan("o")})
    reports.release(path)

    result = reports.release(path)

    assert 0 == result.exit_code
    assert f"addresses: 0 released, 1 not assigned any more, {CLEAN}" in result.stdout
    assert "handles: 0 deleted, 1 not there any more" in result.stdout


def test_who_has_the_address_by_now_keeps_it(reports):
    address, other = attach(reports.store, "c1"), attach(reports.store, "c2")
    path = reports.write(address, other)
    ipam = IPAM(reports.store)
    ipam.release_ips(ReleaseIPs(releases=(Release(address=parse_address(address)),)))
    ipam.assign_ip(
        AssignIP(addresses=(parse_address(address),), host="node-a", handle="net-a.c1")
    )

    result = reports.release(path)

    assert REFUSED == result.exit_code
    assert (
        f"poolctl: error: {address} is kept: it was assigned anew, of handle net-a.c1"
        in result.stderr
    )
    assert "addresses: 1 released, 0 not assigned any more, 1 refused" in result.stdout
    assert {address: "net-a.c1"} == reports.held()


def test_an_address_that_cools_down_by_now_is_not_assigned_any_more(reports):
    config = json.dumps({"auto_allocate_blocks": True, "ipCooldownSeconds": 3600})
    reports.put(records.CONFIG_KEY, config.encode())
    address = attach(reports.store, "c1")
    path = reports.write(address)
    reports.release(path)
    assert {address: None} == reports.held()

    result = reports.release(path)

    assert (0, "") == (result.exit_code, result.stderr)
    assert f"addresses: 0 released, 1 not assigned any more, {CLEAN}" in result.stdout


def test_of_several_reports_counts_what_all_agree_on(reports):
    one, two = attach(reports.store, "c1"), attach(reports.store, "c2")
    first, second = reports.orphan("first"), reports.orphan("second")
    paths = (
        reports.write(one, two, handles={"first": first, "second": second}),
        reports.write(two, name="s.json", handles={"second": second, "first": first - 1}),
    )

    result = reports.release(*paths)

    assert 0 == result.exit_code
    assert {one: "net-a.c1"} == reports.held()
    keys = stored(reports.store)
    assert records.handle_key("first") in keys
    assert records.handle_key("second") not in keys


def test_a_report_on_nothing_asks_and_does_nothing(reports):
    attach(reports.store, "c1")
    before = stored(reports.store)

    result = reports.release(reports.write(), more=())

    assert (0, "The reports agree on nothing that is leaked.\n") == (
        result.exit_code,
        result.stdout,
    )
    assert before == stored(reports.store)


def test_hundreds_of_addresses_and_handles_are_released_in_parts(reports):
    request = AutoAssign(host="node-a", handle="many", count={4: 600})
    leaked = [
        str(each.address) for each in IPAM(reports.store).auto_assign(request).allocations
    ]
    handles = {f"o{n}": reports.orphan(f"o{n}", f"10.10.{n % 7}.0/26") for n in range(250)}

    result = reports.release(reports.write(*leaked, handles=handles))

    assert 0 == result.exit_code
    assert "addresses: 600 released" in result.stdout
    assert "handles: 250 deleted" in result.stdout
    assert [] == list(Audit(reports.store))


# What protects running pods.


def test_by_calicoctls_reports_alone_no_address_of_ours_is_released(reports):
    address = attach(reports.store, "c1")
    path = reports.write(address, ours=False)

    refused = reports.release(path)
    other = reports.release(path, more=("--yes", "--force"))
    held = reports.held()
    forced = reports.release(path, more=("--yes", "--trust-calicoctl"))

    assert (REFUSED, "") == (refused.exit_code, refused.stdout)
    assert REFUSED == other.exit_code
    assert f"1 of the addresses were given by poolmgr, such as {address}" in refused.stderr
    assert "poolctl ipam check -o FILE --kubeconfig FILE" in refused.stderr
    assert {address: "net-a.c1"} == held
    assert 0 == forced.exit_code
    assert "poolctl: warning: 1 of the addresses were given by poolmgr" in forced.stderr
    assert {} == reports.held()


def test_a_report_of_ours_beside_it_decides(reports):
    leaked, used = attach(reports.store, "c1"), attach(reports.store, "c2")
    theirs = reports.write(leaked, used, ours=False, name="theirs.json")

    result = reports.release(theirs, reports.write(leaked))

    assert 0 == result.exit_code
    assert {used: "net-a.c2"} == reports.held()


def test_calicos_own_addresses_are_released_by_its_reports(reports):
    IPAM(reports.store).auto_assign(AutoAssign(host="node-a", handle="k", count={4: 1}))
    (address,) = reports.held()

    result = reports.release(reports.write(address, ours=False))

    assert 0 == result.exit_code
    assert {} == reports.held()


@pytest.mark.parametrize(
    ("head", "spec", "message", "forcible"),
    [
        ({"clusterGUID": "other"}, {}, "is of another cluster: clusterGUID other", False),
        ({"version": "v3.30"}, {}, "is of version v3.30, but the datastore says <none>", True),
        ({"clusterInformationRevision": "1"}, {}, "since all these reports were made", False),
        ({}, {"datastoreReady": True}, "the datastore is not locked", True),
    ],
)
def test_a_report_must_fit_the_datastore(reports, head, spec, message, forcible):
    address = attach(reports.store, "c1")
    reports.change_cluster(**spec)
    path = reports.write(address, **head)

    refused = reports.release(path)
    forced = reports.release(path, more=("--yes", "--force"))

    assert (REFUSED, "") == (refused.exit_code, refused.stdout)
    assert message in refused.stderr
    assert forcible == (0 == forced.exit_code)
    assert forcible == ({} == reports.held())


def test_one_report_that_is_up_to_date_is_enough(reports):
    address = attach(reports.store, "c1")
    old = reports.write(address, name="old.json", clusterInformationRevision="1")

    assert 0 == reports.release(old, reports.write(address)).exit_code


def test_a_store_without_a_cluster_fits_no_report(tmp_path, reports):
    path = reports.write()

    result = on(MemoryStore())("ipam", "release", "--from-report", path)

    assert REFUSED == result.exit_code
    assert "the datastore has no ClusterInformation" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"), [(None, "No such file or directory"), ("no", "is not JSON")]
)
def test_a_file_that_is_no_report_is_named(reports, tmp_path, text, message):
    path = tmp_path / "bad.json"
    if text:
        path.write_text(text)

    result = reports.release(str(path))

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert f"poolctl: error: {path}" in result.stderr
    assert message in result.stderr


def test_in_a_script_it_must_be_confirmed_and_a_dry_run_need_not(reports):
    address = attach(reports.store, "c1")
    path = reports.write(address, handles={"o": reports.orphan("o")})
    before = stored(reports.store)

    unconfirmed = reports.release(path, more=())
    dry = reports.release(path, more=("--dry-run",))

    assert (USAGE, "") == (unconfirmed.exit_code, unconfirmed.stdout)
    assert 0 == dry.exit_code
    assert [
        f"{address} leaked, of handle net-a.c1 (network net-a, interface eth0, node node-a)",
        "handle o would be deleted",
        "addresses: 1 would be released, 0 not assigned any more, 0 kept, as they were "
        "assigned anew",
        "handles: 1 would be deleted, 0 not there any more, 0 kept, as they were changed or "
        "hold addresses by now",
    ] == dry.stdout.splitlines()
    assert before == stored(reports.store)


def test_a_dry_run_compares_handles_as_a_real_one_does(reports):
    attach(reports.store, "c1")
    key = records.handle_key("net-a.c1")
    holds = reports.store.read(Fetch(keys=frozenset({key}))).found[key].mod_revision
    old, same = reports.orphan("old"), reports.orphan("same")
    handles = {"net-a.c1": holds, "old": old, "same": same, "gone": 1}
    path = reports.write(handles=handles)
    reports.orphan("old")
    before = stored(reports.store)

    dry = reports.release(path, more=("--dry-run",))

    assert before == stored(reports.store)
    real = reports.release(path)
    assert [REFUSED, REFUSED] == [dry.exit_code, real.exit_code]
    counts = "1 not there any more, 2 kept, as they were changed or hold addresses by now"
    assert f"handles: 1 would be deleted, {counts}\n" in dry.stdout
    assert f"handles: 1 deleted, {counts}\n" in real.stdout
    assert ["handle same would be deleted"] == [
        line for line in dry.stdout.splitlines() if line.startswith("handle ")
    ]


def test_an_address_that_its_handle_got_again_is_kept_for_its_number(reports):
    address = attach(reports.store, "c1")
    path = reports.write(address)
    text = Path(path).read_text()
    (entry,) = Audit(reports.store).entries()
    number = entry.sequence_number
    Path(path).write_text(text.replace(str(number), str(number - 1)))

    result = reports.release(path)

    assert REFUSED == result.exit_code
    assert f"its sequence number is {number}, and {number - 1} in the report" in result.stderr
    assert {address: "net-a.c1"} == reports.held()


def test_a_report_that_contradicts_itself_releases_nothing(reports):
    address = attach(reports.store, "c1")
    path = reports.write(address)
    value = json.loads(Path(path).read_text())
    (entry,) = value["allocations"][address]
    value["allocations"][address] = [entry, {**entry, "inUse": True}]
    Path(path).write_text(json.dumps(value))

    result = reports.release(path)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert "both in use and leaked" in result.stderr
    assert {address: "net-a.c1"} == reports.held()


def test_no_means_no(reports, monkeypatch):
    path = reports.write(attach(reports.store, "c1"))
    before = stored(reports.store)
    monkeypatch.setattr("poolctl.ipam.leaks.confirmed", lambda question, *, yes: yes)

    result = reports.release(path, more=())

    assert (REFUSED, "nothing was released\n") == (result.exit_code, result.stdout)
    assert before == stored(reports.store)


# Handles.


def test_a_handle_that_was_written_again_is_kept(reports):
    path = reports.write(handles={"o": reports.orphan("o"), "p": reports.orphan("p")})
    reports.orphan("o")

    result = reports.release(path)

    assert REFUSED == result.exit_code
    assert "handles: 1 deleted, 0 not there any more, 1 kept" in result.stdout
    assert records.handle_key("o") in stored(reports.store)


def test_a_handle_that_holds_an_address_by_now_is_kept(reports):
    attach(reports.store, "c1")
    key = records.handle_key("net-a.c1")
    revision = reports.store.read(Fetch(keys=frozenset({key}))).found[key].mod_revision

    result = reports.release(reports.write(handles={"net-a.c1": revision}))

    assert REFUSED == result.exit_code
    assert "handles: 0 deleted, 0 not there any more, 1 kept" in result.stdout
    assert key in stored(reports.store)


@pytest.mark.parametrize(
    ("key", "deleted"),
    [
        (records.handle_key("c"), 2),
        (records.block_key(parse_network("10.10.1.0/26")), 2),
        (EPOCH_KEY, 0),
    ],
)
def test_a_handle_about_which_something_changes_just_then_is_kept(reports, key, deleted):
    handles = {name: reports.orphan(name, "10.10.0.0/26") for name in ("a", "b")}
    handles["c"] = reports.orphan("c", "10.10.1.0/26")
    path = reports.write(handles=handles)
    reports.store.before = lambda: reports.put(key, b"{}")

    result = reports.release(path)

    assert REFUSED == result.exit_code
    assert (
        f"handles: {deleted} deleted, 0 not there any more, {3 - deleted} kept" in result.stdout
    )
    assert records.handle_key("c") in stored(reports.store)


def test_an_unreadable_handle_and_one_of_very_many_blocks_are_kept(reports):
    key = records.handle_key("junk")
    blocks = [f"10.10.{n}.0/26" for n in range(130)]
    path = reports.write(
        handles={"junk": reports.put(key, b"junk"), "wide": reports.orphan("wide", *blocks)}
    )

    result = reports.release(path)

    assert REFUSED == result.exit_code
    assert "handles: 0 deleted, 0 not there any more, 2 kept" in result.stdout


def test_handles_of_an_unknown_outcome_are_counted_as_such(reports, capsys):
    path = reports.write(handles={"o": reports.orphan("o")})

    def silence():
        raise CommitUnknownError("no answer")

    reports.store.before = silence
    session = Session(None, None, 5)
    session.store = reports.store

    with pytest.raises(CommitUnknownError):
        leaks.release_leaks(session, [path], leaks.Manner(yes=True))

    assert "by now; of 1 it is unknown\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("again", "status", "counts"),
    [
        ((), 0, "2 released, 1 not assigned any more, 0 refused"),
        (("net-a.c1",), REFUSED, "2 released, 0 not assigned any more, 1 refused"),
    ],
)
def test_what_a_rival_does_meanwhile_to_one_address_does_not_keep_the_others(
    reports, monkeypatch, again, status, counts
):
    names = ("c1", "c2", "c3")
    leaked = [attach(reports.store, name) for name in names]
    path = reports.write(*leaked)

    def dawdle(_question, *, yes):
        ipam = IPAM(reports.store)
        ipam.release_by_handle(ReleaseByHandle(handles=("net-a.c1",)))
        for handle in again:
            address = parse_address(leaked[0])
            ipam.assign_ip(AssignIP(addresses=(address,), host="node-a", handle=handle))
        return yes

    monkeypatch.setattr("poolctl.ipam.leaks.confirmed", dawdle)

    result = reports.release(path)

    assert status == result.exit_code
    assert f"addresses: {counts}" in result.stdout
    assert dict.fromkeys(leaked[: len(again)], "net-a.c1") == reports.held()


def test_handles_of_an_interrupted_deletion_are_of_unknown_outcome(reports):
    path = reports.write(handles={"o": reports.orphan("o")})
    reports.store.before = interrupt

    result = reports.release(path)

    assert INTERRUPTED == result.exit_code
    assert "handles: 0 deleted" in result.stdout
    assert result.stdout.endswith("by now; of 1 it is unknown\n")


def test_a_leaked_address_that_is_anothers_after_a_lost_answer_is_not_called_refused(
    reports, monkeypatch
):
    address = attach(reports.store, "c1")
    path = reports.write(address)
    commit = reports.store.commit

    def lose(txn, **options):
        monkeypatch.setattr(reports.store, "commit", commit)
        commit(txn, **options)
        request = AssignIP(addresses=(parse_address(address),), host="node-a", handle="new")
        IPAM(reports.store).assign_ip(request)
        raise CommitUnknownError("answer lost")

    monkeypatch.setattr(reports.store, "commit", lose)

    result = reports.release(path)

    assert UNKNOWN == result.exit_code
    assert "addresses: 0 released, 0 not assigned any more, 0 refused" in result.stdout
    assert "by now; of 1 it is unknown\n" in result.stdout
