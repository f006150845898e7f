"""
IPPool: a range of addresses, the size of its blocks, and whom it serves.

Source: Calico api/pkg/apis/projectcalico/v3/ippool.go; defaults and verdicts as recorded
from calicoctl.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from poolmgr.api.meta import AsTuple, Model, Resource, Text, Texts
from poolmgr.api.violations import Violation, one_of, shown
from poolmgr.cidr import IPNetwork, parse_network
from poolmgr.errors import InvalidRequestError, RefusedError
from poolmgr.selector import parse

DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
BLOCK_SIZES = {4: range(20, 33), 6: range(116, 129)}
TUNNEL_MODES = ("Never", "Always", "CrossSubnet")
USES = ("Workload", "Tunnel", "LoadBalancer")
ASSIGNMENT_MODES = ("Automatic", "Manual")
PRIORITY = "ipam.poolmgr.io/priority"
_LINK_LOCAL = {4: ipaddress.ip_network("169.254.0.0/16"), 6: ipaddress.ip_network("fe80::/10")}
_MAX_SELECTOR_LENGTH = 1024
_MAX_USES = 10
_INTEGER = re.compile("-?[0-9]{1,9}")  # few enough for every program that may read it


def parse_cidr(text: str, *, strict: bool = True) -> IPNetwork:
    """
    Parse a network; an IPv4-mapped one counts as IPv4.

    Args:
        strict: Refuse host bits; otherwise they are dropped.

    Raises:
        ValueError: `text` is no network.
    """
    address, _, length = text.partition("/")
    mapped = ipaddress.IPv6Address(address).ipv4_mapped if ":" in address else None
    if mapped and length.isascii() and length.isdigit() and int(length) >= 96:
        text = f"{mapped}/{int(length) - 96}"
    return parse_network(text, strict=strict)


def _network(value: object, info: ValidationInfo) -> object:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    if not isinstance(value, str | int | float):
        raise ValueError(f"{shown(value)} must be text of the form address/length")  # noqa: TRY004 - for pydantic
    text = str(value)
    try:
        found = parse_cidr(text, strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a network of the form address/length") from None
    if info.context:
        return found
    try:
        return parse_cidr(text)
    except ValueError:
        raise ValueError(f"{shown(text)} has host bits set; the network is {found}") from None


def _or(default: object) -> BeforeValidator:
    """Let an empty value mean the default, as Calico does."""
    return BeforeValidator(lambda value: default if value in ("", [], ()) else value)


class Condition(Model):
    """One condition of a status; a pool with `Allocatable` = "False" is not allocated from."""

    type: Text = ""
    status: Text = ""


class IPPoolStatus(Model):
    """What a controller says about a pool; unused in etcd mode, but honoured."""

    conditions: Annotated[tuple[Condition, ...], AsTuple] = ()


class IPPoolSpec(Model):
    """
    What a pool is.

    Attributes:
        cidr: Its addresses; the canonical text is stored.
        block_size: Prefix length of its blocks.
        node_selector: Which nodes it serves.
        namespace_selector: Which namespaces it serves; "" = all.
        allowed_uses: Some of Workload, Tunnel, LoadBalancer.
        assignment_mode: Automatic, or Manual = only for requests that name the pool.
    """

    cidr: Annotated[IPNetwork, BeforeValidator(_network)]
    vxlan_mode: Annotated[Text, _or("Never")] = "Never"
    ipip_mode: Annotated[Text, _or("Never")] = "Never"
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = False
    block_size: int = Field(default=0, validate_default=True)
    node_selector: Annotated[Text, _or("all()")] = "all()"
    namespace_selector: Text = ""
    allowed_uses: Annotated[Texts, _or(("Workload", "Tunnel"))] = ("Workload", "Tunnel")
    assignment_mode: Text = "Automatic"

    @field_validator("block_size", mode="after")
    @classmethod
    def _default_block_size(cls, value: int, info: ValidationInfo) -> int:
        if value or "cidr" not in info.data:
            return value
        return DEFAULT_BLOCK_SIZE[info.data["cidr"].version]


class IPPool(Resource):
    """A pool of addresses."""

    kind: ClassVar[str] = "IPPool"
    plural: ClassVar[str] = "ippools"
    aliases: ClassVar[tuple[str, ...]] = ("ipp", "ipps", "pool", "pools")

    spec: IPPoolSpec
    status: IPPoolStatus | None = None

    def violations(self) -> Iterator[Violation]:
        """Check sizes, tunnels, selectors, uses and the priority."""
        yield from _size_violations(self.spec)
        yield from _tunnel_violations(self.spec)
        yield from _selector_violations(self.spec)
        yield from _use_violations(self.spec)
        try:
            priority(self.metadata.annotations)
        except ValueError as error:
            yield f"metadata.annotations.{PRIORITY}", str(error)


def priority(annotations: Mapping[str, str]) -> int:
    """
    Read a pool's priority: pools with a higher one are used first; without any it is 0.

    Raises:
        ValueError: It is no integer; the message says so.
    """
    text = annotations.get(PRIORITY, "0")
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a whole number such as 10 or -5")
    return int(text)


def check_overlap(pool: IPPool, others: Iterable[IPPool]) -> None:
    """
    Check that no other pool shares an address with `pool`; one of the same name does not count.

    Raises:
        RefusedError: Some do; all are named.
    """
    clashes = [
        f"{other.metadata.name} ({other.spec.cidr})"
        for other in others
        if other.metadata.name != pool.metadata.name
        and other.spec.cidr.overlaps(pool.spec.cidr)
    ]
    if clashes:
        raise RefusedError(
            f"spec.cidr: {pool.spec.cidr} overlaps with pool {', '.join(clashes)}"
        )


def check_update(old: IPPool, new: IPPool) -> None:
    """
    Check that an update leaves alone what allocations depend on.

    Raises:
        RefusedError: It changes the network, the block size, or a load balancer pool's use.
    """
    fixed = "is fixed when the pool is created"
    if new.spec.cidr != old.spec.cidr:
        raise RefusedError(
            f"spec.cidr: {new.spec.cidr} differs from {old.spec.cidr}, which {fixed}"
        )
    if new.spec.block_size != old.spec.block_size:
        was = old.spec.block_size
        raise RefusedError(
            f"spec.blockSize: {new.spec.block_size} differs from {was}, which {fixed}"
        )
    if "LoadBalancer" in old.spec.allowed_uses and {"Workload", "Tunnel"} & {
        *new.spec.allowed_uses
    }:
        uses = shown(new.spec.allowed_uses)
        raise RefusedError(
            f"spec.allowedUses: {uses}: a LoadBalancer pool cannot serve Workload or Tunnel"
        )


def _size_violations(spec: IPPoolSpec) -> Iterator[Violation]:
    allowed = BLOCK_SIZES[spec.cidr.version]
    if spec.block_size not in allowed:
        limits = f"{allowed[0]} to {allowed[-1]} for IPv{spec.cidr.version} pools"
        yield "spec.blockSize", f"{spec.block_size} is not allowed: {limits}"
    elif not spec.disabled and spec.cidr.prefixlen > spec.block_size:
        why = f"smaller than one block (/{spec.block_size}), as only a disabled pool may be"
        yield "spec.cidr", f"{spec.cidr} is {why}"
    link_local = _LINK_LOCAL[spec.cidr.version]
    if spec.cidr.overlaps(link_local):
        yield "spec.cidr", f"{spec.cidr} overlaps with the link-local range {link_local}"


def _tunnel_violations(spec: IPPoolSpec) -> Iterator[Violation]:
    ipip, vxlan = spec.ipip_mode, spec.vxlan_mode
    yield from one_of("spec.vxlanMode", vxlan, TUNNEL_MODES)
    yield from one_of("spec.ipipMode", ipip, TUNNEL_MODES)
    if ipip != "Never" != vxlan:
        yield "spec.ipipMode", f"{shown(ipip)} is not allowed: vxlanMode is {shown(vxlan)}"
    if spec.cidr.version == 6 and ipip != "Never":
        yield "spec.ipipMode", f"{shown(ipip)} is not allowed: IPv6 pools take Never"


def _selector_violations(spec: IPPoolSpec) -> Iterator[Violation]:
    selectors = (
        ("spec.nodeSelector", spec.node_selector),
        ("spec.namespaceSelector", spec.namespace_selector),
    )
    for path, selector in selectors:
        if len(selector) > _MAX_SELECTOR_LENGTH:
            yield (
                path,
                f"{len(selector):,} characters are too many: at most {_MAX_SELECTOR_LENGTH:,}",
            )
            continue
        if "global(" in selector:
            yield path, f"{shown(selector)} is not allowed: pools take no global()"
        try:
            parse(selector)
        except InvalidRequestError as error:
            yield path, f"{shown(selector)}: {error}"


def _use_violations(spec: IPPoolSpec) -> Iterator[Violation]:
    uses = spec.allowed_uses
    for index, use in enumerate(uses):
        yield from one_of(f"spec.allowedUses[{index}]", use, USES)
    if len(uses) > _MAX_USES:
        yield "spec.allowedUses", f"{len(uses)} entries are too many: at most {_MAX_USES}"
    yield from one_of("spec.assignmentMode", spec.assignment_mode, ASSIGNMENT_MODES)
    if "Tunnel" in uses and spec.namespace_selector:
        why = "not allowed while allowedUses has Tunnel; list Workload alone"
        yield "spec.namespaceSelector", f"{shown(spec.namespace_selector)} is {why}"
    if "LoadBalancer" in uses:
        yield from _load_balancer_violations(spec)


def _load_balancer_violations(spec: IPPoolSpec) -> Iterator[Violation]:
    if {"Workload", "Tunnel"} & {*spec.allowed_uses}:
        why = "LoadBalancer cannot be combined with other uses"
        yield "spec.allowedUses", f"{shown(spec.allowed_uses)} is not allowed: {why}"
    for path, mode in (
        ("spec.ipipMode", spec.ipip_mode),
        ("spec.vxlanMode", spec.vxlan_mode),
    ):
        if mode != "Never":
            yield path, f"{shown(mode)} is not allowed: a LoadBalancer pool takes Never"
    if spec.disable_bgp_export:
        yield "spec.disableBGPExport", "true is not allowed for a LoadBalancer pool"
    if spec.node_selector != "all()":
        yield (
            "spec.nodeSelector",
            f"{shown(spec.node_selector)} is not allowed: a LoadBalancer pool takes all()",
        )
