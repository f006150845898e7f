"""
Which pools serve a request, and the reason against each of the rest.

Rules (Calico libcalico-go/lib/ipam/pools.go, determinePools):

1. Pools are looked at in name order. A disabled pool, one being deleted, one of the other
   family and one whose condition `Allocatable` is False never serve.
2. Pools that the request names, by name or exact CIDR, serve in the order named; nodeSelector,
   namespaceSelector and assignmentMode do not matter then. One that cannot serve refuses the
   whole request.
3. Otherwise every Automatic pool serves whose nodeSelector matches the node's labels and whose
   namespaceSelector matches the namespace's (no namespace = no labels).
4. `allowedUses` binds both.
5. A node whose resource is missing has no labels; a pool that would look at them refuses the
   request.
6. Pools that were not named are used by their annotation `ipam.poolmgr.io/priority` (an
   integer, higher first, 0 when absent), then by name. Calico knows no priority.
7. What the main plugin cannot use (core/link.py) is out, with its reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from poolmgr.api import IPPool
from poolmgr.api.ippool import BLOCK_SIZES, priority
from poolmgr.cidr import IPAddress, IPNetwork, contains, parse_network
from poolmgr.core.link import Link, LinkPolicy, resolve
from poolmgr.errors import CorruptStateError, InvalidRequestError, NoMatchingPoolError
from poolmgr.selector import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pool that serves the request, and how the main plugin will use it."""

    pool: IPPool
    link: Link

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.pool.metadata.name

    @property
    def cidr(self) -> IPNetwork:
        """The pool's addresses."""
        return self.pool.spec.cidr


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """
    The verdict on every pool.

    Attributes:
        kept: Pools that serve, best first.
        reasons: Pool name -> why it does not serve.
    """

    kept: tuple[Candidate, ...]
    reasons: Mapping[str, str]

    def only(self, name: str, why: str) -> "Selection":
        """Drop every pool but `name`, for the reason `why`."""
        dropped = {candidate.name: why for candidate in self.kept if candidate.name != name}
        kept = tuple(candidate for candidate in self.kept if candidate.name == name)
        return Selection(kept=kept, reasons={**self.reasons, **dropped})


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnView:
    """
    What a host's own blocks mean to requests that want the same.

    Attributes:
        own: The blocks the host has affinity for.
        selection: The pools that serve.
        mine: Of the blocks those in pools that serve, their pools and keys.
        strays: Those in pools that no longer select the host.
    """

    own: tuple[IPNetwork, ...]
    selection: Selection
    mine: tuple[tuple[IPNetwork, Candidate, str], ...]
    strays: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """
    What a request wants of a pool.

    Attributes:
        host: The node, for messages.
        node_labels: Its labels; None = there is no Node resource.
        namespace_labels: Labels of the pod's namespace; None = there is no namespace object.
        requested: Names or CIDRs of the pools to use; () = whatever matches.
        kept_in_block: Addresses of each block that the host reserves for itself.
    """

    family: int
    host: str
    node_labels: Mapping[str, str] | None
    namespace_labels: Mapping[str, str] | None = None
    requested: tuple[str, ...] = ()
    kept_in_block: int = 0
    use: str = "Workload"
    link: LinkPolicy = field(default_factory=LinkPolicy)


def select(
    pools: Sequence[IPPool],
    criteria: Criteria,
    *,
    unreadable: Mapping[str, str] = MappingProxyType({}),
) -> Selection:
    """
    Judge every pool.

    Args:
        pools: All stored pools that can be read, in name order.
        unreadable: The others: name -> what is wrong.

    Raises:
        NoMatchingPoolError: A requested pool cannot serve, or no pool serves.
        CorruptStateError: A stored selector does not parse; nobody can say which pools are
            meant.
    """
    wanted = _requested(pools, criteria)
    kept: list[Candidate] = []
    reasons: dict[str, str] = {} if wanted is not None else dict(unreadable)
    for pool in pools if wanted is None else wanted:
        verdict = judge(pool, criteria)
        if isinstance(verdict, Candidate):
            kept.append(verdict)
        else:
            reasons[pool.metadata.name] = verdict
    what = f"no IPv{criteria.family} pool serves node {criteria.host}"
    if wanted is not None and reasons:
        raise NoMatchingPoolError("a requested pool cannot be used", reasons)
    if wanted is None:
        kept.sort(key=lambda candidate: -priority(candidate.pool.metadata.annotations))
    if not kept:
        raise NoMatchingPoolError(
            what if reasons else f"{what}: there is no IPPool; create one with poolctl apply",
            reasons,
        )
    return Selection(kept=tuple(kept), reasons=reasons)


def judge(pool: IPPool, criteria: Criteria) -> Candidate | str:
    """
    Return how a pool serves, or the reason why it does not.

    Args:
        pool: One of those that are requested, if any are.

    Raises:
        NoMatchingPoolError, CorruptStateError: As `select`.
    """
    reason = _unusable(pool, criteria) or (
        "" if criteria.requested else _unselected(pool, criteria)
    )
    if reason:
        return reason
    try:
        link = resolve(pool.spec.cidr, pool.metadata.annotations, criteria.link)
        priority(pool.metadata.annotations)
    except ValueError as error:  # a LinkError, or a priority that is no number
        return str(error)
    return Candidate(pool=pool, link=link)


