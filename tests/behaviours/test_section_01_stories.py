"""Section 1.3: which pools serve, as assignments show it."""

from poolmgr.core.flaws import Flaw
from poolmgr.core.request import Use
from poolmgr.errors import NoMatchingPoolError, PoolExhaustedError
from tests.behaviours.row import each
from tests.behaviours.story import (
    Add,
    Ask,
    Release,
    Step,
    Told,
    Write,
    check,
    no_pool,
    node,
    pool,
    told,
)
from tests.support.world import stored_resource

IS_BAR, NOT_BAR = 'foo == "bar"', 'foo != "bar"'
P10, P20, P30 = "10.0.0.0/24", "20.0.0.0/24", "30.0.0.0/24"
LATELY = "2026-11-23T00:00:00Z"
ORPHANED = (Flaw.OUTSIDE_POOLS,)
TWO = (pool("a", P10), pool("b", P20))
NONE = PoolExhaustedError


def usable(stored: Write, *families: int, flaws: tuple[Flaw, ...] = ()) -> tuple[Told, ...]:
    """Tell which families a single pool serves."""
    return told(
        stored,
        *(
            Step(
                id="PS-68",
                do=Add(families=(family,)),
                got={family: 1} if family in families else {},
                error=None if family in families else NoMatchingPoolError,
                flaws=flaws,
            )
            for family in (4, 6)
        ),
    )


STORIES = (
    *told(
        pool("a", "10.0.0.0/30", 30, nodeSelector=IS_BAR),
        node("host1", foo="bar"),
        node("host2"),
        *(Add(host="host1") for _ in range(3)),
        node("host1"),
        node("host2", foo="bar"),
        Step(
            id="PS-45",
            do=Add(host="host1"),
            error=NoMatchingPoolError,
            says=("host1", "a: nodeSelector"),
            owners={"host:host1": 1},
        ),
    ),
    *told(
        pool("a", P10, nodeSelector=IS_BAR),
        pool("b", P20, nodeSelector=NOT_BAR),
        node("host-a", foo="bar"),
        Step(id="PS-46", do=Ask(v4=300), got={4: 256}, within=(P10,), short=NONE, says=(P10,)),
        Step(id="PS-46", do=Add(), error=NONE, says=(P10,)),
    ),
    *told(
        *TWO,
        Step(do=Add(pools=(P10,)), got={4: 1}, within=(P10,)),
        Step(id="PS-48", do=Add(pools=(P20,)), got={4: 1}, within=(P20,)),
        Step(
            id="PS-49",
            do=Add(pools=(P10,)),
            got={4: 1},
            within=(P10,),
            owners={"host:host-a": 2},
        ),
        Step(
            id="PS-50",
            do=Add(pools=(P20,)),
            got={4: 1},
            within=(P20,),
            owners={"host:host-a": 2},
        ),
        Step(id="PS-51", do=Ask(v4=254, pools=(P20,)), got={4: 254}, within=(P20,)),
        Step(id="PS-51", do=Ask(v4=1, pools=(P20,)), got={}, short=NONE, says=(P20,)),
        Step(
            id="PS-51", do=Add(pools=(P20,)), error=NONE, says=(P20,), owners={"host:host-a": 5}
        ),
    ),
    *told(
        *TWO,
        pool("c", P30, disabled=True),
        Step(
            id="PS-52",
            do=Add(pools=(P10, P30)),
            error=NoMatchingPoolError,
            says=("c: disabled",),
            owners={},
        ),
        Step(id="PS-54", do=Add(pools=(P10, P20)), got={4: 1}, within=(P10,)),
        Step(id="PS-55", do=Ask(v4=300, pools=(P10, P20)), got={4: 300}, within=(P10, P20)),
        Step(
            id="PS-56",
            do=Ask(v4=300, pools=(P10, P20)),
            got={4: 211},
            short=NONE,
            says=(P10, P20),
        ),
        Step(
            id="PS-57",
            do=Add(pools=(P10, "40.0.0.0/24"), program=True),
            error=NoMatchingPoolError,
            says=("40.0.0.0/24",),
        ),
    ),
    *told(
        pool("work", "192.168.2.0/24", allowedUses=["Workload"]),
        pool("tunnel", "192.168.3.0/24", allowedUses=["Tunnel"]),
        Step(
            id="PS-59",
            do=Add(pools=("192.168.2.0/24",)),
            got={4: 1},
            within=("192.168.2.0/24",),
        ),
        Step(id="PS-60", do=Add(), got={4: 1}, within=("192.168.2.0/24",)),
        Step(
            id="PS-62",
            do=Ask(v4=1, use=Use.TUNNEL, pools=("192.168.3.0/24",)),
            got={4: 1},
            within=("192.168.3.0/24",),
        ),
        no_pool("work"),
        Step(
            id="PS-61",
            do=Add(),
            error=NoMatchingPoolError,
            says=("tunnel: allowedUses", "Workload"),
            owners={"host:host-a": 2},
            flaws=(Flaw.OUTSIDE_POOLS,),
        ),
    ),
    *told(
        pool("a", P10, allowedUses=["Workload"]),
        pool("b", P20, allowedUses=["Tunnel"]),
        Ask(v4=3, handle="workload"),
        Release("workload"),
        Step(
            id="PS-63",
            do=Ask(v4=1, use=Use.TUNNEL),
            got={4: 1},
            within=(P20,),
            owners={"host:host-a": 2},
        ),
    ),
    *told(
        pool("a", P10),
        Step(
            id="PS-65",
            do=Add(),
            times=2,
            got={4: 1},
            within=(P10,),
            owners={"host:host-a": 1},
        ),
        no_pool("a"),
        pool("b", P20),
        Step(
            id="PS-66",
            do=Add(host="host-b", families=(6,)),
            error=NoMatchingPoolError,
            says=("b: is an IPv4 pool",),
        ),
        Step(id="PS-66", do=Add(host="host-b"), got={4: 1}, within=(P20,), flaws=ORPHANED),
        Step(
            id="PS-67",
            do=Add(),
            got={4: 1},
            within=(P20,),
            owners={"host:host-a": 2, "host:host-b": 1},
            flaws=ORPHANED,
        ),
    ),
    *usable(pool("a", P10, disabled=True)),
    *usable(pool("a", "invalid-cidr"), flaws=(Flaw.CORRUPT,)),
    *usable(
        Write(
            *stored_resource("ippools", "IPPool", "a", {"cidr": P10}, deletionTimestamp=LATELY)
        )
    ),
    *usable(pool("a", "192.168.0.0/16"), 4),
    *usable(pool("a", "2001:db8::/64"), 6),
    *told(
        *(pool(f"a{n}", f"10.{n}.0.0/16", 26) for n in range(100)),
        *(pool(f"b{n}", f"11.{n}.0.0/16", 32) for n in range(100)),
        *(pool(f"c{n}", f"12.{n}.0.0/16", 20) for n in range(50)),
        *(
            Step(
                id="PS-69",
                do=Add(pools=tuple(f"{first}.{n}.0.0/16" for n in range(count))),
                got={4: 1},
                within=(f"{first}.0.0.0/16",),
            )
            for first, count in ((10, 100), (11, 100), (12, 50))
        ),
    ),
)

ROWS = STORIES


@each(ROWS)
def test_assignments_show_which_pools_serve(row, place):
    check(row, place)
