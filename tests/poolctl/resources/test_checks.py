"""Warnings of pools that overlap with what somebody else has."""

import pytest

from tests.support.kube_api import KubeApi
from tests.support.poolctl import manifest, pool, put, stored
from tests.support.world import stored_resource

SERVICES = {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}, {"cidr": "fd02::/112"}]}


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


def warnings(result) -> list[str]:
    start = "poolctl: warning: "
    return [line.removeprefix(start) for line in result.stderr.splitlines()]


def lan(name: str, cidr: str, length: int) -> str:
    annotations = {"ipam.poolmgr.io/prefix-length": str(length)}
    return manifest("IPPool", name, {"cidr": cidr}, annotations=annotations)


@pytest.mark.parametrize("command", ["create", "apply"])
@pytest.mark.parametrize(
    "spec",
    [
        {"bgp": {"ipv4Address": "10.50.0.7/24"}},
        {"addresses": [{"address": "10.50.0.7", "type": "InternalIP"}]},
    ],
)
def test_the_address_of_a_node_is_in_use(at_memory, command, spec):
    at_memory("create", "-f", "-", stdin=manifest("Node", "node-a", spec))

    result = at_memory(command, "-f", "-", stdin=pool(cidr="10.50.0.0/16"))

    (warning,) = warnings(result)
    assert warning.startswith(
        "ippool/pool-a: 10.50.0.0/16 overlaps with 10.50.0.7 (node node-a)"
    )
    assert "ippool/pool-a created\n" == result.stdout


def test_a_few_of_many_addresses_are_named(at_memory):
    nodes = [
        manifest("Node", f"n{number}", {"bgp": {"ipv4Address": f"10.50.0.{number}"}})
        for number in range(1, 6)
    ]
    at_memory("create", "-f", "-", stdin=f"[{','.join(nodes)}]")

    (warning,) = warnings(at_memory("create", "-f", "-", stdin=pool(cidr="10.50.0.0/16")))

    assert (
        "10.50.0.1 (node n1); 10.50.0.2 (node n2); 10.50.0.3 (node n3) (and 2 more)" in warning
    )


def test_tunnels_other_networks_and_junk_are_no_reason_to_warn(at_memory):
    spec = {
        "bgp": {"ipv4Address": "10.51.0.1/16", "ipv4IPIPTunnelAddr": "10.50.0.1"},
        "ipv4VXLANTunnelAddr": "10.50.0.2",
        "addresses": [{"address": "a.host.name"}, {"address": "fd00::1"}],
    }
    at_memory("create", "-f", "-", stdin=manifest("Node", "node-a", spec))

    assert [] == warnings(at_memory("create", "-f", "-", stdin=pool(cidr="10.50.0.0/16")))


@pytest.mark.parametrize(
    ("cidr", "range_"),
    [
        ("10.0.0.0/8", "10.96.0.0/12"),
        ("10.96.4.0/24", "10.96.0.0/12"),
        ("fd02::/112", "fd02::/112"),
    ],
)
def test_a_service_range_that_calico_announces_is_in_use(at_memory, memory, cidr, range_):
    put(
        memory,
        dict([stored_resource("bgpconfigurations", "BGPConfiguration", "default", SERVICES)]),
    )

    (warning,) = warnings(at_memory("create", "-f", "-", stdin=pool(cidr=cidr)))

    assert f"overlaps with {range_} (services of BGPConfiguration default)" in warning


@pytest.mark.parametrize("value", [b"junk", b"{}", b'{"spec":{"serviceClusterIPs":[7]}}'])
def test_a_bgp_configuration_that_is_not_understood_stops_nobody(at_memory, memory, value):
    key, _ = stored_resource("bgpconfigurations", "BGPConfiguration", "default", {})
    put(memory, {key: value})

    result = at_memory("create", "-f", "-", stdin=pool())

    assert ([], 0) == (warnings(result), result.exit_code)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_another_pool_keeps_from_pods_is_not_to_be_given_out(at_memory, order):
    both = [lan("lan", "10.60.4.0/24", 16), pool("plain", "10.60.0.0/24")]
    at_memory("create", "-f", "-", stdin=both[order[0]])

    told = warnings(at_memory("create", "-f", "-", stdin=both[order[1]]))

    assert (
        "ippool/plain: 10.60.0.0/24 has addresses that ippool/lan keeps from pods, as gateway "
        "or end of its prefix: 10.60.0.0/32; reserve them"
    ) in told


def test_two_new_pools_are_compared_once(at_memory):
    both = f"[{lan('lan', '10.60.4.0/24', 16)}, {pool('plain', '10.60.0.0/24')}]"

    told = warnings(at_memory("create", "-f", "-", stdin=both))

    assert 1 == sum("has addresses that ippool/lan keeps" in each for each in told)


def test_kubernetes_says_what_is_in_use(at_memory, api, tmp_path):
    addresses = [{"type": "InternalIP", "address": "10.50.0.9"}]
    api.put("nodes", "k1", status={"addresses": addresses}, spec={"podCIDRs": ["10.50.4.0/24"]})
    api.put("servicecidrs", "kubernetes", spec={"cidrs": ["10.50.8.0/24"]})
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")

    result = at_memory(
        "apply", "-f", "-", "--kubeconfig", kubeconfig, stdin=pool(cidr="10.50.0.0/16")
    )

    (warning,) = warnings(result)
    assert "10.50.0.9 (Kubernetes node k1)" in warning
    assert "10.50.4.0/24 (pods of Kubernetes node k1)" in warning
    assert "10.50.8.0/24 (Kubernetes services)" in warning
    assert 0 == result.exit_code


def test_nothing_is_written_when_kubernetes_gives_no_answer(at_memory, memory, api, tmp_path):
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
    api.stop()

    result = at_memory("apply", "-f", "-", "--kubeconfig", kubeconfig, stdin=pool())

    assert (1, "") == (result.exit_code, result.stdout)
    assert "Kubernetes API" in result.stderr
    assert {} == stored(memory)


def test_nothing_is_asked_where_no_pool_is_named(at_memory, api, tmp_path):
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")

    result = at_memory(
        "apply", "-f", "-", "--kubeconfig", kubeconfig, stdin=manifest("Node", "n")
    )

    assert "node/n created\n" == result.stdout
    assert [] == api.requests


@pytest.mark.parametrize("text", [pool(), manifest("Node", "n")])
def test_a_kubeconfig_that_was_asked_for_must_be_usable(at_memory, tmp_path, text):
    at_memory("apply", "-f", "-", stdin=text)

    result = at_memory("apply", "-f", "-", "--kubeconfig", str(tmp_path / "no"), stdin=text)

    assert (1, "") == (result.exit_code, result.stdout)
    assert f"kubeconfig {tmp_path / 'no'} cannot be used" in result.stderr


def test_pools_that_are_stored_are_warned_of_too(at_memory):
    at_memory("apply", "-f", "-", stdin=pool(cidr="10.50.0.0/16"))
    at_memory(
        "apply", "-f", "-", stdin=manifest("Node", "n", {"bgp": {"ipv4Address": "10.50.0.9"}})
    )

    unchanged = at_memory("apply", "-f", "-", stdin=pool(cidr="10.50.0.0/16"))
    changed = at_memory("apply", "-f", "-", stdin=pool(cidr="10.50.0.0/16", disabled=True))

    assert "ippool/pool-a unchanged\n" == unchanged.stdout
    assert "ippool/pool-a configured\n" == changed.stdout
    for result in (unchanged, changed):
        assert 1 == sum("10.50.0.9 (node n)" in each for each in warnings(result))
