"""
Annotations of a pod and its namespace, understood or refused. Pure.

Rules:

1. `cni.projectcalico.org/` ipv4pools, ipv6pools and ipFamilies may stand on the pod or its
   namespace; the pod's value counts. The other annotations are the pod's only.
2. An empty value is no value.
3. Annotations of ours may be JSON objects, for pods with several networks: keys are
   `<network>` and `<network>/<interface>`, of which the more specific one counts. Without a key
   that fits, the annotation is not set for this attachment.
4. What cannot be honoured is refused, or named in `Wishes.warnings`; nothing is passed over.

Source: Calico cni-plugin/pkg/k8s/k8s.go for the names and values of its annotations.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypeVar

from poolmgr.cidr import IPAddress
from poolmgr.core.request import AddressRange, Attachment, Sticky
from poolmgr.errors import InvalidRequestError
from poolmgr.kube.values import (
    addresses_of,
    candidates_of,
    families_of,
    identity_of,
    loads,
    pools_of,
    retention_of,
    shown,
)

CALICO, OURS = "cni.projectcalico.org/", "ipam.poolmgr.io/"
IP_ADDRS, NO_IPAM = f"{CALICO}ipAddrs", f"{CALICO}ipAddrsNoIpam"
POOLS = {4: f"{CALICO}ipv4pools", 6: f"{CALICO}ipv6pools"}
FAMILIES = f"{CALICO}ipFamilies"
ADDRESSES, STICKY = f"{OURS}addresses", f"{OURS}sticky"
RETENTION = f"{OURS}sticky-retention"

_POD_ONLY = (IP_ADDRS, NO_IPAM, ADDRESSES, STICKY, RETENTION)
_CALICOS = (IP_ADDRS, NO_IPAM, FAMILIES, *POOLS.values())
_OURS = (ADDRESSES, STICKY, RETENTION)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """
    What an administrator has to allow.

    Attributes:
        ip_addrs_no_ipam: Pods may take addresses past IPAM.
    """

    ip_addrs_no_ipam: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """
    What annotations ask for.

    Attributes:
        families: Families to assign; None = nothing is said.
        pools: Family -> names and CIDRs of the pools to use; () = all that match.
        addresses: The very addresses to assign, at most one of a family.
        among: Family -> the only addresses to assign from, best first.
        without_ipam: Addresses that the pod takes past IPAM.
        sticky: The owner who keeps the addresses; None = nobody.
        because: The annotations behind all that, for messages.
        warnings: What was found and has no effect.
    """

    families: tuple[int, ...] | None = None
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    addresses: tuple[IPAddress, ...] = ()
    among: Mapping[int, tuple[AddressRange, ...]] = field(default_factory=dict)
    without_ipam: tuple[IPAddress, ...] = ()
    sticky: Sticky | None = None
    because: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def wishes(
    pod: Mapping[str, str],
    namespace: Mapping[str, str],
    *,
    attachment: Attachment,
    pod_name: str,
    pod_namespace: str,
    gates: Gates,
) -> Wishes:
    """
    Understand annotations.

    Args:
        pod, namespace: All annotations of each; {} = none, or nobody knows them.
        attachment: The interface in question.
        pod_name, pod_namespace: "" = not known.

    Raises:
        InvalidRequestError: One says what nobody can do; the message names it and its value.
    """
    reader = _Reader(pod, namespace, attachment)
    reader.refuse_unknown()
    families = reader.either(FAMILIES, families_of)
    pools = {
        family: entries
        for family, name in POOLS.items()
        if (entries := reader.either(name, pools_of(family))) is not None
    }
    found = Wishes(
        families=families,
        pools=pools,
        addresses=reader.plain(IP_ADDRS, addresses_of) or (),
        among=reader.ours(ADDRESSES, candidates_of) or {},
        without_ipam=reader.plain(NO_IPAM, addresses_of) or (),
        sticky=_sticky(reader, pod_name, pod_namespace),
    )
    _check_together(reader, found, gates)
    return replace(
        found,
        because=tuple(reader.because.values()),
        warnings=tuple(_warnings(reader, found, pod, namespace)),
    )


def past_ipam(pod: Mapping[str, str], gates: Gates) -> tuple[IPAddress, ...]:
    """Return what addresses a pod that got its addresses has past IPAM."""
    text = pod.get(NO_IPAM, "")
    if not text or not gates.ip_addrs_no_ipam:
        return ()
    try:
        return addresses_of(loads(text))
    except ValueError:  # it would have got none
        return ()


class _Reader:
    """Reads annotations, and remembers which of them said something."""

    def __init__(
        self, pod: Mapping[str, str], namespace: Mapping[str, str], attachment: Attachment
    ) -> None:
        self._pod, self._namespace = pod, namespace
        self.interface, network = attachment.interface, attachment.network
        self._keys = f"{network}/{self.interface}", network
        self.because: dict[str, str] = {}

    def refuse_unknown(self) -> None:
        """Refuse a misspelt annotation of ours: its owner counts on it."""
        for name in self._pod:
            if name.startswith(OURS) and name not in _OURS:
                _refuse(name, self._pod[name], f"it is not known; known are {', '.join(_OURS)}")

    def is_set(self, name: str) -> bool:
        """Tell whether the pod has the annotation, whomever it is for."""
        return bool(self._pod.get(name))

    def says(self, name: str) -> bool:
        """Tell whether an annotation said something about the attachment."""
        return name in self.because

    def refuse(self, name: str, why: str) -> NoReturn:
        """Refuse the pod's annotation `name`."""
        _refuse(name, self._pod[name], why)

    def plain(self, name: str, read: Callable[[object], _T]) -> _T | None:
        """Read a pod's annotation that is JSON."""
        text = self._pod.get(name, "")
        return self._read(name, text, lambda: read(loads(text))) if text else None

    def either(self, name: str, read: Callable[[object], _T]) -> _T | None:
        """Read an annotation that is JSON, of the pod, else of the namespace."""
        text = self._pod.get(name, "") or self._namespace.get(name, "")
        return self._read(name, text, lambda: read(loads(text))) if text else None

    def ours(self, name: str, read: Callable[[object], _T]) -> _T | None:
        """Read a pod's annotation of ours: text, JSON, or a JSON object with it."""
        text = self._pod.get(name, "")
        if not text:
            return None
        found = self._read(name, text, lambda: self._mine(text), silent=True)
        if found is None or found == "":
            return None
        return self._read(name, text, lambda: read(found))

    def _mine(self, text: str) -> object:
        if not text.lstrip().startswith("{"):
            return text
        value = loads(text)
        assert isinstance(value, dict), "it begins with a brace"
        for key in value:
            network, slash, interface = key.partition("/")
            if not network or (slash and not interface) or "/" in interface:
                raise ValueError(
                    f"its key {shown(key)} is neither a network nor network/interface"
                )
        return next((value[key] for key in self._keys if key in value), None)

    def _read(
        self, name: str, text: str, read: Callable[[], _T], *, silent: bool = False
    ) -> _T:
        try:
            value = read()
        except ValueError as error:
            _refuse(name, text, str(error))
        if not silent:
            self.because[name] = f"annotation {name} = {shown(text)}"
        return value


