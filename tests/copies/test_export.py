import io
import json
import tracemalloc

import pytest
import yaml

from poolmgr.copies import importing
from poolmgr.copies.backup import Source
from poolmgr.copies.export import Export, in_yaml, names_of_kubernetes
from poolmgr.copies.rename import Rename
from poolmgr.copies.staged import Staged
from poolmgr.core.records import CONFIG_KEY, handle_key, resource_key
from poolmgr.errors import CorruptStateError, RefusedError
from poolmgr.store.memory import MemoryStore
from tests.support.filled import NODES, fill
from tests.support.poolctl import CLUSTER, put

NAMES = {node: f"k8s-{node}" for node in NODES}


@pytest.fixture(scope="module")
def store():
    made = MemoryStore()
    fill(made)
    return made


def exported(store, rename=None):
    text = io.StringIO()
    export = Export(Source(store, timeout_s=1), Rename(rename or {}))
    steps = sum(export.write(text.write))
    return text.getvalue(), steps, export.left_out


def parts(text):
    resources, cluster, addresses = text.split("===\n")
    lists = {each["kind"]: each for each in yaml.safe_load_all(resources) if each}
    return lists, json.loads(cluster), json.loads(addresses)


def test_it_has_the_three_parts_that_calicoctl_reads(store):
    text, steps, left_out = exported(store)
    lists, cluster, addresses = parts(text)

    assert ["off", "pool-6", "pool-a"] == [
        each["metadata"]["name"] for each in lists["IPPoolList"]["items"]
    ]
    assert [] == lists["BGPPeerList"]["items"]
    assert "default" == cluster["metadata"]["name"]
    assert ["block_affinities", "blocks", "handles", "poolmgr", "config"] == [*addresses]
    assert (4, 4, 7, 2) == tuple(len(part) for part in list(addresses.values())[:4])
    assert {"Key", "Value", "TTL"} == addresses["handles"][0].keys()
    assert CONFIG_KEY == addresses["config"]["Key"]
    assert {"/calico/felix": 1} == left_out
    assert 3 + 3 + 1 + 17 == steps


def test_resources_have_nothing_that_their_store_gave_them(store):
    lists, cluster, _ = parts(exported(store)[0])

    for each in (cluster, *(item for found in lists.values() for item in found["items"])):
        assert not {"uid", "creationTimestamp", "resourceVersion"} & each["metadata"].keys()


@pytest.mark.parametrize(
    "text",
    ["1e3", "yes", "12:30", "2026-01-01", "\x7f\x85\u2028\ufeff", "😀", '"\\\n', "0x1f", "~"],
)
def test_no_text_changes_on_its_way_through_yaml(text):
    assert [{"a": text}] == yaml.safe_load(f"- {in_yaml({'a': text})}\n")


def test_nodes_are_renamed_everywhere(store):
    text, _, _ = exported(store, NAMES)

    for node in NODES:
        assert text.count(node) == text.count(f"k8s-{node}")
    lists, _, addresses = parts(text)
    assert sorted(NAMES.values()) == [
        each["metadata"]["name"] for each in lists["NodeList"]["items"]
    ]
    assert "host:k8s-node-b" == addresses["blocks"][0]["Value"]["affinity"]


def test_the_names_of_kubernetes_are_those_of_the_references():
    store = MemoryStore()
    spec = {"orchRefs": [{"orchestrator": "x"}, {"orchestrator": "k8s", "nodeName": "other"}]}
    put(store, {resource_key("nodes", "a"): json.dumps({"spec": spec}).encode()})
    source = Source(store, timeout_s=1)
    put(store, {resource_key("nodes", "b"): b'{"spec":{}}'})

    assert {"a": "other"} == names_of_kubernetes(source)
    with pytest.raises(RefusedError, match=r"node/b: spec\.orchRefs"):
        names_of_kubernetes(Source(store, timeout_s=1))


def test_an_empty_store_makes_an_export_that_can_be_read_again():
    text, steps, left_out = exported(MemoryStore())
    with Staged() as staged:
        importing.read(io.BytesIO(text.encode()), staged, now="2026-01-01T00:00:00Z")

        assert {} == staged.counts()
    assert (0, {}) == (steps, left_out)


@pytest.mark.parametrize("key", [CLUSTER, handle_key("h"), resource_key("ippools", "p")])
def test_what_is_not_json_is_named(key):
    store = MemoryStore()
    put(store, {key: b"{"})

    with pytest.raises(CorruptStateError):
        exported(store)


def test_an_old_empty_affinity_is_exported_as_an_empty_object():
    key = "/calico/ipam/v2/host/node-a/ipv4/block/10.0.0.0-26"
    store = MemoryStore()
    put(store, {key: b""})

    _, _, addresses = parts(exported(store)[0])
    assert [{"Key": key, "Value": {}, "TTL": 0}] == addresses["block_affinities"]


def test_neither_writing_nor_reading_holds_the_data_in_memory(tmp_path):
    many, value = 6_000, json.dumps({"block": {}, "x": "y" * 1000}).encode()
    store = MemoryStore()
    for start in range(0, many, 100):
        put(store, {handle_key(f"{n:06}"): value for n in range(start, start + 100)})
    path = tmp_path / "copy"
    tracemalloc.start()
    with path.open("w") as file:
        assert many == sum(Export(Source(store, timeout_s=1), Rename({})).write(file.write))
    with Staged() as staged, path.open("rb") as file:
        importing.read(file, staged, now="2026-01-01T00:00:00Z")
        assert many == staged.counts()["handles"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < many * len(value) / 2
