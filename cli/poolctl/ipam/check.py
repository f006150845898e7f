"""
`poolctl ipam check`: what is wrong with what is stored, and with what pods make of it.

Rules:

1. The store is checked as of one revision, the pods as of a time before that.
2. What is not checked is said, and why. An exit status of 0 means that all that was asked for
   was checked, and nothing is wrong.
3. Where pods were not looked at, no address is called leaked.
"""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from poolctl.config import Session
from poolctl.ipam.release import whose
from poolctl.ipam.report_file import ReportWriter
from poolctl.report import FOUND, UNAVAILABLE, complain, say
from poolctl.terminal import progress
from poolmgr.api import ClusterInformation, IPPool
from poolmgr.api.clusterinformation import DEFAULT
from poolmgr.cidr import IPAddress, IPNetwork, parse_address
from poolmgr.core.flaws import Finding, Flaw
from poolmgr.core.live import FINISHED, Entry, LivePods, Verdict
from poolmgr.core.records import HANDLES, decode_resource, resource_key, resource_range
from poolmgr.core.request import OwnerOf
from poolmgr.core.txn import Fetch
from poolmgr.errors import (
    CorruptStateError,
    InvalidRequestError,
    KubernetesError,
    RefusedError,
)
from poolmgr.ipam import IPAM
from poolmgr.kube.access import Access
from poolmgr.kube.client import Kubernetes
from poolmgr.kube.facts import PodFacts
from poolmgr.survey import Audit

