"""What becomes of a pool that is split."""

from dataclasses import replace

import pytest

from poolmgr.api.meta import is_name
from poolmgr.core.link import GATEWAY, PREFIX_LENGTH, LinkPolicy, MainPlugin, resolve
from poolmgr.core.split import MOST_PARTS, Keep, is_link_kept, split
from poolmgr.errors import InvalidRequestError, RefusedError
from tests.support.facts import pool

MAIN = LinkPolicy(main=MainPlugin.BRIDGE_GATEWAY)


def cidrs(parts) -> list[str]:
    return [str(part.spec.cidr) for part in parts]


def test_the_parts_cover_the_pool_and_are_like_it():
    whole = pool(
        "p", "10.20.0.0/24", blockSize=28, ipipMode="Always", disabled=True, theirs="kept"
    )

    parts = split(whole, 4, Keep())

    assert ["10.20.0.0/26", "10.20.0.64/26", "10.20.0.128/26", "10.20.0.192/26"] == cidrs(parts)
    assert [f"split-p-{n}" for n in range(4)] == [part.metadata.name for part in parts]
    for part in parts:
        back = part.spec.model_copy(update={"cidr": whole.spec.cidr})

        assert whole.spec == back
        assert {"theirs": "kept"} == part.spec.extra


def test_an_ipv6_pool_is_split_into_single_blocks():
    parts = split(pool("p", "fd00::/120", blockSize=122), 4, Keep())

    assert ["fd00::/122", "fd00::40/122", "fd00::80/122", "fd00::c0/122"] == cidrs(parts)


@pytest.mark.parametrize("number", [-2, 0, 1, 3, 6, 65])
def test_only_powers_of_two_are_possible(number):
    with pytest.raises(InvalidRequestError, match=f"power of two.* not into {number}"):
        split(pool("p", "10.0.0.0/8"), number, Keep())


@pytest.mark.parametrize(
    ("cidr", "number", "why"),
    [
        ("10.0.0.0/24", 8, "10.0.0.0/24 has 4 blocks of /26: too few for 8 parts"),
        ("10.0.0.0/26", 2, "has 1 block of /26: too few for 2 parts"),
        ("10.0.0.0/28", 2, "has 1 block of /26: too few for 2 parts"),
        ("10.0.0.0/8", 128, "128 parts do not fit into one transaction of etcd; .* 64 or less"),
    ],
)
def test_parts_that_are_too_small_or_too_many_are_refused(cidr, number, why):
    with pytest.raises(RefusedError, match=why):
        split(pool("p", cidr), number, Keep())


def test_as_many_as_fit_into_a_transaction_are_possible():
    assert MOST_PARTS == len(split(pool("p", "10.0.0.0/8"), MOST_PARTS, Keep()))


def test_a_pool_that_is_being_deleted_is_not_split():
    whole = pool("p", "10.0.0.0/8")
    metadata = whole.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})

    with pytest.raises(RefusedError, match="being deleted"):
        split(whole.model_copy(update={"metadata": metadata}), 2, Keep())


@pytest.mark.parametrize("name", ["p", "a" * 253, f"{'a' * 244}.{'b' * 8}"])
def test_names_of_parts_are_names_however_long_the_pools_is(name):
    names = [part.metadata.name for part in split(pool(name, "10.0.0.0/8"), 64, Keep())]

    assert all(map(is_name, names))
    assert 64 == len(set(names))


ANNOTATED = [
    ({}, Keep(), {}),
    ({"team": "red"}, Keep(), {"team": "red"}),
    ({}, Keep(prefix=True), {PREFIX_LENGTH: "24"}),
    ({}, Keep(gateway=True), {PREFIX_LENGTH: "24", GATEWAY: "10.0.0.1"}),
    ({PREFIX_LENGTH: "pool"}, Keep(), {PREFIX_LENGTH: "24"}),
    ({PREFIX_LENGTH: "16"}, Keep(prefix=True), {PREFIX_LENGTH: "16"}),
    ({PREFIX_LENGTH: "host"}, Keep(), {PREFIX_LENGTH: "host"}),
    ({GATEWAY: "none"}, Keep(), {GATEWAY: "none"}),
    ({GATEWAY: "none"}, Keep(gateway=True), {GATEWAY: "none", PREFIX_LENGTH: "24"}),
    ({GATEWAY: "first-of-pool"}, Keep(), {GATEWAY: "10.0.0.1", PREFIX_LENGTH: "24"}),
    ({GATEWAY: "10.0.0.9"}, Keep(), {GATEWAY: "10.0.0.9", PREFIX_LENGTH: "24"}),
    (
        {GATEWAY: "first-of-pool", PREFIX_LENGTH: "16"},
        Keep(),
        {GATEWAY: "10.0.0.1", PREFIX_LENGTH: "16"},
    ),
]


@pytest.mark.parametrize(("before", "keep", "after"), ANNOTATED)
def test_words_that_mean_the_pool_become_what_they_meant(before, keep, after):
    parts = split(pool("p", "10.0.0.0/24", annotations=before), 4, keep)

    assert [after] * 4 == [dict(part.metadata.annotations) for part in parts]


@pytest.mark.parametrize("main", [MainPlugin.BRIDGE_GATEWAY, MainPlugin.PTP])
def test_with_the_gateway_kept_a_part_gives_the_link_of_the_pool(main):
    whole = pool("p", "10.0.0.0/24")
    policy = replace(MAIN, main=main)
    link = resolve(whole.spec.cidr, {}, policy)

    for part in split(whole, 4, Keep(gateway=True)):
        theirs = resolve(part.spec.cidr, part.metadata.annotations, policy)

        assert (link.prefix_length, link.gateway) == (theirs.prefix_length, theirs.gateway)
        assert is_link_kept(part)


@pytest.mark.parametrize(
    ("annotations", "kept"),
    [
        ({}, False),
        ({PREFIX_LENGTH: "host"}, True),
        ({PREFIX_LENGTH: "block"}, True),
        ({PREFIX_LENGTH: "pool"}, False),
        ({GATEWAY: "none"}, False),
        ({GATEWAY: "first-of-pool"}, True),
        ({GATEWAY: "none", PREFIX_LENGTH: "pool"}, True),
    ],
)
def test_only_named_settings_keep_the_link_whatever_the_plugin(annotations, kept):
    part = split(pool("p", "10.0.0.0/24", annotations=annotations), 2, Keep())[0]

    assert kept == is_link_kept(part)


def test_a_pool_whose_annotations_do_not_fit_is_refused():
    whole = pool("p", "10.0.0.0/24", annotations={GATEWAY: "192.0.2.1"})

    with pytest.raises(RefusedError, match="do not fit it: gateway 192"):
        split(whole, 2, Keep())
