"""
`poolctl ipam plan`: will so many nodes with so many pods fit into a pool.

Rules:

1. A pool that is stored counts with the blocks it has, for its own block size; any other size
   would need a new pool, and counts as one in which nothing is claimed.
2. A network that nobody stored can be planned without etcd; then the defaults hold.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import click

from poolctl.config import Session
from poolctl.report import warn
from poolmgr.api import IPPool, IPReservation
from poolmgr.api.violations import listed, similar
from poolmgr.cidr import IPNetwork, contains, parse_network
from poolmgr.core import records
from poolmgr.core.capacity import Fit, Goal, Space, fit, recommended, sizes, taken_by
from poolmgr.core.config import IPAMConfig
from poolmgr.core.link import Link, LinkError, LinkPolicy, MainPlugin, resolve
from poolmgr.core.pools import allows, out_of_service
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.core.txn import Fetch, Range, Reading
from poolmgr.errors import CorruptStateError, InvalidRequestError, StoreUnavailableError
from poolmgr.store.port import Store, pages

PLUGINS = {
    "ptp": MainPlugin.PTP,
    "bridge": MainPlugin.BRIDGE_GATEWAY,
    "flat": MainPlugin.FLAT,
    "other": MainPlugin.OTHER,
}
_POOLS, _RESERVATIONS = (
    records.resource_range(kind.plural) for kind in (IPPool, IPReservation)
)
_READ_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    The command line.

    Attributes:
        pool: Name or CIDR; "" = the pool there is.
        size: Of blocks; None = that of the pool, or whichever fits best.
        family: 4 or 6; None = the pool's.
        plugin: One of PLUGINS.
    """

    nodes: int
    pods: int
    pool: str = ""
    size: int | None = None
    family: int | None = None
    plugin: str = "ptp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """
    The answer.

    Attributes:
        pool: Its name; "" = it is not stored.
        own_size: Of its blocks; None = it is not stored.
        owners: Nodes that have blocks in it.
        existing: Its blocks.
        given: What is asked about; None = no size in particular.
        fits: One per block size.
        best: What is recommended, and `why`; None = nothing fits.
        config: None = etcd did not tell.
        notes: What else a person should know.
    """

    pool: str
    wanted: Wanted
    space: Space
    own_size: int | None
    owners: int
    existing: int
    given: Fit | None
    fits: tuple[Fit, ...]
    best: Fit | None
    why: str
    config: IPAMConfig | None
    notes: tuple[str, ...]

    @property
    def is_enough(self) -> bool:
        """Whether the goal is met."""
        chosen = self.given or self.best
        return chosen is not None and chosen.fits


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the store says; `pool` is None where it has no such pool."""

    pools: tuple[IPPool, ...] = ()
    pool: IPPool | None = None
    reserved: AddressSet = NOTHING
    config: IPAMConfig | None = None
    blocks: tuple[IPNetwork, ...] = ()
    owned: Mapping[str, tuple[IPNetwork, ...]] | None = None


def capacity(session: Session, wanted: Wanted) -> Capacity:
    """
    Find out whether it fits.

    Raises:
        click.UsageError: There is no such pool or block size.
        InvalidRequestError: The pool cannot serve the main plugin.
        StoreError: etcd gives no answer about a pool that is named.
        CorruptStateError: What is stored cannot be understood.
    """
    cidr = _cidr(wanted)
    if cidr is not None:
        _check(cidr, wanted)
    stored = _stored(session, wanted, cidr)
    if stored.pool is not None:
        cidr = stored.pool.spec.cidr
        _check(cidr, wanted)
    assert cidr is not None, "a pool that is only named is stored"
    annotations = {} if stored.pool is None else stored.pool.metadata.annotations
    link = _link(cidr, annotations, wanted)
    fresh = Space(pool=cidr, reserved=stored.reserved, link=link)
    live = replace(
        fresh,
        taken=taken_by(cidr, stored.blocks),
        owned=tuple((stored.owned or {}).values()),
    )
    limit = (stored.config or IPAMConfig()).block_limit(0)
    goal = Goal(nodes=wanted.nodes, pods=wanted.pods, limit=limit)
    own_size = None if stored.pool is None else stored.pool.spec.block_size
    fits = tuple(fit(live if size == own_size else fresh, size, goal) for size in sizes(cidr))
    size = wanted.size or own_size
    best, why = recommended(fits)
    return Capacity(
        pool="" if stored.pool is None else stored.pool.metadata.name,
        wanted=wanted,
        space=live,
        own_size=own_size,
        owners=len(live.owned),
        existing=len(stored.blocks),
        given=next((each for each in fits if each.size == size), None),
        fits=fits,
        best=best,
        why=why,
        config=stored.config,
        notes=tuple(_notes(stored, cidr, wanted)),
    )


def _cidr(wanted: Wanted) -> IPNetwork | None:
    if "/" not in wanted.pool:
        return None
    try:
        return parse_network(wanted.pool)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--pool") from None


def _check(cidr: IPNetwork, wanted: Wanted) -> None:
    """Refuse options that do not go with the pool."""
    if wanted.family not in (None, cidr.version):
        raise click.BadParameter(
            f"{wanted.family}, and {cidr} is an IPv{cidr.version} network",
            param_hint="--family",
        )
    known = sizes(cidr)
    if wanted.size is not None and wanted.size not in known:
        raise click.BadParameter(
            f"{wanted.size} is not one of {known[0]} to {known[-1]}, which {cidr} can have",
            param_hint="--block-size",
        )


