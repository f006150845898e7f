"""
What an interface shall get: what the runtime asks for, annotations and configuration.

Pure. The order in which they count is README's: runtimeConfig.ips, CNI_ARGS, args.cni.ips, the
pod's annotations, the namespace's, the network configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from poolmgr.cni.netconf import Call
from poolmgr.core.link import MainPlugin
from poolmgr.errors import InvalidRequestError
from poolmgr.kube.annotations import (
    ADDRESSES,
    FAMILIES,
    IP_ADDRS,
    NO_IPAM,
    POOLS,
    STICKY,
    Wishes,
    wishes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """
    What is known of a pod.

    Attributes:
        annotations: The pod's.
        namespace_annotations: Its namespace's.
        namespace_labels: None = nobody knows them.
    """

    annotations: Mapping[str, str] = field(default_factory=dict)
    namespace_annotations: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] | None = None


def settle(call: Call, pod: PodView | None = None) -> Call:
    """
    Return the call with the annotations' wishes in it.

    Args:
        call: An ADD.
        pod: None = what the runtime passes is all that is known.

    Raises:
        InvalidRequestError: An annotation is wrong, or contradicts the call.
    """
    assert call.attachment is not None, "it is an ADD"
    pod = pod or PodView(annotations=call.annotations or {})
    found = wishes(
        pod.annotations,
        pod.namespace_annotations,
        attachment=call.attachment,
        pod_name=call.args.pod,
        pod_namespace=call.args.namespace,
        gates=call.gates,
    )
    if call.addresses:
        _check_alone(call, found)
    if found.without_ipam and call.link.main in (MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY):
        raise InvalidRequestError(
            f"annotation {NO_IPAM}: {call.link.main} needs an address with a gateway of its "
            f"pool, and these have none; use {IP_ADDRS}, or another main plugin",
            field=NO_IPAM,
        )
    families = call.families if found.families is None else found.families
    families = tuple(sorted({*families, *found.among}))
    pools = {**call.pools, **found.pools}
    idle = _idle(call, found, families)
    return replace(
        call,
        families=families,
        pools={family: names for family, names in pools.items() if names},
        addresses=call.addresses or found.addresses,
        among=found.among,
        without_ipam=found.without_ipam,
        sticky=found.sticky,
        namespace_labels=pod.namespace_labels,
        because=tuple(text for text in found.because if text.split(" ")[1] not in idle),
        warnings=(*found.warnings, *idle.values()),
    )


def _check_alone(call: Call, found: Wishes) -> None:
    """Refuse annotations that want other addresses than the runtime names, or to keep them."""
    for name, said in (
        (IP_ADDRS, found.addresses),
        (ADDRESSES, found.among),
        (NO_IPAM, found.without_ipam),
        (STICKY, found.sticky),
    ):
        if said:
            texts = ", ".join(str(address) for address in call.addresses)
            whole = next((text for text in found.because if f" {name} = " in text), name)
            raise InvalidRequestError(
                f"{whole}: the runtime asks for {texts} already, and both cannot be; remove "
                "the annotation, or do not name addresses",
                field=name,
            )


def _idle(call: Call, found: Wishes, families: tuple[int, ...]) -> dict[str, str]:
    """Return annotations that other wishes put out of action: name -> a warning."""
    named = {each.version for each in call.addresses or found.addresses or found.without_ipam}
    said = {}
    if named and found.families is not None and named != set(found.families):
        said[FAMILIES] = f"annotation {FAMILIES} has no effect: addresses are named"
    for family, name in POOLS.items():
        why = ""
        if named:
            why = "addresses are named"
        elif family in found.among:
            why = f"{ADDRESSES} names candidates"
        elif family not in families:
            why = f"no IPv{family} address is wanted"
        if why and found.pools.get(family):
            said[name] = f"annotation {name} has no effect: {why}"
    return said
