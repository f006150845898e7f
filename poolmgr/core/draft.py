"""
The working copy of a plan.

What is known, what the requests so far have changed, and what must not have changed.

Theory: the requests of a batch take turns on one draft; each works on a `fork`, which replaces
the draft when the request succeeds and is thrown away when it is refused. A value that is
looked at but unknown raises `Missing`, which the planner turns into a `Fetch`; nothing is ever
assumed.

Rules:

1. Whoever decides on a stored value says so: `compare(key)` or `compare_range(range)`. `put`
   and `delete` compare too.
2. Values are decoded once; a draft hands out what an earlier request of the batch has made of
   them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TypeVar

from poolmgr.api import IPPool, IPReservation, Node
from poolmgr.cidr import IPNetwork, contains
from poolmgr.core import records
from poolmgr.core.affinity import Affinity, Claimant
from poolmgr.core.block import Block, collect
from poolmgr.core.config import IPAMConfig
from poolmgr.core.handle import Handle
from poolmgr.core.pools import Criteria, OwnView, Selection, select
from poolmgr.core.request import Attachment
from poolmgr.core.reservation import AddressSet
from poolmgr.core.session import Attached, Session
from poolmgr.core.snapshot import Snapshot
from poolmgr.core.txn import EPOCH_KEY, Fetch, KeyValue, Range, Txn
from poolmgr.core.values import Encoder, Value
from poolmgr.errors import CorruptStateError

POOLS = records.resource_range("ippools")
RESERVATIONS = records.resource_range("ipreservations")

T = TypeVar("T")
R = TypeVar("R", IPPool, IPReservation)


class Missing(Exception):  # noqa: N818 - a question, not an error
    """A fact that is not known yet; never leaves the planner."""

    def __init__(self, fetch: Fetch) -> None:
        super().__init__(fetch)
        self.fetch = fetch


class Draft:
    """A snapshot, and the changes that a plan makes to it."""

    def __init__(self, snapshot: Snapshot, now_ns: int) -> None:
        self.now_ns = now_ns
        self._snapshot = snapshot
        self._facts: dict[str, KeyValue | None] = {}
        self._decoded: dict[object, object] = {}
        self._collected: dict[int, tuple[Block, Block]] = {}
        self._written: dict[str, Value | None] = {}
        self._affinities: dict[str, bool] = {}
        self._expect: dict[str, int] = {}
        self._unchanged: dict[Range, int] = {}
        self._encoder = Encoder()
        self._selections: dict[tuple[str, int], tuple[Criteria, Selection]] = {}
        self._unreadable: dict[str, str] = {}
        self._full: set[str] = set()
        self._spent: set[str] = set()
        self.views: dict[tuple[Claimant, int], OwnView] = {}

    def fork(self) -> "Draft":
        """Make a copy that can be thrown away."""
        copy = Draft(self._snapshot, self.now_ns)
        # Shared: what is known of the snapshot and of values does not change.
        copy._facts, copy._decoded, copy._full = self._facts, self._decoded, self._full
        copy._encoder, copy._collected = self._encoder, self._collected
        copy._selections, copy._unreadable = self._selections, self._unreadable
        copy._spent, copy.views = self._spent, self.views
        copy._written = dict(self._written)
        copy._affinities = dict(self._affinities)
        copy._expect = dict(self._expect)
        copy._unchanged = dict(self._unchanged)
        return copy

    # What is known

    def need(self, *keys: str, ranges: tuple[Range, ...] = ()) -> None:
        """
        Make sure that these facts are known, all of them in one read.

        Raises:
            Missing: They are not.
        """
        unknown = frozenset(key for key in keys if not self._knows(key))
        lacking = frozenset(r for r in ranges if not self._snapshot.has(r))
        if unknown or lacking:
            raise Missing(Fetch(keys=unknown, ranges=lacking, full=frozenset(self._full)))

    def _knows(self, key: str) -> bool:
        if key in self._facts:
            return True
        fact = self._snapshot.find(key)
        if fact is not None:
            self._facts[key] = fact.value
        return fact is not None

    def need_since(self, changed: str, *keys: str) -> None:
        """
        Make sure that `keys` were read no earlier than the last change of `changed`.

        Raises:
            Missing: They were not.
        """
        fact = self._snapshot.find(changed)
        since = fact.value.mod_revision if fact is not None and fact.value is not None else 0
        known = {key: self._snapshot.find(key) for key in keys}
        old = frozenset(k for k, f in known.items() if f is None or f.revision < since)
        if old:
            raise Missing(Fetch(keys=old))

    def block(self, cidr: IPNetwork) -> Block | None:
        """Return a block as it is now, cold addresses collected; None = there is none."""
        block = self.stored_block(cidr)
        if block is None:
            return None
        if id(block) not in self._collected:
            warm = collect(block, now_ns=self.now_ns, cooldown_s=self.config().cooldown_s)
            self._collected[id(block)] = (block, warm)  # the entry keeps the block alive
        return self._collected[id(block)][1]

    def stored_block(self, cidr: IPNetwork) -> Block | None:
        """Return a block as it is stored; None = there is none."""
        return self._value(records.block_key(cidr), records.decode_block, Block)

    def affinity(self, host: str, cidr: IPNetwork, kind: str = "host") -> Affinity | None:
        """Return a host's affinity for a block; None = it has none."""
        return self._value(
            records.affinity_key(host, cidr, kind), records.decode_affinity, Affinity
        )

    def handle(self, handle: str) -> Handle | None:
        """Return a handle; None = it holds nothing."""
        return self._value(records.handle_key(handle), records.decode_handle, Handle)

    def session(self, host: str) -> Session:
        """Return a node's session fence."""
        key = records.session_key(host)
        return self._value(key, records.decode_session, Session) or Session()

    def attached(self, attachment: Attachment) -> Attached | None:
        """Return what sticky address an attachment holds; None = it has none."""
        return self._value(
            records.attachment_key(attachment), records.decode_attached, Attached
        )

    def config(self) -> IPAMConfig:
        """Return the IPAM configuration."""
        key = records.CONFIG_KEY
        return (
            self._value(key, lambda _, raw: records.decode_config(raw), IPAMConfig)
            or IPAMConfig()
        )

    def node_labels(self, host: str) -> Mapping[str, str] | None:
        """Return the labels of a Node resource; None = there is none."""
        key = records.resource_key("nodes", host)
        node = self._value(key, partial(records.decode_resource, Node), Node)
        return None if node is None else node.metadata.labels

    def pools(self) -> tuple[IPPool, ...]:
        """
        Return every stored pool that decodes, in name order.

        Like Calico's lists, the others are skipped.
        """
        return self._resources(POOLS, IPPool)

    def unreadable_pools(self) -> Mapping[str, str]:
        """Return the others: name -> what is wrong."""
        self.pools()
        return self._unreadable

    def select(self, criteria: Criteria) -> Selection:
        """
        Judge every pool, once for requests that want the same.

        Raises:
            NoMatchingPoolError, CorruptStateError: As core.pools.select.
        """
        name = criteria.host, criteria.family
        if name not in self._selections or self._selections[name][0] != criteria:
            selection = select(self.pools(), criteria, unreadable=self._unreadable)
            self._selections[name] = criteria, selection
        return self._selections[name][1]

    def reserved(self) -> AddressSet:
        """Return the union of all IPReservations."""
        if "reserved" not in self._decoded:
            texts = [t for r in self.reservations() for t in r.spec.reserved_cidrs]
            self._decoded["reserved"] = AddressSet.of(texts)
        found = self._decoded["reserved"]
        assert isinstance(found, AddressSet)
        return found

    def reservations(self) -> tuple[IPReservation, ...]:
        """
        Return every stored IPReservation.

        Raises:
            CorruptStateError: One does not decode; nobody can say what it reserves.
        """
        return self._resources(RESERVATIONS, IPReservation)

    def affinities(self, range_: Range) -> tuple[str, ...]:
        """Return the affinity keys of a range, in key order, as they are now."""
        self.need(ranges=(range_,))
        if range_ not in self._decoded:
            self._decoded[range_] = tuple(key for key, _ in self._snapshot.items(range_))
        stored = self._decoded[range_]
        assert isinstance(stored, tuple)
        changed = {k: v for k, v in self._affinities.items() if k in range_}
        if not changed:
            return stored
        keys = {*stored, *changed} - {key for key, there in changed.items() if not there}
        return tuple(sorted(keys, key=str.encode))

    def exists(self, key: str) -> bool | None:
        """Tell whether a key exists, as far as is known; None = unknown."""
        if key in self._written:
            return self._written[key] is not None
        return self._snapshot.exists(key)

    def was_full(self, key: str) -> bool:
        """Tell whether a block was found full, and forgotten, earlier in the same call."""
        return key in self._snapshot.full and key not in self._written

    def is_full(self, key: str) -> bool:
        """Tell whether a block, as it is stored, is known to have no address to give."""
        if key in self._written:
            return False
        stored = self._stored(key)
        if stored is None or not records.is_full(stored.value):
            return False
        if key not in self._expect:
            self._full.add(key)  # its value need not be kept
        return True

    def written_blocks(self, within: IPNetwork) -> list[str]:
        """Return the keys of the blocks inside `within` that the batch has written so far."""
        written = {key for key, value in self._written.items() if isinstance(value, Block)}
        written.update(
            key for key in self._snapshot.written if key in records.BLOCKS[within.version]
        )
        return [
            key
            for key in sorted(written)
            if (cidr := records.block_of_key(key)) is not None and contains(within, cidr)
        ]

    def mentions(self, key: str, text: str) -> bool:
        """Tell whether a stored value has `text` as a string; one without is forgotten."""
        stored = self._stored(key)
        if key in self._written or (stored and json.dumps(text).encode() in stored.value):
            return True
        if key not in self._expect:
            self._full.add(key)  # its value need not be kept
        return False

    def is_spent(self, key: str, owner: str) -> bool:
        """Tell whether an own block is known to need no repair and to have nothing to give."""
        if key in self._written:
            value = self._written[key]
            mine = isinstance(value, Block) and value.affinity == owner
            return mine and isinstance(value, Block) and not value.unallocated
        return key in self._spent

    def note_spent(self, key: str) -> None:
        """Note that an own block, as it is stored, needs no repair and has nothing to give."""
        if key not in self._written:
            self._spent.add(key)

    def remember(self, name: object, make: Callable[[], Iterable[str]]) -> tuple[str, ...]:
        """Return block keys that `make` works out from pages that were read, asked once."""
        memo = self._snapshot.memo
        if name not in memo:
            memo[name] = tuple(make())
        return memo[name]

    def page(self, range_: Range) -> tuple[list[str], bool]:
        """Return the keys of a page and whether more follow."""
        self.need(ranges=(range_,))
        page = self._snapshot.pages[range_].page
        return [key for key, _ in page.items], page.more

    # What must hold, and what changes

    def compare(self, key: str) -> None:
        """Make the plan depend on the revision of a key, absence included."""
        value = self._stored(key)
        self._expect[key] = 0 if value is None else value.mod_revision

    def compare_range(self, range_: Range) -> None:
        """Make the plan depend on a range having no newer key than what was read."""
        self._unchanged[range_] = self._snapshot.ranges[range_].quiet_until

    def put(self, key: str, value: Value) -> None:
        """Write a value over the one that is known."""
        self.compare(key)  # closes the race of two writers of one key
        self._written[key] = value
        if isinstance(value, Affinity):
            self._affinities[key] = True

    def delete(self, key: str) -> None:
        """Delete a key as it is known."""
        self.compare(key)  # closes the race of deleting what somebody has just written
        self._written[key] = None
        if records.host_of_key(key) is not None:
            self._affinities[key] = False

    def put_block(self, block: Block) -> None:
        """Write a block."""
        self.put(records.block_key(block.cidr), block)

    def txn(self, epoch_seed: bytes) -> Txn | None:
        """Make the transaction; None = nothing was decided that the store must confirm."""
        if not self._expect and not self._unchanged:
            return None
        epoch = self._stored(EPOCH_KEY)
        puts = {
            key: self._encoder.encode(v) for key, v in self._written.items() if v is not None
        }
        absent = {key for key, value in self._written.items() if value is None}
        if epoch is None and puts:
            puts[EPOCH_KEY] = epoch_seed
        return Txn(
            expect=dict(self._expect),
            unchanged=dict(self._unchanged),
            epoch=None if epoch is None else epoch.value,
            puts=puts,
            # A key that was absent and was put and deleted again within the batch needs no
            # delete.
            deletes=frozenset(key for key in absent if self._expect[key] != 0),
        )

    def operations(self) -> int:
        """Return how many operations the transaction has at most, the epoch's included."""
        return max(len(self._expect) + len(self._unchanged), len(self._written)) + 1

    def at_most_bytes(self) -> int:
        """Return a size that the transaction does not exceed; cheaper than making it."""
        keys = sum(map(len, self._expect)) * 4
        return keys + sum(map(self._encoder.at_most_bytes, self._written.values()))

    def _stored(self, key: str) -> KeyValue | None:
        self.need(key)
        return self._facts[key]

    def _value(self, key: str, decode: Callable[[str, bytes], T], kind: type[T]) -> T | None:
        if key in self._written:
            written = self._written[key]
            assert written is None or isinstance(written, kind)
            return written
        if key not in self._decoded:
            stored = self._stored(key)
            self._decoded[key] = None if stored is None else decode(key, stored.value)
        value = self._decoded[key]
        assert value is None or isinstance(value, kind)
        return value

    def _resources(self, range_: Range, kind: type[R]) -> tuple[R, ...]:
        self.need(ranges=(range_,))
        if range_ not in self._decoded:
            self._decoded[range_] = tuple(self._decodable(range_, kind))
        found = self._decoded[range_]
        assert isinstance(found, tuple)
        return found

    def _decodable(self, range_: Range, kind: type[R]) -> Iterator[R]:
        for key, stored in self._snapshot.items(range_):
            try:
                yield _decode_resource(kind, key, stored)
            except CorruptStateError as error:
                if kind is IPReservation:
                    raise
                # A pool that nobody can read serves nobody, as in Calico.
                self._unreadable[key.removeprefix(range_.start)] = (
                    f"its stored value is wrong ({error.why})"
                )


@lru_cache(maxsize=1024)
def _decode_resource(kind: type[R], key: str, stored: KeyValue) -> R:
    return records.decode_resource(kind, key, stored.value, stored.mod_revision)
