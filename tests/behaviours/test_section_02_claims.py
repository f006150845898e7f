"""Section 2: how a host comes to its blocks."""

from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import contains, parse_network
from poolmgr.core.block import HostReserved
from poolmgr.core.request import ClaimAffinities, EnsureBlock
from poolmgr.errors import BlockLimitError, NoMatchingPoolError
from tests.behaviours.row import Row, each
from tests.behaviours.story import (
    Action,
    Add,
    Ask,
    Name,
    Step,
    block,
    check,
    node,
    pool,
    reserve,
    tell,
    told,
)

V4, V6 = "192.168.1.0/24", "fd80:24e2:f998:72d6::/120"
P10, P20 = "10.0.0.0/24", "20.0.0.0/24"
DUAL = {4: 1, 6: 1}
LONG = "long--hostna" * 21
KEPT = HostReserved(first=2, last=1, handle="windows-reserved-ipam-handle", note="ipam ut")
TWO_OF_MINE = (
    pool("a", P10, 30),
    *block("10.0.0.0/30", "host-a", KEPT),
    *block("10.0.0.4/30", "host-a", KEPT),
)
"""host-a has two blocks, with one free address in each."""
NEW = Step(id="AB-08", do=Ask(v4=1, kept=KEPT), got={4: 1}, owners={"host:host-a": 3})


def one_each(id_: str, v4: str, v4_size: int, v6: str, v6_size: int):
    step = Step(
        id=id_,
        do=Add(families=(4, 6), pools=(v4,)),
        got=DUAL,
        within=(v4, v6),
        owners={"host:host-a": 2},
        claims={"host:host-a": 2},
    )
    return told(pool("four", v4, v4_size), pool("six", v6, v6_size), step)


