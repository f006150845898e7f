"""Section 19: what `poolctl ipam show`, `split` and `configure` do, as their own process."""

import json
from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.records import CONFIG_KEY, block_key
from poolmgr.core.request import AutoAssign
from poolmgr.ipam import IPAM
from tests.behaviours.row import Row, each
from tests.support.world import stored_resource

NOTE = {"note": "reserved by a test"}
POOLS = {
    "ipam-test-v4": {"cidr": "10.65.0.0/16"},
    "ipam-test-v6": {"cidr": "fd5f:abcd:64::/48"},
}
SMALL = {"ipam-test-v4-b29": {"cidr": "10.66.0.0/16", "blockSize": 29}}
TO_SPLIT = {
    "ippool-name1": {
        "cidr": "10.0.1.0/24",
        "vxlanMode": "Never",
        "ipipMode": "Always",
        "blockSize": 27,
        "nodeSelector": "foo == 'bar'",
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
    }
}
PREFIX = "/calico/resources/v3/projectcalico.org/ippools/"


@dataclass(frozen=True, slots=True)
class Shown(Row):
    """
    A look at pools with 5 IPv4 and 7 IPv6 addresses in use, of which the first is {first}.

    Attributes:
        call: Arguments after `ipam`.
        lines: Texts that must stand together on one line of the output.
    """

    call: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...] = ()
    ok: bool = True
    says: str = ""
    used: bool = True
    small: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Away(Row):
    """
    A block of {nodes[0]}, 10.0.1.0/29.

    Attributes:
        nodes: Of the entries, in the order of their index.
        allocations: Index per ordinal.
        borrowed: Address -> the node that uses it.
    """

    nodes: tuple[str, ...]
    allocations: tuple[int | None, ...]
    borrowed: dict[str, str]


