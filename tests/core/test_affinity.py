"""Affinity states, and what is made of them."""

import pytest

from poolmgr.core.affinity import TRANSITIONS, Affinity, AffinityState, owner


def test_every_state_has_its_transition():
    assert set(AffinityState) == TRANSITIONS.keys()


@pytest.mark.parametrize("state", [AffinityState.PENDING, AffinityState.PENDING_DELETION])
def test_what_an_interrupted_writer_left_is_confirmed_by_use(state):
    assert AffinityState.CONFIRMED is TRANSITIONS[state]


@pytest.mark.parametrize("state", [AffinityState.CONFIRMED, AffinityState.LEGACY])
def test_a_confirmed_affinity_is_left_alone_in_its_old_form_too(state):
    assert TRANSITIONS[state] is None


def test_a_new_affinity_is_confirmed():
    assert AffinityState.CONFIRMED is Affinity().state


def test_the_owner_of_a_block_is_kind_and_name():
    assert "host:node-a" == owner("node-a")
    assert "virtual:load-balancer" == owner("load-balancer", "virtual")
