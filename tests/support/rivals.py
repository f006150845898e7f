"""
Rivals: hosts that ask one store for addresses at the same time, and what each may count on.

A call is begun, which notes what its owners can no longer rely on; it is run on some engine, which
may die on the way; and its answer is booked, which notes what they rely on from then on.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from poolmgr.cidr import IPAddress, IPNetwork, contains, network, parse_network
from poolmgr.core import records
from poolmgr.core.config import IPAMConfig
from poolmgr.core.flaws import Flaw
from poolmgr.core.outcome import Assigned, Outcome, Released
from poolmgr.core.request import (
    AssignIP,
    Attachment,
    AutoAssign,
    ChangeConfig,
    ClaimAffinities,
    CollectCold,
    EnsureBlock,
    Release,
    ReleaseAffinities,
    ReleaseByHandle,
    ReleaseIPs,
    Request,
    SetConfig,
    SetOwner,
)
from poolmgr.core.txn import EPOCH_KEY, Fetch
from poolmgr.errors import CorruptStateError, PoolmgrError
from poolmgr.ipam import IPAM
from tests.support.ownership import NOBODY, Owner, check_change, held
from tests.support.world import EVERYTHING, NOON_NS, World, stored_resource

HOSTS = ("node-a", "node-b", "node-c")
POOLS = {
    "p4": ("10.0.0.0/27", (29, 28, 30), "all()"),
    "p6": ("fd00::/123", (125, 124, 126), "all()"),
    "q4": ("10.1.0.0/28", (30, 29), "rack == 'r1'"),
}
"""Name -> addresses, block sizes it may be made with, and nodes it selects."""

CAP = 2
"""Addresses per family that a handle called capped-… may hold."""

FOR_EVER_S = 3600.0


@dataclass(eq=False)
class Promise:
    """
    What an owner may count on.

    Attributes:
        sure: Addresses it was told to have and has not given back -> their sequence numbers.
        exact: It holds nothing else while no call of it is under way.
        lives: How often it was deleted; ADDs of an earlier life were killed before the DEL.
        leaving: Its DEL is under way.
        busy: Calls of this life under way.
    """

    host: str
    sure: dict[IPAddress, int] = field(default_factory=dict)
    exact: bool = True
    lives: int = 0
    leaving: bool = False
    busy: int = 0


@dataclass(eq=False)
class Call:
    """
    A request under way.

    Attributes:
        lives: Owners -> their lives when it was begun.
        before: What the only owner was sure of then.
        alive: Whether the caller still waits.
        died: Whether an engine died over it, so that its answer may miss what that one did.
    """

    host: str
    request: Request
    lives: Mapping[Owner, int] = field(default_factory=dict)
    before: frozenset[IPAddress] = frozenset()
    alive: bool = True
    died: bool = False


class Rivals:
    """
    The hosts, their promises, and the world they share.

    Attributes:
        now_ns: The time; each host's clock is off by its entry in `skew_ns`.
    """

    def __init__(self, world: World) -> None:
        self.world, self.now_ns = world, NOON_NS
        self.skew_ns = dict.fromkeys(HOSTS, 0)
        self.lock = threading.Lock()
        self.promises: dict[Owner, Promise] = {NOBODY: Promise(HOSTS[0], exact=False)}
        self.world.put(EPOCH_KEY, b"first")
        self.first_revision = world.store.read(Fetch()).revision
        for name, (_, sizes, _) in POOLS.items():
            self.put_pool(name, sizes[0])
        self.reserve()
        for host in HOSTS:
            self.label(host, "r1")
            self.promises |= {f"{kind}-{host}": Promise(host) for kind in ("library", "capped")}
            for container in (f"{host}-1", f"{host}-2"):
                for interface in ("eth0", "net1"):
                    at = Attachment(network="net", container=container, interface=interface)
                    self.promises[at] = Promise(host)

    def engine(self, host: str, store) -> IPAM:
        return IPAM(store, clock=lambda: self.now_ns + self.skew_ns[host])

    # What is asked

    def is_free(self, owner: Owner) -> bool:
        """Tell whether an owner may ask for addresses: a handle has one call at a time."""
        promise = self.promises[owner]
        return not promise.leaving and (isinstance(owner, Attachment) or not promise.busy)

    def auto(
        self,
        owner: Owner,
        families: Sequence[int],
        count: int = 1,
        pools: Mapping[int, tuple[str, ...]] | None = None,
    ) -> Call:
        """Ask for addresses; an attachment takes one of each family."""
        count = 1 if isinstance(owner, Attachment) else count
        wanted = dict.fromkeys(families, count)
        who = self._who(owner)
        return self._begin(AutoAssign(count=wanted, pools=pools or {}, **who), owner)

    def named(self, owner: Owner, *addresses: IPAddress) -> Call:
        """Ask for these very addresses."""
        return self._begin(AssignIP(addresses=addresses, **self._who(owner)), owner)

    def _who(self, owner: Owner) -> dict:
        host = self.promises[owner].host
        who: dict = {"host": host, "handle": owner, "attributes": {"node": host}}
        if isinstance(owner, Attachment):
            named = {"network": owner.network, "interface": owner.interface}
            return who | {
                "handle": owner.handle,
                "attachment": owner,
                "attributes": {"node": host} | named,
            }
        if owner.startswith("capped"):
            who["max_per_handle"] = CAP
        return who | ({"handle": None} if owner == NOBODY else {})

    def delete(self, at: Attachment) -> Call:
        """Delete an attachment; whoever waited for its ADDs does so no more."""
        promise = self.promises[at]
        with self.lock:
            promise.lives, promise.leaving, promise.busy = promise.lives + 1, True, 0
            promise.sure.clear()
        handles = (at.handle, at.container)
        return self._begin(
            ReleaseByHandle(handles=handles, attachment=at, host=promise.host), at
        )

    def release_handles(self, *handles: str) -> Call:
        for handle in handles:
            self.promises[handle].sure.clear()
        return self._begin(ReleaseByHandle(handles=handles), *handles)

    def release_ips(
        self, chosen: Mapping[str, Iterable[IPAddress]], *, numbers: bool = False
    ) -> Call:
        """Give back addresses of several handles; with their numbers, and by force, if so told."""
        releases = []
        for handle, addresses in chosen.items():
            sure = self.promises[handle].sure
            for address in addresses:
                number = (
                    sure.pop(address, None) if numbers else sure.pop(address, None) and None
                )
                named = None if handle == NOBODY else handle
                releases.append(Release(address=address, handle=named, sequence_number=number))
        return self._begin(ReleaseIPs(releases=tuple(releases), fence=numbers), *chosen)

    def other(self, host: str, request: Request, *owners: Owner) -> Call:
        """Ask what changes nobody's addresses."""
        return self._begin(request, *owners, host=host)

    def _begin(self, request: Request, *owners: Owner, host: str = "") -> Call:
        with self.lock:
            for owner in owners:
                self.promises[owner].busy += 1
            before = [address for owner in owners for address in self.promises[owner].sure]
            return Call(
                host=host or self.promises[owners[0]].host,
                request=request,
                lives={owner: self.promises[owner].lives for owner in owners},
                before=frozenset(before),
            )

    # What is answered

    def run(self, call: Call, engine: IPAM) -> None:
        """Have an engine serve a call, and book its answer."""
        more: dict = {}
        if isinstance(call.request, (AutoAssign, AssignIP)):
            more = {"alive": lambda: call.alive}
        answer: Outcome | IPAMConfig | PoolmgrError
        try:
            answer = _VERBS[type(call.request)](
                engine, call.request, timeout_s=FOR_EVER_S, **more
            )
        except PoolmgrError as error:
            answer = error
        with self.lock:
            self._book(call, answer)

    def again(self, call: Call) -> Call | None:
        """Return what a fresh engine is to do after one died over `call`; None = nothing."""
        if any(self.promises[owner].lives != lives for owner, lives in call.lives.items()):
            return None  # its owner was deleted meanwhile
        call.died = True
        if isinstance(call.request, (AutoAssign, AssignIP)):
            for owner in call.lives:
                self.promises[owner].exact = False
            if call.request.handle is None or not call.alive:
                for owner in call.lives:
                    self.promises[owner].busy -= 1
                return None
        return call

    def _book(self, call: Call, answer: object) -> None:
        if any(self.promises[owner].lives != lives for owner, lives in call.lives.items()):
            return  # nobody listens any more
        for owner in call.lives:
            self.promises[owner].busy -= 1
        assert not isinstance(answer, CorruptStateError), answer
        if isinstance(call.request, (AutoAssign, AssignIP)):
            self._book_assigned(call, answer)
        elif isinstance(call.request, (ReleaseByHandle, ReleaseIPs)):
            assert isinstance(answer, Released), answer
            self._book_released(call, answer)

    def _book_released(self, call: Call, answer: Released) -> None:
        match call.request:
            case ReleaseByHandle(attachment=Attachment() as at):
                self.promises[at].leaving, self.promises[at].exact = False, True
            case ReleaseIPs() if not call.lives:  # what is not theirs
                assert () == answer.released
            case ReleaseIPs(releases=releases) if not call.died:
                # An unknown commit changes the numbers, so that the next look finds a mismatch.
                # No word of errors: what it freed may have a new owner by now.
                known = all(error.definite for error in answer.errors)
                if known and all(release.sequence_number is None for release in releases):
                    wanted = {release.address for release in releases}
                    assert (wanted, ()) == (set(answer.released), answer.unallocated), answer

    def _book_assigned(self, call: Call, answer: object) -> None:
        (owner,) = call.lives
        promise = self.promises[owner]
        if isinstance(answer, PoolmgrError):
            promise.exact = promise.exact and answer.definite
            return
        assert isinstance(answer, Assigned), answer
        given = {a.address: a.sequence_number for a in answer.allocations}
        if isinstance(owner, Attachment):
            families = {address.version for address in given}
            lost = {a for a in call.before - given.keys() if a.version in families}
            assert set() == lost, f"{owner} had {lost} and was then given {given}"
        promise.sure |= given

    # What administrators do

    def put_pool(self, name: str, size: int, *, disabled: bool = False) -> None:
        cidr, _, selector = POOLS[name]
        spec = {
            "cidr": cidr,
            "blockSize": size,
            "disabled": disabled,
            "nodeSelector": selector,
        }
        self.world.put(*stored_resource("ippools", "IPPool", name, spec))

    def pool(self, name: str) -> dict | None:
        """Return the spec of a pool; None = it is deleted."""
        raw = self.world.value(records.resource_key("ippools", name))
        return None if raw is None else json.loads(raw)["spec"]

    def delete_pool(self, name: str) -> None:
        self.world.remove(records.resource_key("ippools", name))

    def create_pool(self, name: str, size: int) -> None:
        """Make a deleted pool again: with another block size only where none is left."""
        pool = pool_cidr(name)
        left = {block.prefixlen for block in self.blocks() if contains(pool, block)}
        self.put_pool(name, size if left <= {size} else left.pop())

    def blocks(self) -> list[IPNetwork]:
        return [block.cidr for block in self.world.blocks().values()]

    def reserve(self, *cidrs: IPNetwork) -> None:
        spec = {"reservedCIDRs": [str(cidr) for cidr in cidrs]}
        self.world.put(*stored_resource("ipreservations", "IPReservation", "r", spec))

    def label(self, host: str, rack: str) -> None:
        labels = {"rack": rack}
        self.world.put(*stored_resource("nodes", "Node", host, {}, labels=labels))

    # What is stored

    def held(self) -> Mapping[Owner, set[IPAddress]]:
        """Return who holds which addresses."""
        return held(self.world.content().values())

    def check_promises(self) -> None:
        """Nothing is wrong, and everybody has what he was told to have."""
        held, wrong = self.held(), self.world.findings()

        # Deleting a pool leaves its blocks to their owners.
        assert [] == [finding for finding in wrong if finding.flaw is not Flaw.OUTSIDE_POOLS]
        assert set() == held.keys() - self.promises.keys()
        for owner, promise in self.promises.items():
            has, sure = held.get(owner, set()), promise.sure.keys()
            assert sure <= has, f"{owner} was promised {sure} and has {has}"
            if promise.exact and not promise.busy:
                assert has <= sure, f"{owner} has {has}, not {sure}"
            most = 1 if isinstance(owner, Attachment) else CAP
            if isinstance(owner, Attachment) or owner.startswith("capped"):
                for family in (4, 6):
                    count = sum(address.version == family for address in has)
                    assert count <= most, f"{owner} has {has}"

    def check_history(self) -> None:
        """Nothing is taken from its owner, or given against pools and reservations."""
        before: dict[str, bytes] = {}
        for now in self._revisions():
            check_change(before, now)
            before = now

    def _revisions(self) -> Iterator[dict[str, bytes]]:
        """Iterate over everything that was ever stored, revision by revision."""
        last = self.world.store.read(Fetch()).revision
        for revision in range(self.first_revision, last + 1):
            fetch = Fetch(ranges=frozenset({EVERYTHING}))
            page = self.world.store.read(fetch, revision=revision).ranges[EVERYTHING]
            yield {key: found.value for key, found in page.items}

    def check_that_nothing_stays_behind(self, delay: int) -> None:
        """Every attachment has its DEL, every handle its release; late writes come late."""
        engine = self.engine(HOSTS[0], self.world.store)
        attachments = [owner for owner in self.promises if isinstance(owner, Attachment)]
        for at in attachments:
            self.run(self.delete(at), engine)
        self._settle(delay)
        self.check_promises()
        handles = [o for o in self.promises if isinstance(o, str) and o != NOBODY]
        self.run(self.release_handles(*handles), engine)
        held = self.held().get(NOBODY, set())
        engine.release_ips(ReleaseIPs(releases=tuple(Release(address=a) for a in held)))
        self.promises[NOBODY].sure.clear()
        self.check_promises()

        assert {} == self.held()
        assert {} == self.world.handles()

    def _settle(self, delay: int) -> None:
        """Let late commits arrive."""
        for _ in range(delay + 1):
            self.world.store.read(Fetch())


def pool_cidr(name: str) -> IPNetwork:
    return parse_network(POOLS[name][0])


def block_in(name: str, nth: int, length: int) -> IPNetwork:
    """Return the network around the nth address of a pool; 29 stands for 125, too."""
    pool = pool_cidr(name)
    address = pool[nth % pool.num_addresses]
    return network(address, length if address.version == 4 else length + 96)


_VERBS: Mapping[type, Callable[..., Outcome | IPAMConfig]] = {
    AutoAssign: IPAM.auto_assign,
    AssignIP: IPAM.assign_ip,
    ReleaseByHandle: IPAM.release_by_handle,
    ReleaseIPs: IPAM.release_ips,
    ClaimAffinities: IPAM.claim_affinities,
    ReleaseAffinities: IPAM.release_affinities,
    EnsureBlock: IPAM.ensure_block,
    CollectCold: IPAM.collect_cold,
    SetOwner: IPAM.set_owner,
    SetConfig: IPAM.set_config,
    ChangeConfig: IPAM.change_config,
}
