"""Labels on a command line: which to set, which to remove, and what may be overwritten."""

from collections.abc import Mapping, Sequence

from poolmgr.api import Resource
from poolmgr.api.meta import ObjectMeta
from poolmgr.api.violations import refused
from poolmgr.errors import RefusedError

Wanted = Mapping[str, str | None]
"""Label -> value; None = it shall go."""


def wanted(words: Sequence[str], *, remove: bool = False) -> dict[str, str | None]:
    """
    Understand KEY=VALUE, KEY- and, with `remove`, KEY.

    Raises:
        ValueError: A word is none of these, or a key comes twice.
        InvalidRequestError: No label can have such a key or value.
    """
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        gone = remove or (not equals and word.endswith("-"))
        if bool(equals) == gone:
            raise ValueError(f"{word!r} is not {'KEY' if remove else 'KEY=VALUE or KEY-'}")
        key = key if remove else key.removesuffix("-") if gone else key
        if key in found:
            raise ValueError(f"label {key!r} is named twice")
        found[key] = None if gone else value
    labels = {key: value or "" for key, value in found.items()}
    if wrong := list(ObjectMeta(name="x", labels=labels).violations()):
        raise refused("", wrong)
    return found


def labelled(old: Mapping[str, str], new: Wanted, *, overwrite: bool) -> dict[str, str]:
    """
    Return the labels with the wanted ones among them.

    Raises:
        RefusedError: A label has another value, or is to be removed and absent.
    """
    labels = dict(old)
    for key, value in new.items():
        if value is None:
            if key not in old:
                raise RefusedError(f"there is no label {key}")
            del labels[key]
        elif not overwrite and old.get(key, value) != value:
            raise RefusedError(
                f"label {key} is {old[key]!r}; say --overwrite to change it to {value!r}"
            )
        else:
            labels[key] = value
    return labels


def relabelled(stored: Resource, new: Wanted, *, overwrite: bool) -> Resource:
    """Return a resource with the wanted labels among its own; raises as `labelled`."""
    labels = labelled(stored.metadata.labels, new, overwrite=overwrite)
    metadata = stored.metadata.model_copy(update={"labels": labels})
    return stored.model_copy(update={"metadata": metadata})
