"""The real main plugins in network namespaces, with poolmgr-ipam as their IPAM plugin."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from poolmgr.cidr import network, parse_address, parse_network
from poolmgr.core.request import AssignIP, Attachment, ReleaseByHandle
from tests.support.netns import Json, PluginError, Runtime, delegating

pytestmark = pytest.mark.netns

PODS = ("pod-1", "pod-2", "pod-3", "pod-4", "pod-5")
OUTSIDE = ("198.51.100.1", "2001:db8:ffff::1")  # reached through a gateway, or not at all

# Of the sixteen addresses of a pool, in blocks of four, an IPReservation leaves six to pods: four
# in three blocks for the node, and two in the block of another node, which holds one of them.
OURS = (2, 4, 5, 9, 12)
OTHERS = 8
OWNERS = {0: "host:node-a", 4: "host:node-a", 8: "host:node-b", 12: "host:node-a"}


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """
    A pool, and what a chain is expected to make of it.

    Attributes:
        prefix_length: Of every pod's address.
        gateway: None = there is none.
        withheld: Offsets that poolmgr keeps from pods, so that the reservation need not.
    """

    cidr: str
    prefix_length: int
    gateway: str | None
    withheld: tuple[int, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def block_size(self) -> int:
        return parse_network(self.cidr).prefixlen + 2

    def at(self, *offsets: int) -> list[str]:
        return [str(parse_network(self.cidr).network_address + offset) for offset in offsets]

    def with_prefix(self, *addresses: str | None) -> set[str]:
        return {f"{address}/{self.prefix_length}" for address in addresses if address}

    def reserved(self) -> list[str]:
        return self.at(*sorted(set(range(16)) - {*OURS, OTHERS, *self.withheld}))

    def owners(self) -> dict[str, str]:
        """Return the owners of the blocks, once all pods have their addresses."""
        return {
            str(network(parse_address(self.at(first)[0]), self.block_size)): owner
            for first, owner in OWNERS.items()
        }


WITH_GATEWAY = (
    Subnet(cidr="10.64.0.16/28", prefix_length=28, gateway="10.64.0.17", withheld=(0, 1, 15)),
    Subnet(cidr="fd00:64::10/124", prefix_length=124, gateway="fd00:64::11", withheld=(0, 1)),
)
WITHOUT_GATEWAY = (
    Subnet(cidr="10.64.0.16/28", prefix_length=28, gateway=None, withheld=(0, 15)),
    Subnet(cidr="fd00:64::10/124", prefix_length=124, gateway=None, withheld=(0,)),
)
# Pieces out of the middle of a LAN, which has a router.
LAN = tuple(
    Subnet(
        cidr=cidr,
        prefix_length=prefix_length,
        gateway=gateway,
        annotations={
            "ipam.poolmgr.io/prefix-length": str(prefix_length),
            "ipam.poolmgr.io/gateway": gateway,
        },
    )
    for cidr, prefix_length, gateway in (
        ("192.0.2.128/28", 24, "192.0.2.1"),
        ("fd00:2::80/124", 64, "fd00:2::1"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """
    A network configuration list, and the pools it draws from.

    Attributes:
        bridge: The interface that its main plugin leaves behind; None = nothing is left.
        setup: What is done on the node beforehand, in shell.
    """

    plugins: tuple[Json, ...]
    subnets: tuple[Subnet, ...]
    version: str = "1.0.0"
    bridge: str | None = None
    setup: str = ""


CHAINS = {
    "ptp": Chain(
        plugins=({"type": "ptp"}, {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}),
        subnets=WITH_GATEWAY,
    ),
    "bridge with isGateway": Chain(
        plugins=({"type": "bridge", "bridge": "br0", "isGateway": True},),
        subnets=WITH_GATEWAY,
        version="0.4.0",
        bridge="br0",
    ),
    "bridge with isDefaultGateway": Chain(
        plugins=({"type": "bridge", "bridge": "br0", "isDefaultGateway": True},),
        subnets=WITH_GATEWAY,
        bridge="br0",
    ),
    "bridge without gateway": Chain(
        plugins=({"type": "bridge", "bridge": "br0"},),
        subnets=WITHOUT_GATEWAY,
        bridge="br0",
        # The plugin's CHECK compares the bridge's own hardware address, which follows the ports unless it is set.
        setup="ip link add br0 address 02:00:00:00:00:01 type bridge",
    ),
    "macvlan": Chain(
        plugins=({"type": "macvlan", "master": "lan0", "mode": "bridge"},),
        subnets=LAN,
        # The LAN and its router, instead of the node, are what lies outside of the pods.
        setup="""
            ip address flush dev lo scope global
            ip netns add router
            ip link add lan0 type veth peer name lan netns router
            ip link set lan0 up
            ip -n router link set lan up
            ip -n router address add 192.0.2.1/24 dev lan
            ip -n router address add fd00:2::1/64 dev lan nodad
            ip -n router address add 198.51.100.1 dev lan
            ip -n router address add 2001:db8:ffff::1 dev lan nodad
        """,
    ),
}


@pytest.fixture
def node(node):
    node.sh('for each; do ip address add "$each" dev lo; done', *OUTSIDE)
    return node


@pytest.fixture
def runtime(node, plugin_path):
    """Makes a runtime for a list of plugins, of which the first is the main plugin; `ipam` is for ours."""

    def make(main: Json, *more: Json, version="1.0.0", **ipam) -> Runtime:
        plugins = (delegating(main, node, **ipam), *more)
        return Runtime(node, "net1", plugins, plugin_path, version)

    return make


def side_by_side(action: Callable[[str], object], pods: Iterable[str]) -> None:
    """Do something for all pods, two at a time, as runtimes do."""
    with ThreadPoolExecutor(2) as both:
        list(both.map(action, pods))


def addresses(result: Json) -> set[str]:
    return {ip["address"] for ip in result["ips"]}


def bare(addresses: Iterable[str]) -> set[str]:
    return {address.partition("/")[0] for address in addresses}


@pytest.mark.parametrize("name", CHAINS)
def test_pods_in_three_blocks_and_a_borrowed_address_reach_each_other_and_leave_nothing(
    name, cluster, node, runtime, ipam
):
    chain = CHAINS[name]
    node.sh(chain.setup)
    for number, subnet in enumerate(chain.subnets):
        cluster.pool(f"pool-{number}", subnet.cidr, subnet.block_size, subnet.annotations)
    cluster.reserve("taken", [each for subnet in chain.subnets for each in subnet.reserved()])
    others = [address for subnet in chain.subnets for address in subnet.at(OTHERS)]
    elsewhere = AssignIP(
        addresses=tuple(map(parse_address, others)), host="node-b", handle="elsewhere"
    )
    ipam.assign_ip(elsewhere)
    links, routes = node.links(), node.routes()
    chained = runtime(*chain.plugins, version=chain.version, assign_ipv6=True)
    for pod in PODS:
        node.add_pod(pod)

    chained.add(PODS[0])
    side_by_side(chained.add, PODS[1:])

    held = [addresses(chained.results[pod]) for pod in PODS]
    gateways = {subnet.gateway for subnet in chain.subnets if subnet.gateway}
    assert [len(each) for each in held] == [2] * len(PODS)
    assert set().union(*held) == set().union(
        *(subnet.with_prefix(*subnet.at(*OURS)) for subnet in chain.subnets)
    )
    assert cluster.owners() == {
        block: owner for subnet in chain.subnets for block, owner in subnet.owners().items()
    }
    assert [node.addresses("eth0", pod) for pod in PODS] == held
    if chain.bridge:
        assert node.addresses(chain.bridge) == set().union(
            *(subnet.with_prefix(subnet.gateway) for subnet in chain.subnets)
        )

    side_by_side(chained.check, PODS)
    targets = [*sorted(bare(set().union(*held)) | gateways), *OUTSIDE]
    unreachable = [node.unreachable(pod, targets) for pod in PODS]

    assert unreachable == [[] if gateways else list(OUTSIDE)] * len(PODS)

    side_by_side(chained.delete, PODS)

    assert cluster.assigned() == dict.fromkeys(others, "elsewhere")
    assert cluster.handles() == {"elsewhere"}
    assert cluster.findings() == ()
    assert [node.links(pod) for pod in PODS] == [{"lo"}] * len(PODS)
    assert node.links() - {chain.bridge} == links - {chain.bridge}
    assert chain.bridge or node.routes() == routes

    node.remove_pod(PODS[1])
    side_by_side(chained.delete, PODS[:2])


def test_check_fails_once_the_stored_address_is_gone_or_another(cluster, node, runtime, ipam):
    cluster.pool("pool", "10.64.0.16/28", 30)
    chained = runtime({"type": "ptp"})
    node.add_pod("pod-1")
    chained.add("pod-1")
    chained.check("pod-1")
    attachment = Attachment(network="net1", container="pod-1", interface="eth0")
    ipam.release_by_handle(ReleaseByHandle(handles=(attachment.handle,)))

    with pytest.raises(PluginError, match="holds no IPv4 address") as gone:
        chained.check("pod-1")
    other = AssignIP(
        addresses=(parse_address("10.64.0.30"),),
        host="node-a",
        handle=attachment.handle,
        attachment=attachment,
        attributes={"node": "node-a", "network": "net1", "interface": "eth0"},
    )
    ipam.assign_ip(other)
    with pytest.raises(PluginError, match=r"holds 10\.64\.0\.30") as changed:
        chained.check("pod-1")

    assert (gone.value.code, changed.value.code) == (107, 107)


@pytest.mark.parametrize(
    ("pool", "annotations", "ipam", "code", "remedy"),
    [
        ("10.64.0.16/28", {}, {"prefixLength": "host"}, 7, "write pool"),
        ("10.64.0.16/28", {}, {"prefixLength": 32}, 7, "write pool"),
        (
            "10.64.0.16/28",
            {"ipam.poolmgr.io/prefix-length": "host"},
            {},
            100,
            "set prefixLength to pool",
        ),
        ("10.64.0.16/32", {}, {}, 100, "in a pool of two or more"),
    ],
    ids=["configured", "configured as a number", "annotated", "pool of one"],
)
def test_a_host_prefix_under_ptp_is_refused_before_anything_is_made(
    cluster, node, runtime, pool, annotations, ipam, code, remedy
):
    cluster.pool("pool", pool, max(30, parse_network(pool).prefixlen), annotations)
    chained = runtime({"type": "ptp"}, **ipam)
    node.add_pod("pod-1")
    stored, links = cluster.content(), node.links()

    with pytest.raises(PluginError, match=remedy) as refused:
        chained.add("pod-1")

    assert refused.value.code == code
    assert cluster.content() == stored
    assert (node.links(), node.links("pod-1")) == (links, {"lo"})


def test_prefixes_of_two_addresses_work_under_ptp(cluster, node, runtime):
    cluster.pool("pool-0", "10.64.0.16/31", 31)
    cluster.pool("pool-1", "fd00:64::10/127", 127)
    chained = runtime({"type": "ptp"}, assign_ipv6=True)
    node.add_pod("pod-1")

    result = chained.add("pod-1")

    assert addresses(result) == {"10.64.0.17/31", "fd00:64::11/127"}
    assert node.unreachable("pod-1", ["10.64.0.16", "fd00:64::10", *OUTSIDE]) == []
    chained.check("pod-1")


def test_a_gateway_bridge_stays_in_its_first_ipv4_pool(cluster, node, runtime):
    for number in (0, 1):
        cluster.pool(f"pool-{number}", f"10.64.{number}.0/30", 30)
    chained = runtime({"type": "bridge", "bridge": "br0", "isGateway": True})
    for pod in PODS[:2]:
        node.add_pod(pod)
    first = chained.add("pod-1")

    with pytest.raises(PluginError, match="takes one IPv4 gateway") as refused:
        chained.add("pod-2")

    assert addresses(first) == {"10.64.0.2/30"}
    assert refused.value.code == 101
    assert node.addresses("br0") == {"10.64.0.1/30"}


@pytest.mark.parametrize(
    ("main", "family"),
    [
        ({"type": "ptp"}, 4),
        ({"type": "ptp"}, 6),
        ({"type": "bridge", "bridge": "br0", "isGateway": True}, 6),
    ],
    ids=["ptp IPv4", "ptp IPv6", "bridge IPv6"],
)
def test_pods_of_two_pools_reach_each_other(cluster, node, runtime, main, family):
    for number in (0, 1):
        cidr, size = {
            4: (f"10.64.{number}.0/30", 30),
            6: (f"fd00:64:{number}::/127", 127),
        }[family]
        cluster.pool(f"pool-{number}", cidr, size)
    chained = runtime(main, assign_ipv4=family == 4, assign_ipv6=family == 6)
    for pod in PODS[:2]:
        node.add_pod(pod)

    held = [bare(addresses(chained.add(pod))) for pod in PODS[:2]]

    targets = sorted(set().union(*held))
    assert len(targets) == 2
    assert [node.unreachable(pod, targets) for pod in PODS[:2]] == [[], []]
    side_by_side(chained.check, PODS[:2])


def test_two_networks_on_one_container_come_and_go_apart(cluster, node, plugin_path):
    cluster.pool("first", "10.64.0.0/24", 30, {})
    cluster.pool("second", "10.65.0.0/24", 30, {})
    bridge = {"type": "bridge", "bridge": "br0", "isGateway": True}
    ptp = delegating({"type": "ptp"}, node, ipv4_pools=["first"])
    # Both would bring a default route.
    bridged = delegating(bridge, node, ipv4_pools=["second"], routes=[])
    eth0 = Runtime(node, "net-a", (ptp,), plugin_path)
    net1 = Runtime(node, "net-b", (bridged,), plugin_path, interface="net1")
    for pod in PODS[:2]:
        node.add_pod(pod)

    held = [bare(addresses(each.add(pod))) for pod in PODS[:2] for each in (eth0, net1)]

    targets = sorted(set().union(*held))
    assert len(targets) == 4
    assert [node.unreachable(pod, targets) for pod in PODS[:2]] == [[], []]
    for each in (eth0, net1):
        side_by_side(each.check, PODS[:2])

    net1.delete(PODS[0])

    eth0.check(PODS[0])
    assert set(targets) - held[1] == set(cluster.assigned())
    for each in (eth0, net1):
        side_by_side(each.delete, PODS[:2])
    assert cluster.handles() == set()
    assert cluster.findings() == ()
