"""
`poolctl ipam release --from-report`: give back what a check found to be leaked.

Rules:

1. Of several reports only that counts in which all agree.
2. An address is released only from the owner that the reports name: handle and sequence number
   must be what they were.
3. A handle is deleted only at the revision that the reports name, and only while no block that
   it names has an address of it; the same transaction compares these blocks.
4. calicoctl does not look at pods: on etcd it takes every address for leaked that is not in a
   workload of Calico's own main plugin. So of its reports no address of ours, which name their
   network, is released, unless the user insists or a report of ours agrees.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from poolctl.config import Session
from poolctl.ipam.legend import plural
from poolctl.ipam.release import Tally, release_all, whose
from poolctl.ipam.report_file import Report
from poolctl.report import REFUSED, complain, remark, say
from poolctl.terminal import confirmed, progress
from poolmgr.api import ClusterInformation
from poolmgr.api.clusterinformation import DEFAULT
from poolmgr.cidr import IPAddress, parse_network
from poolmgr.core.live import Entry
from poolmgr.core.outline import counts_of_handle, outline
from poolmgr.core.records import block_key, decode_resource, handle_key, resource_key
from poolmgr.core.request import Release
from poolmgr.core.txn import EPOCH_KEY, Committed, Fetch, Reading, Txn
from poolmgr.errors import (
    CommitUnknownError,
    CorruptStateError,
    InvalidRequestError,
    RefusedError,
)
from poolmgr.survey import Audit

T = TypeVar("T")

_CLUSTER = resource_key(ClusterInformation.plural, DEFAULT)
_SHOWN = 10
_HANDLES_AT_ONCE = 100
_COMPARED = 120
"""Handles and blocks in a transaction; etcd takes 128 compares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """
    How to go about it.

    Attributes:
        yes: Do not ask.
        force: Also from a datastore that is not locked, and with reports of another version.
        trust_calicoctl: Also addresses of ours that only calicoctl calls leaked.
    """

    yes: bool = False
    force: bool = False
    trust_calicoctl: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class _Work:
    """
    What is to be done.

    Attributes:
        gone: Addresses that are not assigned any more.
        refused: Addresses that belong to somebody else by now.
        ours: An address that names its network; None = there is none.
    """

    releases: list[Release] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    gone: int = 0
    refused: int = 0
    ours: Entry | None = None
    ours_count: int = 0


def release_leaks(session: Session, paths: Sequence[str], manner: Manner) -> int:
    """
    Release what all reports call leaked.

    Returns:
        The exit status: REFUSED when anything is not what the reports say any more.

    Raises:
        InvalidRequestError: A file is not a report.
        RefusedError: A report does not fit the datastore; nothing was released.
        StoreError: Not all was done; what was is told.
        click.UsageError: Nobody can be asked.
    """
    reports = _fitting(session, paths, force=manner.force)
    leaked = _agreed(
        [{(e.address, e.handle, e.sequence_number) for e in r.leaked()} for r in reports]
    )
    handles = dict(_agreed([set(report.leaked_handles()) for report in reports]))
    work = _sorted_out(session, {a: (h, n) for a, h, n in leaked}, show_all=manner.dry_run)
    if work.ours and not any(report.compared for report in reports):
        _warn_or_refuse(work.ours, work.ours_count, trusts=manner.trust_calicoctl)
    if not leaked and not handles:
        say("The reports agree on nothing that is leaked.")
        return 0
    for line in work.shown:
        (say if manner.dry_run else remark)(line)
    if manner.dry_run:
        return _tell_plan(session, work, handles)
    addresses = plural(len(work.releases), "address", "es")
    question = f"Release {addresses}, and delete at most {plural(len(handles), 'handle')}"
    if (work.releases or handles) and not confirmed(question, yes=manner.yes):
        say("nothing was released")
        return REFUSED
    return _do(session, work, handles)


def _do(session: Session, work: _Work, handles: Mapping[str, int]) -> int:
    tally = Tally(gone=work.gone, refused=work.refused)
    deleted = _Deleted()
    try:
        release_all(session, work.releases, tally)
        _delete_handles(session, handles, deleted)
    finally:
        say(f"addresses: {tally}")
        say(f"handles: {deleted}")
    return REFUSED if tally.refused or deleted.changed else 0


