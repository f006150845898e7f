"""
Block affinities: which host a block belongs to, seen from the host's side.

The affinity key is how a host finds its blocks; the block's own `affinity` field is what
decides. We write block and affinity in one transaction, so of the three states below we only
ever write `confirmed`; the others are what writers that change one key at a time (Calico) leave
behind when they are interrupted.

Rules:

1. The block decides. An affinity whose block belongs to somebody else is stale and is deleted.
2. An affinity whose block is missing gives its host the right to create the block.
3. `pending` and `pendingDeletion` on a block of one's own become `confirmed` with the next use
   of the block.
4. An empty value, `{}` and an empty state are old forms of `confirmed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class AffinityState(StrEnum):
    """What an interrupted writer was about to do."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    PENDING_DELETION = "pendingDeletion"
    LEGACY = ""


TRANSITIONS: Mapping[AffinityState, AffinityState | None] = {
    # state found on a block of one's own -> state to write when it is used; None = leave it
    AffinityState.PENDING: AffinityState.CONFIRMED,
    AffinityState.PENDING_DELETION: AffinityState.CONFIRMED,
    AffinityState.CONFIRMED: None,
    AffinityState.LEGACY: None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """
    The value of an affinity key.

    `extra` are stored fields unknown to us, which survive a rewrite.
    """

    state: AffinityState = AffinityState.CONFIRMED
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claimant:
    """
    Who claims blocks.

    Attributes:
        kind: "host" for a node, "virtual" for what no node has (load balancers).
    """

    host: str
    kind: str = "host"

    @property
    def owner(self) -> str:
        """What the `affinity` of its blocks says."""
        return owner(self.host, self.kind)


def owner(host: str, kind: str = "host") -> str:
    """Return what a block's `affinity` says of a host; `kind` is "host" or "virtual"."""
    return f"{kind}:{host}"
