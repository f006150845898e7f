"""
Rivals: many engines of several hosts on one store that fails, and what each may count on.

Every call has an engine of its own, as without an agent, and every operation of its store lets
others in: before and after it, whole calls of other engines may run. So one thread and one seed
make any nesting of calls, and make it again.
"""

import json
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from poolmgr.cidr import IPAddress, network, parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.request import (
    AssignIP,
    Attachment,
    AutoAssign,
    Release,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
)
from poolmgr.core.txn import EPOCH_KEY, Committed, Fetch, Txn
from poolmgr.errors import CommitUnknownError, PoolmgrError, StoreUnavailableError
from poolmgr.ipam import IPAM
from poolmgr.store.memory import Faults, MemoryStore
from tests.support.world import EVERYTHING, NOON_NS, World, stored_resource

HOSTS = ("node-a", "node-b", "node-c")
POOLS = {"p4": ("10.0.0.0/26", 29), "p6": ("fd00::/122", 125)}
"""Name -> 64 addresses, and the prefix length of their blocks of 8."""

FAULTS = ("lost_ack", "late", "never_applied", "conflict")
FAULTY_COMMITS = range(20, 4000)
"""The first ones set up the world."""

COOLDOWN_S = 2

Owner = Attachment | str
"""An attachment, or a handle of the library's."""


@dataclass(eq=False)
class Promise:
    """
    What an owner may count on.

    Attributes:
        sure: Addresses it was told to have and has not given back.
        exact: It holds nothing else.
        lives: How often it was deleted; ADDs of an earlier life were killed before the DEL.
        leaving: Its DEL is under way.
        busy: Calls under way; a handle has one at a time.
    """

    host: str
    sure: set[IPAddress] = field(default_factory=set)
    exact: bool = True
    lives: int = 0
    leaving: bool = False
    busy: int = 0


@dataclass(eq=False)
class Porous:
    """A store whose operations let others in, and that is out of reach now and then."""

    store: MemoryStore
    between: Callable[[], None]
    cut_off: Callable[[], bool] = lambda: False
    has_read: bool = False

    def read(self, fetch, *, timeout_s=2.0, revision=None):
        self._reach()
        found = self.store.read(fetch, timeout_s=timeout_s, revision=revision)
        self.has_read = True
        self.between()
        return found

    def commit(self, txn, *, timeout_s=2.0):
        self._reach()
        try:
            return self.store.commit(txn, timeout_s=timeout_s)
        finally:
            self.between()

    def close(self):
        """Nothing is connected."""

    def _reach(self):
        self.between()
        if self.cut_off():
            raise StoreUnavailableError("out of reach for a moment")


