"""
One CNI call understood: environment, CNI_ARGS and network configuration become a `Call`.

Pure. What stands in files (node name, etcd endpoints) is only named in the `Call`; `host.py`
and `store/source.py` look there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from poolmgr.cidr import HOST_PREFIX, IPAddress
from poolmgr.cni.args import NAME, NAME_RULE, Args, parse_args
from poolmgr.cni.document import (
    BridgeKeys,
    Document,
    GarbageKeys,
    IpamKeys,
    PreviousResult,
    WishKeys,
    read,
)
from poolmgr.cni.result import VERSIONS, CallError, Code, Json
from poolmgr.cni.strict_json import loads
from poolmgr.cni.wire import Frame
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.request import AddressRange, Attachment, Sticky
from poolmgr.kube.annotations import Gates

_NODE_KEYS = ("nodename", "nodename_file", "hostname")
_ETCD_KEYS = ("etcd_endpoints", "etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file")
_FLAT = {"macvlan", "ipvlan", "sriov", "vlan", "host-device"}
_NEED_GATEWAY = (MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY)


class Command(StrEnum):
    """What a runtime may ask. VERSION needs no configuration and never becomes a `Call`."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"


_SINCE = {Command.CHECK: "0.4.0", Command.GC: "1.1.0", Command.STATUS: "1.1.0"}
_REQUIRED = {
    Command.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.DEL: ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    Command.GC: ("CNI_PATH",),
    Command.STATUS: ("CNI_PATH",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A CNI call that passed every check which needs no look at the world.

    Attributes:
        version: `cniVersion` of the configuration, one of the supported ones.
        network: Name of the network.
        attachment: The interface in question; None for GC and STATUS.
        naming: The keys that name the node, "" = not given; see `host.node_name`.
        etcd: The `etcd_*` keys, "" = not given; see `store.source.settings_from`.
        kubernetes: How to reach the Kubernetes API, as arguments of `kube.access.Access`; None
            = not at all.
        kubernetes_node: This node's name in Kubernetes; "" = as everywhere.
        addresses: The addresses asked for by the runtime, at most one of a family; () = any.
        annotations: Those of the pod, as the runtime passes them; None = it does not.
        gates: What pods may ask for.
        families: Families to assign when no address is named.
        pools: Family -> pools to use; a family that is missing uses all that match.
        previous: Addresses of `prevResult`, for CHECK; None = it was not given.
        valid: Container and interface of each attachment that exists, for GC.
        among, sticky, namespace_labels, node_labels: As in `core.request.AutoAssign`; this and
            what follows is said by annotations, see `wanted.settle`.
        without_ipam: Addresses that the interface has without us.
        because: The annotations behind the call, for messages.
        warnings: What has no effect although somebody asks for it.
    """

    command: Command
    version: str
    network: str
    attachment: Attachment | None = None
    args: Args = field(default_factory=Args)
    naming: Mapping[str, str] = field(default_factory=dict)
    etcd: Mapping[str, str] = field(default_factory=dict)
    kubernetes: Mapping[str, str] | None = None
    kubernetes_node: str = ""
    addresses: tuple[IPAddress, ...] = ()
    annotations: Mapping[str, str] | None = None
    gates: Gates = field(default_factory=Gates)
    families: tuple[int, ...] = (4,)
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    link: LinkPolicy = field(default_factory=LinkPolicy)
    previous: frozenset[IPAddress] | None = None
    valid: frozenset[tuple[str, str]] = frozenset()
    among: Mapping[int, tuple[AddressRange, ...]] = field(default_factory=dict)
    sticky: Sticky | None = None
    namespace_labels: Mapping[str, str] | None = None
    node_labels: Mapping[str, str] | None = None
    without_ipam: tuple[IPAddress, ...] = ()
    because: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def parse(frame: Frame) -> Call:
    """
    Understand a call.

    Raises:
        CallError: With code 4 (environment), 6 (not decodable), 7 (invalid) or 1 (version).
    """
    command = _command(frame.env)
    attachment_of = _attachment(frame.env, command)
    args = parse_args(frame.env.get("CNI_ARGS", ""))
    conf = loads(frame.conf)
    document = read(Document, conf)
    network = _network(document.name)
    version = _version(conf, command)
    # A wrong wish fails the ADD, and must not fail the DEL that tidies up after it.
    wish = WishKeys() if command in (Command.DEL, Command.GC) else read(WishKeys, conf)
    ipam = document.ipam
    return Call(
        command=command,
        version=version,
        network=network,
        attachment=Attachment(
            network=network, container=attachment_of[0], interface=attachment_of[1]
        )
        if attachment_of
        else None,
        args=args,
        naming={key: getattr(document, key) for key in _NODE_KEYS},
        etcd=_etcd(document),
        kubernetes=_kubernetes(wish),
        kubernetes_node=wish.kubernetes.node_name,
        addresses=_asked(wish, args),
        annotations=wish.runtime.annotations,
        gates=Gates(ip_addrs_no_ipam=wish.feature_control.ip_addrs_no_ipam),
        families=tuple(
            family
            for family, wanted in ((4, ipam.assign_ipv4), (6, ipam.assign_ipv6))
            if wanted
        ),
        pools={
            family: tuple(names)
            for family, names in ((4, ipam.ipv4_pools), (6, ipam.ipv6_pools))
            if names
        },
        link=_link(conf, document.type, ipam),
        previous=_previous(conf) if command is Command.CHECK else None,
        valid=_valid(conf) if command is Command.GC else frozenset(),
    )


def _command(env: Mapping[str, str]) -> Command:
    word = env.get("CNI_COMMAND", "")
    if not word:
        raise CallError(Code.ENVIRONMENT, "CNI_COMMAND is not set; the CNI runtime sets it")
    if word not in list(Command):
        known = ", ".join([*Command, "VERSION"])
        raise CallError(
            Code.ENVIRONMENT,
            f"CNI_COMMAND {word!r:.60} is not supported; supported are {known}",
        )
    command = Command(word)
    if missing := [name for name in _REQUIRED[command] if not env.get(name)]:
        raise CallError(
            Code.ENVIRONMENT,
            f"{', '.join(missing)} must be set for {command}; the CNI runtime sets it",
        )
    return command


def _attachment(env: Mapping[str, str], command: Command) -> tuple[str, str] | None:
    """Return container id and interface name."""
    if command in (Command.GC, Command.STATUS):
        return None
    container, interface = env["CNI_CONTAINERID"], env["CNI_IFNAME"]
    if not NAME.fullmatch(container):
        raise CallError(
            Code.ENVIRONMENT,
            f"CNI_CONTAINERID {container!r:.80} is not a container id: {NAME_RULE}",
        )
    if (
        len(interface.encode(errors="replace")) > 15
        or interface in {".", ".."}
        or any(char in "/: " or not char.isprintable() for char in interface)
    ):
        raise CallError(
            Code.ENVIRONMENT,
            f"CNI_IFNAME {interface!r:.80} is not an interface name: at most 15 bytes, "
            "no slash, colon, white space or control character, and not . or ..",
        )
    return container, interface


def _asked(wish: WishKeys, args: Args) -> tuple[IPAddress, ...]:
    """Return the addresses that the runtime asks for; who names some must name the same."""
    ways = {
        "runtimeConfig.ips": wish.runtime.ips,
        "CNI_ARGS IP": () if args.address is None else (args.address,),
        "args.cni.ips": wish.args.cni.ips,
    }
    given = [(way, addresses) for way, addresses in ways.items() if addresses]
    for way, addresses in given[1:]:
        if addresses != given[0][1]:
            both = " and ".join(
                f"{name} = {', '.join(map(str, named))}"
                for name, named in (given[0], (way, addresses))
            )
            raise CallError(
                Code.INVALID_CONFIG,
                f"{both} ask for different addresses; leave one of them out",
                field=way,
            )
    return given[0][1] if given else ()


def _kubernetes(wish: WishKeys) -> dict[str, str] | None:
    """Return how the API is reached, if anything there is to be looked up."""
    kubernetes, policy = wish.kubernetes, wish.policy
    if not kubernetes.kubeconfig and policy.type != "k8s":
        return None
    api_root = policy.k8s_api_root or kubernetes.k8s_api_root
    if not kubernetes.kubeconfig and not api_root:
        raise CallError(
            Code.INVALID_CONFIG,
            "network configuration, policy.type = k8s: it is not said where the Kubernetes API "
            "is; write kubernetes.kubeconfig or policy.k8s_api_root",
            field="policy.type",
        )
    return {
        "kubeconfig": kubernetes.kubeconfig,
        "api_root": api_root,
        "token": policy.k8s_auth_token,
        "client_certificate": policy.k8s_client_certificate,
        "client_key": policy.k8s_client_key,
        "certificate_authority": policy.k8s_certificate_authority,
    }


def _network(name: str) -> str:
    if not NAME.fullmatch(name):
        what = f"name {name!r:.80} is not a network name" if name else "name is missing"
        raise CallError(
            Code.INVALID_CONFIG, f"network configuration, {what}: {NAME_RULE}", field="name"
        )
    return name


def _version(conf: Json, command: Command) -> str:
    version = conf.get("cniVersion", "") or VERSIONS[0]
    if not isinstance(version, str) or version not in VERSIONS:
        raise CallError(
            Code.INCOMPATIBLE_VERSION,
            f"network configuration, cniVersion {version!r:.60} is not supported",
            details=f"supported are {', '.join(VERSIONS)}",
            field="cniVersion",
        )
    since = _SINCE.get(command, VERSIONS[0])
    if VERSIONS.index(version) < VERSIONS.index(since):
        raise CallError(
            Code.INCOMPATIBLE_VERSION,
            f"network configuration, cniVersion {version} has no {command}; {since} has",
            field="cniVersion",
        )
    return version


def _etcd(document: Document) -> dict[str, str]:
    if document.datastore_type not in {"", "etcdv3"}:
        raise CallError(
            Code.INVALID_CONFIG,
            f"network configuration, datastore_type {document.datastore_type!r:.60} is not "
            'supported: this plugin keeps its data in etcd; remove the key or write "etcdv3"',
            field="datastore_type",
        )
    if document.etcd_discovery_srv:
        raise CallError(
            Code.INVALID_CONFIG,
            "network configuration, etcd_discovery_srv is not supported; "
            "list the members in etcd_endpoints",
            field="etcd_discovery_srv",
        )
    return {key: getattr(document, key) for key in _ETCD_KEYS}


def _link(conf: Json, main_type: str, ipam: IpamKeys) -> LinkPolicy:
    main, adds_default_route = MainPlugin.OTHER, False
    if main_type == "ptp":
        main = MainPlugin.PTP
    elif main_type == "bridge":
        bridge = read(BridgeKeys, conf)
        adds_default_route = bridge.is_default_gateway
        main = (
            MainPlugin.BRIDGE_GATEWAY
            if bridge.is_gateway or adds_default_route
            else MainPlugin.FLAT
        )
    elif main_type in _FLAT:
        main = MainPlugin.FLAT
    policy = LinkPolicy(
        main=main,
        adds_default_route=adds_default_route,
        prefix_length=ipam.prefix_length,
        gateway=ipam.gateway,
        routes=None if ipam.routes is None else tuple(each.route() for each in ipam.routes),
        dns=None if ipam.dns is None else ipam.dns.model_dump(exclude_none=True),
    )
    for family in (4, 6):
        _check_gateway(policy, family)
    if adds_default_route and any(
        route.dst in {"0.0.0.0/0", "::/0"} for route in policy.routes or ()
    ):
        raise CallError(
            Code.INVALID_CONFIG,
            "network configuration, ipam.routes: with isDefaultGateway the bridge plugin adds "
            "the default route and fails on a second one; remove it from ipam.routes",
            field="ipam.routes",
        )
    return policy


def _check_gateway(policy: LinkPolicy, family: int) -> None:
    """Refuse what no pool can satisfy; what depends on the pool is the planner's."""
    length, gateway = policy.prefix_length.get(family), policy.gateway.get(family)
    if gateway == "none" and policy.main in _NEED_GATEWAY:
        raise CallError(
            Code.INVALID_CONFIG,
            f'network configuration, ipam.gateway = "none": {policy.main} needs a gateway; '
            "remove the key, or write first-of-pool or an address",
            field="ipam.gateway",
        )
    wants_gateway = policy.main in _NEED_GATEWAY or gateway not in {None, "none"}
    if wants_gateway and length in {"host", "block", HOST_PREFIX[family]}:
        raise CallError(
            Code.INVALID_CONFIG,
            f"network configuration, ipam.prefixLength = {length}: the gateway is outside of "
            "such a prefix, and out of reach; write pool, or the length of the LAN's prefix",
            field="ipam.prefixLength",
        )


def _previous(conf: Json) -> frozenset[IPAddress] | None:
    if conf.get("prevResult") is None:
        return None
    result = read(PreviousResult, conf["prevResult"], at="prevResult")
    return frozenset(each.address for each in result.ips or ())


def _valid(conf: Json) -> frozenset[tuple[str, str]]:
    return frozenset((each.container, each.interface) for each in read(GarbageKeys, conf).valid)
