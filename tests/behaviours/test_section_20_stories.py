"""Sections 20.1, 20.3 and 20.7: what takes several steps, or no poolctl."""

import json
from dataclasses import dataclass

import pytest

from poolmgr.core import records
from poolmgr.core.config import IPAMConfig
from poolmgr.core.request import AutoAssign, ReleaseByHandle
from poolmgr.core.txn import Fetch
from poolmgr.ipam import IPAM
from poolmgr.store.memory import MemoryStore
from tests.behaviours.row import Row, each
from tests.support.poolctl import manifest, on, put, stored
from tests.support.world import stored_resource

V4 = {"cidr": "1.2.3.0/24"}
TUNNELLED = {**V4, "ipipMode": "Always"}
V6 = {"cidr": "2001::/120", "natOutgoing": True}


@dataclass(frozen=True, slots=True)
class Setting(Row):
    """
    A configuration that somebody wants to store.

    Attributes:
        stored: What is stored afterwards; None = nothing.
        says: What the refusal holds.
    """

    options: tuple[str, ...]
    stored: IPAMConfig | None = None
    says: str = ""


SETTINGS = (
    Setting(
        "CF-13",
        ("--auto-allocate-blocks=false", "--strictaffinity=true"),
        IPAMConfig(auto_allocate_blocks=False, strict_affinity=True),
    ),
    Setting(
        "CF-14",
        ("--auto-allocate-blocks=false",),
        says="are both false",
    ),
    Setting("CF-15", ("--max-blocks-per-host=2",), says="BlocksPerHost is 2, but"),
)

PAST, STEPS, ORDER = Row("PC-13"), Row("PC-21"), Row("PC-22")
NOW, STATUS = Row("PC-24"), Row("PC-25")
LEFT_ALONE, TOO_COARSE, RELEASED, BESIDE = map(Row, ("PC-50", "PC-51", "PC-52", "PC-53"))
DEFAULTS, NOT_STORED = Row("CF-11"), Row("CF-12")

ROWS = (
    *SETTINGS,
    *(PAST, STEPS, ORDER, NOW, STATUS),
    *(LEFT_ALONE, TOO_COARSE, RELEASED, BESIDE),
    *(DEFAULTS, NOT_STORED),
)

POOLS = records.resource_range("ippools")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    """Delete pools without giving other programs time to notice; there are none."""
    monkeypatch.setattr("poolctl.resources.changes._DISABLE_PAUSE_S", 0)


@each(SETTINGS)
def test_a_configuration_is_stored_or_its_field_is_named(row, program, raw):
    result = program("ipam", "configure", *row.options)

    now = raw.get(records.CONFIG_KEY)
    assert (0 if row.stored else 1) == result.returncode
    assert row.says in result.stderr
    assert row.stored == (records.decode_config(now) if now else None)


@each([DEFAULTS])
def test_a_configuration_that_is_not_stored_has_defaults(row):
    config = records.decode_config(None)

    assert (True, False) == (config.auto_allocate_blocks, config.strict_affinity)


def use(store, cidr: str) -> None:
    """Give the handle "h" an address of a pool."""
    request = AutoAssign(host="node-a", handle="h", count={4: 1}, pools={4: (cidr,)})
    assert len(IPAM(store).auto_assign(request).allocations) == 1


def done(store, *call: str, name: str = "ippool-1", **spec) -> str:
    """Run poolctl with a pool as input, and return what it says."""
    stdin = manifest("IPPool", name, spec) if spec else ""
    arguments = (*call, "-f", "-") if spec else call
    return on(store)(*arguments, stdin=stdin).output


@each([NOT_STORED])
def test_reading_the_defaults_does_not_store_them(row):
    store = MemoryStore()
    done(store, "create", **V4)
    use(store, V4["cidr"])

    assert records.CONFIG_KEY not in stored(store)


BLOCK = "/calico/ipam/v2/assignment/ipv4/block/1.2.3.0-26"


@pytest.fixture
def ran(program):
    """Runs poolctl, successfully unless told otherwise, with a pool as input."""

    def run(*call: str, name: str = "ippool-1", status: int = 0, **spec) -> str:
        arguments = (*call, "-f", "-") if spec else call
        result = program(*arguments, stdin=manifest("IPPool", name, spec) if spec else "")

        assert status == result.returncode, result.stderr
        return result.stdout + result.stderr

    return run


@pytest.fixture
def orphaned(store, ran) -> IPAM:
    """A store with a block in use whose pool is gone."""
    ran("create", cidr="1.2.3.0/26")
    use(store, "1.2.3.0/26")
    ran("delete", "ippool", "ippool-1")
    return IPAM(store)


