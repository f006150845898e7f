"""What can be wrong with stored data, who may have left it so, and what puts it right."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Flaw(StrEnum):
    """What can be wrong."""

    CORRUPT = "value does not decode"
    UNREFERENCED_ATTRIBUTE = "attribute that no allocation refers to"
    RELEASED_IN_FUTURE = "address released at a time to come"
    OVERLAP = "blocks share addresses"
    AFFINITY_WITHOUT_BLOCK = "affinity without a block of its host"
    AFFINITY_UNFINISHED = "affinity left half way on a block of its host"
    BLOCK_WITHOUT_AFFINITY = "block names a host that has no affinity for it"
    HANDLE_WITHOUT_ADDRESS = "handle that no address carries"
    HANDLE_TOO_HIGH = "handle counts more than its blocks hold"
    HANDLE_TOO_LOW = "handle counts less than its blocks hold"
    OUTSIDE_POOLS = "block lies in no pool"
    LEAKED = "address of a pod that is not there"
    NOT_ASSIGNED = "pod uses an address that it was not given"


@dataclass(frozen=True, slots=True)
class Cause:
    """
    What is known of a flaw.

    Attributes:
        left_by: Who may have left it.
        remedy: What puts it right; None = only a person can tell what it should be.
    """

    left_by: str
    remedy: str | None


_BROKEN_OFF = "a claim or release of Calico's that was broken off, or is under way"
_COUNTED_AHEAD = (
    "Calico, which counts addresses before it assigns them, and keeps the count where it gets "
    "fewer or is broken off; or an ADD of Calico's is under way"
)

CAUSES: Mapping[Flaw, Cause] = {
    Flaw.CORRUPT: Cause("somebody who wrote the value by hand, or a tool that rounds", None),
    Flaw.UNREFERENCED_ATTRIBUTE: Cause(
        "somebody who wrote the block by hand", "the next change of the block drops it"
    ),
    Flaw.RELEASED_IN_FUTURE: Cause(
        "a node whose clock is ahead", "set its clock; the cooldown ends later than it should"
    ),
    Flaw.OVERLAP: Cause(
        "a pool made with another block size where a deleted one left blocks", None
    ),
    Flaw.AFFINITY_WITHOUT_BLOCK: Cause(
        _BROKEN_OFF, "the host's next claim makes the block, or drops the affinity"
    ),
    Flaw.AFFINITY_UNFINISHED: Cause(
        _BROKEN_OFF, "the host's next use of the block confirms the affinity"
    ),
    Flaw.BLOCK_WITHOUT_AFFINITY: Cause(
        "somebody who deleted the affinity by hand",
        "the host writes the affinity when it comes back to the block, at the latest once its "
        "pools are full",
    ),
    Flaw.HANDLE_WITHOUT_ADDRESS: Cause(
        _COUNTED_AHEAD, "delete the handle if its revision stays the same for minutes"
    ),
    Flaw.HANDLE_TOO_HIGH: Cause(
        _COUNTED_AHEAD, "lower the count if the handle's revision stays the same for minutes"
    ),
    Flaw.HANDLE_TOO_LOW: Cause(
        "somebody who deleted or changed the handle by hand",
        "release the addresses by address, or write what the block holds into the handle",
    ),
    Flaw.OUTSIDE_POOLS: Cause(
        "the deletion of a pool, which leaves its blocks to their owners",
        "make the pool again, or let the addresses go: an empty block can be deleted",
    ),
    Flaw.LEAKED: Cause(
        "a DEL that never came, or never got through: a node that died, an etcd out of reach",
        "make sure that its node is not merely out of reach; then write a report with -o, and "
        "give it to poolctl ipam release --from-report",
    ),
    Flaw.NOT_ASSIGNED: Cause(
        "a release of an address in use, a restored backup, or another plugin on the pool's "
        "addresses",
        "delete the pod, so that it comes back with an address of its own",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what, at which key, and the facts."""

    flaw: Flaw
    key: str
    detail: str

    @property
    def cause(self) -> Cause:
        """Who may have left it, and what puts it right."""
        return CAUSES[self.flaw]
