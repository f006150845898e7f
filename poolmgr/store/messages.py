"""
What is said to etcd and what it answers: reads and commits as messages, and back.

A read is a transaction of nothing but ranges, a commit is If (compares), Then (puts and
deletes), Else (everything compared, read again).

Rules:

1. No `prev_kv`, no nested transactions (both get around etcd's permissions), and no explicit
   revision inside a transaction (inconsistent before etcd 3.7).
2. Keys are compared by revision, which never recurs for a key; the epoch alone by value.
"""

from collections.abc import Iterable
from typing import Any

from poolmgr.core.txn import EPOCH_KEY, KeyValue, Page, Range, Reading, Txn
from poolmgr.store.etcd3_compat import etcdrpc


def _bytes(key: str) -> bytes:
    """Encode a key. Keys of other programs that are not UTF-8 go there and back unharmed."""
    return key.encode("utf-8", "surrogateescape")


def range_request(range_: Range, revision: int = 0) -> Any:
    """Make the request that reads a range; of the present if `revision` is 0."""
    return etcdrpc.RangeRequest(
        key=_bytes(range_.start),
        range_end=_bytes(range_.end),
        limit=range_.limit,
        keys_only=range_.keys_only,
        revision=revision,
    )


def _gets(keys: Iterable[str], ranges: Iterable[Range]) -> list[Any]:
    """List the operations that read `keys`, then `ranges`."""
    requests = [etcdrpc.RangeRequest(key=_bytes(key)) for key in keys]
    requests += [range_request(range_) for range_ in ranges]
    return [etcdrpc.RequestOp(request_range=request) for request in requests]


def _changes(txn: Txn) -> list[Any]:
    puts = (etcdrpc.PutRequest(key=_bytes(key), value=value) for key, value in txn.puts.items())
    deletes = (etcdrpc.DeleteRangeRequest(key=_bytes(key)) for key in txn.deletes)
    return [
        *(etcdrpc.RequestOp(request_put=put) for put in puts),
        *(etcdrpc.RequestOp(request_delete_range=delete) for delete in deletes),
    ]


def _compares(txn: Txn) -> list[Any]:
    """
    List what must hold.

    To etcd an absent key has revision 0, but no value: not even "differs from" is true of it.
    """
    compare = etcdrpc.Compare
    epoch = _bytes(EPOCH_KEY)
    return [
        compare(target=compare.MOD, result=compare.EQUAL, key=epoch, mod_revision=0)
        if txn.epoch is None
        else compare(target=compare.VALUE, result=compare.EQUAL, key=epoch, value=txn.epoch),
        *(
            compare(
                target=compare.MOD, result=compare.EQUAL, key=_bytes(key), mod_revision=revision
            )
            for key, revision in txn.expect.items()
        ),
        *(
            compare(
                target=compare.MOD,
                result=compare.LESS,
                key=_bytes(range_.start),
                range_end=_bytes(range_.end),
                mod_revision=revision + 1,
            )
            for range_, revision in txn.unchanged.items()
        ),
    ]


def read_request(keys: Iterable[str], ranges: Iterable[Range]) -> Any:
    """Make the request that reads `keys`, then `ranges`."""
    return etcdrpc.TxnRequest(success=_gets(keys, ranges))


def commit_request(txn: Txn, keys: Iterable[str], ranges: Iterable[Range]) -> Any:
    """Make the request that commits `txn`, or reads `keys`, then `ranges`."""
    return etcdrpc.TxnRequest(
        compare=_compares(txn), success=_changes(txn), failure=_gets(keys, ranges)
    )


def reading(keys: tuple[str, ...], ranges: tuple[Range, ...], answer: Any) -> Reading:
    """Make a Reading of an answer that has `keys`, then `ranges`."""
    answers = [each.response_range for each in answer.responses]
    pairs = zip(keys, answers, strict=False)
    return Reading(
        found={key: _key_value(each.kvs[0]) if each.kvs else None for key, each in pairs},
        ranges=dict(zip(ranges, map(page, answers[len(keys) :]), strict=True)),
        revision=answer.header.revision,
    )


def page(answer: Any) -> Page:
    """Make a Page of the answer to a request of a range."""
    items = ((kv.key.decode("utf-8", "surrogateescape"), _key_value(kv)) for kv in answer.kvs)
    return Page(items=tuple(items), more=answer.more)


def _key_value(kv: Any) -> KeyValue:
    return KeyValue(value=kv.value, mod_revision=kv.mod_revision)
