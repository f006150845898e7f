"""Section 1: which pools serve a request."""

from dataclasses import dataclass, field

import pytest

from poolmgr.api import IPPool
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.flaws import Flaw
from poolmgr.core.pools import Criteria, select
from poolmgr.core.request import Use
from poolmgr.errors import CorruptStateError, NoMatchingPoolError, PoolExhaustedError
from tests.behaviours.row import Row, each
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
CIDRS = {
    4: {"p1": "10.0.0.1/24", "p2": "20.0.0.0/24"},
    6: {"p1": "5001:0000:0000:001a:0000:0000:0000:0000/64", "p2": "5001:0:0:1b::/64"},
}


@dataclass(frozen=True, slots=True)
class Choice(Row):
    """
    Pools p1 and p2, and which of them serve node-a, whose label foo is "bar".

    Attributes:
        off: Pools that are disabled.
        selectors: Pool -> nodeSelector.
        asked: The pool that the request names; "" = none.
        kept: Pools that serve, in order; () = the request is refused.
        against: What stands against each of the others.
    """

    family: int
    off: str
    selectors: dict[str, str]
    asked: str
    kept: tuple[str, ...]
    against: dict[str, str]

    @property
    def stored(self) -> tuple[Write, ...]:
        return tuple(
            pool(
                name,
                cidr,
                disabled=name == self.off,
                nodeSelector=self.selectors.get(name, ""),
            )
            for name, cidr in CIDRS[self.family].items()
        )


def choices(number: int, *columns) -> tuple[Choice, Choice]:
    """The same for both families."""
    return tuple(
        Choice(f"PS-{number + later:02}", family, *columns)
        for family, later in ((4, 0), (6, 14))
    )


BOTH = {"p1": IS_BAR, "p2": NOT_BAR}
CHOICES = (
    *choices(1, "", {}, "", ("p1", "p2"), {}),
    *choices(2, "", {}, "p1", ("p1",), {}),
    *choices(3, "", BOTH, "", ("p1",), {"p2": "nodeSelector"}),
    *choices(4, "", BOTH, "p1", ("p1",), {}),
    *choices(6, "", {"p1": NOT_BAR}, "p1", ("p1",), {}),
    *choices(7, "", {"p1": IS_BAR}, "p2", ("p2",), {}),
    *choices(8, "p1", {}, "", ("p2",), {"p1": "disabled"}),
    *choices(9, "p1", {}, "p1", (), {"p1": "disabled"}),
    *choices(10, "p1", {}, "p2", ("p2",), {}),
    *choices(12, "p1", {"p2": IS_BAR}, "p2", ("p2",), {}),
    *choices(13, "p1", {"p2": NOT_BAR}, "", (), {"p1": "disabled", "p2": "nodeSelector"}),
    *choices(14, "p1", {"p2": NOT_BAR}, "p2", ("p2",), {}),
)

PRODUCTION = "environment == 'production'"
US_WEST = "zone == 'us-west'"
COMPOUND = "environment == 'production' && tier == 'frontend'"
EAST = 'region == "east"'
EAST_AND = 'region == "east" && environment == "production"'
IN_EAST = {"region": "east", "environment": "production"}


@dataclass(frozen=True, slots=True)
class InNamespace(Row):
    """
    Pools with a namespaceSelector, and which of them serve a namespace.

    Attributes:
        selectors: namespaceSelector of each pool.
        labels: Those of the namespace; None = there is no namespace object.
        kept: Indexes of the pools that serve; None = no selection is possible.
    """

    selectors: tuple[str, ...]
    labels: dict[str, str] | None
    kept: tuple[int, ...] | None
    node_selector: str = ""
    node_labels: dict[str, str] = field(default_factory=dict)

    @property
    def stored(self) -> tuple[Write, ...]:
        return tuple(
            pool(
                f"p{n}",
                f"10.{n}.0.0/24",
                nodeSelector=self.node_selector,
                namespaceSelector=selector,
                allowedUses=["Workload"],
            )
            for n, selector in enumerate(self.selectors)
        )


def evaluated(id_: str, selector: str, labels: dict[str, str] | None, *, matches: bool | None):
    kept = None if matches is None else (0,) if matches else ()
    return InNamespace(id_, (selector,), labels, kept)


