"""Sections 20.1 to 20.4 and 20.7: what one call of poolctl does to pools and the IPAM configuration."""

import json
from dataclasses import dataclass, field

from poolmgr.core import records
from tests.behaviours.row import Row, each
from tests.support.poolctl import manifest
from tests.support.world import stored_resource

PLURALS = {
    "IPPool": "ippools",
    "IPAMConfiguration": "ipamconfigurations",
    "FelixConfiguration": "felixconfigurations",
}
S1 = {
    "cidr": "1.2.3.0/24",
    "vxlanMode": "Never",
    "ipipMode": "Always",
    "blockSize": 26,
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}
S1_LATER = {
    **S1,
    "natOutgoing": True,
    "ipipMode": "Never",
    "vxlanMode": "Always",
    "nodeSelector": 'foo == "bar"',
    "disableBGPExport": True,
}
S2 = {"cidr": "2001::/120", "natOutgoing": True, "blockSize": 122, "disableBGPExport": True}
V4 = {"cidr": "1.2.3.0/24"}
FELIX = "FelixConfiguration", "default"
CONFIG = "IPAMConfiguration", "default"
ONE, TWO = ("IPPool", "ippool-1"), ("IPPool", "ippool-2")

Things = dict[tuple[str, str], dict | None]
"""Kind and name -> spec; None = no such thing."""


@dataclass(frozen=True, slots=True)
class Command(Row):
    """
    One call of poolctl.

    Attributes:
        call: Its arguments; of a command that reads a manifest the first one only.
        wanted: Kind, name, spec and more metadata of that manifest.
        given: What is stored before, written as another program does.
        says: What the output holds.
        after: Fields that are stored afterwards.
    """

    call: tuple[str, ...]
    wanted: tuple = ()
    given: Things = field(default_factory=dict)
    ok: bool = True
    says: tuple[str, ...] = ()
    after: Things = field(default_factory=dict)


def create(id_: str, kind: str, name: str, spec: dict, **more) -> Command:
    """A creation; unless it says otherwise, the spec is stored."""
    after = {(kind, name): spec} if more.get("ok", True) else {}
    return Command(id_, ("create",), (kind, name, spec), **{"after": after, **more})


def update(id_: str, old: dict, new: dict, *, of=ONE, metadata: dict | None = None, **more):
    """A replacement; a refused one leaves the old spec."""
    after = {of: new if more.get("ok", True) else old}
    wanted = (*of, new, metadata or {})
    return Command(id_, ("replace",), wanted, given={of: old}, **{"after": after, **more})


def tunnels(id_: str, spec: dict, *, old: dict | None = None, felix: dict | None = None):
    """A pool whose tunnels leave Felix's configuration alone."""
    modes = {name: spec.get(name, "Never") for name in ("vxlanMode", "ipipMode")}
    given: Things = {FELIX: felix} if felix else {}
    if old:
        given[ONE] = old
    after = {ONE: {**spec, **modes}, FELIX: felix}
    return Command(id_, ("apply",), (*ONE, spec), given=given, after=after)


def overlapping(id_: str, name: str, spec: dict, *, size: int = 26) -> Command:
    """A pool beside one that has its addresses."""
    first = {("IPPool", "ippool1"): {**V4, "blockSize": size}}
    says = (
        f"ippool/{name}: spec.cidr: {spec['cidr']} overlaps with pool ippool1 (1.2.3.0/24)",
    )
    return create(id_, "IPPool", name, spec, given=first, ok=False, says=says, after=first)


def respelled(id_: str, old: str, new: str, canonical: str | None) -> Command:
    """An update that changes something else, too; afterwards the text is canonical."""
    changed, ok = {"cidr": new, "natOutgoing": True}, canonical is not None
    after = {ONE: {"cidr": canonical, "natOutgoing": True} if ok else {"cidr": old}}
    return update(id_, {"cidr": old}, changed, ok=ok, after=after)


