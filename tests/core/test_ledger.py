"""Sums of two columns tell where they differ."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolmgr.core.ledger import Ledger

facts = st.tuples(st.integers(0, 9), st.integers(0, 3))  # place, fact


def ledger(first, second, buckets: int = 4) -> Ledger:
    made = Ledger(buckets)
    for place, fact in first:
        made.add(place, fact)
    for place, fact in second:
        made.subtract(place, fact)
    return made


@given(st.lists(facts), st.randoms())
def test_equal_columns_are_equal_in_any_order(column, random):
    other = [*column]
    random.shuffle(other)

    assert [] == [*ledger(column, other).unequal(1)]


@example(first=[(0, 0), (0, 3)], second=[(0, 1), (0, 2)])
@given(first=st.lists(facts, unique=True), second=st.lists(facts, unique=True))
def test_every_place_of_a_difference_is_in_an_unequal_bucket(first, second):
    made = ledger(first, second)
    unequal = {bucket for group in made.unequal(100) for bucket in group}

    assert {made.bucket(place) for place, _ in {*first} ^ {*second}} == unequal


@pytest.mark.parametrize(
    ("at_once", "groups"),
    [(1, [{0}, {1}, {2}]), (2, [{0}, {1}, {2}]), (4, [{0, 1}, {2}]), (6, [{0, 1, 2}])],
)
def test_groups_have_as_many_entries_as_allowed_but_at_least_a_bucket(at_once, groups):
    made = ledger([(place, n) for place in range(3) for n in range(2)], [])

    assert groups == [*made.unequal(at_once)]
