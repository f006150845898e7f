"""
What a runtime reads: CNI results of every version, and CNI errors.

Error codes 0 to 99 belong to the CNI specification, 100 and above to this plugin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from poolmgr.core.link import Route
from poolmgr.core.outcome import Allocation
from poolmgr.errors import (
    AddressInUseError,
    AddressReservedError,
    AttachmentDeletedError,
    BlockLimitError,
    CheckFailedError,
    CommitUnknownError,
    CompactedError,
    ContentionError,
    CorruptStateError,
    InvalidRequestError,
    KubernetesError,
    NoMatchingPoolError,
    OwnerChangedError,
    PoolExhaustedError,
    PoolmgrError,
    StaleReleaseError,
    StoreRefusedError,
    StoreUnavailableError,
    StrictAffinityError,
)

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
LATEST = VERSIONS[-1]
_MESSAGE_LIMIT = 4096

Json = dict[str, object]


class Code(IntEnum):
    """CNI error codes that are not tied to one class of error."""

    INCOMPATIBLE_VERSION = 1
    ENVIRONMENT = 4
    IO_FAILURE = 5
    NOT_DECODABLE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    UNAVAILABLE = 50
    INTERNAL = 999


class CallError(InvalidRequestError):
    """
    The call itself is wrong: its environment, its text, its version or its configuration.

    Attributes:
        code: The CNI error code that says which.
        details: Facts that would crowd the message.
    """

    def __init__(self, code: Code, message: str, *, details: str = "", field: str = "") -> None:
        super().__init__(message, field=field)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class _Row:
    """A CNI error code, and what to do, where the error's own message does not say it."""

    code: int
    advice: str = ""


_AGAIN = "nothing was written, and trying again is safe"
ERRORS: Mapping[type[PoolmgrError], _Row] = {
    InvalidRequestError: _Row(Code.INVALID_CONFIG),
    NoMatchingPoolError: _Row(
        100, "create, enable or select an IPPool for it (poolctl get ippools)"
    ),
    PoolExhaustedError: _Row(101, "add an IPPool or free addresses (poolctl ipam show)"),
    BlockLimitError: _Row(102),
    AddressInUseError: _Row(103, "ask for another address, or delete its owner first"),
    AddressReservedError: _Row(104, "ask for another address"),
    StrictAffinityError: _Row(
        105, "ask for an address of this node's blocks, or allow borrowing"
    ),
    StaleReleaseError: _Row(106, "look at its present owner (poolctl ipam show --ip)"),
    OwnerChangedError: _Row(106, "look at its present owner (poolctl ipam show --ip)"),
    CheckFailedError: _Row(107, "delete the attachment and add it again"),
    CorruptStateError: _Row(110, "nothing was written; repair or remove that key by hand"),
    AttachmentDeletedError: _Row(Code.TRY_AGAIN, "add it again if it is still wanted"),
    KubernetesError: _Row(Code.TRY_AGAIN, "nothing was assigned, and trying again is safe"),
    StoreUnavailableError: _Row(
        Code.TRY_AGAIN, f"{_AGAIN} once etcd answers at the configured endpoints"
    ),
    StoreRefusedError: _Row(
        Code.IO_FAILURE, "nothing was written; etcd needs an administrator"
    ),
    CommitUnknownError: _Row(
        Code.TRY_AGAIN, "the write may have happened, and trying again is safe"
    ),
    ContentionError: _Row(Code.TRY_AGAIN, "trying again is safe"),
    CompactedError: _Row(Code.TRY_AGAIN, _AGAIN),
}


def version_text() -> str:
    """Answer VERSION. The CNI executable carries the same text."""
    return json.dumps(
        {"cniVersion": LATEST, "supportedVersions": VERSIONS}, separators=(",", ":")
    )


def success(version: str, allocations: Sequence[Allocation]) -> Json:
    """
    Make the result of an ADD in the form of `version`, one of VERSIONS.

    There are no interfaces in it: these are the main plugin's.
    """
    result: Json = {"cniVersion": version}
    if version in {"0.1.0", "0.2.0"}:
        for each in allocations:
            result[f"ip{each.address.version}"] = _ip4_or_ip6(each)
    else:
        numbered = not version.startswith("1.")
        if allocations:
            result["ips"] = [_ip(each, numbered=numbered) for each in allocations]
        if routes := [_route(route) for each in allocations for route in each.link.routes]:
            result["routes"] = routes
    if dns := _dns(allocations):
        result["dns"] = dns
    return result


def with_prefix(allocation: Allocation) -> str:
    """Write an address as the main plugin configures it."""
    length = allocation.link.prefix_length
    return f"{allocation.address}/{allocation.block.prefixlen if length is None else length}"


def _ip(allocation: Allocation, *, numbered: bool) -> Json:
    ip: Json = {"version": str(allocation.address.version)} if numbered else {}
    ip["address"] = with_prefix(allocation)
    if allocation.link.gateway is not None:
        ip["gateway"] = str(allocation.link.gateway)
    return ip


def _ip4_or_ip6(allocation: Allocation) -> Json:
    ip: Json = {"ip": with_prefix(allocation)}
    if allocation.link.gateway is not None:
        ip["gateway"] = str(allocation.link.gateway)
    if allocation.link.routes:
        ip["routes"] = [_route(route) for route in allocation.link.routes]
    return ip


def _route(route: Route) -> Json:
    return {"dst": route.dst} if route.gw is None else {"dst": route.dst, "gw": route.gw}


def _dns(allocations: Sequence[Allocation]) -> Json:
    """Join what the pools say: lists without repetition; of words the first counts."""
    joined: Json = {}
    for each in allocations:
        for key, value in (each.link.dns or {}).items():
            known = joined.setdefault(key, value)
            if (
                isinstance(known, Sequence)
                and isinstance(value, Sequence)
                and not isinstance(value, str)
            ):
                joined[key] = list(dict.fromkeys([*known, *value]))
    return joined


def failure(version: str, error: Exception, *, status: bool = False) -> Json:
    """
    Make the CNI error for `error`, in the form of `version`.

    With `status` the call is STATUS, which has a code of its own for "no ADD can be served".
    """
    details = ""
    if isinstance(error, CallError):
        code, message, details = int(error.code), str(error), error.details
    elif isinstance(error, PoolmgrError):
        row = next(ERRORS[each] for each in type(error).__mro__ if each in ERRORS)
        serves = isinstance(error, InvalidRequestError) or not status
        code = row.code if serves else Code.UNAVAILABLE
        message = ": ".join([*getattr(error, "__notes__", ()), str(error)])
        # An error that names a command of ours has said already what to do.
        message += f"; {row.advice}" if row.advice and "poolctl" not in message else ""
    else:
        code = Code.INTERNAL
        message = f"internal error, please report it: {type(error).__name__}: {error}"
        details = _where(error)
    body: Json = {"cniVersion": version, "code": int(code), "msg": _capped(message)}
    if details:
        body["details"] = _capped(details)
    return body


def _where(error: Exception) -> str:
    """Name the place an unforeseen error comes from: the innermost file and line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""


def _capped(text: str) -> str:
    return text if len(text) <= _MESSAGE_LIMIT else text[:_MESSAGE_LIMIT] + " [cut]"