class Rivals:
    """One run: steps drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ns, self.deepest, self.blind = NOON_NS, 4, 0.5
        self.under_way: list[Owner] = []
        self.lock = threading.Lock()
        self.world = World(store=MemoryStore(self._faults()))
        for name in POOLS:
            self.put(*_pool(name))
        self.put(*_reservation())
        self.put(*self._config())
        self.promises: dict[Owner, Promise] = {}
        for host in HOSTS:
            self.put(*stored_resource("nodes", "Node", host, {}))
            self.promises[f"library-{host}"] = Promise(host)
            for container in (f"{host}-1", f"{host}-2"):
                for interface in ("eth0", "net1"):
                    at = Attachment(network="net", container=container, interface=interface)
                    self.promises[at] = Promise(host)

    def _faults(self) -> Faults:
        share = self.random.choice((0.1, 0.2))
        sets = {
            kind: {n for n in FAULTY_COMMITS if self.random.random() < share} for kind in FAULTS
        }
        return Faults(**sets, delay=self.random.choice((0, 1, 3, 8)))

    def engine(self, host: str) -> tuple[IPAM, Porous]:
        """Make an engine for one call, and its store."""
        store = Porous(self.world.store, self.between, lambda: self.random.random() < 0.02)
        return IPAM(store, clock=lambda: self.now_ns), store

    # What happens

    def between(self) -> None:
        """Let others in, now and then."""
        if len(self.under_way) < self.deepest and self.random.random() < 0.3:
            self.step()

    def step(self) -> None:
        """Do one thing, and others in the middle of it."""
        self.now_ns += self.random.choice((1, 1_000, 1_500_000_000))
        owner = self.random.choice([o for o in self.promises if self._is_near(o)])
        self.under_way.append(owner)
        draw = self.random.random()
        if draw < 0.07:
            self.edit()
        elif draw < 0.6:
            self.add(owner)
        else:
            self.release(owner)
        self.under_way.pop()

    def _is_near(self, owner: Owner) -> bool:
        """Tell whether `owner` may come next: in a call, mostly one of the same container."""
        if not self.under_way or self.random.random() < 0.1:
            return True
        near = self.under_way[-1]
        return owner == near or str(owner)[:-4] == str(near)[:-4]

    def add(self, owner: Owner) -> None:
        """
        Ask for addresses.

        Some callers are killed while they wait; so are all when their DEL comes, but some
        engines do not notice.
        """
        promise = self.promises[owner]
        with self.lock:
            if promise.leaving or (isinstance(owner, str) and promise.busy):
                return
            life, before = promise.lives, set(promise.sure)
        request = self.request(owner)
        looks = iter(range(self.random.choice((2, 3, 4, 5, 99, 99, 99))))
        engine, store = self.engine(promise.host)
        blind, has_read = self.random.random() < self.blind, False

        def lives() -> bool:
            nonlocal has_read
            if promise.lives == life:
                has_read = store.has_read
            # The fence counts from an engine's first read; it cannot stop one that reads later.
            goes_on = promise.lives == life or (blind and has_read)
            return goes_on and next(looks, None) is not None

        promise.busy += 1
        given: set[IPAddress] = set()
        unknown = False
        try:
            given = _assign(engine, request, lives)
        except PoolmgrError as error:
            unknown = not error.definite
        promise.busy -= 1
        with self.lock:
            if promise.lives != life:
                return  # nobody listens any more
            promise.exact = promise.exact and not unknown
            promise.sure |= given
        if isinstance(owner, Attachment):
            _check_repeated(owner, before, given)
            if unknown:  # as a runtime does
                self.delete(owner)

    def request(self, owner: Owner) -> AutoAssign | AssignIP:
        """Make a request: mostly automatic, sometimes for a named address."""
        host = self.promises[owner].host
        who: dict = {"host": host, "handle": owner, "attributes": {"node": host}}
        families = self.random.choice(((4,), (6,), (4, 6)))
        count = dict.fromkeys(families, self.random.choice((1, 3, 12)))
        if isinstance(owner, Attachment):
            count = dict.fromkeys(families, 1)
            attributes = {"node": host, "network": owner.network, "interface": owner.interface}
            who |= {"handle": owner.handle, "attachment": owner, "attributes": attributes}
        if self.random.random() < 0.1:
            cidr = parse_network(POOLS["p4" if 4 in families else "p6"][0])
            return AssignIP(addresses=(cidr[self.random.randrange(64)],), **who)
        return AutoAssign(count=count, **who)

    def release(self, owner: Owner) -> None:
        """Delete an attachment; give back all or some of what a handle has."""
        promise = self.promises[owner]
        if isinstance(owner, Attachment):
            if not promise.leaving:
                self.delete(owner)
        elif not promise.busy:
            promise.busy += 1
            if self.random.random() < 0.5:
                self._release_some(owner)
            else:
                promise.sure.clear()
                self.release_by_handle(owner, ReleaseByHandle(handles=(owner,)))
            promise.busy -= 1

    def delete(self, at: Attachment) -> None:
        """Kill the ADDs of an attachment that are under way, and delete it."""
        promise = self.promises[at]
        with self.lock:
            promise.lives, promise.leaving = promise.lives + 1, True
            promise.sure.clear()
        handles = (at.handle, at.container)
        request = ReleaseByHandle(handles=handles, attachment=at, host=promise.host)
        self.release_by_handle(at, request)
        promise.leaving, promise.exact = False, True

    def release_by_handle(self, owner: Owner, request: ReleaseByHandle) -> None:
        """Release, on the owner's host."""
        engine, _ = self.engine(self.promises[owner].host)
        engine.release_by_handle(request)

    def _release_some(self, handle: str) -> None:
        promise = self.promises[handle]
        chosen = [a for a in sorted(promise.sure, key=str) if self.random.random() < 0.6]
        promise.sure -= set(chosen)
        request = ReleaseIPs(releases=tuple(Release(address=a, handle=handle) for a in chosen))
        engine, _ = self.engine(promise.host)
        answer = engine.release_ips(request)

        # No word of errors: what an unknown commit freed may have a new owner by now.
        assert (set(chosen), ()) == (set(answer.released), answer.unallocated), answer

    # What administrators do

    def edit(self) -> None:
        """Change resources, configuration or epoch, or take blocks from their hosts."""
        name = self.random.choice(list(POOLS))
        cidr = parse_network(POOLS[name][0])
        match self.random.randrange(5):
            case 0:
                self.put(*_pool(name, disabled=self.random.random() < 0.5))
            case 1:
                some = network(cidr[self.random.randrange(64)], cidr.max_prefixlen - 5)
                self.put(*_reservation(*self.random.choice(((), (str(some),)))))
            case 2:
                self.put(*self._config())
            case 3:
                self.put(EPOCH_KEY, self.random.randbytes(4).hex().encode())
            case _:
                request = ReleaseAffinities(cidr=cidr)
                engine, _ = self.engine(HOSTS[0])
                engine.release_affinities(request)

    def put(self, key: str, value: bytes) -> None:
        """Write one key, again until it is certain."""
        store, committed = self.world.store, False
        while not committed:
            found = store.read(Fetch(keys=frozenset({key, EPOCH_KEY}))).found
            stored, epoch = found[key], found[EPOCH_KEY]
            txn = Txn(
                expect={key: stored.mod_revision if stored else 0},
                epoch=epoch.value if epoch else None,
                puts={key: value},
            )
            try:
                committed = isinstance(store.commit(txn), Committed)
            except CommitUnknownError:
                continue

    def _config(self) -> tuple[str, bytes]:
        value = {
            "auto_allocate_blocks": True,
            "strict_affinity": self.random.random() < 0.3,
            "maxBlocksPerHost": self.random.choice((0, 0, 3)),
            "ipCooldownSeconds": self.random.choice((0, 0, COOLDOWN_S)),
        }
        return records.CONFIG_KEY, json.dumps(value).encode()

    # What is stored

    def held(self) -> Mapping[Owner, set[IPAddress]]:
        """Return who holds which addresses, taken from the stored text."""
        found: dict[Owner, set[IPAddress]] = defaultdict(set)
        for raw in self.world.content().values():
            for address, owner in owners(raw).items():
                found[_owner(owner)].add(parse_address(address))
        return found

    def settle(self) -> None:
        """Let late commits arrive, and cold addresses warm up."""
        for _ in range(12):
            self.world.store.read(Fetch())
        self.now_ns += 10 * COOLDOWN_S * 1_000_000_000

    def revisions(self) -> Iterator[dict[str, bytes]]:
        """Iterate over everything that was ever stored, revision by revision."""
        last = self.world.store.read(Fetch()).revision
        for revision in range(1, last + 1):
            fetch = Fetch(ranges=frozenset({EVERYTHING}))
            page = self.world.store.read(fetch, revision=revision).ranges[EVERYTHING]
            yield {key: found.value for key, found in page.items}


