"""
The planner: what to read next, or what to write and what to answer.

Theory: `plan` is a pure function. It reads no clock (`now_ns`), rolls no dice (`epoch_seed`,
walks seeded by the host
name) and does no IO. Requests of a batch are planned one after another on the same draft, so
`plan(batch)` equals planning them one by one. What makes the plan wrong, should it change, is
named in the transaction: see `Draft`.

Rules:

1. `Fetch` is returned only when the *first* request needs it; it then asks for what the whole
   batch needs. Otherwise the requests before the one in need are planned, and it waits in
   `rest`.
2. A refusal is an outcome. It changes nothing, and the other requests of the batch are planned
   as if it had not been.
3. A request that is planned in parts leaves its remainder at the head of `rest`.
4. A transaction has at most `MAX_OPERATIONS` in each list and `MAX_BYTES` of values, unless it
   serves one request. One that etcd could not take is refused.
5. Planning is idempotent for requests with an attachment: after its own commit the same request
   writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import assert_never

from poolmgr.core import records
from poolmgr.core.assign import plan_auto_assign
from poolmgr.core.assign_ip import plan_assign_ip
from poolmgr.core.draft import POOLS, Draft, Missing
from poolmgr.core.held import held_by
from poolmgr.core.link import LinkPolicy
from poolmgr.core.release import (
    plan_release_by_handle,
    plan_release_ips,
    plan_release_pool_affinities,
)
from poolmgr.core.request import (
    AssignIP,
    AutoAssign,
    Held,
    HeldBy,
    Outcome,
    Refused,
    ReleaseByHandle,
    ReleaseIPs,
    ReleasePoolAffinities,
    Request,
)
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Fetch, Txn
from poolmgr.errors import PoolmgrError, RefusedError

MAX_OPERATIONS = 120
"""Below etcd's limit, --max-txn-ops in server/embed/config.go; the rest is headroom."""

LIMIT_OPERATIONS = 128
MAX_BYTES = 1024 * 1024
LIMIT_BYTES = 1536 * 1024
"""etcd's --max-request-bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    One transaction, and what it means once committed.

    Attributes:
        txn: None = nothing needs to be confirmed.
        outcomes: One per request that is finished, in order.
        rest: A suffix of the batch that was not taken yet.
    """

    txn: Txn | None
    outcomes: tuple[Outcome, ...]
    rest: tuple[Request, ...] = ()


def plan(
    requests: Sequence[Request], snapshot: Snapshot, now_ns: int, epoch_seed: bytes
) -> Plan | Fetch:
    """
    Decide.

    Args:
        requests: At least one.
        snapshot: What is known.
        now_ns: The time, nanoseconds since 1970.
        epoch_seed: Value for the epoch key, should this be the first write ever.

    Returns:
        What must be known first, or a plan.
    """
    draft, txn = Draft(snapshot, now_ns), None
    outcomes: list[Outcome] = []
    for at, request in enumerate(requests):
        later = Plan(txn=txn, outcomes=tuple(outcomes), rest=tuple(requests[at:]))
        fork = draft.fork()
        try:
            answer = _plan_one(fork, request)
        except Missing as missing:
            return _cut(missing.fetch, requests, draft) if at == 0 else later
        except PoolmgrError as error:
            outcomes.append(Refused(error=error))
            continue
        after = fork.txn(epoch_seed)
        if after is not None and not _fits(after):
            if at > 0:
                return later
            if after.size_bytes() > LIMIT_BYTES or after.operations() > LIMIT_OPERATIONS:
                outcomes.append(Refused(error=_too_big(after)))
                continue
        draft, txn = fork, after
        if isinstance(answer, Request):
            rest = (answer, *requests[at + 1 :])
            return Plan(txn=txn, outcomes=tuple(outcomes), rest=rest)
        outcomes.append(answer)
    return Plan(txn=txn, outcomes=tuple(outcomes))


def _plan_one(draft: Draft, request: Request) -> Outcome | Request:
    match request:
        case AutoAssign():
            return plan_auto_assign(draft, request)
        case AssignIP():
            return plan_assign_ip(draft, request)
        case ReleaseByHandle():
            return plan_release_by_handle(draft, request)
        case ReleaseIPs():
            return plan_release_ips(draft, request)
        case ReleasePoolAffinities():
            return plan_release_pool_affinities(draft, request)
        case HeldBy():
            return _plan_held_by(draft, request)
        case _:
            assert_never(request)


def _plan_held_by(draft: Draft, request: HeldBy) -> Held:
    draft.need(records.CONFIG_KEY, ranges=(POOLS,))
    # On a fork, because a question needs no transaction: what was read is the answer.
    allocations = held_by(
        draft.fork(), request.handle, request.attachment, LinkPolicy(), strict=False
    )
    return Held(allocations=allocations)


def _cut(first: Fetch, requests: Sequence[Request], draft: Draft) -> Fetch:
    """Add what the later requests of the batch need by now, as far as one read takes it."""
    wanted = first
    for request in islice(requests, 1, MAX_OPERATIONS):
        if len(wanted) >= MAX_OPERATIONS:
            break
        try:
            _plan_one(draft.fork(), request)
        except Missing as missing:
            wanted |= missing.fetch
        except PoolmgrError:
            continue  # judged when its turn comes, on the facts of then
    if len(wanted) <= MAX_OPERATIONS:
        return wanted
    ranges = sorted(first.ranges, key=lambda r: r.start)[:MAX_OPERATIONS]
    keys = [*sorted(first.keys), *sorted(wanted.keys - first.keys)]
    more = sorted(wanted.ranges - first.ranges, key=lambda r: r.start)
    room = MAX_OPERATIONS - len(ranges)
    return Fetch(
        keys=frozenset(keys[:room]),
        ranges=frozenset([*ranges, *more[: max(0, room - len(keys))]]),
    )


def _fits(txn: Txn) -> bool:
    return txn.operations() <= MAX_OPERATIONS and txn.size_bytes() <= MAX_BYTES


def _too_big(txn: Txn) -> RefusedError:
    return RefusedError(
        f"the request needs a transaction of {txn.size_bytes()} bytes and {txn.operations()} "
        f"operations; etcd takes {LIMIT_BYTES} and {LIMIT_OPERATIONS}; "
        "use pools with a longer blockSize, whose blocks are smaller"
    )
