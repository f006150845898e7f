"""Section 17: ADD and DEL of the executable, and what they leave in etcd."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from poolmgr.cni.result import VERSIONS
from poolmgr.core.flaws import Flaw
from poolmgr.errors import NoMatchingPoolError, PoolExhaustedError
from tests.behaviours.row import Row, each
from tests.behaviours.story import Add, Delete, Poolctl, Step, check, no_pool, pool, told
from tests.support.poolctl import manifest

BASE = (pool("four", "192.168.0.0/16"), pool("six", "fd80:24e2:f998:72d6::/64"))
FOUR, SIX = "192.168.0.0/16", "fd80:24e2:f998:72d6::/64"
OTHER = pool("other", "192.169.1.0/24")
BOTH = (4, 6)
LOST = (Flaw.OUTSIDE_POOLS,)
LONE = pool("lone", "10.0.0.0/32", 32)
NO_POOL = NoMatchingPoolError


@dataclass(frozen=True, slots=True)
class Families(Row):
    """
    Families that a configuration asks for, and the pools that they come from.

    Attributes:
        ipam: Keys of the `ipam` object.
        lengths: Prefix length behind a plugin that routes itself.
    """

    ipam: dict[str, str]
    pools: tuple[str, ...]
    lengths: tuple[int, ...]


FAMILIES = (
    Families("CN-01", {}, (FOUR,), (32,)),
    Families("CN-02", {"assign_ipv4": "true"}, (FOUR,), (32,)),
    Families("CN-03", {"assign_ipv4": "false", "assign_ipv6": "true"}, (SIX,), (128,)),
    Families("CN-04", {"assign_ipv4": "true", "assign_ipv6": "true"}, (FOUR, SIX), (32, 128)),
)

STORIES = (
    *told(
        *BASE,
        Add(families=BOTH, container="c1"),
        no_pool("six"),
        Step(id="CN-06", do=Add(families=BOTH, container="c2"), error=NO_POOL, flaws=LOST),
        Step(id="CN-06", do=Delete("c2"), got={}, used=2, flaws=LOST),
    ),
    *told(
        *BASE,
        Add(families=BOTH, container="c1"),
        no_pool("four"),
        Step(id="CN-07", do=Add(families=BOTH, container="c2"), error=NO_POOL, flaws=LOST),
        Step(id="CN-07", do=Delete("c2"), got={}, used=2, flaws=LOST),
    ),
    *told(*BASE, Step(id="CN-08", do=Add(pools=(FOUR,)), got={4: 1}, within=(FOUR,))),
    *told(
        *BASE,
        OTHER,
        Step(
            id="CN-09",
            do=Add(pools=("192.169.1.0/24", FOUR), program=True),
            got={4: 1},
            within=("192.169.1.0/24",),
        ),
    ),
    *told(
        *BASE,
        Add(container="c1"),
        Poolctl("""patch ippool four -p '{"spec": {"disabled": true}}'"""),
        Poolctl("create -f -", manifest("IPPool", "other", {"cidr": "192.169.1.0/24"})),
        Step(id="CN-10", do=Add(container="c2"), got={4: 1}, within=("192.169.1.0/24",)),
        Step(id="CN-10", do=Add(container="c1"), got={4: 1}, within=(FOUR,), used=2),
    ),
    *told(
        *BASE,
        Step(
            id="CN-12",
            do=Add(address="192.168.123.123", container="c1"),
            times=2,
            given=("192.168.123.123/32",),
            used=1,
        ),
    ),
    *told(
        pool("a", "10.0.0.0/24"),
        Add(container="x"),
        Delete("x"),
        Add(container="y"),
        Step(id="CN-17", do=Delete("x"), got={}, used=1),
        Step(id="CN-17", do=Delete("y"), got={}, used=0),
    ),
    *told(
        pool("a", "10.0.0.0/24"),
        Add(container="x"),
        Add(container="y"),
        Step(id="CN-18", do=Delete("x"), got={}, used=1),
        Step(id="CN-18", do=Delete("y"), got={}, used=0),
    ),
    *told(
        pool("a", "10.0.0.0/24"),
        Add(address="10.0.0.5", container="x"),
        Step(
            id="CN-19",
            do=Add(address="10.0.0.6", container="y"),
            given=("10.0.0.6/32",),
            used=2,
        ),
        Step(id="CN-19", do=Add(container="x"), given=("10.0.0.5/32",), used=2),
    ),
    *told(
        LONE,
        Add(container="x"),
        Step(id="CN-20", do=Add(container="y"), error=PoolExhaustedError, used=1),
        Step(id="CN-20", do=Add(container="x"), given=("10.0.0.0/32",), used=1),
    ),
    *told(LONE, Step(id="CN-24", do=Add(container="x"), times=2, got={4: 1}, used=1)),
    *told(
        pool("four", FOUR),
        pool("six", "fd80::/128", 128),
        Add(families=(6,)),
        Step(
            id="CN-36",
            do=Add(families=BOTH, container="c2"),
            error=PoolExhaustedError,
            says=("six",),
            used=1,
        ),
        no_pool("six"),
        Step(
            id="CN-36",
            do=Add(families=BOTH, container="c3"),
            error=NO_POOL,
            used=1,
            flaws=LOST,
        ),
    ),
)

IGNORED, OLD, ROUTED = Row("CN-13"), Row("CN-14"), Row("CN-21")
WRONG_NAME, AT_ONCE = Row("CN-35"), Row("CN-37")


@dataclass(frozen=True, slots=True)
class Naming(Row):
    """Keys that name the node, and its name."""

    keys: dict[str, str]
    node: str


NAMINGS = (
    Naming("CN-28", {"hostname": "named-hostname.somewhere"}, "named-hostname.somewhere"),
    Naming(
        "CN-29", {"hostname": "named-hostname", "nodename": "named-nodename"}, "named-nodename"
    ),
)

ROWS = (*FAMILIES, *STORIES, *NAMINGS, IGNORED, OLD, ROUTED, WRONG_NAME, AT_ONCE)


@each(STORIES)
def test_calls_leave_what_is_expected(row, place):
    check(row, place)


def base(caller):
    caller.pool("four", FOUR)
    caller.pool("six", SIX)


@pytest.mark.parametrize("version", VERSIONS)
@each(FAMILIES)
def test_families_are_assigned_in_every_version(row, version, caller):
    base(caller)
    said = caller(cniVersion=version, ipam={"type": "poolmgr-ipam", **row.ipam})

    assert (said.code, said.body["cniVersion"]) == (0, version)
    assert said.lies_in(*row.pools)
    assert [int(ip.partition("/")[2]) for ip in said.ips] == list(row.lengths)
    assert caller("DEL").code == 0
    assert caller.handles() == []


@pytest.mark.parametrize("version", VERSIONS)
@each([ROUTED])
def test_the_only_address_has_the_only_route(row, version, caller):
    base(caller)
    said = caller(cniVersion=version, type="ptp")

    assert (said.ips[0].partition("/")[2], len(said.ips)) == ("16", 1)
    assert said.routes == ["0.0.0.0/0"]


@each([IGNORED])
def test_a_delete_of_nothing_succeeds_whatever_address_it_names(row, caller):
    base(caller)

    assert caller("DEL", args="IP=192.168.123.123").code == 0


@each([OLD])
@pytest.mark.parametrize("handle", ["c1", "net1.c1"])
def test_a_delete_finds_handles_of_old_versions(row, handle, caller, site):
    base(caller)
    site.seed("192.168.0.0/26", [{"handle_id": handle, "secondary": {}}], {3: 0}, host="host-a")

    assert (caller("DEL").code, caller.handles()) == (0, [])


@each(NAMINGS)
def test_the_configuration_names_the_node(row, caller, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "poolmgr.cni.host.node_name.__kwdefaults__", {"default_file": tmp_path / "none"}
    )
    base(caller)

    assert caller(**{"nodename": None, **row.keys}).code == 0
    owners = {
        key.split("/")[5]
        for key in caller.raw.dump()
        if key.startswith("/calico/ipam/v2/host/")
    }
    assert owners == {row.node}


@each([WRONG_NAME])
@pytest.mark.parametrize("name", ["a b", "a/b", "ä", "a:b"])
def test_a_wrong_network_name_is_refused_before_etcd_is_asked(row, name, caller):
    said = caller(name=name, etcd_endpoints="127.0.0.1:1")

    assert said.code == 7


@each([AT_ONCE])
def test_calls_at_once_are_served_by_transactions(row, caller):
    base(caller)
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda n: caller("ADD", f"c{n}"), range(16)))
        assert len({address for each in said for address in each.addresses}) == 16
        said = list(threads.map(lambda n: caller("DEL", f"c{n}"), range(16)))

    assert {each.code for each in said} == {0}
    assert caller.handles() == []
