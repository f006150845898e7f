"""
What the library can be asked, and what it answers.

A request says everything the planner needs besides the stored facts; an outcome is one of the
answers below or `Refused`. Addresses are `ipaddress` objects, families the integers 4 and 6.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from poolmgr.cidr import IPAddress, IPNetwork
from poolmgr.core.link import Link, LinkPolicy
from poolmgr.errors import PoolmgrError


class Use(StrEnum):
    """What an address is for; a pool's `allowedUses` must contain it."""

    WORKLOAD = "Workload"
    TUNNEL = "Tunnel"
    LOAD_BALANCER = "LoadBalancer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One interface of one container on one network, as CNI names it."""

    network: str
    container: str
    interface: str

    @property
    def handle(self) -> str:
        """The handle id that calico-ipam would use: interfaces of a container share it."""
        return f"{self.network}.{self.container}"

    @property
    def digest(self) -> str:
        """What the session key remembers of a deleted attachment: 16 hex digits."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        """Write it as network/container/interface."""
        return f"{self.network}/{self.container}/{self.interface}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoAssign:
    """
    Assign addresses from whatever pools serve the host.

    Attributes:
        host: Node that will use the addresses, and whose blocks are used first.
        handle: Handle id that will own them; None = owned by nobody (Calico allows it).
        count: Family -> addresses wanted.
        pools: Family -> CIDRs or names of the pools to use, in order of preference; () = all
            that match.
        attributes: The allocation's `secondary` attribute, as Calico stores it.
        attachment: The interface served. With one the request is idempotent, all or nothing,
            and fenced against its DEL; without one every call assigns further addresses, and
            may assign fewer than asked.
        since: Session counter of the host when the request was first looked at; filled in by
            `fence.admit`.
        namespace_labels: Labels of the pod's namespace; None = there is no namespace object.
        link: Prefix and gateway rules of the main plugin.
        max_blocks: Blocks of one family the host may own, if smaller than the configured limit;
            0 = no opinion.
        so_far: Addresses that earlier parts of the same request were given.
    """

    host: str
    handle: str | None
    count: Mapping[int, int]
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    attachment: Attachment | None = None
    since: int | None = None
    namespace_labels: Mapping[str, str] | None = None
    use: Use = Use.WORKLOAD
    link: LinkPolicy = field(default_factory=LinkPolicy)
    max_blocks: int = 0
    so_far: "tuple[Allocation, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignIP:
    """
    Assign these very addresses, all of them or none.

    Attributes are those of `AutoAssign`, and:
        addresses: At most one per family.
        force: Assign an address although an IPReservation covers it.
    """

    addresses: tuple[IPAddress, ...]
    host: str
    handle: str | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    attachment: Attachment | None = None
    since: int | None = None
    use: Use | None = Use.WORKLOAD
    link: LinkPolicy = field(default_factory=LinkPolicy)
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseByHandle:
    """
    Release what these handles hold; absent handles are released already.

    Attributes:
        handles: Handle ids, the current one first; CNI adds the legacy form.
        attachment: Release only this interface's addresses, and fence its ADD on `host`. None =
            all of the handle.
        host: The node whose session key is bumped; needed with an attachment.
        so_far: What earlier parts of the same request released.
    """

    handles: tuple[str, ...]
    attachment: Attachment | None = None
    host: str = ""
    so_far: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One address to release, with what its owner is believed to be; None = do not check."""

    address: IPAddress
    handle: str | None = None
    sequence_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIPs:
    """
    Release addresses, block by block; a block with a mismatch is left alone as a whole.

    Attributes:
        so_far: The answer to earlier parts of the same request.
    """

    releases: tuple[Release, ...]
    so_far: "Released | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePoolAffinities:
    """
    Take all blocks inside `cidr` from their hosts.

    Empty ones go, others keep their addresses and no host.
    """

    cidr: IPNetwork
    done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Ask what a handle holds, for `attachment` alone where one is given. Writes nothing."""

    handle: str
    attachment: Attachment | None = None


Request = AutoAssign | AssignIP | ReleaseByHandle | ReleaseIPs | ReleasePoolAffinities | HeldBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """
    One assigned address.

    Attributes:
        block: The block it lies in.
        pool: Name of the pool it comes from; "" when no pool contains it any more.
        link: How the main plugin shall configure it.
        sequence_number: The block's number recorded with the assignment; guards a later
            release.
    """

    address: IPAddress
    block: IPNetwork
    pool: str
    link: Link
    sequence_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """
    Addresses that the request now holds.

    Attributes:
        allocations: IPv4 before IPv6, in order of assignment.
        shortfall: Why there are fewer than asked for: family -> reason. Empty for requests with
            an attachment, which are refused instead.
    """

    allocations: tuple[Allocation, ...]
    shortfall: Mapping[int, PoolmgrError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """
    What a release did.

    Attributes:
        released: Addresses that were assigned and are so no more.
        unallocated: Addresses that were not assigned.
        errors: Why blocks were left alone, one error per block.
    """

    released: tuple[IPAddress, ...]
    unallocated: tuple[IPAddress, ...] = ()
    errors: tuple[PoolmgrError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinitiesReleased:
    """How many blocks lost their affinity."""

    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a handle holds; `sequence_number` of each guards its release."""

    allocations: tuple[Allocation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The answer is no. `error` is raised by the library's methods."""

    error: PoolmgrError


Outcome = Assigned | Released | AffinitiesReleased | Held | Refused
