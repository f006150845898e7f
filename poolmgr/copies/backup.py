"""
Backups: every key byte for byte, as lines of JSON, at one revision.

The first line is a header, the last one a footer with the number of keys and the SHA-256 of
all lines before it. A line between them is `{"key": …, "text": …}`, or has "base64" instead of
"text" where a value is not UTF-8. Keys stand in the order of copies/order.py. Reading also
takes files that gzip packed.
"""

import binascii
import gzip
import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedReader
from typing import Any, BinaryIO, cast

from poolmgr.copies.marker import BEING_WRITTEN, decode_marker
from poolmgr.copies.order import CLUSTER_KEY, MARKER_KEY, ORDER
from poolmgr.copies.staged import Staged
from poolmgr.core.txn import Fetch, KeyValue, Range, Reading
from poolmgr.errors import CompactedError, InvalidRequestError, RefusedError
from poolmgr.store.port import Store, pages

FORMAT, VERSION = "poolmgr-backup", 1
_GZIP = b"\x1f\x8b"
_PAGE_KEYS = 1000
_LONGEST = 16 * 1024 * 1024
"""Bytes in a line: etcd takes at most 1.5 MiB at once, and an escaped byte has six."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """
    What a backup says of itself.

    Attributes:
        revision: Of the store, when it was made.
        time: When that was, RFC 3339.
    """

    revision: int
    time: str


class Source:
    """
    Everything that is stored, as of one revision.

    Args:
        timeout_s: For each page.

    Attributes:
        first: The answer to the first look; its revision is that of everything.

    Raises:
        RefusedError: A copy is being written there, or was until that broke off.
        StoreError: See its kinds.
    """

    def __init__(self, store: Store, *, timeout_s: float) -> None:
        self._store, self._timeout_s = store, timeout_s
        fetch = Fetch(keys=frozenset({MARKER_KEY, CLUSTER_KEY}))
        self.first: Reading = store.read(fetch, timeout_s=timeout_s)
        if marker := self.first.found[MARKER_KEY]:
            after = decode_marker(marker.value).after
            where = f"; {after} is the last key that is there" if after else ""
            raise RefusedError(f"{BEING_WRITTEN}{where}; let it end first")

    @property
    def cluster(self) -> KeyValue | None:
        """The ClusterInformation."""
        return self.first.found[CLUSTER_KEY]

    def items(self, range_: Range) -> Iterator[tuple[str, bytes]]:
        """
        Yield the keys of a range, in order, and their values.

        Raises:
            CompactedError: The revision is gone.
            StoreError: See its kinds.
        """
        revision = self.first.revision
        try:
            for page in pages(
                self._store,
                range_,
                page_size=_PAGE_KEYS,
                timeout_s=self._timeout_s,
                revision=revision,
            ):
                for key, found in page.items:
                    yield key, found.value
        except CompactedError as error:
            raise CompactedError(
                f"revision {revision} was compacted away while it was copied; copy again"
            ) from error


def write(source: Source, out: BinaryIO, *, now: str) -> Iterator[int]:
    """
    Write a backup; iterate over it to do so.

    Yields:
        1 for each key.

    Raises:
        StoreError: It is not complete.
        OSError: It cannot be written.
    """
    digest = hashlib.sha256()

    def line(value: object) -> None:
        try:
            raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # a key of bytes that are no text
            raw = json.dumps(value, separators=(",", ":")).encode()
        raw += b"\n"
        digest.update(raw)
        out.write(raw)

    header = Header(revision=source.first.revision, time=now)
    line({"format": FORMAT, "version": VERSION, **asdict(header)})
    count = 0
    for range_ in ORDER:
        for key, value in source.items(range_):
            line({"key": key, **_told(value)})
            count += 1
            yield 1
    line({"keys": count, "sha256": digest.hexdigest()})


def read(file: BufferedReader, staged: Staged) -> Header:
    """
    Read a backup, whole, and check that it is what was written.

    Raises:
        InvalidRequestError: It is no backup, or not a whole one.
        RefusedError: There is no space for it.
        OSError: It cannot be read.
    """
    try:
        return _read(_unpacked(file), staged)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRequestError(f"the file is damaged or cut off: {error}") from error


def _unpacked(file: BufferedReader) -> BinaryIO:
    packed = file.peek(2).startswith(_GZIP)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _read(file: BinaryIO, staged: Staged) -> Header:
    raw, digest, count = file.readline(_LONGEST), hashlib.sha256(), 0
    header = _header(_line(raw, 1))
    digest.update(raw)
    for number, raw in enumerate(iter(lambda: file.readline(_LONGEST), b""), 2):
        value = _line(raw, number)
        if "key" not in value:
            break
        _add(staged, value, number)
        count += 1
        digest.update(raw)
    else:
        raise InvalidRequestError("the file is cut off: it has no last line")
    if value != {"keys": count, "sha256": digest.hexdigest()} or file.readline(1):
        raise InvalidRequestError(
            f"the file is damaged, or was changed after it was written: line {number} does not "
            "count and sum up those before it"
        )
    staged.digest = digest.hexdigest()
    return header


def _line(raw: bytes, number: int) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        what = "no backup of poolctl" if number == 1 else "damaged or cut off"
        raise InvalidRequestError(f"the file is {what}: line {number} is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidRequestError(f"line {number} is not a JSON object")
    return value


def _header(value: dict[str, Any]) -> Header:
    if value.get("format") != FORMAT:
        raise InvalidRequestError("the file is no backup of poolctl: line 1 does not say so")
    if value.get("version") != VERSION:
        raise InvalidRequestError(
            f"version: {value.get('version')!r} of the format is not known: {VERSION}"
        )
    revision, time = value.get("revision"), value.get("time")
    if not isinstance(revision, int) or not isinstance(time, str):
        raise InvalidRequestError("line 1 does not say at which revision and time it was made")
    return Header(revision=revision, time=time)


def _told(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


def _add(staged: Staged, value: dict[str, Any], number: int) -> None:
    try:
        if "text" in value:
            staged.add(value["key"], value["text"].encode())
        else:
            staged.add(value["key"], b64decode(value["base64"], validate=True))
    except (KeyError, TypeError, AttributeError, UnicodeError, binascii.Error) as error:
        raise InvalidRequestError(f"line {number} is not a key with its value") from error
    except InvalidRequestError as error:
        raise InvalidRequestError(f"line {number}: {error}") from error
