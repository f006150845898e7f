"""
`poolctl node remove`: release what a node held that is gone for good.

Rules:

1. The fence comes first: whatever an ADD of the node still had under way is refused, or was
   committed before and is found by the look that follows.
2. An address is released only from whom it was seen with; a sticky one is let go of, and stays
   its owner's.
3. The Node resource goes last. A run that was cut off leaves names by which the next one finds
   what is left; a run that finds nothing is a success.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from poolctl.config import Session
from poolctl.ipam.release import whose
from poolctl.node.hosts import check_known, warn_of
from poolctl.report import REFUSED, complain, exit_code, say, warn
from poolctl.terminal import confirmed, progress
from poolmgr.cidr import IPAddress, IPNetwork
from poolmgr.core.chronicle import assigned_at_ns
from poolmgr.core.held import is_sticky
from poolmgr.core.request import CollectGarbage, Release, ReleaseAffinities, ReleaseIPs
from poolmgr.core.tenancy import Census
from poolmgr.errors import PoolmgrError, RefusedError
from poolmgr.fleet import Fleet, Usage, used_in
from poolmgr.ipam import IPAM
from poolmgr.nodes import delete_node

_PASSES = 3
"""Looks for addresses: who changes a block between a look and the release costs one."""

_AT_ONCE = 256
"""Addresses that are released, and told of, at once."""

_ALIVE_S = 300
"""A node that was given an address within this time is alive."""


class _Scan:
    """What is left of a node, as of one revision."""

    def __init__(self, session: Session, name: str) -> None:
        with progress("reading blocks") as advance:
            fleet = Fleet(session.store, timeout_s=session.scan_s, advance=advance)
            self.affinities: list[IPNetwork] = [*fleet.affinities(name)]
            self.usages: list[Usage] = []
            self.census: Census = fleet.census(
                look=lambda block: self.usages.extend(used_in(block, name))
            )
        self.status = warn_of(fleet, session)
        self.revision = fleet.revision


def remove_node(
    session: Session,
    name: str,
    *,
    dry_run: bool,
    yes: bool,
    force: bool,
    kubeconfig: str | None,
) -> int:
    """
    Release all that a node held, and forget it.

    Args:
        dry_run: Only tell what would be done.
        yes: Do not ask.
        force: Do not look whether the node is alive.
        kubeconfig: Of the Kubernetes API that knows which nodes there are.

    Returns:
        The exit status.

    Raises:
        RefusedError: There is no such node, or it is alive.
        click.UsageError: Nobody can be asked.
        PoolmgrError: Any of the library's; it is safe to ask again.
    """
    scan = _Scan(session, name)
    if name in scan.census and not scan.census[name].remains:
        say(f"nothing is left of node/{name}")
        return scan.status
    check_known(scan.census, name)
    if not force:
        _check_dead(session, name, scan.usages, kubeconfig)
    if dry_run:
        _rehearse(name, scan)
        return scan.status
    if not confirmed(_question(name, scan), yes=yes):
        say(f"node/{name} kept")
        return REFUSED
    try:
        return _remove(session, name)
    except (PoolmgrError, KeyboardInterrupt):
        warn(
            f"node/{name} is not wholly removed; what was done stays done, and running the "
            "command again does the rest"
        )
        raise


def _check_dead(
    session: Session, name: str, usages: Sequence[Usage], kubeconfig: str | None
) -> None:
    if kubeconfig is not None:
        from poolmgr.kube.access import TIMEOUT_S, Access
        from poolmgr.kube.client import Kubernetes

        timeout_s = min(TIMEOUT_S, session.left_s)
        kubernetes = Kubernetes(Access(kubeconfig=kubeconfig), timeout_s=timeout_s)
        try:
            if kubernetes.node(name) is not None:
                raise RefusedError(
                    f"Kubernetes at {kubernetes.server} has node {name}; delete it there, or "
                    "say --force"
                )
        finally:
            kubernetes.close()
    young_ns = time.time_ns() - _ALIVE_S * 1_000_000_000
    for usage in usages:
        at_ns = assigned_at_ns(usage.owner)
        if at_ns is not None and at_ns > young_ns:
            at = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
            raise RefusedError(
                f"node/{name} was given {usage.address} at {at:%Y-%m-%dT%H:%M:%SZ} and seems "
                "alive; if it is not, say --force"
            )


def _question(name: str, scan: _Scan) -> str:
    addresses, blocks = len(scan.usages), len(scan.affinities)
    return (
        f"Remove node/{name} for good: release the {addresses:,} "
        f"{'address' if addresses == 1 else 'addresses'} that it uses and its {blocks:,} "
        f"{'block' if blocks == 1 else 'blocks'}"
    )


def _rehearse(name: str, scan: _Scan) -> None:
    for cidr in scan.affinities:
        say(f"block {cidr} would be given up")
    for usage in scan.usages:
        if is_sticky(usage.owner):
            identity = usage.owner.secondary.get("identity", "its owner")
            say(f"{usage.address} would be kept for {identity}")
        else:
            say(f"{usage.address} would be released, {whose(usage.owner)}")
    if scan.census[name].has_resource:
        say(f"node/{name} would be deleted")


def _remove(session: Session, name: str) -> int:
    ipam = IPAM(session.store)
    request = ReleaseAffinities(host=name, forget_host=True)
    done = ipam.release_affinities(request, timeout_s=session.left_s)
    say(f"node/{name}: {done.blocks:,} {'block' if done.blocks == 1 else 'blocks'} given up")
    errors = done.errors
    scan = _Scan(session, name)
    for _ in range(_PASSES):
        if not scan.usages:
            break
        errors = _release(session, ipam, name, scan.usages)
        scan = _Scan(session, name)
    blocks = sum(scan.census[name].blocks.values())
    if scan.usages or scan.status or blocks:
        for error in errors:
            complain(str(error))
        complain(
            f"node/{name} is not removed: addresses {len(scan.usages):,} and blocks {blocks:,} "
            "are still its own, or do not decode; poolctl ipam check tells more"
        )
        return max([REFUSED, *map(exit_code, errors)])
    if delete_node(session.store, name, session.left_s, since=scan.revision):
        say(f"node/{name} deleted")
    else:
        say(f"node/{name} removed; it had no Node resource")
    return 0


def _release(
    session: Session, ipam: IPAM, name: str, usages: Sequence[Usage]
) -> tuple[PoolmgrError, ...]:
    """Release what is seen used; return why some of it was not."""
    freed = _let_go(session, ipam, name, usages)
    owners = {each.address: each for each in usages}
    for address in sorted(freed, key=_by_number):
        what = f", was {whose(owners[address].owner)}" if address in owners else ""
        say(f"{address} released{what}")
    releases = tuple(
        Release(address=each.address, handle=each.owner.owner, sequence_number=each.number)
        for each in usages
        if not is_sticky(each.owner) and each.address not in freed
    )
    errors: list[PoolmgrError] = []
    for at in range(0, len(releases), _AT_ONCE):
        request = ReleaseIPs(releases=releases[at : at + _AT_ONCE], fence=True)
        done = ipam.release_ips(request, timeout_s=session.left_s)
        for address in sorted(done.released, key=_by_number):
            say(f"{address} released, was {whose(owners[address].owner)}")
        errors += done.errors
    return tuple(errors)


def _by_number(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def _let_go(session: Session, ipam: IPAM, name: str, usages: Sequence[Usage]) -> set[IPAddress]:
    """Let go of sticky addresses; return what that has freed, which may be more than these."""
    freed: set[IPAddress] = set()
    sticky = [each for each in usages if is_sticky(each.owner)]
    for network in sorted({each.owner.secondary.get("network", "") for each in sticky}):
        request = CollectGarbage(host=name, network=network, valid=frozenset())
        freed |= {*ipam.collect_garbage(request, timeout_s=session.left_s).released}
    for each in sticky:
        if each.address not in freed:
            identity = each.owner.secondary.get("identity", "its owner")
            say(f"{each.address} kept for {identity}")
    return freed
