import gzip
from pathlib import Path

import pytest

from poolctl.files import existing_file, new_file
from poolmgr.errors import InvalidRequestError


def test_a_file_appears_whole_and_for_its_owner_only(tmp_path):
    path = tmp_path / "copy"
    with new_file(path) as file:
        file.write(b"one\n")
        assert not path.exists()

    assert b"one\n" == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777
    assert [path] == list(tmp_path.iterdir())


def test_a_name_that_ends_in_gz_is_packed(tmp_path):
    path = tmp_path / "copy.gz"
    with new_file(path) as file:
        file.write(b"one\n")

    assert b"one\n" == gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "copy"
    path.write_text("old")
    with pytest.raises(error), new_file(path):
        raise error

    assert "old" == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error_about_the_file(tmp_path):
    path = tmp_path / "absent" / "copy"
    with pytest.raises(FileNotFoundError) as raised, new_file(path):
        pass

    assert str(path) == raised.value.filename


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with (
        pytest.raises(InvalidRequestError, match=r"cannot read .*nothing"),
        existing_file(tmp_path / "nothing"),
    ):
        pass
    with pytest.raises(InvalidRequestError), existing_file(Path(tmp_path)):
        pass


def test_a_file_is_read(tmp_path):
    path = tmp_path / "copy"
    path.write_bytes(b"x")

    with existing_file(path) as file:
        assert b"x" == file.read()
