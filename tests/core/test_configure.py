"""The rules of the IPAM configuration, and what is written."""

import pytest

from poolmgr.core import records
from poolmgr.core.config import IPAMConfig
from poolmgr.core.configure import check
from poolmgr.core.outcome import Config
from poolmgr.core.request import ChangeConfig, GetConfig, SetConfig
from poolmgr.errors import InvalidRequestError
from tests.support.world import World

STRICT = IPAMConfig(strict_affinity=True)


@pytest.mark.parametrize(
    "config",
    [
        IPAMConfig(),
        IPAMConfig(strict_affinity=True, auto_allocate_blocks=False),
        IPAMConfig(strict_affinity=True, max_blocks_per_host=3),
        IPAMConfig(max_blocks_per_host=-1),
        IPAMConfig(cooldown_s=300),
    ],
)
def test_a_configuration_within_the_rules_is_fine(config):
    check(config)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (IPAMConfig(auto_allocate_blocks=False), "auto_allocate_blocks", "both false"),
        (IPAMConfig(max_blocks_per_host=3), "maxBlocksPerHost", "MaxBlocksPerHost is 3"),
        (IPAMConfig(cooldown_s=-1), "ipCooldownSeconds", "IPCooldownSeconds is -1"),
    ],
)
def test_a_configuration_that_breaks_a_rule_names_field_and_value(config, field, value):
    with pytest.raises(InvalidRequestError) as caught:
        check(config)

    assert field == caught.value.field
    assert value in str(caught.value)


def test_defaults_hold_while_nothing_is_stored_and_are_not_stored_by_asking():
    world = World()

    assert Config(config=IPAMConfig()) == world.ask(GetConfig())
    assert world.last.txn is None
    assert {} == world.content()


@pytest.mark.parametrize("fields", [{"auto_allocate_blocks": False}, {"maxBlocksPerHost": 4}])
def test_a_stored_configuration_is_honoured_whatever_the_rules_say(fields):
    world = World().configure(**fields)
    expected = {"auto_allocate_blocks": True, "maxBlocksPerHost": 0, **fields}

    config = world.ask(GetConfig()).config

    assert expected["auto_allocate_blocks"] == config.auto_allocate_blocks
    assert expected["maxBlocksPerHost"] == config.max_blocks_per_host


def test_a_configuration_is_stored_and_answered():
    world = World().configure(ipCooldownSeconds=9)

    assert Config(config=STRICT) == world.ask(SetConfig(config=STRICT))
    assert STRICT == world.ask(GetConfig()).config


def test_the_defaults_are_stored_when_somebody_asks_for_them():
    world = World()

    world.ask(SetConfig(config=IPAMConfig()))

    assert IPAMConfig() == records.decode_config(world.value(records.CONFIG_KEY))


def test_what_is_stored_already_is_not_written_again():
    world = World()
    world.ask(SetConfig(config=STRICT))

    world.ask(SetConfig(config=STRICT))

    assert world.last.txn is None


def test_a_configuration_that_breaks_a_rule_changes_nothing():
    world = World().configure()
    before = world.content()

    world.refusal(SetConfig(config=IPAMConfig(auto_allocate_blocks=False)))

    assert before == world.content()


def test_two_who_configure_at_once_do_not_overwrite_each_other():
    world = World().configure()
    decided, _ = world.decide([SetConfig(config=STRICT)])
    world.configure(ipCooldownSeconds=9)

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"


def test_fields_are_changed_and_the_others_stay():
    world = World().configure(ipCooldownSeconds=9, maxBlocksPerHost=-1, theirs={"a": 1})

    config = world.ask(
        ChangeConfig(strict_affinity=True, kubevirt_persistence="Disabled")
    ).config

    assert config == IPAMConfig(
        strict_affinity=True,
        max_blocks_per_host=-1,
        kubevirt_persistence="Disabled",
        cooldown_s=9,
        extra={"theirs": {"a": 1}},
    )
    assert config == records.decode_config(world.value(records.CONFIG_KEY))


def test_a_field_may_become_false_or_nought():
    world = World().configure(strict_affinity=True, maxBlocksPerHost=3, ipCooldownSeconds=9)

    change = ChangeConfig(strict_affinity=False, max_blocks_per_host=0, cooldown_s=0)
    world.ask(change)

    assert IPAMConfig(kubevirt_persistence=None) == world.ask(GetConfig()).config


def test_a_change_counts_from_the_defaults_while_nothing_is_stored():
    world = World()

    world.ask(ChangeConfig(cooldown_s=5))

    assert IPAMConfig(cooldown_s=5) == records.decode_config(world.value(records.CONFIG_KEY))


@pytest.mark.parametrize(
    ("stored", "change"),
    [
        ({"strict_affinity": False}, ChangeConfig(auto_allocate_blocks=False)),
        ({}, ChangeConfig(max_blocks_per_host=2)),
        ({"strict_affinity": True, "maxBlocksPerHost": 2}, ChangeConfig(strict_affinity=False)),
    ],
)
def test_a_change_is_judged_by_what_it_makes_of_the_whole(stored, change):
    world = World().configure(**stored)
    before = world.content()

    assert isinstance(world.refusal(change), InvalidRequestError)
    assert before == world.content()


def test_a_change_does_not_undo_what_somebody_else_changed_meanwhile():
    world = World().configure()
    decided, _ = world.decide([ChangeConfig(strict_affinity=True)])
    world.configure(ipCooldownSeconds=9)

    assert type(world.store.commit(decided.txn)).__name__ == "Conflict"
    assert 9 == world.ask(ChangeConfig(strict_affinity=True)).config.cooldown_s
