"""The invariants: a sound store has no finding, and each flaw is found."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.audit import audit, invariants
from poolmgr.core.block import Attribute, Block
from poolmgr.core.flaws import Flaw
from poolmgr.core.handle import Handle
from poolmgr.core.txn import Range
from tests.support.facts import block_of, stored_block
from tests.support.world import stored_resource

BLOCK, SIX = block_of("10.0.0.0/30", "c1", "c1", "c2"), block_of("fd00::/126", "c1")
KEY = records.block_key(BLOCK.cidr)
AFFINITY = records.affinity_key("node-a", BLOCK.cidr)
C1, C2 = records.handle_key("c1"), records.handle_key("c2")


def handle(**counts: int) -> bytes:
    """A handle with counts in the IPv4 block (`four`) and the IPv6 block (`six`)."""
    cidrs = {"four": BLOCK.cidr, "six": SIX.cidr}
    return records.encode_handle(Handle(blocks={cidrs[k]: n for k, n in counts.items()}))


def affinity(block: Block, host: str = "node-a", kind: str = "host") -> dict[str, bytes]:
    return {
        records.affinity_key(host, block.cidr, kind): b'{"state":"confirmed","deleted":false}'
    }


SOUND = dict(
    [
        *stored_block(BLOCK).items(),
        *stored_block(SIX).items(),
        *affinity(BLOCK).items(),
        *affinity(SIX).items(),
        (C1, handle(four=2, six=1)),
        (C2, handle(four=1)),
        stored_resource("ippools", "IPPool", "p4", {"cidr": "10.0.0.0/24"}),
        stored_resource("ippools", "IPPool", "p6", {"cidr": "fd00::/64"}),
        ("/calico/ipam/v2/config", b"{}"),
        ("/poolmgr/v1/epoch", b"e"),
    ]
)


def found(**changes: bytes | None) -> list[tuple[Flaw, str]]:
    """What is found when keys of the sound store get these values, None = none."""
    stored = {key: raw for key, raw in {**SOUND, **changes}.items() if raw is not None}
    return [(finding.flaw, finding.key) for finding in invariants(stored.items())]


def test_a_sound_store_has_no_finding():
    assert [] == found()
    assert () == invariants(())


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        AFFINITY,
        C1,
        records.resource_key("ippools", "other"),
        "/calico/ipam/v2/assignment/ipv4/block/garbage",
        "/calico/ipam/v2/assignment/ipv6/block/garbage",
        "/calico/ipam/v2/virtual/lb/ipv4/block/10.0.0.0-30",
    ],
)
def test_what_does_not_decode_is_named(key):
    assert (Flaw.CORRUPT, key) in found(**{key: b"garbage"})


@pytest.mark.parametrize(
    "key", ["virtual/node-a", "host/node-a/ipv4/block/10.0.0.1-30", "virtual/a/b"]
)
def test_an_affinity_key_that_names_no_block_is_corrupt(key):
    assert [(Flaw.CORRUPT, f"/calico/ipam/v2/{key}")] == found(
        **{f"/calico/ipam/v2/{key}": b"{}"}
    )


def test_an_entry_that_nobody_refers_to_is_found():
    littered = replace(BLOCK, attributes=(*BLOCK.attributes, Attribute(handle="gone")))

    assert [(Flaw.UNREFERENCED_ATTRIBUTE, KEY)] == found(**stored_block(littered))


@pytest.mark.parametrize("cidr", ["10.0.0.0/28", "10.0.0.2/31", "10.0.0.3/32"])
def test_blocks_that_share_addresses_are_found(cidr):
    other = block_of(cidr)

    assert [Flaw.OVERLAP] == [
        flaw for flaw, _ in found(**stored_block(other), **affinity(other))
    ]


def test_every_block_that_overlaps_is_named():
    large, small = block_of("10.0.0.0/28"), block_of("10.0.0.8/30")
    changes = {
        **stored_block(large),
        **affinity(large),
        **stored_block(small),
        **affinity(small),
    }

    assert [Flaw.OVERLAP] * 2 == [flaw for flaw, _ in found(**changes)]


def test_blocks_side_by_side_do_not_overlap():
    other = block_of("10.0.0.4/30")

    assert [] == found(**stored_block(other), **affinity(other))


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        pytest.param(
            {AFFINITY: None}, [(Flaw.BLOCK_WITHOUT_AFFINITY, KEY)], id="block without affinity"
        ),
        pytest.param(
            affinity(block_of("10.0.0.4/30")),
            [
                (
                    Flaw.AFFINITY_WITHOUT_BLOCK,
                    records.affinity_key("node-a", parse_network("10.0.0.4/30")),
                )
            ],
            id="affinity without block",
        ),
        pytest.param(
            {AFFINITY: None, **affinity(BLOCK, "node-b")},
            [
                (Flaw.BLOCK_WITHOUT_AFFINITY, KEY),
                (Flaw.AFFINITY_WITHOUT_BLOCK, records.affinity_key("node-b", BLOCK.cidr)),
            ],
            id="affinity of another host",
        ),
        pytest.param(
            {AFFINITY: None, **stored_block(replace(BLOCK, affinity=None))},
            [],
            id="block of nobody",
        ),
        pytest.param(
            {
                AFFINITY: None,
                **stored_block(replace(BLOCK, affinity="virtual:lb")),
                **affinity(BLOCK, "lb", "virtual"),
            },
            [],
            id="virtual affinity",
        ),
    ],
)
def test_blocks_and_affinities_must_name_each_other(changes, findings):
    assert findings == found(**changes)


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        pytest.param({C2: handle(four=2)}, [(Flaw.HANDLE_TOO_HIGH, C2)], id="too high"),
        pytest.param({C1: handle(four=1, six=1)}, [(Flaw.HANDLE_TOO_LOW, C1)], id="too low"),
        pytest.param({C2: None}, [(Flaw.HANDLE_TOO_LOW, C2)], id="missing"),
        pytest.param(
            {C2: handle(four=1, six=1)}, [(Flaw.HANDLE_TOO_HIGH, C2)], id="other block"
        ),
        pytest.param(
            {records.handle_key("c3"): handle(four=1)},
            [(Flaw.HANDLE_WITHOUT_ADDRESS, records.handle_key("c3"))],
            id="holding nothing",
        ),
        pytest.param(
            {records.handle_key("c3"): b"{}"},
            [(Flaw.HANDLE_WITHOUT_ADDRESS, records.handle_key("c3"))],
            id="counting nothing",
        ),
        pytest.param(
            {C1: handle(six=2)},
            [(Flaw.HANDLE_TOO_HIGH, C1), (Flaw.HANDLE_TOO_LOW, C1)],
            id="both, block by block",
        ),
    ],
)
def test_a_handle_counts_what_its_blocks_hold(changes, findings):
    assert sorted(findings) == sorted(found(**changes))


@pytest.mark.parametrize(
    "owner",
    [
        Attribute(released_at="2026-01-01T00:00:00Z"),
        Attribute(),
        Attribute(handle="Windows-Reserved-IPAM-Handle"),
    ],
    ids=["cooling", "owned by nobody", "reserved by Windows"],
)
def test_an_ordinal_that_no_pod_owns_needs_no_handle(owner):
    block = replace(BLOCK, attributes=(BLOCK.attributes[0], owner))

    assert [] == found(**stored_block(block), **{C2: None})


def test_a_handle_is_counted_without_the_junk_behind_it():
    block = replace(BLOCK, attributes=(Attribute(handle="c1\rjunk"), BLOCK.attributes[1]))

    assert [] == found(**stored_block(block))


def test_a_block_outside_every_pool_is_found():
    assert [(Flaw.OUTSIDE_POOLS, KEY)] == found(**{records.resource_key("ippools", "p4"): None})


def test_a_note_of_old_versions_that_a_host_exists_is_passed_over():
    assert [] == found(**{records.legacy_host_key("node-a"): b"2017-01-01"})


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
def test_an_affinity_left_half_way_is_found(state):
    half = b'{"state":"%s","deleted":false}' % state.encode()

    assert [(Flaw.AFFINITY_UNFINISHED, AFFINITY)] == found(**{AFFINITY: half})
    assert (Flaw.AFFINITY_WITHOUT_BLOCK, AFFINITY) in found(**{AFFINITY: half, KEY: None})


@pytest.mark.parametrize("value", [b"", b"{}", b'{"state":"","deleted":false}'])
def test_an_affinity_of_the_old_form_is_sound(value):
    assert [] == found(**{AFFINITY: value})


def test_whose_block_it_is_is_told_with_the_affinity_that_is_wrong():
    other = records.affinity_key("node-b", BLOCK.cidr)
    findings = invariants({**SOUND, other: b'{"state":"pending"}'}.items())

    assert ["pending; block 10.0.0.0/30 belongs to host:node-a"] == [f.detail for f in findings]


def test_of_what_does_not_decode_nothing_else_is_said():
    assert [(Flaw.CORRUPT, KEY)] == found(**{KEY: b"junk"})
    assert [(Flaw.CORRUPT, AFFINITY)] == found(**{AFFINITY: b"junk"})
    assert [(Flaw.CORRUPT, C1)] == found(**{C1: b"junk"})


def test_a_handle_is_judged_by_the_blocks_that_decode():
    changes = {KEY: b"junk", C1: handle(four=2, six=3), C2: handle(four=1, six=1)}

    assert [(Flaw.HANDLE_TOO_HIGH, C1), (Flaw.HANDLE_TOO_HIGH, C2)] == found(**changes)[1:]


@pytest.mark.parametrize(
    ("key", "sound"),
    [
        ("/calico/ipam/v2/config", b'{"strict_affinity":true}'),
        ("/poolmgr/v1/session/node-a", b'{"n":1,"deleted":["x@1"]}'),
        (
            "/poolmgr/v1/attachment/net/c1/eth0",
            b'{"handle":"net.sticky.ns.a","addresses":["10.0.0.1/30"]}',
        ),
        stored_resource(
            "ipreservations", "IPReservation", "r", {"reservedCIDRs": ["10.0.0.1"]}
        ),
    ],
    ids=["config", "session", "attachment", "reservation"],
)
def test_other_keys_must_decode(key, sound):
    assert [] == found(**{key: sound})
    for junk in (b"junk", b"[]", b'{"n":"1","handle":7,"addresses":[],"strict_affinity":1}'):
        assert [(Flaw.CORRUPT, key)] == found(**{key: junk})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({}, None, id="CT-13"),
        pytest.param(
            {"allocations": [99, None, None, None], "unallocated": [1, 2, 3]},
            "attribute 99",
            id="CT-14",
        ),
        pytest.param(
            {"allocations": [-1, None, None, None], "unallocated": [1, 2, 3]},
            "attribute -1",
            id="CT-15",
        ),
        pytest.param({"unallocated": [0, 1, 1, 2, 3]}, "twice", id="CT-18"),
        pytest.param(
            {"allocations": [None, 0, None, None], "attributes": [{}]},
            "ordinal 1 is both free and allocated",
            id="CT-19",
        ),
        pytest.param({"unallocated": [0, 2, 3, 99]}, "out of range", id="CT-20"),
    ],
)
def test_a_block_that_contradicts_itself_is_named_with_the_reason(changes, why):
    key = records.block_key(parse_network("10.0.0.4/30"))
    block = {
        "cidr": "10.0.0.4/30",
        "affinity": None,
        "allocations": [None] * 4,
        "unallocated": [0, 1, 2, 3],
        "attributes": [],
    }
    raw = json.dumps({**block, **changes}).encode()
    findings = invariants({**SOUND, key: raw}.items())

    assert [(Flaw.CORRUPT, key)] * (why is not None) == [(f.flaw, f.key) for f in findings]
    assert all(why in finding.detail for finding in findings)


@pytest.mark.parametrize(
    ("released_at", "wrong"),
    [("2026-11-18T06:26:40Z", False), ("2026-11-18T06:27:40Z", True), ("yesterday", False)],
)
def test_a_release_at_a_time_to_come_is_found(released_at, wrong):
    cooling = replace(
        BLOCK, attributes=(BLOCK.attributes[0], Attribute(released_at=released_at))
    )
    stored = {**SOUND, **stored_block(cooling)}
    del stored[C2]
    now_ns = 1_794_983_200 * 1_000_000_000  # 2026-11-18T06:26:40Z

    findings = [*audit(reader(stored), now_ns=now_ns)]

    assert [Flaw.RELEASED_IN_FUTURE] * wrong == [finding.flaw for finding in findings]


def reader(stored: dict[str, bytes]):
    return lambda range_: [(key, raw) for key, raw in stored.items() if key in range_]


def test_what_was_looked_at_is_counted():
    checked: Counter[str] = Counter()

    list(audit(reader(SOUND), checked=checked))

    assert checked == Counter(pools=2, blocks=2, addresses=4, affinities=2, handles=2)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_it_does_not_matter_how_much_is_compared_at_once(at_once):
    lost = {k: raw for k, raw in SOUND.items() if "/handle/" not in k and "/host/" not in k}
    lost |= {records.handle_key(f"x{n}"): handle(four=1) for n in range(20)}

    found = Counter(audit(reader(lost), buckets=8, at_once=at_once))

    assert Counter(invariants(lost.items())) == found
    assert 2 + 3 + 20 == found.total()


def test_nothing_is_read_again_where_all_is_well():
    asked: list[Range] = []

    def read(range_):
        asked.append(range_)
        return reader(SOUND)(range_)

    assert [] == [*audit(read)]
    assert len(asked) == len({*asked})


def test_findings_come_in_a_fixed_order():
    stored = {**SOUND, AFFINITY: None, C1: None, records.resource_key("ippools", "p6"): None}
    stored = {key: raw for key, raw in stored.items() if raw is not None}

    forward, backward = invariants(stored.items()), invariants(reversed(stored.items()))

    assert forward == backward
    assert sorted(f.key for f in forward) == [f.key for f in forward]
    assert 4 == len(forward)
