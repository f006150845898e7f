"""The error tree: as drawn, and what its messages and attributes say."""

import re

import pytest

from poolmgr import errors
from poolmgr.errors import (
    AddressInUseError,
    AddressReservedError,
    AttachmentDeletedError,
    BlockLimitError,
    CheckFailedError,
    CommitUnknownError,
    CorruptStateError,
    InvalidRequestError,
    NoMatchingPoolError,
    PoolExhaustedError,
    PoolmgrError,
    StaleReleaseError,
    StrictAffinityError,
)

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, PoolmgrError)
}


def drawn() -> dict[str, str]:
    """Read the picture in the module's docstring: class -> the class it hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(?:([│ ]*)[├└]── )?(\w+Error)\b", line)
        if not match:
            continue
        depth = -1 if match[1] is None else len(match[1])
        above = [(d, name) for d, name in above if d < depth]
        if above:
            parents[match[2]] = above[-1][1]
        above.append((depth, match[2]))
    return parents


def test_the_picture_shows_the_tree():
    actual = {
        name: next(base.__name__ for base in value.__mro__[1:] if base.__name__ in CLASSES)
        for name, value in CLASSES.items()
        if value is not PoolmgrError
    }

    assert drawn() == actual


def test_only_an_unknown_commit_may_have_happened():
    assert [CommitUnknownError] == [c for c in CLASSES.values() if not c.definite]


def test_an_invalid_request_is_a_value_error_and_names_its_field():
    error = InvalidRequestError("must be a number", field="spec.blockSize")

    assert isinstance(error, ValueError)
    assert ("spec.blockSize", "must be a number") == (error.field, str(error))
    assert "" == InvalidRequestError("no").field


def test_no_matching_pool_says_why_pool_by_pool():
    reasons = {"a": "disabled", "b": "is an IPv6 pool"}

    error = NoMatchingPoolError("no pool", reasons)

    assert "no pool: a: disabled; b: is an IPv6 pool" == str(error)
    assert reasons == error.reasons
    assert "no pool" == str(NoMatchingPoolError("no pool", {}))


def test_a_block_limit_names_host_limit_and_family():
    error = BlockLimitError("node-a", 20, 6)

    assert "host node-a owns 20 IPv6 blocks" in str(error)
    assert 20 == error.limit


@pytest.mark.parametrize(
    ("handle", "note", "message"),
    [
        (None, "", "address 10.0.0.1 is already assigned"),
        ("net1.c1", "", "address 10.0.0.1 is already assigned to handle net1.c1"),
        (
            "net1.c1",
            "release it",
            "address 10.0.0.1 is already assigned to handle net1.c1; release it",
        ),
    ],
)
def test_an_address_in_use_names_its_owner_if_it_has_one(handle, note, message):
    error = AddressInUseError("10.0.0.1", handle, note=note)

    assert message == str(error)
    assert ("10.0.0.1", handle) == (error.address, error.handle)


def test_strict_affinity_names_the_block_and_whose_it_is():
    others = StrictAffinityError("10.0.0.1", "10.0.0.0/26", "host:node-b")
    nobodys = StrictAffinityError("10.0.0.1", "10.0.0.0/26", None)

    assert "in block 10.0.0.0/26, which belongs to host:node-b" in str(others)
    assert "which belongs to no host" in str(nobodys)
    assert "10.0.0.1" == others.address


@pytest.mark.parametrize(
    "error",
    [AddressReservedError("10.0.0.1", "why not"), StaleReleaseError("10.0.0.1", "why not")],
)
def test_an_error_about_an_address_carries_it_and_the_reason(error):
    assert "10.0.0.1" == error.address
    assert str(error).startswith("address 10.0.0.1 ")
    assert str(error).endswith(": why not")


def test_a_deleted_attachment_is_named_and_nothing_was_assigned():
    error = AttachmentDeletedError("net1/c1/eth0")

    assert str(error).startswith("attachment net1/c1/eth0 was deleted meanwhile")


def test_corrupt_state_carries_its_key():
    error = CorruptStateError("/calico/ipam/v2/config", "not JSON")

    assert "/calico/ipam/v2/config" == error.key
    assert "/calico/ipam/v2/config" in str(error)
    assert "not JSON" in str(error)


@pytest.mark.parametrize("kind", [PoolExhaustedError, CheckFailedError, CommitUnknownError])
def test_an_error_without_attributes_says_what_it_is_given(kind):
    assert "what happened" == str(kind("what happened"))
