"""Resources as YAML, JSON, names and templates."""

import itertools
import json

import pytest
import yaml

from poolctl.resources.render import Output
from poolmgr.api import KINDS, IPPool, Resource

FULL = {
    "cidr": "10.30.0.0/22",
    "blockSize": 29,
    "vxlanMode": "CrossSubnet",
    "natOutgoing": True,
    "disabled": True,
    "disableBGPExport": True,
    "nodeSelector": "rack == 'r1'",
    "assignmentMode": "Manual",
}


def made(kind: str, name: str, spec: dict) -> Resource:
    raw = json.dumps({"metadata": {"name": name}, "spec": spec}).encode()
    return KINDS[kind].from_stored(raw, 7)


def rendered(kind, resources, form, *, revision=8, single=False, export=False) -> str:
    output = Output.of(kind, form, export=export)
    return "\n".join(output.chunks(resources, revision=revision, single=single))


@pytest.mark.parametrize(("output", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_one_is_an_object_and_a_listing_a_list(output, load):
    pool = made("IPPool", "x", FULL)

    single = load(rendered(IPPool, [pool], output, revision=8, single=True))
    listed = load(rendered(IPPool, [pool], output, revision=8, single=False))
    empty = load(rendered(IPPool, [], output, revision=8, single=False))

    assert single == pool.to_manifest()
    assert single["metadata"]["resourceVersion"] == "7"
    assert {
        "kind": "IPPoolList",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"resourceVersion": "8"},
        "items": [single],
    } == listed
    assert [] == empty["items"]


def test_yaml_keys_are_in_alphabetical_order_and_json_keys_in_calicos():
    pool = made("IPPool", "x", {"cidr": "10.10.0.0/16"})

    as_yaml = rendered(IPPool, [pool], "yaml", revision=8, single=True)
    as_json = rendered(IPPool, [pool], "json", revision=8, single=True)

    assert ["apiVersion", "kind", "metadata", "spec"] == list(yaml.safe_load(as_yaml))
    assert ["kind", "apiVersion", "metadata", "spec"] == list(json.loads(as_json))
    assert as_json.splitlines()[1].startswith('  "')


def test_several_are_written_as_a_whole_list_would_be():
    pools = [made("IPPool", name, FULL) for name in ("a", "b", "c")]
    whole = {
        "kind": "IPPoolList",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {"resourceVersion": "8"},
        "items": [each.to_manifest() for each in pools],
    }

    assert json.dumps(whole, indent=2) == rendered(IPPool, pools, "json")
    assert yaml.safe_dump(whole).rstrip() == rendered(IPPool, pools, "yaml")


@pytest.mark.parametrize("form", ["table", "name", "yaml", "json"])
def test_a_list_of_any_length_is_written_while_it_is_read(form):
    endless = (made("IPPool", f"p{n}", {"cidr": "10.0.0.0/8"}) for n in itertools.count())

    chunks = Output.of(IPPool, form).chunks(endless, revision=8, single=False)

    assert "p1" in "".join(itertools.islice(chunks, 5))


def test_export_leaves_what_another_store_can_take():
    raw = json.dumps(
        {
            "metadata": {
                "name": "x",
                "uid": "u",
                "creationTimestamp": "2026-11-23T19:13:08Z",
                "labels": {"a": "b"},
                "annotations": {"c": "d"},
                "generation": 3,
            },
            "spec": FULL,
        }
    ).encode()
    pool = IPPool.from_stored(raw, 7)

    (shown,) = Output.of(IPPool, "yaml", export=True).chunks([pool], revision=8, single=True)

    wanted = {"name": "x", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    assert wanted == yaml.safe_load(shown)["metadata"]


def test_a_template_sees_the_list_or_the_one():
    pools = [made("IPPool", name, FULL) for name in ("a", "b")]

    assert "a b" == rendered(IPPool, pools, "jsonpath={.items[*].metadata.name}")
    assert "8" == rendered(IPPool, pools, "jsonpath={.metadata.resourceVersion}")
    assert "a" == rendered(IPPool, pools[:1], "jsonpath={.metadata.name}", single=True)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (
            "xml",
            "'xml' is not one of table, ps, wide, yaml, json, name, custom-columns=COLUMNS",
        ),
        ("go-template={{.}}", "jsonpath=TEMPLATE can say the same"),
        ("go-template-file=x", "jsonpath=TEMPLATE can say the same"),
        ("custom-columns=A", "there is no column 'A'"),
        ("jsonpath={.a", "braces or quotes do not match"),
    ],
)
def test_another_form_is_refused(form, why):
    with pytest.raises(ValueError, match=r".+") as caught:
        Output.of(IPPool, form)

    assert why in str(caught.value)
