"""
Atlas: which block lies where, whose it is, and who uses its addresses.

Theory: a picture of a big cluster needs one short tuple per block and none per address. So
each block is counted when it comes by, and what its owners are called is read only where
another node, or a cooldown, is named: that is a tenth of the work.

Rules:

1. In use, reserved and free are counted as core/usage.py does, but addresses that a pool's
   annotations withhold from pods count as reserved, too.
2. What is borrowed is what core/borrowed.py says. An entry that names no node counts for the
   block's.
3. Addresses that cool down are in use, and nobody's.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from poolmgr.api import IPPool
from poolmgr.cidr import IPNetwork, contains, network_at
from poolmgr.core.borrowed import away, home_of
from poolmgr.core.link import Link, LinkError, LinkPolicy, resolve
from poolmgr.core.outline import Ordinals, ordinals, outline
from poolmgr.core.reservation import NOTHING, AddressSet
from poolmgr.core.tenancy import cooling
from poolmgr.core.usage import Homes, Usage, count

_HOST = "host:"
_NO_RULES = LinkPolicy()


class Plot(NamedTuple):
    """
    A block on the map.

    Attributes:
        first: Its first address, as an integer.
        owner: Name of its node, or "virtual:NAME"; None = nobody's.
        in_use: Addresses, with the borrowed ones and those that cool down.
        edges: Addresses that are withheld because they are the block's ends.
        users: Node -> addresses, of the nodes that are not its owner; () = there are none.
    """

    family: int
    first: int
    prefix: int
    owner: str | None
    in_use: int
    cooling: int
    reserved: int
    free: int
    edges: int = 0
    users: tuple[tuple[str, int], ...] = ()

    @property
    def cidr(self) -> IPNetwork:
        """The block."""
        return network_at(self.family, self.first, self.prefix)

    @property
    def size(self) -> int:
        """Number of addresses."""
        return 1 << ((32 if self.family == 4 else 128) - self.prefix)

    @property
    def borrowed(self) -> int:
        """Addresses that other nodes use than its own."""
        return sum(number for _, number in self.users)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """
    The map of one pool.

    Attributes:
        block_size: As stored; it may be nonsense.
        usage: Counts of its addresses.
        plots: Its blocks, by address.
        kept: Addresses that are reserved or withheld, wherever they are.
    """

    name: str
    cidr: IPNetwork
    block_size: int
    disabled: bool
    usage: Usage
    plots: Sequence[Plot]
    kept: AddressSet

    @property
    def borrowed(self) -> int:
        """Addresses that other nodes use than the block's."""
        return sum(plot.borrowed for plot in self.plots)

    @property
    def cooling(self) -> int:
        """Addresses that cool down."""
        return sum(plot.cooling for plot in self.plots)

    @property
    def ownerless(self) -> int:
        """Blocks without a node."""
        return sum(plot.owner is None for plot in self.plots)


@dataclass(slots=True)
class Tenant:
    """
    What a node has, and uses.

    Attributes:
        addresses: That it uses, wherever they are.
        borrowed: Of these, those in blocks that are not its own.
        lent: In its blocks, used by other nodes.
    """

    blocks: int = 0
    addresses: int = 0
    borrowed: int = 0
    lent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """
    The maps of all pools.

    Attributes:
        sheets: In the order of the pools.
        orphans: Blocks outside every pool, by address.
        tenants: Node -> what it has, by name.
    """

    sheets: tuple[Sheet, ...]
    orphans: tuple[Plot, ...]
    tenants: dict[str, Tenant]


class Tenure(NamedTuple):
    """
    A block as it was read.

    Attributes:
        cooling, users: As in `Plot`.
    """

    ordinals: Ordinals
    cooling: int
    users: tuple[tuple[str, int], ...]


def tenure(key: str, raw: bytes) -> Tenure:
    """
    Read the block stored under `key`, as far as a map shows it.

    Raises:
        CorruptStateError: As `outline.ordinals`.
    """
    found = ordinals(key, raw)
    home = home_of(found.affinity)
    if home and _names_only(raw, home):
        return Tenure(found, 0, ())
    block = outline(key, raw)
    users = Counter(each.node for each in away(block).borrowed)
    return Tenure(found, cooling(block), tuple(sorted(users.items())))


def _names_only(raw: bytes, node: str) -> bool:
    """
    Tell from its text that a block names no other node, and no address of it cools down.

    Quotes inside of strings are escaped; what has an escape is decoded, as what is False is.
    """
    if b"\\" in raw or b'"releasedAt"' in raw:
        return False
    return _other_node(node).search(raw) is None


