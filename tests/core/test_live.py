"""Which entries belong to pods that exist (GC-43 to GC-49 of Calico's suites among them)."""

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.cni.verbs import timestamp
from poolmgr.core.block import Attribute, assign
from poolmgr.core.held import STICKY
from poolmgr.core.live import GRACE_NS, Entry, LivePods, Verdict, entries
from poolmgr.core.outline import outline
from tests.support.facts import SECOND, block_of, stored_block
from tests.support.world import NOON_NS

ADDRESS = "10.0.0.5"
POD = {"namespace": "default", "pod": "web-0", "node": "node-a"}


def live(*pods, pools=("10.0.0.0/24",)) -> LivePods:
    """Pods as name, node, addresses and whether they live."""
    found = LivePods(map(parse_network, pools), since_ns=NOON_NS)
    for name, node, addresses, lives in pods:
        found.add(name, node=node, addresses=map(parse_address, addresses), lives=lives)
    return found


def entry(attributes: dict | None = None, **more) -> Entry:
    attributes = POD if attributes is None else attributes
    return Entry(
        address=parse_address(ADDRESS),
        handle="h",
        sequence_number=1,
        attributes=attributes,
        **more,
    )


HERE = ("default/web-0", "node-a", [ADDRESS], True)
OTHER = ("default/other", "node-a", [], True)


@pytest.mark.parametrize(
    ("pods", "verdict"),
    [
        ([HERE], Verdict.LIVE),
        ([("default/web-0", "node-a", [], True)], Verdict.LIVE),  # it reports nothing yet
        ([("default/web-0", "node-a", ["10.0.0.9"], True)], Verdict.LIVE),
        ([], Verdict.LEAKED),
        ([OTHER], Verdict.LEAKED),
        ([("prod/web-0", "node-a", [], True)], Verdict.LEAKED),
        ([("default/web-0", "node-a", [ADDRESS], False)], Verdict.LEAKED),
        ([("default/web-0", "node-b", ["10.0.0.9"], True), OTHER], Verdict.LEAKED),
        ([("default/web-0", "node-b", ["10.0.0.9"], True)], Verdict.UNKNOWN),
        ([("default/web-0", "node-b", [ADDRESS], True), OTHER], Verdict.LIVE),
    ],
)
def test_an_entry_of_a_pod_is_leaked_when_no_such_pod_lives_on_its_node(pods, verdict):
    assert verdict == live(*pods).judge(entry())[0]


@pytest.mark.parametrize(
    ("attributes", "verdict"),
    [
        ({}, Verdict.UNKNOWN),
        ({"node": "node-a"}, Verdict.UNKNOWN),
        ({"pod": "web-0"}, Verdict.UNKNOWN),
        ({"node": "node-a", "type": "ipipTunnelAddress"}, Verdict.UNKNOWN),
        ({"namespace": "default", "service": "s", "type": "LoadBalancer"}, Verdict.UNKNOWN),
        ({**POD, "type": STICKY}, Verdict.LIVE),
    ],
)
def test_only_an_entry_that_names_a_pod_can_be_leaked(attributes, verdict):
    assert verdict == live().judge(entry(attributes))[0]


def test_an_entry_of_no_node_is_not_judged_by_pods_that_wait_for_one():
    found = live(("default/waiting", "", [], True), ("default/web-0", "node-b", [], True))

    verdict, why = found.judge(entry({"namespace": "default", "pod": "web-0"}))

    assert Verdict.UNKNOWN is verdict
    assert "no pod runs on node <none>" in why


@pytest.mark.parametrize(
    ("age_ns", "verdict"),
    [
        (GRACE_NS + SECOND, Verdict.LEAKED),
        (GRACE_NS - SECOND, Verdict.UNKNOWN),
        (-5, Verdict.UNKNOWN),
    ],
)
def test_what_was_assigned_just_now_is_not_judged(age_ns, verdict):
    attributes = {**POD, "timestamp": timestamp(NOON_NS - age_ns)}

    assert verdict == live().judge(entry(attributes))[0]


@pytest.mark.parametrize("text", ["", "soon", "2026-01-01 never +0000 UTC", "a b c d"])
def test_an_entry_with_an_odd_time_counts_as_old(text):
    assert Verdict.LEAKED is live().judge(entry({**POD, "timestamp": text}))[0]


def test_what_cools_down_is_said_to():
    assert Verdict.COOLING is live().judge(entry({}, cooling=True))[0]


def test_the_target_of_a_migration_keeps_the_address_too():
    found = live(HERE, OTHER)

    verdict, _ = found.judge(entry({**POD, "pod": "gone"}, alternate=POD))

    assert Verdict.LIVE is verdict


def test_an_address_that_no_entry_gives_to_its_pod_is_told():
    mine = parse_address(ADDRESS)
    found = live(HERE, ("default/other", "node-a", ["10.0.0.6", "192.0.2.1"], True))
    found.judge(entry())
    seen = [found.all_seen]

    assert not found.unseen("default/web-0", mine)
    assert found.unseen("default/other", parse_address("10.0.0.6"))
    assert not found.unseen("default/other", parse_address("192.0.2.1")), "of no pool"
    assert not found.unseen("default/web-0", parse_address("10.0.0.6")), "not the pod's"
    other = Entry(
        address=parse_address("10.0.0.6"),
        handle=None,
        sequence_number=0,
        attributes={"namespace": "default", "pod": "other"},
    )
    assert Verdict.LIVE is found.judge(other)[0]
    assert [False, True] == [*seen, found.all_seen]
    assert 2 == found.count


def test_the_entries_of_a_block_say_all_that_is_stored():
    block = assign(block_of("10.0.0.0/29", "a\rjunk"), 3, Attribute(handle="b", secondary=POD))
    block = assign(block, 4, Attribute(released_at="2026-01-01T00:00:00Z"))
    ((key, raw),) = stored_block(block).items()

    found = list(entries(outline(key, raw)))

    assert [("10.0.0.0", "a"), ("10.0.0.3", "b"), ("10.0.0.4", None)] == [
        (str(each.address), each.handle) for each in found
    ]
    assert [False, False, True] == [each.cooling for each in found]
    assert [NOON_NS, NOON_NS + 1, NOON_NS + 2] == [each.sequence_number for each in found]
    assert POD == found[1].attributes
    assert ("node-a", "node-a") == (found[0].host, found[0].node)
