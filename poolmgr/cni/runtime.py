"""
What a container runtime keeps: network configurations, and a cache of attachments.

Pure: texts of files in, values out. Both formats are libcni's, which all common runtimes use.

Source: containernetworking/cni libcni/conf.go, libcni/api.go.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from poolmgr.cni.document import POD_ANNOTATIONS, reason
from poolmgr.cni.netconf import Call, parse
from poolmgr.cni.wire import Frame
from poolmgr.errors import InvalidRequestError

OURS = "poolmgr-ipam"
CACHE_DIR = "/var/lib/cni"
MULTUS_CACHE_DIR = "/var/lib/cni/multus"
CONF_SUFFIXES = (".conf", ".conflist", ".json")

_MULTUS = "multus"
_AS_ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "none",
    "CNI_NETNS": "none",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "none",
}
_AS_DEL = {**_AS_ADD, "CNI_COMMAND": "DEL"}
_M = TypeVar("_M", bound=BaseModel)


class _Keys(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Ipam(_Keys):
    type: str = ""


class _Plugin(_Keys):
    type: Annotated[str, Field(min_length=1)]
    ipam: _Ipam | None = None
    capabilities: Mapping[str, bool] | None = None
    delegates: list[dict[str, Any]] | None = None


class _Name(_Keys):
    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(alias="cniVersion")] = ""


class _List(_Name):
    plugins: Annotated[list[dict[str, Any]], Field(min_length=1)]


class _Interface(_Keys):
    sandbox: str = ""


class _Result(_Keys):
    interfaces: list[_Interface] | None = None


class _Cached(_Keys):
    kind: Literal["cniCacheV1"]
    container: Annotated[str, Field(alias="containerId", min_length=1)]
    interface: Annotated[str, Field(alias="ifName", min_length=1)]
    network: Annotated[str, Field(alias="networkName", min_length=1)]
    config: str | None = None
    result: _Result | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """
    One plugin of a network.

    Attributes:
        ipam: Type of its IPAM plugin; "" = it has none.
        gets_annotations: Whether the runtime passes the pod's annotations to it.
        conf: What it reads from standard input, without what the runtime adds per call.
    """

    type: str
    ipam: str
    gets_annotations: bool
    conf: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether its addresses come from us."""
        return self.ipam == OURS

    def call(self, *, wishes: bool) -> Call:
        """
        Understand its configuration as our plugin does.

        Args:
            wishes: Also what only an ADD reads.

        Raises:
            CallError: Our plugin would refuse it.
        """
        env = _AS_ADD if wishes else _AS_DEL
        return parse(Frame(env=env, conf=json.dumps(self.conf).encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """
    A network as a runtime, or multus for it, attaches containers to it.

    Attributes:
        plugins: In the order of their calls; not empty.
        delegated_by: The network of the multus that does it; "" = the runtime does.
    """

    name: str
    plugins: tuple[Plugin, ...]
    delegated_by: str = ""

    @property
    def main(self) -> Plugin:
        """The plugin that makes the interface: the first with an IPAM plugin, or the first."""
        return next((plugin for plugin in self.plugins if plugin.ipam), self.plugins[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """
    An attachment that the runtime remembers.

    Attributes:
        through_multus: Whether further interfaces of the container are remembered elsewhere.
        sandbox: File of the container's network namespace; "" = it is not remembered.
    """

    network: str
    container: str
    interface: str
    through_multus: bool
    sandbox: str = ""


def networks(file: str, raw: bytes) -> tuple[Network, ...]:
    """
    Read a network configuration: a list of plugins, or a single one.

    Args:
        file: Its name, for messages.

    Returns:
        The network, and after it those that its multus delegates to.

    Raises:
        InvalidRequestError: No runtime would use it; the message says why.
    """
    return _networks(_object(file, raw), file, delegated_by="")


def _networks(conf: dict[str, Any], where: str, *, delegated_by: str) -> tuple[Network, ...]:
    head = _validated(_Name, conf, where)
    listed = [conf]
    if "plugins" in conf:
        listed = _validated(_List, conf, where).plugins
    plugins: list[Plugin] = []
    found: list[Network] = []
    for number, each in enumerate(listed):
        place = f"{where}, plugins[{number}]" if "plugins" in conf else where
        keys = _validated(_Plugin, each, place)
        annotations = (keys.capabilities or {}).get(POD_ANNOTATIONS, False)
        plugins.append(
            Plugin(
                type=keys.type,
                ipam=keys.ipam.type if keys.ipam else "",
                # Of what the runtime passes to multus, annotations do not go further.
                gets_annotations=annotations and not delegated_by,
                conf={**each, "name": head.name, "cniVersion": head.version},
            )
        )
        for index, delegate in enumerate(keys.delegates or ()):
            # What multus calls may leave the name to it.
            named = {"name": head.name, **delegate}
            found += _networks(
                named, f"{place}, delegates[{index}]", delegated_by=delegated_by or head.name
            )
    own = Network(name=head.name, plugins=tuple(plugins), delegated_by=delegated_by)
    return (own, *found)


def cached(file: str, raw: bytes) -> Cached:
    """
    Read a file of libcni's cache.

    Args:
        file: Its name without directory, which must be that of the attachment in it.

    Raises:
        InvalidRequestError: It is none, so nobody can say which attachment it stands for.
    """
    found = _validated(_Cached, _object(file, raw), file)
    name = f"{found.network}-{found.container}-{found.interface}"
    if name != file:
        raise InvalidRequestError(f"{file} is about the attachment of another file, {name}")
    interfaces = (found.result.interfaces if found.result else None) or []
    return Cached(
        network=found.network,
        container=found.container,
        interface=found.interface,
        through_multus=_is_multus(found.config or ""),
        sandbox=next((each.sandbox for each in interfaces if each.sandbox), ""),
    )


def _is_multus(config: str) -> bool:
    try:
        conf = json.loads(base64.b64decode(config, validate=True) or b"{}")
        plugins = conf.get("plugins") or [conf]
        return any(str(plugin.get("type")).startswith(_MULTUS) for plugin in plugins)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False  # nothing that a multus would have left


def _object(file: str, raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except RecursionError:
        raise InvalidRequestError(f"{file} is nested too deeply") from None
    except ValueError as error:
        why = "it is empty" if not raw.strip() else f"{error}"
        raise InvalidRequestError(f"{file} is not JSON: {why}") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{file} is not a JSON object")
    return value


def _validated(model: type[_M], value: object, where: str) -> _M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = ".".join(str(step) for step in first["loc"])
    why = "is missing" if first["type"] == "missing" else f"is wrong: it {reason(first)}"
    raise InvalidRequestError(f"{where}: {path} {why}") from None