@lru_cache(4096)
def _other_node(node: str) -> re.Pattern[bytes]:
    """Make the pattern of any other node's name; one look costs less than two counts."""
    return re.compile(b'"node"(?!:"%b")' % re.escape(node.encode()))


def draw(
    pools: Sequence[IPPool],
    reserved: AddressSet,
    blocks: Iterable[Tenure],
    *,
    orphans: bool = True,
) -> Atlas:
    """
    Draw the maps.

    Args:
        pools: In name order.
        reserved: Union of all reservations.
        blocks: All of them; read once, so that they need not be in memory together.
        orphans: Whether blocks outside of these pools are on a map.
    """
    homes = Homes([pool.spec.cidr for pool in pools])
    drafts = [_Draft.of(pool, reserved) for pool in pools]
    outside = _Draft(kept=reserved)
    tenants: dict[str, Tenant] = {}
    for each in blocks:
        home = homes.first(each.ordinals.cidr)
        if home is None and not orphans:
            continue
        plot = (outside if home is None else drafts[home]).add(each)
        _add_up(tenants, plot)
    return Atlas(
        sheets=tuple(draft.sheet(pool) for draft, pool in zip(drafts, pools, strict=True)),
        orphans=tuple(sorted(outside.plots)),
        tenants=dict(sorted(tenants.items())),
    )


@dataclass(slots=True)
class _Draft:
    """A sheet in the making; `link` is one that withholds the ends of blocks."""

    kept: AddressSet = NOTHING
    pool: IPNetwork | None = None
    link: Link | None = None
    plots: list[Plot] = field(default_factory=list)
    in_use: int = 0
    edges: int = 0
    free: int = 0
    unreserved: int = 0  # addresses of blocks, free or not

    @classmethod
    def of(cls, pool: IPPool, reserved: AddressSet) -> "_Draft":
        cidr = pool.spec.cidr
        try:
            link = resolve(cidr, pool.metadata.annotations, _NO_RULES)
        except LinkError:  # nobody gets an address of it, so nothing is withheld
            return cls(kept=reserved, pool=cidr)
        kept = reserved | link.withheld
        return cls(kept=kept, pool=cidr, link=link if link.by_block else None)

    def add(self, found: Tenure) -> Plot:
        block, cidr = found.ordinals, found.ordinals.cidr
        kept = self.kept if self.link is None else self.kept | self.link.withheld_in(cidr)
        whole = share = count(block, cidr, kept)
        within = cidr
        if self.pool is not None and not contains(self.pool, cidr):
            within = self.pool
            share = count(block, within, kept)
        edges = 0 if self.link is None else share.reserved - self.kept.count_in(within)
        self.in_use += share.in_use
        self.free += share.free
        self.edges += edges
        self.unreserved += share.total - share.reserved + edges
        plot = Plot(
            family=cidr.version,
            first=int(cidr.network_address),
            prefix=cidr.prefixlen,
            owner=_name(block.affinity),
            in_use=whole.in_use,
            cooling=found.cooling,
            reserved=whole.reserved,
            free=whole.free,
            edges=edges,
            users=found.users,
        )
        self.plots.append(plot)
        return plot

    def sheet(self, pool: IPPool) -> Sheet:
        spec = pool.spec
        total, reserved = spec.cidr.num_addresses, self.kept.count_in(spec.cidr)
        usage = Usage(
            total=total,
            in_use=self.in_use,
            reserved=reserved + self.edges,
            free=total - reserved - self.unreserved + self.free,
        )
        return Sheet(
            name=pool.metadata.name,
            cidr=spec.cidr,
            block_size=spec.block_size,
            disabled=spec.disabled,
            usage=usage,
            plots=tuple(sorted(self.plots, key=lambda plot: plot.first)),
            kept=self.kept,
        )


def _add_up(tenants: dict[str, Tenant], plot: Plot) -> None:
    if plot.owner is not None:
        owner = tenants.setdefault(plot.owner, Tenant())
        owner.blocks += 1
        owner.addresses += plot.in_use - plot.cooling - plot.borrowed
        owner.lent += plot.borrowed
    for node, number in plot.users:
        user = tenants.setdefault(node, Tenant())
        user.addresses += number
        user.borrowed += number


def _name(affinity: str | None) -> str | None:
    return affinity.removeprefix(_HOST) if affinity else None
