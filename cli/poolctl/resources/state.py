"""What is stored of the resources that a command names, as one look found it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from poolctl.config import Session
from poolmgr.api import ClusterInformation, IPPool, Resource
from poolmgr.api.clusterinformation import DEFAULT
from poolmgr.core.records import decode_resource, resource_key, resource_range
from poolmgr.core.txn import EPOCH_KEY, Fetch, KeyValue

R = TypeVar("R", bound=Resource)

POOLS = resource_range(IPPool.plural)
CLUSTER = resource_key(ClusterInformation.plural, DEFAULT)
KEYS_AT_ONCE = 100
"""Keys in a read; with the range of pools, fewer than a transaction may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    A resource that a command is about.

    Attributes:
        resource_version: The command is about this version of it only; "" = about any.
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
class State:
    """
    What a look found.

    Attributes:
        found: Key -> value, None = absent; of targets, of the cluster's identity and the epoch.
        pools: All pools, if they were asked for.
        revision: At which the pools were read.
    """

    found: Mapping[str, KeyValue | None]
    pools: tuple[tuple[str, KeyValue], ...]
    revision: int

    @property
    def epoch(self) -> bytes | None:
        """Identity of the data; None = not made yet."""
        found = self.found[EPOCH_KEY]
        return found.value if found else None

    def revision_of(self, target: Target) -> int:
        """Return the revision of the target's last change; 0 = it does not exist."""
        found = self.found[target.key]
        return found.mod_revision if found else 0

    def stored(self, target: Target) -> Resource | None:
        """Decode a target; None = it does not exist. Raises as `decoded`."""
        found = self.found[target.key]
        return None if found is None else decoded(target.kind, target.key, found)

    def all_pools(self) -> list[IPPool]:
        """Decode all pools; raises as `decoded`."""
        return [decoded(IPPool, key, each) for key, each in self.pools]


def look(session: Session, targets: Iterable[Target], *, pools: bool = False) -> State:
    """
    Read what a change of the targets needs.

    Raises:
        InvalidRequestError: A target has a name that nothing can have.
        StoreError: No answer.
    """
    keys = list(dict.fromkeys(target.key for target in targets))
    first = Fetch(
        keys=frozenset({EPOCH_KEY, CLUSTER, *keys[:KEYS_AT_ONCE]}),
        ranges=frozenset({POOLS} if pools else ()),
    )
    reading = session.store.read(first, timeout_s=session.left_s)
    found = dict(reading.found)
    for start in range(KEYS_AT_ONCE, len(keys), KEYS_AT_ONCE):
        more = Fetch(keys=frozenset(keys[start : start + KEYS_AT_ONCE]))
        found |= session.store.read(more, timeout_s=session.left_s).found
    stored = reading.ranges[POOLS].items if pools else ()
    return State(found, stored, reading.revision)


def decoded(cls: type[R], key: str, found: KeyValue) -> R:
    """Read a stored resource; raises as `records.decode_resource`."""
    return decode_resource(cls, key, found.value, found.mod_revision)
