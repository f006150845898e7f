"""
What pools should not overlap with: warnings, for the user may know better.

Known are the nodes' own addresses and the service ranges that Calico announces, from the store;
addresses and ranges of Kubernetes, if its API is named; and what other pools' annotations keep
from pods. The interfaces of this host say nothing: poolctl may run anywhere.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from poolctl.config import Session
from poolctl.report import warn
from poolctl.resources.plans import Change
from poolctl.resources.reading import Reader
from poolctl.resources.state import State
from poolmgr.api import IPPool, Node
from poolmgr.api.ippool import parse_cidr
from poolmgr.cidr import IPNetwork, contains, parse_address
from poolmgr.core.link import LinkError, LinkPolicy, MainPlugin, resolve
from poolmgr.core.records import resource_key
from poolmgr.core.reservation import AddressSet
from poolmgr.core.txn import Fetch
from poolmgr.errors import CorruptStateError
from poolmgr.kube.access import TIMEOUT_S, Access
from poolmgr.kube.client import Kubernetes

_BGP = resource_key("bgpconfigurations", "default")
_FEW = 3

Named = tuple[str, str]
"""An address or a network as text, and what it is."""


def warn_of_overlaps(
    session: Session, state: State, changes: Sequence[Change], kubeconfig: str | None = None
) -> None:
    """
    Warn of addresses in pools that somebody else has, before anything is written.

    Args:
        changes: All pools among them count, those that stay as they are, too.
        kubeconfig: File that leads to Kubernetes; None = do not ask it.

    Raises:
        InvalidRequestError: The file cannot be used; also where no pool is named.
        KubernetesError: Kubernetes gives no answer.
        StoreError: No answer.
    """
    after = [change.after or state.stored(change.target) for change in changes]
    named = [pool for pool in after if isinstance(pool, IPPool)]
    if named:
        _warn_of(named, _service_ranges(session))
        _warn_of(named, _node_addresses(session))
    if kubeconfig is not None:
        _warn_of(named, _kubernetes(session, kubeconfig, ask=bool(named)))
    if named:
        names = {pool.metadata.name for pool in named}
        others = [pool for pool in _pools(state) if pool.metadata.name not in names]
        _warn_of_withheld(named, [*others, *named])


def _warn_of(pools: Sequence[IPPool], named: Iterable[Named]) -> None:
    """Go through the addresses of others once, for all pools."""
    found: dict[str, dict[str, None]] = {pool.ref: {} for pool in pools}
    for text, what in named:
        network = _network(text)
        for pool in pools:
            if network is not None and _overlap(network, pool.spec.cidr):
                found[pool.ref][f"{text} ({what})"] = None
    for pool in pools:
        if hit := list(found[pool.ref]):
            more = f" (and {len(hit) - _FEW:,} more)" if len(hit) > _FEW else ""
            warn(
                f"{pool.ref}: {pool.spec.cidr} overlaps with {'; '.join(hit[:_FEW])}{more}; "
                "pods may get what is in use there: take another range, or reserve these"
            )


def _node_addresses(session: Session) -> Iterator[Named]:
    """Yield the addresses of all nodes, but those of tunnels, which pools give."""
    for node in Reader(session, Node).everything():
        assert isinstance(node, Node)
        whose = f"node {node.metadata.name}"
        bgp = node.spec.bgp
        texts = [each.address for each in node.spec.addresses]
        texts += [bgp.ipv4_address, bgp.ipv6_address] if bgp else []
        yield from ((text.partition("/")[0], whose) for text in texts if text)


def _service_ranges(session: Session) -> list[Named]:
    """Return the service ranges that Calico announces by BGP; nobody else stores any."""
    fetch = Fetch(keys=frozenset({_BGP}))
    stored = session.store.read(fetch, timeout_s=session.left_s).found[_BGP]
    try:
        spec = json.loads(stored.value)["spec"] if stored else {}
        names = ("serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs")
        texts = [str(each["cidr"]) for name in names for each in spec.get(name) or ()]
    except (ValueError, LookupError, TypeError, AttributeError):
        return []  # Not ours to complain about.
    return [(text, "services of BGPConfiguration default") for text in texts]


def _kubernetes(session: Session, kubeconfig: str, *, ask: bool) -> list[Named]:
    """Return the addresses of Kubernetes' nodes, the ranges given to them and to services."""
    timeout_s = min(5 * TIMEOUT_S, session.left_s)
    kubernetes = Kubernetes(Access(kubeconfig=kubeconfig), timeout_s=timeout_s)
    try:
        found: list[Named] = []
        if not ask:
            return found
        for node in kubernetes.nodes():
            found += ((text, f"Kubernetes node {node.name}") for text in node.addresses)
            what = f"pods of Kubernetes node {node.name}"
            found += ((text, what) for text in node.pod_cidrs)
        return found + [(text, "Kubernetes services") for text in kubernetes.service_ranges()]
    finally:
        kubernetes.close()


def _warn_of_withheld(pools: Sequence[IPPool], everybody: Sequence[IPPool]) -> None:
    """Warn where one pool gives out what another one keeps from pods."""
    kept = {each.ref: _withheld(each) for each in everybody}
    pairs = {
        (giver.ref, keeper.ref): (giver, keeper)
        for pool in pools
        for other in everybody
        if other.ref != pool.ref
        for giver, keeper in ((pool, other), (other, pool))
    }
    for giver, keeper in pairs.values():
        cidr, withheld = giver.spec.cidr, kept[keeper.ref]
        if withheld.count_in(cidr):
            warn(
                f"{giver.ref}: {cidr} has addresses that {keeper.ref} keeps from pods, as "
                f"gateway or end of its prefix: {_within(cidr, withheld)}; reserve them"
            )


def _withheld(pool: IPPool) -> AddressSet:
    try:
        return resolve(
            pool.spec.cidr, pool.metadata.annotations, LinkPolicy(main=MainPlugin.FLAT)
        ).withheld
    except LinkError:
        return AddressSet()  # It serves nobody.


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and (contains(one, other) or contains(other, one))


def _within(cidr: IPNetwork, kept: AddressSet) -> str:
    texts = kept.cidrs()
    inside = [text for text in texts if (net := _network(text)) and _overlap(net, cidr)]
    return ", ".join(inside[:_FEW])


def _pools(state: State) -> list[IPPool]:
    try:
        return state.all_pools()
    except CorruptStateError:
        return []  # Whoever creates a pool was refused because of it.


def _network(text: str) -> IPNetwork | None:
    try:
        if "/" in text:
            return parse_cidr(text, strict=False)
        address = parse_address(text)
        return parse_cidr(f"{address}/{address.max_prefixlen}")
    except ValueError:
        return None
