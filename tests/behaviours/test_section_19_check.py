"""
Section 19, `ipam check` and `ipam release`, as a user runs them; section 6 by the executable.

Of section 22.3 what a check calls leaked is here; when it is collected is a garbage collector's.
"""

import json
from dataclasses import dataclass, field

import pytest

from poolctl.report import FOUND, REFUSED
from tests.behaviours.row import Row, each
from tests.support.kube_api import KubeApi
from tests.support.site import affinity_key, block_key, literal_block
from tests.support.world import stored_resource

CIDR, BLOCK = "10.66.0.0/16", "10.66.0.0/30"
HANDLES = "/calico/ipam/v2/handle/"
NUMBER = 1_795_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Validated(Row):
    """
    A block 10.66.0.0/30 as somebody stored it, and what a check says of it.

    Attributes:
        fields: What is other than in an empty block of nobody.
        says: "" = nothing is wrong.
    """

    fields: dict = field(default_factory=dict)
    says: str = ""


def allocated(first: int, *free: int) -> dict:
    return {"allocations": [first, None, None, None], "unallocated": [*free]}


COOLING = {"attributes": [{"releasedAt": "2999-01-01T00:00:00Z"}]}
VALIDATED = (
    Validated("CT-13"),
    Validated("CT-14", allocated(99, 1, 2, 3), "refers to attribute 99, which does not exist"),
    Validated("CT-15", allocated(-1, 1, 2, 3), "refers to attribute -1, which does not exist"),
    Validated("CT-17", allocated(0, 1, 2, 3) | COOLING, "address released at a time to come"),
    Validated(
        "CT-18", {"unallocated": [0, 1, 1, 2, 3]}, "an ordinal is in the free list twice"
    ),
    Validated(
        "CT-19",
        allocated(0, 0, 1, 2, 3) | {"attributes": [{"handle_id": "h"}]},
        "ordinal 0 is both free and allocated",
    ),
    Validated(
        "CT-20", {"unallocated": [0, 2, 3, 99]}, "ordinal 1 is neither free nor allocated"
    ),
)


@dataclass(frozen=True, slots=True)
class Cleanup(Row):
    """
    A step of a clean-up, after the ones before it.

    Attributes:
        again: The leaked handle is stored once more.
        call: The call, behind `ipam`.
        held: Handles that are stored afterwards.
    """

    call: tuple[str, ...]
    status: int
    says: tuple[str, ...]
    held: frozenset[str]
    again: bool = False


BOTH, LEAKED = frozenset({"TestIPAMCleanup", "leaked-handle"}), frozenset({"leaked-handle"})
KEPT = "handles: 0 deleted, 0 not there any more, 1 kept"
RELEASE = ("release", "--force", "--yes", "--from-report")
CLEANUP = (
    Cleanup(
        "CT-08",
        ("check", "--show-all-ips", "--kubeconfig", "KUBECONFIG", "-o"),
        FOUND,
        (
            "1 x handle that no address carries",
            "1 x address of a pod that is not there",
            "2 problems found.",
        ),
        BOTH,
    ),
    Cleanup(
        "CT-10",
        RELEASE,
        0,
        ("addresses: 1 released,", "handles: 1 deleted, 0 not there any more, 0 kept"),
        frozenset(),
    ),
    Cleanup("CT-11", RELEASE, REFUSED, ("addresses: 0 released,", KEPT), LEAKED, again=True),
    Cleanup("CT-12", RELEASE, REFUSED, ("addresses: 0 released,", KEPT), LEAKED),
)


@dataclass(frozen=True, slots=True)
class Judged(Row):
    """
    An address 10.66.0.0 of node-a, and the pod web-0 of namespace default, beside another one.

    Attributes:
        owner: What is stored of the address's owner.
        pod: Fields of the pod; None = there is none.
    """

    owner: dict
    pod: dict | None = None
    leaked: bool = False


POD = {"node": "node-a", "namespace": "default", "pod": "web-0"}
HERE = {"spec": {"nodeName": "node-a"}}


def reporting(*addresses: str) -> dict:
    status = {"phase": "Running", "podIPs": [{"ip": address} for address in addresses]}
    return {**HERE, "status": status}


JUDGED = (
    *(
        Judged("GC-43", {"node": "node-a", "type": f"{kind}TunnelAddress"})
        for kind in ("ipip", "vxlan", "wireguard")
    ),
    Judged("GC-45", {"node": "non-kubernetes-node"}),
    Judged("GC-46", POD, leaked=True),
    Judged("GC-47", POD, {**HERE, "status": {"phase": "Running", "podIP": "10.66.0.0"}}),
    Judged("GC-48", POD, reporting("fe80::", "10.66.0.0")),
    Judged("GC-49", POD, HERE),
)


