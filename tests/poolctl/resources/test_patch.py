"""What patches make of resources."""

import json

import pytest

from poolctl.resources.patch import parsed, patched
from poolmgr.api import IPPool, Node
from poolmgr.errors import InvalidRequestError

SPEC = {
    "cidr": "10.0.0.0/24",
    "blockSize": 28,
    "allowedUses": ["Workload", "Tunnel"],
    "colour": 1,
}
METADATA = {"name": "x", "uid": "u", "labels": {"a": "1", "b": "2"}, "future": True}
POOL = IPPool.from_stored(json.dumps({"metadata": METADATA, "spec": SPEC}).encode(), 7)


def after(text: str, type_: str, stored=POOL):
    return patched(stored, parsed(text, type_), type_)


@pytest.mark.parametrize("type_", ["merge", "strategic"])
@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"metadata": {"labels": {"c": "3"}}}', {"a": "1", "b": "2", "c": "3"}),
        ("metadata: {labels: {a: null}}", {"b": "2"}),
        ("metadata: {labels: null}", {}),
        ("{}", {"a": "1", "b": "2"}),
    ],
)
def test_objects_are_merged_and_null_removes(type_, text, labels):
    assert labels == after(text, type_).metadata.labels


@pytest.mark.parametrize("type_", ["merge", "strategic"])
def test_lists_are_replaced(type_):
    assert ("Tunnel",) == after("spec: {allowedUses: [Tunnel]}", type_).spec.allowed_uses


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ('{"$patch": "replace", "c": "3"}', {"c": "3"}),
        ('{"$patch": "delete"}', {}),
        ('{"$patch": "merge", "c": "3"}', {"a": "1", "b": "2", "c": "3"}),
    ],
)
def test_a_strategic_patch_has_directives(labels, wanted):
    text = f'{{"metadata": {{"labels": {labels}}}}}'

    assert wanted == after(text, "strategic").metadata.labels


def test_the_rest_comes_from_what_is_stored():
    pool = after("spec: {natOutgoing: true}", "merge")

    assert (True, 28, "7") == (
        pool.spec.nat_outgoing,
        pool.spec.block_size,
        pool.metadata.resource_version,
    )
    assert POOL.updated(pool).spec.extra == {"colour": 1}


def test_operations_are_applied_in_order():
    operations = [
        {"op": "test", "path": "/spec/blockSize", "value": 28},
        {"op": "remove", "path": "/metadata/labels/a"},
        {"op": "add", "path": "/spec/allowedUses/0", "value": "Tunnel"},
        {"op": "remove", "path": "/spec/allowedUses/1"},
    ]

    pool = after(json.dumps(operations), "json")

    assert {"b": "2"} == pool.metadata.labels
    assert ("Tunnel", "Tunnel") == pool.spec.allowed_uses


@pytest.mark.parametrize(
    ("type_", "text", "why"),
    [
        ("merge", "[]", "of type merge it must be an object"),
        ("strategic", "x", "of type strategic it must be an object"),
        ("json", "{}", "of type json it must be a list of operations"),
        ("merge", "a: 1\n---\nb: 2", "of type merge it must be an object"),
        ("merge", "a: [", "patch, line 1: not YAML"),
        ("merge", "", "of type merge it must be an object"),
        ("merge", "metadata: null", "it leaves no resource with metadata"),
        ("merge", "metadata: {name: y}", 'metadata.name: a patch cannot change it to "y"'),
        ("merge", "metadata: {uid: y}", 'metadata.uid: a patch cannot change it to "y"'),
        ("merge", "kind: Node", 'kind: a patch cannot change it to "Node"'),
        ("merge", "status: {conditions: []}", "status: a patch cannot change it"),
        ("merge", "spec: {new: 1}", "spec.new: unknown field"),
        ("merge", "spec: {blockSize: 3}", "spec.blockSize: 3 is not allowed"),
        ("strategic", '{"spec": {"$patch": "x"}}', '$patch: "x" is not merge, replace, delete'),
        ("strategic", '{"spec": {"$retainKeys": []}}', "directive $retainKeys is not known"),
        ("strategic", '{"spec": {"allowedUses": [{"$patch": "delete"}]}}', "$patch in a list"),
        ("json", '[{"op": "grow", "path": "/spec"}]', "patch: "),
        ("json", '[{"op": "remove", "path": "/spec/absent"}]', 'operation 1 ("remove /spec'),
        (
            "json",
            '[{"op": "test", "path": "/spec/blockSize", "value": 1}]',
            'patch: operation 1 ("test /spec/blockSize"): the value is not 1',
        ),
        (
            "json",
            '[{"op": "test", "path": "/kind", "value": "IPPool"},'
            ' {"op": "test", "path": "/kind", "value": null}]',
            'patch: operation 2 ("test /kind"): the value is not null',
        ),
        ("json", "[{}]", "patch: operation 1: "),
        ("json", "[1]", "patch: operation 1: "),
        ("json", '[{"op": "add", "path": 7, "value": 1}]', "patch: "),
        ("json", '[{"op": "add", "path": "/spec/blockSize/x/y", "value": 1}]', "no such path"),
        ("json", '[{"op": "replace", "path": "", "value": 7}]', "it leaves no resource"),
    ],
)
def test_what_does_not_fit_is_refused(type_, text, why):
    with pytest.raises(InvalidRequestError) as caught:
        after(text, type_)

    assert why in str(caught.value)
    assert "class" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_resource_without_a_spec_can_be_patched():
    node = Node.from_stored(b'{"metadata": {"name": "n"}}', 7)

    patch = "spec: {bgp: {asNumber: 64512}}"

    assert 64512 == after(patch, "merge", node).spec.bgp.as_number