def _tell_plan(session: Session, work: _Work, handles: Mapping[str, int]) -> int:
    """Compare as a real run does, and return the exit status that it would have now."""
    told, names = _Deleted(verb="would be deleted"), list(handles)
    for at in range(0, len(names), _HANDLES_AT_ONCE):
        part = {name: handles[name] for name in names[at : at + _HANDLES_AT_ONCE]}
        for deleted, _ in _deletions(session, part, None, told):
            told.deleted += len(deleted)
            for handle in deleted:
                say(f"handle {handle} would be deleted")
    say(
        f"addresses: {len(work.releases):,} would be released, {work.gone:,} not assigned any "
        f"more, {work.refused:,} kept, as they were assigned anew"
    )
    say(f"handles: {told}")
    return REFUSED if work.refused or told.changed else 0


def _fitting(session: Session, paths: Sequence[str], *, force: bool) -> list[Report]:
    """Read the heads of the reports, and check that they fit what is stored."""
    reading = session.store.read(Fetch(keys=frozenset({_CLUSTER})), timeout_s=session.left_s)
    found = reading.found[_CLUSTER]
    if found is None:
        raise RefusedError("the datastore has no ClusterInformation that a report could name")
    spec = decode_resource(ClusterInformation, _CLUSTER, found.value, found.mod_revision).spec
    reports = [_read(path) for path in paths]
    for report in reports:
        if report.cluster != spec.cluster_guid:
            raise RefusedError(
                f"{report.path} is of another cluster: clusterGUID "
                f"{report.cluster or '<none>'}, but the datastore has "
                f"{spec.cluster_guid or '<none>'}"
            )
        if report.version != spec.calico_version and not force:
            raise RefusedError(
                f"{report.path} is of version {report.version or '<none>'}, but the datastore "
                f"says {spec.calico_version or '<none>'}; check again, or insist with --force"
            )
    if all(report.revision != str(found.mod_revision) for report in reports):
        raise RefusedError(
            "the datastore was locked, unlocked or renamed since all these reports were made; "
            "write a new one, and leave the lock as it is meanwhile"
        )
    if spec.datastore_ready is not False and not force:
        raise RefusedError(
            "the datastore is not locked, so that addresses may change hands meanwhile; lock "
            "it with 'poolctl datastore migrate lock' and check again, or insist with --force: "
            "each address is still compared with the report"
        )
    return reports


def _read(path: str) -> Report:
    try:
        return Report(path)
    except OSError as error:
        raise InvalidRequestError(f"{path}: {error.strerror}") from error


def _agreed(sets: Sequence[set[T]]) -> set[T]:
    return set.intersection(*sets)


def _sorted_out(
    session: Session, leaked: Mapping[IPAddress, tuple[str, int]], *, show_all: bool
) -> _Work:
    """Compare what the reports say with what is stored now."""
    work = _Work()
    if not leaked:
        return work
    assigned = 0
    with progress("comparing") as advance:
        for entry in Audit(session.store, timeout_s=session.scan_s, advance=advance).entries():
            if entry.cooling or entry.address not in leaked:
                continue
            assigned += 1
            handle, number = leaked[entry.address]
            if ((entry.handle or ""), entry.sequence_number) != (handle, number):
                work.refused += 1
                complain(f"{entry.address} is kept: {_why_kept(entry, handle, number)}")
                continue
            work.releases.append(
                Release(address=entry.address, handle=entry.handle, sequence_number=number)
            )
            if show_all or len(work.shown) < _SHOWN:
                work.shown.append(f"{entry.address} leaked, {whose(entry)}")
            if "network" in entry.attributes:
                work.ours, work.ours_count = entry, work.ours_count + 1
    work.gone = len(leaked) - assigned
    return work


def _why_kept(entry: Entry, handle: str, number: int) -> str:
    if (entry.handle or "") != handle:
        return f"it is {whose(entry)} by now"
    return (
        f"it was assigned anew, {whose(entry)}: its sequence number is "
        f"{entry.sequence_number}, and {number} in the report"
    )


def _warn_or_refuse(example: Entry, count: int, *, trusts: bool) -> None:
    why = (
        f"{count:,} of the addresses were given by poolmgr, such as {example.address}, "
        f"{whose(example)}; calicoctl does not look at pods and calls them leaked although "
        "they may be in use"
    )
    if not trusts:
        raise RefusedError(
            f"{why}; write a report with 'poolctl ipam check -o FILE --kubeconfig FILE' and "
            "name it too, or insist with --trust-calicoctl"
        )
    remark(f"poolctl: warning: {why}")