@each([LEFT_ALONE])
def test_a_block_in_use_survives_the_pools_that_come_and_go(row, orphaned, ran, raw):
    ran("create", cidr="1.2.3.0/26", blockSize=26)
    ran("delete", "ippool", "ippool-1")

    assert "h" == json.loads(raw.get(BLOCK))["attributes"][0]["handle_id"]


@each([TOO_COARSE])
def test_a_pool_cannot_have_blocks_of_another_size_than_one_that_exists(row, orphaned, ran):
    said = ran("create", status=1, cidr="1.2.2.0/23", blockSize=28)

    assert "spec.blockSize: 28 does not fit block 1.2.3.0/26" in said


@each([RELEASED])
def test_the_last_address_of_a_block_without_host_takes_the_block_along(
    row, orphaned, ran, raw
):
    orphaned.release_by_handle(ReleaseByHandle(handles=("h",)))

    assert raw.get(BLOCK) is None
    assert "created" in ran("create", cidr="1.2.3.0/26", blockSize=28)


@each([BESIDE])
def test_pools_beside_each_other_have_their_own_block_sizes(row, store, ran):
    beside = {"cidr": "1.2.4.0/24", "blockSize": 29}
    ran("create", **V4)
    use(store, V4["cidr"])
    ran("create", name="ippool-2", **beside)
    use(store, beside["cidr"])

    assert "configured" in ran("replace", name="ippool-2", **beside, natOutgoing=True)
    assert "deleted" in ran("delete", "ippool", "ippool-1")
    assert "deleted" in ran("delete", "ippool", "ippool-2")


def at(store, revision: int | None = None) -> dict[str, dict]:
    """Read the pools as they were at a revision: name -> spec."""
    page = store.read(Fetch(ranges=frozenset({POOLS})), revision=revision).ranges[POOLS]
    values = [json.loads(found.value) for _, found in page.items]
    return {value["metadata"]["name"]: value["spec"] for value in values}


def revision_of(store) -> int:
    return store.read(Fetch(ranges=frozenset({POOLS}))).revision


def events(store, since: int) -> list[tuple[str, str]]:
    """List what was added, modified and deleted after a revision."""
    found = []
    for revision in range(since + 1, revision_of(store) + 1):
        old, new = at(store, revision - 1), at(store, revision)
        found += [("deleted", name) for name in old.keys() - new.keys()]
        found += [("added", name) for name in new.keys() - old.keys()]
        found += [("modified", name) for name in old if old[name] != new.get(name, old[name])]
    return found


@each([PAST])
def test_a_pool_can_be_read_as_it_was(row, store):
    done(store, "create", **TUNNELLED)
    revision = revision_of(store)
    done(store, "replace", **V4, vxlanMode="Always")

    modes = [pools["ippool-1"]["ipipMode"] for pools in (at(store, revision), at(store))]
    assert ["Always", "Never"] == modes


@each([STEPS])
def test_a_pool_that_is_deleted_is_disabled_first(row, store):
    done(store, "create", **TUNNELLED)
    since = revision_of(store)
    done(store, "create", name="ippool-2", **V6)
    done(store, "delete", "ippool", "ippool-1")

    steps = [("added", "ippool-2"), ("modified", "ippool-1"), ("deleted", "ippool-1")]
    assert steps == events(store, since)
    assert at(store, since + 2)["ippool-1"]["disabled"] is True


@each([ORDER])
def test_changes_are_seen_in_their_order(row, store):
    since = revision_of(store)
    done(store, "create", **TUNNELLED)
    done(store, "create", name="ippool-2", **V6)
    done(store, "delete", "ippool", "ippool-1")
    done(store, "replace", name="ippool-2", **{**V6, "natOutgoing": False})

    assert [
        ("added", "ippool-1"),
        ("added", "ippool-2"),
        ("modified", "ippool-1"),
        ("deleted", "ippool-1"),
        ("modified", "ippool-2"),
    ] == events(store, since)


@each([NOW])
def test_a_first_look_sees_what_is_there_now(row, store):
    done(store, "create", name="ippool-2", **V6)
    before_again = at(store).keys()
    done(store, "create", **TUNNELLED)

    assert ({"ippool-2"}, {"ippool-1", "ippool-2"}) == (before_again, at(store).keys())


@each([STATUS])
def test_an_update_of_the_spec_keeps_the_status(row):
    key, raw = stored_resource("ippools", "IPPool", "ippool-1", V4)
    status = {"conditions": [{"type": "Ready", "status": "True", "reason": "PoolReady"}]}
    store = MemoryStore()
    put(store, {key: json.dumps({**json.loads(raw), "status": status}).encode()})

    assert "configured" in done(store, "replace", **V4, natOutgoing=True)

    after = json.loads(stored(store)[key])
    assert (status, True) == (after["status"], after["spec"]["natOutgoing"])
