"""`poolctl ipam release`: give addresses back that nobody else does."""

from collections.abc import Sequence

from poolctl.config import Session
from poolctl.report import REFUSED, complain, say
from poolctl.terminal import confirmed
from poolmgr.cidr import IPAddress
from poolmgr.core.outcome import Owner
from poolmgr.core.request import OwnerOf, Release, ReleaseIPs
from poolmgr.errors import RefusedError
from poolmgr.ipam import IPAM

_SHOWN = ("node", "namespace", "pod", "identity", "network", "interface", "type")


def release_addresses(session: Session, addresses: Sequence[IPAddress], *, yes: bool) -> int:
    """
    Release addresses from who holds them now; who takes one meanwhile keeps it.

    Args:
        yes: Do not ask before.

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
        if not confirmed(f"Release {address}, {_whose(owner)}", yes=yes):
            say(f"{address} kept")
            status = REFUSED
            continue
        status = max(status, _release(session, ipam, owner))
    return status


def _release(session: Session, ipam: IPAM, owner: Owner) -> int:
    seen = Release(
        address=owner.address, handle=owner.handle, sequence_number=owner.sequence_number
    )
    done = ipam.release_ips(ReleaseIPs(releases=(seen,)), timeout_s=session.left_s)
    for address in done.released:
        say(f"{address} released, was {_whose(owner)}")
    for address in done.unallocated:
        complain(f"address {address} is not assigned any more")
    for error in done.errors:
        complain(f"{error}; somebody else changed it at the same time, look and try again")
    return 0 if done.released else REFUSED


def _whose(owner: Owner) -> str:
    facts = [f"{key} {owner.attributes[key]}" for key in _SHOWN if owner.attributes.get(key)]
    held = f"of handle {owner.handle}" if owner.handle else "of no handle"
    return f"{held} ({', '.join(facts)})" if facts else held
