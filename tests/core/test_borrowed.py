"""Which addresses of a block are not at home."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.borrowed import Borrowed, away, is_at_home
from poolmgr.core.outline import ordinals, outline
from poolmgr.core.records import block_key

CIDR = parse_network("10.0.0.0/29")
KEY = block_key(CIDR)


def stored(*entries: dict, affinity: str | None = "host:node-a", **more: object) -> bytes:
    """A block whose first ordinals have these entries, one each."""
    used, size = len(entries), CIDR.num_addresses
    value = {
        "cidr": str(CIDR),
        "affinity": affinity,
        "allocations": [*range(used), *[None] * (size - used)],
        "unallocated": [*range(used, size)],
        "attributes": list(entries),
        "sequenceNumber": 1,
        "deleted": False,
    }
    return json.dumps(value | more).encode()


def on(node: str, **secondary: str) -> dict:
    return {"handle_id": "h", "secondary": {"node": node, **secondary}}


def shown(raw: bytes) -> list[tuple[str, ...]]:
    return [
        (str(each.address), each.node, each.owner, each.type, each.allocated_to)
        for each in away(outline(KEY, raw)).borrowed
    ]


def test_only_what_another_node_uses_is_borrowed():
    raw = stored(on("node-a"), on("node-b", pod="p", namespace="ns"), on("node-a"))

    found = away(outline(KEY, raw))

    assert 0 == found.without_node
    assert found.borrowed == (
        Borrowed(
            address=parse_address("10.0.0.1"),
            node="node-b",
            block=CIDR,
            owner="node-a",
            type="pod",
            allocated_to="ns/p",
        ),
    )


@pytest.mark.parametrize(
    ("secondary", "expected"),
    [
        ({"pod": "p", "namespace": "ns", "type": "x"}, ("pod", "ns/p")),
        ({"vmi-name": "vm", "pod": "p", "namespace": "ns"}, ("vmi", "ns/vm")),
        ({"type": "ipipTunnelAddress"}, ("ipipTunnelAddress", "")),
        ({"type": "poolmgr-sticky", "identity": "ns/web"}, ("poolmgr-sticky", "ns/web")),
        ({}, ("", "")),
    ],
)
def test_the_entry_says_for_whom_an_address_is(secondary, expected):
    assert [("10.0.0.0", "node-b", "node-a", *expected)] == shown(
        stored(on("node-b", **secondary))
    )


@pytest.mark.parametrize("affinity", [None, ""])
def test_in_a_block_of_nobody_everything_is_borrowed(affinity):
    assert [("10.0.0.0", "node-a", "", "", "")] == shown(
        stored(on("node-a"), affinity=affinity)
    )


@pytest.mark.parametrize(
    "entry", [{}, {"handle_id": "h"}, {"secondary": None}, {"secondary": {"pod": "p"}}]
)
def test_what_names_no_node_is_counted_apart(entry):
    found = away(outline(KEY, stored(entry, on("node-a"))))

    assert (1, ()) == (found.without_node, found.borrowed)


def test_an_empty_name_is_no_node_in_a_block_of_nobody_either():
    found = away(outline(KEY, stored(on(""), affinity=None)))

    assert (1, ()) == (found.without_node, found.borrowed)


def test_addresses_that_share_an_entry_count_each():
    raw = stored({}, allocations=[0, 0, 0, *[None] * 5], unallocated=[3, 4, 5, 6, 7])

    assert 3 == away(outline(KEY, raw)).without_node


def test_what_cools_down_is_in_nobodys_hands():
    cooling = {"releasedAt": "2026-01-01T00:00:00Z"}
    raw = stored(cooling, on("node-b") | cooling, on("node-a") | cooling)
    found = away(outline(KEY, raw))

    assert (0, ()) == (found.without_node, found.borrowed)


def compact(*entries: dict, affinity: str | None = "host:node-a", **more: object) -> bytes:
    """A block as Calico and we write it."""
    value = json.loads(stored(*entries, affinity=affinity))
    value["sequenceNumberForAllocation"] = {str(n): 1 for n in range(len(entries))}
    return json.dumps(value | more, separators=(",", ":")).encode()


ODD = '"node":"node-a"'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (compact(on("node-a"), on("node-a", pod="p", note=ODD)), True),
        (compact(), True),
        (compact(on("node-a"), on("node-b")), False),
        (compact(on("node-a"), on("node-aa")), False),
        (compact(on("node-a"), {"handle_id": "h"}), False),
        (compact(on("node-a"), {"handle_id": "h"}, sequenceNumberForAllocation=None), False),
        (compact(on("node-a"), {"secondary": {"pod": ODD}}), False),
        (compact(on("node-b") | {"alternateOwnerAttrs": {"node": "node-a"}}), False),
        (compact(on("node-b") | {"theirs": {"node": "node-a"}}), False),
        (compact(on(""), affinity=None), False),
        (stored(on("node-a")), False),
    ],
)
def test_the_text_of_a_block_tells_that_all_is_at_home(raw, expected):
    assert expected == is_at_home(ordinals(KEY, raw), raw)


entries = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "handle_id": st.just("h"),
            "secondary": st.dictionaries(
                st.sampled_from(["node", "pod", "{"]),
                st.sampled_from(["node-a", "node-b", "", "{", ODD]),
            ),
            "alternateOwnerAttrs": st.dictionaries(st.just("node"), st.just("node-a")),
            "releasedAt": st.just("2026-01-01T00:00:00Z"),
        },
    ),
    max_size=4,
)


@given(entries, st.sampled_from(["host:node-a", "host:node-b", None]))
def test_where_the_text_says_so_nothing_is_away(found, affinity):
    raw = compact(*found, affinity=affinity)
    block = away(outline(KEY, raw))

    if is_at_home(ordinals(KEY, raw), raw):
        assert ((), 0) == (block.borrowed, block.without_node)