def _refuse(name: str, text: str, why: str) -> NoReturn:
    raise InvalidRequestError(f"annotation {name} = {shown(text)}: {why}", field=name)


def _check_together(reader: _Reader, found: Wishes, gates: Gates) -> None:
    """Refuse annotations that contradict each other, or what nobody allowed."""
    if found.without_ipam and not gates.ip_addrs_no_ipam:
        reader.refuse(
            NO_IPAM,
            "the network configuration does not allow it; an administrator can, with "
            '"feature_control": {"ip_addrs_no_ipam": true}',
        )
    naming = [
        name
        for name, said in (
            (IP_ADDRS, found.addresses),
            (NO_IPAM, found.without_ipam),
            (ADDRESSES, found.among),
        )
        if said
    ]
    if len(naming) > 1:
        reader.refuse(naming[0], f"{naming[1]} is set, too; remove one of them")
    if found.sticky is not None and naming and naming[0] != ADDRESSES:
        reader.refuse(STICKY, f"{naming[0]} names the address already; remove one of them")
    for family in found.among:
        if found.families is not None and family not in found.families:
            reader.refuse(
                ADDRESSES, f"it names IPv{family} addresses, and {FAMILIES} has no IPv{family}"
            )


def _warnings(
    reader: _Reader, found: Wishes, pod: Mapping[str, str], namespace: Mapping[str, str]
) -> Iterator[str]:
    for name in sorted(namespace):
        if name in _POD_ONLY or name.startswith(OURS):
            yield f"annotation {name} of the namespace has no effect: it is for pods"
    if found.sticky is None and reader.says(RETENTION):
        yield (
            f"annotation {RETENTION} has no effect on {reader.interface}: {STICKY} does not "
            "keep its address"
        )
    names = [name for name in sorted({*pod, *namespace}) if _is_unknown(name)]
    if names:
        yield f"annotation {', '.join(names)} has no effect: this plugin knows no such thing"


def _is_unknown(name: str) -> bool:
    """Tell whether Calico, or who misspelt an annotation, means addresses by it."""
    word = name.removeprefix(CALICO).lower()
    about = word.startswith("ip") or word == "floatingips"
    return name.startswith(CALICO) and about and name not in _CALICOS


def _sticky(reader: _Reader, pod_name: str, pod_namespace: str) -> Sticky | None:
    identity = reader.ours(STICKY, identity_of)
    retention_s = reader.ours(RETENTION, retention_of)
    if reader.is_set(RETENTION) and not reader.is_set(STICKY):
        reader.refuse(RETENTION, f"nothing is kept without {STICKY}")
    if identity in (None, "false"):
        return None
    if not pod_name or not pod_namespace:
        reader.refuse(STICKY, "the runtime does not say which pod this is (K8S_POD_NAME)")
    assert identity is not None
    sticky = Sticky(namespace=pod_namespace, identity=identity, numbered=True, holder=pod_name)
    if identity == "true":
        own = _own_identity(pod_name, reader.interface)
        sticky = replace(sticky, identity=own, numbered=False)
    return sticky if retention_s is None else replace(sticky, retention_s=retention_s[0])


def _own_identity(pod_name: str, interface: str) -> str:
    """Name a pod's interface as nobody can name an identity that pods share: that has no @."""
    return f"{pod_name}@{interface}"
