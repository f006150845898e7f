"""Section 5: assigning the very address that is named."""

from poolmgr.core.request import Use
from poolmgr.errors import AddressInUseError, NoMatchingPoolError
from tests.behaviours.row import each
from tests.behaviours.story import (
    Add,
    Ask,
    Delete,
    Look,
    Name,
    Poolctl,
    Step,
    check,
    pool,
    told,
)

V4, V6 = pool("four", "192.168.1.0/24"), pool("six", "fd80:24e2:f998:72d6::/120")
FIRST, FIRST_6 = "192.168.1.0", "fd80:24e2:f998:72d6::"
TAKEN = AddressInUseError
OF_A = {"host:host-a": 1}
P10, P20 = "10.0.0.0/24", "20.0.0.0/24"
TUNNEL = {"node": "allocation-attributes", "type": "vxlanTunnelAddress"}
SHOW = Poolctl("ipam show --ip 10.0.0.1")
SOURCE, TARGET = {"pod": "source-pod"}, {"pod": "target-pod"}
IN_C1 = Add(address="192.168.123.123", container="c1")

STORIES = (
    *told(
        V4,
        V6,
        Step(id="SA-01", do=Add(address=FIRST), given=(f"{FIRST}/32",), owners=OF_A, used=1),
        Step(
            id="SA-02",
            do=Add(address=FIRST_6, families=(6,)),
            given=(f"{FIRST_6}/128",),
            owners={"host:host-a": 2},
            used=2,
        ),
    ),
    *told(
        V4,
        V6,
        Step(
            id="SA-03",
            do=Add(address="1.1.1.1", program=True),
            error=NoMatchingPoolError,
            says=("1.1.1.1",),
            owners={},
        ),
        Step(id="SA-04", do=Add(address=FIRST), given=(f"{FIRST}/32",)),
        Step(
            id="SA-05",
            do=Add(address=FIRST),
            error=TAKEN,
            says=(FIRST, "net1.container-2"),
            used=1,
        ),
        Step(
            id="SA-05",
            do=Name(FIRST, handle="net1.container-2"),
            error=TAKEN,
            says=(FIRST, "net1.container-2"),
            used=1,
        ),
    ),
    *told(
        pool("work", P10, allowedUses=["Workload"]),
        pool("any", P20),
        Step(
            id="SA-06",
            do=Name("10.0.0.1", use=Use.TUNNEL),
            error=NoMatchingPoolError,
            says=("work", "allowedUses [Workload]", "Tunnel"),
            owners={},
        ),
        Step(id="SA-08", do=Name("10.0.0.3", use=None), given=("10.0.0.3",), owners=OF_A),
        Step(id="SA-09", do=Name("20.0.0.1", use=Use.TUNNEL), given=("20.0.0.1",), used=2),
    ),
    *told(Step(id="SA-10", do=SHOW, says=("10.0.0.1 is not assigned",))),
    *told(
        pool("a", P10),
        Step(id="SA-11", do=SHOW, says=("10.0.0.1 is not assigned",), owners={}),
        Name("10.0.0.1", handle="my-test-handle", attributes=TUNNEL),
        Step(
            id="SA-12",
            do=SHOW,
            says=(
                "is in use\nHandle ID: my-test-handle\n",
                "Attributes:\n  node: allocation-attributes\n  type: vxlanTunnelAddress\n",
            ),
            stored={"10.0.0.1": {"handle_id": "my-test-handle", "secondary": TUNNEL}},
        ),
    ),
    *told(
        pool("a", "10.0.0.0/26", 26),
        Ask(v4=1, handle="first"),
        Add(address="10.0.0.1", container="c1"),
        Ask(v4=62),
        Delete("c1"),
        Step(
            id="SA-14",
            do=Name("10.0.0.1", handle=None),
            given=("10.0.0.1",),
            stored={"10.0.0.1": {}},
            used=64,
        ),
        Step(id="SA-14", do=Look("10.0.0.1"), says=("None {}",)),
    ),
    *told(
        pool("a", P10),
        Name("10.0.0.1", handle="mine", attributes=SOURCE, max_per_handle=1),
        Step(
            id="SA-15",
            do=Name("10.0.0.1", handle="mine", attributes=TARGET, max_per_handle=1),
            given=("10.0.0.1",),
            stored={"10.0.0.1": {"handle_id": "mine", "secondary": SOURCE}},
            used=1,
        ),
        Step(
            id="SA-16",
            do=Name("10.0.0.2", handle="mine", max_per_handle=1),
            error=TAKEN,
            says=("10.0.0.1", "mine", "1 per family"),
            used=1,
        ),
    ),
    *told(
        pool("a", "192.168.0.0/16"),
        Step(
            id="SA-17",
            do=Add(address="192.168.123.123", program=True),
            given=("192.168.123.123/32",),
            used=1,
        ),
    ),
    # An interface that asks twice is answered with what it has, and keeps it in any case.
    *told(
        pool("a", "192.168.0.0/16"),
        Step(id="SA-19", do=IN_C1, times=2, given=("192.168.123.123/32",), used=1),
        Step(
            id="SA-19",
            do=Add(address="192.168.123.124", container="c1"),
            error=TAKEN,
            says=("192.168.123.123", "192.168.123.124"),
            used=1,
        ),
        Step(
            id="SA-19",
            do=Add(address="192.168.123.123", container="c2"),
            error=TAKEN,
            says=("net1.c1",),
            used=1,
        ),
    ),
    *told(
        pool("a", "10.123.0.0/16", allowedUses=["Tunnel"]),
        Step(
            id="SA-20",
            do=Add(address="10.123.0.5", program=True),
            error=NoMatchingPoolError,
            says=("a: allowedUses [Tunnel]", "Workload"),
            owners={},
        ),
    ),
    *told(
        pool("a", P10),
        Step(
            id="SA-21",
            do=Add(address="10.0.0.77"),
            got={4: 1},
            of=OF_A,
            owners=OF_A,
            claims=OF_A,
        ),
    ),
    *told(
        pool("a", "192.168.0.0/24"),
        Add(host="node-b", address="192.168.0.65"),
        Step(
            id="SA-22",
            do=Add(host="node-c", address="192.168.0.66"),
            given=("192.168.0.66/32",),
            of={"host:node-b": 1},
            owners={"host:node-b": 1},
            claims={"host:node-b": 1},
        ),
    ),
)

ROWS = STORIES


@each(ROWS)
def test_a_named_address_is_assigned_or_refused(row, place):
    check(row, place)