@dataclass(slots=True)
class _Deleted:
    """What became of handles."""

    deleted: int = 0
    gone: int = 0
    changed: int = 0
    unknown: int = 0
    verb: str = "deleted"

    def __str__(self) -> str:
        """Count in one line."""
        unknown = f"; of {self.unknown:,} it is unknown" if self.unknown else ""
        return (
            f"{self.deleted:,} {self.verb}, {self.gone:,} not there any more, {self.changed:,} "
            f"kept, as they were changed or hold addresses by now{unknown}"
        )


def _delete_handles(session: Session, handles: Mapping[str, int], told: _Deleted) -> None:
    reading = session.store.read(Fetch(keys=frozenset({EPOCH_KEY})), timeout_s=session.left_s)
    found = reading.found[EPOCH_KEY]
    epoch = found.value if found else None
    names = list(handles)
    with progress("deleting handles", len(names)) as advance:
        for at in range(0, len(names), _HANDLES_AT_ONCE):
            part = {name: handles[name] for name in names[at : at + _HANDLES_AT_ONCE]}
            _delete_part(session, part, epoch, told)
            advance(len(part))


def _delete_part(
    session: Session, handles: Mapping[str, int], epoch: bytes | None, told: _Deleted
) -> None:
    for names, txn in _deletions(session, handles, epoch, told):
        try:
            result = session.store.commit(txn, timeout_s=session.left_s)
        except (CommitUnknownError, KeyboardInterrupt):
            told.unknown += len(names)
            raise
        if isinstance(result, Committed):
            told.deleted += len(names)
        elif len(names) == 1:
            told.changed += 1
        else:  # Something was changed just now; what has nothing to do with it need not stay.
            for name in names:
                _delete_part(session, {name: handles[name]}, epoch, told)


def _deletions(
    session: Session, handles: Mapping[str, int], epoch: bytes | None, told: _Deleted
) -> Iterator[tuple[list[str], Txn]]:
    """Yield ids, and a transaction that deletes them, of handles which nothing contradicts."""
    keys = frozenset(map(handle_key, handles))
    reading = session.store.read(Fetch(keys=keys), timeout_s=session.left_s)
    expect: dict[str, int] = {}
    names: list[str] = []
    for handle, revision in handles.items():
        key = handle_key(handle)
        found = reading.found[key]
        if found is None:
            told.gone += 1
            continue
        compared = _unheld(session, handle, found.value)
        if found.mod_revision != revision or compared is None:
            told.changed += 1
            continue
        if names and len(expect) + len(compared) >= _COMPARED:
            yield names, _deletion(names, expect, epoch)
            expect, names = {}, []
        # Who changes the handle, or takes an address for it meanwhile, keeps it.
        expect |= {key: revision, **compared}
        names.append(handle)
    if names:
        yield names, _deletion(names, expect, epoch)


def _deletion(names: Sequence[str], expect: Mapping[str, int], epoch: bytes | None) -> Txn:
    return Txn(expect=expect, deletes=frozenset(map(handle_key, names)), epoch=epoch)


def _unheld(session: Session, handle: str, raw: bytes) -> dict[str, int] | None:
    """
    Return the blocks that a handle names, and their revisions.

    None = one of them has an address of it, or nobody can tell.
    """
    try:
        cidrs = counts_of_handle(handle_key(handle), raw)
        keys = [block_key(parse_network(cidr)) for cidr in cidrs]
        if len(keys) >= _COMPARED:
            return None
        reading = _blocks(session, keys)
        for key, found in reading.items():
            if found and handle in outline(key, found[1]).held():
                return None
    except CorruptStateError:
        return None
    return {key: found[0] if found else 0 for key, found in reading.items()}


def _blocks(session: Session, keys: Sequence[str]) -> dict[str, tuple[int, bytes] | None]:
    if not keys:
        return {}
    reading: Reading = session.store.read(Fetch(keys=frozenset(keys)), timeout_s=session.left_s)
    return {
        key: (found.mod_revision, found.value) if found else None
        for key, found in reading.found.items()
    }