def owners(raw: bytes) -> dict[str, str]:
    """Return address -> owner of a stored block; of anything else, nothing."""
    if not raw.startswith(b'{"cidr"'):
        return {}
    block = json.loads(raw)
    base = parse_network(block["cidr"]).network_address
    texts = [
        "/".join(
            (a["handle_id"], *(a["secondary"].get(n, "") for n in ("network", "interface")))
        )
        if "handle_id" in a
        else ""
        for a in block["attributes"] or ()
    ]
    pairs = ((base + n, i) for n, i in enumerate(block["allocations"]) if i is not None)
    return {str(address): texts[index] for address, index in pairs if texts[index]}


def _owner(text: str) -> Owner:
    handle, network_, interface = text.split("/")
    if not interface:
        return handle
    container = handle.removeprefix(f"{network_}.")
    return Attachment(network=network_, container=container, interface=interface)


def _assign(
    engine: IPAM, request: AutoAssign | AssignIP, lives: Callable[[], bool]
) -> set[IPAddress]:
    if isinstance(request, AssignIP):
        return {a.address for a in engine.assign_ip(request, alive=lives).allocations}
    return {a.address for a in engine.auto_assign(request, alive=lives).allocations}


def _check_repeated(at: Attachment, before: set[IPAddress], given: set[IPAddress]) -> None:
    families = {address.version for address in given}
    lost = {address for address in before - given if address.version in families}
    assert set() == lost, f"{at} had {lost} and was then given {given}"


def _pool(name: str, *, disabled: bool = False) -> tuple[str, bytes]:
    cidr, size = POOLS[name]
    spec = {"cidr": cidr, "blockSize": size, "disabled": disabled}
    return stored_resource("ippools", "IPPool", name, spec)


def _reservation(*cidrs: str) -> tuple[str, bytes]:
    return stored_resource(
        "ipreservations", "IPReservation", "r", {"reservedCIDRs": list(cidrs)}
    )
