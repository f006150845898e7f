import pytest

from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.copies.staged import Staged
from poolmgr.core.flaws import Flaw
from poolmgr.core.records import HANDLES, resource_key
from poolmgr.core.txn import Range
from poolmgr.errors import InvalidRequestError
from tests.support.facts import block_of, stored_block


@pytest.fixture
def staged():
    with Staged() as made:
        yield made


def test_keys_come_back_in_the_byte_order_of_etcd(staged):
    keys = [
        HANDLES.start + text for text in ("b", "a", "\U00010000", "\uffee", "a-", "a\0", "Z")
    ]
    for key in keys:
        staged.add(key, b"{}")

    found = [key for key, _ in staged.within(HANDLES)]

    assert sorted(keys, key=str.encode) == found


def test_a_range_is_cut_at_both_ends_and_values_are_bytes(staged):
    for letter in "abcd":
        staged.add(HANDLES.start + letter, letter.encode() + b"\xff\0")

    found = staged.within(Range(start=HANDLES.start + "b", end=HANDLES.start + "d"))

    assert [(HANDLES.start + letter, letter.encode() + b"\xff\0") for letter in "bc"] == [
        *found
    ]
    assert b"a\xff\0" == staged.get(HANDLES.start + "a")
    assert staged.get(HANDLES.start) is None


@pytest.mark.parametrize("key", ["/registry/x", "", None, 7, "/poolmgr/v1/epoch"])
def test_a_key_that_is_not_copied_is_refused(key, staged):
    with pytest.raises(InvalidRequestError, match="neither Calico's nor ours"):
        staged.add(key, b"")


def test_a_key_is_taken_once(staged):
    staged.add(CLUSTER_KEY, b"{}")

    with pytest.raises(InvalidRequestError, match="there twice"):
        staged.add(CLUSTER_KEY, b"{}")


def test_what_is_wrong_with_a_copy_is_found_before_it_is_stored(staged):
    staged.add(resource_key("nodes", "node-a"), b"{")
    staged.add(CLUSTER_KEY, b"[]")
    for key, value in stored_block(block_of("10.10.0.0/26", "h1")).items():
        staged.add(key, value)

    found = {(finding.flaw, finding.key) for finding in staged.findings()}

    assert (Flaw.CORRUPT, CLUSTER_KEY) in found
    assert (Flaw.CORRUPT, resource_key("nodes", "node-a")) in found
    assert Flaw.HANDLE_TOO_LOW in {flaw for flaw, _ in found}
    assert {"nodes": 1, "IPv4 blocks": 1, "ClusterInformations": 1} == staged.counts()