def _link(cidr: IPNetwork, annotations: Mapping[str, str], wanted: Wanted) -> Link:
    try:
        return resolve(cidr, annotations, LinkPolicy(main=PLUGINS[wanted.plugin]))
    except LinkError as error:
        raise InvalidRequestError(
            f"{cidr} cannot serve main plugin {wanted.plugin}: {error}; or name another one by "
            "--main-plugin",
            field="main-plugin",
        ) from error


def _stored(session: Session, wanted: Wanted, cidr: IPNetwork | None) -> _Stored:
    """Read what is stored; for a network, etcd need not be there."""
    fetch = Fetch(
        keys=frozenset({records.CONFIG_KEY}), ranges=frozenset({_POOLS, _RESERVATIONS})
    )
    timeout_s = min(_READ_S, session.left_s)
    try:
        store = session.store
        reading = store.read(fetch, timeout_s=timeout_s)
    except (InvalidRequestError, StoreUnavailableError) as error:
        if cidr is None:
            raise
        warn(f"planned without etcd, as if nothing were stored: {error}")
        return _Stored()
    found = _decoded(reading, wanted, cidr)
    if found.pool is None:
        return found
    blocks, owned = _blocks(store, found.pool.spec.cidr, reading.revision, timeout_s)
    return replace(found, blocks=blocks, owned=owned)


def _decoded(reading: Reading, wanted: Wanted, cidr: IPNetwork | None) -> _Stored:
    config = reading.found[records.CONFIG_KEY]
    reserved = [
        text
        for key, value in reading.ranges[_RESERVATIONS].items
        for text in records.decode_resource(IPReservation, key, value.value).spec.reserved_cidrs
    ]
    pools: list[IPPool] = []
    for key, value in reading.ranges[_POOLS].items:
        try:
            pools.append(records.decode_resource(IPPool, key, value.value))
        except CorruptStateError as error:
            if key == _POOLS.start + wanted.pool:
                raise
            warn(f"{error}; it is passed over")
    return _Stored(
        pools=tuple(pools),
        pool=_pool(pools, wanted, cidr),
        reserved=AddressSet.of(reserved),
        config=records.decode_config(config.value if config else None),
    )


def _pool(pools: list[IPPool], wanted: Wanted, cidr: IPNetwork | None) -> IPPool | None:
    if cidr is not None:
        return next((pool for pool in pools if pool.spec.cidr == cidr), None)
    if wanted.pool:
        for pool in pools:
            if pool.metadata.name == wanted.pool:
                return pool
        names = [pool.metadata.name for pool in pools]
        raise InvalidRequestError(
            f"there is no IPPool {wanted.pool}; a network need not exist: --pool 10.0.0.0/16; "
            f"{similar(wanted.pool, names) or listed(names)}"
        )
    family = wanted.family or 4
    serving = [
        pool
        for pool in pools
        if pool.spec.cidr.version == family
        and pool.spec.assignment_mode != "Manual"
        and not (out_of_service(pool) or allows(pool, "Workload"))
    ]
    if len(serving) != 1:
        there = listed([pool.metadata.name for pool in serving])
        raise click.UsageError(f"say which pool by --pool; for IPv{family} pods {there}")
    return serving[0]


def _blocks(
    store: Store, cidr: IPNetwork, revision: int, timeout_s: float
) -> tuple[tuple[IPNetwork, ...], Mapping[str, tuple[IPNetwork, ...]]]:
    """Return the blocks of a pool, and those of each node that owns some."""

    def keys(range_: Range) -> Iterator[str]:
        for page in pages(store, range_, timeout_s=timeout_s, revision=revision):
            yield from (key for key, _ in page.items)

    blocks = tuple(
        block
        for key in keys(records.blocks_within(cidr))
        if (block := records.block_of_key(key)) is not None and contains(cidr, block)
    )
    existing = set(blocks)
    owned = defaultdict(list)
    for key in keys(replace(records.AFFINITIES["host"], keys_only=True)):
        block, host = records.block_of_key(key), records.host_of_key(key)
        if block in existing and host is not None:
            owned[host[1]].append(block)
    return blocks, {host: tuple(theirs) for host, theirs in owned.items()}


def _notes(stored: _Stored, cidr: IPNetwork, wanted: Wanted) -> Iterator[str]:
    pool = stored.pool
    if pool is None:
        for other in stored.pools:
            if other.spec.cidr.version == cidr.version and other.spec.cidr.overlaps(cidr):
                yield (
                    f"{cidr} overlaps IPPool {other.metadata.name} ({other.spec.cidr}), so "
                    "that no pool can be made of it"
                )
        return
    if reason := out_of_service(pool):
        yield f"nobody is served from the pool now: {reason}"
    if pool.spec.node_selector.strip() not in ("", "all()"):
        yield f"it serves only nodes with {pool.spec.node_selector}; the others do not count"
    if wanted.size not in (None, pool.spec.block_size) or stored.blocks:
        yield (
            f"its blocks are /{pool.spec.block_size}; the other sizes are those of a new pool "
            "in its place, in which nothing is claimed"
        )
