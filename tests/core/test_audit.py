"""The invariants: a sound store has no finding, and each flaw is found."""

from dataclasses import replace

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.audit import invariants
from poolmgr.core.block import Attribute, Block
from poolmgr.core.flaws import Flaw
from poolmgr.core.handle import Handle
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
    "key", ["host/node-a", "host/node-a/ipv4/block/10.0.0.1-30", "virtual/a/b"]
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
            [(Flaw.HANDLE_TOO_HIGH, records.handle_key("c3"))],
            id="holding nothing",
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


def test_findings_come_in_a_fixed_order():
    stored = {**SOUND, AFFINITY: None, C1: None, records.resource_key("ippools", "p6"): None}
    stored = {key: raw for key, raw in stored.items() if raw is not None}

    forward, backward = invariants(stored.items()), invariants(reversed(stored.items()))

    assert forward == backward
    assert sorted(f.key for f in forward) == [f.key for f in forward]
    assert 4 == len(forward)
