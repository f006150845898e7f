"""
What the library answers.

One outcome per request; `Refused` may answer any of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from poolmgr.cidr import IPAddress, IPNetwork
from poolmgr.core.config import IPAMConfig
from poolmgr.core.link import Link
from poolmgr.errors import PoolmgrError


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
class BlocksEnsured:
    """The blocks a host can assign from: family -> block."""

    blocks: Mapping[int, IPNetwork]


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinitiesClaimed:
    """
    What a claim did, block by block.

    Attributes:
        claimed: Blocks that are the host's now, also those it had before.
        failed: Blocks of somebody else.
    """

    claimed: tuple[IPNetwork, ...]
    failed: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinitiesReleased:
    """
    What became of affinities.

    Attributes:
        blocks: Affinities that are gone.
        errors: Why others are not.
    """

    blocks: int
    errors: tuple[PoolmgrError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Addresses of a block that are free again."""

    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """
    Who holds an address.

    Attributes:
        handle: None = nobody counts it.
        attributes: The allocation's `secondary` attribute.
        alternate: Its `alternateOwnerAttrs`.
        sequence_number: Guards a later release.
    """

    address: IPAddress
    block: IPNetwork
    handle: str | None
    attributes: Mapping[str, str]
    alternate: Mapping[str, str]
    sequence_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The IPAM configuration as it is now."""

    config: IPAMConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a handle holds; `sequence_number` of each guards its release."""

    allocations: tuple[Allocation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The answer is no. `error` is raised by the library's methods."""

    error: PoolmgrError


Outcome = (
    Assigned
    | BlocksEnsured
    | Released
    | AffinitiesClaimed
    | AffinitiesReleased
    | Collected
    | Held
    | Owner
    | Config
    | Refused
)
