"""
What the library can be asked.

A request says everything the planner needs besides the stored facts; core/outcome.py has the
answers. Addresses are `ipaddress` objects, families the integers 4 and 6.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from poolmgr.cidr import IPAddress, IPNetwork
from poolmgr.core.affinity import Claimant
from poolmgr.core.block import HostReserved
from poolmgr.core.config import IPAMConfig
from poolmgr.core.link import LinkPolicy
from poolmgr.core.outcome import AffinitiesReleased, Allocation, Released


class Use(StrEnum):
    """What an address is for; a pool's `allowedUses` must contain it."""

    WORKLOAD = "Workload"
    TUNNEL = "Tunnel"
    LOAD_BALANCER = "LoadBalancer"


def claimant(host: str, use: Use | None) -> Claimant:
    """Return who claims blocks for a use: load balancers have no node of their own."""
    return Claimant(host, "virtual" if use is Use.LOAD_BALANCER else "host")


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
class Sticky:
    """
    An address that outlives the attachment that holds it.

    Attributes:
        namespace, identity: Whose it is; together they are one owner.
        numbered: Whether several may share the identity, each with a slot of its own. Else who
            comes takes over from who was there: two live pods of one name do not exist.
        retention_s: How long it is kept once it was released; None = for ever.
        holder: The pod that asks, for people.
    """

    namespace: str
    identity: str
    numbered: bool = False
    retention_s: int | None = 86_400
    holder: str = ""


