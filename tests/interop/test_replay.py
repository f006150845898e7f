import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop import extract
from tests.interop.compare import compare
from tests.interop.deviations import RULES, STEPS
from tests.interop.recording import (
    DATA,
    RECORDINGS,
    Answer,
    Entry,
    answer,
    load,
    packed,
    unpacked,
)
from tests.interop.replay import Programs, replay

BLOCK = "/calico/ipam/v2/assignment/ipv4/block/10.20.0.160-28"
HANDLE = "/calico/ipam/v2/handle/net1.v010"
AFFINITY = "/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.160-28"
FIRST_CLAIM = 3


@pytest.fixture
def programs(raw, etcd_endpoint, monkeypatch):
    # Nobody else is there who needs time to notice that a pool is disabled.
    monkeypatch.setattr("poolctl.resources.changes._DISABLE_PAUSE_S", 0)
    return Programs(raw=raw, endpoint=etcd_endpoint)


@pytest.mark.parametrize("scenario", extract.SCENARIOS)
def test_our_programs_do_what_the_recorded_ones_did(scenario, programs, record_property):
    steps = load(scenario)

    report = replay(scenario, steps, programs)
    record_property("replayed", str(report))

    assert not report.differences
    assert not report.skipped
    assert {number for name, number in STEPS if name == scenario} == report.deviating.keys()
    told = (report.compared, report.deviating, report.by_hand)
    assert len(steps) == sum(map(len, told))


def test_every_deviation_has_a_row_in_the_design():
    text = (Path(__file__).parents[2] / "DESIGN.md").read_text()
    rows = set(re.findall(r"^\| (D-\d{3}) \|", text, re.MULTILINE))

    assert {*RULES, "D-014", *(each.id for each in STEPS.values())} <= rows


def set_block(step, field, value):
    step["changes"][BLOCK]["value"][field] = value


FLIPS = {
    "block": lambda step: set_block(step, "unallocated", [*range(2, 16), 1]),
    "attribute": lambda step: set_block(
        step, "attributes", [{"handle_id": "net1.v010", "secondary": {}}]
    ),
    "sequence number": lambda step: set_block(step, "sequenceNumberForAllocation", {"0": 1}),
    "handle": lambda step: step["changes"][HANDLE]["value"]["block"].update(
        {"10.20.0.160/28": 2}
    ),
    "affinity": lambda step: step["changes"][AFFINITY]["value"].update(state="pending"),
    "deleted key": lambda step: step["changes"].update({HANDLE: None}),
    "address": lambda step: step.update(addresses=["10.20.0.161/28"]),
    "exit": lambda step: step.update(exit=1),
}


@pytest.mark.parametrize("kind", FLIPS)
def test_a_flipped_recorded_field_makes_the_replay_fail(kind, programs):
    steps = load("cni-surface")[: FIRST_CLAIM + 1]
    FLIPS[kind](steps[FIRST_CLAIM])

    report = replay("cni-surface", steps, programs)

    assert report.differences
    assert all(text.startswith(f"step {FIRST_CLAIM}: ") for text in report.differences)


@pytest.mark.parametrize("scenario", extract.SCENARIOS)
def test_every_compared_step_notices_another_exit_status(scenario, programs):
    steps = load(scenario)
    for step in steps:
        if "exit" in step:
            step["exit"] = 1 - step["exit"]

    report = replay(scenario, steps, programs)

    different = {int(text.split(":")[0].removeprefix("step ")) for text in report.differences}
    assert different >= set(report.compared)


RESULTS = [
    ("lib-multi", 6),
    ("lib-multi", 8),
    ("lib-multi", 16),
    ("lib-release", 4),
    ("lib-release", 5),
    ("lib-release", 14),
]


@pytest.mark.parametrize(("scenario", "number"), RESULTS)
def test_every_leaf_of_a_recorded_result_is_compared(scenario, number):
    step = load(scenario)[number]
    recorded = answer(step)
    found = {"addresses": list(recorded.addresses), "result": recorded.result}
    for path in leaves(found):
        changed = flipped(found, path)
        addresses, result = tuple(changed["addresses"]), changed["result"]
        other = replace(recorded, addresses=addresses, result=result)

        assert compare(recorded, other, {}, named=True), path