@dataclass(frozen=True, slots=True)
class Released(Row):
    """
    One `ipam release --ip`.

    Attributes:
        given: The addresses that are assigned in block 192.168.1.0/26 before.
        number: Of the block.
    """

    asked: str
    given: tuple[int, ...] = ()
    released: bool = False
    number: int = NUMBER


RELEASED = (
    Released("RI-01", "1.1.1.1"),
    Released("RI-05", "192.168.1.0", (0,), released=True),
    Released("RI-06", "192.168.1.1", (0,)),
    Released("RI-10", "192.168.1.1", (1,), released=True, number=0),
)

ROWS = (*VALIDATED, *CLEANUP, *JUDGED, *RELEASED)


@pytest.fixture
def api():
    with KubeApi() as server:
        server.put("pods", "beside", namespace="default", spec={"nodeName": "node-a"})
        yield server


@pytest.fixture
def pool(raw):
    cluster = {"clusterGUID": "1", "datastoreReady": True}

    def make(cidr: str) -> None:
        raw.put(
            *stored_resource("clusterinformations", "ClusterInformation", "default", cluster)
        )
        raw.put(*stored_resource("ippools", "IPPool", "pool-a", {"cidr": cidr}))

    return make


def seed(raw, cidr: str, owner: dict, ordinals=(0,), number: int = NUMBER) -> None:
    """Store a block of node-a with these ordinals assigned, and its affinity."""
    allocated = dict.fromkeys(ordinals, 0)
    attributes = [owner] if ordinals else []
    block = literal_block(cidr, attributes, allocated, number=number)
    raw.put(block_key(cidr), json.dumps(block))
    raw.put(affinity_key("node-a", cidr), '{"state":"confirmed","deleted":false}')


def count(raw, handle: str, cidr: str) -> None:
    raw.put(HANDLES + handle, json.dumps({"block": {cidr: 1}, "deleted": False}))


@each(VALIDATED)
def test_a_block_that_contradicts_itself_is_found(row, program, raw, pool):
    pool(CIDR)
    block = literal_block(BLOCK, affinity=None, number=NUMBER) | row.fields
    raw.put(block_key(BLOCK), json.dumps(block))

    result = program("ipam", "check")

    assert (FOUND if row.says else 0, "") == (result.returncode, result.stderr)
    assert row.says in result.stdout
    assert f"{1 if row.says else 0} problem" in result.stdout.splitlines()[-1]


@each(CLEANUP)
def test_what_a_check_finds_is_cleaned_up_by_its_report(row, program, raw, pool, api, tmp_path):
    pool(CIDR)
    kubeconfig, report = api.kubeconfig(tmp_path / "k"), str(tmp_path / "report.json")
    seed(raw, "10.66.0.0/26", {"handle_id": "TestIPAMCleanup", "secondary": POD})
    count(raw, "TestIPAMCleanup", "10.66.0.0/26")
    count(raw, "leaked-handle", "10.65.79.0/26")
    for step in CLEANUP[: CLEANUP.index(row) + 1]:
        if step.again:
            count(raw, "leaked-handle", "10.65.79.0/26")
        call = [kubeconfig if word == "KUBECONFIG" else word for word in step.call]
        result = program("ipam", *call, report)

    stored = {key.removeprefix(HANDLES) for key in raw.dump() if key.startswith(HANDLES)}
    assert row.status == result.returncode
    assert [] == [text for text in row.says if text not in result.stdout]
    assert row.held == stored
    (leaked,) = json.loads((tmp_path / "report.json").read_text())["leakedHandles"]
    assert "leaked-handle" == leaked["ID"]
    assert int(leaked["Revision"]) > 0


@each(JUDGED)
def test_an_address_is_leaked_when_its_pod_is_not_there(row, program, raw, pool, api, tmp_path):
    pool(CIDR)
    seed(raw, "10.66.0.0/26", {"handle_id": "h", "secondary": row.owner})
    count(raw, "h", "10.66.0.0/26")
    if row.pod is not None:
        api.put("pods", "web-0", namespace="default", **row.pod)

    result = program("ipam", "check", "--kubeconfig", api.kubeconfig(tmp_path / "k"))

    assert (FOUND if row.leaked else 0, "") == (result.returncode, result.stderr)
    assert f"{int(row.leaked)} leaked." in result.stdout


@each(RELEASED)
def test_one_address_is_released_or_said_not_to_be_assigned(row, program, raw, pool):
    pool("192.168.1.0/24")
    seed(raw, "192.168.1.0/26", {}, row.given, row.number)
    before = raw.dump()

    result = program("ipam", "release", "--yes", "--ip", row.asked)

    assert row.released == (0 == result.returncode)
    assert row.released == (f"{row.asked} released" in result.stdout)
    assert row.released == (before != raw.dump())
    assert row.released or (
        f"poolctl: error: address {row.asked} is not assigned\n" == result.stderr
    )
