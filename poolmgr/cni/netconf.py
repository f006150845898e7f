"""
One CNI call understood: environment, CNI_ARGS and network configuration become a `Call`.

Pure. What stands in files (node name, etcd endpoints) is only named in the `Call`; `host.py`
and `store/source.py` look there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from poolmgr.cidr import HOST_PREFIX, IPAddress, parse_address
from poolmgr.cni.document import BridgeKeys, Document, IpamKeys, PreviousResult, read
from poolmgr.cni.result import VERSIONS, CallError, Code, Json
from poolmgr.cni.strict_json import loads
from poolmgr.cni.wire import Frame
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.request import Attachment

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,254}", re.ASCII)
_NAME_RULE = "letters, digits, _ . - only, a letter or digit first, at most 255 in all"
_NODE_KEYS = ("nodename", "nodename_file", "hostname")
_ETCD_KEYS = ("etcd_endpoints", "etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file")
_FLAT = {"macvlan", "ipvlan", "sriov", "vlan", "host-device"}
_NEED_GATEWAY = (MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY)


class Command(StrEnum):
    """What a runtime may ask. VERSION needs no configuration and never becomes a `Call`."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    STATUS = "STATUS"


_SINCE = {Command.CHECK: "0.4.0", Command.STATUS: "1.1.0"}
_REQUIRED = {
    Command.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.DEL: ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    Command.STATUS: ("CNI_PATH",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Args:
    """
    What CNI_ARGS says.

    Attributes:
        address: The address asked for; None = any.
        pod: Kubernetes pod name; "" = not given.
        namespace: Kubernetes namespace; "" = not given.
    """

    address: IPAddress | None = None
    pod: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A CNI call that passed every check which needs no look at the world.

    Attributes:
        version: `cniVersion` of the configuration, one of the supported ones.
        network: Name of the network.
        attachment: The interface in question; None for STATUS.
        naming: The keys that name the node, "" = not given; see `host.node_name`.
        etcd: The `etcd_*` keys, "" = not given; see `store.source.settings_from`.
        families: Families to assign when no address is named.
        pools: Family -> pools to use; a family that is missing uses all that match.
        previous: Addresses of `prevResult`, for CHECK; None = it was not given.
    """

    command: Command
    version: str
    network: str
    attachment: Attachment | None = None
    args: Args = field(default_factory=Args)
    naming: Mapping[str, str] = field(default_factory=dict)
    etcd: Mapping[str, str] = field(default_factory=dict)
    families: tuple[int, ...] = (4,)
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    link: LinkPolicy = field(default_factory=LinkPolicy)
    previous: frozenset[IPAddress] | None = None


def parse(frame: Frame) -> Call:
    """
    Understand a call.

    Raises:
        CallError: With code 4 (environment), 6 (not decodable), 7 (invalid) or 1 (version).
    """
    command = _command(frame.env)
    attachment_of = _attachment(frame.env, command)
    args = _args(frame.env.get("CNI_ARGS", ""))
    conf = loads(frame.conf)
    document = read(Document, conf)
    network = _network(document.name)
    version = _version(conf, command)
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
    if command is Command.STATUS:
        return None
    container, interface = env["CNI_CONTAINERID"], env["CNI_IFNAME"]
    if not _NAME.fullmatch(container):
        raise CallError(
            Code.ENVIRONMENT,
            f"CNI_CONTAINERID {container!r:.80} is not a container id: {_NAME_RULE}",
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


def _args(text: str) -> Args:
    """Read CNI_ARGS: NAME=value pairs with semicolons between them."""
    given: dict[str, str] = {}
    for pair in text.split(";") if text else ():
        name, _, value = pair.partition("=")
        if not name or pair.count("=") != 1:
            raise _bad_args(f"{pair!r:.80} is not of the form NAME=value")
        if name in given:
            raise _bad_args(f"{name!r:.80} is given twice")
        given[name] = value
    tolerant = given.pop("IgnoreUnknown", "false").lower()
    if tolerant not in {"1", "true", "0", "false"}:
        raise _bad_args(f"IgnoreUnknown={tolerant!r:.80} must be 1, true, 0 or false")
    unknown = [name for name in given if name != "IP" and not name.startswith("K8S_")]
    if unknown and tolerant in {"0", "false"}:
        raise _bad_args(f"{unknown[0]!r:.80} is not known; remove it or add IgnoreUnknown=1")
    return Args(
        address=_asked_address(given.get("IP", "")),
        pod=_kubernetes_name(given, "K8S_POD_NAME"),
        namespace=_kubernetes_name(given, "K8S_POD_NAMESPACE"),
    )


def _bad_args(why: str) -> CallError:
    return CallError(Code.ENVIRONMENT, f"CNI_ARGS: {why}")


def _asked_address(text: str) -> IPAddress | None:
    try:
        return parse_address(text) if text else None
    except ValueError:
        raise _bad_args(
            f"IP={text!r:.80} is not an address; write one, without prefix length"
        ) from None


def _kubernetes_name(given: Mapping[str, str], name: str) -> str:
    value = given.get(name, "")
    if value and not _NAME.fullmatch(value):
        raise _bad_args(f"{name}={value!r:.80} is not a name: {_NAME_RULE}")
    return value


def _network(name: str) -> str:
    if not _NAME.fullmatch(name):
        what = f"name {name!r:.80} is not a network name" if name else "name is missing"
        raise CallError(
            Code.INVALID_CONFIG, f"network configuration, {what}: {_NAME_RULE}", field="name"
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
