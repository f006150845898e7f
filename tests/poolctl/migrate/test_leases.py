"""`poolctl migrate host-local`: what becomes of each lease."""

import json
import time

import pytest

from poolctl.report import REFUSED, UNAVAILABLE
from poolmgr.cidr import parse_address
from poolmgr.cni import direct
from poolmgr.core.request import OwnerOf, ReleaseByHandle
from poolmgr.errors import RefusedError
from poolmgr.ipam import IPAM
from poolmgr.survey import Audit
from tests.support.assigned import attach
from tests.support.poolctl import manifest, pool, stored


@pytest.fixture
def data(tmp_path):
    """The directory of host-local; its argument are leases of a network."""

    def write(network="net-a", **leases):
        directory = tmp_path / "networks" / network
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("lock", "last_reserved_ip.0"):
            (directory / name).write_text("10.10.0.9")
        for name, text in leases.items():
            (directory / name).write_bytes(text.encode())
        return tmp_path / "networks"

    return write


@pytest.fixture
def run(program, poolctl, etcd_endpoint, tmp_path):
    poolctl("apply", "-f", "-", stdin=pool())
    poolctl("apply", "-f", "-", stdin=pool("pool-6", "fd00:10::/64"))

    def run(*args, networks=("net-a",)):
        named = [word for network in networks for word in ("--network", network)]
        given = (
            "--data-dir",
            str(tmp_path / "networks"),
            "--nodename",
            "node-a",
            *named,
            *args,
        )
        return program("migrate", "host-local", *given, ETCD_ENDPOINTS=etcd_endpoint)

    return run


def owner_of(store, address):
    return IPAM(store).owner_of(OwnerOf(address=parse_address(address)))


def cni(command, container, etcd_endpoint, **more):
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": "/proc/1/ns/net",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    conf = {
        "cniVersion": "1.0.0",
        "name": "net-a",
        "type": "ptp",
        "nodename": "node-a",
        "etcd_endpoints": f"http://{etcd_endpoint}",
        "ipam": {"type": "poolmgr-ipam", "assign_ipv6": True},
        **more,
    }
    return direct.run(
        {**env, "ETCD_ENDPOINTS": "unused"},
        json.dumps(conf).encode,
        started=time.monotonic(),
        alive=lambda: True,
    )


def test_a_dry_run_comes_first(run, data, store):
    data(**{"10.10.0.5": "c1\r\neth0", "10.99.0.1": "c2\r\neth0"})
    before = stored(store)

    result = run()

    assert (REFUSED, "") == (result.returncode, result.stderr)
    assert "10.10.0.5 would be imported: net-a/c1/eth0" == result.stdout.splitlines()[0]
    assert "2 leases on node-a: 1 not imported, 1 would be imported" in result.stdout
    assert "nothing was written; --apply imports" in result.stdout
    assert before == stored(store)


def test_running_pods_keep_their_addresses(run, data, store, etcd_endpoint):
    data(**{"10.10.0.5": "c1\r\neth0", "fd00:10::5": "c1\r\neth0", "10.10.0.6": "c2\r\neth0"})

    result = run("--apply")
    status, answer = cni("ADD", "c1", etcd_endpoint)
    addresses = [each["address"] for each in json.loads(answer)["ips"]]
    checked = cni("CHECK", "c1", etcd_endpoint, prevResult={"ips": json.loads(answer)["ips"]})
    deleted = cni("DEL", "c1", etcd_endpoint)

    assert (0, "") == (result.returncode, result.stderr)
    assert "3 leases on node-a: 3 imported\n" in result.stdout
    assert (0, ["10.10.0.5/16", "fd00:10::5/64"]) == (status, addresses)
    assert [(0, ""), (0, "")] == [checked, deleted]
    with pytest.raises(RefusedError, match="not assigned"):
        owner_of(store, "10.10.0.5")
    assert "net-a.c2" == owner_of(store, "10.10.0.6").handle
    assert [] == list(Audit(store))


def test_what_is_stored_is_what_an_add_stores(run, data, store):
    data(**{"10.10.0.5": "c1\r\neth0"})

    run("--yes")
    owner = owner_of(store, "10.10.0.5")

    assert "net-a.c1" == owner.handle
    assert {"node": "node-a", "network": "net-a", "interface": "eth0"} == {
        key: value for key, value in owner.attributes.items() if key != "timestamp"
    }
    assert owner.attributes["timestamp"].endswith(" +0000 UTC")


def test_nothing_is_imported_twice(run, data, store):
    data(**{"10.10.0.5": "c1\r\neth0", "10.10.0.6": "c2"})
    run("--apply")
    before = stored(store)

    again = run("--apply")

    assert 0 == again.returncode
    assert "2 leases on node-a: 2 imported already\n" in again.stdout
    assert before == stored(store)