_EXAMPLES = 10
_HANDLES_AT_ONCE = 100
_PAGE_TIMEOUT_S = 10.0
_POOLS = resource_range(IPPool.plural)
_CLUSTER = resource_key(ClusterInformation.plural, DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    What is wanted beyond the counts.

    Attributes:
        all_ips: Tell of every address that is not free.
        problems: Tell of every finding as it is found, not of the first ones of each kind.
        report: Where to write Calico's report; None = nowhere.
        kubeconfig: None = what KUBECONFIG names, if anything.
    """

    all_ips: bool = False
    problems: bool = False
    report: Path | None = None
    kubeconfig: str | None = None


def check(session: Session, options: Options) -> int:
    """
    Check everything and print what is wrong.

    Returns:
        The exit status.

    Raises:
        InvalidRequestError: The kubeconfig or the report's file cannot be used.
        RefusedError: A report is wanted of a datastore without an identity.
        StoreError: There is no complete answer.
    """
    with progress("checking") as advance:
        pods = _Pods(session, options.kubeconfig)
        try:
            pods.list(advance)
            audit = Audit(
                session.store, now_ns=time.time_ns(), timeout_s=session.scan_s, advance=advance
            )
            run = _Run(session, options, pods, audit)
            run.look()
        finally:
            pods.close()
    return run.tell()


class _Pods:
    """
    What Kubernetes says.

    Attributes:
        live: None = not asked, or no complete answer.
        undone: What could not be checked, and why.
        failed: Whether that is an error.
    """

    def __init__(self, session: Session, kubeconfig: str | None) -> None:
        path = kubeconfig or _from_environment()
        self._session = session
        self._client: Kubernetes | None = None
        self.live: LivePods | None = None
        self.undone: list[str] = []
        self.failed = False
        if path is None:
            self.undone.append(
                "whether pods still use the addresses: no Kubernetes API is given; name a "
                "kubeconfig file in --kubeconfig or KUBECONFIG"
            )
            return
        timeout_s = max(0.1, min(_PAGE_TIMEOUT_S, session.left_s))
        self._client = Kubernetes(Access(kubeconfig=path), timeout_s=timeout_s)

    @property
    def server(self) -> str:
        """URL of the API."""
        return self._client.server if self._client else ""

    def list(self, advance: Callable[[int], None]) -> None:
        """Ask for all pods."""
        if self._client is None:
            return
        live = LivePods(_enabled_pools(self._session), since_ns=time.time_ns())
        try:
            for pod in self._client.all_pods():
                lives = pod.phase not in FINISHED and not pod.host_network
                live.add(_name(pod), node=pod.node, addresses=_addresses(pod), lives=lives)
                advance(1)
            self.live = live
        except KubernetesError as error:
            self._fail("whether pods still use the addresses", error)

    def without_address(self) -> Iterator[Finding]:
        """Yield pods that still use an address which is not theirs."""
        if self._client is None or self.live is None or self.live.all_seen:
            return
        ipam = IPAM(self._session.store)
        try:
            # A second look, since an address may have moved between the first and the store's.
            for pod in self._client.all_pods():
                if pod.deleted or pod.host_network or pod.phase in FINISHED:
                    continue
                for address in self.live.ours(_addresses(pod)):
                    if not self.live.unseen(_name(pod), address):
                        continue
                    if holder := self._other_holder(ipam, pod, address):
                        yield Finding(Flaw.NOT_ASSIGNED, f"pod {_name(pod)}", holder)
        except KubernetesError as error:
            self._fail("whether pods use addresses that they were not given", error)

    def _other_holder(self, ipam: IPAM, pod: PodFacts, address: IPAddress) -> str:
        """Tell who holds an address instead; "" = the pod, or one cannot tell."""
        try:
            owner = ipam.owner_of(OwnerOf(address=address), timeout_s=self._session.left_s)
        except RefusedError:
            return f"{address} is not assigned"
        except CorruptStateError:  # It is a finding already.
            return ""
        named = [
            f"{each['namespace']}/{each['pod']}"
            for each in (owner.attributes, owner.alternate)
            if each.get("pod") and each.get("namespace")
        ]
        if not named or _name(pod) in named:
            return ""
        return f"{address} is assigned to pod {' and '.join(named)}"

    def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            self._client.close()

    def _fail(self, what: str, error: KubernetesError) -> None:
        complain(str(error))
        self.undone.append(f"{what}: the Kubernetes API gave no complete answer")
        self.failed = True


@dataclass(slots=True)
class _Run:
    """One check on its way."""

    session: Session
    options: Options
    pods: _Pods
    audit: Audit
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    counts: Counter[Flaw] = field(default_factory=Counter)
    examples: dict[Flaw, list[Finding]] = field(default_factory=lambda: defaultdict(list))
    leaked_handles: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Look at everything, and note or print what is found."""
        with self._writer() as writer:
            if self.pods.live or writer or self.options.all_ips:
                for entry in self.audit.entries():
                    self._judge(entry, writer)
            for finding in self.audit:
                self._note(finding)
                if writer and finding.flaw is Flaw.HANDLE_WITHOUT_ADDRESS:
                    self.leaked_handles.append(finding.key)
                    self._flush(writer, _HANDLES_AT_ONCE)
            for finding in self.pods.without_address():
                self._note(finding)
            if writer:
                self._flush(writer, 1)

    def _writer(self) -> AbstractContextManager[ReportWriter | None]:
        path = self.options.report
        if path is None:
            return nullcontext()
        fetch = Fetch(keys=frozenset({_CLUSTER}))
        reading = self.session.store.read(fetch, timeout_s=self.session.left_s)
        found = reading.found[_CLUSTER]
        if found is None:
            raise RefusedError(
                "a report names the cluster, and the datastore has no ClusterInformation yet; "
                "it is made with the first resource"
            )
        cluster = decode_resource(ClusterInformation, _CLUSTER, found.value, found.mod_revision)
        return ReportWriter(path, cluster, compared=self.pods.live is not None)

    def _judge(self, entry: Entry, writer: ReportWriter | None) -> None:
        if self.pods.live is not None:
            verdict, why = self.pods.live.judge(entry)
            word = str(verdict)
        else:
            verdict = Verdict.COOLING if entry.cooling else Verdict.UNKNOWN
            word, why = (str(verdict) if entry.cooling else "assigned"), ""
        self.verdicts[verdict] += 1
        if self.options.all_ips:
            say(f"{entry.address} {word}{f': {why}' if why else ''}; {whose(entry)}")
        if verdict is Verdict.LEAKED:
            self._note(Finding(Flaw.LEAKED, str(entry.address), f"{whose(entry)}; {why}"))
        if writer:
            writer.allocation(entry, in_use=verdict is not Verdict.LEAKED)

    def _note(self, finding: Finding) -> None:
        self.counts[finding.flaw] += 1
        if self.options.problems or self.options.all_ips:
            say(f"{finding.flaw}: {finding.key}: {finding.detail}")
        elif len(self.examples[finding.flaw]) < _EXAMPLES:
            self.examples[finding.flaw].append(finding)

    def _flush(self, writer: ReportWriter, least: int) -> None:
        """Write leaked handles that are still as they were when they were found."""
        if len(self.leaked_handles) < least:
            return
        fetch = Fetch(keys=frozenset(self.leaked_handles))
        reading = self.session.store.read(fetch, timeout_s=self.session.left_s)
        writer.handles(
            (key.removeprefix(HANDLES.start), found.mod_revision)
            for key in self.leaked_handles
            if (found := reading.found[key]) and found.mod_revision <= self.audit.revision
        )
        self.leaked_handles.clear()

    def tell(self) -> int:
        """Print what was found, and return the exit status."""
        for flaw, count in self.counts.items():
            say(f"{count:,} x {flaw}")
            for finding in self.examples[flaw]:
                say(f"  {finding.key}: {finding.detail}")
            if 0 < len(self.examples[flaw]) < count:
                say(f"  and {count - _EXAMPLES:,} more; --show-problem-ips tells of all")
            cause = Finding(flaw, "", "").cause
            say(f"  Left by: {cause.left_by}.")
            say(f"  Remedy: {cause.remedy or 'only a person can tell what it should be'}.")
        checked = ", ".join(f"{self.audit.checked[what]:,} {what}" for what in _CHECKED)
        say(f"Checked at revision {self.audit.revision:,}: {checked}.")
        self._tell_of_pods()
        for undone in self.pods.undone:
            say(f"Not checked: {undone}.")
        if self.options.report is not None:
            unjudged = "" if self.pods.live else ", which calls no address leaked"
            say(f"Report written: {self.options.report}{unjudged}.")
        found = self.counts.total()
        say(f"{found:,} problem{'' if found == 1 else 's'} found.")
        if found:
            return FOUND
        return UNAVAILABLE if self.pods.failed else 0

    def _tell_of_pods(self) -> None:
        if self.pods.live is None:
            return
        counted = ", ".join(f"{self.verdicts[each]:,} {each}" for each in Verdict)
        say(
            f"Compared with {self.pods.live.count:,} pods of {self.pods.server}: of all "
            f"addresses {counted}."
        )
        if self.verdicts[Verdict.UNKNOWN]:
            say(
                "An address cannot be judged when it names no pod, is a minute old at most, or "
                "is on a node that runs no pods."
            )


_CHECKED = ("pools", "blocks", "addresses", "affinities", "handles")


def _from_environment() -> str | None:
    """
    Return the file that KUBECONFIG names.

    Raises:
        InvalidRequestError: It names several.
    """
    paths = list(filter(None, os.environ.get("KUBECONFIG", "").split(os.pathsep)))
    if len(paths) > 1:
        raise InvalidRequestError(
            "KUBECONFIG names several files; name the one to use in --kubeconfig"
        )
    return paths[0] if paths else None


def _enabled_pools(session: Session) -> list[IPNetwork]:
    reading = session.store.read(Fetch(ranges=frozenset({_POOLS})), timeout_s=session.left_s)
    found = []
    for key, stored in reading.ranges[_POOLS].items:
        try:
            pool = decode_resource(IPPool, key, stored.value, stored.mod_revision)
        except CorruptStateError:  # The audit finds it.
            continue
        if not pool.spec.disabled:
            found.append(pool.spec.cidr)
    return found


def _name(pod: PodFacts) -> str:
    return f"{pod.namespace}/{pod.name}"


def _addresses(pod: PodFacts) -> list[IPAddress]:
    found = []
    for text in pod.addresses:
        try:
            found.append(parse_address(text))
        except ValueError:  # It cannot be one of ours.
            continue
    return found
