"""`poolctl ipam show --show-configuration` and `poolctl ipam configure`."""

import json

import pytest

from poolctl.report import REFUSED
from poolmgr.core.records import CONFIG_KEY
from tests.support.poolctl import put, stored

DEFAULTS = {
    "strict_affinity": False,
    "auto_allocate_blocks": True,
    "kubeVirtVMAddressPersistence": "Enabled",
}


def rows(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: value for name, value in cells[1:]}


def config(memory) -> dict:
    return json.loads(stored(memory)[CONFIG_KEY])


def test_the_defaults_are_shown_and_not_stored(at_memory, memory):
    result = at_memory("ipam", "show", "--show-configuration")

    assert 0 == result.exit_code
    assert {
        "StrictAffinity": "false",
        "AutoAllocateBlocks": "true",
        "MaxBlocksPerHost": "0",
        "KubeVirtVMAddressPersistence": "Enabled",
        "IPCooldownSeconds": "0",
    } == rows(result.stdout)
    assert "\nNothing is stored: defaults apply.\n" in result.stdout
    assert {} == stored(memory)


def test_what_is_stored_is_shown_absent_and_unknown_fields_too(at_memory, memory):
    put(memory, {CONFIG_KEY: b'{"maxBlocksPerHost":-1,"their\\nField":["\\u001b"]}'})

    result = at_memory("ipam", "show", "--show-configuration")

    assert {
        "StrictAffinity": "false",
        "AutoAllocateBlocks": "false",
        "MaxBlocksPerHost": "-1",
        "KubeVirtVMAddressPersistence": "<none>",
        "IPCooldownSeconds": "0",
        "their\\nField": '["\\u001b"]',
    } == rows(result.stdout)
    assert f"\nStored under {CONFIG_KEY}.\n" in result.stdout


@pytest.mark.parametrize("is_stored", [False, True])
def test_the_document_says_whether_it_is_stored(at_memory, memory, is_stored):
    if is_stored:
        put(memory, {CONFIG_KEY: b'{"auto_allocate_blocks":true,"x":1}'})

    found = json.loads(at_memory("ipam", "show", "--show-configuration", "-o", "json").stdout)

    assert {
        "revision": 2 if is_stored else 1,
        "stored": is_stored,
        "strictAffinity": False,
        "autoAllocateBlocks": True,
        "maxBlocksPerHost": 0,
        "kubeVirtVMAddressPersistence": None if is_stored else "Enabled",
        "ipCooldownSeconds": 0,
        "unknownFields": {"x": 1} if is_stored else {},
    } == found


def test_a_configuration_that_does_not_decode_is_an_error(at_memory, memory):
    put(memory, {CONFIG_KEY: b'{"maxBlocksPerHost":"x"}'})

    for args in (["show", "--show-configuration"], ["configure", "--strictaffinity", "1"]):
        result = at_memory("ipam", *args)

        assert (REFUSED, "") == (result.exit_code, result.stdout)
        assert f"stored value of {CONFIG_KEY} is not usable" in result.stderr


def test_each_option_is_set_and_told_in_one_write(at_memory, memory):
    result = at_memory(
        *("ipam", "configure", "--ip-cooldown-seconds=0", "--max-blocks-per-host", "-1"),
        *("--kubevirt-ip-persistence", "Disabled", "--strictaffinity", "T"),
        *("--auto-allocate-blocks", "0"),
    )

    assert (0, "") == (result.exit_code, result.stderr)
    assert (
        "StrictAffinity is now true\n"
        "AutoAllocateBlocks is now false\n"
        "MaxBlocksPerHost is now -1\n"
        "KubeVirtVMAddressPersistence is now Disabled\n"
        "IPCooldownSeconds is now 0\n"
    ) == result.stdout
    assert {
        "strict_affinity": True,
        "maxBlocksPerHost": -1,
        "kubeVirtVMAddressPersistence": "Disabled",
    } == config(memory)


@pytest.mark.parametrize("word", ["1", "t", "T", "TRUE", "true", "True"])
def test_gos_words_for_true_are_true(at_memory, memory, word):
    at_memory("ipam", "configure", f"--strictaffinity={word}")

    assert DEFAULTS | {"strict_affinity": True} == config(memory)


@pytest.mark.parametrize("word", ["0", "f", "F", "FALSE", "false", "False"])
def test_gos_words_for_false_are_false(at_memory, memory, word):
    put(memory, {CONFIG_KEY: b'{"strict_affinity":true,"auto_allocate_blocks":true}'})

    at_memory("ipam", "configure", f"--strictaffinity={word}")

    assert {"auto_allocate_blocks": True} == config(memory)


def test_what_is_not_named_stays_unknown_fields_too(at_memory, memory):
    put(memory, {CONFIG_KEY: b'{"strict_affinity":true,"maxBlocksPerHost":4,"theirs":[1]}'})

    at_memory("ipam", "configure", "--ip-cooldown-seconds", "60")

    assert {
        "strict_affinity": True,
        "maxBlocksPerHost": 4,
        "theirs": [1],
        "ipCooldownSeconds": 60,
    } == config(memory)


def test_a_cooldown_is_warned_of(at_memory):
    result = at_memory("ipam", "configure", "--ip-cooldown-seconds", "60")

    assert 0 == result.exit_code
    assert "poolctl: warning: Calico's programs before 3.33 " in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-blocks-per-host=2"], "MaxBlocksPerHost is 2, but StrictAffinity is false"),
        (
            ["--auto-allocate-blocks=false"],
            "StrictAffinity and AutoAllocateBlocks are both false",
        ),
    ],
)
def test_what_breaks_a_rule_changes_nothing(at_memory, memory, options, message):
    result = at_memory("ipam", "configure", *options)

    assert (REFUSED, "") == (result.exit_code, result.stdout)
    assert message in result.stderr
    assert {} == stored(memory)
