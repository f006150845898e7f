"""What `poolctl doctor` thinks of etcd's members: version, leader, alarms, space, clock."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from email.utils import parsedate_to_datetime

from poolctl.doctor.findings import Finding, ok, problem, unknown, warning
from poolctl.doctor.greeting import Greeting
from poolmgr.errors import StoreError
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.members import DEFAULT_QUOTA, MemberStatus, look, loses_data, update_for
from poolmgr.store.settings import Endpoint

_SLOW_S = 0.1
_CLOCK_S = 5.0
_FULL = 0.8  # of the quota
_MANY_REVISIONS = 50_000

_REMEDIES = {
    "NOSPACE": "etcd refuses every write until there is room: compact it (etcdctl compact "
    "{revision}), defragment each member (etcdctl defrag --endpoints URL), then: etcdctl alarm "
    "disarm; and switch on automatic compaction, or raise --quota-backend-bytes",
    "CORRUPT": "the members' data differ: find the member that is wrong (etcdctl endpoint "
    "hashkv --cluster), take it out, put it in again with an empty data directory, then: "
    "etcdctl alarm disarm",
}
_COMPACTION = (
    "start each member with --auto-compaction-mode=periodic --auto-compaction-retention=1h"
)


def ask_all(
    store: EtcdStore, endpoints: Sequence[Endpoint], *, timeout_s: float
) -> tuple[list[MemberStatus], dict[Endpoint, StoreError]]:
    """Ask every endpoint at the same time; return what they say, and why others do not."""

    def ask(endpoint: Endpoint) -> MemberStatus | StoreError:
        try:
            return look(store, endpoint, timeout_s=timeout_s)
        except StoreError as error:
            return error

    with ThreadPoolExecutor(len(endpoints)) as executor:
        answers = list(executor.map(ask, endpoints))
    silent = {
        endpoint: each
        for endpoint, each in zip(endpoints, answers, strict=True)
        if isinstance(each, StoreError)
    }
    return [each for each in answers if isinstance(each, MemberStatus)], silent


def judge(members: Sequence[MemberStatus]) -> Iterator[Finding]:
    """Judge what members told."""
    if not members:
        return
    for each in members:
        yield _reachable(each)
    yield from _versions(members)
    yield from _cluster(members)
    yield from _alarms(members)
    for each in members:
        yield from _space(each)


def _reachable(member: MemberStatus) -> Finding:
    if member.read_s is None:
        return problem(
            "reachable",
            f"{member.endpoint} answers, but reads nothing that all members agree on: "
            f"{member.failure}",
            "look at its log and at the other members: more than half of them must run",
        )
    fact = f"{member.endpoint} reads in {1000 * member.read_s:.1f} ms"
    if member.read_s > _SLOW_S:
        return warning(
            "reachable", fact, "every ADD waits for this: look at the network, disks and load"
        )
    return ok("reachable", fact)


def _versions(members: Sequence[MemberStatus]) -> Iterator[Finding]:
    versions = sorted({each.version for each in members})
    for version in versions:
        if loses_data(version):
            yield problem(
                "version",
                f"etcd {version} can lose or corrupt data after a crash",
                f"update to {update_for(version)} or later",
            )
        elif safe := update_for(version):
            yield warning(
                "version",
                f"etcd {version} lacks security fixes",
                f"update to {safe} or later, one minor version after the other",
            )
        else:
            yield ok("version", f"etcd {version}")
    if len(versions) > 1:
        listed = ", ".join(f"{each.endpoint} {each.version}" for each in members)
        yield warning("version", f"versions differ: {listed}", "finish the update")


def _cluster(members: Sequence[MemberStatus]) -> Iterator[Finding]:
    clusters = sorted({f"{each.cluster:x}" for each in members})
    if len(clusters) > 1:
        listed = ", ".join(f"{each.endpoint} is of {each.cluster:x}" for each in members)
        yield problem(
            "cluster",
            f"the endpoints are of different clusters, so data are read and written here and "
            f"there: {listed}",
            "name the endpoints of one cluster",
        )
        return
    leaderless = [each.endpoint for each in members if not each.leader]
    learners = [each.endpoint for each in members if each.is_learner]
    if leaderless:
        yield problem(
            "cluster",
            f"no leader, so no writes, as seen by {', '.join(leaderless)}",
            "see that more than half of the members run and reach each other",
        )
    elif learners:
        yield warning(
            "cluster",
            f"{', '.join(learners)} is a learner, which serves no reads",
            "promote it",
        )
    else:
        yield ok("cluster", f"{clusters[0]} has a leader")


def _alarms(members: Sequence[MemberStatus]) -> Iterator[Finding]:
    told = [each.alarms for each in members if each.alarms is not None]
    raised = sorted({name for names in told for name in names})
    for name in raised:
        remedy = _REMEDIES.get(name, "see etcdctl alarm list")
        revision = max(each.revision for each in members)
        yield problem("alarms", f"etcd has raised {name}", remedy.format(revision=revision))
    if raised:
        return
    if told:
        yield ok("alarms", "none")
    else:
        yield unknown("alarms", "etcd tells them only to others", "etcdctl alarm list, as root")


def _space(member: MemberStatus) -> Iterator[Finding]:
    used = "" if member.size_in_use is None else f", {member.size_in_use:,} of them in use"
    fact = f"{member.endpoint} stores {member.size:,} bytes{used}"
    quota = member.quota or DEFAULT_QUOTA
    no_quota = f"its quota is not known ({quota:,} by default)"
    if member.quota:
        fact += f", may store {quota:,}"
    else:
        fact += f"; {no_quota}"
    if member.size > _FULL * quota:
        yield warning(
            "space",
            fact,
            "at the quota etcd refuses every write: compact, then defragment one member after "
            f"the other, or raise --quota-backend-bytes; {_COMPACTION}",
        )
    elif member.quota:
        yield ok("space", fact)
    else:
        yield unknown("space", fact, "see etcd's --quota-backend-bytes")


def compaction(revision: int, *, dropped: bool) -> Finding:
    """
    Judge whether old revisions go away.

    Args:
        dropped: Whether the first one has.
    """
    if dropped:
        return ok("compaction", f"revision {revision:,}, old ones are compacted away")
    fact = f"revision {revision:,}, and none was ever compacted away"
    if revision < _MANY_REVISIONS:
        return unknown(
            "compaction", f"{fact}; whether etcd will, it does not tell", _COMPACTION
        )
    return warning("compaction", f"{fact}: the database grows with every change", _COMPACTION)


def clock(greeting: Greeting) -> Finding:
    """Judge how far the clock of a member's host is from this host's."""
    where = greeting.endpoint
    try:
        there_s = parsedate_to_datetime(greeting.date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return unknown("clock", f"{where} does not tell the time")
    ahead_s = time.time() - there_s
    if -_CLOCK_S < ahead_s < _CLOCK_S + 1:  # a date has no fractions, and the answer took time
        return ok("clock", f"this host and {where} agree within {_CLOCK_S:g} s")
    side = "ahead of" if ahead_s > 0 else "behind"
    return warning(
        "clock",
        f"this host is {abs(ahead_s):,.0f} s {side} {where}",
        "set both clocks by NTP: cooldown and retention of addresses go by the nodes' clocks",
    )