SHOWN = (
    Shown(
        "CT-01",
        ("show", "--ip=10.65.0.2"),
        (("10.65.0.2 is not assigned",),),
        used=False,
    ),
    Shown(
        "CT-03",
        ("show",),
        (
            ("IPS IN USE",),
            ("10.65.0.0/16", "65,536", "5 (0%)", "65,531 (100%)"),
            ("fd5f:abcd:64::/48", "7 (0%)"),
        ),
    ),
    Shown("CT-04", ("show", "--show-blocks"), (("Block", "5 (8%)", "59 (92%)"),)),
    Shown(
        "CT-05",
        ("show", "--ip={first}"),
        (("{first} is in use",), ("Attributes:",), ("note: reserved by a test",)),
    ),
    Shown("CT-06", ("show", "--ip=10.240.0.300"), ok=False, says="invalid IP address"),
    Shown(
        "CT-07",
        ("show", "--show-blocks"),
        (("Block", "10.66", "8 (100%)", "0 (0%)"), ("IP Pool", "fd5f", "7 (0%)")),
        small=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Split(Row):
    """
    A split of ippool-name1, named in both ways.

    Attributes:
        number: Of parts.
        pool: Name and CIDR of the pool that is asked for.
    """

    number: int
    pool: tuple[str, str] = ("ippool-name1", "10.0.1.0/24")
    ok: bool = True
    says: str = ""


SPLIT = (
    # Nothing has to be locked.
    Split("CT-22", 4, says="split into 4 parts"),
    Split("CT-23", 4, ("ippool-name2", "10.0.2.0/24"), ok=False, says="there is no pool"),
    Split("CT-24", 3, ok=False, says="power of two"),
    Split("CT-25", 512, ok=False, says="too few for 512 parts"),
    Split("CT-26", 4, says="ippool/split-ippool-name1-3 created, 10.0.1.192/26"),
)


@dataclass(frozen=True, slots=True)
class Other(Row):
    """
    Options that Calico's suites do not use.

    Attributes:
        calls: Arguments after `ipam`, each with what it prints.
        stored: The IPAM configuration in the end; None = nothing is stored.
    """

    calls: tuple[tuple[str, str], ...] = ()
    stored: dict | None = field(default=None)


OTHER = (
    Other(
        "CT-31",
        (
            (
                "show --show-borrowed",
                "| IP | BORROWING-NODE | BLOCK | BLOCK OWNER | TYPE | ALLOCATED-TO |",
            ),
            ("show --show-configuration", "| AutoAllocateBlocks           | true    |"),
            ("configure --strictaffinity=true", "StrictAffinity is now true"),
            ("configure --max-blocks-per-host=3", "MaxBlocksPerHost is now 3"),
            ("configure --ip-cooldown-seconds=9", "IPCooldownSeconds is now 9"),
            (
                "configure --kubevirt-ip-persistence=Disabled",
                "KubeVirtVMAddressPersistence is now Disabled",
            ),
            ("show --show-configuration", "| IPCooldownSeconds            | 9        |"),
        ),
        stored={
            "strict_affinity": True,
            "auto_allocate_blocks": True,
            "maxBlocksPerHost": 3,
            "kubeVirtVMAddressPersistence": "Disabled",
            "ipCooldownSeconds": 9,
        },
    ),
)
NOWHERE = Row("CT-27")
BORROWED = (
    Away(
        "BK-03",
        nodes=("myhost", "otherhost", "anotherhost"),
        allocations=(1, 0, 2, None, None, None, None, 2),
        borrowed={
            "10.0.1.0": "otherhost",
            "10.0.1.2": "anotherhost",
            "10.0.1.7": "anotherhost",
        },
    ),
)
ROWS = (*SHOWN, *SPLIT, *OTHER, *BORROWED, NOWHERE)


def given(raw, pools: dict[str, dict]) -> None:
    for name, spec in pools.items():
        raw.put(*stored_resource("ippools", "IPPool", name, spec))


def use(store, *pools: str, **count: int) -> list[str]:
    request = AutoAssign(
        host="node-a",
        handle="h",
        count={int(family[1:]): number for family, number in count.items()},
        pools={4: pools} if pools else {},
        attributes=NOTE,
    )
    return [str(each.address) for each in IPAM(store).auto_assign(request).allocations]


@each(SHOWN)
def test_what_is_stored_is_shown(row, program, raw, store):
    given(raw, POOLS)
    first = use(store, v4=5, v6=7)[0] if row.used else ""
    if row.small:
        given(raw, SMALL)
        use(store, *SMALL, v4=11)

    result = program("ipam", *(word.format(first=first) for word in row.call))

    assert row.ok == (result.returncode == 0)
    assert row.says in result.stderr
    for texts in row.lines:
        wanted = [text.format(first=first) for text in texts]

        assert any(all(text in line for text in wanted) for line in result.stdout.splitlines())


@pytest.mark.parametrize("option", ["--name", "--cidr"])
@each(SPLIT)
def test_a_pool_is_split(row, option, program, raw):
    given(raw, TO_SPLIT)
    before = raw.dump()
    named = row.pool[0 if option == "--name" else 1]

    result = program("ipam", "split", f"{option}={named}", str(row.number))

    pools = {
        key.removeprefix(PREFIX): json.loads(value)["spec"]
        for key, value in raw.dump().items()
        if key.startswith(PREFIX)
    }
    assert row.ok == (result.returncode == 0)
    assert row.says in result.stdout + result.stderr
    if not row.ok:
        assert before == raw.dump()
        return
    parts = parse_network("10.0.1.0/24").subnets(new_prefix=26)
    spec = TO_SPLIT["ippool-name1"]
    assert {
        f"split-ippool-name1-{at}": spec | {"cidr": str(part)} for at, part in enumerate(parts)
    } == pools


@each(OTHER)
def test_other_options_do_what_they_say(row, program, raw):
    for call, says in row.calls:
        result = program("ipam", *call.split())

        assert 0 == result.returncode
        assert says in result.stdout
    assert row.stored == json.loads(raw.get(CONFIG_KEY))


def block(row: Away) -> dict:
    return {
        "cidr": "10.0.1.0/29",
        "affinity": f"host:{row.nodes[0]}",
        "allocations": row.allocations,
        "unallocated": [n for n, index in enumerate(row.allocations) if index is None],
        "attributes": [{"handle_id": node, "secondary": {"node": node}} for node in row.nodes],
        "deleted": False,
        "sequenceNumber": 1,
        "sequenceNumberForAllocation": {},
    }


@each(BORROWED)
def test_what_other_nodes_use_of_a_block_is_borrowed(row, program, raw):
    raw.put(block_key(parse_network("10.0.1.0/29")), json.dumps(block(row)))

    result = program("ipam", "show", "--show-borrowed", "-o", "json")

    found = {each["address"]: each["node"] for each in json.loads(result.stdout)["borrowed"]}
    assert row.borrowed == found


@each(BORROWED)
def test_a_block_with_an_entry_that_does_not_exist_is_named_and_not_shown(row, program, raw):
    dangling = block(row)
    dangling["allocations"] = [*row.allocations[:3], 3, *row.allocations[4:]]
    dangling["unallocated"].remove(3)
    raw.put(block_key(parse_network("10.0.1.0/29")), json.dumps(dangling))

    result = program("ipam", "show", "--show-borrowed", "-o", "json")

    assert (1, []) == (result.returncode, json.loads(result.stdout)["borrowed"])
    assert "attribute 3, which does not exist" in result.stderr


@each([NOWHERE])
def test_without_a_store_there_is_an_error_and_no_traceback(row, program):
    result = program("--etcd-endpoints", "127.0.0.1:1", "--timeout", "2", "ipam", "show")

    assert (3, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert "127.0.0.1:1" in result.stderr
