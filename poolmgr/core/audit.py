"""
The invariants of what is stored, as a function: used by tests, and by whoever checks a store.

Rules:

1. A block's free list, allocations and attributes agree, and every attribute is referenced.
2. No address lies in two blocks.
3. A block that names a host has that host's affinity, and an affinity has a block that names
   its host.
4. A handle counts exactly the ordinals that carry it; Calico may leave a count too high, never
   one too low.
5. A block lies in a pool. (Deleting a pool leaves its blocks behind, so this is a finding, not
   damage.)
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from poolmgr.api import IPPool
from poolmgr.cidr import IPNetwork, contains
from poolmgr.core import records
from poolmgr.core.affinity import owner
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, Block
from poolmgr.core.draft import POOLS
from poolmgr.core.handle import Handle
from poolmgr.errors import CorruptStateError


class Flaw(StrEnum):
    """What can be wrong."""

    CORRUPT = "value does not decode"
    UNREFERENCED_ATTRIBUTE = "attribute that no allocation refers to"
    OVERLAP = "blocks share addresses"
    AFFINITY_WITHOUT_BLOCK = "affinity without a block of its host"
    BLOCK_WITHOUT_AFFINITY = "block names a host that has no affinity for it"
    HANDLE_TOO_HIGH = "handle counts more than its blocks hold"
    HANDLE_TOO_LOW = "handle counts less than its blocks hold"
    OUTSIDE_POOLS = "block lies in no pool"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what, at which key, and the facts."""

    flaw: Flaw
    key: str
    detail: str


@dataclass(slots=True)
class _Seen:
    blocks: dict[str, Block] = field(default_factory=dict)
    affinities: dict[str, tuple[str, IPNetwork]] = field(default_factory=dict)
    handles: dict[str, Handle] = field(default_factory=dict)
    pools: list[IPPool] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def invariants(stored: Iterable[tuple[str, bytes]]) -> tuple[Finding, ...]:
    """
    Check everything that is stored.

    Args:
        stored: Keys and values of one revision; keys that are not Calico's IPAM or IPPools are
            passed over.

    Returns:
        What is wrong, in a fixed order; () = nothing.
    """
    seen = _Seen()
    for key, raw in stored:
        try:
            _sort(seen, key, raw)
        except CorruptStateError as error:
            seen.findings.append(Finding(Flaw.CORRUPT, key, str(error)))
    _check_blocks(seen)
    _check_affinities(seen)
    _check_handles(seen)
    return tuple(sorted(seen.findings, key=lambda f: (f.key, f.flaw, f.detail)))


def _sort(seen: _Seen, key: str, raw: bytes) -> None:
    if any(key in range_ for range_ in records.BLOCKS.values()):
        seen.blocks[key] = records.decode_block(key, raw)
    elif any(key in range_ for range_ in records.AFFINITIES.values()):
        records.decode_affinity(key, raw)
        host, block = records.host_of_key(key), records.block_of_key(key)
        if host is None or block is None:
            raise CorruptStateError(key, "the key names no host and block")
        seen.affinities[key] = (owner(host[1], host[0]), block)
    elif key in records.HANDLES:
        seen.handles[key.removeprefix(records.HANDLES.start)] = records.decode_handle(key, raw)
    elif key in POOLS:
        try:
            seen.pools.append(IPPool.from_stored(raw, 0))
        except ValueError as error:
            raise CorruptStateError(key, str(error)) from error


def _check_blocks(seen: _Seen) -> None:
    def found(flaw: Flaw, block: Block, detail: str) -> None:
        seen.findings.append(Finding(flaw, records.block_key(block.cidr), detail))

    last: Block | None = None  # the block that reaches farthest so far
    for block in sorted(seen.blocks.values(), key=_place):
        unused = set(range(len(block.attributes))) - set(block.allocations)
        if unused:
            found(Flaw.UNREFERENCED_ATTRIBUTE, block, f"attributes {sorted(unused)}")
        if last is not None and last.cidr.overlaps(block.cidr):
            found(Flaw.OVERLAP, block, f"overlaps {last.cidr}")
        else:
            last = block  # what overlaps lies inside: networks nest
        if not any(contains(pool.spec.cidr, block.cidr) for pool in seen.pools):
            found(Flaw.OUTSIDE_POOLS, block, f"of {len(seen.pools)} pools")


def _place(block: Block) -> tuple[int, int, int]:
    """Order blocks by address, a larger one before those inside it."""
    return block.cidr.version, int(block.cidr.network_address), block.cidr.prefixlen


def _check_affinities(seen: _Seen) -> None:
    claimed = set(seen.affinities.values())
    of_blocks = {(b.affinity, b.cidr): key for key, b in seen.blocks.items() if b.affinity}
    for key, (name, cidr) in seen.affinities.items():
        if (name, cidr) not in of_blocks:
            seen.findings.append(Finding(Flaw.AFFINITY_WITHOUT_BLOCK, key, f"block {cidr}"))
    for (name, cidr), key in of_blocks.items():
        if (name, cidr) not in claimed:
            seen.findings.append(Finding(Flaw.BLOCK_WITHOUT_AFFINITY, key, str(name)))


def _check_handles(seen: _Seen) -> None:
    held: dict[str, Counter[IPNetwork]] = defaultdict(Counter)
    for block in seen.blocks.values():
        for index in block.allocations:
            name = None if index is None else block.attributes[index].owner
            if name is not None and name.lower() != WINDOWS_RESERVED_HANDLE:
                held[name][block.cidr] += 1
    for name in held.keys() | seen.handles.keys():
        counted = seen.handles[name].blocks if name in seen.handles else {}
        for cidr in held[name].keys() | counted.keys():
            have, says = held[name][cidr], counted.get(cidr, 0)
            if have != says:
                flaw = Flaw.HANDLE_TOO_HIGH if says > have else Flaw.HANDLE_TOO_LOW
                detail = f"counts {says} in {cidr}, which holds {have}"
                seen.findings.append(Finding(flaw, records.HANDLES.start + name, detail))
