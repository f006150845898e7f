"""Keys and values: golden texts, what is kept, and what is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.core.affinity import Affinity, AffinityState
from poolmgr.core.block import Attribute, Block
from poolmgr.core.config import IPAMConfig
from poolmgr.core.handle import Handle
from poolmgr.core.session import Session
from poolmgr.errors import CorruptStateError, InvalidRequestError
from tests.strategies import (
    QUICK,
    affinities,
    blocks,
    configs,
    handles,
    networks,
    sessions,
    texts,
    unknown_values,
)
from tests.support.facts import block_of

V4, V6 = parse_network("10.20.0.160/28"), parse_network("fd20::defe:d3d7:156e:ae80/122")
KEY = records.block_key(V4)

# Keys


@pytest.mark.parametrize(
    ("key", "actual"),
    [
        ("/calico/ipam/v2/assignment/ipv4/block/10.20.0.160-28", records.block_key(V4)),
        (
            "/calico/ipam/v2/assignment/ipv6/block/fd20::defe:d3d7:156e:ae80-122",
            records.block_key(V6),
        ),
        (
            "/calico/ipam/v2/host/node-a/ipv4/block/10.20.0.160-28",
            records.affinity_key("node-a", V4),
        ),
        (
            "/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.20.0.160-28",
            records.affinity_key("load-balancer", V4, "virtual"),
        ),
        ("/calico/ipam/v2/handle/net1.c1", records.handle_key("net1.c1")),
        ("/calico/ipam/v2/config", records.CONFIG_KEY),
        (
            "/calico/resources/v3/projectcalico.org/ippools/p4",
            records.resource_key("ippools", "p4"),
        ),
        ("/poolmgr/v1/session/node-a", records.session_key("node-a")),
    ],
)
def test_keys_are_where_calico_and_we_look_for_them(key, actual):
    assert key == actual


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (records.BLOCKS[4], records.block_key(V4), records.block_key(V6)),
        (records.BLOCKS[6], records.block_key(V6), records.block_key(V4)),
        (records.HANDLES, records.handle_key("h"), "/calico/ipam/v2/handles/h"),
        (
            records.AFFINITIES["host"],
            records.affinity_key("node-a", V4),
            records.affinity_key("node-a", V4, "virtual"),
        ),
        (
            records.AFFINITIES["virtual"],
            records.affinity_key("lb", V6, "virtual"),
            records.affinity_key("lb", V6),
        ),
        (
            records.affinity_range("node-a", 4),
            records.affinity_key("node-a", V4),
            records.affinity_key("node-ab", V4),
        ),
        (
            records.resource_range("nodes"),
            records.resource_key("nodes", "node-a"),
            records.resource_key("ippools", "p4"),
        ),
    ],
)
def test_a_range_holds_the_keys_of_its_kind_alone(range_, inside, outside):
    assert inside in range_
    assert outside not in range_


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "a\0", "a\x7f", "/"])
@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("handle", records.handle_key),
        ("host", records.session_key),
        ("host", lambda name: records.affinity_key(name, V4)),
        ("host", lambda name: records.affinity_range(name, 6)),
        ("name", lambda name: records.resource_key("ippools", name)),
    ],
    ids=["handle", "session", "affinity", "affinities", "resource"],
)
def test_a_name_that_lists_would_not_show_makes_no_key(what, make, name):
    with pytest.raises(InvalidRequestError, match="must not be empty") as caught:
        make(name)

    assert what == caught.value.field


@QUICK
@given(networks(host_bits=(0, 32)), st.sampled_from(("host", "virtual")))
def test_a_key_gives_back_its_block_and_its_host(block, kind):
    affinity = records.affinity_key("node-a.example", block, kind)

    assert block == records.block_of_key(records.block_key(block))
    assert block == records.block_of_key(affinity)
    assert (kind, "node-a.example") == records.host_of_key(affinity)


SEEDS = [
    "/calico/v1/ipam",
    "/calico/ipam/v2",
    "/calico/ipam/v2/assignment/ipv4/1.2.3.4-26",
    "/calico/ipam/v2/handle/foobar",
    "/calico/ipam/v2/handle/foobar/baz",
    "/calico/ipam/v2/host/foobar/ipv4/block/1.2.3.4-5",
    "calico/ipam/v2/host/0/ipv0/block/0",
]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"BK-10 {seed}")
def test_no_malformed_key_is_taken_for_a_blocks(seed):
    forms = (seed, seed[1:], f"{seed}/", seed.replace("/", "//"), f"/cluster/cluster-1{seed}")

    assert [None] * len(forms) == [records.block_of_key(key) for key in forms]


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param("10.20.0.161-28", id="host bits"),
        pytest.param("10.20.0.160/28", id="slash"),
        pytest.param("10.20.0.160", id="no length"),
        pytest.param("10.20.0.160-028", id="zero before the length"),
        pytest.param("10.20.0.160-33", id="length out of range"),
        pytest.param("10.20.000.160-28", id="zero before an octet"),
        pytest.param("fd20::-122", id="other family"),
        pytest.param("", id="nothing"),
    ],
)
def test_only_canonical_text_names_a_block(segment):
    assert records.block_of_key(f"/calico/ipam/v2/assignment/ipv4/block/{segment}") is None
    assert records.block_of_key(f"/calico/ipam/v2/host/node-a/ipv4/block/{segment}") is None


@pytest.mark.parametrize("text", ["FD20::-122", "fd20:0::-122", "fd20:0:0:0:0:0:0:0-122"])
def test_an_ipv6_block_has_one_text(text):
    assert records.block_of_key(f"/calico/ipam/v2/assignment/ipv6/block/{text}") is None


def test_a_block_key_names_no_host():
    assert records.host_of_key(KEY) is None


@QUICK
@given(networks(host_bits=(0, 128)), st.data())
def test_the_range_of_a_pool_holds_every_block_in_it(pool, data):
    # Addresses with zero hextets, whose text is compressed, are where a common prefix is short.
    if pool.version == 6:
        mask = data.draw(st.integers(0, 255))
        kept = sum(0xFFFF << 16 * i for i in range(8) if mask >> i & 1)
        first = int(pool.network_address) & kept & int(pool.netmask)
        pool = parse_network(f"{type(pool.network_address)(first)}/{pool.prefixlen}")
    size = data.draw(st.integers(pool.prefixlen, pool.max_prefixlen))
    step = 1 << (pool.max_prefixlen - size)
    at = data.draw(st.integers(0, (1 << (size - pool.prefixlen)) - 1))
    block = parse_network(f"{pool.network_address + at * step}/{size}")

    range_ = records.blocks_within(pool)

    assert records.block_key(block) in range_
    assert range_.keys_only


@pytest.mark.parametrize(
    ("cidr", "start"),
    [
        ("10.20.0.0/16", "ipv4/block/10.20."),
        ("10.20.0.0/23", "ipv4/block/10.20."),
        ("10.0.0.0/7", "ipv4/block/"),
        ("10.20.30.40/32", "ipv4/block/10.20.30."),
        ("2001:db8::/32", "ipv6/block/2001:db8:"),
        ("2001:db8:0:5::/64", "ipv6/block/2001:db8:"),
        ("fd20::/8", "ipv6/block/"),
        ("::/64", "ipv6/block/"),
        ("1:2:3:4:5:6:7:8/128", "ipv6/block/1:2:3:4:5:6:7:"),
    ],
)
def test_the_range_of_a_pool_is_as_narrow_as_text_allows(cidr, start):
    network = parse_network(cidr, strict=False)

    assert f"/calico/ipam/v2/assignment/{start}" == records.blocks_within(network).start


# Golden texts, as Calico stores them

CLAIMED = (
    b'{"cidr":"10.20.0.160/28","affinity":"host:node-a","affinity_claim_time":"2026-11-23T19:13:16Z",'
    b'"allocations":[0,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null],'
    b'"unallocated":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15],"attributes":[{"handle_id":"net1.c1",'
    b'"secondary":{"node":"node-a","timestamp":"2026-11-23 19:13:16.864963229 +0000 UTC"}}],'
    b'"sequenceNumber":1795461196871449250,"sequenceNumberForAllocation":{"0":1795461196871449249},'
    b'"deleted":false}'
)
EMPTIED = (
    b'{"cidr":"10.20.0.0/29","affinity":"host:node-a","affinity_claim_time":"2026-11-23T19:13:57Z",'
    b'"allocations":[null,null,null,null,null,null,null,null],"unallocated":[4,5,6,7,0,1,2,3],'
    b'"attributes":[],"sequenceNumber":1795461237938467159,"sequenceNumberForAllocation":{},"deleted":false}'
)
EMPTIED_IN_ORDER = (
    b'{"cidr":"10.20.0.8/29","affinity":"host:node-a","affinity_claim_time":"2026-11-23T19:13:57Z",'
    b'"allocations":[null,null,null,null,null,null,null,null],"unallocated":[0,1,2,3,4,5,6,7],'
    b'"attributes":[],"sequenceNumber":1795461237933599771,"sequenceNumberForAllocation":{},"deleted":false}'
)
COOLING = (
    b'{"cidr":"10.20.0.0/30","affinity":"host:node-a","affinity_claim_time":"2026-11-23T19:42:03Z",'
    b'"allocations":[0,2,3,1],"unallocated":[],"attributes":[{"handle_id":"net1.c0","secondary":'
    b'{"node":"node-a","timestamp":"2026-11-23 19:42:03.716437418 +0000 UTC"}},{"handle_id":"net1.c3",'
    b'"secondary":{"node":"node-a","timestamp":"2026-11-23 19:42:03.822231947 +0000 UTC"}},'
    b'{"releasedAt":"2026-11-23T19:42:03Z"},{"releasedAt":"2026-11-23T19:42:03Z"}],'
    b'"sequenceNumber":1795462923723260844,"sequenceNumberForAllocation":{"0":1795462923723260838,'
    b'"1":1795462923723260839,"2":1795462923723260840,"3":1795462923723260841},"deleted":false}'
)
NOBODYS = (
    b'{"cidr":"10.20.0.0/31","affinity":null,"allocations":[0,null],"unallocated":[1],'
    b'"attributes":[{}],"sequenceNumber":7,"sequenceNumberForAllocation":{"0":6},"deleted":false}'
)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(CLAIMED, id="first-add: claimed"),
        pytest.param(EMPTIED, id="lib-release: emptied"),
        pytest.param(EMPTIED_IN_ORDER, id="lib-release: emptied, in order"),
        pytest.param(COOLING, id="cooldown: two cooling"),
        pytest.param(NOBODYS, id="no affinity, no claim time, no owner"),
    ],
)
def test_a_block_is_rewritten_as_calico_wrote_it(raw):
    key = records.block_key(parse_network(json.loads(raw)["cidr"]))

    assert raw == records.encode_block(records.decode_block(key, raw))


def test_a_block_that_calico_has_just_claimed_is_read():
    """A null list of attributes and no sequence numbers at all, in data of several ages."""
    raw = (
        b'{"cidr":"10.244.0.64/31","affinity":"host:node-a","affinity_claim_time":"2026-08-22T10:00:00Z",'
        b'"allocations":[null,null],"unallocated":[0,1],"attributes":null,'
        b'"sequenceNumber":1787392800000000000,"sequenceNumberForAllocation":null,"deleted":false}'
    )

    block = records.decode_block("/calico/ipam/v2/assignment/ipv4/block/10.244.0.64-31", raw)

    assert ((), {}) == (block.attributes, block.sequence_numbers)
    assert 1787392800000000000 == block.sequence_number


def test_a_very_old_block_without_optional_fields_is_read():
    raw = b'{"cidr":"10.20.0.0/31","allocations":[0,0],"unallocated":null,"attributes":[{"secondary":null}],"hostAffinity":"node-a"}'

    block = records.decode_block("/calico/ipam/v2/assignment/ipv4/block/10.20.0.0-31", raw)

    assert (None, None, 0, ()) == (
        block.affinity,
        block.claimed_at,
        block.sequence_number,
        block.unallocated,
    )
    assert b'"hostAffinity":"node-a"' in records.encode_block(block)


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        pytest.param(b'{"state":"confirmed"}', AffinityState.CONFIRMED, id="BK-04"),
        pytest.param(b'{"state":"pending"}', AffinityState.PENDING, id="BK-05"),
        pytest.param(
            b'{"state":"pendingDeletion","deleted":false}',
            AffinityState.PENDING_DELETION,
            id="deletion",
        ),
        pytest.param(b"", AffinityState.LEGACY, id="BK-07"),
        pytest.param(b"{}", AffinityState.LEGACY, id="BK-08"),
    ],
)
def test_an_affinity_is_read_in_its_old_forms_too(raw, state):
    assert Affinity(state=state) == records.decode_affinity("/key", raw)


@pytest.mark.parametrize(
    ("raw", "actual"),
    [
        (b'{"state":"confirmed","deleted":false}', records.encode_affinity(Affinity())),
        (
            b'{"block":{"10.20.0.160/28":1,"fd20::defe:d3d7:156e:ae80/122":2},"deleted":false}',
            records.encode_handle(Handle(blocks={V6: 2, V4: 1})),
        ),
        (
            b'{"auto_allocate_blocks":true,"kubeVirtVMAddressPersistence":"Enabled","ipCooldownSeconds":4}',
            records.encode_config(IPAMConfig(cooldown_s=4)),
        ),
        (
            b'{"n":2,"deleted":["aa@2"]}',
            records.encode_session(Session(n=2, deleted=("aa@2",))),
        ),
    ],
    ids=["affinity", "handle", "config", "session"],
)
def test_values_are_written_as_they_are_stored(raw, actual):
    assert raw == actual


def test_an_absent_key_means_the_defaults_and_an_empty_object_does_not():
    """CF-11, CF-12."""
    stored = records.decode_config(b"{}")

    assert IPAMConfig() == records.decode_config(None)
    assert (True, False) == (IPAMConfig().auto_allocate_blocks, stored.auto_allocate_blocks)
    assert (False, 0, None, 0) == (
        stored.strict_affinity,
        stored.max_blocks_per_host,
        stored.kubevirt_persistence,
        stored.cooldown_s,
    )


def test_an_absent_session_is_one_without_deletions():
    assert Session() == records.decode_session("/key", None)


def test_an_empty_handle_is_never_written():
    with pytest.raises(AssertionError):
        records.encode_handle(Handle())


# P1


@QUICK
@given(blocks())
def test_p1_a_block_survives_being_stored(block):
    assert block == records.decode_block(
        records.block_key(block.cidr), records.encode_block(block)
    )


@QUICK
@given(affinities)
def test_p1_an_affinity_survives_being_stored(affinity):
    assert affinity == records.decode_affinity("/key", records.encode_affinity(affinity))


@QUICK
@given(handles)
def test_p1_a_handle_survives_being_stored(handle):
    assert handle == records.decode_handle("/key", records.encode_handle(handle))


@QUICK
@given(configs)
def test_p1_a_configuration_survives_being_stored(config):
    assert config == records.decode_config(records.encode_config(config))


@QUICK
@given(sessions)
def test_p1_a_session_survives_being_stored(session):
    assert session == records.decode_session("/key", records.encode_session(session))


REWRITES = {
    "block": lambda raw: records.encode_block(
        replace(records.decode_block(KEY, raw), sequence_number=1)
    ),
    "affinity": lambda raw: records.encode_affinity(
        replace(records.decode_affinity("/key", raw), state=AffinityState.PENDING)
    ),
    "handle": lambda raw: records.encode_handle(records.decode_handle("/key", raw).add(V6, 1)),
    "config": lambda raw: records.encode_config(
        replace(records.decode_config(raw), cooldown_s=9)
    ),
}
STORED = {
    "block": CLAIMED,
    "affinity": b'{"state":"confirmed"}',
    "handle": b'{"block":{"10.20.0.160/28":1}}',
    "config": b"{}",
}


@pytest.mark.parametrize("record", STORED)
@QUICK
@given(texts.map("future {}".format), unknown_values)
def test_p1_unknown_fields_survive_a_rewrite(record, name, value):
    raw = json.dumps({**json.loads(STORED[record]), name: value}).encode()

    rewritten = json.loads(REWRITES[record](raw))

    assert value == rewritten[name]
    assert False is rewritten.get("deleted", False)


@QUICK
@given(texts.map("future {}".format), unknown_values)
def test_p1_unknown_fields_of_an_owner_survive_a_rewrite(name, value):
    stored = json.loads(CLAIMED)
    stored["attributes"][0][name] = value

    rewritten = json.loads(REWRITES["block"](json.dumps(stored).encode()))

    assert value == rewritten["attributes"][0][name]


def test_numbers_beyond_a_float_keep_every_digit():
    number = 2**64 - 1
    block = replace(
        block_of("10.20.0.160/28", "h"), sequence_number=number, sequence_numbers={0: number}
    )

    raw = records.encode_block(block)

    assert 2 == raw.count(b"18446744073709551615")
    assert block == records.decode_block(KEY, raw)


def test_maps_are_sorted_as_text_like_calicos():
    block = replace(
        block_of("10.20.0.160/28"),
        sequence_numbers={2: 1, 10: 1, 1: 1},
        attributes=(
            Attribute(
                handle="h",
                secondary={"pod": "p", "namespace": "n"},
                alternate={"b": "2", "a": "1"},
            ),
        ),
        allocations=(0,) + (None,) * 15,
    )

    raw = records.encode_block(block)

    assert b'{"1":1,"10":1,"2":1}' in raw
    assert (
        b'"secondary":{"namespace":"n","pod":"p"},"alternateOwnerAttrs":{"a":"1","b":"2"}'
        in raw
    )


# What is refused


def changed(**fields) -> bytes:
    value = {**json.loads(NOBODYS), **fields}
    return json.dumps({k: v for k, v in value.items() if v is not ...}).encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"\xff", "not JSON", id="not UTF-8"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(changed(cidr=...), "not a block", id="no CIDR"),
        pytest.param(changed(cidr=7), "not a block", id="CIDR of another type"),
        pytest.param(changed(cidr="10.20.0.1/31"), "not a block", id="CIDR with host bits"),
        pytest.param(
            changed(cidr="10.20.0.2/31"), "it holds block 10.20.0.2/31", id="other block"
        ),
        pytest.param(changed(affinity=7), "not of type str", id="affinity of another type"),
        pytest.param(changed(allocations=...), "not a block", id="no allocations"),
        pytest.param(changed(allocations=["0", None]), "not of type int", id="index as text"),
        pytest.param(
            changed(allocations=[True, None]), "not of type int", id="index as boolean"
        ),
        pytest.param(changed(unallocated=[1.0]), "not of type int", id="ordinal as float"),
        pytest.param(changed(sequenceNumber=7.5), "not of type int", id="number as float"),
        pytest.param(changed(sequenceNumberForAllocation=[]), None, id="empty list of numbers"),
        pytest.param(
            changed(sequenceNumberForAllocation=[1]), "not a block", id="list of numbers"
        ),
        pytest.param(
            changed(sequenceNumberForAllocation={"x": 1}), "not a block", id="ordinal x"
        ),
        pytest.param(changed(attributes=["h"]), "not a block", id="attribute as text"),
        pytest.param(changed(attributes=[None]), "not a block", id="attribute null"),
        pytest.param(
            changed(attributes=[{"handle_id": 7}]), "not of type str", id="handle as number"
        ),
        pytest.param(
            changed(attributes=[{"secondary": []}]), "not an object", id="owner as list"
        ),
        pytest.param(
            changed(attributes=[{"secondary": {"a": 1}}]), "not of type str", id="owner number"
        ),
        pytest.param(changed(allocations=[0]), "1 allocations for 2 addresses", id="too short"),
        pytest.param(changed(unallocated=[1, 1]), "twice", id="free twice"),
        pytest.param(changed(unallocated=[0, 1]), "0 is both free and allocated", id="both"),
        pytest.param(changed(unallocated=[]), "1 is neither free nor allocated", id="neither"),
        pytest.param(
            changed(unallocated=[1, 2]), "2 is neither free nor allocated", id="out of range"
        ),
        pytest.param(
            changed(allocations=[1, None]), "attribute 1, which does not exist", id="dangling"
        ),
        pytest.param(
            changed(allocations=[-1, None]), "attribute -1, which does", id="negative index"
        ),
    ],
)
def test_a_block_that_makes_no_sense_is_corrupt(raw, why):
    key = "/calico/ipam/v2/assignment/ipv4/block/10.20.0.0-31"
    if why is None:
        assert {} == records.decode_block(key, raw).sequence_numbers
        return

    with pytest.raises(CorruptStateError, match=why) as caught:
        records.decode_block(key, raw)

    assert key == caught.value.key


@pytest.mark.parametrize(
    ("decode", "raw", "why"),
    [
        (records.decode_affinity, b'{"state":"lost"}', "lost"),
        (records.decode_affinity, b'{"state":[]}', r"\[\]"),
        (records.decode_affinity, b"null", "not a JSON object"),
        (records.decode_affinity, b'{"a":' * 100_000, "not JSON"),
        (records.decode_handle, b"", "not JSON"),
        (records.decode_handle, b'{"block":[1]}', "not a handle"),
        (records.decode_handle, b'{"block":{"10.0.0.0":1}}', "not a handle"),
        (records.decode_handle, b'{"block":{"10.0.0.0/26":"1"}}', "not of type int"),
        (records.decode_handle, b'{"block":{"10.0.0.0/26":true}}', "not of type int"),
        (records.decode_session, b"{}", "not a session"),
        (records.decode_session, b'{"n":1,"deleted":null}', "not a session"),
        (records.decode_session, b'{"n":1,"deleted":[1]}', "not of type str"),
        (records.decode_session, b'{"n":"1","deleted":[]}', "not of type int"),
        (
            lambda _, raw: records.decode_config(raw),
            b'{"strict_affinity":1}',
            "not of type bool",
        ),
        (
            lambda _, raw: records.decode_config(raw),
            b'{"maxBlocksPerHost":true}',
            "not of type int",
        ),
        (lambda _, raw: records.decode_config(raw), b"x", "not JSON"),
    ],
)
def test_a_value_that_makes_no_sense_is_corrupt(decode, raw, why):
    with pytest.raises(CorruptStateError, match=why):
        decode("/key", raw)


def test_a_handle_of_nothing_is_read():
    assert {} == records.decode_handle("/key", b'{"block":null}').blocks


@QUICK
@given(st.dictionaries(st.sampled_from(list(json.loads(NOBODYS))), unknown_values, min_size=1))
def test_a_damaged_block_is_corrupt_or_sound_and_never_another_error(damage):
    key = "/calico/ipam/v2/assignment/ipv4/block/10.20.0.0-31"
    try:
        block: Block | None = records.decode_block(key, changed(**damage))
    except CorruptStateError:
        block = None

    assert block is None or records.broken(block) == ""


# Full blocks


@QUICK
@given(blocks())
def test_only_a_block_without_a_free_or_cooling_ordinal_is_called_full(block):
    room = bool(block.unallocated) or any(a.released_at for a in block.attributes)

    assert (not room) == records.is_full(records.encode_block(block))


@QUICK
@given(st.sampled_from(['"unallocated":[]', "unallocated", '"unallocated":null']) | texts)
def test_no_text_of_an_owner_makes_a_block_full(text):
    block = block_of("10.0.0.0/30", "c1")
    secondary = {text: text, "unallocated": text}
    odd = replace(
        block,
        attributes=(Attribute(handle=text, secondary=secondary, extra={text: [text]}),),
        extra={"note": text},
    )

    assert not records.is_full(records.encode_block(odd))


@pytest.mark.parametrize(
    "extra", [{"unallocated": []}, {"unallocated": None}, {"new": {"unallocated": []}}]
)
def test_no_field_that_we_do_not_know_makes_a_block_full(extra):
    block = block_of("10.0.0.0/30", "c1")
    odd = replace(block, attributes=(Attribute(handle="c1", extra=extra),))

    assert not records.is_full(records.encode_block(odd))


def test_no_text_of_an_owner_makes_a_full_block_cool_down():
    block = block_of("10.0.0.0/30", *['"releasedAt":"2026"'] * 4)

    assert records.is_full(records.encode_block(block))


@pytest.mark.parametrize(
    ("free", "full"),
    [("[]", True), ("null", True), ("[3]", False), ("[ ]", False), ("", False)],
)
def test_a_free_list_is_read_as_calico_and_others_write_it(free, full):
    raw = records.encode_block(block_of("10.0.0.0/30", *["c1"] * 4))
    field_ = f'"unallocated":{free},' if free else ""

    assert full == records.is_full(raw.replace(b'"unallocated":[],', field_.encode()))


def test_null_is_the_zero_value_as_go_reads_it():
    raw = b'{"auto_allocate_blocks":null,"ipCooldownSeconds":null}'

    assert not records.decode_config(raw).auto_allocate_blocks
    assert AffinityState.LEGACY == records.decode_affinity("", b'{"state":null}').state


def test_text_that_is_no_unicode_survives_a_rewrite_and_is_no_key():
    block = block_of("10.0.0.0/30", "c\ud800")

    raw = records.encode_block(block)

    assert block == records.decode_block(records.block_key(block.cidr), raw)
    with pytest.raises(InvalidRequestError, match="handle"):
        records.handle_key("c\ud800")


def test_unknown_fields_of_a_session_survive_a_deletion():
    session = records.decode_session("", b'{"n":1,"deleted":[],"later":true}')

    raw = records.encode_session(session.bump("digest"))

    assert {"n": 2, "deleted": ["digest@2"], "later": True} == json.loads(raw)
