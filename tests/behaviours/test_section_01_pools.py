"""Sections 1.1 and 1.2: which pools serve a request."""

from dataclasses import dataclass, field

import pytest

from poolmgr.api import IPPool
from poolmgr.cidr import parse_address, parse_network
from poolmgr.core.pools import Criteria, select
from poolmgr.errors import CorruptStateError, NoMatchingPoolError
from tests.behaviours.row import Row, each
from tests.behaviours.story import (
    Add,
    Ask,
    Write,
    node,
    pool,
    tell,
)

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


def choices(number: int, *columns) -> tuple[Choice, ...]:
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

ROWS = (*CHOICES, *NAMESPACES)


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
    tell(place, (*row.stored, node("node-a", foo="bar")))
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
    tell(place, (*row.stored, node("host-a", **row.node_labels)))
    answer = Ask(v4=1, labels=row.labels).do(place)

    refused = CorruptStateError if row.kept is None else NoMatchingPoolError
    assert answer.error == (None if row.kept else refused)
    assert list(row.kept or ())[:1] == [int(a.split(".")[1]) for a in answer.addresses]
    assert set() == place.flaws()
