"""
Changing resources: each change is one compare-and-swap transaction.

Rules:

1. A change compares the epoch and the revision of what it rewrites. A conflict is an error, not
   tried again: whoever asked should look at what changed.
2. A new pool compares the range of all pools, so that two created at the same time cannot
   overlap.
3. The first change makes the cluster's identity and the epoch in the same transaction.
4. A pool is deleted in steps: disabled, its blocks taken from their hosts, its key deleted.
   After each step the next run can go on.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from poolctl.config import Session
from poolctl.report import warn
from poolmgr.api import (
    BlockAffinity,
    ClusterInformation,
    IPAMConfiguration,
    IPPool,
    Node,
    Resource,
)
from poolmgr.api.clusterinformation import DEFAULT, new_cluster
from poolmgr.api.ippool import BLOCK_SIZES, check_overlap, check_update
from poolmgr.api.meta import new_uid, timestamp
from poolmgr.cidr import IPNetwork, network
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH, LinkError, LinkPolicy, MainPlugin, resolve
from poolmgr.core.records import (
    affinity_range,
    block_key,
    block_of_key,
    blocks_within,
    decode_resource,
    resource_key,
    resource_range,
)
from poolmgr.core.request import ReleaseAffinities
from poolmgr.core.txn import EPOCH_KEY, Committed, Fetch, KeyValue, Range, Reading, Txn
from poolmgr.errors import PoolmgrError, RefusedError
from poolmgr.ipam import IPAM
from poolmgr.store.port import pages

R = TypeVar("R", bound=Resource)

CREATED, CONFIGURED, UNCHANGED, DELETED = "created", "configured", "unchanged", "deleted"
_POOLS = resource_range(IPPool.plural)
_CLUSTER = resource_key(ClusterInformation.plural, DEFAULT)

_READ_ONLY: Mapping[type[Resource], str] = {
    BlockAffinity: "blocks come to nodes and leave them with their addresses",
    ClusterInformation: "it is made with the first resource",
}
"""Kinds that nobody writes, and how they come about."""

_DISABLE_PAUSE_S = 0.5
"""Calico's programs may still act on the pool as they read it; they are given this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    A resource to delete.

    Attributes:
        resource_version: Delete it only at this revision; "" = at any.
    """

    kind: type[Resource]
    name: str
    resource_version: str = ""

    @classmethod
    def of(cls, resource: Resource) -> "Target":
        """Make the target that a manifest names."""
        metadata = resource.metadata
        version = metadata.resource_version
        return cls(kind=type(resource), name=metadata.name, resource_version=version)

    @property
    def ref(self) -> str:
        """Kind and name, as commands print them."""
        return f"{self.kind.kind.lower()}/{self.name}"

    @property
    def key(self) -> str:
        """Where it is stored."""
        return resource_key(self.kind.plural, self.name)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one read found about a target; `stored` is None where it does not exist."""

    target: Target
    stored: Resource | None
    reading: Reading

    @property
    def revision(self) -> int:
        """Of the target's last change; 0 = it does not exist."""
        found = self.reading.found[self.target.key]
        return found.mod_revision if found else 0

    @property
    def epoch(self) -> bytes | None:
        """Identity of the data; None = not made yet."""
        found = self.reading.found[EPOCH_KEY]
        return found.value if found else None

    def pools(self) -> list[IPPool]:
        """
        Decode all pools; only a read for a pool has them.

        Raises:
            CorruptStateError: One cannot be understood.
        """
        page = self.reading.ranges[_POOLS]
        return [decoded(IPPool, key, each) for key, each in page.items]


