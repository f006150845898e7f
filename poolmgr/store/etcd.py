"""
The store on etcd, through the messages and stubs of the package `etcd3`.

One call here is one call to etcd. Only the later pages of a long range, which are read as of an
older revision, are asked for by a plain Range; all else is a transaction.

Rules:

1. Nothing is sent twice, unless it was certainly not sent the first time.
2. Every call has a deadline, which covers connecting, logging in and trying the next endpoint.
3. Reads are linearizable: a `serializable` one may be answered by a member that lost touch.
4. One table says what each error of etcd and gRPC means. What it leaves out may have happened.

The endpoint in use stays in use until it cannot be connected to; then the next one takes over.
"""

import os
import time
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

# What gRPC would print on standard error is in the errors' texts, too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from poolmgr.core.txn import EPOCH_KEY, Committed, Conflict, Fetch, Reading, Txn
from poolmgr.errors import (
    CommitUnknownError,
    CompactedError,
    InvalidRequestError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from poolmgr.store import messages
from poolmgr.store.etcd3_compat import etcdrpc
from poolmgr.store.port import ATTEMPT_TIMEOUT_S, Store
from poolmgr.store.settings import Endpoint, Settings

_OPTIONS = (
    # gRPC's own back-off grows to two minutes, and all channels of a process share it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # etcd's own client takes no way through a proxy either.
    ("grpc.enable_http_proxy", 0),
    # A peer that hangs is noticed while calls wait for it. Not while the channel is idle: etcd
    # closes a connection that is pinged without a call ("too_many_pings", after 15 s).
    ("grpc.keepalive_time_ms", 5000),  # the least that etcd allows
    ("grpc.keepalive_timeout_ms", 1500),
    ("grpc.http2.ping_timeout_ms", 1500),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),  # by default 500 half-full blocks
)

_LONGEST_DETAILS = 300


class _Then(Enum):
    """What can be done about an error here; by default it is left to the caller."""

    NEXT = "try the next endpoint"
    LOGIN = "log in again with the next call"


class _Row(NamedTuple):
    """
    What an error means.

    Attributes:
        status: Of gRPC; "" = any.
        text: Part of the details; "" = any.
        kind: The class for a commit.
        reason: What is said of etcd.
    """

    status: str
    text: str
    kind: type[StoreError]
    reason: str
    then: _Then | None = None


_NO_CONNECTION = "cannot be reached"
_NO_ADDRESS = "cannot be found"
_TOO_LARGE = "takes no request of this size"
_IS_FULL = "is full; compact it, defragment every member, then: etcdctl alarm disarm"
_UNAVAILABLE, _REFUSED = StoreUnavailableError, StoreRefusedError

