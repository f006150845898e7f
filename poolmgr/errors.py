"""
Every error this library raises.

PoolmgrError                     definite: bool = True
├── InvalidRequestError          what was asked is wrong; also a ValueError
├── RefusedError                 a proper request that cannot be granted as things are
│   ├── NoMatchingPoolError      no pool serves the request; .reasons says why, pool by pool
│   ├── PoolExhaustedError       no free ordinal, no block left to claim or to borrow from
│   ├── BlockLimitError          the host owns as many blocks as it may
│   ├── AddressInUseError        .address .handle
│   ├── AddressReservedError     .address; an IPReservation, prefix or gateway keeps it
│   ├── StrictAffinityError      it lies in another host's block, and StrictAffinity is on
│   ├── StaleReleaseError        handle or sequence number of a release are not those stored
│   ├── OwnerChangedError        .address; held or stored for somebody else than expected
│   ├── AttachmentDeletedError   a DEL of the same attachment overtook this ADD
│   └── CheckFailedError         CNI CHECK: what is stored is not what the runtime recorded
├── CorruptStateError            a stored value is unreadable or contradicts itself
├── KubernetesError              .status; the Kubernetes API did not answer what was asked
└── StoreError
    ├── StoreUnavailableError    nothing was applied; trying again may help
    ├── StoreRefusedError        etcd refuses for good: permission, space, corruption
    ├── CommitUnknownError       definite = False: nobody knows if it was applied
    ├── ContentionError          the deadline passed in conflicts; nothing was written
    └── CompactedError           the requested revision is gone: read again from the present

The class of an error tells who can mend it, and whether a write may have happened (`definite`).
No layer lets exceptions of other libraries through: they become the cause. What a caller needs
to know is in attributes, not only in the text.
"""

from collections.abc import Mapping


class PoolmgrError(Exception):
    """
    Base of every error of this library.

    Attributes:
        definite: False when a write may have been applied although the call failed.
    """

    definite: bool = True


class InvalidRequestError(PoolmgrError, ValueError):
    """
    The request itself is wrong; asking again unchanged cannot succeed.

    Attributes:
        field: Path of the offending field, as the user wrote it ("spec.cidr",
            "ipam.assign_ipv4").
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class RefusedError(PoolmgrError):
    """A proper request that cannot be granted as things are. Nothing was written."""


class NoMatchingPoolError(RefusedError):
    """
    No pool serves this request.

    Attributes:
        reasons: Pool name -> why it was not used. Empty when there is no pool at all.
    """

    def __init__(self, what: str, reasons: Mapping[str, str]) -> None:
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"{what}: {listed}" if listed else what)
        self.reasons = dict(reasons)


class PoolExhaustedError(RefusedError):
    """The pools that serve the request have no free address left that this host may take."""


class BlockLimitError(RefusedError):
    """The host owns as many blocks of this family as it may, and they are full."""

    def __init__(self, host: str, limit: int, family: int) -> None:
        super().__init__(
            f"host {host} owns {limit} IPv{family} blocks, its limit, and all are full; "
            "raise maxBlocksPerHost (poolctl ipam configure) or free addresses"
        )
        self.limit = limit


class AddressInUseError(RefusedError):
    """The address is assigned already."""

    def __init__(self, address: str, handle: str | None, *, note: str = "") -> None:
        owner = f" to handle {handle}" if handle else ""
        super().__init__(
            f"address {address} is already assigned{owner}{f'; {note}' if note else ''}"
        )
        self.address = address
        self.handle = handle


class AddressReservedError(RefusedError):
    """An IPReservation, or the prefix and gateway in use, keeps the address from pods."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"address {address} cannot be given to a pod: {why}")
        self.address = address


class StrictAffinityError(RefusedError):
    """The address lies in a block of another host, and StrictAffinity forbids borrowing."""

    def __init__(self, address: str, block: str, owner: str | None, *, note: str = "") -> None:
        belongs = f"belongs to {owner}" if owner else "belongs to no host"
        super().__init__(
            f"address {address} is in block {block}, which {belongs}, and strict affinity is on"
            f"{f'; {note}' if note else ''}"
        )
        self.address = address


class StaleReleaseError(RefusedError):
    """
    A release named a handle or a sequence number that the address no longer has.

    Nothing of its block changed.
    """

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"address {address} was not released: {why}")
        self.address = address


class OwnerChangedError(RefusedError):
    """An address is held by another handle, or stored for another owner, than expected."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"the owner of address {address} was not changed: {why}")
        self.address = address


class AttachmentDeletedError(RefusedError):
    """
    The attachment was deleted while its ADD was under way, so the ADD gave up.

    Nothing was written.
    """

    def __init__(self, attachment: str) -> None:
        super().__init__(
            f"attachment {attachment} was deleted meanwhile, or so many others that nobody "
            "knows; nothing was assigned"
        )


class CheckFailedError(RefusedError):
    """CNI CHECK found another address, or none, where the runtime recorded one."""


class CorruptStateError(PoolmgrError):
    """
    A stored value cannot be read, or contradicts itself.

    Trying again does not help, and no call repairs it on its way.

    Attributes:
        key: The etcd key of the value.
        why: What is wrong with it.
    """

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"stored value of {key} is not usable: {why}")
        self.key = key
        self.why = why


class KubernetesError(PoolmgrError):
    """
    The Kubernetes API is down, slow, refuses, or says what cannot be understood.

    Nothing was assigned; that an object does not exist is an answer, not this.

    Attributes:
        status: The HTTP status; None = there was none.
    """

    def __init__(
        self, server: str, what: str, why: str, remedy: str, *, status: int | None = None
    ) -> None:
        super().__init__(f"Kubernetes API {server}, {what}: {why}; {remedy}")
        self.status = status


class StoreError(PoolmgrError):
    """The store could not do what it was asked."""


class StoreUnavailableError(StoreError):
    """The store was not reached, or said no before doing anything: certainly not applied."""


class StoreRefusedError(StoreError):
    """
    The store is reachable and refuses for good: permissions, space, corruption.

    Certainly not applied.
    """


class CommitUnknownError(StoreError):
    """
    A write was sent and no trustworthy answer came back.

    Applied, not applied, or applied later.
    """

    definite = False


class ContentionError(StoreError):
    """The deadline passed while others kept changing the same keys. Nothing was written."""


class CompactedError(StoreError):
    """The requested revision has been compacted away: read again from the present."""
