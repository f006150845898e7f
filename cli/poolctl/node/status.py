"""
`poolctl node status`: which IPAM the networks of this node use, and what is wrong with it.

Rules:

1. Files are read in the runtime's order; the first that it can use is its default network.
2. A file that it cannot use is passed over, by it and here, and told.
3. What would serve an ADD is judged as the plugin does: by its own reading of the
   configuration, and by the planner's choice of pools.
4. Wrong is what keeps our plugin from serving, and what keeps the default network from working.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from poolctl.config import Session
from poolctl.report import advice
from poolmgr.api import IPPool
from poolmgr.cni import runtime
from poolmgr.cni.host import node_name
from poolmgr.cni.status import supply
from poolmgr.core.pools import Criteria, select
from poolmgr.errors import (
    CorruptStateError,
    InvalidRequestError,
    NoMatchingPoolError,
    PoolmgrError,
)

_READ_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """
    A plugin's executable.

    Attributes:
        path: None = it is in no directory of plugins.
    """

    type: str
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """
    Pools of a family, as they are for this node.

    Attributes:
        kept: Name and CIDR of those that serve, best first.
        reasons: Name -> why it does not serve.
    """

    family: int
    kept: tuple[tuple[str, str], ...]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStatus:
    """
    What is known of a network.

    Attributes:
        default: Whether the runtime attaches containers to it that name none.
        ipam: None = the network has no IPAM plugin.
        node: Name of this node on it; "" = the network is not ours, or nobody can say.
        annotations: Who tells us those of a pod: "runtime", "kubernetes"; the latter also those
            of its namespace. None = nobody can say.
        problems: What is wrong, each with the remedy.
    """

    file: str
    name: str
    default: bool
    delegated_by: str
    main: Program
    ipam: Program | None
    chained: tuple[Program, ...]
    node: str = ""
    annotations: tuple[str, ...] | None = None
    serving: tuple[Serving, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether its addresses come from us."""
        return self.ipam is not None and self.ipam.type == runtime.OURS


@dataclass(slots=True)
class Status:
    """
    What is known of this node.

    Attributes:
        problems: Of no single network.
    """

    conf_dir: Path
    bin_dirs: tuple[Path, ...]
    networks: list[NetworkStatus] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(each.problems for each in self.networks)


def look(session: Session, conf_dir: Path, bin_dirs: Sequence[Path]) -> Status:
    """Find out what the networks of this node are, and how they are served."""
    status = Status(conf_dir=conf_dir, bin_dirs=tuple(bin_dirs))
    for file in _files(status):
        try:
            found = runtime.networks(file.name, file.read_bytes())
        except (OSError, InvalidRequestError) as error:
            why = f"{file.name}: {error.strerror}" if isinstance(error, OSError) else str(error)
            status.problems.append(f"{why}; runtimes pass over the file: mend or remove it")
            continue
        first = not status.networks
        for number, network in enumerate(found):
            default = first and number == 0
            status.networks.append(_network(session, status, file, network, default=default))
    if not status.networks and not status.problems:
        status.problems.append(
            f"{conf_dir} has no network configuration; put one there, deploy/examples has some"
        )
    elif status.networks and not any(each.is_ours for each in status.networks):
        status.problems.append(
            f"no network gets addresses from {runtime.OURS}; write it as ipam.type into the "
            "configuration of one"
        )
    return status


def _files(status: Status) -> Iterator[Path]:
    """Yield the files that a runtime looks at, in its order."""
    try:
        files = sorted(status.conf_dir.iterdir(), key=lambda each: each.name)
    except OSError as error:
        status.problems.append(
            f"{status.conf_dir} is not readable: {error.strerror}; name the runtime's "
            "directory of network configurations by --conf-dir"
        )
        return
    for file in files:
        if file.suffix not in runtime.CONF_SUFFIXES or file.is_dir():
            continue
        if file.exists() and not file.is_file():
            status.problems.append(
                f"{file.name} is not a regular file, so runtimes may wait for it; remove it"
            )
        else:
            yield file