DEVELOPMENT = {"environment": "development"}
NAMESPACES = (
    InNamespace("PS-29", ("",), {}, (0,)),
    InNamespace("PS-30", (PRODUCTION,), {"environment": "production"}, (0,)),
    InNamespace("PS-31", (PRODUCTION,), DEVELOPMENT, ()),
    InNamespace("PS-33", (PRODUCTION,), DEVELOPMENT, (), US_WEST, {"zone": "us-west"}),
    InNamespace(
        "PS-34", (PRODUCTION,), {"environment": "production"}, (), US_WEST, {"zone": "us-east"}
    ),
    InNamespace("PS-35", (COMPOUND,), {"environment": "production", "tier": "frontend"}, (0,)),
    InNamespace("PS-36", (COMPOUND,), {"environment": "production", "tier": "backend"}, ()),
    InNamespace(
        "PS-37",
        (PRODUCTION, "environment == 'development'", ""),
        {"environment": "production"},
        (0, 2),
    ),
    InNamespace("PS-38", ("invalid selector syntax [",), {}, None),
    InNamespace("PS-38", ("", "invalid selector syntax [", ""), {}, None),
    evaluated("PS-40", "", {"region": "east"}, matches=True),
    evaluated("PS-41", EAST, IN_EAST, matches=True),
    evaluated("PS-41", EAST_AND, {**IN_EAST, "team": "backend"}, matches=True),
    evaluated("PS-41", 'region in {"east", "west"}', {"region": "west"}, matches=True),
    evaluated("PS-41", "has(region)", IN_EAST, matches=True),
    evaluated("PS-42", EAST, {"region": "west"}, matches=False),
    evaluated("PS-42", EAST, {"environment": "production"}, matches=False),
    evaluated("PS-42", EAST, {}, matches=False),
    evaluated("PS-42", EAST, None, matches=False),
    evaluated("PS-43", "region == ", IN_EAST, matches=None),
    evaluated("PS-43", 'region === "east"', IN_EAST, matches=None),
    evaluated("PS-44", EAST, {"region": "east"}, matches=True),
    evaluated("PS-44", 'region == "us-east-1"', {"region": "us-east-1"}, matches=True),
)

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

ROWS = (*CHOICES, *NAMESPACES, *STORIES)


def verdict(row: "Choice | InNamespace", criteria: Criteria):
    """Return the names of the pools that serve, and what stands against the others."""
    pools = [IPPool.from_stored(write.value, 3) for write in row.stored]
    try:
        selection = select(pools, criteria)
    except NoMatchingPoolError as error:
        return (), error.reasons
    return tuple(found.name for found in selection.kept), selection.reasons


@each(CHOICES)
def test_pools_serve_as_selectors_and_the_request_say(row):
    criteria = Criteria(
        family=row.family,
        host="node-a",
        node_labels={"foo": "bar"},
        requested=(CIDRS[row.family][row.asked],) if row.asked else (),
    )
    kept, reasons = verdict(row, criteria)

    assert row.kept == kept
    assert row.against.keys() == reasons.keys()
    for name, word in row.against.items():
        assert word in reasons[name]


@each(CHOICES)
def test_an_add_draws_from_the_first_pool_that_serves(row, place):
    place.tell((*row.stored, node("node-a", foo="bar")))
    asked = (CIDRS[row.family][row.asked],) if row.asked else ()
    answer = Add(host="node-a", families=(row.family,), pools=asked).do(place)

    assert answer.error == (None if row.kept else NoMatchingPoolError)
    drawn = [parse_network(CIDRS[row.family][name], strict=False) for name in row.kept[:1]]
    assert drawn == [net for net in drawn for a in answer.addresses if parse_address(a) in net]
    assert set() == place.flaws()


@each(NAMESPACES)
def test_pools_serve_as_selectors_and_the_namespace_say(row):
    criteria = Criteria(
        family=4,
        host="node-a",
        node_labels=row.node_labels,
        namespace_labels=row.labels,
    )
    if row.kept is None:
        with pytest.raises(CorruptStateError, match="namespaceSelector"):
            verdict(row, criteria)
        return
    kept, reasons = verdict(row, criteria)

    assert kept == tuple(f"p{n}" for n in row.kept)
    assert len(kept) + len(reasons) == len(row.selectors)


@each(NAMESPACES)
def test_an_assignment_draws_from_the_pools_that_serve_the_namespace(row, place):
    place.tell((*row.stored, node("host-a", **row.node_labels)))
    answer = Ask(v4=1, labels=row.labels).do(place)

    refused = CorruptStateError if row.kept is None else NoMatchingPoolError
    assert answer.error == (None if row.kept else refused)
    assert list(row.kept or ())[:1] == [int(a.split(".")[1]) for a in answer.addresses]
    assert set() == place.flaws()


@each(STORIES)
def test_assignments_show_which_pools_serve(row, place):
    check(row, place)
