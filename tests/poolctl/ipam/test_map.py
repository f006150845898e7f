"""`poolctl ipam map`, from etcd to the file."""

import json
import os
import stat
from xml.etree import ElementTree as ET

import pytest

from poolctl.report import REFUSED, UNAVAILABLE, USAGE
from poolmgr.cidr import parse_network
from poolmgr.core import records
from poolmgr.store.memory import MemoryStore
from tests.support.facts import block_of, stored_block
from tests.support.poolctl import on, put
from tests.support.showcase import Showcase
from tests.support.world import stored_resource


@pytest.fixture
def showcase() -> MemoryStore:
    store = MemoryStore()
    Showcase(store).fill()
    return store


def test_everything_in_etcd_is_drawn(poolctl, store):
    Showcase(store).fill()

    result = poolctl("ipam", "map")

    assert 0 == result.exit_code
    assert "pods  10.244.0.0/26  blocks of /28\n" in result.stdout
    assert " 10.244.0.0  B\u2583+ A\u2588  A\u2588  C\u2582+\n" in result.stdout
    assert "A       3         37         1         0  node-a\n" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["pods", "10.244.0.0/26", "10.244.0.9/26"])
def test_one_pool_is_drawn_alone(showcase, name):
    shown = on(showcase)("ipam", "map", name).stdout

    assert shown.startswith("pods  ")
    assert "rack-2" not in shown
    assert "C       1          3         0         1  node-c" in shown


def test_pools_of_one_family_are_drawn_without_blocks_of_the_other(showcase):
    shown = on(showcase)("ipam", "map", "FD00:10:244:0::/64", "-o", "json").stdout

    assert ["pods-ipv6"] == [pool["name"] for pool in json.loads(shown)["pools"]]
    assert ["node-a"] == [node["name"] for node in json.loads(shown)["nodes"]]


def test_an_unknown_pool_is_refused_with_the_names_there_may_be(showcase):
    result = on(showcase)("ipam", "map", "pods", "podz")

    assert REFUSED == result.exit_code
    assert "" == result.stdout
    assert ("poolctl: error: pool: there is no 'podz'; did you mean pods?\n") == result.stderr
    assert (
        "there is no 'x'; there are lan (192.168.5.0/28), "
        in on(showcase)("ipam", "map", "x").stderr
    )


def test_where_there_is_no_pool_a_name_is_refused_too(at_memory):
    assert "there is no 'x'; there is none" in at_memory("ipam", "map", "x").stderr


def test_a_pool_that_is_asked_for_and_does_not_decode_is_an_error(at_memory, memory):
    put(memory, {records.resource_key("ippools", "broken"): b"junk"})

    result = at_memory("ipam", "map", "broken")

    assert REFUSED == result.exit_code
    assert "stored value of " in result.stderr


def test_what_does_not_decode_is_named_and_hides_no_other(at_memory, memory):
    broken = records.block_key(parse_network("10.0.0.64/26"))
    values = dict([stored_resource("ippools", "IPPool", "p", {"cidr": "10.0.0.0/24"})])
    put(memory, values | stored_block(block_of("10.0.0.0/26", "h")) | {broken: b"junk"})

    result = at_memory("ipam", "map")

    assert REFUSED == result.exit_code
    assert " 10.0.0.0   A\u2581  \u00b7   \u00b7   \u00b7\n" in result.stdout
    assert f"poolctl: warning: stored value of {broken} is not usable" in result.stderr
    assert "the map lacks it" in result.stderr


def test_the_data_behind_the_picture(showcase):
    data = json.loads(on(showcase)("ipam", "map", "-o", "json").stdout)

    pods = data["pools"][2]
    assert {
        "name": "pods",
        "cidr": "10.244.0.0/26",
        "blockSize": 28,
        "disabled": False,
        "addresses": 64,
        "inUse": 41,
        "borrowed": 1,
        "cooling": 1,
        "reserved": 3,
        "free": 20,
    } == {name: value for name, value in pods.items() if name != "blocks"}
    assert {
        "cidr": "10.244.0.48/28",
        "node": "node-c",
        "inUse": 4,
        "borrowed": {"node-a": 1},
        "cooling": 0,
        "reserved": 1,
        "free": 11,
    } == pods["blocks"][3]
    assert {"name": "node-c", "blocks": 2, "addresses": 17, "borrowed": 0, "lent": 1} in data[
        "nodes"
    ]
    assert [] == data["blocksWithoutPool"]


