from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_network
from poolmgr.core.capacity import Goal, Space, fit, recommended, sizes, taken_by
from poolmgr.core.link import Link, LinkPolicy, MainPlugin, resolve
from poolmgr.core.reservation import AddressSet
from tests.strategies import QUICK


def space(cidr="10.0.0.0/24", reserved=(), taken=(), owned=()):
    pool = parse_network(cidr)
    blocks = [parse_network(each) for each in taken]
    theirs = tuple(tuple(parse_network(each) for each in blocks) for blocks in owned)
    return Space(
        pool=pool, reserved=AddressSet.of(reserved), taken=taken_by(pool, blocks), owned=theirs
    )


def goal(nodes=1, pods=1, limit=20):
    return Goal(nodes=nodes, pods=pods, limit=limit)


def test_a_node_needs_whole_blocks():
    found = fit(space(), 28, goal(nodes=5, pods=17))

    assert (2, 16, 16, 8) == (found.per_node, found.blocks, found.available, found.nodes)
    assert 5 * (32 - 17) == found.stranded
    assert 48 == found.most_pods
    assert found.fits


def test_a_limit_of_blocks_keeps_every_node_away():
    found = fit(space(), 30, goal(pods=9, limit=2))

    assert (0, True, False, 8) == (found.nodes, found.limited, found.fits, found.most_pods)


def test_reserved_blocks_are_not_available_and_touched_ones_have_what_is_left():
    found = fit(space(reserved=["10.0.0.0/28", "10.0.0.16"]), 28, goal(pods=15))

    assert 15 == found.available
    assert 15 == found.nodes
    assert 14 == fit(space(reserved=["10.0.0.0/28", "10.0.0.16"]), 28, goal(pods=16)).nodes


def test_several_reservations_of_a_block_count_together():
    found = fit(space("10.0.0.0/30", reserved=["10.0.0.0", "10.0.0.2"]), 30, goal(pods=2))

    assert (1, 1, 0) == (found.nodes, found.available, found.stranded)
    assert (
        0
        == fit(space("10.0.0.0/30", reserved=["10.0.0.0", "10.0.0.2"]), 30, goal(pods=3)).nodes
    )


def test_what_a_main_plugin_withholds_is_not_counted_on():
    pool = parse_network("10.0.0.0/26")
    link = resolve(pool, {}, LinkPolicy(main=MainPlugin.PTP))
    held = Space(pool=pool, link=link)

    assert 3 == held.withheld
    assert 1 == fit(held, 26, goal(pods=61)).nodes
    assert 0 == fit(held, 26, goal(pods=62)).nodes


def test_ends_of_each_block_may_be_withheld():
    held = Space(
        pool=parse_network("10.0.0.0/26"), link=Link(prefix_length=None, by_block=True)
    )

    assert 4 == fit(held, 28, goal(pods=14)).nodes
    assert 2 == fit(held, 28, goal(pods=15)).nodes
    assert 64 == fit(held, 32, goal(pods=1)).nodes


def test_nodes_that_have_blocks_are_among_the_planned_ones():
    owned = (("10.0.0.0/28", "10.0.0.16/28"), ("10.0.0.32/28",))
    found = fit(space(taken=sum(owned, ()), owned=owned), 28, goal(nodes=3, pods=20))

    assert 13 == found.available
    assert 2 + 12 // 2 == found.nodes
    assert 3 * 12 == found.stranded


def test_a_node_that_cannot_have_what_it_lacks_does_not_fit():
    taken = [str(each) for each in parse_network("10.0.0.0/24").subnets(new_prefix=28)]
    full = space(taken=taken, owned=tuple((each,) for each in taken))

    assert 0 == fit(full, 28, goal(pods=17)).nodes
    assert 16 == fit(full, 28, goal(pods=16)).nodes
    assert 16 == fit(full, 28, goal(pods=1)).most_pods


def test_a_node_at_its_limit_gets_no_more():
    owned = (("10.0.0.0/28",),)
    limited = space("10.0.0.0/24", taken=owned[0], owned=owned)

    assert 0 == fit(limited, 28, goal(pods=17, limit=1)).nodes


