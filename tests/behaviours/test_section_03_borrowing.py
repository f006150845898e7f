"""Section 3: addresses of other hosts' blocks, and what is said when there is none."""

from concurrent.futures import ThreadPoolExecutor

from poolmgr.core.block import HostReserved
from poolmgr.errors import BlockLimitError, PoolExhaustedError
from tests.behaviours.row import Row, each
from tests.behaviours.story import (
    Add,
    Ask,
    Delete,
    Poolctl,
    Release,
    Step,
    check,
    config,
    node,
    pool,
    tell,
    told,
)

V4, V6 = "192.168.1.0/24", "fd80:24e2:f998:72d6::/120"
FULL = PoolExhaustedError
NO_BORROWING = "strict affinity forbids borrowing"
STRICT, LENIENT = config(strict_affinity=True), config()
ONE_OF_1 = Ask(host="host1", v4=1, handle="handle-1")
ONE_OF_2 = Ask(host="host2", v4=1, handle="handle-2")
OF_1 = {"host:host1": 1}
BOTH = {"host:host-a": 1, "host:host-b": 1}
WINDOWS = HostReserved(first=3, last=1, handle="windows-reserved-ipam-handle")

STORIES = (
    *told(
        pool("four", V4, 26),
        pool("six", V6, 122),
        Step(
            id="BR-01",
            do=Ask(v4=257),
            got={4: 256},
            short=FULL,
            says=(V4,),
            of={"host:host-a": 256},
        ),
        Step(id="BR-01", do=Add(), error=FULL, says=(V4,), used=256),
        Step(
            id="BR-02",
            do=Ask(v6=257),
            got={6: 256},
            short=FULL,
            says=(V6,),
            of={"host:host-a": 256},
        ),
        Step(id="BR-02", do=Add(families=(6,)), error=FULL, says=(V6,), used=512),
    ),
    *told(
        pool("a", "10.0.0.0/25", 26),
        Step(id="BR-03", do=Add(), got={4: 1}, owners={"host:host-a": 1}),
        Step(id="BR-04", do=Add(host="host-b"), got={4: 1}, of={"host:host-b": 1}, owners=BOTH),
        Step(
            id="BR-05",
            do=Ask(v4=64),
            got={4: 64},
            of={"host:host-a": 63, "host:host-b": 1},
            owners=BOTH,
            claims=BOTH,
        ),
    ),
    *told(
        pool("a", "10.0.0.0/25", 26),
        Add(),
        Add(host="host-b"),
        Ask(v4=63),
        Step(id="BR-05", do=Add(program=True), got={4: 1}, of={"host:host-b": 1}, claims=BOTH),
    ),
    *told(
        STRICT,
        pool("a", "192.168.1.0/26", 26),
        pool("b", "192.168.1.64/26", 26),
        Step(
            id="BR-06",
            do=Ask(v4=256, pools=("192.168.1.0/26",)),
            got={4: 64},
            within=("192.168.1.0/26",),
            short=FULL,
            says=("192.168.1.0/26", NO_BORROWING),
        ),
        Step(
            id="BR-06",
            do=Add(pools=("192.168.1.0/26",)),
            error=FULL,
            says=(NO_BORROWING,),
            used=64,
        ),
    ),
    *told(
        LENIENT,
        pool("a", "10.0.0.0/28", 28),
        Step(id="BR-07", do=ONE_OF_1, got={4: 1}, of=OF_1),
        Step(id="BR-07", do=ONE_OF_2, got={4: 1}, of=OF_1, owners=OF_1),
        Poolctl("ipam configure --strictaffinity=true"),
        Step(id="BR-08", do=ONE_OF_1, got={4: 1}, of=OF_1),
        Step(id="BR-08", do=ONE_OF_2, got={}, short=FULL, says=(NO_BORROWING,)),
        Step(id="BR-08", do=Add(host="host2"), error=FULL, says=(NO_BORROWING,), used=3),
        Poolctl("ipam configure --strictaffinity=false"),
        Step(id="BR-09", do=ONE_OF_1, got={4: 1}, of=OF_1),
        Step(id="BR-09", do=ONE_OF_2, got={4: 1}, of=OF_1, used=5),
        Step(id="BR-10", do=Release("handle-2"), got={4: 2}, owners=OF_1, claims=OF_1, used=3),
        Step(id="BR-10", do=Release("handle-1"), got={4: 3}, owners=OF_1, claims=OF_1, used=0),
    ),
    *told(
        pool("a", "10.0.0.0/28", 28),
        Add(host="host1", container="c1"),
        Add(host="host2", container="c2"),
        Step(id="BR-10", do=Delete("c2", "host2"), got={}, owners=OF_1, claims=OF_1, used=1),
        Step(id="BR-10", do=Delete("c1", "host1"), got={}, owners=OF_1, claims=OF_1, used=0),
    ),
    *told(
        pool("a", "10.0.0.0/30", 30, nodeSelector='foo == "bar"'),
        node("host1", foo="bar"),
        node("host2"),
        Ask(host="host1", v4=3),
        node("host1"),
        node("host2", foo="bar"),
        Step(
            id="BR-11",
            do=Add(host="host2"),
            got={4: 1},
            of=OF_1,
            owners=OF_1,
            claims=OF_1,
            used=4,
        ),
    ),
    *told(
        STRICT,
        pool("a", "10.0.0.0/26", 26),
        Add(),
        Step(id="BR-12", do=Ask(host="host-b", v4=1), got={}, short=FULL, says=(NO_BORROWING,)),
        Step(
            id="BR-12",
            do=Add(host="host-b"),
            error=FULL,
            owners={"host:host-a": 1},
            claims={"host:host-a": 1},
        ),
        Step(
            id="BR-15",
            do=Ask(host="host-b", v4=1),
            got={},
            short=FULL,
            says=("a (10.0.0.0/26)", "host-b", NO_BORROWING),
        ),
        Step(
            id="BR-15",
            do=Add(host="host-b", program=True),
            error=FULL,
            says=("a (10.0.0.0/26)", "host-b", NO_BORROWING),
        ),
    ),
    *told(
        pool("a", V4, 32),
        Ask(v4=20),
        Step(
            id="BR-16",
            do=Ask(v4=1),
            got={},
            short=BlockLimitError,
            limit=20,
            says=("host-a", "20"),
        ),
        Step(id="BR-16", do=Add(), error=BlockLimitError, says=("host-a", "20"), used=20),
    ),
    *told(
        pool("a", "192.168.0.0/24", 26),
        pool("b", V4, 26),
        Ask(v4=512),
        Step(
            id="BR-17",
            do=Ask(v4=1),
            got={},
            short=FULL,
            says=("a (192.168.0.0/24)", f"b ({V4})"),
        ),
        Step(
            id="BR-17", do=Add(), error=FULL, says=("a (192.168.0.0/24)", f"b ({V4})"), used=512
        ),
    ),
    *told(
        pool("a", "10.0.0.0/29", 29),
        Step(
            id="BR-18",
            do=Ask(v4=5, kept=WINDOWS),
            given=("10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"),
            short=FULL,
            says=("keeps 4 addresses", "windows-reserved-ipam-handle"),
            used=8,
        ),
    ),
)

RACE = (Row("BR-13"),)
ROWS = (*STORIES, *RACE)


@each(STORIES)
def test_addresses_are_borrowed_where_that_is_allowed(row, place):
    check(row, place)


@each(RACE)
def test_twice_as_many_hosts_as_blocks_all_get_an_address(row, place):
    tell(place, [pool("a", "10.0.0.0/22", 26)])
    with ThreadPoolExecutor(32) as crew:
        adds = [Add(host=f"host-{n}", container=f"c{n}") for n in range(32)]
        answers = list(crew.map(lambda add: add.do(place), adds))

    assert [None] * 32 == [answer.error for answer in answers]
    addresses = {answer.addresses[0] for answer in answers}
    assert 32 == len(addresses)
    owners = {block["affinity"] for block in place.blocks().values()}
    assert 16 == len(owners) == len(place.blocks()) == len(place.affinities())
    at_home = [
        place.block_of(answer.addresses[0])["affinity"] == f"host:host-{n}"
        for n, answer in enumerate(answers)
    ]
    assert 16 == sum(at_home)
    assert set() == place.flaws()
