import io
import json

import pytest

from poolmgr.copies import importing
from poolmgr.copies.backup import Source
from poolmgr.copies.export import Export
from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.copies.rename import Rename
from poolmgr.copies.staged import Staged
from poolmgr.core.records import CONFIG_KEY, handle_key, resource_key
from poolmgr.core.txn import EPOCH_KEY, Range
from poolmgr.errors import InvalidRequestError
from poolmgr.store.memory import MemoryStore
from tests.support.filled import FOREIGN, fill
from tests.support.poolctl import stored

NOW = "2026-01-01T00:00:00Z"
CALICOCTL = """\
apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata:
    name: pool-a
  spec:
    blockSize: 28
    cidr: 10.20.0.0/26
kind: IPPoolList
metadata:
  resourceVersion: "24"
---
apiVersion: projectcalico.org/v3
items: []
kind: NetworkPolicyList
metadata:
  resourceVersion: "24"
---
===
{"kind":"ClusterInformation","apiVersion":"projectcalico.org/v3","metadata":{"name":"default"},
"spec":{"clusterGUID":"g","datastoreReady":false}}
===
{"block_affinities":[],"blocks":null,"handles":[{"Key":"/calico/ipam/v2/handle/h",
"Value":{"block":{"10.20.0.0/28":1},"deleted":false,"n":1795461229034269558},"TTL":0}],
"config":{"strict_affinity":true}}
"""


def read(text):
    with Staged() as staged:
        importing.read(io.BytesIO(text.encode()), staged, now=NOW)
        return dict(staged.within(Range(start="/", end="0"))), staged.digest


def test_what_calicoctl_writes_is_read():
    keys, _ = read(CALICOCTL)
    pool = json.loads(keys[resource_key("ippools", "pool-a")])

    assert ["kind", "apiVersion", "metadata", "spec"] == [*pool]
    assert NOW == pool["metadata"]["creationTimestamp"]
    assert 36 == len(pool["metadata"]["uid"])
    assert False is json.loads(keys[CLUSTER_KEY])["spec"]["datastoreReady"]
    assert b'{"strict_affinity":true}' == keys[CONFIG_KEY]
    assert 1795461229034269558 == json.loads(keys[handle_key("h")])["n"]
    assert 4 == len(keys)


def test_what_we_export_comes_back_but_for_what_a_store_gives():
    store = MemoryStore()
    fill(store)
    text = io.StringIO()
    for _ in Export(Source(store, timeout_s=1), Rename({})).write(text.write):
        pass

    keys, _ = read(text.getvalue())

    wanted = {key: raw for key, raw in stored(store).items() if key not in (EPOCH_KEY, FOREIGN)}
    assert comparable(wanted) == comparable(keys)


def comparable(keys):
    found = {key: json.loads(raw) for key, raw in keys.items()}
    for value in found.values():
        for name in ("uid", "creationTimestamp"):
            value.get("metadata", {}).pop(name, None)
    return found


def test_the_digest_is_of_the_file():
    assert read(CALICOCTL)[1] == read(CALICOCTL)[1]
    assert read(CALICOCTL)[1] != read(CALICOCTL + "\n")[1]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('===\n{"block', '{"block', "two lines"),
        ("kind: IPPool\n", "kind: Cactus\n", "Cactus"),
        ("  kind: IPPool\n", "  kind: [1]\n", "not known"),
        ("    name: pool-a\n", "    name: a/b\n", "metadata.name: 'a/b'"),
        ("    name: pool-a\n", "    name: pool-a\n    namespace: ''\n    name: x\n", "twice"),
        ("  metadata:\n    name: pool-a\n", "  metadata: 7\n", "metadata: must be an object"),
        ("items: []", "items: 7", "must be a list"),
        ('"metadata":{"name":"default"}', '"metadata":7', "not a ClusterInformation"),
        ('{"kind":"Cl', '{{"kind":"Cl', "second part is not JSON"),
        ('"config":', '"config"', "third part is damaged"),
        ('"strict_affinity":true}}\n', '"strict_aff', "third part is damaged"),
        ('"Key"', '"Kay"', "a Key with its Value"),
        ('"Value"', '"Valve"', "a Key with its Value"),
        ('"/calico/ipam/v2/handle/h"', '"/etc/h"', "neither Calico's nor ours"),
        ('"/calico/ipam/v2/handle/h"', "7", "neither Calico's nor ours"),
        ('[{"Key"', '[7,{"Key"', "a Key with its Value"),
        ("1795461229034269558", "1" * 40, "third part"),
    ],
)
def test_what_cannot_be_imported_is_named(old, new, why):
    assert old in CALICOCTL

    with pytest.raises(InvalidRequestError, match=why):
        read(CALICOCTL.replace(old, new, 1))


@pytest.mark.parametrize("end", range(0, len(CALICOCTL) - 3, 23))
def test_a_file_cut_anywhere_is_refused(end):
    with pytest.raises(InvalidRequestError):
        read(CALICOCTL[:end])
