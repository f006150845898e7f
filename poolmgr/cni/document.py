"""
The network configuration as pydantic models: which keys are read, and what they may say.

The document belongs to the main plugin, so keys unknown at its top are its own. The `ipam`
object is ours: there only known keys pass, so that a misspelt one is not ignored.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from poolmgr.cidr import HOST_PREFIX, IPAddress, parse_address, parse_network
from poolmgr.cni.result import CallError, Code
from poolmgr.core.link import Route
from poolmgr.kube.values import one_per_family, pool

_T = TypeVar("_T")
_FAMILIES = {"ipv4": 4, "ipv6": 6}
_PREFIX_WORDS = ("host", "block", "pool")
_GATEWAY_WORDS = ("none", "first-of-pool")
_FLAGS = {"true": True, "false": False}
_REASONS = {
    "string_type": "must be a string",
    "string_unicode": "must be Unicode text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "missing": "a required key is missing",
}


def _flag(value: object) -> object:
    """Read a boolean; Calico writes it as a string."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _FLAGS:
        raise ValueError('must be true, false, "true" or "false"')
    return _FLAGS[value]


def _pools(family: int) -> Callable[[list[str]], list[str]]:
    """Make a reader of pool lists: names as they are, CIDRs without host bits."""

    def read(entries: list[str]) -> list[str]:
        return [pool(entry, family) for entry in entries]

    return read


def _by_family(value: Mapping[str, object], one: Callable[[object, int], _T]) -> dict[int, _T]:
    if unknown := sorted(value.keys() - _FAMILIES.keys()):
        raise ValueError(f"{unknown[0]!r:.60} is not a known key; known are ipv4, ipv6")
    return {_FAMILIES[key]: one(item, _FAMILIES[key]) for key, item in value.items()}


def _prefix_lengths(value: object) -> dict[int, str | int]:
    """Read `prefixLength`: a word for both families, a number for IPv4, or an object."""
    if isinstance(value, dict):
        return _by_family(value, _prefix_length)
    if isinstance(value, str):
        return {family: _prefix_length(value, family) for family in (4, 6)}
    return {4: _prefix_length(value, 4)}


def _prefix_length(value: object, family: int) -> str | int:
    longest = HOST_PREFIX[family]
    if isinstance(value, str) and value in _PREFIX_WORDS:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= longest:
        return value
    raise ValueError(
        f'must be "host", "block", "pool" or, for IPv{family}, a number from 1 to {longest}'
    )


def _gateways(value: object) -> dict[int, str]:
    """Read `gateway`: a word for both families, an address for its own, or an object."""
    if isinstance(value, dict):
        return _by_family(value, _gateway)
    if isinstance(value, str) and value in _GATEWAY_WORDS:
        return dict.fromkeys((4, 6), value)
    return {(address := _gateway_address(value)).version: str(address)}


def _gateway(value: object, family: int) -> str:
    if isinstance(value, str) and value in _GATEWAY_WORDS:
        return value
    address = _gateway_address(value)
    if address.version != family:
        raise ValueError(f"names {address} where an IPv{family} address belongs")
    return str(address)


def _gateway_address(value: object) -> IPAddress:
    try:
        if isinstance(value, str):
            return parse_address(value)
    except ValueError:
        pass
    raise ValueError('must be "none", "first-of-pool" or an address')


def _address(text: str) -> str:
    return str(parse_address(text))


def _destination(text: str) -> str:
    return str(parse_network(text, strict=False))


def _interface_address(value: object) -> IPAddress:
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("must be an address with its prefix length")
    return parse_address(value.partition("/")[0])


def _requested(value: object) -> tuple[IPAddress, ...]:
    """Read addresses; a prefix length, which other plugins want, is not used."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of addresses")
    return one_per_family([_without_length(item) for item in value])


def _without_length(text: str) -> IPAddress:
    if "/" in text:
        parse_network(text, strict=False)
    return parse_address(text.partition("/")[0])


class _Keys(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _KnownKeys(_Keys):
    @model_validator(mode="before")
    @classmethod
    def _refuse_others(cls, value: object) -> object:
        known = [each.alias or name for name, each in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                raise ValueError(
                    f"{key!r:.60} is not a known key; known are {', '.join(known)}"
                )
        return value


class RouteKeys(_KnownKeys):
    """A route of the result: destination CIDR and, if it is not the gateway, the next hop."""

    dst: Annotated[str, AfterValidator(_destination)]
    gw: Annotated[str, AfterValidator(_address)] | None = None

    @model_validator(mode="after")
    def _of_one_family(self) -> "RouteKeys":
        if self.gw is not None and (":" in self.gw) != (":" in self.dst):
            raise ValueError(f"dst {self.dst} and gw {self.gw} are not of one family")
        return self

    def route(self) -> Route:
        """Return it as the core's value."""
        return Route(dst=self.dst, gw=self.gw)


class DnsKeys(_KnownKeys):
    """The result's `dns` object."""

    nameservers: list[Annotated[str, AfterValidator(_address)]] | None = None
    domain: str | None = None
    search: list[str] | None = None
    options: list[str] | None = None


