"""
Patches: what becomes of a resource.

Three kinds, as kubectl has them: `merge` (RFC 7386), `json` (RFC 6902), and `strategic`, which
for these resources is a merge that replaces lists and understands the directive `$patch`.
"""

import copy
from collections.abc import Mapping
from typing import Any

from poolmgr.api import Resource, manifests
from poolmgr.api.violations import shown, title
from poolmgr.errors import InvalidRequestError

TYPES = ("strategic", "merge", "json")
_DIRECTIVE = "$patch"
_SHOWN = 120  # characters of a foreign message
_CHANGEABLE = ("labels", "annotations", "resourceVersion")


def parsed(text: str, type_: str) -> Any:
    """
    Read a patch, JSON or YAML.

    Raises:
        InvalidRequestError: It is not a patch of that type.
    """
    values = manifests.values(text, "patch")
    shape = list if type_ == "json" else dict
    if len(values) != 1 or not isinstance(values[0], shape):
        what = "a list of operations" if type_ == "json" else "an object"
        raise InvalidRequestError(f"patch: of type {type_} it must be {what}")
    return values[0]


def patched(stored: Resource, patch: Any, type_: str) -> Resource:
    """
    Return the manifest that a patch makes of a stored resource.

    Raises:
        InvalidRequestError: The patch does not fit, or what it makes is refused.
    """
    cls, before = type(stored), _known(stored.to_manifest(), stored)
    after = _APPLY[type_](copy.deepcopy(before), patch)
    if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
        raise InvalidRequestError("patch: it leaves no resource with metadata")
    for path, old, new in (
        *((name, before.get(name), after.get(name)) for name in _fixed(before, after)),
        *(
            (f"metadata.{name}", before["metadata"].get(name), after["metadata"].get(name))
            for name in sorted(before["metadata"].keys() | after["metadata"].keys())
            if name not in _CHANGEABLE
        ),
    ):
        if old != new:
            raise InvalidRequestError(f"{path}: a patch cannot change it to {shown(new)}")
    try:
        return cls.from_manifest(after)
    except InvalidRequestError as error:
        # Whoever patches knows which resource it is.
        who = title(cls.kind, after)
        raise InvalidRequestError(str(error).removeprefix(f"{who}: ")) from error


def _fixed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name the parts beside metadata and spec, which people do not write."""
    return sorted((before.keys() | after.keys()) - {"metadata", "spec"})


def _known(value: dict[str, Any], stored: Resource) -> dict[str, Any]:
    """Leave out what is stored and not known to us: it stays, and is no part of a manifest."""
    known = {key: each for key, each in value.items() if key not in stored.extra}
    metadata = stored.metadata.extra
    known["metadata"] = {k: v for k, v in value["metadata"].items() if k not in metadata}
    spec = getattr(stored, "spec").extra  # noqa: B009 - every kind has one, the base has not
    known["spec"] = {k: v for k, v in value.get("spec", {}).items() if k not in spec}
    return known


def _merge(old: Any, patch: Any) -> Any:
    """Merge objects, remove what is null, replace everything else."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _strategic(old: Any, patch: Any) -> Any:
    """Merge as `_merge` does, with directives."""
    if isinstance(patch, list):
        if any(isinstance(item, Mapping) and _DIRECTIVE in item for item in patch):
            raise InvalidRequestError(f"patch: {_DIRECTIVE} in a list: lists are replaced here")
        return patch
    if not isinstance(patch, Mapping):
        return patch
    directive = _directive(patch)
    if directive == "delete":
        return None
    merged = dict(old) if isinstance(old, Mapping) and directive == "merge" else {}
    for key, value in patch.items():
        if key == _DIRECTIVE:
            continue
        new = None if value is None else _strategic(merged.get(key), value)
        if new is None:
            merged.pop(key, None)
        else:
            merged[key] = new
    return merged


def _directive(patch: Mapping[str, Any]) -> str:
    """Return what to do with an object; refuse what would be done otherwise than asked."""
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in ("merge", "replace", "delete"):
        allowed = "merge, replace, delete"
        raise InvalidRequestError(f"patch: {_DIRECTIVE}: {shown(directive)} is not {allowed}")
    for key in patch:
        if key.startswith("$") and key != _DIRECTIVE:
            raise InvalidRequestError(f"patch: directive {key} is not known: {_DIRECTIVE}")
    return str(directive)


def _json_patch(old: Any, patch: Any) -> Any:
    for number, operation in enumerate(patch, 1):
        try:
            old = _operated(old, operation)
        except ValueError as error:
            named = isinstance(operation, Mapping)
            words = [str(operation.get(key, "")) for key in ("op", "path") if named]
            which = f" ({shown(' '.join(words))})" if any(words) else ""
            raise InvalidRequestError(f"patch: operation {number}{which}: {error}") from error
    return old


def _operated(old: Any, operation: Any) -> Any:
    """Apply one operation; ValueError = it does not fit."""
    from jsonpatch import (
        JsonPatch,
        JsonPatchException,
        JsonPatchTestFailed,
        JsonPointerException,
    )

    try:
        return JsonPatch([operation]).apply(old)
    except JsonPatchTestFailed as error:
        raise ValueError(f"the value is not {shown(operation['value'])}") from error
    except JsonPatchException as error:
        raise ValueError(f"{error!s:.{_SHOWN}}") from error
    except (
        JsonPointerException,
        # What the library makes of a path through a number, or of one that is none.
        *(TypeError, KeyError, ValueError, IndexError, AttributeError),
    ) as error:
        raise ValueError("there is no such path") from error


_APPLY = {"strategic": _strategic, "merge": _merge, "json": _json_patch}
