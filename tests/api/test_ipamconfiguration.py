"""IPAMConfiguration: stored form and verdicts as recorded from calicoctl."""

import json

import pytest

from poolmgr.api import IPAMConfiguration
from poolmgr.errors import InvalidRequestError


def manifest(spec: dict, name: str = "default") -> dict:
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "stored"),
    [
        ({}, '{"strictAffinity":false,"autoAllocateBlocks":false}'),
        (
            {
                "ipCooldownSeconds": 1200,
                "kubeVirtVMAddressPersistence": "Disabled",
                "autoAllocateBlocks": True,
                "maxBlocksPerHost": 1_000_000,
                "strictAffinity": True,
            },
            '{"strictAffinity":true,"maxBlocksPerHost":1000000,"autoAllocateBlocks":true,'
            '"kubeVirtVMAddressPersistence":"Disabled","ipCooldownSeconds":1200}',
        ),
        (
            {"strictAffinity": None, "maxBlocksPerHost": 0, "ipCooldownSeconds": None},
            '{"strictAffinity":false,"autoAllocateBlocks":false}',
        ),
    ],
    ids=["nothing", "everything", "empty"],
)
def test_both_switches_are_always_stored_and_the_rest_when_set(spec, stored):
    created = IPAMConfiguration.from_manifest(manifest(spec)).created(uid="u", now="t")

    assert json.loads(created.to_stored())["spec"] == json.loads(stored)
    assert f'"spec":{stored}}}'.encode() in created.to_stored()


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        (
            {"maxBlocksPerHost": -1},
            "spec.maxBlocksPerHost",
            "-1 is not allowed: 0 to 1,000,000",
        ),
        ({"maxBlocksPerHost": 1_000_001}, "spec.maxBlocksPerHost", "1000001 is not allowed"),
        ({"maxBlocksPerHost": "4"}, "spec.maxBlocksPerHost", '"4" must be a whole number'),
        ({"ipCooldownSeconds": -1}, "spec.ipCooldownSeconds", "-1 is not allowed: 0 to 1,200"),
        ({"ipCooldownSeconds": 1201}, "spec.ipCooldownSeconds", "1201 is not allowed"),
        ({"strictAffinity": ""}, "spec.strictAffinity", '"" must be true or false'),
        ({"autoAllocateBlocks": 0}, "spec.autoAllocateBlocks", "0 must be true or false"),
        (
            {"kubeVirtVMAddressPersistence": "Perhaps"},
            "spec.kubeVirtVMAddressPersistence",
            '"Perhaps" is not allowed: Enabled, Disabled',
        ),
        ({"strict_affinity": True}, "spec.strict_affinity", "unknown field"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(spec, field, says):
    with pytest.raises(InvalidRequestError) as caught:
        IPAMConfiguration.from_manifest(manifest(spec))

    assert field == caught.value.field
    assert says in str(caught.value)


def test_there_is_only_one():
    with pytest.raises(InvalidRequestError, match='name: "other" is not allowed: default'):
        IPAMConfiguration.from_manifest(manifest({}, "other"))


def test_a_stored_one_is_read_whatever_rules_it_breaks():
    raw = (
        b'{"kind":"IPAMConfiguration","apiVersion":"projectcalico.org/v3",'
        b'"metadata":{"name":"odd"},"spec":{"strictAffinity":true,"maxBlocksPerHost":-7,'
        b'"autoAllocateBlocks":false,"kubeVirtVMAddressPersistence":"New","future":1}}'
    )

    stored = IPAMConfiguration.from_stored(raw, 7)

    assert raw == stored.to_stored()
    assert stored.to_manifest()["metadata"] == {"name": "odd", "resourceVersion": "7"}
