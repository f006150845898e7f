"""
Manifests: YAML or JSON text, several documents and Lists, to resources.

Rules:

1. Scalars are those of Calico's tools: a date or 12:30 is text, a key given twice is an error.
2. Reading (syntax) and checking (content) are separate steps: `documents`, then `resource`.
3. Whatever a path leads to, reading it ends: no FIFO is waited for, no device read for ever.
"""

import json
import os
import re
import stat
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import yaml

from poolmgr.api import KINDS, Resource
from poolmgr.api.meta import API_VERSION, plain_text
from poolmgr.api.violations import shown, title
from poolmgr.errors import InvalidRequestError

MAX_BYTES = 32 * 1024 * 1024
"""Size of an input; the largest clusters' resources together are smaller."""

_STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Paths, or their beginnings, where a shell puts what it pipes: `-f <(command)`."""

_SUFFIXES = (".yaml", ".yml", ".json")
_MERGE = "tag:yaml.org,2002:merge"
_SCALARS = {
    "bool": r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    # A whole number of thousands of digits is none: Python would not write it.
    "int": r"[-+]?(?:0b[01_]{1,64}|0x[0-9a-fA-F_]{1,64}|0o?[0-7_]{1,64}|0|[1-9][0-9_]{0,64})",
    "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
    "null": r"~|null|Null|NULL|",
    "merge": r"<<",
}


class _Loader(yaml.SafeLoader):
    """YAML without dates and base 60, or cycles; keys become text and must not repeat."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def construct_object(
        self,
        node: yaml.Node,
        deep: bool = False,  # noqa: ARG002, FBT001, FBT002 - as PyYAML declares it
    ) -> Any:
        """Make a value with all that is in it, so that one inside itself is found out."""
        return super().construct_object(node, deep=True)

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: ARG002, FBT001, FBT002 - as PyYAML declares it
    ) -> dict[Hashable, Any]:
        """Make an object of a mapping, merged ones included."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._key(key_node)
            if key in seen:
                problem = f"key {shown(key)} twice"
                raise yaml.constructor.ConstructorError(
                    None, None, problem, key_node.start_mark
                )
            seen.add(key)
        self.flatten_mapping(node)
        return {self._key(key): self.construct_object(value) for key, value in node.value}

    def _key(self, node: yaml.Node) -> str:
        key = plain_text(self.construct_object(node))
        if isinstance(key, str):
            return key
        problem = f"{shown(key)} cannot be a key"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for _tag, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), None
    )


def files(
    path: str, *, recursive: bool = False, skip_empty: bool = False
) -> Iterator[tuple[str, str]]:
    """
    Read a file, or the manifests of a directory in name order.

    Args:
        recursive: Look into subdirectories too.
        skip_empty: A directory without a manifest is fine.

    Yields:
        Path and text of each.

    Raises:
        InvalidRequestError: Something cannot be read, or there is no manifest in the directory.
    """
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            yield path, _content(path)
            return
        manifests = _manifests(path, recursive=recursive)
        for file in manifests:
            yield str(file), _content(str(file))
    except OSError as error:
        raise InvalidRequestError(
            f"cannot read {error.filename or path}: {error.strerror or error}"
        ) from error
    if not manifests and not skip_empty:
        raise InvalidRequestError(
            f"directory {path} holds no file that ends in {', '.join(_SUFFIXES)}"
        )


def check_file(path: str) -> None:
    """
    Check that reading `path` will end: a file of a sensible size, /dev/null, a shell's pipe.

    Raises:
        InvalidRequestError: It is something else.
        OSError: Nothing is there, or nobody may look.
    """
    found = os.stat(path)
    ends = stat.S_ISREG(found.st_mode) or os.path.samestat(found, os.stat(os.devnull))
    if not (ends or path.startswith(_STREAMS)):
        raise InvalidRequestError(f"cannot read {path}: it is not a regular file")
    if found.st_size > MAX_BYTES:
        raise _too_large(path)


def text_of(file: BinaryIO, origin: str) -> str:
    """
    Read a whole file.

    Args:
        origin: Its name, for messages.

    Raises:
        InvalidRequestError: It is larger than MAX_BYTES, or not UTF-8 text.
        OSError: It cannot be read.
    """
    raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise _too_large(origin)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"cannot read {origin}: it is not UTF-8 text") from error


def _too_large(origin: str) -> InvalidRequestError:
    limit = f"{MAX_BYTES // 1024**2} MiB"
    return InvalidRequestError(f"cannot read {origin}: it is larger than {limit}")


def _content(path: str) -> str:
    check_file(path)
    with open(path, "rb") as file:
        return text_of(file, path)


def _manifests(path: str, *, recursive: bool) -> list[Path]:
    """Find files by their suffix, also links that lead nowhere: reading these will fail."""

    def fail(error: OSError) -> NoReturn:
        raise error

    found = []
    for folder, subfolders, names in os.walk(path, onerror=fail):
        found += [file for name in names if (file := Path(folder, name)).suffix in _SUFFIXES]
        if not recursive:
            subfolders.clear()
    return sorted(found)


def documents(text: str, origin: str) -> list[Mapping[str, Any]]:
    """
    Read all documents of a manifest; the items of Lists count as documents.

    Args:
        origin: Where the text comes from, for messages.

    Raises:
        InvalidRequestError: It is neither YAML nor JSON, or a document is not an object.
    """
    found: list[Mapping[str, Any]] = []
    for document in values(text, origin):
        for item in document if isinstance(document, list) else [document]:
            if not isinstance(item, Mapping):
                raise InvalidRequestError(f"{origin}: {shown(item)} is not a resource")
            found += _items(item, origin)
    return found


def resource(obj: Mapping[str, Any]) -> Resource:
    """
    Make the resource that a document describes.

    Raises:
        InvalidRequestError: Unknown kind or version, or the content is refused.
    """
    kind, version = obj.get("kind"), obj.get("apiVersion")
    if kind is None:
        raise InvalidRequestError(f"kind is required: {', '.join(KINDS)}", field="kind")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise InvalidRequestError(
            f"kind: {shown(kind)} is not known: {', '.join(KINDS)}", field="kind"
        )
    if version != API_VERSION:
        who, why = title(cls.kind, obj), f"apiVersion: {shown(version)} is not known"
        if version is None:
            why = "apiVersion is required"
        raise InvalidRequestError(f"{who}: {why}: {API_VERSION}", field="apiVersion")
    return cls.from_manifest(obj)


def values(text: str, origin: str) -> list[Any]:
    """Read the values of all documents, whatever they are; raises as `documents`."""
    try:
        if text.lstrip()[:1] in ("{", "["):
            return [_json(text)]
    except ValueError:
        pass  # Flow style YAML begins like JSON.
    except RecursionError as error:
        raise InvalidRequestError(f"{origin}: nested too deeply") from error
    try:
        return [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidRequestError(f"{origin}{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidRequestError(
            f"{origin}: not YAML: {' '.join(str(error).split())}"
        ) from error
    except RecursionError as error:
        raise InvalidRequestError(f"{origin}: nested too deeply") from error


def _json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError  # The YAML reader says which key, and where.
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def _items(document: Mapping[str, Any], origin: str) -> list[Mapping[str, Any]]:
    """Return a List's items, which may leave kind and version to it, or the document."""
    kind = document.get("kind")
    if not _is_list(document):
        return [document]
    items = document.get("items")
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise InvalidRequestError(f"{origin}: items of {kind}: must be a list of resources")
    if any(map(_is_list, items)):
        # With YAML's aliases, a few lines of Lists in Lists could mean millions of resources.
        why = "a List cannot be in a List, name its items themselves"
        raise InvalidRequestError(f"{origin}: items of {kind}: {why}")
    implied = (
        {"kind": str(kind).removesuffix("List"), "apiVersion": document.get("apiVersion")}
        if kind != "List"
        else {}
    )
    return [{**implied, **item} for item in items]


def _is_list(document: Mapping[str, Any]) -> bool:
    kind = document.get("kind")
    return isinstance(kind, str) and kind.endswith("List")
