"""
Calico's report of leaked addresses and handles, as `ipam check -o` writes it.

Rules:

1. Fields are Calico's, so that each side's `ipam release --from-report` reads the other's
   reports. One more, `checkedBy`, tells that poolctl compared with the pods themselves;
   calicoctl passes over it.
2. Reports of any size are written and read in little memory. A report is there once it is
   whole.
3. Reading is strict: a field that is missing, or of another type, is an error that names file
   and field. A missing `inUse` must not pass for false.
4. A report that says two things of one address or handle is an error: nobody knows which of
   them holds.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any

import ijson

from poolmgr import __version__
from poolmgr.api import ClusterInformation
from poolmgr.cidr import IPAddress, parse_address
from poolmgr.core.live import Entry
from poolmgr.core.records import is_segment
from poolmgr.errors import InvalidRequestError

_TEXTS = ("version", "clusterGUID", "clusterInformationRevision")
_CHECKED_BY = "checkedBy"
_STARTS: dict[str, object] = {"start_map": {}, "start_array": []}


class _Object(dict[str, Any]):
    """
    A JSON object that notes a key which is given twice.

    (What reads JSON for us swallows errors that are raised here.)

    Attributes:
        twice: The key; None = all are given once.
    """

    twice: str | None = None

    def __setitem__(self, key: str, value: Any) -> None:
        """Take a value."""
        if key in self:
            self.twice = key
        super().__setitem__(key, value)


class ReportWriter:
    """
    Writes a report, while its `with` block lasts; an exception leaves no file behind.

    Args:
        path: What is there is replaced in the end.
        compared: Whether all pods were looked at.

    Raises:
        InvalidRequestError: There can be no such file.
    """

    def __init__(self, path: Path, cluster: ClusterInformation, *, compared: bool) -> None:
        # A symbolic link stays one.
        self._path = Path(os.path.realpath(path))
        if self._path.exists() and not self._path.is_file():
            raise InvalidRequestError(f"{path} is not a regular file")
        try:
            self._file = NamedTemporaryFile(  # noqa: SIM115 - closed by __exit__
                "w", encoding="utf-8", dir=self._path.parent, prefix=".report-", delete=False
            )
        except OSError as error:  # It names the temporary file.
            raise InvalidRequestError(f"cannot write {path}: {error.strerror}") from error
        spec, self._separator, self._in_handles = cluster.spec, "", False
        head = {
            "version": spec.calico_version,
            "clusterGUID": spec.cluster_guid,
            "datastoreLocked": spec.datastore_ready is False,
            "clusterInformationRevision": cluster.metadata.resource_version,
            "clusterType": spec.cluster_type,
        }
        if compared:
            head[_CHECKED_BY] = f"poolctl {__version__}"
        self._file.write(f'{json.dumps(head, indent=2)[:-2]},\n  "allocations": {{')

    def __enter__(self) -> "ReportWriter":
        return self

    def allocation(self, entry: Entry, *, in_use: bool) -> None:
        """Write what is known of an address; all of them come before the handles."""
        of, node = entry.attributes, entry.node
        value = {
            "ip": str(entry.address),
            "handle": entry.handle or "",
            "sequenceNumber": entry.sequence_number,
            "pod": of.get("pod", ""),
            "namespace": of.get("namespace", ""),
            "node": node,
            "type": of.get("type", ""),
            "creationTimestamp": of.get("timestamp", ""),
            "inUse": in_use,
            "borrowed": bool(entry.host) and node != entry.host,
            "coolingDown": entry.cooling,
            "owners": None,
        }
        kept = {
            k: v for k, v in value.items() if v or k in ("sequenceNumber", "inUse", "owners")
        }
        self._write(f'    "{entry.address}": [{json.dumps(kept)}]')

    def handles(self, leaked: Iterable[tuple[str, int]]) -> None:
        """Write ids of handles that no address carries, and the revision of each."""
        for id_, revision in leaked:
            if not self._in_handles:
                self._file.write('\n  },\n  "leakedHandles": [')
                self._separator, self._in_handles = "", True
            value = {"ID": id_, "UID": None, "Revision": str(revision)}
            self._write(f"    {json.dumps(value)}")

    def _write(self, line: str) -> None:
        self._file.write(f"{self._separator}\n{line}")
        self._separator = ","

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._file.write("\n  ]\n}" if self._in_handles else "\n  }\n}")
            if kind is None:
                os.replace(self._file.name, self._path)
        finally:
            with suppress(FileNotFoundError):  # It was moved to its place.
                os.unlink(self._file.name)


@dataclass(frozen=True, slots=True)
class Leaked:
    """An address that a report calls leaked, and what its owner was then."""

    address: IPAddress
    handle: str
    sequence_number: int


class Report:
    """
    A report as somebody wrote it.

    Attributes:
        compared: Whether poolctl compared with the pods when it wrote it.

    Raises:
        InvalidRequestError: It is not a report; from the methods, too.
        OSError: It cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        head: dict[str, object] = {}
        for prefix, event, value in self._parsed(ijson.parse):
            if not prefix and event not in ("start_map", "map_key", "end_map"):
                raise InvalidRequestError(f"{path} is not a report: not a JSON object")
            if "." in prefix or not prefix or event.startswith("end_") or event == "map_key":
                continue
            if prefix in head:
                raise self._wrong(prefix, "given twice")
            head[prefix] = _STARTS.get(event, value)
        for field in _TEXTS:
            self._check(field, head, str, "a text")
        if not isinstance(head.get("allocations"), dict | None):
            raise self._wrong("allocations", "must be an object")
        if not isinstance(head.get("leakedHandles"), list | None):
            raise self._wrong("leakedHandles", "must be a list")
        self.version, self.cluster, self.revision = (str(head[field]) for field in _TEXTS)
        self.compared = str(head.get(_CHECKED_BY, "")).startswith("poolctl")

    def leaked(self) -> Iterator[Leaked]:
        """Yield addresses that are neither in use nor cooling down."""
        seen: set[bytes] = set()
        for text, found in self._parsed(ijson.kvitems, "allocations", map_type=_Object):
            where = f"allocations[{text!r}]"
            address = self._address(text, where)
            if address.packed in seen:
                raise self._wrong(where, "given twice")
            seen.add(address.packed)
            if not isinstance(found, list):
                raise self._wrong(where, "must be a list")
            leaks = [value for value in found if self._is_leaked(value, where)]
            if leaks and len(found) > 1:
                both = len(leaks) < len(found)
                raise self._wrong(where, "both in use and leaked" if both else "given twice")
            yield from (self._leak(text, address, value, where) for value in leaks)

    def _is_leaked(self, value: Any, where: str) -> bool:
        if not isinstance(value, _Object):
            raise self._wrong(where, "must be a list of objects")
        self._check_keys(value, where)
        in_use = self._check("inUse", value, bool, "true or false", where)
        cooling = self._check("coolingDown", value, bool, "true or false", where, False)
        return not in_use and not cooling

    def _leak(
        self, text: str, address: IPAddress, value: Mapping[str, Any], where: str
    ) -> Leaked:
        ip = self._check("ip", value, str, "a text", where, text)
        if ip != text:
            self._address(ip, f"{where}.ip")
            raise self._wrong(f"{where}.ip", f"{ip!r:.80} is another address")
        number = self._check("sequenceNumber", value, int, "a whole number", where)
        handle = self._check("handle", value, str, "a text", where, "")
        return Leaked(address, handle, number)

    def _address(self, text: str, where: str) -> IPAddress:
        try:
            return parse_address(text)
        except ValueError:
            raise self._wrong(where, f"{text!r:.80} is no IP address") from None

    def leaked_handles(self) -> Iterator[tuple[str, int]]:
        """Yield ids of handles that no address carried, and the revision of each."""
        seen: set[str] = set()
        found = self._parsed(ijson.items, "leakedHandles.item", map_type=_Object)
        for number, value in enumerate(found):
            where = f"leakedHandles[{number}]"
            if not isinstance(value, _Object):
                raise self._wrong(where, "must be an object")
            self._check_keys(value, where)
            id_ = self._check("ID", value, str, "a text", where)
            if not is_segment(id_):
                raise self._wrong(f"{where}.ID", f"{id_!r:.80} cannot be the id of a handle")
            if id_ in seen:
                raise self._wrong(f"{where}.ID", f"{id_!r:.80} is given twice")
            seen.add(id_)
            text = self._check("Revision", value, str, "a text", where)
            if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text)):
                raise self._wrong(f"{where}.Revision", f"{text!r:.80} is no revision of etcd")
            yield id_, int(text)

    def _parsed(self, parse: Any, *args: str, **options: Any) -> Iterator[Any]:
        with Path(self.path).open("rb") as file:
            try:
                yield from parse(file, *args, **options)
            except (ijson.JSONError, UnicodeError) as error:
                # One that quotes what is no text comes as a representation of bytes.
                is_text = isinstance(error, ijson.JSONError) and not str(error).startswith("b'")
                why = str(error).partition("\n")[0] if is_text else "it is not UTF-8 text"
                raise InvalidRequestError(f"{self.path} is not JSON: {why:.200}") from error

    def _check_keys(self, value: _Object, where: str) -> None:
        if value.twice is not None:
            raise self._wrong(f"{where}.{value.twice:.80}", "given twice")

    def _check(
        self,
        field: str,
        value: Mapping[str, Any],
        kind: type,
        what: str,
        where: str = "",
        default: object = None,
    ) -> Any:
        found, name = value.get(field, default), f"{where}.{field}" if where else field
        if field not in value and default is None:
            raise self._wrong(name, "is missing")
        if type(found) is not kind:
            raise self._wrong(name, f"must be {what}")
        return found

    def _wrong(self, field: str, why: str) -> InvalidRequestError:
        return InvalidRequestError(f"{self.path} is not a report: {field}: {why}", field=field)
