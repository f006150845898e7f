"""
Sticky addresses as a cluster lives: CNI calls of several nodes on a real etcd.

A bystander allocates between all steps, so that an address which is free for a moment is taken;
the audit is empty after each.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni import direct
from poolmgr.core import records
from poolmgr.core.audit import invariants
from poolmgr.core.request import CollectGarbage, OwnerOf, Release, ReleaseIPs
from poolmgr.ipam import IPAM
from tests.support.world import stored_resource

STICKY, RETENTION = "ipam.poolmgr.io/sticky", "ipam.poolmgr.io/sticky-retention"
DAY_NS = 86_400 * 1_000_000_000


class World:
    """Runtimes of several nodes, and a bystander who takes what is free between their calls."""

    def __init__(self, raw, store, endpoint: str) -> None:
        self.raw, self.endpoint, self.now_ns = raw, endpoint, time.time_ns()
        self.ipam = IPAM(store, clock=lambda: self.now_ns)
        self.live: dict[str, str] = {}  # container -> address
        self.pods: dict[str, str] = {}  # container -> its pod, where several sandboxes have one
        self._bystanders = 0

    def call(
        self, command: str, container: str, node: str, pod: str, **annotations: str
    ) -> dict:
        """Make a call, without a look at what it does to others."""
        conf = {
            "cniVersion": "1.1.0",
            "name": "net1",
            "type": "calico",
            "etcd_endpoints": self.endpoint,
            "nodename": node,
            "ipam": {"type": "poolmgr-ipam"},
            "runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations},
        }
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": "/var/run/netns/x",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}",
        }
        raw = json.dumps(conf).encode()
        _, text = direct.run(
            env,
            lambda: raw,
            started=time.monotonic(),
            alive=lambda: True,
            clock=lambda: self.now_ns,
        )
        return json.loads(text or "{}")

    def add(self, container: str, node: str, pod: str, **annotations: str) -> str:
        """Start a pod, and return its address; "" = it was refused."""
        answer = self.call("ADD", container, node, pod, **annotations)
        address = answer["ips"][0]["address"].partition("/")[0] if "ips" in answer else ""
        taken = [c for c, a in self.live.items() if a == address and c != container]
        assert not address or taken == self.replaced(container, pod), "a live address was taken"
        for other in taken:
            del self.live[other]
        if address:
            self.live[container] = address
        self.step(node)
        return address

    def replaced(self, container: str, pod: str) -> list[str]:
        """The older sandbox of the same pod, which may lose its address."""
        return [c for c in self.live if c != container and self.pods.get(c) == pod]

    def delete(self, container: str, node: str, pod: str) -> None:
        assert {} == self.call("DEL", container, node, pod)
        self.live.pop(container, None)
        self.step(node)

    def step(self, node: str) -> None:
        """Let a bystander come and go, and check everything."""
        self._bystanders += 1
        name = f"bystander-{self._bystanders}"
        self.call("ADD", name, node, name)
        self.call("DEL", name, node, name)
        assert () == invariants(self.raw.dump().items())


@pytest.fixture
def world(raw, store, etcd_endpoint):
    """A pool of three blocks: one full, one that others borrow from."""
    raw.put(
        *stored_resource("ippools", "IPPool", "p4", {"cidr": "10.0.0.0/27", "blockSize": 29})
    )
    world = World(raw, store, etcd_endpoint)
    for number in range(10):  # node-a: a full block and two of the next
        assert world.add(f"filler-{number}", "node-a", f"filler-{number}")
    return world


def test_redeploy_reboot_and_a_move_keep_the_address(world):
    sticky = {STICKY: "true"}
    first = world.add("c1", "node-a", "web-0", **sticky)
    world.delete("c1", "node-a", "web-0")
    redeployed = world.add("c2", "node-a", "web-0", **sticky)
    # A reboot: nobody sends the DEL; then the runtime says what exists.
    valid = frozenset((c, "eth0") for c in world.live if c != "c2")
    world.ipam.collect_garbage(CollectGarbage(host="node-a", network="net1", valid=valid))
    world.live.pop("c2")
    world.step("node-a")
    rebooted = world.add("c3", "node-a", "web-0", **sticky)
    # A move, before the old node has said goodbye.
    world.pods = {"c3": "web-0"}
    moved = world.add("c4", "node-b", "web-0", **sticky)
    world.delete("c3", "node-a", "web-0")

    assert first
    assert [first] * 3 == [redeployed, rebooted, moved]
    assert {} == world.call("CHECK", "c4", "node-b", "web-0", **sticky)
    assert 107 == world.call("CHECK", "c3", "node-a", "web-0", **sticky)["code"]


def test_a_borrowed_address_is_kept_too(world):
    for number in range(22):  # every other address of the pool
        world.call("ADD", f"full-{number}", "node-b", f"full-{number}")
    world.call("DEL", "full-3", "node-b", "full-3")

    first = world.call("ADD", "c1", "node-c", "web-0", **{STICKY: "true"})
    world.call("DEL", "c1", "node-c", "web-0")
    refused = world.call("ADD", "other", "node-b", "other")
    again = world.call("ADD", "c2", "node-c", "web-0", **{STICKY: "true"})

    assert "ips" in first
    assert 101 == refused["code"]
    assert first == again
    assert () == invariants(world.raw.dump().items())


def test_a_rolling_update_of_three_replicas_with_one_identity(world):
    sticky = {STICKY: "web"}
    old = [world.add(f"old-{n}", f"node-{n}", f"web-old-{n}", **sticky) for n in range(3)]
    new = []
    for n in range(3):  # a new pod comes, then an old one goes
        new.append(world.add(f"new-{n}", f"node-{n}", f"web-new-{n}", **sticky))
        world.delete(f"old-{n}", f"node-{n}", f"web-old-{n}")

    assert 3 == len(set(old))
    assert 3 == len(set(new))
    assert 4 == len({*old, *new})
    assert sorted(new) == sorted(a for c, a in world.live.items() if c.startswith("new"))


def test_two_who_claim_one_identity_at_once_get_a_slot_each(world):
    world.add("c0", "node-a", "web-0", **{STICKY: "web"})
    world.delete("c0", "node-a", "web-0")

    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda n: world.call(
                    "ADD", f"c{n}", f"node-{n % 2}", f"p{n}", **{STICKY: "web"}
                ),
                range(1, 9),
            )
        )
    addresses = {answer["ips"][0]["address"] for answer in answers}

    assert 8 == len(addresses)
    assert () == invariants(world.raw.dump().items())


def test_two_sandboxes_of_one_pod_at_once_leave_one_holder(world):
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda n: world.call("ADD", f"c{n}", "node-a", "web-0", **{STICKY: "true"}),
                range(2),
            )
        )
    checks = [world.call("CHECK", f"c{n}", "node-a", "web-0") for n in range(2)]

    assert answers[0] == answers[1]
    assert [0, 107] == sorted(check.get("code", 0) for check in checks)
    assert () == invariants(world.raw.dump().items())


def test_once_the_retention_is_over_the_address_is_anybodys(world):
    kept = world.add("c1", "node-a", "web-0", **{STICKY: "true", RETENTION: "1h"})
    world.delete("c1", "node-a", "web-0")
    world.now_ns += DAY_NS

    given = [world.add(f"late-{n}", "node-a", f"late-{n}") for n in range(7)]

    assert kept in given
    assert "net1.sticky.shop.web-0@eth0" not in _handles(world)


def test_for_ever_outlasts_everything(world):
    sticky = {STICKY: "true", RETENTION: "forever"}
    kept = world.add("c1", "node-a", "web-0", **sticky)
    world.delete("c1", "node-a", "web-0")
    world.now_ns += 10_000 * DAY_NS
    for number in range(7):
        world.add(f"late-{number}", "node-a", f"late-{number}")

    assert kept == world.add("c2", "node-b", "web-0", **sticky)


def test_an_operator_who_releases_the_address_ends_it(world):
    kept = world.add("c1", "node-a", "web-0", **{STICKY: "true"})
    world.delete("c1", "node-a", "web-0")
    owner = world.ipam.owner_of(OwnerOf(address=parse_address(kept)))
    release = Release(
        address=owner.address, handle=owner.handle, sequence_number=owner.sequence_number
    )
    world.ipam.release_ips(ReleaseIPs(releases=(release,)))
    world.step("node-a")

    assert not [handle for handle in _handles(world) if ".sticky." in handle]


def test_under_strict_affinity_a_move_is_refused_and_the_address_stays_its_owners(world):
    world.raw.put(records.CONFIG_KEY, '{"strict_affinity":true,"auto_allocate_blocks":true}')
    kept = world.add("c1", "node-a", "web-0", **{STICKY: "true"})
    world.delete("c1", "node-a", "web-0")

    refused = world.call("ADD", "c2", "node-b", "web-0", **{STICKY: "true"})

    assert 105 == refused["code"]
    assert kept == world.add("c3", "node-a", "web-0", **{STICKY: "true"})


def _handles(world: World) -> list[str]:
    start = records.HANDLES.start
    return [key.removeprefix(start) for key in world.raw.dump() if key.startswith(start)]
