"""
Blocks and handles in outline: what counting and checking a million addresses needs.

Theory: `records.decode_block` makes an object for every owner, at five times the price of
reading the block from etcd. Here pydantic reads and checks a value in one go, and what is of no
use is left out.

Rules:

1. What is sound has the same outline as the decoded value.
2. What is not, or is unusual, is decoded after all: only records.py says what is corrupt.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import NoneType
from typing import NotRequired

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


class _Block(TypedDict):
    cidr: str
    affinity: NotRequired[str | None]
    affinity_claim_time: NotRequired[str | None]
    allocations: list[int | None]
    unallocated: NotRequired[list[int] | None]
    attributes: NotRequired[list[_Owner] | None]
    sequenceNumber: NotRequired[int | None]
    sequenceNumberForAllocation: NotRequired[dict[int, int] | None]


class _Handle(TypedDict, total=False):
    block: dict[str, int] | None


_BLOCK, _HANDLE = TypeAdapter(_Block), TypeAdapter(_Handle)
_OWNERS = b',"attributes":'  # Quotes inside of strings are escaped.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinals:
    """The ordinals of a block: `unallocated` are free, the others in use or cooling down."""

    cidr: IPNetwork
    affinity: str | None
    unallocated: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """
    A block without objects for its owners.

    Attributes:
        affinity, allocations, unallocated, sequence_numbers: As in `Block`.
        handles: One entry per attribute; None = no handle.
        released: One entry per attribute: the time of its release; None = it is in use.
        secondary: One entry per attribute: what is stored of the owner; None = nothing.
        alternate: One entry per attribute: Calico's migration target; None = none.
    """

    cidr: IPNetwork
    affinity: str | None
    allocations: Sequence[int | None]
    unallocated: Sequence[int]
    sequence_numbers: Mapping[int, int]
    handles: Sequence[str | None]
    released: Sequence[str | None]
    secondary: Sequence[Mapping[str, str] | None]
    alternate: Sequence[Mapping[str, str] | None]

    def held(self) -> Counter[str]:
        """Count the ordinals of each handle; Windows' reserved ones have none."""
        stored = Counter(self.handles[index] for index in self.allocations if index is not None)
        held: Counter[str] = Counter()
        for handle, count in stored.items():
            name = Attribute(handle=handle).owner if handle and "\r" in handle else handle
            if name is not None and name.lower() != WINDOWS_RESERVED_HANDLE:
                held[name] += count
        return held

    def unreferenced(self) -> Iterator[int]:
        """Yield the attributes that no allocation refers to."""
        used = set(self.allocations)
        return (index for index in range(len(self.handles)) if index not in used)


def ordinals(key: str, raw: bytes) -> Ordinals:
    """
    Read which ordinals are free in the block stored under `key`.

    Owners, nine tenths of the value, are not looked at: both Calico and we write them behind.

    Raises:
        CorruptStateError: As `decode_block`, as far as the value is looked at.
    """
    try:
        value = json.loads(raw.partition(_OWNERS)[0] + b"}")
        cidr, allocations = parse_network(value["cidr"]), value["allocations"]
        unallocated, affinity = value.get("unallocated") or (), value["affinity"]
        if not isinstance(affinity, str | None):
            raise ValueError("an affinity is no text")  # noqa: TRY004, TRY301 - as any other
        if not {*map(type, chain(allocations, unallocated))} <= {int, NoneType}:
            raise ValueError("an ordinal is no number")  # noqa: TRY301 - as any other
        _check(key, cidr, allocations, unallocated)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        block = decode_block(key, raw)
        return Ordinals(cidr=block.cidr, affinity=block.affinity, unallocated=block.unallocated)
    return Ordinals(cidr=cidr, affinity=affinity, unallocated=unallocated)


def outline(key: str, raw: bytes) -> Outline:
    """
    Read the block stored under `key`.

    Raises:
        CorruptStateError: As `decode_block`.
    """
    try:
        value = _BLOCK.validate_json(raw, strict=True)
        cidr = parse_network(value["cidr"])
        unallocated, owners = value.get("unallocated") or (), value.get("attributes") or ()
        _check(key, cidr, value["allocations"], unallocated)
        if not {*value["allocations"]} <= {None, *range(len(owners))}:
            raise ValueError(f"{key} lacks owners")  # noqa: TRY301 - as if it did not decode
    except ValueError:
        return _of(decode_block(key, raw))
    return Outline(
        cidr=cidr,
        affinity=value.get("affinity"),
        allocations=value["allocations"],
        unallocated=unallocated,
        sequence_numbers=value.get("sequenceNumberForAllocation") or {},
        handles=[owner.get("handle_id") for owner in owners],
        alternate=[owner.get("alternateOwnerAttrs") for owner in owners],
        released=[owner.get("releasedAt") for owner in owners],
        secondary=[owner.get("secondary") for owner in owners],
    )


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


def _check(
    key: str,
    cidr: IPNetwork,
    allocations: Sequence[int | None],
    unallocated: Sequence[int],
) -> None:
    """Raise ValueError unless these agree; `records.broken` says in which way they do not."""
    free = [ordinal for ordinal, index in enumerate(allocations) if index is None]
    if not (
        key == block_key(cidr)
        and len(allocations) == cidr.num_addresses
        and free == sorted(unallocated)
    ):
        raise ValueError(f"{key} contradicts itself")


def _of(block: Block) -> Outline:
    return Outline(
        cidr=block.cidr,
        affinity=block.affinity,
        allocations=block.allocations,
        unallocated=block.unallocated,
        sequence_numbers=block.sequence_numbers,
        handles=[attribute.handle for attribute in block.attributes],
        alternate=[attribute.alternate or None for attribute in block.attributes],
        released=[attribute.released_at for attribute in block.attributes],
        secondary=[attribute.secondary or None for attribute in block.attributes],
    )


@lru_cache(maxsize=32_768)  # blocks have many handles
def _canonical(cidr: str) -> str:
    return str(parse_network(cidr))
