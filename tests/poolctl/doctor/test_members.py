"""What is thought of members, one fact at a time and of real ones."""

import contextlib
from dataclasses import replace
from email.utils import formatdate
from time import time

import pytest

from poolctl.doctor.findings import Verdict
from poolctl.doctor.greeting import Greeting
from poolctl.doctor.members import ask_all, clock, compaction, judge
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.members import DEFAULT_QUOTA, MemberStatus
from poolmgr.store.settings import Settings

SOUND = MemberStatus(
    endpoint="http://etcd-1:2379",
    version="3.6.14",
    cluster=0xC1,
    member=1,
    leader=1,
    is_learner=False,
    size=1_000_000,
    size_in_use=500_000,
    quota=DEFAULT_QUOTA,
    alarms=(),
    revision=7,
    read_s=0.001,
    failure="",
)
OTHER = replace(SOUND, endpoint="http://etcd-2:2379", member=2)


def wrong(*members):
    """Check, verdict and fact of what is not fine."""
    return [
        (each.check, each.verdict, each.fact)
        for each in judge(members)
        if each.verdict is not Verdict.OK
    ]


def asked(*endpoints):
    settings = Settings(endpoints=endpoints)
    with contextlib.closing(EtcdStore(settings)) as store:
        return ask_all(store, settings.addresses, timeout_s=5)


def test_sound_members_are_fine_in_every_check():
    found = list(judge([SOUND, OTHER]))

    assert [] == wrong(SOUND, OTHER)
    assert {"reachable", "version", "cluster", "alarms", "space"} == {e.check for e in found}


def test_what_nobody_told_is_not_judged():
    assert [] == list(judge([]))


@pytest.mark.parametrize(
    ("change", "check", "verdict", "fact"),
    [
        ({"version": "3.5.1"}, "version", Verdict.PROBLEM, "etcd 3.5.1 can lose or corrupt"),
        ({"version": "3.4.44"}, "version", Verdict.WARNING, "etcd 3.4.44 lacks security fixes"),
        ({"leader": 0}, "cluster", Verdict.PROBLEM, "no leader, so no writes, as seen by http"),
        ({"is_learner": True}, "cluster", Verdict.WARNING, "etcd-1:2379 is a learner"),
        ({"alarms": ("CORRUPT",)}, "alarms", Verdict.PROBLEM, "etcd has raised CORRUPT"),
        ({"alarms": None}, "alarms", Verdict.UNKNOWN, "only to others"),
        ({"read_s": 0.2}, "reachable", Verdict.WARNING, "reads in 200.0 ms"),
        ({"read_s": None, "failure": "why"}, "reachable", Verdict.PROBLEM, "agree on: why"),
        ({"quota": None}, "space", Verdict.UNKNOWN, "its quota is not known (2,147,483,648"),
        ({"size": 1_800_000_000}, "space", Verdict.WARNING, "may store 2,147,483,648"),
        (
            {"size": 1_800_000_000, "quota": None},
            "space",
            Verdict.WARNING,
            "stores 1,800,000,000 bytes, 500,000 of them in use; its quota is not known",
        ),
    ],
)
def test_each_fault_is_found_alone_and_has_a_remedy(change, check, verdict, fact):
    ((found, judged, text),) = wrong(replace(SOUND, **change))

    assert (check, verdict) == (found, judged)
    assert fact in text
    assert all(each.remedy for each in judge([replace(SOUND, **change)]) if each.fact == text)


def test_members_of_different_clusters_and_versions_are_told_apart():
    stranger = replace(OTHER, cluster=0xC2, version="3.7.1")

    (_, _, versions), (check, verdict, fact) = wrong(SOUND, stranger)

    assert "versions differ: http://etcd-1:2379 3.6.14, http://etcd-2:2379 3.7.1" == versions
    assert ("cluster", Verdict.PROBLEM) == (check, verdict)
    assert "http://etcd-1:2379 is of c1, http://etcd-2:2379 is of c2" in fact


def test_real_members_answer_beside_silent_ones(raw, etcd_endpoint):
    told, silent = asked("127.0.0.1:1", etcd_endpoint)

    assert [f"http://{etcd_endpoint}"] == [each.endpoint for each in told]
    ((endpoint, error),) = silent.items()
    assert "http://127.0.0.1:1" == str(endpoint)
    assert "http://127.0.0.1:1 cannot be reached" in str(error)


def test_a_full_etcd_is_a_problem_with_three_steps_to_take(full_etcd):
    told, _ = asked(full_etcd.endpoint)

    (alarm,) = (each for each in judge(told) if each.check == "alarms")
    assert (Verdict.PROBLEM, "etcd has raised NOSPACE") == (alarm.verdict, alarm.fact)
    for step in (
        f"etcdctl compact {told[0].revision}",
        "etcdctl defrag",
        "etcdctl alarm disarm",
    ):
        assert step in alarm.remedy


@pytest.mark.parametrize(
    ("revision", "dropped", "verdict"),
    [
        (1_000_000, True, Verdict.OK),
        (49_999, False, Verdict.UNKNOWN),
        (50_000, False, Verdict.WARNING),
    ],
)
def test_revisions_that_pile_up_are_warned_of(revision, dropped, verdict):
    finding = compaction(revision, dropped=dropped)

    assert verdict == finding.verdict
    assert f"revision {revision:,}" in finding.fact
    assert dropped or "--auto-compaction-retention=1h" in finding.remedy


@pytest.mark.parametrize(
    ("there_s", "verdict", "fact"),
    [
        (0, Verdict.OK, "agree within 5 s"),
        (-3600, Verdict.WARNING, "s ahead of http://etcd-1:2379"),
        (3600, Verdict.WARNING, "s behind http://etcd-1:2379"),
    ],
)
def test_clocks_are_compared_by_what_http_tells(there_s, verdict, fact):
    date = formatdate(time() + there_s, usegmt=True)

    finding = clock(Greeting(endpoint="http://etcd-1:2379", date=date, certificate=b""))

    assert verdict == finding.verdict
    assert fact in finding.fact


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_member_that_tells_no_time_is_not_judged(date):
    finding = clock(Greeting(endpoint="http://etcd-1:2379", date=date, certificate=b""))

    assert Verdict.UNKNOWN == finding.verdict
