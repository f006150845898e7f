"""Section 19.1: pools as resources on the command line, through the real executable on a real etcd."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import yaml

from tests.behaviours.row import Row, each
from tests.support.poolctl import POOL_A
from tests.support.world import stored_resource

V4 = {
    "cidr": "10.0.1.0/24",
    "blockSize": 27,
    "ipipMode": "Always",
    "vxlanMode": "Never",
    "nodeSelector": "foo == 'bar'",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}
V6 = {
    "cidr": "fed0:8001::/64",
    "blockSize": 123,
    "ipipMode": "Never",
    "vxlanMode": "Never",
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}
ONE, TWO = "ippool-name1", "ippool-name2"
TABLE = f"NAME           CIDR          SELECTOR\n{ONE}   10.0.1.0/24   foo == 'bar'\n"


def pool(name: str, spec: dict, **metadata: object) -> dict:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


@dataclass(frozen=True, slots=True)
class Call(Row):
    """
    One call on a store with some pools.

    Attributes:
        pools: Name -> spec, of those that are there before.
        stdout: All of it; None = of no concern.
        says: What is found on stderr.
        left: Names of the pools afterwards; None = those before.
    """

    args: tuple[str, ...]
    pools: dict[str, dict] = field(default_factory=dict)
    status: int = 0
    stdout: str | None = None
    says: tuple[str, ...] = ()
    left: tuple[str, ...] | None = None


BOTH = {ONE: V4, TWO: V6}
LINES = (
    "NAME           CIDR             SELECTOR\n"
    f"{ONE}   10.0.1.0/24      foo == 'bar'\n"
    f"{TWO}   fed0:8001::/64   all()\n"
)

CALLS = (
    Call(
        "CT-33", ("get", "ippool", "-o", "name"), BOTH, stdout=f"ippool/{ONE}\nippool/{TWO}\n"
    ),
    Call("CT-34", ("get", "ippool", ONE), {ONE: V4}, stdout=TABLE),
    Call(
        "CT-36", ("delete", "ippool", ONE), BOTH, stdout=f"ippool/{ONE} deleted\n", left=(TWO,)
    ),
    Call("CT-36", ("get", "ippool", "-o", "jsonpath={.items}"), stdout="[]"),
    Call("CT-36", ("delete", "ippool", ONE), status=1, says=(f"ippool/{ONE}: does not exist",)),
    # One table, in the order of the names.
    Call("CT-37", ("get", "ippool", ONE, TWO, "--export"), BOTH, stdout=LINES),
    Call(
        "CT-38",
        ("get", "ippool", ONE, "blah", TWO, "--export"),
        BOTH,
        status=1,
        stdout=LINES,
        says=("ippool/blah does not exist",),
    ),
    Call(
        "CT-39",
        ("delete", "ippool", ONE, "blah", TWO),
        BOTH,
        status=1,
        stdout=f"ippool/{ONE} deleted\nippool/{TWO} deleted\n",
        says=("ippool/blah: does not exist",),
        left=(),
    ),
    Call(
        "CT-41",
        ("get", "IPPool", ONE, "--namespace", "default", "-o", "yaml"),
        {ONE: V4},
        status=2,
        stdout="",
        says=("'--namespace'", "has a namespace"),
    ),
    Call(
        "CT-41",
        ("get", "IPPool", "--all-namespaces"),
        {ONE: V4},
        status=2,
        stdout="",
        says=("'--all-namespaces'", "has a namespace"),
    ),
    Call("CT-44", ("get", "ippool", "-m"), status=2, says=("-m", "poolctl get --help")),
    Call("CT-44", ("get", "ippool", "--unknown-flag"), status=2, says=("--unknown-flag",)),
)
GET_BACK = Row("CT-32")
BY_FILE = Row("CT-36")
STALE = Row("CT-42")
PATCHED = Row("CT-43")
OTHER_VERSION = Row("CT-45")

ROWS = (*CALLS, GET_BACK, BY_FILE, STALE, PATCHED, OTHER_VERSION)

Run = Callable[..., object]


def given(raw, pools: dict[str, dict]) -> None:
    for name, spec in pools.items():
        raw.put(*stored_resource("ippools", "IPPool", name, spec))


def names(raw) -> list[str]:
    folder = POOL_A.rpartition("/")[0]
    return sorted(key.rpartition("/")[2] for key in raw.dump() if key.startswith(f"{folder}/"))


@each(CALLS)
def test_a_call_shows_and_leaves_this(row, program, raw):
    given(raw, row.pools)

    result = program(*row.args)

    assert row.status == result.returncode, result.stderr
    assert result.stdout == (result.stdout if row.stdout is None else row.stdout)
    assert [] == [part for part in row.says if part not in result.stderr]
    assert sorted(row.pools if row.left is None else row.left) == names(raw)


@each([GET_BACK])
def test_what_was_created_is_shown_again(row, program, raw):
    created = program("create", "-f", "-", stdin=yaml.safe_dump(pool(TWO, V6)))

    one = yaml.safe_load(program("get", "ippool", TWO, "-o", "yaml").stdout)
    listed = yaml.safe_load(program("get", "ippool", "-o", "yaml").stdout)

    assert f"ippool/{TWO} created\n" == created.stdout
    assert (TWO, V6) == (one["metadata"]["name"], one["spec"])
    assert [one] == listed["items"]
    assert "IPPoolList" == listed["kind"]


@each([BY_FILE])
def test_a_pool_is_deleted_by_its_file(row, program, raw, tmp_path):
    given(raw, BOTH)
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(pool(TWO, V6)))

    first = program("delete", "-f", str(tmp_path))
    again = program("delete", "-f", str(tmp_path))

    assert (0, f"ippool/{TWO} deleted\n") == (first.returncode, first.stdout)
    assert (1, "") == (again.returncode, again.stdout)
    assert "does not exist" in again.stderr
    assert [ONE] == names(raw)


@each([STALE])
@pytest.mark.parametrize("command", ["apply", "replace"])
def test_an_old_version_is_refused(row, program, raw, command):
    given(raw, {ONE: V4})
    old = json.loads(program("get", "ippool", ONE, "-o", "json").stdout)
    old["spec"]["natOutgoing"] = True

    first = program(command, "-f", "-", stdin=json.dumps(old))
    old["spec"]["natOutgoing"] = False
    again = program(command, "-f", "-", stdin=json.dumps(old))

    now = json.loads(program("get", "ippool", ONE, "-o", "json").stdout)
    assert (0, 1) == (first.returncode, again.returncode)
    assert f"ippool/{ONE}: metadata.resourceVersion: " in again.stderr
    assert now["spec"]["natOutgoing"] is True
    assert old["metadata"]["resourceVersion"] != now["metadata"]["resourceVersion"]


@each([PATCHED])
@pytest.mark.parametrize(
    ("type_", "patch"),
    [
        ("strategic", '{"spec": {"natOutgoing": true}}'),
        ("merge", "spec: {natOutgoing: true}"),
        ("json", '[{"op": "add", "path": "/spec/natOutgoing", "value": true}]'),
    ],
)
def test_a_patch_changes_its_field_only(row, program, raw, type_, patch):
    spec, metadata = {**V4, "disabled": True}, {"labels": {"a": "b"}, "annotations": {"c": "d"}}
    program("create", "-f", "-", stdin=json.dumps(pool(ONE, spec, **metadata)))

    result = program("patch", "ippool", ONE, "-t", type_, "-p", patch)

    now = json.loads(program("get", "ippool", ONE, "-o", "json", "--export").stdout)
    assert f"ippool/{ONE} patched\n" == result.stdout
    assert {**spec, "natOutgoing": True} == now["spec"]
    assert {"name": ONE, **metadata} == now["metadata"]


@each([OTHER_VERSION])
def test_the_version_of_calico_is_of_no_concern(row, program, raw):
    version = {"calicoVersion": "v9.9.9"}
    raw.put(*stored_resource("clusterinformations", "ClusterInformation", "default", version))
    given(raw, {ONE: V4})

    for args in (
        ("get", "ippool", "-o", "name"),
        ("get", "ippool", "-o", "name", "--allow-version-mismatch"),
        ("--allow-version-mismatch", "get", "ippool", "-o", "name"),
    ):
        result = program(*args)

        assert (0, f"ippool/{ONE}\n", "") == (result.returncode, result.stdout, result.stderr)
