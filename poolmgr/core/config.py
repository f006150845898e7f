"""
The IPAM configuration under `/calico/ipam/v2/config`, and its defaults.

Rule: the defaults hold only while the *key* is absent. In a stored object every absent field is
false or 0, also `auto_allocate_blocks` (Calico's decoder works so). Reading never creates the
key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_BLOCK_LIMIT = 20
"""
Blocks of one family a host may own when neither the request nor the configuration says
anything.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IPAMConfig:
    """
    The stored configuration.

    Attributes:
        max_blocks_per_host: 0 = not set, negative = no limit.
        cooldown_s: How long a released address rests before it can be assigned again.
        extra: Stored fields unknown to us; they survive a rewrite.
    """

    strict_affinity: bool = False
    auto_allocate_blocks: bool = True
    max_blocks_per_host: int = 0
    kubevirt_persistence: str | None = "Enabled"
    cooldown_s: int = 0
    extra: Mapping[str, object] = field(default_factory=dict)

    def block_limit(self, requested: int) -> int | None:
        """
        Return how many blocks of one family a host may own; None = any number.

        Args:
            requested: The request's own limit; 0 = none.

        Source: Calico's autoAssign: the smaller of two, the one that is set, else 20; negative
            = no limit.
        """
        both = [limit for limit in (requested, self.max_blocks_per_host) if limit > 0]
        if both:
            return min(both)
        if requested == 0 and self.max_blocks_per_host == 0:
            return DEFAULT_BLOCK_LIMIT
        return None