def leaves(value, path=()):
    """Yield the path of every text, number, boolean and null; of long lists, those at the ends."""
    if isinstance(value, dict | list):
        items = list(value if isinstance(value, dict) else range(len(value)))
        for at in items if len(items) <= 64 else (*items[:2], *items[-2:]):
            yield from leaves(value[at], (*path, at))
    else:
        yield path


def flipped(value, path):
    """Return a copy whose value at `path` is another one of the same type."""
    changed = copy.deepcopy(value)
    *above, last = path
    inner = changed
    for at in above:
        inner = inner[at]
    old = inner[last]
    if isinstance(old, bool):
        inner[last] = not old
    elif isinstance(old, str):
        inner[last] = f"{old}x"
    elif old is None:
        deleted_key = not above
        inner[last] = {"value": {}} if deleted_key else 0
    else:
        inner[last] = old + 1
    return changed


@pytest.mark.parametrize("scenario", extract.SCENARIOS)
def test_every_leaf_of_a_recorded_change_is_compared(scenario):
    state: dict[str, Entry] = {}
    for number, step in enumerate(load(scenario)):
        recorded = Answer(ok=True, changes=step["changes"])
        for path in () if (scenario, number) in STEPS else leaves(recorded.changes):
            other = replace(recorded, changes=flipped(recorded.changes, path))

            assert compare(recorded, other, state, named=True), path
        state |= step["changes"]


def test_another_block_time_and_sequence_base_are_no_difference():
    step = load("first-add")[FIRST_CLAIM]
    moved = json.dumps({"addresses": step["addresses"], "changes": step["changes"]})
    for old, new in [
        ("10.20.0.160", "10.20.0.32"),
        ("2026-11-23T19:13:16Z", "2031-01-01T00:00:00Z"),
        ("2026-11-23 19:13:16.864963229", "2031-01-01 00:00:00"),
        ("1795461196871449250", "1925000000000000008"),
        ("1795461196871449249", "1925000000000000007"),
    ]:
        assert old in moved
        moved = moved.replace(old, new)
    recorded = answer(step)
    other = answer({"exit": 0, **json.loads(moved)})
    state = state_before("first-add", FIRST_CLAIM)

    assert not compare(recorded, other, state, named=False)
    assert compare(recorded, other, state, named=True), "a named address has one block"


def state_before(scenario, number):
    earlier = load(scenario)[:number]
    return {key: entry for step in earlier for key, entry in step["changes"].items()}


def test_new_blocks_of_one_pool_are_paired_in_the_order_of_their_use():
    step = load("lib-options")[30]
    elsewhere = {"32": "16", "48": "0"}

    def moved(found):
        first, last = int(found[2]) // 16 * 16, int(found[2])
        return f"{found[1]}{int(elsewhere[str(first)]) + last - first}"

    recorded = answer(step)
    text = json.dumps({"addresses": recorded.addresses, "changes": recorded.changes})
    theirs = json.loads(re.sub(r"(10\.30\.0\.)(\d+)", moved, text))
    other = replace(recorded, addresses=tuple(theirs["addresses"]), changes=theirs["changes"])
    state = state_before("lib-options", 30)

    assert "10.30.0.19/28" == other.addresses[0]
    assert not compare(recorded, other, state, named=False)
    assert compare(
        recorded, replace(other, addresses=other.addresses[::-1]), state, named=False
    )


@pytest.mark.parametrize(
    ("allocations", "unallocated", "texts"),
    [
        ([0, 0, None, None, None], [2, 3, 4], ("0*2 -*3", "2-4")),
        ([None, 1, 0], [0], ("- 1 0", "0")),
        ([None, None, None, None], [3, 1, 2, 0], ("-*4", "3 1-2 0")),
        ([0], [], ("0", "")),
    ],
)
def test_the_lists_of_a_block_are_packed_without_loss(allocations, unallocated, texts):
    entry = {"value": {"allocations": allocations, "unallocated": unallocated}}

    short = packed(entry)

    assert short is not None
    assert texts == (short["value"]["allocations"], short["value"]["unallocated"])
    assert entry == unpacked(short)


@pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"no recordings in {RECORDINGS} (POOLMGR_INTEROP)"
)
@pytest.mark.parametrize("scenario", extract.SCENARIOS)
def test_data_files_are_what_extract_makes_of_the_recordings(scenario):
    recording = json.loads((RECORDINGS / f"{scenario}.json").read_text())

    assert (DATA / f"{scenario}.json").read_text() == extract.extracted(recording)
