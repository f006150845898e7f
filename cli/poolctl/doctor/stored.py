"""What `poolctl doctor` thinks of what is stored: pools, configuration, identity."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from poolctl.doctor.findings import Finding, ok, problem, unknown, warning
from poolmgr.api import ClusterInformation, IPAMConfiguration, IPPool
from poolmgr.api.clusterinformation import DEFAULT
from poolmgr.copies.marker import BEING_WRITTEN, HOW_TO_END
from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.configure import check
from poolmgr.core.records import CONFIG_KEY, decode_config, decode_resource
from poolmgr.core.records import resource_key as key_of
from poolmgr.core.records import resource_range as range_of
from poolmgr.core.txn import EPOCH_KEY, Fetch, Range, Reading
from poolmgr.core.usage import PoolUsage
from poolmgr.errors import CorruptStateError, InvalidRequestError, StoreError
from poolmgr.store.port import Store
from poolmgr.survey import utilization

_CLUSTER = key_of(ClusterInformation.plural, DEFAULT)
_V3_CONFIG = key_of(IPAMConfiguration.plural, DEFAULT)
_POOLS = range_of(IPPool.plural)
_OWN = Range.prefix("/poolmgr/v1/", limit=1, keys_only=True)
_FETCH = Fetch(
    keys=frozenset({_CLUSTER, _V3_CONFIG, CONFIG_KEY, EPOCH_KEY, MARKER_KEY}),
    ranges=frozenset({_POOLS, _OWN}),
)
_MEND = "mend the value: etcdctl get KEY, etcdctl put KEY VALUE"


def examine(store: Store, *, timeout_s: float) -> Iterator[Finding]:
    """
    Judge what is stored.

    Raises:
        StoreError: There is no answer.
    """
    reading = store.read(_FETCH, timeout_s=timeout_s)
    if reading.found[MARKER_KEY]:
        yield problem("copy", f"{BEING_WRITTEN}; pools come last", HOW_TO_END)
    yield _cluster(reading)
    yield _epoch(reading)
    yield from _config(reading)
    pools, broken = _pools(reading)
    yield from broken
    yield from _judge_pools(pools, is_copied=reading.found[MARKER_KEY] is not None)
    if pools:
        yield from _usage(store, timeout_s)


def _cluster(reading: Reading) -> Finding:
    stored = reading.found[_CLUSTER]
    if stored is None:
        return ok(
            "datastore", "has no ClusterInformation yet; the first poolctl apply makes it"
        )
    try:
        cluster = decode_resource(ClusterInformation, _CLUSTER, stored.value)
    except CorruptStateError as error:
        return problem("datastore", str(error), _MEND)
    spec = cluster.spec
    if spec.datastore_ready is False:
        return warning(
            "datastore",
            "is locked: Calico's programs refuse work; our plugin goes on",
            "poolctl datastore unlock, once the migration or restore that locked it is done",
        )
    return ok("datastore", f"is ready; cluster {spec.cluster_guid or 'without identity'}")


def _epoch(reading: Reading) -> Finding:
    if reading.found[EPOCH_KEY]:
        return ok("epoch", "is there")
    if reading.ranges[_OWN].items:
        return warning(
            "epoch",
            f"{EPOCH_KEY} was deleted beside other keys of ours: nobody would notice a "
            "restored backup",
            "find out who deletes keys there; the next allocation makes another epoch",
        )
    return ok("epoch", "is not there yet; the first change makes it")


def _config(reading: Reading) -> Iterator[Finding]:
    stored = reading.found[CONFIG_KEY]
    try:
        config = decode_config(stored.value if stored else None)
        check(config)
        said = "as configured" if stored else "the defaults"
        limit = config.block_limit(0)
        yield ok(
            "configuration",
            f"{said}: strict affinity {'on' if config.strict_affinity else 'off'}, "
            f"{'any number of' if limit is None else f'{limit:,}'} blocks per node and family, "
            f"cooldown {config.cooldown_s:,} s",
        )
    except InvalidRequestError as error:
        yield warning("configuration", str(error), "poolctl ipam configure")
    except CorruptStateError as error:
        yield problem("configuration", f"{error}; no address can be assigned", _MEND)
    if reading.found[_V3_CONFIG]:
        yield warning(
            "configuration",
            "there is an IPAMConfiguration, which nobody reads while etcd is the datastore",
            "set it by poolctl ipam configure",
        )


def _pools(reading: Reading) -> tuple[list[IPPool], list[Finding]]:
    pools, broken = [], []
    for key, stored in reading.ranges[_POOLS].items:
        try:
            pools.append(decode_resource(IPPool, key, stored.value))
        except CorruptStateError as error:
            broken.append(problem("pools", f"{error}; it serves nobody", _MEND))
    return pools, broken


def _judge_pools(pools: Sequence[IPPool], *, is_copied: bool) -> Iterator[Finding]:
    enabled = [pool for pool in pools if not pool.spec.disabled]
    if not enabled:
        fact = f"all {len(pools):,} pools are disabled" if pools else "there is no pool"
        # A pool made now would be in the copy's way.
        remedy = HOW_TO_END if is_copied else "poolctl apply -f POOL"
        yield problem("pools", f"{fact}: no address can be assigned", remedy)
        return
    yield ok("pools", f"{len(enabled):,} of {len(pools):,} are enabled")
    for one, other in combinations(pools, 2):
        if one.spec.cidr.overlaps(other.spec.cidr):
            yield problem(
                "pools",
                f"{_named(one)} and {_named(other)} overlap: an address may be given twice",
                "delete one; addresses in use stay",
            )


def _named(pool: IPPool) -> str:
    return f"{pool.metadata.name} ({pool.spec.cidr})"


def _usage(store: Store, timeout_s: float) -> Iterator[Finding]:
    try:
        counted = utilization(store, keep_blocks=False, timeout_s=timeout_s)
    except StoreError as error:
        yield unknown("usage", f"not counted: {error}")
        return
    for corrupt in counted.unreadable:
        if "/block/" in corrupt.key:
            yield problem("usage", str(corrupt), _MEND)
    tight = [each for each in counted.counts.pools if 10 * each.usage.free < each.usage.total]
    for pool in tight:
        yield _tight(pool)
    if not tight:
        yield ok("usage", "every pool has more than 10 % of its addresses free")


def _tight(pool: PoolUsage) -> Finding:
    usage = pool.usage
    return warning(
        "usage",
        f"pool {pool.name} ({pool.cidr}) has {usage.free:,} of {usage.total:,} addresses free; "
        f"{usage.in_use:,} in use, {usage.reserved:,} reserved",
        "add a pool, or release what nobody uses: poolctl ipam check",
    )
