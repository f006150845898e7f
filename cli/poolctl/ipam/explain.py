"""
`poolctl ipam explain`: what an ADD would answer, and why.

Rules:

1. An ADD is served, by the code that serves ADDs, on a store that forgets what it is told.
2. What such an ADD would log is part of the answer.
3. An annotation counts if it would reach our plugin; else that is said.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from poolctl.config import Session
from poolctl.ipam.subject import Subject
from poolctl.rehearsal import Rehearsal
from poolmgr.cidr import IPAddress
from poolmgr.cni import direct, runtime, verbs
from poolmgr.cni.args import Args
from poolmgr.cni.document import POD_ANNOTATIONS
from poolmgr.cni.host import node_name
from poolmgr.cni.netconf import Call
from poolmgr.cni.result import failure
from poolmgr.cni.witness import Witness
from poolmgr.core.explain import Origin, Verdict, origin, pools, verdicts
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH
from poolmgr.core.outcome import Allocation, Assigned
from poolmgr.core.request import AssignIP, Attachment, AutoAssign
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import Committed, Conflict, Fetch, Reading, Txn
from poolmgr.errors import InvalidRequestError, PoolmgrError, StoreError
from poolmgr.ipam import IPAM
from poolmgr.kube.annotations import ADDRESSES, FAMILIES, IP_ADDRS, NO_IPAM, POOLS, STICKY
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store

NETWORK = "k8s-pod-network"
"""Where no network configuration is given: the name that Calico's manifests give to theirs."""

CONTAINER = "poolctl-explain"
UNNAMED = "poolctl-explain"
"""A pod whose name nobody gave."""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    Something that is asked for.

    Attributes:
        by: Who asks: an annotation, a key of the network configuration, or a default.
    """

    what: str
    value: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """
    An address that would be given.

    Attributes:
        prefix_by, gateway_by: Who wants prefix length and gateway so.
    """

    allocation: Allocation
    origin: Origin
    prefix_by: str
    gateway_by: str


@dataclass(slots=True, kw_only=True)
class Explanation:
    """
    What an ADD would answer, and why.

    Attributes:
        main: Type of the main plugin; "" = not known.
        pod: Namespace and name; "" = the ADD is for no pod.
        past_ipam: Addresses that the pod would have without us.
        notes: What else a person should know.
        code: Of the CNI error, with its message; 0 = addresses would be given.
        reads, transactions: Asked of etcd.
    """

    node: str
    network: str
    main: str
    pod: str = ""
    asked: list[Asked] = field(default_factory=list)
    verdicts: tuple[Verdict, ...] = ()
    given: list[Given] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    past_ipam: tuple[IPAddress, ...] = ()
    code: int = 0
    message: str = ""
    reads: int = 0
    transactions: int = 0


class _Notebook(Rehearsal):
    """A dry run that notes what it is asked; `snapshot` is what was read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reads = self.commits = 0
        self.snapshot = Snapshot()
        self.txn: Txn | None = None

    def read(
        self,
        fetch: Fetch,
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        revision: int | None = None,
    ) -> Reading:
        """See `Store.read`."""
        self.reads += 1
        reading = super().read(fetch, timeout_s=timeout_s, revision=revision)
        self.snapshot = self.snapshot.merge(reading).forget(fetch.full)  # as IPAM does
        return reading

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        """Pretend that it happened."""
        self.commits += 1
        self.txn = self.txn or txn  # that of the addresses comes first
        return super().commit(txn, timeout_s=timeout_s)


class _Overheard(IPAM):
    """An IPAM that remembers what it was asked and what it gave."""

    request: AutoAssign | AssignIP | None = None
    allocations: tuple[Allocation, ...] = ()

    def auto_assign(self, request: AutoAssign, **how: Any) -> Assigned:
        """See `IPAM.auto_assign`."""
        self.request = request
        answer = super().auto_assign(request, **how)
        self.allocations = answer.allocations
        return answer

    def assign_ip(self, request: AssignIP, **how: Any) -> Assigned:
        """See `IPAM.assign_ip`."""
        self.request = request
        answer = super().assign_ip(request, **how)
        self.allocations = answer.allocations
        return answer


