"""An etcd with TLS, for the tests of `poolctl doctor`."""

import pytest

from poolctl.doctor.greeting import greet
from tests.support.authority import Authority, etcd_with_tls, settings_for


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def client_pair(authority):
    """What lets a client in; it expires in 400 days."""
    return authority.signed("client", days=400)


@pytest.fixture(scope="session")
def tls_etcd(etcd_binary, authority, client_pair, tmp_path_factory):
    """URL of an etcd with TLS, whose certificate expires in 20 days."""
    server = authority.signed("server", days=20)
    data = tmp_path_factory.mktemp("etcd-tls")
    with etcd_with_tls(etcd_binary.path, authority, server, data / "data") as url:
        settings = settings_for(url, authority, client_pair)
        # It listens before it serves.
        assert greet(settings.addresses[0], settings, timeout_s=20).date
        yield url
