"""Fixtures and options for all tests."""

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from poolmgr.errors import StoreUnavailableError
from poolmgr.store.embedded import EmbeddedEtcd, EtcdBinary, find_etcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings
from tests.support.rawetcd import RawEtcd

pytest.register_assert_rewrite("tests.store.contract")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("poolmgr")
    group.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    group.addoption(
        "--update-golden", action="store_true", help="rewrite expected outputs with actual ones"
    )


def pytest_configure() -> None:
    """Heed Ctrl-C: a shell's background jobs ignore it, and what they start inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs an etcd by the fixtures it uses, before -m selects; skip what is slow."""
    for item in items:
        if "etcd_binary" in getattr(item, "fixturenames", ()):
            item.add_marker("etcd")
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; runs with --slow"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was compared, skipped and why, so that a green run cannot hide what it left out."""
    replayed = [
        text
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, text in report.user_properties
        if name == "replayed"
    ]
    if replayed:
        terminalreporter.section("recordings replayed, in steps")
    for text in sorted(replayed):
        terminalreporter.line(text)
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple)
    )
    terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5} {reason}")
    if not reasons:
        terminalreporter.line("nothing was skipped")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether files with expected output are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def etcd_binary() -> EtcdBinary:
    """The etcd that tests start."""
    try:
        return find_etcd()
    except StoreUnavailableError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="session")
def private_etcd(etcd_binary: EtcdBinary) -> Iterator[EmbeddedEtcd]:
    """A private etcd that all tests share."""
    with EmbeddedEtcd(etcd_binary) as etcd:
        yield etcd


@pytest.fixture(scope="session")
def full_etcd(etcd_binary: EtcdBinary) -> Iterator[EmbeddedEtcd]:
    """An etcd that has no space left, and has raised the alarm of it."""
    quota = "--quota-backend-bytes=4194304"
    with EmbeddedEtcd(etcd_binary, arguments=[quota]) as etcd:
        other = RawEtcd(etcd.endpoint)
        with contextlib.suppress(grpc.RpcError):
            for number in range(64):
                other.put(f"/filler/{number}", b"x" * 524_288)
        other.close()
        yield etcd


@pytest.fixture(scope="session")
def etcd_endpoint(private_etcd: EmbeddedEtcd) -> str:
    """Where the private etcd listens: "127.0.0.1:PORT"."""
    return private_etcd.endpoint


@pytest.fixture
def raw(etcd_endpoint: str) -> Iterator[RawEtcd]:
    """Another program at the private etcd, which is empty at first."""
    other = RawEtcd(etcd_endpoint)
    other.delete_everything()
    yield other
    other.close()


@pytest.fixture
def settings(raw: RawEtcd, etcd_endpoint: str) -> Settings:
    """How to reach the private etcd, which is empty at first."""
    return Settings(endpoints=(etcd_endpoint,))


@pytest.fixture
def store(settings: Settings) -> Iterator[EtcdStore]:
    """A store on the private etcd, which is empty at first."""
    opened = EtcdStore(settings)
    yield opened
    opened.close()
