"""Section 4: how many blocks a host may own."""

from poolmgr.errors import BlockLimitError
from tests.behaviours.row import Row, each
from tests.behaviours.story import Add, Ask, Poolctl, Step, check, config, pool, told
from tests.support.poolctl import manifest

V4, V6 = "192.168.1.0/24", "fd80:24e2:f998:72d6::/120"
LIMIT = BlockLimitError
AT_HOST1 = Ask(host="host1", v4=1, handle="host1")
TWO_BLOCKS = {"host:host1": 2, "host:host2": 1}

STORIES = (
    *told(
        pool("four", V4, 26),
        Step(
            id="MB-02",
            do=Ask(v4=256, max_blocks=2),
            got={4: 128},
            short=LIMIT,
            limit=2,
            says=("host-a", "2"),
            owners={"host:host-a": 2},
        ),
    ),
    *told(
        pool("four", V4, 26),
        pool("six", V6, 122),
        Ask(v4=64, max_blocks=1),
        Step(
            id="MB-03",
            do=Ask(v6=256, max_blocks=1),
            got={6: 64},
            short=LIMIT,
            limit=1,
            owners={"host:host-a": 2},
        ),
    ),
    *told(
        Poolctl("ipam configure --strictaffinity=true --max-blocks-per-host=2"),
        pool("a", "10.0.0.0/28", 30),
        Step(id="MB-04", do=AT_HOST1, times=8, got={4: 1}, of={"host:host1": 1}),
        Step(id="MB-05", do=AT_HOST1, got={}, short=LIMIT, limit=2, owners={"host:host1": 2}),
        Step(
            id="MB-05",
            do=Add(host="host1"),
            error=LIMIT,
            says=("host1", "2"),
            owners={"host:host1": 2},
            claims={"host:host1": 2},
            used=8,
        ),
        Step(id="MB-06", do=Add(host="host2"), got={4: 1}, owners=TWO_BLOCKS),
        Step(id="MB-07", do=AT_HOST1, got={}, short=LIMIT, limit=2),
        Step(id="MB-07", do=Add(host="host1"), error=LIMIT, owners=TWO_BLOCKS, used=9),
        Step(
            id="MB-08",
            do=Ask(host="host1", v4=1, max_blocks=3),
            got={},
            short=LIMIT,
            limit=2,
            owners=TWO_BLOCKS,
        ),
        Poolctl("ipam configure --max-blocks-per-host=3"),
        Step(
            id="MB-09",
            do=Ask(host="host1", v4=1, max_blocks=2),
            got={},
            short=LIMIT,
            limit=2,
            owners=TWO_BLOCKS,
        ),
        Step(
            id="MB-10",
            do=Add(host="host1"),
            got={4: 1},
            of={"host:host1": 1},
            owners={"host:host1": 3, "host:host2": 1},
            used=10,
        ),
    ),
    # A node that may not claim does not borrow either, though another's block has room.
    *told(
        config(),
        pool("a", V4, 26),
        Add(host="host-b"),
        Ask(v4=64),
        Step(
            id="MB-02",
            do=Ask(v4=1, max_blocks=1),
            got={},
            short=LIMIT,
            limit=1,
            owners={"host:host-a": 1, "host:host-b": 1},
            used=65,
        ),
    ),
    *told(
        pool("a", V4, 30),
        Step(
            id="MB-12",
            do=Ask(v4=256, max_blocks=256),
            got={4: 256},
            of={"host:host-a": 256},
            owners={"host:host-a": 64},
            claims={"host:host-a": 64},
        ),
    ),
)

REFUSED = (Row("MB-11"),)
ROWS = (*STORIES, *REFUSED)


@each(STORIES)
def test_a_host_owns_no_more_blocks_than_it_may(row, place):
    check(row, place)


@each(REFUSED)
def test_a_negative_limit_is_refused_in_a_manifest(row, program, raw):
    text = manifest("IPAMConfiguration", "default", {"maxBlocksPerHost": -1})
    done = program("create", "-f", "-", stdin=text)

    assert (1, {}) == (done.returncode, raw.dump())
    assert "spec.maxBlocksPerHost: -1 is not allowed" in done.stderr
