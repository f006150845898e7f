"""What a user may do: asked of a real etcd with users and roles, and nothing is written."""

import contextlib

import pytest

from poolctl.doctor import access
from poolctl.doctor.findings import Verdict
from poolmgr.core.records import CONFIG_KEY
from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings
from tests.support.rawetcd import RawEtcd

NODE = {
    access.RESOURCES: "READ",
    CONFIG_KEY: "READ",
    **dict.fromkeys(access.ADDRESSES, "READWRITE"),
    access.OWN: "READWRITE",
}
ROLES = {
    "node": NODE,
    "reader": dict.fromkeys(NODE, "READ"),
    "blind": {key: right for key, right in NODE.items() if key != CONFIG_KEY},
    "nobody": {},
}


@pytest.fixture(scope="module")
def guarded(etcd_binary):
    """An etcd with a user for each role; passwords are "secret"."""
    with EmbeddedEtcd(etcd_binary) as etcd, contextlib.closing(RawEtcd(etcd.endpoint)) as raw:
        for user, rights in ROLES.items():
            raw.grant(user, "secret", rights)
        raw.require_password("secret")
        yield etcd.endpoint


def findings(endpoint, user=None):
    options = {"username": user, "password": "secret"} if user else {}
    settings = Settings(endpoints=(endpoint,), **options)
    with contextlib.closing(EtcdStore(settings)) as store:
        return list(access.examine(store, settings))


@pytest.mark.parametrize("user", [None, "root"])
def test_who_may_do_everything_is_told_so(raw, etcd_endpoint, guarded, user):
    (finding,) = findings(guarded if user else etcd_endpoint, user)

    who = f"user {user}" if user else "anybody"
    assert (Verdict.OK, f"{who} may read and write everything") == (
        finding.verdict,
        finding.fact,
    )


def test_rights_of_a_node_are_enough_but_not_to_apply(guarded):
    (finding,) = findings(guarded, "node")

    assert Verdict.WARNING == finding.verdict
    assert "enough for nodes, not for poolctl apply" in finding.fact


def test_who_may_only_read_is_told_where_he_may_not_write(guarded):
    found = findings(guarded, "reader")

    problems = [each for each in found if each.verdict is Verdict.PROBLEM]
    assert len(access.ADDRESSES) + 1 == len(problems)
    for prefix, each in zip((*access.ADDRESSES, access.OWN), problems, strict=True):
        assert f"user reader may not write below {prefix}: no address" in each.fact
        assert f"grant-permission ROLE --prefix=true readwrite {prefix}" in each.remedy


def test_a_single_key_that_is_hidden_is_named(guarded):
    problem, _warning = findings(guarded, "blind")

    assert f"user blind may not read {CONFIG_KEY}" == problem.fact


def test_who_may_nothing_is_told_all_of_it(guarded):
    facts = [each.fact for each in findings(guarded, "nobody")]

    for prefix in NODE:
        assert f"user nobody may not read {prefix}" in facts


def test_asking_writes_nothing(raw, etcd_endpoint):
    for prefix in NODE:
        raw.put(f"{prefix}poolctl-doctor", "not ours")
    before, revision = raw.dump(), raw.put("/a", "1")

    findings(etcd_endpoint)

    assert raw.put("/a", "1") == revision + 1
    assert before | {"/a": b"1"} == raw.dump()


def test_an_etcd_without_space_still_tells(full_etcd):
    (finding,) = findings(full_etcd.endpoint)

    assert Verdict.OK == finding.verdict
