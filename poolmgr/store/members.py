"""
What the members of an etcd cluster tell of themselves, and what is known of their versions.

Rules:

1. One member is asked, and no other: what it cannot answer by itself is not known.
2. Nothing is changed. Some answers want rights that a user of ours need not have.
"""

import re
import time
from dataclasses import dataclass

from poolmgr.core.txn import EPOCH_KEY
from poolmgr.errors import StoreError, StoreRefusedError
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.etcd3_compat import etcdrpc, unknown_fields
from poolmgr.store.port import ATTEMPT_TIMEOUT_S
from poolmgr.store.settings import Endpoint

DEFAULT_QUOTA = 2 * 1024**3
"""etcd's --quota-backend-bytes where nobody sets it, server/storage/quota.go."""

# Fields of StatusResponse that came after etcd3's release, api/etcdserverpb/rpc.proto.
_ERRORS, _SIZE_IN_USE, _IS_LEARNER, _QUOTA = 8, 9, 10, 12

_LOSES_DATA = ((3, 5, 0), (3, 5, 2))
_SAFE = {(3, 5): (3, 5, 33), (3, 6): (3, 6, 14), (3, 7): (3, 7, 1)}
"""
Line of releases -> the least without a known hole: GHSA-xg4h-6gfc-h4m8, CVE-2026-44283,
CVE-2026-33413, CVE-2026-33343. Lines that are older get no fixes any more.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """
    What a member tells of itself.

    Attributes:
        cluster: Identity of the cluster that it belongs to.
        leader: Identity of the leader as it sees it; 0 = there is none.
        size: Bytes of its database file.
        size_in_use: Of these; None = not told.
        quota: Bytes that the file may have; None = not told, as before etcd 3.6.
        alarms: Such as "NOSPACE"; None = not told.
        revision: Of the data.
        read_s: How long a read took that all members agree on; None = it failed.
        failure: Why it failed.
    """

    endpoint: str
    version: str
    cluster: int
    member: int
    leader: int
    is_learner: bool
    size: int
    size_in_use: int | None
    quota: int | None
    alarms: tuple[str, ...] | None
    revision: int
    read_s: float | None
    failure: str


def look(
    store: EtcdStore, endpoint: Endpoint, *, timeout_s: float = ATTEMPT_TIMEOUT_S
) -> MemberStatus:
    """
    Ask one member.

    Raises:
        StoreUnavailableError: It does not answer.
        StoreRefusedError: It does not want to.
    """
    asked = etcdrpc.StatusRequest()
    told = store.ask(endpoint, "Maintenance", "Status", asked, timeout_s=timeout_s)
    more = unknown_fields(told)
    errors = [text.decode("utf-8", "replace") for text in more.get(_ERRORS, ())]
    read_s, failure = _read(store, endpoint, timeout_s)
    return MemberStatus(
        endpoint=str(endpoint),
        version=told.version,
        cluster=told.header.cluster_id,
        member=told.header.member_id,
        leader=told.leader,
        is_learner=bool(more.get(_IS_LEARNER)),
        size=told.dbSize,
        size_in_use=_number(more, _SIZE_IN_USE),
        quota=_number(more, _QUOTA),
        alarms=_alarms(store, endpoint, errors, timeout_s),
        revision=told.header.revision,
        read_s=read_s,
        failure=failure,
    )


def _number(fields: dict[int, list[int]], number: int) -> int | None:
    return fields[number][-1] if fields.get(number) else None


def _read(store: EtcdStore, endpoint: Endpoint, timeout_s: float) -> tuple[float | None, str]:
    """Time a read of one key; being denied takes as long as being answered."""
    asked = etcdrpc.RangeRequest(key=EPOCH_KEY.encode(), count_only=True)
    started, failure = time.perf_counter(), ""
    try:
        store.ask(endpoint, "KV", "Range", asked, timeout_s=timeout_s)
    except StoreRefusedError as error:
        failure = str(error)
    except StoreError as error:
        return None, str(error)
    return time.perf_counter() - started, failure


def _alarms(
    store: EtcdStore, endpoint: Endpoint, errors: list[str], timeout_s: float
) -> tuple[str, ...] | None:
    """Return the alarms: asking for them may want a right, or a leader, that is not there."""
    names = [name for name, number in etcdrpc.AlarmType.items() if number]
    try:
        asked = etcdrpc.AlarmRequest()  # action 0: tell them
        answer = store.ask(endpoint, "Maintenance", "Alarm", asked, timeout_s=timeout_s)
    except StoreError:
        return tuple(name for name in names if any(name in error for error in errors)) or None
    return tuple(sorted({etcdrpc.AlarmType.Name(each.alarm) for each in answer.alarms}))


def loses_data(version: str) -> bool:
    """Tell whether a release of etcd is one that can lose or corrupt data after a crash."""
    first, last = _LOSES_DATA
    return first <= _parts(version) <= last


def update_for(version: str) -> str:
    """Say to which release an etcd must be updated to have all security fixes; "" = none."""
    parts = _parts(version)
    line = parts[:2]
    if line in _SAFE:
        safe = _SAFE[line]
        return "" if parts >= safe else ".".join(map(str, safe))
    return "" if line > max(_SAFE) else ".".join(map(str, _SAFE[max(_SAFE)]))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])
