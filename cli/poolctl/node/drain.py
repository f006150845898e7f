"""
`poolctl node drain`: give up the blocks of a node that it does not need any more.

Rules:

1. Addresses in use are not touched: who empties a node moves its pods away first.
2. A block that is not empty stays the node's; what it holds, and for whom, is told.
"""

from dataclasses import dataclass

from poolctl.config import Session
from poolctl.ipam.release import whose
from poolctl.node.hosts import check_known, warn_of
from poolctl.report import REFUSED, complain, remark, say, warn
from poolctl.terminal import confirmed, progress
from poolmgr.cidr import IPNetwork
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE
from poolmgr.core.live import entries
from poolmgr.core.outline import Outline
from poolmgr.core.request import ReleaseAffinities
from poolmgr.core.tenancy import cooling, host_of
from poolmgr.errors import PoolmgrError
from poolmgr.fleet import Fleet
from poolmgr.ipam import IPAM


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A block of the node that is not empty; `held` are its addresses in use, and whose."""

    cidr: IPNetwork
    held: tuple[str, ...]
    cooling: int


class _Scan:
    """The blocks of a node, as of one revision."""

    def __init__(self, session: Session, name: str) -> None:
        self._name = name
        self.empty: list[IPNetwork] = []
        self.kept: list[_Kept] = []
        with progress("reading blocks") as advance:
            fleet = Fleet(session.store, timeout_s=session.scan_s, advance=advance)
            cidrs = fleet.affinities(name)  # refuses what is no name
            self.census = fleet.census(look=self._look)
        self.status = warn_of(fleet, session)
        found = {*self.empty, *(each.cidr for each in self.kept)}
        self.without_block = [cidr for cidr in cidrs if cidr not in found]

    def all(self) -> set[IPNetwork]:
        """Return all blocks that are the node's."""
        return {*self.empty, *self.without_block, *(each.cidr for each in self.kept)}

    def _look(self, block: Outline) -> None:
        if host_of(block.affinity) != self._name:
            return
        held, cold = tuple(_held(block)), cooling(block)
        if held or cold:
            self.kept.append(_Kept(cidr=block.cidr, held=held, cooling=cold))
        else:
            self.empty.append(block.cidr)


def drain_node(session: Session, name: str, *, dry_run: bool, yes: bool) -> int:
    """
    Take the empty blocks from a node.

    Args:
        dry_run: Only tell what would be done.
        yes: Do not ask.

    Returns:
        The exit status: an error as long as the node has blocks.

    Raises:
        RefusedError: There is no such node.
        click.UsageError: Nobody can be asked.
        PoolmgrError: Any of the library's; it is safe to ask again.
    """
    before = _Scan(session, name)
    check_known(before.census, name)
    going = [*before.empty, *before.without_block]
    after = before
    if going and not dry_run:
        if not confirmed(f"Take {_count(len(going), 'empty block')} from node/{name}", yes=yes):
            say(f"node/{name} keeps its blocks")
            return REFUSED
        after = _release_empty(session, name)
        going = [cidr for cidr in going if cidr not in after.all()]
    for cidr in going:
        say(f"{cidr} {'would be given up' if dry_run else 'given up'}")
    stuck = [] if dry_run else [*after.empty, *after.without_block]
    for cidr in stuck:
        complain(
            f"{cidr} could not be given up; poolctl ipam check tells what is wrong with it"
        )
    return max(_tell_kept(name, after.kept), REFUSED if stuck else 0, before.status)


def _release_empty(session: Session, name: str) -> _Scan:
    """Take the empty blocks from the node, and look what it has left."""
    request = ReleaseAffinities(host=name, only_empty=True)
    try:
        # What it has to leave alone is found by the look, with what is in it.
        IPAM(session.store).release_affinities(request, timeout_s=session.left_s)
        return _Scan(session, name)
    except (PoolmgrError, KeyboardInterrupt):
        warn(
            f"empty blocks of node/{name} may be given up already; what was done stays done, "
            "and running the command again does the rest"
        )
        raise


def _tell_kept(name: str, kept: list[_Kept]) -> int:
    for block in kept:
        cold = f", {block.cooling:,} cooling down" if block.cooling else ""
        say(f"{block.cidr} kept: {_count(len(block.held), 'address', 'es')} in use{cold}")
        for line in block.held:
            say(f"  {line}")
    if not kept:
        remark(
            f"nothing of node/{name} is in use; its next pod claims a block again: cordon it"
        )
        return 0
    held = _count(sum(len(each.held) for each in kept), "address", "es")
    complain(f"node/{name} keeps {_count(len(kept), 'block')} with {held} in use")
    return REFUSED


def _held(block: Outline) -> list[str]:
    return [
        f"{each.address} {whose(each)}"
        for each in entries(block)
        if not each.cooling and (each.handle or "").lower() != WINDOWS_RESERVED_HANDLE
    ]


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"
