"""
Blocks and handles in outline: what counting and checking a million of them needs.

Theory: `records.decode_block` makes an object for every owner, at five times the price of
reading the block from etcd. Here a value is read and checked in one go, by pydantic, and what
is of no use is left out.

Rules:

1. What is sound has the same outline as the decoded value.
2. What is not, or is unusual, is decoded after all: only records.py says what is corrupt.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from poolmgr.cidr import IPNetwork, parse_network
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE, Attribute, Block
from poolmgr.core.records import block_key, decode_block, decode_handle


class _Owner(TypedDict, total=False):
    handle_id: str | None
    secondary: dict[str, str] | None
    alternateOwnerAttrs: dict[str, str] | None
    releasedAt: str | None


class _Optional(TypedDict, total=False):
    affinity: str | None
    affinity_claim_time: str | None
    unallocated: list[int] | None
    attributes: list[_Owner] | None
    sequenceNumber: int | None
    sequenceNumberForAllocation: dict[int, int] | None


class _Block(_Optional):
    cidr: str
    allocations: list[int | None]


class _Handle(TypedDict, total=False):
    block: dict[str, int] | None


_BLOCK, _HANDLE = TypeAdapter(_Block), TypeAdapter(_Handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """
    A block without what its owners are called.

    Attributes:
        affinity, allocations, unallocated: As in `Block`.
        handles: One entry per attribute; None = no handle.
        released: One entry per attribute: the time of its release; None = it is in use.
    """

    cidr: IPNetwork
    affinity: str | None
    allocations: Sequence[int | None]
    unallocated: Sequence[int]
    handles: Sequence[str | None]
    released: Sequence[str | None]

    def held(self) -> Counter[str]:
        """Count the ordinals of each handle; Windows' reserved ones have none."""
        names = [
            None if each is None else Attribute(handle=each).owner for each in self.handles
        ]
        held = Counter(
            name
            for index in self.allocations
            if index is not None and (name := names[index]) is not None
        )
        for name in [name for name in held if name.lower() == WINDOWS_RESERVED_HANDLE]:
            del held[name]
        return held

    def unreferenced(self) -> Iterator[int]:
        """Yield the attributes that no allocation refers to."""
        used = set(self.allocations)
        return (index for index in range(len(self.handles)) if index not in used)


def outline(key: str, raw: bytes) -> Outline:
    """
    Read the block stored under `key`.

    Raises:
        CorruptStateError: As `decode_block`.
    """
    try:
        value = _BLOCK.validate_json(raw, strict=True)
        owners = value.get("attributes") or ()
        found = Outline(
            cidr=parse_network(value["cidr"]),
            affinity=value.get("affinity"),
            allocations=value["allocations"],
            unallocated=value.get("unallocated") or (),
            handles=[owner.get("handle_id") for owner in owners],
            released=[owner.get("releasedAt") for owner in owners],
        )
    except ValueError:
        return _of(decode_block(key, raw))
    sound = key == block_key(found.cidr) and _agrees(found)
    return found if sound else _of(decode_block(key, raw))


def counts_of_handle(key: str, raw: bytes) -> dict[str, int]:
    """
    Read how many addresses the handle stored under `key` has: block, as text -> count.

    Raises:
        CorruptStateError: As `decode_handle`.
    """
    try:
        counts = _HANDLE.validate_json(raw, strict=True).get("block") or {}
        return {_canonical(cidr): count for cidr, count in counts.items()}
    except ValueError:
        blocks = decode_handle(key, raw).blocks
        return {str(cidr): count for cidr, count in blocks.items()}


def _agrees(found: Outline) -> bool:
    """Tell whether free list, allocations and attributes agree (see `records.broken`)."""
    used = set(found.allocations) - {None}
    free = [ordinal for ordinal, index in enumerate(found.allocations) if index is None]
    return (
        len(found.allocations) == found.cidr.num_addresses
        and free == sorted(found.unallocated)
        and used <= set(range(len(found.handles)))
    )


def _of(block: Block) -> Outline:
    return Outline(
        cidr=block.cidr,
        affinity=block.affinity,
        allocations=block.allocations,
        unallocated=block.unallocated,
        handles=[attribute.handle for attribute in block.attributes],
        released=[attribute.released_at for attribute in block.attributes],
    )


@lru_cache(maxsize=32_768)  # blocks have many handles
def _canonical(cidr: str) -> str:
    return str(parse_network(cidr))