STORIES = (
    *one_each("AB-01", V4, 32, V6, 128),
    *one_each("AB-02", "192.168.0.0/16", 20, "fd80:24e2:f998:72d6::/110", 116),
    *one_each("AB-03", V4, 26, V6, 122),
    *told(
        pool("four", V4, 26),
        pool("six", V6, 122),
        Step(
            id="AB-04",
            do=Ask(v4=256, v6=256),
            got={4: 256, 6: 256},
            of={"host:host-a": 512},
            owners={"host:host-a": 8},
            claims={"host:host-a": 8},
        ),
    ),
    *told(
        pool("a", P10),
        pool("b", P20),
        Step(
            id="AB-06",
            do=Add(),
            times=2,
            got={4: 1},
            within=(P10,),
            of={"host:host-a": 1},
            owners={"host:host-a": 1},
        ),
    ),
    *told(
        pool("four", P10),
        pool("six", "fe80:ba:ad:beef::00/120"),
        Step(
            id="AB-07",
            do=Add(host=LONG, families=(4, 6)),
            got=DUAL,
            claims={f"host:{LONG}": 2},
        ),
        Step(
            id="AB-07",
            do=Add(host="long-two", families=(4, 6)),
            got=DUAL,
            owners={f"host:{LONG}": 2, "host:long-two": 2},
            claims={f"host:{LONG}": 2, "host:long-two": 2},
        ),
    ),
    *told(
        *TWO_OF_MINE,
        Step(do=Ask(v4=1, kept=KEPT), given=("10.0.0.2",), owners={"host:host-a": 2}),
        Step(do=Ask(v4=1, kept=KEPT), given=("10.0.0.6",), owners={"host:host-a": 2}),
        NEW,
    ),
    *told(
        *TWO_OF_MINE,
        Step(
            id="AB-08",
            do=Ask(v4=3, kept=KEPT),
            got={4: 3},
            of={"host:host-a": 3},
            owners={"host:host-a": 3},
            used=12,
        ),
    ),
    *told(
        *TWO_OF_MINE,
        reserve("r", "10.0.0.0/30"),
        Step(
            id="AB-09",
            do=Add(program=True),
            given=("10.0.0.6/32",),
            owners={"host:host-a": 2},
        ),
    ),
    *told(
        *TWO_OF_MINE,
        Name("10.0.0.2"),
        Step(id="AB-10", do=Ask(v4=1, kept=KEPT), given=("10.0.0.6",), used=8),
        Step(id="AB-10", do=Ask(v4=1, kept=KEPT), got={4: 1}, owners={"host:host-a": 3}),
        Step(
            id="AB-10",
            do=Ask(v4=1, kept=KEPT, max_blocks=3),
            got={},
            short=BlockLimitError,
            limit=3,
            owners={"host:host-a": 3},
        ),
    ),
    *told(
        pool("a", P10),
        Step(
            id="AB-27",
            do=Add(program=True),
            got={4: 1},
            owners={"host:host-a": 1},
            claims={"host:host-a": 1},
            used=1,
        ),
    ),
    *told(
        pool("a", P10, 30, nodeSelector="name in {'node1', 'node2'}"),
        pool("b", "11.0.0.0/24", 30, nodeSelector="name in {'node3', 'node4'}"),
        pool("six", "fe80:ba:ad:beef::00/120"),
        *(node(f"node{n}", name=f"node{n}") for n in (1, 2, 3, 4)),
        *(
            step
            for n, cidr in ((1, P10), (2, P10), (3, "11.0.0.0/24"), (4, "11.0.0.0/24"))
            for step in (
                Step(do=Add(host=f"node{n}", families=(4, 6)), times=6, got=DUAL),
                Step(
                    id="AB-28",
                    do=Ask(host=f"node{n}", v4=13, handle=f"asked-by-{n}"),
                    got={4: 13},
                    within=(cidr,),
                    of={f"host:node{n}": 13},
                    owners={f"host:node{m}": 6 for m in range(1, n + 1)},
                    used=25 * n,
                ),
            )
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensure(Row):
    """
    EnsureBlock for host-a, which keeps three addresses and one of each block.

    Attributes:
        id: Given by keyword.
        pools: Family -> pools named.
        within: The block lies in it; "" = the request is refused.
        against: What stands against which pool.
    """

    pools: dict[int, tuple[str, ...]] = field(default_factory=dict)
    family: int = 4
    within: str = ""
    against: dict[str, str] = field(default_factory=dict)


SMALL, SIX = "90.0.0.0/24", "fe80::11/120"
ENSURED = (
    Ensure(id="AB-12", pools={4: (P10, "30.0.0.0/24")}, against={"c": "disabled"}),
    Ensure(id="AB-13", pools={4: (SIX,)}, against={"six": "is an IPv6 pool"}),
    Ensure(id="AB-14", pools={4: (SMALL, P10)}, against={"small": "keeps 4 addresses"}),
    Ensure(id="AB-14", pools={4: ("80.0.0.0/24",)}, against={"filled": "keeps 4 addresses"}),
    Ensure(id="AB-15", pools={4: (P10, "40.0.0.0/24")}, against={"40.0.0.0/24": "no such"}),
    Ensure(id="AB-16", within=P10),
    Ensure(id="AB-17", pools={4: (P10, P20)}, within=P10),
    Ensure(id="AB-17", pools={4: (P20, P10)}, within=P20),
    Ensure(id="AB-18", pools={4: (P10, P20)}, within=P10),
    Ensure(id="AB-19", pools={4: (P10,), 6: (SIX,)}, family=6, within="fe80::/120"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Row):
    """
    ClaimAffinities, each as (owner, CIDR, claimed, failed).

    Attributes:
        given: What comes before.
        claims: Owner -> number of affinities afterwards.
    """

    given: tuple[Action, ...] = (pool("four", V4), pool("six", V6), pool("a", P10))
    asked: tuple[tuple[str, str, int, int], ...]
    claims: dict[str, int]


OF_A, OF_B = ("host:host-a", P10, 4, 0), ("host:host-b", P10, 0, 4)
REAL, VIRTUAL = "host:test-hostname", "virtual:test-hostname"
CLAIMED = (
    Claim(
        id="AB-20",
        asked=(("host:host-a", "192.168.1.0/26", 1, 0),),
        claims={"host:host-a": 1},
    ),
    Claim(id="AB-21", asked=(("host:host-a", "192.168.1.0/27", 0, 0),), claims={}),
    Claim(
        id="AB-22",
        given=(pool("a", P10), Name("10.0.0.1")),
        asked=(("host:host-b", P10, 3, 1),),
        claims={"host:host-a": 1, "host:host-b": 3},
    ),
    Claim(id="AB-23", asked=(OF_A,), claims={"host:host-a": 4}),
    Claim(id="AB-24", asked=(OF_A, OF_B), claims={"host:host-a": 4}),
    Claim(
        id="AB-25",
        given=(pool("a", "10.1.0.0/16"),),
        asked=((REAL, "10.1.0.0/26", 1, 0), (VIRTUAL, "10.1.1.0/26", 1, 0)) * 2,
        claims={REAL: 1, VIRTUAL: 1},
    ),
    Claim(
        id="AB-25",
        given=(pool("a", "10.1.0.0/16"),),
        asked=((REAL, "10.1.0.0/26", 1, 0), (VIRTUAL, "10.1.0.0/26", 0, 1)),
        claims={REAL: 1},
    ),
)

ROWS = (*STORIES, *ENSURED, *CLAIMED)


@each(STORIES)
def test_assignments_claim_blocks_as_they_need_them(row, place):
    check(row, place)


@each(ENSURED)
def test_a_host_gets_a_block_in_the_first_pool_that_serves(row, place):
    tell(
        place,
        (
            pool("a", P10),
            pool("b", P20),
            pool("c", "30.0.0.0/24", disabled=True),
            pool("filled", "80.0.0.0/24", 30),
            pool("small", SMALL, 31),
            pool("six", SIX),
        ),
    )
    kept = HostReserved(first=3, last=1, handle="windows-reserved-ipam-handle")
    request = EnsureBlock(host="host-a", reserved={row.family: kept}, pools=row.pools)
    if not row.within:
        with pytest.raises(NoMatchingPoolError) as caught:
            place.ipam.ensure_block(request)

        assert row.against.keys() == caught.value.reasons.keys()
        for name, word in row.against.items():
            assert word in caught.value.reasons[name]
        assert {} == place.blocks()
        return
    ensured = place.ipam.ensure_block(request).blocks

    (cidr,) = place.blocks()
    assert {row.family: parse_network(cidr)} == ensured
    assert contains(parse_network(row.within), ensured[row.family])
    assert ensured == place.ipam.ensure_block(request).blocks
    assert {("host:host-a", cidr): "confirmed"} == place.affinities()
    stored = place.blocks()[cidr]
    assert [0, 0, 0, None] == stored["allocations"][:4]
    assert [None, 0] == stored["allocations"][-2:]
    assert set() == place.flaws()


@each(CLAIMED)
def test_blocks_are_claimed_unless_they_are_anothers(row, place):
    tell(place, row.given)
    for owner, cidr, claimed, failed in row.asked:
        kind, _, host = owner.partition(":")
        request = ClaimAffinities(cidr=parse_network(cidr), host=host, kind=kind)
        if not claimed and not failed:
            with pytest.raises(NoMatchingPoolError, match="smaller than the blocks"):
                place.ipam.claim_affinities(request)
            continue
        answer = place.ipam.claim_affinities(request)

        assert (claimed, failed) == (len(answer.claimed), len(answer.failed))
        found = place.affinities()
        assert all(found[owner, str(block)] == "confirmed" for block in answer.claimed)
        stored = place.blocks()
        assert all(stored[str(block)]["affinity"] == owner for block in answer.claimed)
        assert all(stored[str(block)]["affinity"] != owner for block in answer.failed)
    counts = [owner for owner, _ in place.affinities()]
    assert row.claims == {owner: counts.count(owner) for owner in counts}
    assert set() == place.flaws()
