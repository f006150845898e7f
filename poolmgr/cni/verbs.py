"""ADD, DEL, CHECK and GC: a `Call` becomes a request, its answer a CNI result."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from poolmgr.cidr import HOST_PREFIX, IPAddress, network, parse_network
from poolmgr.cni.netconf import Call
from poolmgr.cni.result import Json, success
from poolmgr.core.link import Link, LinkPolicy
from poolmgr.core.outcome import Allocation
from poolmgr.core.request import (
    AssignIP,
    Attachment,
    AutoAssign,
    CollectGarbage,
    HeldBy,
    ReleaseByHandle,
)
from poolmgr.errors import CheckFailedError, RefusedError

if TYPE_CHECKING:  # a bad configuration is refused before these are imported
    from poolmgr.ipam import IPAM

TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


def add(
    call: Call,
    node: str,
    ipam: "IPAM",
    *,
    now_ns: int | None = None,
    timeout_s: float = TIMEOUT_S,
    alive: Callable[[], bool] | None = None,
) -> Json:
    """
    Give the attachment the addresses it asks for, the same ones each time.

    Args:
        node: Name of the node that asks.
        now_ns: Time to record; None = now.
        timeout_s: How long to try.
        alive: Tells whether the runtime still waits; nothing is written once it does not.

    Raises:
        PoolmgrError: Any of the library's; `result.failure` makes the answer of it.
    """
    try:
        allocations = _allocations(
            _request(call, node, time.time_ns() if now_ns is None else now_ns),
            ipam,
            timeout_s=timeout_s,
            alive=alive,
        )
    except RefusedError as error:
        if call.because:
            error.add_note(", ".join(call.because))
        raise
    if warnings := (*call.warnings, *_kept_elsewhere(call, allocations)):
        _log.warning("%s", "; ".join(warnings))
    without = tuple(_past_ipam(address, call.link) for address in call.without_ipam)
    return success(call.version, without or allocations)


def _allocations(
    request: AssignIP | AutoAssign | None,
    ipam: "IPAM",
    *,
    timeout_s: float,
    alive: Callable[[], bool] | None,
) -> tuple[Allocation, ...]:
    if request is None:
        return ()
    if isinstance(request, AssignIP):
        return ipam.assign_ip(request, timeout_s=timeout_s, alive=alive).allocations
    return ipam.auto_assign(request, timeout_s=timeout_s, alive=alive).allocations


def _kept_elsewhere(call: Call, allocations: Iterable[Allocation]) -> Iterator[str]:
    """Name sticky addresses that are none of those which the call would choose from."""
    for each in allocations if call.sticky is not None else ():
        address, family = each.address, each.address.version
        among, pools = call.among.get(family, ()), call.pools.get(family, ())
        if among:
            inside = any(first <= address <= last for first, last in among)  # type: ignore[operator] # one family
        else:
            inside = not pools or any(
                each.pool == pool or ("/" in pool and address in parse_network(pool))
                for pool in pools
            )
        if not inside:
            yield (
                f"{address} is kept although it lies outside of the "
                f"{'addresses' if among else 'pools'} that are asked for; to give it up, "
                f"delete the pod and say poolctl ipam release --ip {address}"
            )


def _request(call: Call, node: str, now_ns: int) -> AssignIP | AutoAssign | None:
    """Return what is asked of the library; None = nothing."""
    attachment = _attachment(call)
    attributes = _attributes(call, node, now_ns)
    if call.without_ipam:
        return None
    if call.addresses:
        return AssignIP(
            addresses=call.addresses,
            host=node,
            handle=attachment.handle,
            attributes=attributes,
            attachment=attachment,
            link=call.link,
        )
    if not call.families:
        return None
    return AutoAssign(
        host=node,
        handle=attachment.handle,
        count=dict.fromkeys(call.families, 1),
        pools=call.pools,
        attributes=attributes,
        attachment=attachment,
        namespace_labels=call.namespace_labels,
        node_labels=call.node_labels,
        link=call.link,
        among=call.among,
        sticky=call.sticky,
    )


def _past_ipam(address: IPAddress, policy: LinkPolicy) -> Allocation:
    """Return what the result shall say of an address that nobody assigned."""
    length = HOST_PREFIX[address.version]
    routes = [
        route for route in policy.routes or () if (":" in route.dst) == (address.version == 6)
    ]
    return Allocation(
        address=address,
        block=network(address, length),
        pool="",
        link=Link(prefix_length=length, routes=tuple(routes), dns=policy.dns),
        sequence_number=0,
    )


def delete(call: Call, node: str, ipam: "IPAM", *, timeout_s: float = TIMEOUT_S) -> None:
    """
    Release what the attachment holds; holding nothing is fine.

    Releases of the handle ids that older versions of calico-ipam used are included.

    Raises:
        PoolmgrError: Any of the library's.
    """
    attachment = _attachment(call)
    args = call.args
    is_pod = args.pod and args.namespace
    legacy = f"{args.namespace}.{args.pod}" if is_pod else attachment.container
    request = ReleaseByHandle(
        handles=(attachment.handle, legacy), attachment=attachment, host=node
    )
    ipam.release_by_handle(request, timeout_s=timeout_s)


def check(call: Call, ipam: "IPAM", *, timeout_s: float = TIMEOUT_S) -> None:
    """
    Check that the attachment still holds what the runtime believes it has.

    Per family it must hold an address that `prevResult` has; there may be more of them in
    `prevResult`, from plugins further down the chain. Without `prevResult`, it must hold one.
    Annotations do not count, but for addresses past IPAM: they may have changed since the ADD.

    Raises:
        CheckFailedError: It does not.
        PoolmgrError: Another one of the library's.
    """
    attachment = _attachment(call)
    held = set(call.without_ipam)
    if not held:
        request = HeldBy(handle=attachment.handle, attachment=attachment)
        allocations = ipam.held_by(request, timeout_s=timeout_s).allocations
        held = {each.address for each in allocations}
    elsewhere = call.kubernetes is not None and call.annotations is None
    if not held and elsewhere and call.gates.ip_addrs_no_ipam and call.previous:
        return  # only the API knew whether these are past IPAM, and a CHECK does not ask
    named = [address.version for address in call.addresses or call.without_ipam]
    wanted = {*(named or call.families)}
    if held and call.previous is not None:
        # Annotations may have asked for other families, and may have changed since.
        wanted &= {address.version for address in call.previous}
    for family in sorted(wanted | {address.version for address in held}):
        _check_family(attachment, held, call.previous, family)


def _check_family(
    attachment: Attachment,
    held: Collection[IPAddress],
    previous: Collection[IPAddress] | None,
    family: int,
) -> None:
    mine = {address for address in held if address.version == family}
    if not mine:
        raise CheckFailedError(f"{attachment} holds no IPv{family} address")
    if previous is not None and mine.isdisjoint(previous):
        texts = sorted(str(address) for address in mine)
        recorded = sorted(str(each) for each in previous if each.version == family)
        raise CheckFailedError(
            f"{attachment} holds {', '.join(texts)}, "
            f"and prevResult has {', '.join(recorded) or f'no IPv{family} address'}"
        )


def collect(
    call: Call,
    node: str,
    ipam: "IPAM",
    *,
    now_ns: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """
    Release what attachments of this node and network hold that the runtime does not list.

    Args:
        now_ns: What was assigned later is left alone; None = now.

    Raises:
        PoolmgrError: Any of the library's; what was released until then stays released.
    """
    request = CollectGarbage(
        host=node,
        network=call.network,
        valid=call.valid,
        until=timestamp(time.time_ns() if now_ns is None else now_ns),
    )
    for error in ipam.collect_garbage(request, timeout_s=timeout_s).errors:
        raise error


def _attachment(call: Call) -> Attachment:
    assert call.attachment is not None, "only GC and STATUS have none"
    return call.attachment


def _attributes(call: Call, node: str, now_ns: int) -> dict[str, str]:
    """Return what is stored beside the address: Calico's keys, and the attachment's parts."""
    attachment = _attachment(call)
    attributes = {"node": node, "timestamp": timestamp(now_ns)}
    if call.args.pod and call.args.namespace:
        attributes |= {"pod": call.args.pod, "namespace": call.args.namespace}
    return attributes | {"network": attachment.network, "interface": attachment.interface}


def timestamp(now_ns: int) -> str:
    """Write a time as Go prints it, which is how calico-ipam stores it."""
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"
