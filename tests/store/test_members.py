"""What members of a real etcd tell of themselves, and what is known of versions."""

import contextlib

import grpc
import pytest

from poolmgr.errors import StoreError, StoreRefusedError, StoreUnavailableError
from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.members import look, loses_data, update_for
from poolmgr.store.settings import Endpoint, Settings
from tests.support.grpc_proxy import GrpcProxy
from tests.support.rawetcd import RawEtcd


def asked(endpoint, *, timeout_s=5.0, **options):
    """What the member at an endpoint tells."""
    with contextlib.closing(EtcdStore(Settings(endpoints=(endpoint,), **options))) as store:
        return look(store, Endpoint.parse(endpoint), timeout_s=timeout_s)


def test_a_sound_member_tells_version_leader_size_and_no_alarm(raw, private_etcd):
    revision = raw.put("/a", "1")

    told = asked(private_etcd.endpoint)

    assert (private_etcd.version, (), "") == (told.version, told.alarms, told.failure)
    assert (told.member, revision) == (told.leader, told.revision)
    assert f"http://{private_etcd.endpoint}" == told.endpoint
    assert 0 < told.size_in_use <= told.size
    assert 0 < told.read_s < 5
    assert not told.is_learner


def test_a_quota_is_told_by_etcd_36_and_later(etcd_binary):
    with EmbeddedEtcd(etcd_binary, arguments=["--quota-backend-bytes=33554432"]) as etcd:
        told = asked(etcd.endpoint)

    known = tuple(map(int, etcd_binary.version.split(".")[:2])) >= (3, 6)
    assert (33554432 if known else None) == told.quota


def test_a_full_etcd_tells_its_alarm(full_etcd):
    assert ("NOSPACE",) == asked(full_etcd.endpoint).alarms


def test_nobody_at_an_endpoint_is_told():
    with pytest.raises(StoreUnavailableError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        asked("127.0.0.1:1")


def test_other_endpoints_are_not_asked_in_its_place(raw, etcd_endpoint):
    settings = Settings(endpoints=("127.0.0.1:1", etcd_endpoint))

    with contextlib.closing(EtcdStore(settings)) as store, pytest.raises(StoreUnavailableError):
        look(store, settings.addresses[0], timeout_s=2)


def test_a_member_whose_reads_fail_still_tells_the_rest(raw, private_etcd):
    with GrpcProxy(private_etcd.endpoint) as proxy:
        proxy.lose = {"read"}
        told = asked(proxy.endpoint)

    assert (None, private_etcd.version) == (told.read_s, told.version)
    assert "gave no answer that can be trusted" in told.failure


@pytest.fixture(scope="module")
def guarded(etcd_binary):
    """An etcd that wants a password; nobody's is "nothing", who may do nothing."""
    with EmbeddedEtcd(etcd_binary) as etcd, contextlib.closing(RawEtcd(etcd.endpoint)) as raw:
        raw.require_password("secret")
        raw.add_user("nobody", "nothing", root_password="secret")
        yield etcd.endpoint


def test_who_may_not_read_is_told_the_version_all_the_same(guarded):
    told = asked(guarded, username="nobody", password="nothing")

    assert "does not permit this to the user" in told.failure
    assert told.read_s is not None
    assert told.version


def test_a_wrong_password_is_refused(guarded):
    with pytest.raises(StoreRefusedError, match="refuses the password"):
        asked(guarded, username="root", password="wrong")


class Reticent(EtcdStore):
    """An etcd that tells its alarms to others."""

    def ask(self, endpoint, service, method, request, *, timeout_s):
        if method == "Alarm":
            raise StoreRefusedError("no")
        return super().ask(endpoint, service, method, request, timeout_s=timeout_s)


def test_alarms_are_not_known_where_etcd_does_not_tell_them(raw, etcd_endpoint):
    settings = Settings(endpoints=(etcd_endpoint,))
    with contextlib.closing(Reticent(settings)) as store:
        told = look(store, settings.addresses[0])

    assert told.alarms is None


def test_the_status_names_alarms_to_who_may_not_ask_for_them(full_etcd):
    settings = Settings(endpoints=(full_etcd.endpoint,))
    with contextlib.closing(Reticent(settings)) as store:
        told = look(store, settings.addresses[0])

    assert ("NOSPACE",) == told.alarms


@pytest.mark.parametrize(
    "refusal",
    [
        (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied"),
        (grpc.StatusCode.UNIMPLEMENTED, ""),
        (grpc.StatusCode.UNKNOWN, "anything"),
    ],
)
def test_what_is_refused_whole_is_an_error_of_the_store(raw, etcd_endpoint, refusal):
    with GrpcProxy(etcd_endpoint) as proxy:
        proxy.refuse = refusal
        with pytest.raises(StoreError):
            asked(proxy.endpoint)


@pytest.mark.parametrize(
    ("version", "loses"),
    [("3.4.44", False), ("3.5.0", True), ("3.5.2", True), ("3.5.3", False), ("3.6.0", False)],
)
def test_three_releases_lose_data(version, loses):
    assert loses == loses_data(version)


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("3.3.27", "3.7.1"),
        ("3.4.44", "3.7.1"),
        ("3.5.0", "3.5.33"),
        ("3.5.32", "3.5.33"),
        ("3.5.33", ""),
        ("3.6.13", "3.6.14"),
        ("3.6.14", ""),
        ("3.7.0", "3.7.1"),
        ("3.7.0-rc.1", "3.7.1"),
        ("3.7.2", ""),
        ("3.8.0", ""),
        ("4.0.0", ""),
        ("not a version", "3.7.1"),
    ],
)
def test_updates_are_wanted_up_to_the_release_without_known_holes(version, wanted):
    assert wanted == update_for(version)
