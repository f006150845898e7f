"""The manifests that options name."""

import click
import pytest

from poolctl.resources.documents import distinct, resources
from poolmgr.api import manifests
from poolmgr.errors import InvalidRequestError
from tests.support.poolctl import manifest, pool


def read(*filenames, recursive=False, skip_empty=False):
    found = resources([*map(str, filenames)], recursive=recursive, skip_empty=skip_empty)
    return [each.ref for each in found]


def test_files_and_directories_are_read_in_the_order_given(tmp_path):
    (tmp_path / "z.yaml").write_text(pool("z"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text(f"[{pool('a')}, {manifest('Node', 'n')}]")

    assert ["ippool/a", "node/n", "ippool/z"] == read(tmp_path / "sub", tmp_path / "z.yaml")
    assert ["ippool/a", "node/n", "ippool/z"] == read(tmp_path, recursive=True)


def test_no_resource_at_all_is_an_error_unless_it_may_be_so(tmp_path):
    (tmp_path / "a.yaml").write_text("---\n# nothing\n")

    with pytest.raises(InvalidRequestError, match=f"there is no resource in {tmp_path}"):
        read(tmp_path)
    assert [] == read(tmp_path, skip_empty=True)


def test_an_empty_directory_or_device_has_no_resource(tmp_path):
    with pytest.raises(InvalidRequestError, match=f"directory {tmp_path} holds no file"):
        read(tmp_path)
    with pytest.raises(InvalidRequestError, match="there is no resource in /dev/null"):
        read("/dev/null")
    assert [] == read(tmp_path, "/dev/null", skip_empty=True)


def test_every_refused_document_is_told(tmp_path, capsys):
    text = f"[{pool('a', 'x')}, {pool('b')}, {pool('c', blockSize=7)}]"
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(click.exceptions.Exit) as caught:
        read(tmp_path)

    assert 1 == caught.value.exit_code
    assert ["IPPool a", "IPPool c"] == [
        line.split(": ")[3] for line in capsys.readouterr().err.splitlines()
    ]


def made(text):
    return [manifests.resource(each) for each in manifests.documents(text, "x")]


def test_what_is_said_twice_counts_once_and_must_not_differ():
    once = made(pool("a"))

    assert once == distinct([*once, *made(pool("a"))])
    with pytest.raises(InvalidRequestError, match="ippool/a: there are two manifests"):
        distinct([*once, *made(pool("a", disabled=True))])
