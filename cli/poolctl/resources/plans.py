"""
What a change of a resource would write, or why the present state does not allow it.

Rules:

1. Nothing is written here, so that a command can plan all its changes before it makes any.
2. New pools must not overlap with stored ones, nor with each other, nor with blocks of another
   size.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from poolctl.config import Session
from poolctl.report import REFUSED, complain, warn
from poolctl.resources.state import State, Target
from poolmgr.api import (
    BlockAffinity,
    ClusterInformation,
    IPAMConfiguration,
    IPPool,
    Resource,
)
from poolmgr.api.ippool import BLOCK_SIZES, check_overlap, check_update
from poolmgr.api.meta import new_uid, timestamp
from poolmgr.cidr import IPNetwork, network
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH, LinkError, LinkPolicy, MainPlugin, resolve
from poolmgr.core.records import block_key, block_of_key, blocks_within
from poolmgr.core.txn import Fetch
from poolmgr.errors import RefusedError
from poolmgr.store.port import pages

CREATED, CONFIGURED, UNCHANGED, EXISTS = "created", "configured", "unchanged", "already exists"

_READ_ONLY: dict[type[Resource], str] = {
    BlockAffinity: "blocks come to nodes and leave them with their addresses",
    ClusterInformation: "it is made with the first resource",
}
"""Kinds that nobody writes, and how they come about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    A change that the present state allows.

    Attributes:
        verb: A word for what it does.
        after: What is stored afterwards; None = nothing needs to be written.
        revision: Of what it takes the place of; 0 = it must not exist.
        absent: Keys that must not come to be before.
    """

    target: Target
    verb: str
    after: Resource | None = None
    revision: int = 0
    absent: frozenset[str] = frozenset()

    @property
    def compares(self) -> int:
        """How many compares it takes."""
        return 1 + len(self.absent)

    @property
    def new_pool(self) -> IPPool | None:
        """The pool that it creates."""
        after = self.after
        return after if isinstance(after, IPPool) and self.verb == CREATED else None


class Planner:
    """Plans changes on one state; each method raises RefusedError where it forbids one."""

    def __init__(self, session: Session, state: State) -> None:
        self._session, self._state = session, state
        self._new_pools: list[IPPool] = []

    def create(self, resource: Resource, *, skip_exists: bool = False) -> Change:
        """Store a resource that does not exist."""
        target, stored = self._look(resource)
        if stored is None:
            return self._created(target, resource)
        if skip_exists:
            return Change(target=target, verb=EXISTS)
        raise RefusedError(EXISTS)

    def apply(self, resource: Resource) -> Change:
        """Store a resource, new or in place of the stored one."""
        target, stored = self._look(resource)
        if stored is None and target.resource_version:
            raise RefusedError(
                "metadata.resourceVersion: it does not exist any more; remove "
                "metadata.resourceVersion to create it"
            )
        if stored is None:
            return self._created(target, resource)
        return self._updated(target, stored, resource)

    def replace(self, resource: Resource) -> Change:
        """Store a resource in place of the stored one."""
        target, stored = self._look(resource)
        if stored is None:
            raise RefusedError("does not exist")
        return self._updated(target, stored, resource)

    def edit(self, target: Target, edit: Callable[[Resource], Resource]) -> Change:
        """Store what `edit` makes of the stored resource: a manifest, or the same resource."""
        check_writable(target.kind)
        stored = self._state.stored(target)
        if stored is None:
            raise RefusedError("does not exist")
        return self._updated(target, stored, edit(stored))

    def put(self, target: Target, stored: Resource, after: Resource) -> Change:
        """Store `after` in place of `stored`, of which it keeps all that it must."""
        if after.to_stored() == stored.to_stored():
            return Change(target=target, verb=UNCHANGED)
        revision = self._state.revision_of(target)
        return Change(target=target, verb=CONFIGURED, after=after, revision=revision)

    def _look(self, resource: Resource) -> tuple[Target, Resource | None]:
        check_writable(type(resource))
        target = Target.of(resource)
        return target, self._state.stored(target)

    def _created(self, target: Target, resource: Resource) -> Change:
        _warn_of_no_effect(resource)
        after = resource.created(uid=new_uid(), now=timestamp(time.time_ns()))
        change = Change(target=target, verb=CREATED, after=after)
        if not isinstance(resource, IPPool):
            return change
        check_overlap(resource, [*self._state.all_pools(), *self._new_pools])
        self._check_blocks(resource)
        check_annotations(resource)
        self._new_pools.append(resource)
        # A block of a pool that was here before may still be written, by an ADD under way.
        # (Of one inside the new pool etcd could only say that something near it has changed.)
        return replace(change, absent=_keys_around(resource.spec.cidr))

    def _updated(self, target: Target, stored: Resource, resource: Resource) -> Change:
        check_version(self._state, target, resource.metadata.resource_version)
        if isinstance(resource, IPPool) and isinstance(stored, IPPool):
            check_update(stored, resource)
            check_annotations(resource)
        _warn_of_no_effect(resource)
        return self.put(target, stored, stored.updated(resource))

    def _check_blocks(self, pool: IPPool) -> None:
        """Refuse a pool whose space holds blocks of another size; they outlive their pool."""
        cidr, size = pool.spec.cidr, pool.spec.block_size
        for block in self._blocks_near(cidr):
            if block.prefixlen != size and block.overlaps(cidr):
                raise RefusedError(
                    f"spec.blockSize: {size} does not fit block {block}, which exists; "
                    f"take {block.prefixlen}, or release the block's addresses first"
                )

    def _blocks_near(self, cidr: IPNetwork) -> Iterator[IPNetwork]:
        """Find the blocks that contain `cidr`, and those inside it, perhaps among others."""
        around, timeout_s = _keys_around(cidr), self._session.left_s
        fetch = Fetch(keys=around)
        if around:
            reading = self._session.store.read(fetch, timeout_s=timeout_s)
            keys = [key for key, found in reading.found.items() if found]
            yield from filter(None, map(block_of_key, keys))
        within = pages(
            self._session.store, blocks_within(cidr), page_size=5000, timeout_s=timeout_s
        )
        for page in within:
            yield from filter(None, (block_of_key(key) for key, _ in page.items))


def _keys_around(cidr: IPNetwork) -> frozenset[str]:
    """Return the keys of the blocks that would contain `cidr`."""
    shorter = (size for size in BLOCK_SIZES[cidr.version] if size < cidr.prefixlen)
    return frozenset(block_key(network(cidr.network_address, size)) for size in shorter)


def validated(resources: Sequence[Resource]) -> int:
    """Check resources by themselves, and say what is wrong; return the exit status."""
    status, pools = 0, list[IPPool]()
    for each in resources:
        try:
            check_writable(type(each))
            if isinstance(each, IPPool):
                check_overlap(each, pools)
                check_annotations(each)
                pools.append(each)
            _warn_of_no_effect(each)
        except RefusedError as error:
            complain(f"{each.ref}: {error}")
            status = REFUSED
    return status


def check_writable(kind: type[Resource]) -> None:
    """
    Check that people may write resources of a kind.

    Raises:
        RefusedError: They may not.
    """
    if kind in _READ_ONLY:
        raise RefusedError(f"can only be read; {_READ_ONLY[kind]}")


def check_version(state: State, target: Target, wanted: str) -> None:
    """
    Check that a target still has the version that somebody looked at; "" = any will do.

    Raises:
        RefusedError: It has another one.
    """
    revision = state.revision_of(target)
    if wanted and int(wanted) != revision:
        raise RefusedError(
            f"metadata.resourceVersion: {wanted} is not the stored version, {revision}"
        )


def check_annotations(pool: IPPool) -> None:
    """
    Check the annotations about prefix and gateway; say how calico-ipam can respect them.

    Raises:
        RefusedError: They do not fit the pool, which then would serve nobody.
    """
    annotations = pool.metadata.annotations
    try:
        link = resolve(pool.spec.cidr, annotations, LinkPolicy(main=MainPlugin.FLAT))
    except LinkError as error:
        raise RefusedError(f"metadata.annotations: {error}") from error
    if annotations.keys() & {PREFIX_LENGTH, GATEWAY} and (kept := link.withheld.cidrs()):
        reserved = ", ".join(kept)
        warn(
            f"ippool/{pool.metadata.name}: calico-ipam does not know these annotations; if it "
            "uses the pool, keep it away from the gateway and the ends of the prefix by an "
            f"IPReservation with reservedCIDRs [{reserved}]"
        )


def _warn_of_no_effect(resource: Resource) -> None:
    if isinstance(resource, IPAMConfiguration):
        warn(
            f"{resource.ref} is stored, but with etcd as datastore it has no effect; "
            "use poolctl ipam configure"
        )