ROWS = (
    create("PC-01", "IPPool", "", V4, ok=False, says=("metadata.name",)),
    Command("PC-02", ("replace",), (*ONE, S1), ok=False, says=("ippool/ippool-1: does not exist",)),
    create("PC-04", *ONE, S1),
    create("PC-05", *ONE, S2, given={ONE: S1}, ok=False, says=("already exists",), after={ONE: S1}),
    Command(
        "PC-06",
        ("get", "ippool", "ippool-1", "ippool-2", "-o", "json"),
        given={ONE: S1},
        ok=False,
        says=('"ipipMode": "Always"', "ippool/ippool-2 does not exist"),
    ),
    Command("PC-07", ("get", "pools", "-o", "name"), given={ONE: S1}, says=("ippool/ippool-1\n",)),
    Command(
        "PC-07",
        ("get", "pools", "-o", "name"),
        given={ONE: S1, TWO: S2},
        says=("ippool/ippool-1\nippool/ippool-2\n",),
    ),
    update("PC-08", S1, S1_LATER),
    update(
        "PC-12", S1, S1_LATER, metadata={"resourceVersion": "1"}, ok=False,
        says=("metadata.resourceVersion: 1 is not the stored version",),
    ),
    Command(
        "PC-15",
        ("delete",),
        (*ONE, S1, {"resourceVersion": "1"}),
        given={ONE: S1},
        ok=False,
        says=("metadata.resourceVersion: 1 is not the stored version",),
        after={ONE: S1},
    ),
    Command("PC-16", ("delete", "ippool", "ippool-1"), given={ONE: S1}, after={ONE: None}),
    Command(
        "PC-18", ("delete", "ippool", "ippool-2"), ok=False, says=("ippool-2: does not exist",)
    ),
    Command("PC-18", ("get", "ippool", "-o", "json"), says=('"items": []',)),
    Command(
        "PC-18", ("get", "ippool", "ippool-2"), ok=False, says=("ippool-2 does not exist",)
    ),
    Command(
        "PC-19",
        ("get", "ippool", "-o", "yaml"),
        given={ONE: V4},
        says=("ipipMode: Never", "vxlanMode: Never"),
        after={ONE: V4},
    ),
    Command("PC-20", ("delete", "ippool", "ippool-1"), given={ONE: V4}, after={ONE: None}),
    Command("PC-26", ("create",), (*ONE, {"cidr": "192.168.0.0/16"}), after={ONE: {"vxlanMode": "Never"}}),
    update(
        "PC-26", {"cidr": "192.168.0.0/16"}, {"cidr": "192.168.0.0/16", "vxlanMode": "", "ipipMode": ""},
        after={ONE: {"cidr": "192.168.0.0/16"}},
    ),
    Command("PC-26", ("delete", "ippool", "ippool-1"), given={ONE: {"cidr": "192.168.0.0/16"}}, after={ONE: None}),
    tunnels("PC-27", V4),
    tunnels("PC-29", {"cidr": "1.2.4.0/24", "vxlanMode": "Always"}),
    tunnels("PC-30", {**V4, "vxlanMode": "Always"}, old=V4),
    tunnels("PC-31", {**V4, "vxlanMode": "Always"}, felix={"vxlanEnabled": False}),
    tunnels("PC-32", V4),
    create(
        "PC-33", *ONE, {"cidr": "aa:bb::cc/120", "ipipMode": "Always"},
        ok=False, says=("spec.cidr", "host bits"), after={ONE: None, FELIX: None},
    ),
    tunnels("PC-34", {"cidr": "1.2.4.0/24", "ipipMode": "Always"}),
    tunnels("PC-35", {"cidr": "1.2.4.0/24", "ipipMode": "CrossSubnet"}),
    tunnels("PC-36", {**V4, "ipipMode": "Always"}, old=V4),
    create("PC-38", *ONE, V4, after={ONE: {"assignmentMode": "Automatic"}}),
    update(
        "PC-39", V4, {"cidr": "1.2.4.0/24"}, ok=False,
        says=("spec.cidr: 1.2.4.0/24 differs from 1.2.3.0/24",),
    ),
    create("PC-40", *ONE, V4, given={ONE: V4}, ok=False, says=("already exists",)),
    overlapping("PC-41", "ippool2", V4),
    overlapping("PC-43", "ippool4", {"cidr": "1.2.3.128/25"}),
    update(
        "PC-44", {**V4, "blockSize": 25}, {**V4, "blockSize": 26}, ok=False,
        says=("spec.blockSize: 26 differs from 25",),
    ),
    create(
        "PC-48", "IPPool", "ippool3", {"cidr": "1.2.3.8/31"}, given={ONE: V4},
        ok=False, says=("spec.cidr: 1.2.3.8/31 is smaller than one block",),
    ),
    overlapping("PC-47", "ippool2", {**V4, "blockSize": 25}, size=25),
    update(
        "PC-54", {**V4, "allowedUses": ["LoadBalancer"]}, {**V4, "allowedUses": ["Workload"]},
        ok=False, says=("spec.allowedUses", "LoadBalancer"),
    ),
    respelled("PC-55", "2001:cafe:42::/56", "2001:cafe:42:0000:00::/56", "2001:cafe:42::/56"),
    respelled("PC-57", "2001:cafe:42::00/56", "2001:cafe:42::/56", "2001:cafe:42::/56"),
    respelled("PC-58", "2001:db8::/32", "2001:0db8::/32", "2001:db8::/32"),
    respelled("PC-59", "2001:cafe:42::/56", "2001:cafe:42:0:0::/56", "2001:cafe:42::/56"),
    respelled("PC-60", "2001:cafe:::bad/56", "2001:cafe::/56", None),
    respelled("PC-62", "2001:CAFE:42::/56", "2001:cafe:42::/56", "2001:cafe:42::/56"),
    respelled("PC-63", "2001:0db8:0000:0000::/64", "2001:db8::/64", "2001:db8::/64"),
    respelled("PC-64", "2001:cafe:42::/56", "2001:cafe:42:0:0:0:0:0/56", "2001:cafe:42::/56"),
    respelled("PC-65", "2001:cafe:42:0000::/56", "2001:cafe:42::/56", "2001:cafe:42::/56"),
    respelled("PC-66", "2001:cafe:42::00/56", "2001:cafe:42::/56", "2001:cafe:42::/56"),
    respelled(
        "PC-67", "2001:0db8:85a3:0000:0000:0000:0000:0000/64", "2001:db8:85a3::/64", "2001:db8:85a3::/64"
    ),
    respelled("PC-68", "2001:cafe:42::/56", "2001:cafe:43::/56", None),
    respelled("PC-69", "2001:cafe:42::/56", "2001:cafe:42::/64", None),
    respelled("PC-70", "192.168.1.0/24", "192.168.1.0/24", "192.168.1.0/24"),
    respelled("PC-71", "192.168.1.0/24", "192.168.2.0/24", None),
    respelled("PC-72", "192.168.1.0/24", "192.168.1.0/25", None),
    Command(
        "CF-01", ("replace",), (*CONFIG, {"strictAffinity": True}), ok=False, says=("does not exist",)
    ),
    Command("CF-03", ("get", "ipamconfig", "default"), ok=False, says=("does not exist",)),
    create(
        "CF-04", "IPAMConfiguration", "not-default", {"strictAffinity": True},
        ok=False, says=("metadata.name", '"not-default" is not allowed: default'),
    ),
    create(
        "CF-05", *CONFIG,
        {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 2},
        says=("no effect", "poolctl ipam configure"),
    ),
    Command(
        "CF-05",
        ("get", "ipamconfigurations", "default", "-o", "json"),
        given={CONFIG: {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 2}},
        says=(
            '"kind": "IPAMConfiguration"',
            '"apiVersion": "projectcalico.org/v3"',
            '"maxBlocksPerHost": 2',
        ),
    ),
    create("CF-06", *CONFIG, {}, given={CONFIG: {}}, ok=False, says=("already exists",)),
    update(
        "CF-07",
        {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 2},
        {"strictAffinity": False, "autoAllocateBlocks": True},
        of=CONFIG,
    ),
    Command("CF-09", ("delete", "ipamconfig", "default"), given={CONFIG: {}}, after={CONFIG: None}),
    Command("CF-09", ("get", "ipamconfig"), says=("STRICTAFFINITY",)),
    create(
        "CF-10", *CONFIG, {"maxBlocksPerHost": -1},
        ok=False, says=("spec.maxBlocksPerHost: -1 is not allowed: 0 to 1,000,000",),
    ),
    create(
        "CF-10", *CONFIG, {"ipCooldownSeconds": -1},
        ok=False, says=("spec.ipCooldownSeconds: -1 is not allowed: 0 to 1,200",),
    ),
)  # fmt: skip