AddressRange = tuple[IPAddress, IPAddress]
"""First and last address, both included."""


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
        node_labels: The node's labels, where the caller knows better than its stored resource.
        link: Prefix and gateway rules of the main plugin.
        max_blocks: Blocks of one family the host may own, if smaller than the configured limit;
            0 = no opinion.
        max_per_handle: Addresses of one family the handle may hold; at the limit the request is
            answered with what the handle holds. 0 = no limit.
        reserved: Family -> addresses kept in every block the request claims.
        among: Family -> the only addresses that may be assigned, best first, as if each had
            been named; a family without an entry is assigned from its pools.
        sticky: Keep the addresses for this owner beyond the attachment, which must be given.
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
    node_labels: Mapping[str, str] | None = None
    use: Use = Use.WORKLOAD
    link: LinkPolicy = field(default_factory=LinkPolicy)
    max_blocks: int = 0
    max_per_handle: int = 0
    reserved: Mapping[int, HostReserved] = field(default_factory=dict)
    among: Mapping[int, tuple[AddressRange, ...]] = field(default_factory=dict)
    sticky: Sticky | None = None
    so_far: tuple[Allocation, ...] = ()

    @property
    def claimant(self) -> Claimant:
        """Who claims the blocks."""
        return claimant(self.host, self.use)


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
    max_per_handle: int = 0
    force: bool = False

    @property
    def claimant(self) -> Claimant:
        """Who claims a block, should it not exist yet."""
        return claimant(self.host, self.use)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureBlock:
    """
    Make sure that a host has a block in the pools that serve it, full or not.

    No limit of blocks applies, and no address is assigned.

    Attributes:
        reserved: Family -> addresses the host keeps in the block; a family without an entry is
            not asked for.
        pools: As in `AutoAssign`.
    """

    host: str
    reserved: Mapping[int, HostReserved]
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseByHandle:
    """
    Release what these handles hold; absent handles are released already.

    Attributes:
        handles: Handle ids, the current one first; CNI adds the legacy form.
        attachment: Release only this interface's addresses, and fence its ADD on `host`. None =
            all of the handle.
        host: The node whose session key is bumped; needed with an attachment.
        sequence_number: Pass over addresses assigned under another number; None = none.
        so_far: What earlier parts of the same request released.
    """

    handles: tuple[str, ...]
    attachment: Attachment | None = None
    host: str = ""
    sequence_number: int | None = None
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
        fence: Somebody releases by force: fence off every ADD that is still under way for whom
            an address is taken from. Unlike the owner, he cannot know that there is none.
        so_far: The answer to earlier parts of the same request.
    """

    releases: tuple[Release, ...]
    fence: bool = False
    so_far: Released | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectGarbage:
    """
    Release what attachments of a node hold that do not exist any more.

    Only entries that name this network and this node are looked at; sticky addresses are kept
    for their owners, those whose retention is over are freed.

    Attributes:
        valid: Container and interface of each attachment that exists.
        until: Leave alone what was assigned after this time, written as the attribute
            `timestamp`; None = the caller knows everything that exists.
        after: Where an earlier part stopped, a block key.
        so_far: The answer to earlier parts of the same request.
    """

    host: str
    network: str
    valid: frozenset[tuple[str, str]]
    until: str | None = None
    after: str = ""
    so_far: Released | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAffinities:
    """
    Claim every block inside `cidr` for a host, without assigning anything.

    Attributes:
        kind: "host" or "virtual".
        after: The last block an earlier part dealt with.
        claimed, failed: What earlier parts did.
    """

    cidr: IPNetwork
    host: str
    kind: str = "host"
    after: IPNetwork | None = None
    claimed: tuple[IPNetwork, ...] = ()
    failed: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseAffinities:
    """
    Take blocks from their hosts: empty ones go, others keep their addresses and no host.

    Attributes:
        cidr: Only blocks inside it; None = wherever they lie.
        host: Only this host's blocks; None = those of every host.
        kind: "host" or "virtual".
        only_empty: Leave blocks with addresses alone, each with an error.
        sequence_number: Leave a block alone whose number is another one by now; None = any.
        forget_host: The host is gone for good: also drop what Calico notes of it, and fence off
            every ADD of it that is still under way.
        after: The last affinity key an earlier part dealt with.
        so_far: The answer to earlier parts of the same request.
    """

    cidr: IPNetwork | None = None
    host: str | None = None
    kind: str = "host"
    only_empty: bool = False
    sequence_number: int | None = None
    forget_host: bool = False
    after: str = ""
    so_far: AffinitiesReleased | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectCold:
    """Free the addresses of a block whose cooldown is over, now and not with its next write."""

    block: IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerCheck:
    """
    What a stored owner must be.

    Attributes:
        pod, namespace: The owner expected; both None = there must be none.
    """

    pod: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOwner:
    """
    Rewrite who an assigned address is stored for; every check comes before any change.

    Attributes:
        active: New `secondary` attribute; {} = clear it, None = leave it.
        alternate: New `alternateOwnerAttrs`; likewise.
        active_is, alternate_is: What must be stored now; None = anything.
    """

    address: IPAddress
    handle: str
    active: Mapping[str, str] | None = None
    alternate: Mapping[str, str] | None = None
    active_is: OwnerCheck | None = None
    alternate_is: OwnerCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfig:
    """Replace the IPAM configuration, if its rules allow."""

    config: IPAMConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeConfig:
    """
    Change fields of the IPAM configuration, whatever the others are by then.

    Attributes are those of `IPAMConfig`; None = leave as it is.
    """

    strict_affinity: bool | None = None
    auto_allocate_blocks: bool | None = None
    max_blocks_per_host: int | None = None
    kubevirt_persistence: str | None = None
    cooldown_s: int | None = None

    def over(self, config: IPAMConfig) -> IPAMConfig:
        """Return `config` with these fields changed."""
        wanted = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(config, **{name: v for name, v in wanted.items() if v is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Ask what a handle holds, for `attachment` alone where one is given. Writes nothing."""

    handle: str
    attachment: Attachment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerOf:
    """Ask who holds an address. Writes nothing."""

    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class GetConfig:
    """Ask for the IPAM configuration, defaults applied. Writes nothing."""


Request = (
    AutoAssign
    | AssignIP
    | EnsureBlock
    | ReleaseByHandle
    | ReleaseIPs
    | ClaimAffinities
    | ReleaseAffinities
    | CollectGarbage
    | CollectCold
    | SetOwner
    | SetConfig
    | ChangeConfig
    | HeldBy
    | OwnerOf
    | GetConfig
)