# The first row that fits counts. For a read, and for logging in, StoreUnavailableError takes
# the place of CommitUnknownError.
_ERRORS = (
    # There was no connection to send anything on.
    _Row("UNAVAILABLE", "failed to connect to all", _UNAVAILABLE, _NO_CONNECTION, _Then.NEXT),
    _Row("UNAVAILABLE", "errors resolving", _UNAVAILABLE, _NO_ADDRESS, _Then.NEXT),
    _Row("UNAVAILABLE", "DNS resolution failed", _UNAVAILABLE, _NO_ADDRESS, _Then.NEXT),
    # Turned away at the door: more than 5,000 entries wait to be applied.
    _Row("RESOURCE_EXHAUSTED", "too many requests", _UNAVAILABLE, "is overloaded"),
    _Row("UNKNOWN", "too many requests", _UNAVAILABLE, "is overloaded"),
    # The whole cluster refuses every transaction with a put in it, until somebody makes room.
    _Row("RESOURCE_EXHAUSTED", "space exceeded", _REFUSED, _IS_FULL),
    # The server's limit on what it reads, 2 MiB. Our own limit is spelled with a capital R.
    _Row("RESOURCE_EXHAUSTED", "grpc: received message larger", _REFUSED, _TOO_LARGE),
    # Checked before anything is proposed. The planner keeps the limits, so the mistake is ours.
    _Row("INVALID_ARGUMENT", "request is too large", _REFUSED, _TOO_LARGE),
    _Row("INVALID_ARGUMENT", "too many operations", _REFUSED, _TOO_LARGE),
    _Row("INVALID_ARGUMENT", "duplicate key", _REFUSED, "takes no key twice"),
    # A token lives five minutes in one member's memory; users or roles were changed meanwhile.
    # Both are seen before the transaction is applied.
    _Row("UNAUTHENTICATED", "auth token", _UNAVAILABLE, "forgot the login", _Then.LOGIN),
    _Row("INVALID_ARGUMENT", "store is old", _UNAVAILABLE, "forgot the login", _Then.LOGIN),
    # Who asks is settled before what is asked.
    _Row("INVALID_ARGUMENT", "user name is empty", _REFUSED, "wants user and password"),
    _Row("INVALID_ARGUMENT", "authentication failed", _REFUSED, "refuses the password"),
    _Row("PERMISSION_DENIED", "", _REFUSED, "does not permit this to the user"),
    # The member has found that its data differ from the others', and has stopped.
    _Row("DATA_LOSS", "corrupt cluster", _REFUSED, "has corrupt data"),
    # Only reads name a revision. If it is a future one, a snapshot was restored.
    _Row("OUT_OF_RANGE", "has been compacted", CompactedError, "dropped the revision"),
    _Row("OUT_OF_RANGE", "is a future revision", CompactedError, "lacks the revision"),
    # Whatever answers there did not know what was asked.
    _Row("UNIMPLEMENTED", "", _REFUSED, "is not an etcd of version 3"),
    # Has happened, or has not, or will: our deadline, "request timed out", "leader changed", a
    # broken connection, a member without quorum (UNKNOWN, after 7 s), an answer too large.
    _Row("", "", CommitUnknownError, "gave no answer that can be trusted"),
)


def _row_of(error: grpc.RpcError) -> _Row:
    status, details = error.code().name, error.details() or ""
    return next(row for row in _ERRORS if row.status in ("", status) and row.text in details)


def _failure(error: grpc.RpcError, endpoint: Endpoint, *, wrote: bool) -> StoreError:
    """Make the error for a call that may have written, or cannot have."""
    row = _row_of(error)
    kind = row.kind
    if kind is CommitUnknownError and not wrote:
        kind = StoreUnavailableError
    details = (error.details() or "")[:_LONGEST_DETAILS]
    return kind(f"etcd at {endpoint} {row.reason} ({error.code().name}: {details})")


