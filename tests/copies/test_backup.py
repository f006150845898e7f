import gzip
import io
import json
import tracemalloc

import pytest

from poolmgr.copies import backup
from poolmgr.copies.backup import Header, Source
from poolmgr.copies.staged import Staged
from poolmgr.core.records import HANDLES, handle_key
from poolmgr.core.txn import EPOCH_KEY, Range, Txn
from poolmgr.errors import CompactedError, InvalidRequestError
from poolmgr.store.memory import MemoryStore
from tests.support.filled import FOREIGN, fill
from tests.support.poolctl import put, stored

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def store():
    made = MemoryStore()
    fill(made)
    return made


@pytest.fixture(scope="module")
def text(store):
    return backed_up(store)


def backed_up(store):
    file = io.BytesIO()
    for _ in backup.write(Source(store, timeout_s=1), file, now=NOW):
        pass
    return file.getvalue()


def read(text):
    with Staged() as staged:
        header = backup.read(io.BufferedReader(io.BytesIO(text)), staged)
        keys = dict(staged.within(Range(start="/", end="0")))
        return header, keys


def test_everything_but_the_epoch_comes_back_byte_for_byte(store, text):
    header, keys = read(text)

    wanted = stored(store)
    assert wanted.pop(EPOCH_KEY)
    assert wanted == keys
    assert b"\xff\x00 no text" == keys[FOREIGN]
    assert Header(revision=store._revision, time=NOW) == header


def test_a_packed_file_is_read_too(text):
    assert read(text) == read(gzip.compress(text))


def test_lines_are_json_with_a_header_and_a_footer(text):
    first, *lines, last = map(json.loads, text.splitlines())

    assert ("poolmgr-backup", 1) == (first["format"], first["version"])
    assert len(lines) == last["keys"]
    assert {"key", "base64"} == lines[0].keys()
    assert {"key", "text"} == lines[-1].keys()


def test_a_file_cut_anywhere_is_refused(text):
    for end in (*range(0, len(text), 97), len(text) - 2):
        with pytest.raises(InvalidRequestError):
            read(text[:end])
    packed = gzip.compress(text)
    for end in (*range(2, len(packed), 97), len(packed) - 1):
        with pytest.raises(InvalidRequestError):
            read(packed[:end])


def test_a_changed_byte_is_noticed_wherever_it_is(text):
    for at in range(0, len(text) - 1, 61):
        changed = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        with pytest.raises(InvalidRequestError):
            read(changed)


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda lines: [*lines, b"{}\n"], "checksum|count and sum"),
        (lambda lines: [b"{}\n", *lines[1:]], "no backup"),
        (lambda lines: [lines[0].replace(b":1,", b":2,", 1), *lines[1:]], "version"),
        (lambda lines: [lines[0], lines[1], *lines[1:]], "twice"),
        (lambda lines: [lines[0], b'{"key":"/etc/x","text":""}\n', *lines[1:]], "line 2: key"),
        (lambda lines: [lines[0], b'{"key":"/calico/x"}\n', *lines[1:]], "line 2"),
        (lambda lines: [lines[0], b'{"key":"/calico/x","text":7}\n', *lines[1:]], "line 2"),
        (lambda lines: [lines[0], b'{"key":"/calico/x","base64":"!"}\n', *lines[1:]], "line 2"),
        (lambda lines: [lines[0], b"[1]\n", *lines[1:]], "line 2"),
        (lambda lines: [b'{"format":"poolmgr-backup","version":1}\n'], "revision"),
        (lambda lines: [*lines[:3], *lines[4:]], "count and sum"),
    ],
)
def test_a_file_that_somebody_edited_is_refused_and_the_line_named(edit, why, text):
    lines = text.splitlines(keepends=True)

    with pytest.raises(InvalidRequestError, match=why):
        read(b"".join(edit(lines)))


def test_a_copy_is_of_one_revision_or_is_none(store):
    other = MemoryStore()
    fill(other)
    source = Source(other, timeout_s=1)
    before = stored(other)
    put_late = {handle_key("late"): b"{}"}
    epoch = before[EPOCH_KEY]
    other.commit(backup_txn(epoch, put_late))

    assert handle_key("late") not in dict(source.items(HANDLES))
    other.compact(other._revision)
    with pytest.raises(CompactedError, match="copy again"):
        list(source.items(HANDLES))


def backup_txn(epoch, puts):
    return Txn(expect={}, epoch=epoch, puts=puts)


def test_neither_writing_nor_reading_holds_the_data_in_memory(tmp_path):
    many, size = 6_000, 1000
    store = MemoryStore()
    for start in range(0, many, 100):
        put(store, {handle_key(f"{n:06}"): b"x" * size for n in range(start, start + 100)})
    path = tmp_path / "copy"
    tracemalloc.start()
    with path.open("wb") as file:
        assert many == sum(backup.write(Source(store, timeout_s=1), file, now=NOW))
    with Staged() as staged, path.open("rb") as file:
        backup.read(file, staged)
        assert many == staged.counts()["handles"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < many * size / 2
