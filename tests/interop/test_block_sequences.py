"""
Blocks as recordings of Calico show them, write by write.

Numbers are relative to the block's first sequence number, and handles stand for their attributes.
"""

from dataclasses import dataclass, field

from poolmgr.cidr import parse_network
from poolmgr.core.block import (
    Attribute,
    Block,
    auto_assign,
    collect,
    new_block,
    release,
    time_ns,
)
from tests.support.facts import SECOND, assert_sound
from tests.support.world import NOON_NS


@dataclass(frozen=True)
class Recorded:
    """A block as a recording shows it: writes so far, and the rest relative to the first number."""

    writes: int
    allocations: list[int | None]
    free: list[int]
    attributes: list[str]
    numbers: dict[int, int] = field(default_factory=dict)


def shown(block: Block, base: int, count: int) -> Recorded:
    """Write a block as recorded, its first `count` ordinals only."""
    assert_sound(block)
    return Recorded(
        writes=block.sequence_number - base,
        allocations=list(block.allocations[:count]),
        free=list(block.unallocated),
        attributes=[a.owner or f"released {a.released_at}" for a in block.attributes],
        numbers={n: number - base for n, number in block.sequence_numbers.items()},
    )


def test_a_nodes_pods_fill_and_leave_a_block_as_recorded():
    """interop first-add: ADD c1, c2, c2 again, c3, DEL c1, ADD c4, DEL c2, c3, c4, ADD c5."""
    base = 1795461196871449249
    block = new_block(parse_network("10.20.0.160/28"), "host:node-a", base)
    tail = [*range(6, 16)]
    stamps = iter(range(10))

    def add(name: str) -> Recorded:
        nonlocal block
        attribute = Attribute(handle=name, secondary={"timestamp": str(next(stamps))})
        block, _ = auto_assign(block, 1, attribute)
        return shown(block, base, 6)

    def delete(name: str) -> Recorded:
        nonlocal block
        mine = block.ordinals_of(name)
        block = release(block, mine, now_ns=base, cooldown_s=0, bump=False)
        return shown(block, base, 6)

    n = None
    assert Recorded(1, [0, n, n, n, n, n], [1, 2, 3, 4, 5, *tail], ["c1"], {0: 0}) == add("c1")
    assert Recorded(
        2, [0, 1, n, n, n, n], [2, 3, 4, 5, *tail], ["c1", "c2"], {0: 0, 1: 1}
    ) == add("c2")
    assert Recorded(
        3, [0, 1, 2, n, n, n], [3, 4, 5, *tail], ["c1", "c2", "c2"], {0: 0, 1: 1, 2: 2}
    ) == add("c2")
    assert Recorded(
        4, [0, 1, 2, 3, n, n], [4, 5, *tail], ["c1", "c2", "c2", "c3"], {0: 0, 1: 1, 2: 2, 3: 3}
    ) == add("c3")
    assert Recorded(
        5, [n, 0, 1, 2, n, n], [4, 5, *tail, 0], ["c2", "c2", "c3"], {1: 1, 2: 2, 3: 3}
    ) == delete("c1")
    assert Recorded(
        6, [n, 0, 1, 2, 3, n], [5, *tail, 0], ["c2", "c2", "c3", "c4"], {1: 1, 2: 2, 3: 3, 4: 5}
    ) == add("c4")
    assert Recorded(
        7, [n, n, n, 0, 1, n], [5, *tail, 0, 1, 2], ["c3", "c4"], {3: 3, 4: 5}
    ) == delete("c2")
    assert Recorded(8, [n, n, n, n, 0, n], [5, *tail, 0, 1, 2, 3], ["c4"], {4: 5}) == delete(
        "c3"
    )
    assert Recorded(9, [n] * 6, [5, *tail, 0, 1, 2, 3, 4], [], {}) == delete("c4")
    assert Recorded(10, [n] * 5 + [0], [*tail, 0, 1, 2, 3, 4], ["c5"], {5: 9}) == add("c5")


