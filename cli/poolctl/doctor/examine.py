"""The order of `poolctl doctor`'s checks; what cannot be looked at is a finding, no error."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from poolctl.config import Session
from poolctl.doctor import access, calico, members, reach, stored, tls
from poolctl.doctor.findings import Finding, ok, problem, unknown, warning
from poolctl.doctor.greeting import greet
from poolmgr.core.records import CONFIG_KEY
from poolmgr.core.txn import Fetch, Range
from poolmgr.errors import CompactedError, PoolmgrError, StoreRefusedError
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.port import ATTEMPT_TIMEOUT_S
from poolmgr.store.settings import Settings
from poolmgr.store.source import CALICO_FILE, CONFIG_FILE

_PATIENCE_S = 5.0
"""More than an ADD has: a slow member is another finding than a dead one."""

_VARIABLES = ("ENDPOINTS", "USERNAME", "PASSWORD", "CA_CERT_FILE", "CERT_FILE", "KEY_FILE")


def examine(
    session: Session, conf_dir: Path, bin_dirs: Sequence[Path], kubeconfig: str | None
) -> Iterator[Finding]:
    """Look at everything, the cause before what comes of it."""
    try:
        settings = session.settings
    except PoolmgrError as error:
        yield problem("settings", str(error), "name etcd as the message says")
    else:
        yield _settings(session)
        yield from _etcd(session, settings)
    if kubeconfig:
        yield _kubernetes(session, kubeconfig)
    yield from _plugin(session, conf_dir, bin_dirs)


def _settings(session: Session) -> Finding:
    source = session.etcd.partition(", from ")[2]
    ignored = list(_ignored(source, os.environ))
    said = f"; ignored: {', '.join(ignored)}" if ignored else ""
    return ok("settings", f"{session.etcd}{said}")


def _ignored(source: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what names an etcd as well, or how to be let in, and does not count."""
    if "/" in source:
        for name in _VARIABLES:
            for variable in (f"CALICO_ETCD_{name}", f"ETCD_{name}"):
                if environ.get(variable):
                    yield variable
    elif source != "ETCD_ENDPOINTS in the environment" and environ.get("ETCD_ENDPOINTS"):
        yield "ETCD_ENDPOINTS"
    for file in (CONFIG_FILE, CALICO_FILE):
        if str(file) not in source and os.path.lexists(file):
            yield str(file)


def _etcd(session: Session, settings: Settings) -> Iterator[Finding]:
    """Look at etcd itself, and then at what is stored there if it answers."""
    timeout_s = min(_PATIENCE_S, session.left_s)
    try:
        with closing(EtcdStore(settings)) as store:
            told, silent = members.ask_all(store, settings.addresses, timeout_s=timeout_s)
    except PoolmgrError as error:
        yield problem("settings", str(error), "mend what it names")
        return
    greet_ = partial(greet, settings=settings, timeout_s=timeout_s)
    explain = partial(reach.explain, settings=settings, timeout_s=timeout_s)
    with ThreadPoolExecutor(len(settings.addresses)) as executor:
        greetings = dict(
            zip(settings.addresses, executor.map(greet_, settings.addresses), strict=True)
        )
        silenced = [greetings[each] for each in silent]
        yield from executor.map(explain, silent.keys(), silent.values(), silenced)
    yield from members.judge(told)
    yield from map(members.clock, (each for each in greetings.values() if each not in silenced))
    yield from tls.examine(settings, list(greetings.values()))
    if any(reach.WANTS_USER in each.failure for each in told):
        yield problem("permissions", "etcd wants a user and a password", reach.LOGIN)
        return
    if not any(each.read_s is not None for each in told):
        yield unknown("stored", "nothing can be read")
        return
    revision = max(each.revision for each in told)
    parts: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("compaction", lambda: [members.compaction(revision, dropped=_is_dropped(session))]),
        ("permissions", lambda: access.examine(session.store, settings)),
        ("stored", lambda: stored.examine(session.store, timeout_s=session.left_s)),
        ("calico", lambda: calico.examine(session.store, timeout_s=session.left_s)),
    )
    for title, part in parts:
        yield from _guarded(title, part, access.user_of(settings))


def _guarded(title: str, part: Callable[[], Iterable[Finding]], who: str) -> Iterator[Finding]:
    try:
        yield from part()
    except StoreRefusedError as error:
        yield unknown(title, f"{who} may not read it: {error}")
    except PoolmgrError as error:
        yield unknown(title, str(error))


def _is_dropped(session: Session) -> bool:
    """Tell whether etcd keeps its first revision no more."""
    one = Fetch(ranges=frozenset({Range(start=CONFIG_KEY, end=f"{CONFIG_KEY}\0")}))
    try:
        session.store.read(one, timeout_s=ATTEMPT_TIMEOUT_S, revision=1)
    except CompactedError:
        return True
    return False


def _kubernetes(session: Session, kubeconfig: str) -> Finding:
    from poolmgr.cni.host import node_name
    from poolmgr.kube.access import TIMEOUT_S, Access
    from poolmgr.kube.client import Kubernetes

    remedy = "see that the file names the cluster and a user who may get nodes and list pods"
    try:
        name = node_name({})
        timeout_s = min(TIMEOUT_S, session.left_s)
        with closing(Kubernetes(Access(kubeconfig=kubeconfig), timeout_s=timeout_s)) as api:
            started = time.perf_counter()
            found = api.node(name)
            took = f"{1000 * (time.perf_counter() - started):.0f} ms"
            if found is None:
                return warning(
                    "kubernetes",
                    f"{api.server} answers in {took}, and has no node {name}",
                    "if this host is a node of it, name it as Kubernetes does: "
                    "/var/lib/calico/nodename, or nodename in the network configuration",
                )
            pods = len(api.pods(name))
            return ok(
                "kubernetes",
                f"{api.server} answers in {took}, and knows {pods:,} pods of node {name}",
            )
    except PoolmgrError as error:
        return problem("kubernetes", str(error), remedy)


def _plugin(session: Session, conf_dir: Path, bin_dirs: Sequence[Path]) -> Iterator[Finding]:
    """Judge this node's networks, where it has any of ours."""
    if not conf_dir.is_dir():
        yield ok("plugin", f"this host has no {conf_dir}, so it runs no pods")
        return
    from poolctl.node.status import look

    status = look(session, conf_dir, bin_dirs)
    ours = ", ".join(each.name for each in status.networks if each.is_ours)
    if not ours:
        yield warning(
            "plugin",
            f"no network in {conf_dir} gets addresses from poolmgr-ipam",
            "nothing, if this host is no node; else: poolctl node status",
        )
        return
    found = [*status.problems]
    for network in status.networks:
        found += [f"{network.file}, network {network.name}: {why}" for why in network.problems]
    for why in found:
        fact, _, remedy = why.partition("; ")
        yield problem("plugin", fact, remedy or "poolctl node status tells more")
    if not found:
        yield ok("plugin", f"serves {ours}")