@pytest.mark.parametrize("form", ["svg", "html", "json", "text"])
def test_a_file_has_what_standard_output_would_have(showcase, tmp_path, monkeypatch, form):
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    path = tmp_path / f"map.{form}"

    result = on(showcase)("ipam", "map", "-O", str(path))

    assert (0, "") == (result.exit_code, result.stdout)
    assert path.read_text().isascii() == (form != "text")
    assert {"svg": "<?xml", "html": "<!DOC", "json": "{\n", "text": "lan"}[
        form
    ] in path.read_text()
    assert "\x1b" not in path.read_text()


def test_the_form_that_is_asked_for_may_have_any_name_but_that_of_another_one(
    showcase, tmp_path
):
    path = tmp_path / "map.picture"

    wrong = on(showcase)("ipam", "map", "-o", "svg", "-O", str(tmp_path / "m.html"))
    unknown = on(showcase)("ipam", "map", "-O", str(tmp_path / "m.pdf"))
    on(showcase)("ipam", "map", "-o", "svg", "--output-file", str(path))

    assert (USAGE, USAGE) == (wrong.exit_code, unknown.exit_code)
    assert "m.html is no name for svg: say -o html" in wrong.stderr
    assert "m.pdf does not end in .txt, .text, .svg, .html, .json" in unknown.stderr
    assert [path] == [*tmp_path.iterdir()]
    assert ET.parse(path).getroot().tag.endswith("svg")


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(showcase, tmp_path):
    path = tmp_path / "nowhere" / "map.svg"

    result = on(showcase)("ipam", "map", "-O", str(path))

    assert REFUSED == result.exit_code
    assert f"{path}: No such file" in result.stderr


def test_without_pools_there_is_no_legend(at_memory):
    lines = at_memory("ipam", "map").stdout.splitlines()

    assert 2 == len(lines)
    assert "There are no pools." == lines[0]
    assert lines[1].startswith("As of revision ")


def test_a_file_is_replaced_as_a_whole(showcase, tmp_path):
    path = tmp_path / "map.svg"
    path.write_text("what was there before")

    on(showcase)("ipam", "map", "-O", str(path))

    assert ET.parse(path).getroot().tag.endswith("svg")
    assert [path] == [*tmp_path.iterdir()]


def test_a_device_stays_one(showcase):
    result = on(showcase)("ipam", "map", "-O", "/dev/null")

    assert 0 == result.exit_code
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_file_that_cannot_be_written_is_said_so(showcase, tmp_path):
    result = on(showcase)("ipam", "map", "-O", str(tmp_path / "none" / "map.svg"))

    assert REFUSED == result.exit_code
    assert "No such file or directory" in result.stderr


def test_an_unknown_form_is_a_mistake(showcase):
    assert USAGE == on(showcase)("ipam", "map", "-o", "png").exit_code


def test_without_etcd_there_is_no_map(program):
    result = program("--timeout", "1", "ipam", "map", ETCD_ENDPOINTS="127.0.0.1:1")

    assert UNAVAILABLE == result.returncode
    assert "" == result.stdout


def test_a_shell_redirects_a_picture(shell, raw, etcd_endpoint, tmp_path):
    raw.put(*stored_resource("ippools", "IPPool", "p", {"cidr": "10.0.0.0/24"}))
    path = tmp_path / "map.svg"

    result = shell(f"LC_ALL=C poolctl ipam map -o svg > {path}", ETCD_ENDPOINTS=etcd_endpoint)

    assert 0 == result.returncode
    assert ET.parse(path).getroot().tag.endswith("svg")