def arguments(row: Command) -> tuple[tuple[str, ...], str]:
    """Return the arguments of a call, and its standard input."""
    if not row.wanted:
        return row.call, ""
    kind, name, spec, *metadata = row.wanted
    return (*row.call, "-f", "-"), manifest(kind, name, spec, **dict(*metadata))


def before(row: Command) -> dict[str, bytes]:
    return dict(
        stored_resource(PLURALS[kind], kind, name, spec)
        for (kind, name), spec in row.given.items()
    )


def unlike(row: Command, content: dict[str, bytes]) -> list[str]:
    """Compare what is stored with what the row wants to be."""
    found = []
    for (kind, name), spec in row.after.items():
        raw = content.get(records.resource_key(PLURALS[kind], name))
        now = json.loads(raw)["spec"] if raw else None
        if now != (None if spec is None else {**(now or {}), **spec}):
            found.append(f"{name}: wanted {spec}, is {now}")
    return found


@each(ROWS)
def test_poolctl_does_this_to_etcd(row, program, raw):
    for key, value in before(row).items():
        raw.put(key, value)
    call, stdin = arguments(row)

    result = program(*call, stdin=stdin)

    assert row.ok == (result.returncode == 0), result.stderr
    assert [] == [part for part in row.says if part not in result.stdout + result.stderr]
    assert [] == unlike(row, raw.dump())