class _Connection:
    """A channel to one endpoint; it connects with its first call."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        if endpoint.scheme == "https":
            credentials = grpc.ssl_channel_credentials(
                _content("ca_file", settings.ca_file),
                _content("key_file", settings.key_file),
                _content("cert_file", settings.cert_file),
            )
            self._channel = grpc.secure_channel(endpoint.target, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.target, _OPTIONS)
        self._kv = etcdrpc.KVStub(self._channel)
        self._metadata: tuple[tuple[str, str], ...] = ()  # the token of a user with password

    def log_in(self, username: str, password: str, timeout_s: float) -> None:
        """
        Get a token for the calls to come; there is none where etcd wants no password.

        Raises:
            grpc.RpcError: There is none to be had.
        """
        request = etcdrpc.AuthenticateRequest(name=username, password=password)
        try:
            answer = etcdrpc.AuthStub(self._channel).Authenticate(request, timeout=timeout_s)
        except grpc.RpcError as err:
            if "authentication is not enabled" in (err.details() or ""):
                return
            raise
        self._metadata = (("token", answer.token),)

    def call(self, method: str, request: Any, timeout_s: float, *, service: str = "KV") -> Any:
        """
        Call a method of one of etcd's services.

        Raises:
            grpc.RpcError: It failed.
            StoreUnavailableError: The channel was closed before.
        """
        stub = (
            self._kv if service == "KV" else getattr(etcdrpc, f"{service}Stub")(self._channel)
        )
        call = getattr(stub, method)
        try:
            return call(request, timeout=timeout_s, metadata=self._metadata)
        except ValueError as err:  # what gRPC says to a call on a closed channel
            raise StoreUnavailableError("the store was closed, nothing was sent") from err

    def close(self) -> None:
        self._channel.close()


def _content(option: str, file: str | None) -> bytes | None:
    try:
        return Path(file).read_bytes() if file else None
    except OSError as err:
        raise InvalidRequestError(f"{option} {file}: {err.strerror}", field=option) from err


class EtcdStore:
    """A `Store` on an etcd cluster. Making one connects to nothing; the first call does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = settings.addresses
        self._current = 0  # index of the endpoint to try first
        self._connections: dict[Endpoint, _Connection] = {}

    def read(
        self, fetch: Fetch, *, timeout_s: float = ATTEMPT_TIMEOUT_S, revision: int | None = None
    ) -> Reading:
        """See `Store.read`."""
        keys, ranges = tuple(fetch.keys), tuple(fetch.ranges)
        if revision is not None:
            assert (len(keys), len(ranges)) == (0, 1), "a revision goes with one range"
            request = messages.range_request(ranges[0], revision)
            answer = self._call("Range", request, timeout_s)
            found = {ranges[0]: messages.page(answer)}
            return Reading(found={}, ranges=found, revision=revision)
        answer = self._call("Txn", messages.read_request(keys, ranges), timeout_s)
        return messages.reading(keys, ranges, answer)

    def commit(self, txn: Txn, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Committed | Conflict:
        """See `Store.commit`."""
        keys, ranges = tuple({EPOCH_KEY, *txn.expect}), tuple(txn.unchanged)
        request = messages.commit_request(txn, keys, ranges)
        answer = self._call("Txn", request, timeout_s, writes=True)
        if answer.succeeded:
            return Committed(revision=answer.header.revision)
        return Conflict(current=messages.reading(keys, ranges, answer))

    def ask(
        self, endpoint: Endpoint, service: str, method: str, request: Any, *, timeout_s: float
    ) -> Any:
        """
        Ask one member, whichever is in use, what the port has no words for.

        Args:
            service: Of etcd: "KV", "Maintenance" ...
            request: One that changes nothing.

        Raises:
            StoreUnavailableError: No answer in time.
            StoreRefusedError: The answer is no.
        """
        deadline = time.monotonic() + timeout_s
        try:
            connection = self._connection_to(endpoint, deadline)
            left_s = deadline - time.monotonic()
            return connection.call(method, request, left_s, service=service)
        except grpc.RpcError as err:
            raise _failure(err, endpoint, wrote=False) from err

    def close(self) -> None:
        """See `Store.close`. A later call would connect anew."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _call(
        self, method: str, request: Any, timeout_s: float, *, writes: bool = False
    ) -> Any:
        """
        Call `method` at the endpoint in use.

        If that cannot be connected to, the others are tried once, in order.
        """
        deadline = time.monotonic() + timeout_s
        failure: StoreError = StoreUnavailableError("no time was left to ask etcd")
        cause: grpc.RpcError | None = None
        for _ in self._endpoints:
            if time.monotonic() >= deadline:
                break
            at = self._current
            endpoint = self._endpoints[at]
            wrote = False
            try:
                connection = self._connection_to(endpoint, deadline)
                wrote = writes
                return connection.call(method, request, deadline - time.monotonic())
            except grpc.RpcError as err:
                failure, cause = _failure(err, endpoint, wrote=wrote), err
            match _row_of(cause).then:
                case _Then.NEXT:
                    self._current = (at + 1) % len(self._endpoints)
                case _Then.LOGIN:
                    self._connections.pop(endpoint, None)
                    break
                case None:
                    break
        raise failure from cause

    def _connection_to(self, endpoint: Endpoint, deadline: float) -> _Connection:
        """
        Return the connection to `endpoint`; if threads race to make it, the first one's.

        Raises:
            grpc.RpcError: Logging in failed.
        """
        if known := self._connections.get(endpoint):
            return known
        made = _Connection(endpoint, self._settings)
        username, password = self._settings.username, self._settings.password
        if username and password:
            try:
                made.log_in(username, password, deadline - time.monotonic())
            except grpc.RpcError:
                made.close()
                raise
        kept = self._connections.setdefault(endpoint, made)
        if kept is not made:
            made.close()
        return kept


_: type[Store] = EtcdStore
