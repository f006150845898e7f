"""Reports of leaks: Calico's form, written whole or not at all, read strictly."""

import json
from pathlib import Path

import pytest

from poolctl.ipam.report_file import Leaked, Report, ReportWriter
from poolmgr.api.clusterinformation import ClusterInformation, ClusterInformationSpec
from poolmgr.api.meta import ObjectMeta
from poolmgr.cidr import parse_address
from poolmgr.core.live import Entry
from poolmgr.errors import InvalidRequestError
from tests.interop.recording import load

CLUSTER = ClusterInformation(
    metadata=ObjectMeta(name="default", resource_version="7"),
    spec=ClusterInformationSpec(cluster_guid="abc", datastore_ready=False),
)
FREE = Entry(
    address=parse_address("10.0.0.5"),
    handle="net.c1",
    sequence_number=1795462937905379353,
    attributes={"pod": "web-0", "namespace": "prod", "node": "node-b", "timestamp": "then"},
    host="node-a",
)
COLD = Entry(address=parse_address("fd00::1"), handle=None, sequence_number=2, cooling=True)


def written(path: Path, *, compared: bool = True) -> str:
    with ReportWriter(path, CLUSTER, compared=compared) as writer:
        writer.allocation(FREE, in_use=False)
        writer.allocation(COLD, in_use=True)
        writer.handles([("orphan", 28)])
        writer.handles([("other", 29)])
    return path.read_text()


def test_a_report_has_calicos_fields(tmp_path):
    report = json.loads(written(tmp_path / "r.json", compared=False))

    assert {
        "version": "",
        "clusterGUID": "abc",
        "datastoreLocked": True,
        "clusterInformationRevision": "7",
        "clusterType": "",
        "allocations": {
            "10.0.0.5": [
                {
                    "ip": "10.0.0.5",
                    "handle": "net.c1",
                    "sequenceNumber": 1795462937905379353,
                    "pod": "web-0",
                    "namespace": "prod",
                    "node": "node-b",
                    "creationTimestamp": "then",
                    "inUse": False,
                    "borrowed": True,
                    "owners": None,
                }
            ],
            "fd00::1": [
                {
                    "ip": "fd00::1",
                    "sequenceNumber": 2,
                    "inUse": True,
                    "coolingDown": True,
                    "owners": None,
                }
            ],
        },
        "leakedHandles": [
            {"ID": "orphan", "UID": None, "Revision": "28"},
            {"ID": "other", "UID": None, "Revision": "29"},
        ],
    } == report


def test_what_is_written_can_be_read(tmp_path):
    path = tmp_path / "r.json"
    written(path)

    report = Report(str(path))

    assert ("", "abc", "7", True) == (
        report.version,
        report.cluster,
        report.revision,
        report.compared,
    )
    assert [Leaked(FREE.address, "net.c1", 1795462937905379353)] == list(report.leaked())
    assert [("orphan", 28), ("other", 29)] == list(report.leaked_handles())


def test_a_report_on_nothing_is_whole(tmp_path):
    path = tmp_path / "r.json"
    with ReportWriter(path, CLUSTER, compared=False):
        pass

    report = Report(str(path))

    assert {} == json.loads(path.read_text())["allocations"]
    assert ([], [], False) == (
        list(report.leaked()),
        list(report.leaked_handles()),
        report.compared,
    )


