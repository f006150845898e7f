"""
A gRPC server in front of an etcd: it forwards calls, counts them by kind, and makes them fail on demand.

Because it stands at the server's side, it sees what other processes do as well.
"""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from poolmgr.store.etcd3_compat import etcdrpc

_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class GrpcProxy(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """
    Attributes:
        endpoint: Where clients find it.
        counts: Calls since the last `reset`: "read" (a range, or a transaction of nothing but ranges), "commit" (any
            other transaction, a put, a delete) and "other" (all else but watches, which it does not forward).
        reply_bytes: Size of etcd's replies since the last `reset`.
        lose: Kinds of calls whose reply is lost, after etcd has done what was asked.
        refuse: Status and details that every call gets, and etcd is not asked; None = they are forwarded.
    """

    def __init__(self, target: str) -> None:
        self.lose: set[str] = set()
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.reply_bytes = 0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(target, _UNLIMITED)
        self._server = grpc.server(ThreadPoolExecutor(32), (self,), options=_UNLIMITED)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def counts(self) -> dict[str, int]:
        with self._lock:
            return {kind: self._counts[kind] for kind in ("read", "commit", "other")}

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()
            self.reply_bytes = 0

    def __enter__(self) -> "GrpcProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def service(self, details: Any) -> Any:
        method = details.method
        if method.startswith(("/etcdserverpb.Watch/", "/etcdserverpb.Lease/LeaseKeepAlive")):
            return None
        forward = self._channel.unary_unary(method)

        def handle(request: bytes, context: Any) -> bytes:
            kind = _kind(method, request)
            with self._lock:
                self._counts[kind] += 1
            if self.refuse:
                context.abort(*self.refuse)
            tokens = [pair for pair in context.invocation_metadata() if pair[0] == "token"]
            try:
                reply: bytes = forward(
                    request, timeout=context.time_remaining(), metadata=tokens
                )
            except grpc.RpcError as err:
                context.abort(err.code(), err.details())
            with self._lock:
                self.reply_bytes += len(reply)
            if kind in self.lose:
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            return reply

        return grpc.unary_unary_rpc_method_handler(handle)


def _kind(method: str, request: bytes) -> str:
    name = method.removeprefix("/etcdserverpb.KV/")
    if name == "Range":
        return "read"
    if name in ("Put", "DeleteRange"):
        return "commit"
    if name != "Txn":
        return "other"
    txn = etcdrpc.TxnRequest.FromString(request)
    ranges_only = all(op.WhichOneof("request") == "request_range" for op in txn.success)
    return "read" if ranges_only and not txn.compare and not txn.failure else "commit"
