"""
`poolctl ipam release`: give addresses back that nobody else does.

Rules:

1. An address is released only from who was seen to hold it. Whoever takes it meanwhile keeps
   it, and that is said.
2. Of whom nobody knows whether he lost it, nothing else is said: he was not refused.
3. Its holder is fenced as by a DEL: an ADD of his that is still under way gets nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from poolctl.config import Session
from poolctl.report import REFUSED, complain, exit_code, say
from poolctl.terminal import confirmed, progress
from poolmgr.cidr import IPAddress
from poolmgr.core.block import Attribute
from poolmgr.core.live import Entry
from poolmgr.core.outcome import Owner, Released
from poolmgr.core.request import HeldBy, OwnerOf, Release, ReleaseIPs
from poolmgr.errors import CommitUnknownError, RefusedError, StoreError
from poolmgr.ipam import IPAM

_SHOWN = ("namespace", "pod", "identity", "network", "interface", "type", "node")
_NAMED = 5
_AT_ONCE = 256
"""Addresses that are asked for at once; the library splits them into transactions."""


@dataclass(slots=True)
class Tally:
    """
    What became of addresses.

    Attributes:
        gone: Were not assigned any more.
        refused: Belong to somebody else by now.
        unknown: May have been released.
    """

    released: int = 0
    gone: int = 0
    refused: int = 0
    unknown: int = 0

    @property
    def known(self) -> int:
        """How many are settled."""
        return self.released + self.gone + self.refused

    def __str__(self) -> str:
        """Count in one line."""
        counts = f"{self.released:,} released, {self.gone:,} not assigned any more"
        refused = f"{self.refused:,} refused, as they belong to somebody else by now"
        unknown = f"; of {self.unknown:,} it is unknown" if self.unknown else ""
        return f"{counts}, {refused}{unknown}"


def release_addresses(
    session: Session, addresses: Sequence[IPAddress], *, yes: bool, dry_run: bool = False
) -> int:
    """
    Release addresses from who holds them now.

    Args:
        yes: Do not ask before.
        dry_run: Only tell who holds them.

    Returns:
        The exit status.

    Raises:
        click.UsageError: Nobody can be asked.
        PoolmgrError: Any of the library's; what was released until then stays released.
    """
    ipam, status = IPAM(session.store), 0
    for address in addresses:
        try:
            owner = ipam.owner_of(OwnerOf(address=address), timeout_s=session.left_s)
        except RefusedError as error:  # nobody
            complain(str(error))
            status = REFUSED
            continue
        if dry_run:
            say(f"{address} would be released, {whose(owner)}")
            continue
        if not confirmed(f"Release {address}, {whose(owner)}", yes=yes):
            say(f"{address} kept")
            status = REFUSED
            continue
        status = max(status, _release(session, ipam, owner))
    return status


def _release(session: Session, ipam: IPAM, owner: Owner) -> int:
    seen = Release(
        address=owner.address, handle=owner.handle, sequence_number=owner.sequence_number
    )
    done = ipam.release_ips(ReleaseIPs(releases=(seen,), fence=True), timeout_s=session.left_s)
    for address in done.released:
        say(f"{address} released, was {whose(owner)}")
    for address in done.unallocated:
        complain(f"address {address} is not assigned any more")
    _raise_if_cut_off(done)
    for error in done.errors:
        complain(f"{error}; somebody else changed it at the same time, look and try again")
    return 0 if done.released else REFUSED


def release_handles(
    session: Session, handles: Sequence[str], *, yes: bool, dry_run: bool = False
) -> int:
    """Release all that handles hold now; for the rest see `release_addresses`."""
    ipam, status = IPAM(session.store), 0
    for handle in handles:
        held = ipam.held_by(HeldBy(handle=handle), timeout_s=session.left_s).allocations
        releases = [
            Release(address=each.address, handle=handle, sequence_number=each.sequence_number)
            for each in held
        ]
        if not releases:
            complain(f"handle {handle} holds no address")
            status = REFUSED
        elif dry_run:
            for each in releases:
                say(f"{each.address} would be released, of handle {handle}")
        elif not confirmed(f"Release {_named(releases)}, of handle {handle}", yes=yes):
            say(f"handle {handle} kept")
            status = REFUSED
        else:
            status = max(status, _release_handle(session, handle, releases))
    return status


def _release_handle(session: Session, handle: str, releases: Sequence[Release]) -> int:
    tally = Tally()
    try:
        release_all(session, releases, tally)
    finally:
        say(f"handle {handle}: of {_named(releases)}: {tally}")
    return REFUSED if tally.refused else 0


def release_all(session: Session, releases: Sequence[Release], tally: Tally) -> None:
    """
    Release many addresses, and keep count of what became of them.

    Raises:
        StoreError: Not all was done; `tally` says how far it came.
    """
    ipam = IPAM(session.store)
    with progress("releasing addresses", len(releases)) as advance:
        for at in range(0, len(releases), _AT_ONCE):
            part = tuple(releases[at : at + _AT_ONCE])
            before = tally.known
            try:
                _release_part(session, ipam, part, tally)
            except (CommitUnknownError, KeyboardInterrupt):
                tally.unknown += len(part) - (tally.known - before)
                raise
            advance(len(part))


def _release_part(
    session: Session, ipam: IPAM, part: tuple[Release, ...], tally: Tally
) -> None:
    done = ipam.release_ips(ReleaseIPs(releases=part, fence=True), timeout_s=session.left_s)
    tally.released += len(done.released)
    tally.gone += len(done.unallocated)
    _raise_if_cut_off(done)
    settled = {*done.released, *done.unallocated}
    for seen in part:
        # One that is another's by now has kept the others of its block.
        if seen.address not in settled:
            _release_one(session, ipam, seen, tally)


def _release_one(session: Session, ipam: IPAM, seen: Release, tally: Tally) -> None:
    try:
        ipam.owner_of(OwnerOf(address=seen.address), timeout_s=session.left_s)
    except RefusedError:  # Nobody; a release by number would call it a stranger's.
        tally.gone += 1
        return
    done = ipam.release_ips(ReleaseIPs(releases=(seen,), fence=True), timeout_s=session.left_s)
    tally.released += len(done.released)
    tally.gone += len(done.unallocated)
    _raise_if_cut_off(done)
    tally.refused += len(done.errors)
    for error in done.errors:
        complain(f"{error}; it is kept")


def _raise_if_cut_off(done: Released) -> None:
    """Raise what ended a release, or left open what became of it; a refusal does neither."""
    worst = max(done.errors, key=exit_code, default=None)
    if isinstance(worst, StoreError):
        raise worst


def whose(owner: Owner | Entry | Attribute) -> str:
    """Say who holds an address."""
    match owner:
        case Attribute():
            handle, stored = owner.owner, owner.secondary
        case _:
            handle, stored = owner.handle, owner.attributes
    facts = [f"{key} {stored[key]}" for key in _SHOWN if stored.get(key)]
    held = f"of handle {handle}" if handle else "of no handle"
    return f"{held} ({', '.join(facts)})" if facts else held


def _named(releases: Sequence[Release]) -> str:
    names = ", ".join(str(each.address) for each in releases[:_NAMED])
    more = f" and {len(releases) - _NAMED:,} more" if len(releases) > _NAMED else ""
    count = len(releases)
    return f"{count:,} address{'' if count == 1 else 'es'} ({names}{more})"
