"""BlockAffinities: what is shown of an affinity key, and the form of the resource."""

import pytest

from poolmgr.api import BlockAffinity
from poolmgr.api.blockaffinity import block_affinity
from poolmgr.cidr import parse_network
from poolmgr.errors import InvalidRequestError

SPEC = {"state": "confirmed", "node": "node-a", "type": "host", "cidr": "10.20.0.0/26"}


def manifest(**spec) -> dict:
    return {"metadata": {"name": "node-a-10-20-0-0-26"}, "spec": {**SPEC, **spec}}


@pytest.mark.parametrize(
    ("block", "name"),
    [("10.20.0.0/26", "node-a-10-20-0-0-26"), ("fd00::/122", "node-a-fd00---122")],
)
@pytest.mark.parametrize(
    ("state", "says"), [("pending", "pending"), ("", "confirmed")], ids=["new", "old form"]
)
def test_an_affinity_key_is_shown_as_a_resource(block, name, state, says):
    shown = block_affinity(
        "node-a", parse_network(block), state=state, type_="host", revision=7
    ).to_manifest()

    assert shown["metadata"] == {"name": name, "resourceVersion": "7"}
    assert shown["spec"] == {**SPEC, "state": says, "cidr": block}


def test_it_reads_as_a_manifest_and_is_stored_in_calicos_order():
    made = BlockAffinity.from_manifest(manifest(deleted=False))

    assert list(made.spec.dump().items()) == [*SPEC.items(), ("deleted", "false")]


def test_a_stored_one_is_read_and_written_unchanged():
    raw = (
        b'{"kind":"BlockAffinity","apiVersion":"projectcalico.org/v3","metadata":{"name":"a"},'
        b'"spec":{"state":"odd","node":"N","type":"new","cidr":"fd00::/122","deleted":"true",'
        b'"future":1}}'
    )

    assert raw == BlockAffinity.from_stored(raw, 7).to_stored()


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"state": "new"}, "spec.state", "confirmed, pending, pendingDeletion"),
        ({"type": "pod"}, "spec.type", "host, virtual"),
        ({"deleted": "soon"}, "spec.deleted", "true, false"),
        ({"cidr": "10.20.0.1/26"}, "spec.cidr", '"10.20.0.1/26" is not a block'),
        ({"cidr": ["a"]}, "spec.cidr", '["a"] is not a block'),
        ({"node": None}, "spec.node", "is required"),
        ({"colour": "red"}, "spec.colour", "unknown field"),
    ],
)
def test_a_refusal_names_field_value_and_what_is_allowed(spec, field, says):
    with pytest.raises(InvalidRequestError) as caught:
        BlockAffinity.from_manifest(manifest(**spec))

    assert field == caught.value.field
    assert says in str(caught.value)