def test_a_lease_without_interface_is_released_with_its_container(run, data, store):
    data(**{"10.10.0.5": "c1"})
    run("--apply")
    attributes = owner_of(store, "10.10.0.5").attributes

    IPAM(store).release_by_handle(ReleaseByHandle(handles=("net-a.c1",)))

    assert {"node", "timestamp"} == attributes.keys()
    with pytest.raises(RefusedError):
        owner_of(store, "10.10.0.5")


def test_a_network_may_get_another_name(run, data, store):
    data("old", **{"10.10.0.5": "c1\r\neth0"})

    result = run("--apply", networks=["old=new"])

    assert "10.10.0.5 imported: new/c1/eth0\n" in result.stdout
    assert "new.c1" == owner_of(store, "10.10.0.5").handle


def test_what_cannot_be_imported_is_told_with_its_reason(run, data, store, poolctl):
    poolctl(
        "apply",
        "-f",
        "-",
        stdin=manifest("IPReservation", "r", {"reservedCIDRs": ["10.10.0.8/32"]}),
    )
    poolctl("apply", "-f", "-", stdin=pool("off", "10.20.0.0/24", disabled=True))
    taken, mine = attach(store, "other", network="net-b"), attach(store, "c8")
    bad = {
        "10.99.0.1": ("c2\r\neth0", "is in no enabled pool; poolctl get ippools"),
        "10.20.0.1": ("c3\r\neth0", "is in no enabled pool: off: disabled"),
        "10.10.0.8": ("c4\r\neth0", "IPReservation r covers it"),
        taken: ("c5\r\neth0", "is already assigned to handle net-b.other"),
        mine: ("c6\r\neth0", "is already assigned to handle net-a.c8"),
        "10.10.0.9": ("c1\r\neth0", "the same interface asks for 10.10.0.9"),
        "10.10.0.10": ("", "'' is not a container id"),
        "notes": ("c7", "its file is not named after an address"),
    }
    data(**{"10.10.0.5": "c1\r\neth0"}, **{name: text for name, (text, _) in bad.items()})

    result = run("--apply")

    assert (REFUSED, "") == (result.returncode, result.stderr)
    assert "9 leases on node-a: 1 imported, 8 not imported" in result.stdout
    lines = {line.partition(" ")[0]: line for line in result.stdout.splitlines()}
    for name, (_, reason) in bad.items():
        assert f"{name} not imported: " in lines[name]
        assert reason in lines[name]
    assert "net-b.other" == owner_of(store, taken).handle


def test_two_networks_with_one_address_are_found_by_a_dry_run_too(run, data, store):
    data("a", **{"10.10.0.5": "c1\r\neth0"})
    data("b", **{"10.10.0.5": "c1\r\neth0"})

    dry, real = (run(*more, networks=["a", "b"]) for more in ([], ["--apply"]))

    for result in (dry, real):
        assert REFUSED == result.returncode
        assert "10.10.0.5 not imported: b: network a has the same address" in result.stdout
    assert "a.c1" == owner_of(store, "10.10.0.5").handle


def test_no_leases_are_no_mistake(run, data):
    data()

    result = run("--apply")

    assert (0, "0 leases on node-a: none\n") == (result.returncode, result.stdout)


def test_a_directory_that_is_not_there_is_refused_before_anything_is_written(run, data, store):
    data("a", **{"10.10.0.5": "c1\r\neth0"})
    before = stored(store)

    result = run("--apply", networks=["a", "typo"])

    assert (REFUSED, "", 1) == (result.returncode, result.stdout, result.stderr.count("\n"))
    assert (
        "/networks/typo is not readable: No such file or directory; --data-dir "
        in result.stderr
    )
    assert before == stored(store)


def test_without_etcd_nothing_is_said_to_be_imported(program, data):
    directory = data(**{"10.10.0.5": "c1\r\neth0"})
    args = ("--data-dir", str(directory), "--network", "net-a")

    result = program(
        "--timeout", "1", "migrate", "host-local", *args, ETCD_ENDPOINTS="127.0.0.1:1"
    )

    assert (UNAVAILABLE, "") == (result.returncode, result.stdout)


@pytest.mark.parametrize("first", ["c1\r\neth0", "c1"])
def test_two_addresses_of_an_interface_are_found_by_a_dry_run_too(run, data, first):
    data(**{"10.10.0.5": first, "10.10.0.6": "c1\r\neth0", "fd00:10::5": "c1\r\neth0"})

    dry, real = run(), run("--apply")

    assert [REFUSED, REFUSED] == [dry.returncode, real.returncode]
    assert "10.10.0.6 not imported: net-a: address 10.10.0.5 is already" in real.stdout
    assert real.stdout.splitlines() == [
        line.replace("would be imported", "imported").replace(
            "1 not imported, 2 imported", "2 imported, 1 not imported"
        )
        for line in dry.stdout.splitlines()
        if not line.startswith("nothing was written")
    ]
