"""ADD, DEL, CHECK and STATUS: a `Call` becomes a request, its answer a CNI result."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from poolmgr.cni.netconf import Call
from poolmgr.cni.result import Json, success
from poolmgr.core.outcome import Allocation
from poolmgr.core.request import AssignIP, Attachment, AutoAssign, HeldBy, ReleaseByHandle
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import CheckFailedError

if TYPE_CHECKING:  # a bad configuration is refused before these are imported
    from poolmgr.ipam import IPAM
    from poolmgr.store.port import Store

TIMEOUT_S = 10.0
STATUS_TIMEOUT_S = 2.0


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
    attachment = _attachment(call)
    attributes = _attributes(call, node, time.time_ns() if now_ns is None else now_ns)
    allocations: tuple[Allocation, ...] = ()
    if call.args.address is not None:
        named = AssignIP(
            addresses=(call.args.address,),
            host=node,
            handle=attachment.handle,
            attributes=attributes,
            attachment=attachment,
            link=call.link,
        )
        allocations = ipam.assign_ip(named, timeout_s=timeout_s, alive=alive).allocations
    elif call.families:
        automatic = AutoAssign(
            host=node,
            handle=attachment.handle,
            count=dict.fromkeys(call.families, 1),
            pools=call.pools,
            attributes=attributes,
            attachment=attachment,
            link=call.link,
        )
        allocations = ipam.auto_assign(automatic, timeout_s=timeout_s, alive=alive).allocations
    return success(call.version, allocations)


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

    Raises:
        CheckFailedError: It does not.
        PoolmgrError: Another one of the library's.
    """
    attachment = _attachment(call)
    request = HeldBy(handle=attachment.handle, attachment=attachment)
    allocations = ipam.held_by(request, timeout_s=timeout_s).allocations
    held = {each.address for each in allocations}
    asked = {call.args.address.version} if call.args.address else set(call.families)
    for family in sorted(asked | {address.version for address in held}):
        mine = sorted(str(address) for address in held if address.version == family)
        if not mine:
            raise CheckFailedError(f"{attachment} holds no IPv{family} address")
        if call.previous is not None and held.isdisjoint(
            each for each in call.previous if each.version == family
        ):
            recorded = sorted(str(each) for each in call.previous if each.version == family)
            raise CheckFailedError(
                f"{attachment} holds {', '.join(mine)}, "
                f"and prevResult has {', '.join(recorded) or f'no IPv{family} address'}"
            )


def status(store: "Store", *, timeout_s: float = STATUS_TIMEOUT_S) -> None:
    """
    Find out whether an ADD could be served: the store answers.

    Raises:
        StoreError: It does not.
    """
    store.read(Fetch(keys=frozenset({EPOCH_KEY})), timeout_s=timeout_s)


def _attachment(call: Call) -> Attachment:
    assert call.attachment is not None, "only STATUS has none"
    return call.attachment


def _attributes(call: Call, node: str, now_ns: int) -> dict[str, str]:
    """Return what is stored beside the address: Calico's keys, and the attachment's parts."""
    attachment = _attachment(call)
    attributes = {"node": node, "timestamp": _timestamp(now_ns)}
    if call.args.pod and call.args.namespace:
        attributes |= {"pod": call.args.pod, "namespace": call.args.namespace}
    return attributes | {"network": attachment.network, "interface": attachment.interface}


def _timestamp(now_ns: int) -> str:
    """Write a time as Go prints it, which is how calico-ipam stores it."""
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"
