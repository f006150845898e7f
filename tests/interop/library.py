"""Recorded calls of libcalico's IPAM interface, made on our library."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from poolmgr.core.block import HostReserved
from poolmgr.core.request import (
    AssignIP,
    AutoAssign,
    HeldBy,
    OwnerOf,
    Release,
    ReleaseByHandle,
    ReleaseIPs,
    SetOwner,
    Use,
)
from poolmgr.core.usage import Usage
from poolmgr.errors import BlockLimitError, PoolmgrError
from poolmgr.ipam import IPAM
from poolmgr.store.port import Store
from poolmgr.survey import utilization
from tests.interop.recording import Answer

Args = Mapping[str, Any]


def call(step: Mapping[str, Any], store: Store, clock: Callable[[], int]) -> Answer:
    """Make the call; the answer has no changes yet."""
    op, args = step["op"], step["args"]
    try:
        if op == "utilization":
            return Answer(ok=True, result=_counts(store, args))
        return CALLS[op](IPAM(store, clock=clock), args)
    except (PoolmgrError, _UnknownUseError):
        return Answer(ok=False)


class _UnknownUseError(Exception):
    """Our requests have no room for a use that is not one."""


def _use(text: str) -> Use:
    try:
        return Use(text)
    except ValueError:
        raise _UnknownUseError from None


def _auto(args: Args) -> AutoAssign:
    families = {4: args.get("num4", 0), 6: args.get("num6", 0)}
    reserved = {}
    if "host_reserved" in args:
        first, last = args["host_reserved"]
        reserved[4] = HostReserved(
            first=first, last=last, handle=args["reserved_handle"], note=args["reserved_note"]
        )
    return AutoAssign(
        host=args["host"],
        handle=args.get("handle"),
        count={family: count for family, count in families.items() if count},
        pools={4: tuple(args["pools4"])} if "pools4" in args else {},
        attributes=args.get("attrs", {}),
        namespace_labels=args.get("namespace_labels"),
        use=_use(args["use"]),
        max_blocks=args.get("max_blocks", 0),
        max_per_handle=args.get("cap", 0),
        reserved=reserved,
    )


def _auto_assign(ipam: IPAM, args: Args) -> Answer:
    """Assign; of what can be short, only a limit of blocks is an error of libcalico's."""
    answer = ipam.auto_assign(_auto(args))
    limited = any(isinstance(why, BlockLimitError) for why in answer.shortfall.values())
    addresses = (f"{each.address}/{each.link.prefix_length}" for each in answer.allocations)
    return Answer(ok=not limited, addresses=tuple(addresses))


def _assign(ipam: IPAM, args: Args) -> Answer:
    request = AssignIP(
        addresses=(ipaddress.ip_address(args["ip"]),),
        host=args["host"],
        handle=args["handle"],
        use=_use(args["use"]) if args["use"] else None,
        max_per_handle=args.get("cap", 0),
    )
    ipam.assign_ip(request)
    return Answer(ok=True)


def _release(ipam: IPAM, args: Args) -> Answer:
    releases = tuple(
        Release(
            address=ipaddress.ip_address(each["address"]),
            handle=each.get("handle"),
            sequence_number=each.get("sequence"),
        )
        for each in args["ips"]
    )
    answer = ipam.release_ips(ReleaseIPs(releases=releases))
    return Answer(
        ok=not answer.errors,
        result={
            "released": sorted(map(str, answer.released)),
            "unallocated": sorted(map(str, answer.unallocated)),
        },
    )


def _release_handle(ipam: IPAM, args: Args) -> Answer:
    ipam.release_by_handle(ReleaseByHandle(handles=(args["handle"],)))
    return Answer(ok=True)


def _by_handle(ipam: IPAM, args: Args) -> Answer:
    held = ipam.held_by(HeldBy(handle=args["handle"])).allocations
    return Answer(ok=True, result=[str(each.address) for each in held])


def _attributes(ipam: IPAM, args: Args) -> Answer:
    owner = ipam.owner_of(OwnerOf(address=ipaddress.ip_address(args["ip"])))
    stored = {
        "handle_id": owner.handle,
        "secondary": dict(owner.attributes),
        "alternateOwnerAttrs": dict(owner.alternate),
    }
    return Answer(ok=True, result={name: value for name, value in stored.items() if value})


def _set_owner(ipam: IPAM, args: Args) -> Answer:
    request = SetOwner(
        address=ipaddress.ip_address(args["ip"]),
        handle=args["handle"],
        active={} if args.get("clear_active") else args.get("attrs"),
        alternate={} if args.get("clear_alternate") else args.get("alternate"),
    )
    ipam.set_owner(request)
    return Answer(ok=True)


def _counts(store: Store, args: Args) -> list[dict[str, Any]]:
    """Count as libcalico's answer does, its pseudo pool of orphans left out."""
    pools = utilization(store, pools=args.get("pools", ())).counts.pools
    return [
        {"Name": pool.name}
        | _usage(pool.cidr, pool.usage)
        | {"Blocks": [_usage(block.cidr, block.usage) for block in pool.blocks]}
        for pool in pools
    ]


def _usage(cidr: object, usage: Usage) -> dict[str, Any]:
    names = {
        "total": "Capacity",
        "in_use": "InUse",
        "reserved": "Reserved",
        "free": "Available",
    }
    counts = {names[name]: count for name, count in asdict(usage).items()}
    return {"CIDR": str(cidr)} | counts


CALLS: Mapping[str, Callable[[IPAM, Args], Answer]] = {
    "auto": _auto_assign,
    "assign": _assign,
    "release": _release,
    "release_handle": _release_handle,
    "by_handle": _by_handle,
    "attributes": _attributes,
    "owner": _set_owner,
}
