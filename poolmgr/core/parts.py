"""
How much of a large request one transaction does.

Theory: etcd limits the operations and the bytes of a transaction. A block takes up to a
kilobyte per address once it is full, and an owner that loses its addresses takes operations of
its own. So a part has room for a number of addresses in all its blocks, and for a number of
owners; but at least one block, and one owner, however large.
"""

from collections.abc import Iterable

from poolmgr.cidr import IPNetwork

USUAL = 64
"""Addresses of a block of Calico's default size; a smaller block counts like one."""

BLOCKS = 16
"""Blocks of the usual size that one part writes: full ones fit in 1 MiB."""

READ = 256
"""Blocks of the usual size that one read returns: full ones fit in 16 MiB."""

OWNERS = 32
"""Owners that one part takes addresses from, with at most two operations for each."""


def weight(cidr: IPNetwork) -> int:
    """Return what a block counts for."""
    return max(USUAL, cidr.num_addresses)


def first_part(cidrs: Iterable[IPNetwork], blocks: int) -> list[IPNetwork]:
    """Return the first of some blocks, as many as weigh no more than so many usual ones."""
    part: list[IPNetwork] = []
    left = blocks * USUAL
    for cidr in cidrs:
        left -= weight(cidr)
        if part and left < 0:
            break
        part.append(cidr)
    return part
