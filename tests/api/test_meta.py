"""The envelope: reading manifests and stored values, writing, creating, updating."""

import json
import re

import pytest

from poolmgr.api import KINDS, IPPool, Node, resource_type
from poolmgr.api.meta import new_uid, timestamp
from poolmgr.errors import InvalidRequestError

STORED = (
    b'{"kind":"IPPool","apiVersion":"projectcalico.org/v3",'
    b'"metadata":{"name":"pool-a","uid":"u","creationTimestamp":"2026-11-23T19:13:08Z",'
    b'"labels":{"a":"1","b":"2"},"annotations":{"n":"x"},"future":{"deep":[1,null]}},'
    b'"spec":{"cidr":"10.10.0.0/16","vxlanMode":"Never","ipipMode":"Never","blockSize":26,'
    b'"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic",'
    b'"colour":"red"},"status":{"conditions":[{"type":"Ready","status":"True"}]},"more":1}'
)


def node(**metadata) -> Node:
    return Node.from_manifest({"metadata": metadata})


def test_a_stored_value_survives_being_read_and_written():
    assert IPPool.from_stored(STORED, 7).to_stored() == STORED


def test_half_a_surrogate_pair_is_written_as_json_has_it():
    written = node(name="a", annotations={"k": "\ud800 and \u20ac"}).to_stored()

    assert rb'"k":"\ud800 and ' in written
    assert written == Node.from_stored(written, 7).to_stored()


def test_a_manifest_has_the_resource_version_and_a_stored_value_has_not():
    pool = IPPool.from_stored(STORED, 7)

    assert pool.to_manifest()["metadata"]["resourceVersion"] == "7"
    assert list(pool.to_manifest()["metadata"])[:4] == [
        "name",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ]
    assert b"resourceVersion" not in pool.to_stored()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"metadata":7}',
        b'{"metadata":{}}',
        b'{"metadata":{"name":"a"}}',
        b'{"metadata":{"name":"a"},"spec":{"cidr":"junk"}}',
        b"\xff",
    ],
)
def test_a_stored_value_that_cannot_be_understood_is_a_value_error(raw):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        IPPool.from_stored(raw, 7)


def test_creation_keeps_name_labels_and_annotations_alone():
    written = IPPool.from_manifest(
        {
            "metadata": {
                "name": "pool-a",
                "uid": "old",
                "resourceVersion": 7,
                "creationTimestamp": None,
                "generation": 2,
                "labels": {"a": "1"},
                "annotations": {"n": "x"},
            },
            "spec": {"cidr": "10.10.0.0/16"},
            "status": {"conditions": [{"type": "Ready"}]},
        }
    )

    stored = json.loads(written.created(uid="new", now="t").to_stored())

    assert stored["metadata"] == {
        "name": "pool-a",
        "uid": "new",
        "creationTimestamp": "t",
        "labels": {"a": "1"},
        "annotations": {"n": "x"},
    }
    assert "status" not in stored


def test_an_update_keeps_what_the_manifest_cannot_say_and_replaces_the_rest():
    wanted = IPPool.from_manifest(
        {
            "metadata": {"name": "pool-a", "uid": "other", "labels": {"c": "3"}},
            "spec": {"cidr": "10.10.0.0/16", "natOutgoing": True},
        }
    )

    before, after = (
        json.loads(STORED),
        json.loads(IPPool.from_stored(STORED, 7).updated(wanted).to_stored()),
    )

    metadata = {**before["metadata"], "labels": {"c": "3"}}
    del metadata["annotations"]
    assert {
        **before,
        "metadata": metadata,
        "spec": {**before["spec"], "natOutgoing": True},
    } == after


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({}, "metadata.name"),
        ({"name": ""}, "metadata.name"),
        ({"name": "Pool_X"}, "metadata.name"),
        ({"name": "a/b"}, "metadata.name"),
        ({"name": "a\n"}, "metadata.name"),
        ({"name": "a" * 254}, "metadata.name"),
        ({"name": ["a"]}, "metadata.name"),
        ({"name": "a", "resourceVersion": "x"}, "metadata.resourceVersion"),
        ({"name": "a", "resourceVersion": "1" * 20}, "metadata.resourceVersion"),
        ({"name": "a", "resourceVersion": "\u0661"}, "metadata.resourceVersion"),
        ({"name": "a", "labels": {"ProjectCalico.org/label": "x"}}, "metadata.labels"),
        ({"name": "a", "labels": {"k": "x" * 64}}, "metadata.labels.k"),
        ({"name": "a", "labels": ["k"]}, "metadata.labels"),
        ({"name": "a", "labels": {"k": ["v"]}}, "metadata.labels.k"),
        (
            {"name": "a", "annotations": {"projectcalico.org$label": "x"}},
            "metadata.annotations",
        ),
        ({"name": "a", "annotations": {"key": "x" * (256 * 1024 - 2)}}, "metadata.annotations"),
        ({"name": "a", "generateName": "b"}, "metadata.generateName"),
        ({"name": "a", "namespace": "default"}, "metadata.namespace"),
    ],
)
def test_metadata_is_checked(metadata, field):
    with pytest.raises(InvalidRequestError) as caught:
        node(**metadata)

    assert field == caught.value.field
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "a" * 253},
        {"name": "node-1.example.org"},
        {"name": "a", "resourceVersion": str(2**63 - 1)},
        {"name": "a", "labels": {"projectcalico.org/label": "x" * 63}},
        {"name": "a", "annotations": {"ProjectCalico.org/Label": "any text\n"}},
        {"name": "a", "annotations": {"key": "x" * (256 * 1024 - 3)}},
    ],
)
def test_these_metadata_are_fine(metadata):
    assert metadata["name"] == node(**metadata).metadata.name


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (1.5, "1.5"), (8.0, "8"), (True, "true"), (None, "")]
)
def test_a_scalar_becomes_text_where_text_belongs(value, text):
    assert {"k": text} == node(name="a", labels={"k": value}).metadata.labels


@pytest.mark.parametrize("top", ["colour", "metadat"])
def test_unknown_fields_outside_are_refused(top):
    with pytest.raises(InvalidRequestError, match=f"Node a: {top}: unknown field"):
        Node.from_manifest({"metadata": {"name": "a"}, top: {}})


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("IPPool", "IPPool"),
        ("ippools", "IPPool"),
        ("IPP", "IPPool"),
        ("pools", "IPPool"),
        ("reservation", "IPReservation"),
        ("no", "Node"),
        ("clusterinfo", "ClusterInformation"),
        ("ipamconfig", "IPAMConfiguration"),
        ("blockaffinity", "BlockAffinity"),
    ],
)
def test_a_kind_has_short_names(word, kind):
    assert KINDS[kind] is resource_type(word)


@pytest.mark.parametrize(
    ("word", "hint"), [("block", "did you mean blockaffinity"), ("x", "ippools, ")]
)
def test_an_unknown_kind_is_answered_with_the_nearest_or_all_that_are_known(word, hint):
    with pytest.raises(
        InvalidRequestError, match=f"'{word}' is not a kind of resource.*{hint}"
    ):
        resource_type(word)


def test_fresh_identities_and_times_have_calicos_form():
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", new_uid())
    assert new_uid() != new_uid()
    assert timestamp(1_794_976_000_999_999_999) == "2026-11-18T04:26:40Z"