def test_addresses_released_by_name_leave_a_block_as_recorded():
    """interop lib-release: ten addresses of h1 over two blocks, two of h2, then everything back."""
    low, high = 1795461237938467156, 1795461237933599767
    first = new_block(parse_network("10.20.0.8/29"), "host:node-a", high)
    second = new_block(parse_network("10.20.0.0/29"), "host:node-a", low)
    one, two = Attribute(handle="h1", secondary={"pod": "one"}), Attribute(handle="h2")

    first, got_first = auto_assign(first, 10, one)
    second, got_second = auto_assign(second, 10 - len(got_first), one)
    second, _ = auto_assign(second, 2, two)

    n = None
    assert (8, 2) == (len(got_first), len(got_second))
    assert Recorded(1, [0] * 8, [], ["h1"], dict.fromkeys(range(8), 0)) == shown(first, high, 8)
    assert Recorded(
        2, [0, 0, 1, 1, n, n, n, n], [4, 5, 6, 7], ["h1", "h2"], {0: 0, 1: 0, 2: 1, 3: 1}
    ) == shown(second, low, 8)

    first = release(first, [0], now_ns=NOON_NS, cooldown_s=0, bump=True)
    assert Recorded(2, [n] + [0] * 7, [0], ["h1"], dict.fromkeys(range(1, 8), 0)) == shown(
        first, high, 8
    )

    first = release(first, [1], now_ns=NOON_NS, cooldown_s=0, bump=True)
    first = release(first, range(2, 8), now_ns=NOON_NS, cooldown_s=0, bump=True)
    second = release(second, range(4), now_ns=NOON_NS, cooldown_s=0, bump=True)
    assert Recorded(4, [n] * 8, [*range(8)], [], {}) == shown(first, high, 8)
    assert Recorded(3, [n] * 8, [4, 5, 6, 7, 0, 1, 2, 3], [], {}) == shown(second, low, 8)


def test_released_addresses_cool_down_and_come_back_as_recorded():
    """interop cooldown: a full /30, two DELs, nothing to give, then the cooled ones again."""
    base, early, late = 1795462923723260838, "2026-11-23T19:42:03Z", "2026-11-23T19:42:09Z"
    numbers = {0: 0, 1: 1, 2: 2, 3: 3}
    block = new_block(parse_network("10.20.0.0/30"), "host:node-a", base)
    for name in ("c0", "c1", "c2", "c3"):
        block, _ = auto_assign(block, 1, Attribute(handle=name))
    at = time_ns(early)
    assert at is not None

    block = release(block, block.ordinals_of("c1"), now_ns=at, cooldown_s=4, bump=False)
    assert Recorded(
        5, [0, 3, 1, 2], [], ["c0", "c2", "c3", f"released {early}"], numbers
    ) == shown(block, base, 4)

    # The same second, but another release: the recording has two entries of the same time.
    block = release(block, block.ordinals_of("c2"), now_ns=at, cooldown_s=4, bump=False)
    released = [f"released {early}"] * 2
    assert Recorded(6, [0, 2, 3, 1], [], ["c0", "c3", *released], numbers) == shown(
        block, base, 4
    )
    assert (block, ()) == auto_assign(collect(block, now_ns=at, cooldown_s=4), 1, Attribute())

    at = time_ns(late)
    assert at is not None
    block = collect(block, now_ns=at, cooldown_s=4)
    block, _ = auto_assign(block, 1, Attribute(handle="cold"))
    numbers = {0: 0, 1: 6, 3: 3}
    assert Recorded(7, [0, 2, None, 1], [2], ["c0", "c3", "cold"], numbers) == shown(
        block, base, 4
    )

    block = collect(block, now_ns=at, cooldown_s=4)
    block = release(block, block.ordinals_of("c0"), now_ns=at, cooldown_s=4, bump=False)
    assert Recorded(
        8, [2, 1, None, 0], [2], ["c3", "cold", f"released {late}"], numbers
    ) == shown(block, base, 4)

    block = collect(block, now_ns=at + SECOND, cooldown_s=0)
    block = release(
        block, block.ordinals_of("c3"), now_ns=at + SECOND, cooldown_s=0, bump=False
    )
    assert Recorded(9, [None, 0, None, None], [2, 0, 3], ["cold"], {1: 6}) == shown(
        block, base, 4
    )
