"""The store on a real etcd: the contract, what each error means, and what goes over the wire."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from poolmgr.core.txn import Committed, Conflict, Fetch, Range, Txn
from poolmgr.errors import (
    CommitUnknownError,
    CompactedError,
    InvalidRequestError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
)
from poolmgr.store import etcd
from poolmgr.store.embedded import EmbeddedEtcd, EtcdBinary
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.port import pages
from poolmgr.store.settings import Settings
from tests.store.contract import Compact, StoreContract, committed, put, read_range, value
from tests.support.counting import CountingStore, server_calls
from tests.support.grpc_proxy import GrpcProxy
from tests.support.rawetcd import RawEtcd

CREATE = Txn(expect={"/a": 0}, puts={"/a": b"1"})
READ = Fetch(keys=frozenset({"/a"}))


class TestEtcdStore(StoreContract):
    @pytest.fixture
    def compact(self, raw: RawEtcd) -> Compact:
        return raw.compact


@contextlib.contextmanager
def opened(*endpoints: str, **options: str) -> Iterator[EtcdStore]:
    store = EtcdStore(Settings(endpoints=endpoints, **options))
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def proxy(raw: RawEtcd, etcd_endpoint: str) -> Iterator[GrpcProxy]:
    with GrpcProxy(etcd_endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: GrpcProxy) -> Iterator[EtcdStore]:
    with opened(proxy.endpoint) as store:
        yield store


@pytest.fixture
def stopped(private_etcd: EmbeddedEtcd, store: EtcdStore) -> Iterator[EtcdStore]:
    """A store with an open connection to an etcd that does not run on for the time being."""
    store.read(READ)
    os.kill(private_etcd.pid, signal.SIGSTOP)
    try:
        while not all(state == "T" for state in thread_states(private_etcd.pid)):
            time.sleep(0.01)
        yield store
    finally:
        os.kill(private_etcd.pid, signal.SIGCONT)


def thread_states(pid: int) -> list[str]:
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    return [stat.read_text().rpartition(")")[2].split()[0] for stat in stats]


@pytest.fixture
def dead_endpoint() -> str:
    """An endpoint that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


# One error for each row of the table, in its order, as etcd and gRPC word them.
ERRORS: list[tuple[grpc.StatusCode, str, type[StoreError], type[StoreError]]] = [
    (
        grpc.StatusCode.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
        "Failed to connect to remote host: connect: Connection refused (111)",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.UNAVAILABLE,
        "errors resolving etcd.invalid:2379: [field:hostname lookup error: Domain name not found]",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.UNAVAILABLE,
        "DNS resolution failed for etcd.invalid:2379: C-ares status is not ARES_SUCCESS",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "etcdserver: too many requests",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.UNKNOWN,
        "etcdserver: too many requests",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "etcdserver: mvcc: database space exceeded",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "grpc: received message larger than max (3000039 vs. 2097152)",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: request is too large",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: too many operations in txn request",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: duplicate key given in txn request",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.UNAUTHENTICATED,
        "etcdserver: invalid auth token",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: revision of auth store is old",
        StoreUnavailableError,
        StoreUnavailableError,
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: user name is empty",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: authentication failed, invalid user ID or password",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.PERMISSION_DENIED,
        "etcdserver: permission denied",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.DATA_LOSS,
        "etcdserver: corrupt cluster",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision has been compacted",
        CompactedError,
        CompactedError,
    ),
    (
        grpc.StatusCode.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision is a future revision",
        CompactedError,
        CompactedError,
    ),
    (
        grpc.StatusCode.UNIMPLEMENTED,
        "unknown service etcdserverpb.KV",
        StoreRefusedError,
        StoreRefusedError,
    ),
    (
        grpc.StatusCode.UNAVAILABLE,
        "etcdserver: request timed out",
        CommitUnknownError,
        StoreUnavailableError,
    ),
]