def test_blocks_of_another_size_take_the_place_of_all_that_they_overlap():
    assert 15 == fit(space(taken=["10.0.0.4/30", "10.0.0.8/30"]), 28, goal()).available
    assert 12 == fit(space(taken=["10.0.0.0/26"]), 28, goal()).available
    assert 0 == fit(space(taken=["10.0.0.0/16"]), 28, goal()).available
    assert 16 == fit(space(taken=["10.0.1.0/28", "fd00::/122"]), 28, goal()).available


def test_a_reservation_inside_a_block_that_exists_makes_no_block_of_it():
    found = fit(
        space(reserved=["10.0.0.1", "10.0.0.17"], taken=["10.0.0.0/28"]), 28, goal(pods=15)
    )

    assert (15, 15) == (found.available, found.nodes)


def test_ipv6_is_counted_exactly():
    reserved = ["fd00::/120", "fd00:0:0:1::/64"]
    found = fit(space("fd00::/48", reserved), 122, goal(nodes=2**70, pods=65))

    blocks = 2**74 - 2**58 - 4
    assert 2**74 == found.blocks
    assert (blocks, blocks // 2) == (found.available, found.nodes)
    assert 2**70 * 63 == found.stranded


def test_an_unlimited_node_may_have_any_number_of_pods():
    found = fit(space("fd00::/64"), 122, goal(nodes=1, pods=2**63, limit=None))

    assert (2, 2**64) == (found.nodes, found.most_pods)


@pytest.mark.parametrize(
    ("cidr", "first", "last"),
    [
        ("10.0.0.0/8", 20, 32),
        ("10.0.0.0/27", 27, 32),
        ("fd00::/64", 116, 128),
        ("fd00::/127", 127, 128),
    ],
)
def test_sizes_are_those_of_pools(cidr, first, last):
    known = sizes(parse_network(cidr))

    assert (first, last) == (known[0], known[-1])


def test_the_largest_blocks_are_recommended_that_strand_little():
    target = goal(nodes=120, pods=110)
    pool = space("10.244.0.0/16")
    best, why = recommended(fit(pool, size, target) for size in sizes(pool.pool))

    assert best is not None
    assert 25 == best.size
    assert "fewest routes" in why


def test_where_all_sizes_strand_much_the_least_of_that_is_recommended():
    target = goal(nodes=2, pods=5, limit=1)
    pool = space("10.0.0.0/24")
    best, why = recommended(fit(pool, size, target) for size in range(24, 30))

    assert best is not None
    assert 29 == best.size
    assert "strands the fewest" in why


def test_nothing_is_recommended_where_nothing_fits():
    pool = space("10.0.0.0/29")

    assert (None, "") == recommended(fit(pool, size, goal(pods=9)) for size in sizes(pool.pool))


@given(
    reserved=st.lists(st.integers(0, 31), max_size=6),
    taken=st.sets(st.integers(0, 7), max_size=6),
    pods=st.integers(1, 20),
    limit=st.sampled_from([None, 1, 2, 3]),
)
@QUICK
def test_counts_are_those_of_looking_at_every_block(reserved, taken, pods, limit):
    blocks = list(parse_network("10.0.0.0/27").subnets(new_prefix=30))
    kept = [f"10.0.0.{each}" for each in reserved]
    where = space("10.0.0.0/27", kept, [str(blocks[each]) for each in taken])
    found = fit(where, 30, Goal(nodes=2, pods=pods, limit=limit))

    free = [where.pods_in(each) for at, each in enumerate(blocks) if at not in taken]
    useful = sorted((each for each in free if each), reverse=True)
    most = len(useful) if limit is None else limit
    best = max((sum(useful[:most]), 0))
    assert len(useful) == found.available
    assert (best >= pods) == (found.nodes > 0)
    assert found.nodes * pods <= sum(useful)
    if found.most_pods:
        goal_met = replace(found.goal, pods=found.most_pods)
        assert fit(where, 30, goal_met).fits
    for more, size in product((1, 2), (30, 31)):
        wanted = Goal(nodes=2, pods=pods, limit=limit)
        fewer = Goal(nodes=2, pods=pods + more, limit=limit)
        assert fit(where, size, fewer).nodes <= fit(where, size, wanted).nodes