class Changes:
    """Creates, updates and deletes resources; each method returns a word for what it did."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, resource: Resource) -> str:
        """
        Store a resource that does not exist.

        Raises:
            RefusedError: It exists, or the present state does not allow it.
            StoreError: See its kinds.
        """
        seen = self._look(Target.of(resource))
        if seen.stored is not None:
            raise RefusedError("already exists")
        return self._create(seen, resource)

    def apply(self, resource: Resource) -> str:
        """Store a resource, new or in place of the stored one; raises as `create` does."""
        seen = self._look(Target.of(resource))
        if seen.stored is None:
            return self._create(seen, resource)
        return self._update(seen, resource)

    def replace(self, resource: Resource) -> str:
        """Store a resource in place of the stored one; raises as `create` does."""
        seen = self._look(Target.of(resource))
        if seen.stored is None:
            raise RefusedError("does not exist")
        return self._update(seen, resource)

    def label(self, node: Node, *, only: bool = False) -> str:
        """Store a node; one that exists keeps its other labels, unless `only`, and all else."""
        seen = self._look(Target.of(node))
        if seen.stored is None:
            return self._create(seen, node)
        old = seen.stored.metadata
        labels = {**({} if only else old.labels), **node.metadata.labels}
        metadata = old.model_copy(update={"labels": labels})
        return self._write(seen, seen.stored.model_copy(update={"metadata": metadata}))

    def delete(self, target: Target, *, must_exist: bool = True) -> str:
        """
        Delete a resource.

        Raises:
            RefusedError: It does not exist, or changed meanwhile.
            StoreError: See its kinds.
        """
        seen = self._look(target)
        if seen.stored is None:
            if must_exist:
                raise RefusedError("does not exist")
            return "does not exist"
        _check_version(seen, target.resource_version)
        if isinstance(seen.stored, IPPool):
            return self._delete_pool(seen, seen.stored)
        if isinstance(seen.stored, Node):
            self._warn_of_blocks(target.name)
        return self._delete(seen, seen.revision)

    def _create(self, seen: _Seen, resource: Resource) -> str:
        unchanged: dict[Range, int] = {}
        if isinstance(resource, IPPool):
            check_overlap(resource, seen.pools())
            self._check_blocks(resource)
            # A pool created beside us would be in this range, newer than what we looked at.
            unchanged[_POOLS] = seen.reading.revision
            _check_annotations(resource)
        _warn_of_no_effect(resource)
        stored = resource.created(uid=new_uid(), now=timestamp(time.time_ns()))
        puts = {seen.target.key: stored.to_stored()}
        # Somebody may have created the same name since we looked.
        self._commit(seen, Txn(expect={seen.target.key: 0}, unchanged=unchanged, puts=puts))
        return CREATED

    def _update(self, seen: _Seen, resource: Resource) -> str:
        assert seen.stored is not None
        _check_version(seen, resource.metadata.resource_version)
        if isinstance(resource, IPPool) and isinstance(seen.stored, IPPool):
            check_update(seen.stored, resource)
            _check_annotations(resource)
        _warn_of_no_effect(resource)
        return self._write(seen, seen.stored.updated(resource))

    def _write(self, seen: _Seen, wanted: Resource) -> str:
        assert seen.stored is not None
        raw = wanted.to_stored()
        if raw == seen.stored.to_stored():
            return UNCHANGED
        # Whoever changed it since we looked shall not be overwritten.
        expect = {seen.target.key: seen.revision}
        self._commit(seen, Txn(expect=expect, puts={seen.target.key: raw}))
        return CONFIGURED

    def _delete_pool(self, seen: _Seen, pool: IPPool) -> str:
        revision = seen.revision
        if not pool.spec.disabled:
            spec = pool.spec.model_copy(update={"disabled": True})
            raw = pool.model_copy(update={"spec": spec}).to_stored()
            # Whoever changed it since we looked shall not be overwritten.
            expect = {seen.target.key: revision}
            committed = self._commit(seen, Txn(expect=expect, puts={seen.target.key: raw}))
            revision = committed.revision
        try:
            time.sleep(min(_DISABLE_PAUSE_S, self._session.left_s))
            for kind in ("host", "virtual"):
                request = ReleaseAffinities(cidr=pool.spec.cidr, kind=kind)
                timeout_s = self._session.left_s
                IPAM(self._session.store).release_affinities(request, timeout_s=timeout_s)
            return self._delete(self._look(seen.target), revision)
        except (PoolmgrError, KeyboardInterrupt):
            warn(f"{seen.target.ref} is disabled, but not deleted; delete it again")
            raise

    def _delete(self, seen: _Seen, revision: int) -> str:
        # Whoever changed it since we looked shall be asked again.
        expect, deletes = {seen.target.key: revision}, frozenset({seen.target.key})
        self._commit(seen, Txn(expect=expect, deletes=deletes))
        return DELETED

    def _look(self, target: Target) -> _Seen:
        if target.kind in _READ_ONLY:
            raise RefusedError(f"can only be read; {_READ_ONLY[target.kind]}")
        fetch = Fetch(
            keys=frozenset({target.key, EPOCH_KEY, _CLUSTER}),
            ranges=frozenset({_POOLS} if target.kind is IPPool else ()),
        )
        reading = self._session.store.read(fetch, timeout_s=self._session.left_s)
        found = reading.found[target.key]
        stored = None
        if found is not None:
            stored = decoded(target.kind, target.key, found)
        return _Seen(target, stored, reading)

    def _commit(self, seen: _Seen, txn: Txn) -> Committed:
        """Commit `txn` on what was seen, and with its first put what every datastore needs."""
        expect, puts = dict(txn.expect), dict(txn.puts)
        if puts and seen.reading.found[_CLUSTER] is None:
            # Two first changes must not give the cluster two identities.
            expect[_CLUSTER] = 0
            puts[_CLUSTER] = new_cluster(timestamp(time.time_ns())).to_stored()
        if puts and seen.epoch is None:
            puts[EPOCH_KEY] = secrets.token_hex(16).encode()
        whole = replace(txn, expect=expect, epoch=seen.epoch, puts=puts)
        result = self._session.store.commit(whole, timeout_s=self._session.left_s)
        if isinstance(result, Committed):
            return result
        raise RefusedError(
            "somebody else changed it, or what it depends on, at the same time; "
            "nothing was written, look and try again"
        )

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
        shorter = (size for size in BLOCK_SIZES[cidr.version] if size < cidr.prefixlen)
        around = {block_key(network(cidr.network_address, size)) for size in shorter}
        fetch, timeout_s = Fetch(keys=frozenset(around)), self._session.left_s
        if around:
            reading = self._session.store.read(fetch, timeout_s=timeout_s)
            keys = [key for key, found in reading.found.items() if found]
            yield from filter(None, map(block_of_key, keys))
        within = pages(
            self._session.store, blocks_within(cidr), page_size=5000, timeout_s=timeout_s
        )
        for page in within:
            yield from filter(None, (block_of_key(key) for key, _ in page.items))

    def _warn_of_blocks(self, node: str) -> None:
        ranges = {replace(affinity_range(node, family), keys_only=True) for family in (4, 6)}
        fetch = Fetch(ranges=frozenset(ranges))
        reading = self._session.store.read(fetch, timeout_s=self._session.left_s)
        count = sum(len(page.items) for page in reading.ranges.values())
        if count:
            blocks = f"{count:,} address block{'s' if count > 1 else ''}"
            warn(f"node/{node} still owns {blocks}, which no other node can claim")


def _check_annotations(pool: IPPool) -> None:
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


def _check_version(seen: _Seen, wanted: str) -> None:
    if wanted and int(wanted) != seen.revision:
        raise RefusedError(
            f"metadata.resourceVersion: {wanted} is not the stored version, {seen.revision}"
        )


def decoded(cls: type[R], key: str, found: KeyValue) -> R:
    """Read a stored resource; raises as `records.decode_resource`."""
    return decode_resource(cls, key, found.value, found.mod_revision)
