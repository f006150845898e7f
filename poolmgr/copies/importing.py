"""Reads exports, calicoctl's and ours, for an import; the form is told in copies/export.py."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import ijson

from poolmgr.api.manifests import documents
from poolmgr.api.meta import API_VERSION, is_name, new_uid
from poolmgr.copies.export import KINDS
from poolmgr.copies.order import CLUSTER_KEY
from poolmgr.copies.staged import Staged
from poolmgr.core.fields import dump
from poolmgr.core.records import CONFIG_KEY, is_segment, resource_range
from poolmgr.errors import InvalidRequestError

_LISTS = ("block_affinities", "blocks", "handles", "poolmgr")
_LONGEST = 16 * 1024 * 1024
_SEPARATOR = b"==="


class _Digesting:
    """A file whose content is summed up while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        raw = self._file.read(size)
        self.digest.update(raw)
        return raw

    def readline(self) -> bytes:
        raw = self._file.readline(_LONGEST)
        self.digest.update(raw)
        return raw


def read(file: BinaryIO, staged: Staged, *, now: str) -> None:
    """
    Read an export, whole.

    Args:
        now: RFC 3339, the time at which its resources are created.

    Raises:
        InvalidRequestError: It is none, or names what cannot be imported.
        RefusedError: There is no space for it.
        OSError: It cannot be read.
    """
    source = _Digesting(file)
    for obj in _resources(source):
        _add_resource(staged, obj, now)
    cluster = b"".join(_until_separator(source))
    _add_cluster(staged, cluster, now)
    _add_addresses(staged, source)
    source.read()
    staged.digest = source.digest.hexdigest()


def _until_separator(source: _Digesting) -> Iterator[bytes]:
    while raw := source.readline():
        if raw.rstrip() == _SEPARATOR:
            return
        yield raw
    raise InvalidRequestError(
        "this is no export of datastore migrate, or it is cut off: two lines of '===' separate "
        "its parts"
    )


def _resources(source: _Digesting) -> Iterator[Mapping[str, Any]]:
    """Yield the resources; an item that is JSON on a line of its own is not kept."""
    lines: list[bytes] = []
    for raw in _until_separator(source):
        if raw.rstrip() == b"---":
            yield from _document(lines)
            lines = []
        elif (item := _json_item(raw)) is not None:
            yield item
        else:
            lines.append(raw)
    yield from _document(lines)


def _json_item(raw: bytes) -> Mapping[str, Any] | None:
    if not raw.startswith(b"- {"):
        return None
    try:
        item = json.loads(raw[2:])
    except (ValueError, RecursionError):
        return None  # YAML may still make sense of it.
    return item if isinstance(item, dict) and "kind" in item else None


def _document(lines: list[bytes]) -> Iterator[Mapping[str, Any]]:
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("the resources are not UTF-8 text") from error
    yield from documents(text, "the resources")


def _add_resource(staged: Staged, obj: Mapping[str, Any], now: str) -> None:
    kind, metadata = obj.get("kind"), obj.get("metadata")
    plural = KINDS.get(kind) if isinstance(kind, str) else None
    if plural is None or obj.get("apiVersion") != API_VERSION:
        raise InvalidRequestError(
            f"kind: {kind!r} of {obj.get('apiVersion')!r} is not known: {', '.join(KINDS)} of "
            f"{API_VERSION}"
        )
    if not isinstance(metadata, Mapping):
        raise InvalidRequestError(f"{kind}: metadata: must be an object")
    name, namespace = metadata.get("name"), metadata.get("namespace")
    for field, text in (("name", name), ("namespace", namespace or "default")):
        if not isinstance(text, str) or not (is_name(text) or is_segment(text)):
            raise InvalidRequestError(f"{kind}: metadata.{field}: {text!r} is not a name")
    within = f"{namespace}/" if namespace else ""
    staged.add(f"{resource_range(plural).start}{within}{name}", _stored(obj, now))


def _stored(obj: Mapping[str, Any], now: str) -> bytes:
    """Write a resource as a store has it, which gives it an identity."""
    given = {
        name: value for name, value in obj["metadata"].items() if name != "resourceVersion"
    }
    metadata = {"name": given.pop("name"), "uid": new_uid(), "creationTimestamp": now, **given}
    head = {"kind": obj["kind"], "apiVersion": API_VERSION, "metadata": metadata}
    rest = {name: value for name, value in obj.items() if name not in head}
    return dump(head, rest)


def _add_cluster(staged: Staged, raw: bytes, now: str) -> None:
    try:
        value = json.loads(raw or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("the second part is not JSON") from error
    if value == {}:
        return
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        raise InvalidRequestError("the second part is not a ClusterInformation")
    value["kind"], value["metadata"]["name"] = "ClusterInformation", "default"
    staged.add(CLUSTER_KEY, _stored(value, now))


def _add_addresses(staged: Staged, source: _Digesting) -> None:
    try:
        for part, value in _parts(source):
            if part == "config" and value is not None and "Key" not in value:
                staged.add(CONFIG_KEY, dump(value, {}))
            elif value is not None:
                staged.add(value["Key"], dump(value["Value"], {}))
    except (ijson.JSONError, OverflowError) as error:
        text = " ".join(str(error).split())
        raise InvalidRequestError(f"the third part is damaged or cut off: {text}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequestError(
            "the third part has an entry that is not a Key with its Value"
        ) from error


def _parts(source: _Digesting) -> Iterator[tuple[str, Any]]:
    """Yield the entries of the third part, each with the name of its list."""
    wanted = {f"{name}.item": name for name in _LISTS} | {"config": "config"}
    builder: Any = None
    inside = ""
    for prefix, event, value in ijson.parse(source, use_float=True):
        if builder is None and prefix in wanted:
            builder, inside = ijson.ObjectBuilder(), prefix
        if builder is None:
            continue
        builder.event(event, value)
        if prefix == inside and event not in ("start_map", "start_array", "map_key"):
            yield wanted[inside], builder.value
            builder = None
