"""
Section 18: what annotations of a pod and its namespace ask for.

A pod's come from the runtime, and from an API server; a namespace's from the API server only.
"""

import json
from dataclasses import dataclass, field

import pytest

from tests.behaviours.calls import POD_ANNOTATIONS
from tests.behaviours.row import Row, each
from tests.support.kube_api import KubeApi

CALICO = "cni.projectcalico.org/"
NETCONF = {"type": "poolmgr-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}
WRONG, NO_POOL, FULL = 7, 100, 101
FIFTY, SIXTY = "50.60.0.0/28", "60.70.0.0/28"


def said(**values):
    """Return annotations of Calico; lists become JSON."""
    return {
        CALICO + name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Row):
    """
    Annotations, and what comes of them.

    Attributes:
        pools: Name -> CIDR.
        full: Names of pools without a free address.
        pod, namespace: Annotations.
        ipam: Keys of the `ipam` object.
        allowed: Whether `feature_control` lets a pod take addresses past IPAM.
        within: The pools of the addresses given, in their order.
        given: The very addresses given, with prefix lengths.
        code: Of the error; then the message names the annotation.
        held: How many handles there are afterwards.
    """

    pools: dict[str, str] = field(default_factory=dict)
    full: tuple[str, ...] = ()
    pod: dict[str, str] = field(default_factory=dict)
    namespace: dict[str, str] = field(default_factory=dict)
    ipam: dict[str, str] = field(default_factory=lambda: {"type": "poolmgr-ipam"})
    allowed: bool = False
    within: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    code: int = 0
    held: int = 0


BY_NAMESPACE = {"fifty": FIFTY, "sixty": SIXTY}
BY_POD = {"172-16-0-0-16": "172.16.0.0/16", "172-17-0-0-16": "172.17.0.0/16"}
DUAL = {"last": "50.80.0.0/16", "six": "fd80:50::/96", "first": "10.0.0.0/16"}
PAST = {"code": WRONG, "allowed": True}


def by_namespace(id_, *pools, **more):
    return Wish(id=id_, pools=BY_NAMESPACE, namespace=said(ipv4pools=pools), **more)


def families(*words, **more):
    return Wish(id="AN-19", pools=DUAL, pod=said(ipFamilies=words), **more)


def refused(id_, **values):
    return Wish(id=id_, pools=DUAL, pod=said(**values), **PAST)


WISHES = (
    by_namespace("AN-01", FIFTY, within=(FIFTY,), held=1),
    by_namespace("AN-02", "100.0.0.0/16", code=NO_POOL),
    by_namespace("AN-03", FIFTY, full=("fifty",), code=FULL, held=1),
    by_namespace("AN-04", FIFTY, SIXTY, full=("fifty",), within=(SIXTY,), held=2),
    Wish(
        id="AN-06",
        pools=BY_POD,
        pod=said(ipv4pools=["172.16.0.0/16"]),
        within=("172.16.0.0/16",),
        held=1,
    ),
    Wish(
        id="AN-07",
        pools=BY_POD,
        pod=said(ipv4pools=["172-17-0-0-16"]),
        within=("172.17.0.0/16",),
        held=1,
    ),
    Wish(
        id="AN-08",
        pools=DUAL,
        pod=said(ipv4pools=["50.80.0.0/16"], ipv6pools=["fd80:50::/96"]),
        ipam=NETCONF,
        within=("50.80.0.0/16", "fd80:50::/96"),
        held=1,
    ),
    Wish(
        id="AN-12", pod=said(ipAddrsNoIpam=["10.0.0.1"]), allowed=True, given=("10.0.0.1/32",)
    ),
    Wish(id="AN-13", pod=said(ipAddrsNoIpam=["10.0.0.1"]), code=WRONG),
    refused("AN-14", ipAddrsNoIpam=["10.0.0.1", "10.0.0.2"]),
    Wish(
        id="AN-15",
        pools={"twenty": "20.0.0.0/24"},
        pod=said(ipAddrs=["20.0.0.111"]),
        ipam=NETCONF,
        given=("20.0.0.111/32",),
        held=1,
    ),
    families("IPv4", within=("10.0.0.0/16",), held=1),
    families("IPv6", within=("fd80:50::/96",), held=1),
    families("IPv6", "IPv4", within=("10.0.0.0/16", "fd80:50::/96"), held=1),
    families("IPv5", code=WRONG),
    Wish(
        id="AN-19",
        pools=DUAL,
        pod=said(ipFamilies=["IPv4"]),
        namespace=said(ipFamilies=["IPv6"]),
        within=("10.0.0.0/16",),
        held=1,
    ),
    refused("AN-20", ipAddrs=["10.0.0.1"], ipAddrsNoIpam=["10.0.0.1"]),
    refused("AN-20", ipAddrs=[]),
    refused("AN-20", ipAddrs="10.0.0.1"),
    refused("AN-20", ipAddrs=["10.0.0.256"]),
    refused("AN-20", ipAddrs=["10.0.0.1", "10.0.0.2"]),
    refused("AN-20", ipAddrsNoIpam=[]),
    refused("AN-20", ipAddrsNoIpam="{"),
    refused("AN-20", ipAddrsNoIpam=["here"]),
)

ROWS = WISHES


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


@each(WISHES)
@pytest.mark.parametrize("source", ["runtime and API", "API"])
def test_annotations_are_honoured_or_refused_by_name(row, source, caller, api, tmp_path):
    for name, cidr in row.pools.items():
        caller.pool(name, cidr, **({"blockSize": 29} if cidr.endswith("/28") else {}))
    api.put("namespaces", "prod", annotations=row.namespace)
    keys = {
        "kubernetes": {"kubeconfig": api.kubeconfig(tmp_path / "kubeconfig")},
        "feature_control": {"ip_addrs_no_ipam": row.allowed},
    }
    if source == "API":
        api.put("pods", "web-0", namespace="prod", annotations=row.pod)
    else:
        keys["runtimeConfig"] = {POD_ANNOTATIONS: row.pod}
    for name in row.full:
        fill(caller, name)
    args = "K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0"
    answer = caller("ADD", args=args, ipam=row.ipam, **keys)

    assert row.code == answer.code
    if row.code:
        annotations = row.pod or row.namespace
        assert any(
            f"annotation {name} = '{value}'" in answer.body["msg"]
            for name, value in annotations.items()
        )
    elif row.given:
        assert row.given == tuple(answer.ips)
    else:
        assert answer.lies_in(*row.within)
    assert row.held == len(caller.handles())
    assert caller("DEL", args=args, ipam=row.ipam, **keys).code == 0
    assert len(row.full) == len(caller.handles())


def fill(caller, name):
    """Give every address of a pool of 16 to somebody."""
    for number in range(16):
        where = {"type": "poolmgr-ipam", "ipv4_pools": [name]}
        assert caller("ADD", "test-handle", interface=f"e{number}", ipam=where).code == 0