def explain(
    session: Session, node: str, subject: Subject, network: runtime.Network | None
) -> Explanation:
    """
    Serve an ADD without its writes.

    Args:
        node: That asks.
        subject: The pod that it would be for.
        network: One that gets addresses from us; None = one without settings, under a main
            plugin that nobody knows.

    Raises:
        InvalidRequestError: Nobody says which etcd.
        StoreError: etcd gives no answer.
    """
    plugin = _plugin(network)
    name = network.name if network else NETWORK
    found = Explanation(node=node, network=name, main=plugin.type)
    if subject.pod:
        found.pod = f"{subject.namespace or 'default'}/{subject.pod}"
    try:
        call = _call(plugin, node, subject)
    except PoolmgrError as error:
        _refuse(found, error)
        return found
    found.pod = f"{call.args.namespace}/{call.args.pod}" if call.args.pod else ""
    found.notes += _notes(call, subject, plugin, is_known=network is not None)
    store = session.following(call.etcd).store
    try:
        with _logged(found.notes):
            _serve(store, found, call, plugin, min(verbs.TIMEOUT_S, session.left_s))
    except StoreError:
        raise
    except PoolmgrError as error:
        _refuse(found, error)
    return found


def _refuse(found: Explanation, error: PoolmgrError) -> None:
    answer = failure("", error)
    found.code, found.message = int(str(answer["code"])), str(answer["msg"])


def _plugin(network: runtime.Network | None) -> runtime.Plugin:
    if network is not None:
        return next(plugin for plugin in network.plugins if plugin.is_ours)
    return runtime.Plugin(
        type="",
        ipam=runtime.OURS,
        gets_annotations=True,
        conf={"cniVersion": "", "name": NETWORK, "ipam": {"type": runtime.OURS}},
    )


def _call(plugin: runtime.Plugin, node: str, subject: Subject) -> Call:
    """Make the call of an ADD for a container that does not exist yet."""
    call = plugin.call(wishes=True)
    attachment = Attachment(network=call.network, container=CONTAINER, interface="eth0")
    pod = subject.pod
    if not pod and (subject or call.kubernetes is not None):
        pod = UNNAMED
    annotations = call.annotations
    if subject.annotations is not None and reaches(plugin, call):
        annotations = subject.annotations
    elif annotations is None and not subject.pod:
        annotations = {}  # the API has no pod that nobody named
    return replace(
        call,
        attachment=attachment,
        args=Args(pod=pod, namespace=(subject.namespace or "default") if pod else ""),
        annotations=annotations,
        kubernetes_node=call.kubernetes_node if _is_node_of(call, node) else "",
    )


def reaches(plugin: runtime.Plugin, call: Call) -> bool:
    """Tell whether annotations of a pod reach our plugin."""
    return plugin.gets_annotations or call.kubernetes is not None


def _is_node_of(call: Call, node: str) -> bool:
    try:
        return node_name(call.naming) == node
    except InvalidRequestError:
        return False


def _notes(
    call: Call, subject: Subject, plugin: runtime.Plugin, *, is_known: bool
) -> Iterator[str]:
    if not is_known:
        yield (
            f"without --conf this is a network {NETWORK} without settings, under a main plugin "
            "that nobody knows"
        )
    if subject.host_network:
        yield "the pod has hostNetwork: true, so no runtime makes an ADD for it"
    if subject.annotations and not reaches(plugin, call):
        yield (
            "the annotations do not reach the plugin, and have no effect; write "
            f'"capabilities": {{"{POD_ANNOTATIONS}": true}} beside the plugin\'s type, or name '
            "kubernetes.kubeconfig"
        )
    elif subject.pod and subject.annotations is None and call.kubernetes is None:
        yield "annotations of the pod are not known; give them by --annotations or -f"
    if call.args.namespace and call.kubernetes is None:
        yield (
            f"labels and annotations of namespace {call.args.namespace} are not known: no "
            "Kubernetes API is configured; a namespaceSelector is judged as if it had none"
        )


