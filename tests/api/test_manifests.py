"""Manifest text: YAML, JSON, several documents, Lists, files and directories."""

import os

import pytest

from poolmgr.api import IPPool
from poolmgr.api.manifests import MAX_BYTES, documents, files, resource
from poolmgr.errors import InvalidRequestError

A = "{kind: A, n: 1}"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", []),
        ("---\n---\n# nothing\n", []),
        ("a: 1\n---\nb: x\n", [{"a": 1}, {"b": "x"}]),
        ('{\n\t"a": [1, null]\n}', [{"a": [1, None]}]),
        ("{a: 1}", [{"a": 1}]),
        ('[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", [{"a": {"b": 1}, "c": {"b": 1, "d": 2}}]),
        ("kind: List\nitems: [{a: 1}, {b: 2}]", [{"a": 1}, {"b": 2}]),
        ("kind: IPPoolList\napiVersion: v\nitems: []", []),
        (
            "kind: IPPoolList\napiVersion: v\nitems: [{a: 1}]",
            [{"kind": "IPPool", "apiVersion": "v", "a": 1}],
        ),
        ("kind: IPPoolList\nitems:", []),
    ],
)
def test_every_document_and_item_is_read(text, read):
    assert read == documents(text, "here")


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("2026-11-23T19:13:08Z", "2026-11-23T19:13:08Z"),
        ("12:30", "12:30"),
        ("=", "="),
        ("10.10.0.0/16", "10.10.0.0/16"),
        ("fd00::/8", "fd00::/8"),
        ("1_000", 1000),
        ("0x10", 16),
        ("1e3", 1000.0),
        ("9" * 100, 1e100),
        ("0x" + "f" * 100, "0x" + "f" * 100),
        ("yes", True),
        ("~", None),
        ("'7'", "7"),
    ],
)
def test_scalars_are_those_of_calicos_tools(scalar, value):
    assert [{"a": value}] == documents(f"a: {scalar}", "here")


def test_keys_become_text():
    assert documents("1: a\ntrue: b", "here") == [{"1": "a", "true": "b"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [", "^here, line 2: not YAML: "),
        ("::: not yaml :::\n - [", "^here, line 1: not YAML: "),
        ("a: 1\nb: 2\na: 3", '^here, line 3: not YAML: key "a" twice'),
        ('{"a": 1, "a": 2}', '^here, line 1: not YAML: key "a" twice'),
        ("? [1]\n: 2", r"^here, line 1: not YAML: \[1\] cannot be a key"),
        (
            "a: !!python/name:os.system x",
            "^here, line 1: not YAML: could not determine a constructor",
        ),
        ("a: \x07", "^here: not YAML: "),
        ("a: 0x_", "^here: not YAML: "),
        ("&a [*a]", "^here, line 1: not YAML: .*recursive"),
        ("&a {b: {c: *a}}", "^here, line 1: not YAML: .*recursive"),
        ("a: &a !!omap [x: *a]", "^here, line 1: not YAML: .*recursive"),
        ("[" * 100_000, "^here: nested too deeply"),
        ("a: " + "{b: " * 5_000, "^here: nested too deeply"),
        ("hello", '^here: "hello" is not a resource'),
        ("[1]", "^here: 1 is not a resource"),
        ("kind: List\nitems: 7", "^here: items of List: must be a list"),
        ("kind: List\nitems: [7]", "^here: items of List: must be a list"),
        ("kind: List\nitems: 0", "^here: items of List: must be a list"),
        ("kind: List\nitems: ''", "^here: items of List: must be a list"),
        ("kind: List\nitems: false", "^here: items of List: must be a list"),
        ("kind: IPPoolList\nitems: {}", "^here: items of IPPoolList: must be a list"),
        (
            "kind: List\nitems: [{kind: IPPoolList}]",
            "items of List: a List cannot be in a List",
        ),
        ("kind: IPPoolList\nitems: [{kind: List}]", "items of IPPoolList: a List cannot be"),
    ],
)
def test_text_that_cannot_be_read_is_refused_in_one_line(text, message):
    with pytest.raises(InvalidRequestError, match=message) as caught:
        documents(text, "here")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"kind": "Unknown", "apiVersion": "projectcalico.org/v3"},
            'kind: "Unknown" is not known',
        ),
        ({"apiVersion": "projectcalico.org/v3"}, "^kind is required: IPPool, "),
        ({"kind": ["IPPool"]}, r'kind: \["IPPool"\] is not known'),
        (
            {"kind": "IPPool", "metadata": {"name": "p"}},
            "IPPool p: apiVersion is required: projectcalico.org/v3",
        ),
        ({"kind": "IPPool", "apiVersion": "projectcalico.org/v2"}, "v2.* is not known"),
    ],
)
def test_unknown_kinds_and_versions_are_refused(document, message):
    with pytest.raises(InvalidRequestError, match=message):
        resource(document)


def test_a_document_becomes_the_resource_of_its_kind():
    (document,) = documents(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p, labels: {n: 1}}\n"
        "spec: {cidr: 10.0.0.0/16}",
        "here",
    )

    made = resource(document)

    assert isinstance(made, IPPool)
    assert (made.metadata.name, made.metadata.labels) == ("p", {"n": "1"})


def test_a_directory_is_read_in_name_order_one_level_or_all(tmp_path):
    (tmp_path / "b.yaml").write_text("b")
    (tmp_path / "a.json").write_text("a")
    (tmp_path / "README.md").write_text("no manifest")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.yml").write_text("c")

    assert [text for _, text in files(str(tmp_path))] == ["a", "b"]
    assert [text for _, text in files(str(tmp_path), recursive=True)] == ["a", "b", "c"]
    assert [(str(tmp_path / "README.md"), "no manifest")] == list(
        files(str(tmp_path / "README.md"))
    )


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"\xe4")
    os.mkfifo(tmp_path / "fifo")
    with open(tmp_path / "big.yaml", "wb") as big:
        big.truncate(MAX_BYTES + 1)

    for path, message in (
        (tmp_path / "missing.yaml", r"cannot read .*missing\.yaml: No such file"),
        (tmp_path / "latin.yaml", r"cannot read .*latin\.yaml: it is not UTF-8"),
        (tmp_path / "sub", "holds no file"),
        (tmp_path / "fifo", r"cannot read .*/fifo: it is not a regular file"),
        (tmp_path / "big.yaml", r"cannot read .*/big\.yaml: it is larger than 32 MiB"),
    ):
        (tmp_path / "sub").mkdir(exist_ok=True)
        with pytest.raises(InvalidRequestError, match=message):
            list(files(str(path)))
