"""The loader of etcd3's messages: that they are etcd's, and that nothing else of etcd3 suffers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolmgr.store import etcd3_compat
from poolmgr.store.etcd3_compat import etcdrpc

# Written down from etcd's api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto, not from the package.
FIELDS = {
    "ResponseHeader": {"cluster_id": 1, "member_id": 2, "revision": 3, "raft_term": 4},
    "RangeRequest": {
        "key": 1,
        "range_end": 2,
        "limit": 3,
        "revision": 4,
        "sort_order": 5,
        "sort_target": 6,
        "serializable": 7,
        "keys_only": 8,
        "count_only": 9,
        "min_mod_revision": 10,
        "max_mod_revision": 11,
        "min_create_revision": 12,
        "max_create_revision": 13,
    },
    "RangeResponse": {"header": 1, "kvs": 2, "more": 3, "count": 4},
    "PutRequest": {
        "key": 1,
        "value": 2,
        "lease": 3,
        "prev_kv": 4,
        "ignore_value": 5,
        "ignore_lease": 6,
    },
    "PutResponse": {"header": 1, "prev_kv": 2},
    "DeleteRangeRequest": {"key": 1, "range_end": 2, "prev_kv": 3},
    "DeleteRangeResponse": {"header": 1, "deleted": 2, "prev_kvs": 3},
    "RequestOp": {
        "request_range": 1,
        "request_put": 2,
        "request_delete_range": 3,
        "request_txn": 4,
    },
    "ResponseOp": {
        "response_range": 1,
        "response_put": 2,
        "response_delete_range": 3,
        "response_txn": 4,
    },
    "Compare": {
        "result": 1,
        "target": 2,
        "key": 3,
        "version": 4,
        "create_revision": 5,
        "mod_revision": 6,
        "value": 7,
        "lease": 8,
        "range_end": 64,
    },
    "TxnRequest": {"compare": 1, "success": 2, "failure": 3},
    "TxnResponse": {"header": 1, "succeeded": 2, "responses": 3},
    "AuthenticateRequest": {"name": 1, "password": 2},
    "AuthenticateResponse": {"header": 1, "token": 2},
    "StatusResponse": {
        "header": 1,
        "version": 2,
        "dbSize": 3,
        "leader": 4,
        "raftIndex": 5,
        "raftTerm": 6,
    },
    "AlarmRequest": {"action": 1, "memberID": 2, "alarm": 3},
    "AlarmMember": {"memberID": 1, "alarm": 2},
    "AlarmResponse": {"header": 1, "alarms": 2},
}

KEY_VALUE = {
    "key": 1,
    "create_revision": 2,
    "mod_revision": 3,
    "version": 4,
    "value": 5,
    "lease": 6,
}


def numbers(message: Any) -> dict[str, int]:
    return {field.name: field.number for field in message.DESCRIPTOR.fields}


def run(program: str) -> str:
    """Run a Python program; return the last line that it prints or fails with."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).rstrip().splitlines()[-1]


@pytest.mark.parametrize("message", FIELDS)
def test_fields_have_etcds_numbers(message: str):
    assert numbers(getattr(etcdrpc, message)) == FIELDS[message]


def test_a_key_value_has_etcds_numbers():
    assert numbers(etcdrpc.kv_pb2.KeyValue) == KEY_VALUE


def test_compares_have_etcds_words():
    compare = etcdrpc.Compare

    assert (compare.EQUAL, compare.GREATER, compare.LESS, compare.NOT_EQUAL) == (0, 1, 2, 3)
    assert (compare.VERSION, compare.CREATE, compare.MOD, compare.VALUE) == (0, 1, 2, 3)


def test_a_request_has_the_bytes_that_etcd_expects():
    request = etcdrpc.TxnRequest(
        compare=[
            etcdrpc.Compare(
                result=etcdrpc.Compare.LESS,
                target=etcdrpc.Compare.MOD,
                key=b"a",
                range_end=b"b",
                mod_revision=7,
            )
        ]
    )

    assert (
        request.SerializeToString() == b"\x0a\x0d\x08\x02\x10\x02\x1a\x01a\x30\x07\x82\x04\x01b"
    )


def test_the_whole_package_can_be_imported_afterwards():
    printed = run(
        "from poolmgr.store.etcd3_compat import etcdrpc\n"
        "import etcd3\n"
        "print(callable(etcd3.client), etcd3.etcdrpc is etcdrpc)"
    )

    assert printed == "True True"


def test_the_client_object_is_not_imported():
    printed = run(
        "import sys, poolmgr.store.etcd\n"
        "print({'etcd3.etcdrpc', 'etcd3', 'etcd3.client', 'tenacity'} & set(sys.modules))"
    )

    assert printed == "{'etcd3.etcdrpc'}"


def test_messages_that_somebody_else_has_loaded_are_used():
    printed = run(
        "import sys, types\n"
        "theirs = sys.modules['etcd3.etcdrpc'] = types.ModuleType('etcd3.etcdrpc')\n"
        "from poolmgr.store.etcd3_compat import etcdrpc\n"
        "print(etcdrpc is theirs)"
    )

    assert printed == "True"


def test_it_steps_aside_for_an_old_protobuf():
    """Which runs the generated code. The one installed here does not, and says so."""
    printed = run(
        "import google.protobuf\n"
        "google.protobuf.__version__ = '3.20.3'\n"
        "try:\n"
        "    import poolmgr.store.etcd3_compat\n"
        "except TypeError as err:\n"
        "    print('Descriptors cannot be created directly' in str(err))"
    )

    assert printed == "True"


@pytest.mark.parametrize(
    ("init", "says"),
    [
        ("__version__ = '0.13.0'", "is etcd3 0.13.0, and 0.12.0 is needed"),
        ("", "is etcd3 an unknown version, and 0.12.0 is needed"),
        ("__version__ = '0.12.0'", "is not the file that etcd3 0.12.0 ships"),
    ],
)
def test_another_package_of_that_name_is_refused(tmp_path: Path, init: str, says: str):
    package = tmp_path / "etcd3"
    (package / "etcdrpc").mkdir(parents=True)
    (package / "__init__.py").write_text(init)
    (package / "etcdrpc" / "kv_pb2.py").write_text("DESCRIPTOR = None")

    printed = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport poolmgr.store.etcd3_compat"
    )

    assert printed.startswith("ImportError: ")
    assert says in printed
    assert f"pip install etcd3=={etcd3_compat.VERSION}" in printed.replace(
        "--force-reinstall ", ""
    )


def test_a_missing_package_is_named_with_the_remedy():
    printed = run(
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'etcd3' else real(name)\n"
        "import poolmgr.store.etcd3_compat"
    )

    assert printed == (
        "ImportError: the package etcd3 is missing; install it: pip install etcd3==0.12.0"
    )


def test_fields_that_the_package_does_not_know_can_be_read():
    newer = b"\x12\x033.6\x42\x01a\x42\x01b\x60\x05"  # version, errors twice, dbSizeQuota

    message = etcdrpc.StatusResponse.FromString(newer)

    assert "3.6" == message.version
    assert {8: [b"a", b"b"], 12: [5]} == etcd3_compat.unknown_fields(message)