class IpamKeys(_KnownKeys):
    """
    The `ipam` object.

    Attributes:
        subnet: Calico's, for host-local; allowed and not used.
        routes: None = not set.
    """

    type: str = ""
    subnet: object = None
    assign_ipv4: Annotated[bool, BeforeValidator(_flag)] = True
    assign_ipv6: Annotated[bool, BeforeValidator(_flag)] = False
    ipv4_pools: Annotated[list[str], AfterValidator(_pools(4))] = []
    ipv6_pools: Annotated[list[str], AfterValidator(_pools(6))] = []
    prefix_length: Annotated[
        Mapping[int, str | int], PlainValidator(_prefix_lengths), Field(alias="prefixLength")
    ] = {}
    gateway: Annotated[Mapping[int, str], PlainValidator(_gateways)] = {}
    routes: list[RouteKeys] | None = None
    dns: DnsKeys | None = None


_Requested = Annotated[tuple[IPAddress, ...], PlainValidator(_requested)]
POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"


class RuntimeKeys(_Keys):
    """
    What the runtime adds for capabilities that the configuration declares.

    Attributes:
        ips: The addresses to assign.
        annotations: Those of the pod; None = the runtime does not pass them.
    """

    ips: _Requested = ()
    annotations: Annotated[dict[str, str] | None, Field(alias=POD_ANNOTATIONS)] = None


class CniArgs(_Keys):
    """`args.cni`."""

    ips: _Requested = ()


class ArgsKeys(_Keys):
    """`args`, by which a user of the runtime asks for things."""

    cni: CniArgs = CniArgs()


class KubernetesKeys(_Keys):
    """How the Kubernetes API is reached, and this node's name there."""

    kubeconfig: str = ""
    k8s_api_root: str = ""
    node_name: str = ""


class PolicyKeys(_Keys):
    """`policy`; of type `k8s` it says how the Kubernetes API is reached."""

    type: str = ""
    k8s_api_root: str = ""
    k8s_auth_token: str = ""
    k8s_client_certificate: str = ""
    k8s_client_key: str = ""
    k8s_certificate_authority: str = ""


class FeatureControl(_Keys):
    """What pods may do."""

    ip_addrs_no_ipam: bool = False


class Document(_Keys):
    """The network configuration, as far as this plugin reads it."""

    name: str = ""
    type: str = ""
    ipam: IpamKeys = IpamKeys()
    datastore_type: str = ""
    etcd_endpoints: str = ""
    etcd_discovery_srv: str = ""
    etcd_key_file: str = ""
    etcd_cert_file: str = ""
    etcd_ca_cert_file: str = ""
    nodename: str = ""
    nodename_file: str = ""
    hostname: str = ""


class WishKeys(_Keys):
    """What this call wants, and who else may know; not read where an interface goes away."""

    runtime: Annotated[RuntimeKeys, Field(alias="runtimeConfig")] = RuntimeKeys()
    args: ArgsKeys = ArgsKeys()
    kubernetes: KubernetesKeys = KubernetesKeys()
    policy: PolicyKeys = PolicyKeys()
    feature_control: FeatureControl = FeatureControl()


class BridgeKeys(_Keys):
    """What the `bridge` plugin's own keys say about the gateway."""

    is_gateway: bool = Field(default=False, alias="isGateway")
    is_default_gateway: bool = Field(default=False, alias="isDefaultGateway")


class PreviousIP(_Keys):
    """An address of an earlier result."""

    address: Annotated[IPAddress, PlainValidator(_interface_address)]


class PreviousResult(_Keys):
    """The earlier result that CHECK is about, in the form of CNI 0.4.0 and later."""

    ips: list[PreviousIP] | None = None


class ValidAttachment(_Keys):
    """An interface of a container that exists."""

    container: Annotated[str, Field(alias="containerID", min_length=1)]
    interface: Annotated[str, Field(alias="ifname", min_length=1)]


class GarbageKeys(_Keys):
    """What GC is told; without the list nothing may be collected, so it is required."""

    valid: Annotated[list[ValidAttachment], Field(alias="cni.dev/valid-attachments")]


_M = TypeVar("_M", bound=BaseModel)


def read(model: type[_M], value: object, *, at: str = "") -> _M:
    """
    Validate `value` as a `model`; `at` is its path in the document, for messages.

    Raises:
        CallError: With code 7; the message names the first wrong field, and what it must be.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = at
    for step in first["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f"{'.' if path else ''}{step}"
    value = first["input"]
    shown = "" if isinstance(value, (dict, list)) else f" = {json.dumps(value):.80}"
    raise CallError(
        Code.INVALID_CONFIG,
        f"network configuration, {path}{shown}: {reason(first)}",
        field=path,
    )


def reason(error: ErrorDetails) -> str:
    """Say what a value must be."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "literal_error":
        return f"must be {error['ctx']['expected']}"
    return _REASONS.get(error["type"], error["msg"])