def _network(
    session: Session, status: Status, file: Path, network: runtime.Network, *, default: bool
) -> NetworkStatus:
    main = network.main
    programs = {
        type_: Program(type=type_, path=_find(type_, status.bin_dirs))
        for each in network.plugins
        for type_ in (each.type, each.ipam)
        if type_
    }
    chained = (each.type for each in network.plugins if each is not main)
    seen = NetworkStatus(
        file=file.name,
        name=network.name,
        default=default,
        delegated_by=network.delegated_by,
        main=programs[main.type],
        ipam=programs[main.ipam] if main.ipam else None,
        chained=tuple(programs[type_] for type_ in chained),
    )
    problems = []
    if default or main.is_ours:
        problems = [
            each for program in programs.values() for each in _unusable(program, status)
        ]
    if main.is_ours:
        seen, more = _served(session, seen, main)
        problems += more
    return replace(seen, problems=tuple(problems))


def _find(type_: str, bin_dirs: Sequence[Path]) -> Path | None:
    paths = (directory / type_ for directory in bin_dirs)
    return next((path for path in paths if path.is_file()), None)


def _unusable(program: Program, status: Status) -> Iterator[str]:
    """Say what keeps a plugin from being run."""
    ours = program.type == runtime.OURS
    path, where = program.path, " and ".join(map(str, status.bin_dirs))
    bin_dir = status.bin_dirs[0] if path is None else path.parent
    remedy = f"poolctl node install --bin-dir {bin_dir}" if ours else "install it"
    if path is None:
        yield f"plugin {program.type} is not in {where}; {remedy}, or name --bin-dir"
        return
    needed = [path, path.with_name(f"{path.name}.direct")] if ours else [path]
    for each in needed:
        if not each.is_file():
            yield f"{each} is missing; {remedy}"
        elif not os.access(each, os.X_OK):
            yield f"{each} is not executable; {remedy if ours else 'chmod +x it'}"


def _served(
    session: Session, seen: NetworkStatus, plugin: runtime.Plugin
) -> tuple[NetworkStatus, list[str]]:
    """Add what our plugin would do on a network, and return what is wrong with that."""
    problems, asked = [], session
    try:
        call = plugin.call(wishes=True)
        ways = (
            ("runtime", plugin.gets_annotations),
            ("kubernetes", call.kubernetes is not None),
        )
        seen = replace(seen, annotations=tuple(name for name, open_ in ways if open_))
        seen = replace(seen, node=node_name(call.naming))
        asked = session.following(call.etcd)
        found = supply(call, seen.node, asked.store, timeout_s=min(_READ_S, asked.left_s))
        if found.unanswered is not None:
            problems.append(
                f"no pod gets an address, and which nodeSelectors match is not known: "
                f"{found.unanswered}"
            )
        for family in call.families:
            criteria = found.criteria(call, seen.node, family)
            serving, problem = _serving(found.pools, criteria, found.unreadable)
            seen = replace(seen, serving=(*seen.serving, serving))
            problems += [problem] if problem else []
    except PoolmgrError as error:
        problems.append(f"{error}{advice(error, asked)}")
    return seen, problems


def _serving(
    pools: Sequence[IPPool], criteria: Criteria, unreadable: Mapping[str, str]
) -> tuple[Serving, str]:
    """Return the verdict on the pools of a family, and what is wrong with it; "" = nothing."""
    own = [pool for pool in pools if pool.spec.cidr.version == criteria.family]
    # Those of the other family crowd the list; where pools are named, one may be the mistake.
    judged = pools if criteria.requested else own
    kept: tuple[tuple[str, str], ...] = ()
    reasons: Mapping[str, str] = {}
    problem = ""
    try:
        selection = select(judged, criteria, unreadable=unreadable)
        kept = tuple((each.name, str(each.cidr)) for each in selection.kept)
        reasons = selection.reasons
    except NoMatchingPoolError as error:
        reasons = error.reasons
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        problem = str(error).removesuffix(f": {listed}")
        if reasons and "poolctl" not in problem:
            problem += "; change a pool, or the network configuration, as the reasons say"
    except CorruptStateError as error:
        problem = str(error)
    names = {name for name, _ in kept} | reasons.keys()
    others = [pool.metadata.name for pool in own if pool.metadata.name not in names]
    if criteria.requested:
        why = "the network configuration names other pools"
        reasons = {**reasons, **dict.fromkeys(others, why)}
    return Serving(family=criteria.family, kept=kept, reasons=reasons), problem
