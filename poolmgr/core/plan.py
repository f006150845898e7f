"""
The planner: what to read next, or what to write and what to answer.

Theory: `plan` is pure. Time (`now_ns`) and chance (`epoch_seed`) are arguments, walks are
seeded by the host name, reading is left to the caller. The requests of a batch take turns on
one draft, so `plan(batch)` equals planning them singly. What makes the plan wrong, should it
change, is named in the transaction: see `Draft`.

Rules:

1. A request that lacks facts ends the plan. At the head of the batch the answer is a `Fetch` of
   what the whole batch lacks; further back the request stays in `rest`, and the plan is that of
   those ahead of it.
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
from poolmgr.core.affinities import plan_claim_affinities, plan_release_affinities
from poolmgr.core.assign import plan_auto_assign
from poolmgr.core.assign_ip import plan_assign_ip
from poolmgr.core.configure import plan_get_config, plan_set_config
from poolmgr.core.draft import POOLS, Draft, Missing
from poolmgr.core.ensure import plan_ensure_block
from poolmgr.core.garbage import plan_collect_garbage
from poolmgr.core.held import held_by
from poolmgr.core.link import LinkPolicy
from poolmgr.core.outcome import Held, Outcome, Refused
from poolmgr.core.owners import plan_collect, plan_owner_of, plan_set_owner
from poolmgr.core.release import plan_release_by_handle, plan_release_ips
from poolmgr.core.request import (
    AssignIP,
    AutoAssign,
    ChangeConfig,
    ClaimAffinities,
    CollectCold,
    CollectGarbage,
    EnsureBlock,
    GetConfig,
    HeldBy,
    OwnerOf,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
    Request,
    SetConfig,
    SetOwner,
)
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.sticky import holds
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
    draft = Draft(snapshot, now_ns)
    outcomes: list[Outcome] = []
    rest: tuple[Request, ...] = ()
    for at, request in enumerate(requests):
        try:
            taken = _take(draft, request, epoch_seed, first=at == 0)
        except Missing as missing:
            return _cut(missing.fetch, requests, draft)
        if taken is None:
            rest = tuple(requests[at:])
            break
        draft, answer = taken
        if isinstance(answer, Request):
            rest = (answer, *requests[at + 1 :])
            break
        outcomes.append(answer)
    return Plan(txn=draft.txn(epoch_seed), outcomes=tuple(outcomes), rest=rest)


def _take(
    draft: Draft, request: Request, epoch_seed: bytes, *, first: bool
) -> tuple[Draft, Outcome | Request] | None:
    """
    Plan one request on top of a draft.

    Returns:
        The draft with the request's changes, and its answer or the rest of it. None = it must
        wait.

    Raises:
        Missing: The first request of a batch must know more.
    """
    if not first and isinstance(request, (ReleaseAffinities, CollectGarbage)):
        return None  # they go by lists that do not have what the batch has just written
    fork = draft.fork()
    try:
        answer = _plan_one(fork, request)
    except Missing:
        if first:
            raise
        return None
    except PoolmgrError as error:
        return draft, Refused(error=error)
    if _fits(fork, epoch_seed):
        return fork, answer
    if not first:
        return None
    too_big = _too_big(fork.txn(epoch_seed))
    return (fork, answer) if too_big is None else (draft, Refused(error=too_big))


def _plan_one(draft: Draft, request: Request) -> Outcome | Request:
    match request:
        case AutoAssign():
            return plan_auto_assign(draft, request)
        case AssignIP():
            return plan_assign_ip(draft, request)
        case EnsureBlock():
            return plan_ensure_block(draft, request)
        case ClaimAffinities():
            return plan_claim_affinities(draft, request)
        case HeldBy() | OwnerOf() | GetConfig():
            return _answer(draft, request)
        case _:
            return _change(draft, request)


def _change(
    draft: Draft,
    request: ReleaseByHandle
    | ReleaseIPs
    | ReleaseAffinities
    | CollectGarbage
    | CollectCold
    | SetOwner
    | SetConfig
    | ChangeConfig,
) -> Outcome | Request:
    match request:
        case ReleaseByHandle():
            return plan_release_by_handle(draft, request)
        case ReleaseIPs():
            return plan_release_ips(draft, request)
        case ReleaseAffinities():
            return plan_release_affinities(draft, request)
        case CollectGarbage():
            return plan_collect_garbage(draft, request)
        case _:
            return _rewrite(draft, request)


def _rewrite(
    draft: Draft, request: CollectCold | SetOwner | SetConfig | ChangeConfig
) -> Outcome:
    match request:
        case CollectCold():
            return plan_collect(draft, request)
        case SetOwner():
            return plan_set_owner(draft, request)
        case SetConfig() | ChangeConfig():
            return plan_set_config(draft, request)
        case _:
            assert_never(request)


def _answer(draft: Draft, request: HeldBy | OwnerOf | GetConfig) -> Outcome:
    match request:
        case HeldBy():
            return _plan_held_by(draft, request)
        case OwnerOf():
            return plan_owner_of(draft, request)
        case GetConfig():
            return plan_get_config(draft)
        case _:
            assert_never(request)


def _plan_held_by(draft: Draft, request: HeldBy) -> Held:
    # On a fork, because a question needs no transaction: what was read is the answer.
    look, at = draft.fork(), request.attachment
    own = () if at is None else (records.attachment_key(at),)
    look.need(records.CONFIG_KEY, *own, ranges=(POOLS,))
    found = held_by(look, request.handle, at, LinkPolicy(), strict=False)
    if at is not None:
        found += holds(look, at, LinkPolicy(), strict=False)
    return Held(allocations=found)


def _cut(first: Fetch, requests: Sequence[Request], draft: Draft) -> Fetch:
    """
    Add what the later requests of the batch need by now, as far as one read takes it.

    Requests of one kind and host mostly need the same: once one of them adds nothing, the rest
    are not asked.
    """
    wanted, asked = first, set()
    for request in islice(requests, 1, MAX_OPERATIONS):
        kind = (type(request), getattr(request, "host", None))
        if len(wanted) >= MAX_OPERATIONS:
            break
        if kind in asked:
            continue
        try:
            _plan_one(draft.fork(), request)
        except Missing as missing:
            before, wanted = len(wanted), wanted | missing.fetch
            if len(wanted) == before:
                asked.add(kind)
        except PoolmgrError:
            continue  # judged when its turn comes, on the facts of then
    if len(wanted) <= MAX_OPERATIONS:
        return wanted
    ranges = sorted(first.ranges, key=lambda r: r.start)[:MAX_OPERATIONS]
    keys = [*sorted(first.keys), *sorted(wanted.keys - first.keys)]
    more = sorted(wanted.ranges - first.ranges, key=lambda r: r.start)
    room = MAX_OPERATIONS - len(ranges)
    return Fetch(
        full=first.full,
        keys=frozenset(keys[:room]),
        ranges=frozenset([*ranges, *more[: max(0, room - len(keys))]]),
    )


def _fits(draft: Draft, epoch_seed: bytes) -> bool:
    if draft.operations() > MAX_OPERATIONS:
        return False
    if draft.at_most_bytes() <= MAX_BYTES:
        return True
    txn = draft.txn(epoch_seed)
    return txn is None or txn.size_bytes() <= MAX_BYTES


def _too_big(txn: Txn | None) -> RefusedError | None:
    """Say that etcd could not take a transaction; None = it could."""
    if txn is None or (
        txn.size_bytes() <= LIMIT_BYTES and txn.operations() <= LIMIT_OPERATIONS
    ):
        return None
    return RefusedError(
        f"the request needs a transaction of {txn.size_bytes()} bytes and {txn.operations()} "
        f"operations; etcd takes {LIMIT_BYTES} and {LIMIT_OPERATIONS}; "
        "use pools with a longer blockSize, whose blocks are smaller"
    )
