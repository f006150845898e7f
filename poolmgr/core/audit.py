"""
What must always hold of stored data, and a function that checks it, for tests and for audits.

Theory: the data may not fit into memory. So they are read range by range, and little of them is
kept: one number per block, and sums (core/ledger.py) of what two kinds of keys say of the same
thing. Where these differ, the ranges are read again for the entries in question.

Rules:

1. A block's free list, allocations and attributes agree, and every attribute is referenced.
2. No address lies in two blocks.
3. A block that names a host has that host's affinity, confirmed, and an affinity has a block
   that names its host.
4. A handle counts exactly the ordinals that carry it; Calico may leave a count too high, never
   one too low.
5. A block lies in a pool. (Deleting a pool leaves its blocks behind, so this is a finding, not
   damage.)
6. Everything decodes. What other keys say of something that does not is not judged.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import chain

from poolmgr.api import IPPool, IPReservation
from poolmgr.cidr import HOST_PREFIX, IPNetwork, network_at
from poolmgr.core import records
from poolmgr.core.affinity import AffinityState, owner
from poolmgr.core.block import time_ns
from poolmgr.core.flaws import Finding, Flaw
from poolmgr.core.ledger import Ledger
from poolmgr.core.outline import Outline, counts_of_handle, outline
from poolmgr.core.txn import Range
from poolmgr.errors import CorruptStateError

Items = Iterable[tuple[str, bytes]]
Read = Callable[[Range], Items]
"""Returns keys and values of a range, each time as of the same revision."""

BUCKETS = 1 << 16
AT_ONCE = 100_000
"""Entries that are compared at once: some 30 MB."""

POOLS, RESERVATIONS = (records.resource_range(kind.plural) for kind in (IPPool, IPReservation))
SESSIONS = Range.prefix("/poolmgr/v1/session/")
ATTACHMENTS = Range.prefix("/poolmgr/v1/attachment/")
_CONFIG = Range(start=records.CONFIG_KEY, end=records.CONFIG_KEY + "\0")
_BLOCKS, _AFFINITIES = tuple(records.BLOCKS.values()), tuple(records.AFFINITIES.values())
_LEGACY_HOST = re.compile(re.escape(records.AFFINITIES["host"].start) + "[^/]+")
"""Where old versions of Calico noted that a host exists."""

_Look = Callable[[str, bytes], Iterable[Finding]]
_Place = tuple[str, str]
"""An owner, "host:node-a", and its block."""


def invariants(stored: Items) -> tuple[Finding, ...]:
    """
    Check a small store.

    Args:
        stored: Keys and values of one revision; keys that mean nothing here are passed over.

    Returns:
        What is wrong, in a fixed order; () = nothing.
    """
    everything = tuple(stored)

    def read(range_: Range) -> Items:
        return ((key, raw) for key, raw in everything if key in range_)

    found = audit(read, buckets=16)
    return tuple(sorted(found, key=lambda f: (f.key, f.flaw, f.detail)))


def audit(
    read: Read,
    *,
    now_ns: int | None = None,
    checked: Counter[str] | None = None,
    buckets: int = BUCKETS,
    at_once: int = AT_ONCE,
) -> Iterator[Finding]:
    """
    Check a store of any size, and yield what is wrong as it is found.

    Args:
        now_ns: The time, to find releases at a time to come; None = do not look for them.
        checked: Counts what was looked at: "pools", "blocks", "addresses" (in use),
            "affinities", "handles".
    """
    first = _FirstLook(now_ns, Counter() if checked is None else checked, buckets)
    yield from first.look(read)
    yield from first.overlaps()
    for group in first.affinities.unequal(at_once):
        yield from _compare_affinities(first, group, read)
    for group in first.handles.unequal(at_once):
        yield from _compare_handles(first, group, read)


class _FirstLook:
    """
    Looks at everything once.

    Attributes:
        affinities, handles: What blocks say, less what the keys themselves say.
        unreadable: What does not decode: blocks as text, affinities as places, handles as keys.
    """

    def __init__(self, now_ns: int | None, checked: Counter[str], buckets: int) -> None:
        self._now_ns = now_ns
        self._checked = checked
        self._pools: dict[tuple[int, int], set[int]] = defaultdict(set)
        self._extents: dict[int, list[int]] = {4: [], 6: []}  # address << 8 | prefix length
        self.affinities, self.handles = Ledger(buckets), Ledger(buckets)
        self.unreadable: set[object] = set()

    def look(self, read: Read) -> Iterator[Finding]:
        # Pools come before blocks, which are sought in them.
        looks: tuple[tuple[Iterable[Range], _Look], ...] = (
            ((POOLS,), self._pool),
            ((RESERVATIONS, _CONFIG, SESSIONS, ATTACHMENTS), _other),
            (_BLOCKS, self._block),
            (_AFFINITIES, self._affinity),
            ((records.HANDLES,), self._handle),
        )
        for ranges, look in looks:
            for key, raw in _all(read, ranges):
                try:
                    yield from look(key, raw)
                except CorruptStateError as error:
                    block = records.block_of_key(key)
                    self.unreadable.add(_place(key) or (block and str(block)) or key)
                    yield Finding(Flaw.CORRUPT, key, str(error))

    def overlaps(self) -> Iterator[Finding]:
        for family, extents in self._extents.items():
            width = HOST_PREFIX[family]
            last, end = 0, -1  # the block that reaches farthest so far
            for extent in sorted(extents):  # a larger block comes before those inside it
                first, prefix = extent >> 8, extent & 0xFF
                if first > end:
                    last, end = extent, first + (1 << width - prefix) - 1
                    continue  # what overlaps lies inside: networks nest
                block, around = (
                    network_at(family, each >> 8, each & 0xFF) for each in (extent, last)
                )
                yield Finding(Flaw.OVERLAP, records.block_key(block), f"overlaps {around}")

    def _pool(self, key: str, raw: bytes) -> Iterable[Finding]:
        cidr = records.decode_resource(IPPool, key, raw).spec.cidr
        self._pools[cidr.version, cidr.prefixlen].add(_head(cidr, cidr.prefixlen))
        self._checked["pools"] += 1
        return ()

    def _block(self, key: str, raw: bytes) -> Iterator[Finding]:
        block = outline(key, raw)
        cidr = str(block.cidr)
        extent = int(block.cidr.network_address) << 8 | block.cidr.prefixlen
        self._extents[block.cidr.version].append(extent)
        if block.affinity:
            self.affinities.add((block.affinity, cidr), AffinityState.CONFIRMED)
        for name, count in block.held().items():
            self.handles.add(name, (cidr, count))
        self._checked["blocks"] += 1
        self._checked["addresses"] += len(block.allocations) - len(block.unallocated)
        if unused := [*block.unreferenced()]:
            yield Finding(Flaw.UNREFERENCED_ATTRIBUTE, key, f"attributes {unused}")
        if self._now_ns is not None:
            for moment in filter(None, block.released):
                if (time_ns(moment) or 0) > self._now_ns:
                    yield Finding(Flaw.RELEASED_IN_FUTURE, key, f"released at {moment}")
        if not any(
            version == block.cidr.version
            and length <= block.cidr.prefixlen
            and _head(block.cidr, length) in heads
            for (version, length), heads in self._pools.items()
        ):
            yield Finding(Flaw.OUTSIDE_POOLS, key, f"of {self._checked['pools']} pools")

    def _affinity(self, key: str, raw: bytes) -> Iterable[Finding]:
        if _LEGACY_HOST.fullmatch(key):
            return ()
        self.affinities.subtract(*_affinity(key, raw))
        self._checked["affinities"] += 1
        return ()

    def _handle(self, key: str, raw: bytes) -> Iterable[Finding]:
        # A handle that counts nothing is to be looked at, too.
        for counted in (counts_of_handle(key, raw) or {"": 0}).items():
            self.handles.subtract(key.removeprefix(records.HANDLES.start), counted)
        self._checked["handles"] += 1
        return ()


def _compare_affinities(
    first: _FirstLook, group: frozenset[int], read: Read
) -> Iterator[Finding]:
    """Name what is wrong with the affinities in these buckets."""

    def concerned(place: _Place | None) -> bool:
        return (
            place is not None
            and first.affinities.bucket(place) in group
            and first.unreadable.isdisjoint((place, place[1]))
        )

    said = {
        key: _affinity(key, raw)
        for key, raw in _all(read, _AFFINITIES)
        if concerned(_place(key))
    }
    places = {place for place, _ in said.values()}
    wanted = {block for _, block in places}
    owners: dict[str, str | None] = {}
    for key, block in _blocks(first, read):
        place = (block.affinity or "", str(block.cidr))
        if place[1] in wanted:
            owners[place[1]] = block.affinity
        if block.affinity and concerned(place) and place not in places:
            yield Finding(Flaw.BLOCK_WITHOUT_AFFINITY, key, block.affinity)
    for key, (place, state) in said.items():
        yield from _judge_affinity(key, place, state, owners)


def _judge_affinity(
    key: str, place: _Place, state: AffinityState, owners: Mapping[str, str | None]
) -> Iterator[Finding]:
    name, block = place
    if block not in owners:
        detail = f"{state}; there is no block {block}"
        yield Finding(Flaw.AFFINITY_WITHOUT_BLOCK, key, detail)
    elif owners[block] != name:
        detail = f"{state}; block {block} belongs to {owners[block] or 'no host'}"
        yield Finding(Flaw.AFFINITY_WITHOUT_BLOCK, key, detail)
    elif state is not AffinityState.CONFIRMED:
        yield Finding(Flaw.AFFINITY_UNFINISHED, key, state)


def _compare_handles(first: _FirstLook, group: frozenset[int], read: Read) -> Iterator[Finding]:
    """Name what is wrong with the handles in these buckets."""

    def concerned(key: str) -> bool:
        name = key.removeprefix(records.HANDLES.start)
        return first.handles.bucket(name) in group and key not in first.unreadable

    said = {
        key: counts_of_handle(key, raw) for key, raw in read(records.HANDLES) if concerned(key)
    }
    held: dict[str, list[tuple[str, int]]] = defaultdict(list)  # handle key -> block, ordinals
    for _, block in _blocks(first, read):
        for name, count in block.held().items():
            if concerned(key := records.HANDLES.start + name):
                held[key].append((str(block.cidr), count))
    for key in said.keys() | held.keys():
        has = dict(held.get(key, ()))
        yield from _judge_handle(key, said.get(key), has, first.unreadable)


def _judge_handle(
    key: str, said: Mapping[str, int] | None, has: Mapping[str, int], unreadable: Set[object]
) -> Iterator[Finding]:
    if said is not None and not has and unreadable.isdisjoint(said):
        detail = ", ".join(f"{count} in {block}" for block, count in said.items())
        yield Finding(Flaw.HANDLE_WITHOUT_ADDRESS, key, f"counts {detail or 'nothing'}")
        return
    says = said or {}
    for block in (says.keys() | has.keys()) - unreadable:
        counts, holds = says.get(block, 0), has.get(block, 0)
        if counts != holds:
            flaw = Flaw.HANDLE_TOO_HIGH if counts > holds else Flaw.HANDLE_TOO_LOW
            yield Finding(flaw, key, f"counts {counts} in {block}, which holds {holds}")


def _blocks(first: _FirstLook, read: Read) -> Iterator[tuple[str, Outline]]:
    """Read the blocks that decode once more."""
    for key, raw in _all(read, _BLOCKS):
        if first.unreadable.isdisjoint((key, str(records.block_of_key(key)))):
            yield key, outline(key, raw)


def _all(read: Read, ranges: Iterable[Range]) -> Items:
    return chain.from_iterable(map(read, ranges))


def _place(key: str) -> _Place | None:
    """Return what an affinity key says; None = it is none."""
    host, block = records.host_of_key(key), records.block_of_key(key)
    return (owner(host[1], host[0]), str(block)) if host and block else None


def _affinity(key: str, raw: bytes) -> tuple[_Place, AffinityState]:
    place, state = _place(key), records.decode_affinity(key, raw).state
    if place is None:
        raise CorruptStateError(key, "the key names no host and block")
    return place, AffinityState.CONFIRMED if state is AffinityState.LEGACY else state


def _other(key: str, raw: bytes) -> Iterable[Finding]:
    """See to it that a value decodes which nothing else is compared with."""
    if key in RESERVATIONS:
        records.decode_resource(IPReservation, key, raw)
    elif key in SESSIONS:
        records.decode_session(key, raw)
    elif key in ATTACHMENTS:
        _check_attachment(key, raw)
    else:
        records.decode_config(raw)
    return ()


def _check_attachment(key: str, raw: bytes) -> None:
    try:
        value = json.loads(raw)
        sound = isinstance(value["handle"], str) and all(
            isinstance(address, str) for address in value["addresses"]
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptStateError(key, f"not an attachment ({error})") from error
    if not sound:
        raise CorruptStateError(key, "not an attachment")


def _head(network: IPNetwork, length: int) -> int:
    """Return the first `length` bits of the network's address."""
    return int(network.network_address) >> (HOST_PREFIX[network.version] - length)