@contextmanager
def _logged(notes: list[str]) -> Iterator[None]:
    """Note what the library logs, instead of writing it to stderr."""

    class _Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    log, handler = logging.getLogger("poolmgr"), _Noting(logging.WARNING)
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


def _serve(
    store: Store, found: Explanation, call: Call, plugin: runtime.Plugin, timeout_s: float
) -> None:
    """Serve the ADD, and learn from what it asks and is told."""
    deadline, now_ns = time.monotonic() + timeout_s, time.time_ns()
    call = direct.settled(call, found.node)
    found.asked += asked_of(call, plugin.conf)
    notebook = _Notebook(store)
    witness = Witness(notebook)
    ipam = _Overheard(witness, clock=lambda: now_ns)
    try:
        verbs.add(call, found.node, ipam, now_ns=now_ns, timeout_s=timeout_s)
        direct.conclude(call, found.node, witness, deadline=deadline)
    finally:
        found.reads, found.transactions = notebook.reads, notebook.commits
        if ipam.request is not None:
            found.verdicts = verdicts(notebook.snapshot, ipam.request, now_ns)
    found.past_ipam = call.without_ipam
    known = {pool.metadata.name: pool.metadata.annotations for pool in pools(notebook.snapshot)}
    for each in ipam.allocations:
        assert ipam.request is not None
        where = origin(notebook.snapshot, notebook.txn, ipam.request.claimant, each)
        found.given.append(_given(each, where, call, known.get(each.pool, {}), found.main))


def _given(
    allocation: Allocation,
    where: Origin,
    call: Call,
    annotations: Mapping[str, str],
    main: str,
) -> Given:
    family, pool = allocation.address.version, allocation.pool

    def by(key: str, annotation: str, said: Mapping[int, object]) -> str:
        if family in said:
            return f"ipam.{key} of the network configuration"
        if annotation in annotations:
            return f"annotation {annotation} of pool {pool}"
        return f"default for {main or 'an unknown main plugin'}"

    return Given(
        allocation=allocation,
        origin=where,
        prefix_by=by("prefixLength", PREFIX_LENGTH, call.link.prefix_length),
        gateway_by=by("gateway", GATEWAY, call.link.gateway),
    )


def asked_of(call: Call, conf: Mapping[str, Any]) -> Iterator[Asked]:
    """
    Tell what a settled call asks for, and who wants it so.

    Args:
        conf: The network configuration.
    """
    keys = conf.get("ipam") or {}
    said = {text.split(" ")[1]: text.partition(" = ")[0] for text in call.because}
    runtime_says = "the network configuration (runtimeConfig.ips or args.cni.ips)"

    def by(annotation: str, *names: str) -> str:
        given = [f"ipam.{name}" for name in names if name in keys]
        return said.get(annotation) or ", ".join(given) or "default"

    if call.without_ipam:
        yield Asked("addresses past IPAM", _listed(call.without_ipam), said[NO_IPAM])
        return
    if call.addresses:
        by_whom = said.get(IP_ADDRS, runtime_says)
        yield Asked("addresses", _listed(call.addresses), by_whom)
        return
    families = [f"IPv{family}" for family in call.families]
    yield Asked(
        "families", _listed(families) or "none", by(FAMILIES, "assign_ipv4", "assign_ipv6")
    )
    for family in call.families:
        among = call.among.get(family)
        if among:
            texts = [f"{a}" if a == b else f"{a}-{b}" for a, b in among]
            yield Asked(f"IPv{family} addresses", _listed(texts), said[ADDRESSES])
            continue
        names = call.pools.get(family)
        who = by(POOLS[family], f"ipv{family}_pools") if names else "default"
        yield Asked(f"IPv{family} pools", _listed(names or ["all that select the node"]), who)
    if call.sticky is not None:
        yield Asked("kept for", f"{call.sticky.namespace}/{call.sticky.identity}", said[STICKY])


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))
