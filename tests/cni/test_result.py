import json

import pytest

from poolmgr import errors
from poolmgr.cidr import parse_address, parse_network
from poolmgr.cni.result import ERRORS, VERSIONS, CallError, Code, failure, success, version_text
from poolmgr.core.link import Link, Route
from poolmgr.core.outcome import Allocation
from poolmgr.errors import (
    AddressInUseError,
    AddressReservedError,
    AttachmentDeletedError,
    BlockLimitError,
    CheckFailedError,
    CommitUnknownError,
    CompactedError,
    ContentionError,
    CorruptStateError,
    InvalidRequestError,
    NoMatchingPoolError,
    PoolExhaustedError,
    PoolmgrError,
    StaleReleaseError,
    StoreRefusedError,
    StoreUnavailableError,
    StrictAffinityError,
)


def allocation(address, block, **link):
    return Allocation(
        address=parse_address(address),
        block=parse_network(block),
        pool="p",
        link=Link(**{"prefix_length": None, **link}),
        sequence_number=1,
    )


FOUR = allocation(
    "10.0.0.5",
    "10.0.0.0/28",
    prefix_length=24,
    gateway=parse_address("10.0.0.1"),
    routes=(Route(dst="0.0.0.0/0", gw="10.0.0.1"), Route(dst="10.0.0.0/8")),
    dns={"nameservers": ["10.0.0.53"], "domain": "a.example", "search": ("a.example",)},
)
SIX = allocation(
    "fd00::5",
    "fd00::/122",
    routes=(Route(dst="::/0"),),
    dns={"nameservers": ["fd00::53", "10.0.0.53"], "domain": "b.example"},
)
IPS = [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}, {"address": "fd00::5/122"}]
ROUTES = [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "10.0.0.0/8"}, {"dst": "::/0"}]
DNS = {"nameservers": ["10.0.0.53", "fd00::53"], "domain": "a.example", "search": ["a.example"]}


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_a_result_of_today(version):
    assert success(version, (FOUR, SIX)) == {
        "cniVersion": version,
        "ips": IPS,
        "routes": ROUTES,
        "dns": DNS,
    }


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_a_result_that_numbers_the_families(version):
    four, six = IPS

    assert success(version, (FOUR, SIX)) == {
        "cniVersion": version,
        "ips": [{"version": "4", **four}, {"version": "6", **six}],
        "routes": ROUTES,
        "dns": DNS,
    }


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_a_result_of_the_first_versions(version):
    assert success(version, (FOUR, SIX)) == {
        "cniVersion": version,
        "ip4": {"ip": "10.0.0.5/24", "gateway": "10.0.0.1", "routes": ROUTES[:2]},
        "ip6": {"ip": "fd00::5/122", "routes": ROUTES[2:]},
        "dns": DNS,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_without_addresses_has_a_version_only(version):
    assert success(version, ()) == {"cniVersion": version}


def test_what_is_not_set_is_left_out():
    plain = allocation("10.0.0.5", "10.0.0.0/28", prefix_length=32)

    assert success("1.0.0", (plain,)) == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.0.0.5/32"}],
    }
    assert success("0.2.0", (plain,)) == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.5/32"},
    }


def test_version_lists_what_is_understood():
    assert json.loads(version_text()) == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def error_json(*arguments, **options):
    return failure(*arguments, **options)


def leaves(kind):
    """The most special of the public errors; private ones have the code of what they are."""
    below = [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
    return {kind} if not below else {leaf for each in below for leaf in leaves(each)}


def test_every_error_of_the_library_has_a_code():
    assert leaves(PoolmgrError) == ERRORS.keys()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequestError("no"), 7),
        (NoMatchingPoolError("no", {}), 100),
        (PoolExhaustedError("no"), 101),
        (BlockLimitError("node-a", 1, 4), 102),
        (AddressInUseError("10.0.0.5", "h"), 103),
        (AddressReservedError("10.0.0.5", "kept"), 104),
        (StrictAffinityError("10.0.0.5", "10.0.0.0/28", "node-b"), 105),
        (StaleReleaseError("10.0.0.5", "handle"), 106),
        (CheckFailedError("differs"), 107),
        (CorruptStateError("/key", "garbage"), 110),
        (AttachmentDeletedError("net1/c1/eth0"), 11),
        (StoreUnavailableError("no answer"), 11),
        (StoreRefusedError("permission denied"), 5),
        (CommitUnknownError("no answer"), 11),
        (ContentionError("gave up"), 11),
        (CompactedError("gone"), 11),
        (CallError(Code.ENVIRONMENT, "no"), 4),
        (ZeroDivisionError("no"), 999),
    ],
)
def test_an_error_has_its_code_and_says_what_is_wrong(error, code):
    answer = error_json("1.0.0", error)

    assert (answer["cniVersion"], answer["code"]) == ("1.0.0", code)
    assert str(error) in answer["msg"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailableError("no answer"), 50),
        (StoreRefusedError("permission denied"), 50),
        (NoMatchingPoolError("no", {}), 50),
        (CorruptStateError("/key", "garbage"), 50),
        (CallError(Code.INVALID_CONFIG, "no"), 7),
    ],
)
def test_status_says_that_no_add_can_be_served(error, code):
    assert error_json("1.1.0", error, status=True)["code"] == code


def test_an_error_says_what_to_do():
    answer = error_json("1.0.0", AddressInUseError("10.0.0.5", "net1.c9"))

    assert answer == {
        "cniVersion": "1.0.0",
        "code": 103,
        "msg": "address 10.0.0.5 is already assigned to handle net1.c9; "
        "ask for another address, or delete its owner first",
    }


def test_an_error_says_what_led_to_it():
    error = AddressInUseError("10.0.0.5", "net1.c9")
    error.add_note("annotation x = 'y'")

    assert error_json("1.0.0", error)["msg"].startswith("annotation x = 'y': address 10.0.0.5 ")


def test_details_are_given_where_there_are_any():
    error = CallError(Code.INCOMPATIBLE_VERSION, "no", details="supported are 1.0.0")

    assert error_json("1.1.0", error)["details"] == "supported are 1.0.0"


def outer():
    inner()


def inner():
    raise KeyError("gone")


def test_an_unforeseen_error_says_where_it_happened():
    with pytest.raises(KeyError) as caught:
        outer()

    answer = error_json("1.0.0", caught.value)
    line = inner.__code__.co_firstlineno + 1
    assert (answer["code"], answer["msg"], answer["details"]) == (
        999,
        "internal error, please report it: KeyError: 'gone'",
        f"{__file__}:{line}",
    )


def test_a_long_message_is_cut():
    error = NoMatchingPoolError("none", {f"pool-{i}": "does not match" for i in range(1000)})

    message = error_json("1.0.0", error)["msg"]
    assert len(message) == 4096 + len(" [cut]")
    assert message.endswith(" [cut]")


def test_what_to_do_is_said_once():
    error = NoMatchingPoolError("there is no IPPool; create one with poolctl apply", {})

    assert 1 == str(failure("1.0.0", error)["msg"]).count("create")
