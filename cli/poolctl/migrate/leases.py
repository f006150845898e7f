"""
`poolctl migrate host-local`: leases of the host-local plugin become allocations of ours.

Rules:

1. An address is assigned as an ADD of the network would have done it, so that its DEL, CHECK
   and garbage collection find it.
2. A lease that does not say its interface becomes what calico-ipam would have stored: the DEL
   of any interface of the container releases it, garbage collection leaves it alone.
3. What cannot be imported is told, and does not keep the others out. Running it again imports
   what is missing.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from poolctl.config import Session
from poolctl.rehearsal import Rehearsal
from poolctl.report import REFUSED, say
from poolmgr.cidr import IPAddress
from poolmgr.cni.hostlocal import Lease, is_lease, lease
from poolmgr.cni.verbs import timestamp
from poolmgr.core.outcome import Owner
from poolmgr.core.request import AssignIP, Attachment, OwnerOf
from poolmgr.errors import AddressInUseError, InvalidRequestError, RefusedError
from poolmgr.ipam import IPAM


class _Fate(StrEnum):
    IMPORTED = "imported"
    IMPORTABLE = "would be imported"
    THERE = "imported already"
    LEFT = "not imported"


@dataclass(frozen=True, slots=True)
class _Importer:
    """
    Imports leases one after another.

    Attributes:
        ours: Addresses of this run and their networks: a dry run finds none of them stored.
        given: Handle, interface and family -> address, of this run, for the same reason.
    """

    session: Session
    ipam: IPAM
    node: str
    dry_run: bool
    ours: dict[IPAddress, str]
    given: dict[tuple[str, str, int], IPAddress]

    def bring_in(self, network: str, each: Lease) -> _Fate:
        """
        Import a lease.

        Raises:
            RefusedError: It cannot be; the message says why.
        """
        handle = f"{network}.{each.container}"
        if each.address in self.ours:
            raise RefusedError(f"network {self.ours[each.address]} has the same address")
        owner = self._owner_of(each.address)
        if owner is not None:
            if not _is(owner, handle, network, each.interface):
                raise AddressInUseError(str(each.address), owner.handle)
            return _Fate.THERE
        attachment = None
        attributes = {"node": self.node, "timestamp": timestamp(time.time_ns())}
        if each.interface:
            attachment = Attachment(
                network=network, container=each.container, interface=each.interface
            )
            attributes |= {"network": network, "interface": each.interface}
            self._check_first(handle, each)
        request = AssignIP(
            addresses=(each.address,),
            host=self.node,
            handle=handle,
            attributes=attributes,
            attachment=attachment,
        )
        self.ipam.assign_ip(request, timeout_s=self.session.left_s)
        self.ours[each.address] = network
        self.given[handle, each.interface, each.address.version] = each.address
        return _Fate.IMPORTABLE if self.dry_run else _Fate.IMPORTED

    def _check_first(self, handle: str, each: Lease) -> None:
        """Refuse a second address of a family; one without interface is any interface's."""
        for interface in (each.interface, ""):
            first = self.given.get((handle, interface, each.address.version))
            if first is not None:
                note = f"the same interface asks for {each.address}"
                raise AddressInUseError(str(first), handle, note=note)

    def _owner_of(self, address: IPAddress) -> Owner | None:
        try:
            return self.ipam.owner_of(OwnerOf(address=address), timeout_s=self.session.left_s)
        except RefusedError:  # nobody
            return None


def import_leases(
    session: Session,
    data_dir: Path,
    networks: Mapping[str, str],
    *,
    node: str,
    dry_run: bool,
) -> int:
    """
    Import the leases of this node, and tell what becomes of each.

    Args:
        data_dir: Of the host-local plugin.
        networks: Name of a network there -> its name with us.
        dry_run: Only tell.

    Returns:
        The exit status.

    Raises:
        InvalidRequestError: A directory is not readable; nothing was written.
        PoolmgrError: Any of the library's; what was imported until then stays so.
    """
    found = {old: _files(data_dir / old) for old in networks}
    store = Rehearsal(session.store) if dry_run else session.store
    importer = _Importer(session, IPAM(store), node, dry_run, {}, {})
    counts: Counter[_Fate] = Counter()
    for old, files in found.items():
        for file, raw in files:
            counts[_tell(importer, networks[old], file, raw)] += 1
    total = sum(counts.values())
    parts = ", ".join(f"{count:,} {fate}" for fate, count in sorted(counts.items())) or "none"
    say(f"{total:,} {'lease' if total == 1 else 'leases'} on {node}: {parts}")
    if counts[_Fate.IMPORTABLE]:
        say("nothing was written; --apply imports")
    return REFUSED if counts[_Fate.LEFT] else 0


def _tell(importer: _Importer, network: str, file: Path, raw: bytes) -> _Fate:
    try:
        each = lease(file.name, raw)
        fate = importer.bring_in(network, each)
    except (RefusedError, InvalidRequestError) as error:
        say(f"{file.name} {_Fate.LEFT}: {file.parent.name}: {error}")
        return _Fate.LEFT
    interface = f"/{each.interface}" if each.interface else ""
    say(f"{each.address} {fate}: {network}/{each.container}{interface}")
    return fate


def _files(directory: Path) -> list[tuple[Path, bytes]]:
    """Read all leases of a network before anything is written."""
    try:
        names = sorted(file for file in directory.iterdir() if is_lease(file.name))
        return [(file, file.read_bytes()) for file in names]
    except OSError as error:
        raise InvalidRequestError(
            f"{error.filename} is not readable: {error.strerror}; --data-dir names the "
            "directory of host-local, --network a network in it"
        ) from error


def _is(owner: Owner, handle: str, network: str, interface: str) -> bool:
    """Tell whether an address is assigned to the attachment that it would be imported for."""
    of = owner.attributes
    if owner.handle != handle:
        return False
    return of.get("network", network) == network and (
        not interface or of.get("interface", interface) == interface
    )
