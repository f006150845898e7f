"""`poolctl ipam split`: parts in place of a pool, in one transaction."""

import secrets
import time
from dataclasses import dataclass

from poolctl.config import Session
from poolctl.report import REFUSED, remark, say
from poolctl.terminal import confirmed
from poolmgr.api import IPPool
from poolmgr.api.meta import new_uid, timestamp
from poolmgr.cidr import IPNetwork
from poolmgr.copies.marker import BEING_WRITTEN, HOW_TO_END
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.records import decode_resource, resource_key, resource_range
from poolmgr.core.split import Keep, is_link_kept, split
from poolmgr.core.txn import EPOCH_KEY, Conflict, Fetch, Reading, Txn
from poolmgr.errors import CorruptStateError, RefusedError
from poolmgr.store.port import MAX_REQUEST_BYTES
from poolmgr.survey import networks_within

_POOLS = resource_range(IPPool.plural)
_REST_BYTES = 64 * 1024
"""What a request has besides keys and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """
    What is asked for.

    Attributes:
        number: Of parts.
        pool: Name of the pool, or its CIDR.
        keep: What the parts shall name of the pool's prefix and gateway.
        yes: Pods may get another prefix or gateway than their neighbours have.
        dry_run: Only tell what would be done.
    """

    number: int
    pool: str | IPNetwork
    keep: Keep
    yes: bool
    dry_run: bool


def split_pool(session: Session, wish: Wish) -> int:
    """
    Put parts in place of a pool; blocks and addresses stay as they are.

    Returns:
        The exit status.

    Raises:
        RefusedError: It cannot be split so; nothing was written.
        click.UsageError: Nobody can be asked.
        PoolmgrError: Any other of the library's.
    """
    fetch = Fetch(keys=frozenset({EPOCH_KEY}), ranges=frozenset({_POOLS}))
    reading = session.store.read(fetch, timeout_s=session.left_s)
    pool = _found(reading, wish.pool)
    try:
        parts = split(pool, wish.number, wish.keep)
        txn = _transaction(reading, pool, parts)
    except RefusedError as error:
        raise RefusedError(f"{pool.ref}: {error}") from error
    if not _agreed(session, wish, pool, parts[0]):
        say(f"{pool.ref} kept")
        return REFUSED
    if not wish.dry_run:
        _commit(session, txn)
    dry = " (dry run)" if wish.dry_run else ""
    state = ", disabled as it was" if pool.spec.disabled else ""
    say(f"{pool.ref} split into {len(parts)} parts{state}{dry}")
    for part in parts:
        say(f"{part.ref} created, {part.spec.cidr}{dry}")
    remark(
        f"Network configurations and annotations that name {pool.metadata.name} or "
        f"{pool.spec.cidr} do not find it any more: let them name the parts."
    )
    return 0


def _found(reading: Reading, wanted: str | IPNetwork) -> IPPool:
    broken: list[CorruptStateError] = []
    for key, stored in reading.ranges[_POOLS].items:
        try:
            pool = decode_resource(IPPool, key, stored.value, stored.mod_revision)
        except CorruptStateError as error:
            broken.append(error)
            continue
        if wanted in (pool.metadata.name, pool.spec.cidr):
            return pool
    if broken:  # perhaps it is one of them
        raise broken[0]
    raise RefusedError(f"there is no pool {wanted}")


def _transaction(reading: Reading, pool: IPPool, parts: tuple[IPPool, ...]) -> Txn:
    names = {each.rpartition("/")[2] for each, _ in reading.ranges[_POOLS].items}
    if taken := sorted(names & {part.metadata.name for part in parts}):
        raise RefusedError(f"a part would be called {taken[0]}, as a pool is that exists")
    old = resource_key(IPPool.plural, pool.metadata.name)
    epoch, now = reading.found[EPOCH_KEY], timestamp(time.time_ns())
    puts = {
        resource_key(IPPool.plural, part.metadata.name): part.created(uid=new_uid(), now=now)
        .model_copy(update={"status": part.status})
        .to_stored()
        for part in parts
    }
    if epoch is None:
        puts[EPOCH_KEY] = secrets.token_hex(16).encode()
    txn = Txn(
        # Whoever changed or deleted the pool since we looked shall not be overwritten, and no
        # pool may come while a copy of the datastore is written.
        expect={old: int(pool.metadata.resource_version), MARKER_KEY: 0},
        # A pool that is new since then may overlap a part, or have its name.
        unchanged={_POOLS: reading.revision},
        epoch=epoch.value if epoch else None,
        puts=puts,
        deletes=frozenset({old}),
    )
    if txn.size_bytes() > MAX_REQUEST_BYTES - _REST_BYTES:
        raise RefusedError(
            f"{len(parts)} parts have {txn.size_bytes():,} bytes with its annotations, more "
            "than etcd takes at once; ask for fewer parts, and then split these"
        )
    return txn


def _agreed(session: Session, wish: Wish, pool: IPPool, part: IPPool) -> bool:
    """Ask, if there are pods whose neighbours may get another prefix or gateway."""
    if is_link_kept(part) or wish.yes or wish.dry_run:
        return True
    networks = networks_within(session.store, pool.spec.cidr, timeout_s=session.scan_s)
    if not networks:
        return True
    named = ", ".join(sorted(networks)[:3]) + (" and others" if len(networks) > 3 else "")
    remark(
        f"Pods of network {named} have addresses in {pool.spec.cidr}. If its main plugin is "
        "ptp, or bridge as gateway, new pods would get the prefix of a part, and its first "
        "address as gateway: give --keep-gateway. If it is macvlan, ipvlan or another bridge, "
        "they would get the prefix of a part: give --keep-prefix. For others nothing changes."
    )
    return confirmed(f"Split {pool.ref} all the same", yes=False)


def _commit(session: Session, txn: Txn) -> None:
    result = session.store.commit(txn, timeout_s=session.left_s)
    if isinstance(result, Conflict) and result.current.found[MARKER_KEY]:
        raise RefusedError(f"{BEING_WRITTEN}; nothing was written; {HOW_TO_END}")
    if isinstance(result, Conflict):
        raise RefusedError(
            "somebody else changed a pool at the same time; nothing was written, look and "
            "try again"
        )
