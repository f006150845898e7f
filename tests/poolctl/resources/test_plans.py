"""What a change would write, or why it must not."""

import pytest

from poolctl.config import Session
from poolctl.resources.plans import CONFIGURED, CREATED, EXISTS, UNCHANGED, Planner, validated
from poolctl.resources.state import Target, look
from poolmgr.api import IPPool, Node, manifests
from poolmgr.errors import RefusedError
from poolmgr.store.memory import MemoryStore
from tests.support.poolctl import manifest, on, pool, stored


def made(*texts: str):
    return [
        manifests.resource(each) for text in texts for each in manifests.documents(text, "x")
    ]


@pytest.fixture
def store():
    store = MemoryStore()
    on(store)("create", "-f", "-", stdin=f"[{pool()}, {manifest('Node', 'n')}]")
    return store


@pytest.fixture
def plan(store):
    """A planner on what is stored, and on what the manifests name."""

    def start(*resources):
        session = Session(None, None, 30)
        session.store = store
        return Planner(session, look(session, map(Target.of, resources), pools=True))

    return start


def test_a_plan_tells_what_would_be_written_and_writes_nothing(plan, store):
    before = stored(store)
    same, changed, new = made(pool(), pool(natOutgoing=True), pool("new", "10.99.0.0/16"))
    planner = plan(same, new)

    changes = [planner.apply(each) for each in (same, changed, new)]

    assert [UNCHANGED, CONFIGURED, CREATED] == [change.verb for change in changes]
    assert [0, 2, 0] == [change.revision for change in changes]
    assert [None, None, "new"] == [
        change.new_pool and change.new_pool.metadata.name for change in changes
    ]
    assert before == stored(store)


def test_what_exists_is_created_again_by_nobody(plan):
    (again,) = made(pool())

    with pytest.raises(RefusedError, match=EXISTS):
        plan(again).create(again)
    assert EXISTS == plan(again).create(again, skip_exists=True).verb


def test_what_does_not_exist_can_be_neither_replaced_nor_edited(plan):
    (absent,) = made(pool("absent", "10.99.0.0/16"))

    with pytest.raises(RefusedError, match="does not exist"):
        plan(absent).replace(absent)
    with pytest.raises(RefusedError, match="does not exist"):
        plan(absent).edit(Target.of(absent), lambda stored: stored)


def test_new_pools_must_not_overlap_with_each_other(plan):
    first, inside = made(pool("a", "10.99.0.0/16"), pool("b", "10.99.4.0/24"))
    planner = plan(first, inside)
    planner.create(first)

    with pytest.raises(RefusedError, match=r"10\.99\.4\.0/24 overlaps with pool a"):
        planner.create(inside)


def test_an_edit_keeps_what_it_does_not_name(plan, store):
    (node,) = made(manifest("Node", "n"))
    target = Target.of(node)

    def edit(stored):
        metadata = stored.metadata.model_copy(update={"labels": {"a": "b"}})
        return stored.model_copy(update={"metadata": metadata})

    change = plan(node).edit(target, edit)

    assert isinstance(change.after, Node)
    assert {"a": "b"} == change.after.metadata.labels
    assert change.after.metadata.uid


@pytest.mark.parametrize("kind", ["ClusterInformation", "BlockAffinity"])
def test_some_kinds_can_only_be_read(plan, kind):
    spec = {"state": "confirmed", "node": "n", "cidr": "10.0.0.0/26"} if kind[0] == "B" else {}
    (resource,) = made(manifest(kind, "default", spec))

    for act in ("create", "apply", "replace"):
        with pytest.raises(RefusedError, match="can only be read"):
            getattr(plan(), act)(resource)


def test_validation_needs_no_store_and_tells_all(capsys):
    fine = made(pool("a", "10.0.0.0/16"), manifest("Node", "n"))
    gateway = manifest(
        "IPPool",
        "c",
        {"cidr": "10.2.0.0/24"},
        annotations={"ipam.poolmgr.io/gateway": "1.1.1.1"},
    )
    wrong = made(pool("b", "10.0.4.0/24"), gateway, manifest("ClusterInformation", "default"))

    assert 0 == validated(fine)
    assert "" == capsys.readouterr().err
    assert 1 == validated([*fine, *wrong])
    assert ["ippool/b", "ippool/c", "clusterinformation/default"] == [
        line.split(": ")[2] for line in capsys.readouterr().err.splitlines()
    ]
    assert all(isinstance(each, IPPool) for each in wrong[:2])