def test_a_report_that_is_broken_off_leaves_the_old_one(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")

    def break_off():
        with ReportWriter(path, CLUSTER, compared=True) as writer:
            writer.allocation(FREE, in_use=True)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()

    assert "old" == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_a_symbolic_link_stays_one_and_a_device_is_left_alone(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    written(link)

    assert link.is_symlink()
    assert target.is_file()
    with pytest.raises(InvalidRequestError, match="/dev/null is not a regular file"):
        ReportWriter(Path("/dev/null"), CLUSTER, compared=True)


def test_calicoctls_reports_are_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(load("check")[19]["files"]["report.json"])

    report = Report(str(path))

    assert not report.compared
    assert 6 == len(list(report.leaked()))
    assert Leaked(parse_address("10.20.0.8"), "", 1795462938075210282) in list(report.leaked())
    assert [("net1.orphan", 28)] == list(report.leaked_handles())


HEAD = {"version": "", "clusterGUID": "abc", "clusterInformationRevision": "7"}


def in_allocations(**fields):
    entry = {"ip": "10.0.0.5", "sequenceNumber": 1, "inUse": False, **fields}
    kept = {key: value for key, value in entry.items() if value is not ...}
    return json.dumps({**HEAD, "allocations": {"10.0.0.5": [kept]}})


def in_handles(**fields):
    entry = {"ID": "h", "Revision": "7", **fields}
    kept = {key: value for key, value in entry.items() if value is not ...}
    return json.dumps({**HEAD, "allocations": {}, "leakedHandles": [kept]})


def raw(allocations: str) -> str:
    """A report with allocations as they are: JSON that Python would not write."""
    entry = {"ip": "10.0.0.5", "sequenceNumber": 1}
    for word, in_use in (("IN_USE", True), ("LEAKED", False)):
        allocations = allocations.replace(word, json.dumps({**entry, "inUse": in_use}))
    return json.dumps({**HEAD, "allocations": {}})[:-2] + allocations + "}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("not json", "is not JSON"),
        ('{"version": "", "clust', "is not JSON"),
        ("[]", "not a JSON object"),
        ("7", "not a JSON object"),
        ("{}", "version: is missing"),
        (json.dumps({**HEAD, "clusterGUID": 7}), "clusterGUID: must be a text"),
        (json.dumps({**HEAD, "version": {}}), "version: must be a text"),
        ('{"version": "", "version": "x"}', "version: given twice"),
        (json.dumps({**HEAD, "allocations": []}), "allocations: must be an object"),
        (json.dumps({**HEAD, "leakedHandles": {}}), "leakedHandles: must be a list"),
        (json.dumps({**HEAD, "allocations": {"10.0.0.5": {}}}), r"must be a list"),
        (json.dumps({**HEAD, "allocations": {"10.0.0.5": [7]}}), r"must be a list of objects"),
        (in_allocations(inUse=...), r"allocations\['10.0.0.5'\].inUse: is missing"),
        (in_allocations(inUse=0), "inUse: must be true or false"),
        (in_allocations(coolingDown="no"), "coolingDown: must be true or false"),
        (in_allocations(sequenceNumber=1.5), "sequenceNumber: must be a whole number"),
        (in_allocations(sequenceNumber=True), "sequenceNumber: must be a whole number"),
        (in_allocations(sequenceNumber=...), "sequenceNumber: is missing"),
        (in_allocations(handle=None), "handle: must be a text"),
        (in_allocations(ip="10.0.0.6"), "ip: '10.0.0.6' is another address"),
        (in_allocations(ip="10.0.0"), "ip: '10.0.0' is no IP address"),
        (raw('"10.0.0.5": [IN_USE], "10.0.0.5": [LEAKED]'), r"\['10.0.0.5'\]: given twice"),
        (raw('"10.0.0.5": [LEAKED], "10.0.0.5": [IN_USE]'), r"\['10.0.0.5'\]: given twice"),
        (raw('"fd00::1": [IN_USE], "FD00::1": [IN_USE]'), r"\['FD00::1'\]: given twice"),
        (raw('"10.0.0.5": [IN_USE, LEAKED]'), r"'\]: both in use and leaked"),
        (raw('"10.0.0.5": [LEAKED, LEAKED]'), r"'\]: given twice"),
        (raw('"10.0.0.5": [{"inUse": true, "inUse": false}]'), r"\.inUse: given twice"),
        (raw('"10.0.0": [IN_USE]'), r"\['10.0.0'\]: '10.0.0' is no IP address"),
        (
            json.dumps({**HEAD, "leakedHandles": [{"ID": "h", "Revision": "7"}] * 2}),
            r"leakedHandles\[1\].ID: 'h' is given twice",
        ),
        (
            in_handles().replace('"Revision"', '"Revision": "8", "Revision"'),
            r"leakedHandles\[0\].Revision: given twice",
        ),
        (in_handles(ID=...), r"leakedHandles\[0\].ID: is missing"),
        (in_handles(ID="a/b"), "ID: 'a/b' cannot be the id of a handle"),
        (in_handles(Revision=7), "Revision: must be a text"),
        (in_handles(Revision="-7"), "Revision: '-7' is no revision"),
        (
            json.dumps({**HEAD, "leakedHandles": ["h"]}),
            r"leakedHandles\[0\]: must be an object",
        ),
    ],
)
def test_what_is_no_report_is_refused_by_file_and_field(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)

    def read():
        report = Report(str(path))
        return [*report.leaked(), *report.leaked_handles()]

    with pytest.raises(InvalidRequestError, match=message) as caught:
        read()

    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("raw", [b'{"version": "\xff"}', b"\xff\xfe{"])
def test_what_is_no_text_is_said_to_be_none(tmp_path, raw):
    path = tmp_path / "bad.json"
    path.write_bytes(raw)

    with pytest.raises(InvalidRequestError) as caught:
        Report(str(path))

    assert f"{path} is not JSON: it is not UTF-8 text" == str(caught.value)
