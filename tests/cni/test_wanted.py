import json
from dataclasses import replace

import pytest

from poolmgr.cidr import parse_address
from poolmgr.cni.args import Args
from poolmgr.cni.netconf import Call, Command
from poolmgr.cni.wanted import PodView, settle
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.request import Attachment
from poolmgr.errors import InvalidRequestError
from poolmgr.kube.annotations import (
    ADDRESSES,
    FAMILIES,
    IP_ADDRS,
    NO_IPAM,
    POOLS,
    STICKY,
    Gates,
)

FOUR, FIVE, SIX = map(parse_address, ("10.0.0.5", "10.0.0.6", "fd00::5"))
NAMED = {IP_ADDRS: '["10.0.0.6"]'}
CALL = Call(
    command=Command.ADD,
    version="1.0.0",
    network="net1",
    attachment=Attachment(network="net1", container="c1", interface="eth0"),
    args=Args(pod="web-0", namespace="prod"),
    gates=Gates(ip_addrs_no_ipam=True),
    families=(4,),
    pools={4: ("a",)},
)


def settled(pod=None, namespace=None, **keys):
    view = PodView(annotations=pod or {}, namespace_annotations=namespace or {})
    return settle(replace(CALL, **keys), view)


def test_without_annotations_the_call_is_what_it_was():
    assert CALL == settle(CALL) == settled()


def test_annotations_come_from_the_runtime_or_the_api():
    view = PodView(namespace_labels={"team": "x"})

    assert settle(replace(CALL, annotations=NAMED)).addresses == (FIVE,)
    assert settle(replace(CALL, annotations=NAMED), view).addresses == ()
    assert settle(CALL, view).namespace_labels == {"team": "x"}


def test_pools_and_families_come_from_the_most_special_place():
    six = {POOLS[6]: '["s"]'}

    assert settled({}, {POOLS[4]: '["n"]'}).pools == {4: ("n",)}
    assert settled({POOLS[4]: '["p"]'}, {POOLS[4]: '["n"]'}).pools == {4: ("p",)}
    assert settled({POOLS[4]: "[]"}).pools == {}
    assert settled({FAMILIES: '["IPv6"]', **six}).families == (6,)
    assert settled(six, families=(4, 6)).pools == {4: ("a",), 6: ("s",)}


def test_candidates_of_a_family_make_it_wanted():
    found = settled({ADDRESSES: "fd00::5"})

    assert (found.families, list(found.among), found.warnings) == ((4, 6), [6], ())


def test_an_address_that_the_runtime_names_is_not_overruled():
    for pod in (
        NAMED,
        {ADDRESSES: "10.0.0.6"},
        {STICKY: "true"},
        {NO_IPAM: '["10.0.0.6"]'},
    ):
        ((name, value),) = pod.items()
        with pytest.raises(InvalidRequestError) as caught:
            settled(pod, addresses=(FOUR, SIX))

        assert str(caught.value) == (
            f"annotation {name} = '{value}': the runtime asks for 10.0.0.5, fd00::5 already, and "
            "both cannot be; remove the annotation, or do not name addresses"
        )


@pytest.mark.parametrize(
    ("pod", "keys", "name", "why"),
    [
        ({POOLS[4]: '["p"]'}, {"addresses": (FOUR,)}, POOLS[4], "addresses are named"),
        ({POOLS[4]: '["p"]', **NAMED}, {}, POOLS[4], "addresses are named"),
        ({FAMILIES: '["IPv6"]', **NAMED}, {}, FAMILIES, "addresses are named"),
        (
            {POOLS[4]: '["p"]', ADDRESSES: "10.0.0.6"},
            {},
            POOLS[4],
            f"{ADDRESSES} names candidates",
        ),
        ({POOLS[6]: '["p"]'}, {}, POOLS[6], "no IPv6 address is wanted"),
    ],
)
def test_what_has_no_effect_is_named(pod, keys, name, why):
    found = settled(pod, **keys)

    assert found.warnings == (f"annotation {name} has no effect: {why}",)
    assert not any(f"annotation {name} " in text for text in found.because)


def test_what_makes_no_difference_is_not_worth_a_word():
    assert settled({FAMILIES: '["IPv4"]', POOLS[6]: "[]", **NAMED}).warnings == ()


def test_warnings_about_a_namespace_are_passed_on():
    assert len(settled({}, {STICKY: "true"}).warnings) == 1


@pytest.mark.parametrize("main", [MainPlugin.PTP, MainPlugin.BRIDGE_GATEWAY])
def test_a_plugin_that_needs_a_gateway_needs_ipam(main):
    with pytest.raises(InvalidRequestError, match=f"{NO_IPAM}: {main} needs an address"):
        settled({NO_IPAM: '["10.0.0.6"]'}, link=LinkPolicy(main=main))


def test_addresses_past_ipam_are_taken_as_they_are():
    found = settled({NO_IPAM: json.dumps(["fd00::5"])})

    assert (found.without_ipam, found.addresses) == ((SIX,), ())
