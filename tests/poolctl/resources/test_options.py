"""Options that the commands for resources share."""

import pytest

from poolctl.report import USAGE


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("ipp", "ippool"),
        ("Pools", "ippool"),
        ("no", "node"),
        ("NODES", "node"),
        ("reservations", "ipreservation"),
        ("ipamconfig", "ipamconfiguration"),
        ("clusterinfo", "clusterinformation"),
    ],
)
def test_a_kind_has_several_words(at_memory, word, kind):
    result = at_memory("get", word, "absent")

    assert f"poolctl: error: {kind}/absent does not exist\n" == result.stderr


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("ippol", "ippool"),
        ("noeds", "nodes"),
        ("ipamconf", "ipamconfig"),
        ("resevation", "reservation"),
        ("ipr", "ipreservation"),
    ],
)
def test_a_mistyped_kind_gets_the_nearest_one(at_memory, word, near):
    for call in (("get", word), ("delete", word, "x"), ("label", word, "x", "a=b")):
        result = at_memory(*call)

        assert USAGE == result.exit_code
        assert f"did you mean {near}?" in result.stderr


def test_kind_and_resource_are_two_words_and_kinds_come_one_by_one(at_memory):
    for call, message in (
        (("get", "ipp/pool-a"), "'ipp/pool-a': name kind and resource as two words"),
        (("delete", "ipp/pool-a"), "'ipp/pool-a': name kind and resource as two words"),
        (("get", "ipp,nodes"), "'ipp,nodes': name one kind at a time"),
    ):
        result = at_memory(*call)

        assert (USAGE, "") == (result.exit_code, result.stdout)
        assert message in result.stderr


def test_a_word_that_is_near_to_none_gets_them_all(at_memory):
    assert "there are ippools, ipreservations, nodes," in at_memory("get", "xyzzy").stderr


@pytest.mark.parametrize("option", [["-n", "x"], ["--namespace=x"], ["-A"], ["-a"]])
@pytest.mark.parametrize("call", [["get", "ippool"], ["delete", "ippool", "x"], ["validate"]])
def test_nothing_has_a_namespace(at_memory, call, option):
    result = at_memory(*call, *option)

    assert USAGE == result.exit_code
    assert "no resource that poolctl knows has a namespace" in result.stderr
