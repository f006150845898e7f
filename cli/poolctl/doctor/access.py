"""
What this user may read and write in etcd.

Whether something may be written is asked by transactions that delete a key which does not
exist, if its revision is one that no key can have: etcd checks what the user may do, finds that
the revision is another, and does nothing. Deleting is permitted with writing, and works also
where etcd has no space.
"""

from collections.abc import Iterator

from poolctl.doctor.findings import Finding, ok, problem, warning
from poolmgr.core.records import CONFIG_KEY
from poolmgr.core.txn import Fetch, Range, Txn
from poolmgr.errors import StoreRefusedError
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store
from poolmgr.store.settings import Settings

RESOURCES = "/calico/resources/v3/projectcalico.org/"
ADDRESSES = tuple(f"/calico/ipam/v2/{part}/" for part in ("assignment", "handle", "host"))
OWN = "/poolmgr/v1/"

_NO_REVISION = 2**63 - 1
_ROLE = "grant it by etcdctl role grant-permission ROLE --prefix=true {} {}"


def user_of(settings: Settings) -> str:
    """Say whom etcd takes us for."""
    if settings.username:
        return f"user {settings.username}"
    return "whom the client certificate names" if settings.cert_file else "anybody"


def examine(store: Store, settings: Settings) -> Iterator[Finding]:
    """
    Find out what this user may do.

    Raises:
        StoreUnavailableError: etcd does not answer.
    """
    who = user_of(settings)
    unread = [
        each for each in (RESOURCES, *ADDRESSES, OWN, CONFIG_KEY) if _is_hidden(store, each)
    ]
    for prefix in unread:
        yield problem(
            "permissions", f"{who} may not read {prefix}", _ROLE.format("read", prefix)
        )
    denied = [prefix for prefix in (*ADDRESSES, OWN) if _is_read_only(store, prefix)]
    for prefix in denied:
        yield problem(
            "permissions",
            f"{who} may not write below {prefix}: no address can be assigned or released",
            _ROLE.format("readwrite", prefix),
        )
    if _is_read_only(store, RESOURCES):
        yield warning(
            "permissions",
            f"{who} may not write below {RESOURCES}: enough for nodes, not for poolctl apply",
            "use an administrator's user for that",
        )
    elif not denied and not unread:
        yield ok("permissions", f"{who} may read and write everything")


def _is_hidden(store: Store, prefix: str) -> bool:
    asked = Fetch(keys=frozenset({prefix}))
    if prefix.endswith("/"):
        asked = Fetch(ranges=frozenset({Range.prefix(prefix, limit=1, keys_only=True)}))
    try:
        store.read(asked, timeout_s=ATTEMPT_TIMEOUT_S)
    except StoreRefusedError:
        return True
    return False


def _is_read_only(store: Store, prefix: str) -> bool:
    key = f"{prefix}poolctl-doctor"
    txn = Txn(expect={key: _NO_REVISION}, deletes=frozenset({key}))
    try:
        store.commit(txn, timeout_s=ATTEMPT_TIMEOUT_S)
    except StoreRefusedError:
        return True
    return False
