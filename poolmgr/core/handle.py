"""
Handles: how many addresses an id owns in each block, to find them without reading every one.

Rules:

1. We add what was obtained and subtract what was freed, in the transaction that changes the
   block, so our counts are exact.
2. Calico counts what was *asked for*: a handle may claim more than its blocks show. The surplus
   holds nothing and never answers an ADD; it is left alone, since it may belong to a Calico ADD
   that has not finished.
3. A handle is never stored empty: at zero its key is deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from poolmgr.cidr import IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """
    The value of a handle key.

    Attributes:
        blocks: Block CIDR -> number of addresses, >= 1 each.
        extra: Stored fields unknown to us; they survive a rewrite.
    """

    blocks: Mapping[IPNetwork, int] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)

    def add(self, block: IPNetwork, count: int) -> "Handle":
        """Count `count` further addresses in `block`."""
        blocks = {**self.blocks, block: self.blocks.get(block, 0) + count}
        return replace(self, blocks=dict(sorted(blocks.items(), key=lambda item: str(item[0]))))

    def subtract(self, block: IPNetwork, count: int) -> "Handle":
        """Count `count` addresses less in `block`; the block's entry goes at zero."""
        rest = {cidr: n for cidr, n in self.blocks.items() if cidr != block}
        left = self.blocks.get(block, 0) - count
        return replace(self, blocks=rest if left <= 0 else {**self.blocks, block: left})
