"""
Leases of the host-local plugin: one file per address, named after it.

Pure: texts of files in, values out.

Source: containernetworking/plugins plugins/ipam/host-local/backend/disk.
"""

from dataclasses import dataclass

from poolmgr.cidr import IPAddress, parse_address
from poolmgr.cni.args import NAME, NAME_RULE
from poolmgr.errors import InvalidRequestError

_OWN_FILES = ("lock", "last_reserved_ip.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """
    An address that an interface of a container has.

    Attributes:
        interface: "" = not written down, as before version 0.7 of the plugin.
    """

    address: IPAddress
    container: str
    interface: str


def is_lease(file: str) -> bool:
    """Tell whether a file of the plugin's directory is about an address."""
    return not file.startswith(_OWN_FILES)


def lease(file: str, raw: bytes) -> Lease:
    """
    Read a lease.

    Args:
        file: Its name without directory.

    Raises:
        InvalidRequestError: It is none; the message says why.
    """
    try:
        address = parse_address(file)
    except ValueError:
        raise InvalidRequestError("its file is not named after an address") from None
    try:
        container, _, rest = raw.decode().strip().partition("\n")
    except UnicodeDecodeError:
        raise InvalidRequestError("its file is not text") from None
    container, interface = container.strip(), rest.strip()
    if not NAME.fullmatch(container):
        raise InvalidRequestError(f"{container!r:.80} is not a container id: {NAME_RULE}")
    if len(interface.encode()) > 15 or any(
        c in "/: " or not c.isprintable() for c in interface
    ):
        raise InvalidRequestError(f"{interface!r:.80} is not an interface name")
    return Lease(address=address, container=container, interface=interface)