# More that the last row takes in.
UNKNOWN = [
    (grpc.StatusCode.UNAVAILABLE, "etcdserver: leader changed"),
    (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader"),
    (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
    (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer"),
    (
        grpc.StatusCode.UNAVAILABLE,
        "GOAWAY received; Error code: 11; Debug Text: too_many_pings",
    ),
    (grpc.StatusCode.UNAVAILABLE, "ping timeout"),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"),
    (grpc.StatusCode.CANCELLED, "Channel closed!"),
    (grpc.StatusCode.INTERNAL, "Exception deserializing response!"),
    (grpc.StatusCode.UNKNOWN, "context deadline exceeded"),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (5 vs. 4)"),
    (grpc.StatusCode.INVALID_ARGUMENT, "something new"),
    (grpc.StatusCode.UNKNOWN, ""),
]


@pytest.fixture(scope="module")
def refusing() -> Iterator[GrpcProxy]:
    with GrpcProxy("127.0.0.1:1") as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("status", "details", "on_commit", "on_read"),
    ERRORS + [(*each, CommitUnknownError, StoreUnavailableError) for each in UNKNOWN],
)
def test_an_error_means_what_its_row_says(
    refusing: GrpcProxy, status, details, on_commit, on_read
):
    refusing.refuse = (status, details)

    with opened(refusing.endpoint) as store:
        with pytest.raises(StoreError) as commit:
            store.commit(CREATE)
        with pytest.raises(StoreError) as read:
            store.read(READ)

    assert (type(commit.value), type(read.value)) == (on_commit, on_read)
    assert isinstance(commit.value.__cause__, grpc.RpcError)
    assert commit.value.definite == (on_commit is not CommitUnknownError)
    assert read.value.definite
    assert refusing.endpoint in str(commit.value)


def test_every_row_of_the_table_has_its_error():
    def row_of(status: grpc.StatusCode, details: str) -> int:
        return next(
            at
            for at, row in enumerate(etcd._ERRORS)
            if row.status in ("", status.name) and row.text in details
        )

    rows = [row_of(status, details) for status, details, *_ in ERRORS]

    assert rows == list(range(len(etcd._ERRORS)))


def test_long_details_are_cut(refusing: GrpcProxy):
    refusing.refuse = (grpc.StatusCode.INTERNAL, "x" * 5000)

    with opened(refusing.endpoint) as store, pytest.raises(StoreError) as failure:
        store.read(READ)

    assert len(str(failure.value)) < 500


def test_making_a_store_connects_to_nothing(dead_endpoint: str):
    store = EtcdStore(Settings(endpoints=(dead_endpoint,)))

    store.close()


@pytest.mark.parametrize("call", [lambda s: s.read(READ), lambda s: s.commit(CREATE)])
def test_a_refused_connection_is_definite(dead_endpoint: str, call):
    with opened(dead_endpoint) as store, pytest.raises(StoreUnavailableError) as failure:
        call(store)

    assert "cannot be reached" in str(failure.value)


def test_no_proxy_is_used(store: EtcdStore, monkeypatch: pytest.MonkeyPatch):
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")

    committed(store.commit(CREATE))


def test_grpc_prints_nothing_of_its_own(tmp_path: Path):
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("no certificate")
    program = (
        "from poolmgr.core.txn import Fetch\n"
        "from poolmgr.store.etcd import EtcdStore\n"
        "from poolmgr.store.settings import Settings\n"
        f"settings = Settings(endpoints=('https://127.0.0.1:1',), ca_file={str(ca_file)!r})\n"
        "store = EtcdStore(settings)\n"
        "try: store.read(Fetch())\n"
        "except Exception as err: print(type(err).__name__)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("StoreUnavailableError\n", "")


def test_a_silent_etcd_leaves_a_commit_unknown_and_a_read_unavailable(stopped: EtcdStore):
    start = time.monotonic()
    with pytest.raises(CommitUnknownError):
        stopped.commit(CREATE, timeout_s=0.2)
    with pytest.raises(StoreUnavailableError):
        stopped.read(READ, timeout_s=0.2)

    assert time.monotonic() - start < 2


def test_closing_ends_calls_under_way(stopped: EtcdStore):
    threading.Timer(0.2, stopped.close).start()

    start = time.monotonic()
    with pytest.raises(CommitUnknownError):
        stopped.commit(CREATE, timeout_s=10)

    assert time.monotonic() - start < 5


def test_a_lost_reply_leaves_the_commit_applied_and_unknown(
    proxy: GrpcProxy, proxied: EtcdStore
):
    proxy.lose = {"commit"}
    with pytest.raises(CommitUnknownError):
        proxied.commit(CREATE)

    proxy.lose = set()
    second = proxied.commit(CREATE)

    assert isinstance(second, Conflict)
    found = second.current.found["/a"]
    assert found is not None
    assert found.value == b"1"


def test_no_time_left_means_that_nothing_is_sent(proxy: GrpcProxy, proxied: EtcdStore):
    with pytest.raises(StoreUnavailableError):
        proxied.commit(CREATE, timeout_s=0)

    assert proxy.counts == {"read": 0, "commit": 0, "other": 0}


def test_each_call_is_one_call_to_etcd(proxy: GrpcProxy, proxied: EtcdStore):
    revision = committed(proxied.commit(CREATE))
    assert proxy.counts == {"read": 0, "commit": 1, "other": 0}

    assert isinstance(proxied.commit(CREATE), Conflict)
    assert isinstance(proxied.commit(Txn(expect={"/a": revision})), Committed)
    assert proxy.counts == {"read": 0, "commit": 3, "other": 0}

    ranges = frozenset({Range.prefix("/r/"), Range.prefix("/s/")})
    proxied.read(Fetch(keys=frozenset({"/a", "/b"}), ranges=ranges))
    assert proxy.counts == {"read": 1, "commit": 3, "other": 0}

    read_range(proxied, Range.prefix("/r/"), revision=revision)
    assert proxy.counts == {"read": 2, "commit": 3, "other": 0}


def test_the_counters_of_tests_agree_with_etcds_own(
    proxy: GrpcProxy, proxied: EtcdStore, etcd_endpoint: str
):
    counting = CountingStore(proxied)
    before = server_calls(etcd_endpoint)

    counting.commit(CREATE)
    counting.read(READ)
    list(pages(counting, Range.prefix("/a")))

    calls = server_calls(etcd_endpoint) - before
    assert (counting.reads, counting.commits) == (2, 1)
    assert proxy.counts == {"read": 2, "commit": 1, "other": 0}
    assert calls == {"etcdserverpb.KV/Txn": 3}


def test_a_range_larger_than_grpcs_usual_limit_is_read(store: EtcdStore):
    for n in range(6):
        put(store, {f"/r/{n}": b"x" * 1_000_000})

    page = read_range(store, Range.prefix("/r/"))

    assert len(page.items) == 6


def test_an_endpoint_that_refuses_gives_way_to_the_next(dead_endpoint: str, proxy: GrpcProxy):
    with opened(dead_endpoint, proxy.endpoint) as store:
        committed(store.commit(CREATE))

    assert proxy.counts["commit"] == 1


@pytest.mark.parametrize("status_and_details", [each[:2] for each in ERRORS[:3]])
def test_a_commit_that_was_certainly_not_sent_goes_to_the_next_endpoint(
    refusing: GrpcProxy, proxy: GrpcProxy, status_and_details
):
    refusing.refuse = status_and_details

    with opened(refusing.endpoint, proxy.endpoint) as store:
        committed(store.commit(CREATE))

    assert proxy.counts["commit"] == 1


def test_the_endpoint_in_use_stays_in_use(etcd_endpoint: str, raw: RawEtcd):
    with (
        GrpcProxy(etcd_endpoint) as first,
        GrpcProxy(etcd_endpoint) as second,
        opened(first.endpoint, second.endpoint) as store,
    ):
        store.read(READ)
        store.read(READ)
        assert (first.counts["read"], second.counts["read"]) == (2, 0)

        first.close()
        while not second.counts["read"]:
            with contextlib.suppress(StoreUnavailableError):
                store.read(READ)  # may go out on the old connection before its end is noticed
        store.read(READ)
        assert (first.counts["read"], second.counts["read"]) == (2, 2)


def test_a_commit_that_may_have_happened_is_not_sent_to_another_endpoint(
    etcd_endpoint: str, raw: RawEtcd
):
    with (
        GrpcProxy(etcd_endpoint) as first,
        GrpcProxy(etcd_endpoint) as second,
        opened(first.endpoint, second.endpoint) as store,
    ):
        first.lose = {"commit"}
        with pytest.raises(CommitUnknownError):
            store.commit(CREATE)

        assert (first.counts["commit"], second.counts["commit"]) == (1, 0)


def test_when_no_endpoint_can_be_reached_each_was_tried(dead_endpoint: str):
    with (
        opened(dead_endpoint, "127.0.0.1:1") as store,
        pytest.raises(StoreUnavailableError) as failure,
    ):
        store.read(READ)

    assert "127.0.0.1:1" in str(failure.value)


@pytest.mark.parametrize("field", ["ca_file", "cert_file", "key_file"])
def test_a_tls_file_that_cannot_be_read_is_named(tmp_path: Path, field: str):
    files = {name: str(tmp_path / name) for name in ("ca_file", "cert_file", "key_file")}
    for name, file in files.items():
        if name != field:
            Path(file).write_text("")

    with (
        opened("https://127.0.0.1:1", **files) as store,
        pytest.raises(InvalidRequestError) as failure,
    ):
        store.read(READ)

    assert failure.value.field == field
    assert files[field] in str(failure.value)


def test_a_password_is_no_hindrance_where_none_is_wanted(raw: RawEtcd, etcd_endpoint: str):
    with opened(etcd_endpoint, username="root", password="secret") as store:
        committed(store.commit(CREATE))


@pytest.fixture(scope="module")
def guarded(etcd_binary: EtcdBinary) -> Iterator[str]:
    """An etcd that wants a password: root's is "secret", nobody's "nothing" (who may do nothing)."""
    with EmbeddedEtcd(etcd_binary) as etcd, contextlib.closing(RawEtcd(etcd.endpoint)) as raw:
        raw.require_password("secret")
        raw.add_user("nobody", "nothing", root_password="secret")
        yield etcd.endpoint


def test_a_password_opens_an_etcd_that_wants_one(guarded: str):
    with opened(guarded, username="root", password="secret") as store:
        put(store, {"/a": "1"})

        assert value(store, "/a") == b"1"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "wants user and password"),
        ({"username": "root", "password": "wrong"}, "refuses the password"),
        ({"username": "nobody", "password": "nothing"}, "does not permit"),
    ],
)
def test_who_may_not_is_refused(guarded: str, options: dict[str, str], says: str):
    with opened(guarded, **options) as store:
        with pytest.raises(StoreRefusedError) as commit:
            store.commit(CREATE)
        with pytest.raises(StoreRefusedError) as read:
            store.read(READ)

    assert says in str(commit.value)
    assert says in str(read.value)
    assert not options or options["password"] not in str(commit.value)


def test_a_forgotten_login_is_renewed_by_the_next_call(guarded: str):
    with GrpcProxy(guarded) as proxy:
        with opened(proxy.endpoint, username="root", password="secret") as store:
            store.read(READ)
            proxy.refuse = (grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")
            with pytest.raises(StoreUnavailableError):
                store.read(READ)
            proxy.refuse = None
            proxy.reset()
            store.read(READ)

        assert proxy.counts == {"read": 1, "commit": 0, "other": 1}


def test_a_full_etcd_refuses_writes_and_says_what_to_do(etcd_binary: EtcdBinary):
    quota = "--quota-backend-bytes=16777216"
    with (
        EmbeddedEtcd(etcd_binary, arguments=[quota]) as etcd,
        opened(etcd.endpoint) as store,
        pytest.raises(StoreRefusedError, match="alarm disarm"),
    ):
        fill(store)


def fill(store: EtcdStore) -> None:
    for _ in range(200):  # etcd looks at its size now and then only
        put(store, {"/a": b"x" * 1_000_000})