def pool_of(
    pools: Sequence[IPPool], address: IPAddress | IPNetwork, *, enabled: bool
) -> IPPool | None:
    """
    Return the first pool that contains `address`.

    With `enabled`, only pools that may be allocated from count.
    """
    for pool in pools:
        if contains(pool.spec.cidr, address) and not (enabled and out_of_service(pool)):
            return pool
    return None


def out_of_service(pool: IPPool) -> str:
    """Say why nobody may allocate from `pool`; "" = they may."""
    if pool.metadata.deletion_timestamp:
        return "is being deleted"
    if pool.spec.disabled:
        return "disabled"
    size, family = pool.spec.block_size, pool.spec.cidr.version
    if size not in BLOCK_SIZES[family] or size < pool.spec.cidr.prefixlen:
        return f"its blockSize {size} does not fit its CIDR {pool.spec.cidr}"
    for condition in pool.status.conditions if pool.status else ():
        if condition.type == "Allocatable" and condition.status == "False":
            return "its condition Allocatable is False"
    return ""


def allows(pool: IPPool, use: str) -> str:
    """Say that `pool` is not for `use`; "" = it is."""
    uses = pool.spec.allowed_uses
    return "" if use in uses else f"allowedUses [{', '.join(uses)}] does not include {use}"


def selects(pool: IPPool, labels: Mapping[str, str]) -> bool:
    """
    Tell whether the pool's nodeSelector matches.

    Raises:
        CorruptStateError: The stored selector does not parse.
    """
    return _matches(pool, "nodeSelector", pool.spec.node_selector, labels)


def strayed(pools: Sequence[IPPool], cidr: IPNetwork, labels: Mapping[str, str]) -> bool:
    """
    Tell whether the enabled pool around a block no longer selects the node.

    A selector that does not parse says nothing: tidying up must not stop anybody.
    """
    pool = pool_of(pools, cidr, enabled=True)
    try:
        return pool is not None and not selects(pool, labels)
    except CorruptStateError:
        return False


def _requested(pools: Sequence[IPPool], criteria: Criteria) -> list[IPPool] | None:
    if not criteria.requested:
        return None
    found: list[IPPool] = []
    missing: dict[str, str] = {}
    for text in criteria.requested:
        pool = next((pool for pool in pools if is_named(pool, text)), None)
        if pool is None:
            missing[text] = "there is no such pool, by name or by exact CIDR"
        elif pool not in found:
            found.append(pool)
    if missing:
        raise NoMatchingPoolError("a requested pool cannot be used", missing)
    return found


def is_named(pool: IPPool, text: str) -> bool:
    """Tell whether a request means `pool` by `text`: its name, or its exact CIDR."""
    if pool.metadata.name == text:
        return True
    try:
        return "/" in text and parse_network(text, strict=False) == pool.spec.cidr
    except ValueError:
        return False


def _unusable(pool: IPPool, criteria: Criteria) -> str:
    reason = out_of_service(pool)
    if not reason and pool.spec.cidr.version != criteria.family:
        reason = f"is an IPv{pool.spec.cidr.version} pool"
    spare = pool.spec.cidr.max_prefixlen - pool.spec.block_size
    if not reason and 1 << spare <= criteria.kept_in_block:
        reason = (
            f"the host keeps {criteria.kept_in_block} addresses of each block, and its blocks "
            f"have {1 << spare}"
        )
    return reason or allows(pool, criteria.use)


def _unselected(pool: IPPool, criteria: Criteria) -> str:
    spec = pool.spec
    if spec.assignment_mode == "Manual":
        return "assignmentMode is Manual, so it serves only requests that name it"
    namespace = criteria.namespace_labels or {}
    if not _matches(pool, "namespaceSelector", spec.namespace_selector, namespace):
        return f"namespaceSelector {spec.namespace_selector} does not match {_shown(namespace)}"
    if criteria.node_labels is None and spec.node_selector.strip() not in ("", "all()"):
        raise NoMatchingPoolError(
            f"there is no Node resource {criteria.host}, and a pool selects nodes by label; "
            f"create it with poolctl node register {criteria.host}",
            {pool.metadata.name: f"nodeSelector {spec.node_selector}"},
        )
    labels = criteria.node_labels or {}
    if not selects(pool, labels):
        return (
            f"nodeSelector {spec.node_selector} does not match {criteria.host} {_shown(labels)}"
        )
    return ""


def _matches(pool: IPPool, field: str, text: str, labels: Mapping[str, str]) -> bool:
    try:
        return parse(text).matches(labels)
    except InvalidRequestError as error:
        raise CorruptStateError(f"IPPool {pool.metadata.name}", f"{field}: {error}") from error


def _shown(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in sorted(labels.items())) + "}"
