"""
What a shell completes: kinds, and names that are stored.

Rules:

1. Whoever presses a key waits a second for etcd, and not longer.
2. Nothing is said, whatever goes wrong: the terminal is in the middle of a line.
"""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from poolctl.config import Session
from poolmgr.errors import PoolmgrError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_POOLCTL_COMPLETE"
"""Set by the script where a shell asks, and nobody else does."""

SHELLS = ("bash", "zsh", "fish")
_TIMEOUT_S = 1.0
_MOST = 1000


def script(shell: str) -> str:
    """Return the script that one of SHELLS reads."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    return kind(click.Group(), {}, "poolctl", VARIABLE).source()


def attach(command: click.Command) -> None:
    """Let parameters complete what their names say, in a command and all below it."""
    for parameter in command.params:
        values = _VALUES.get(parameter.name or "")
        if values and parameter.type is click.STRING:
            parameter.type = _Completed(values)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            attach(each)


class _Completed(click.types.StringParamType):
    """A text that a shell completes to one of some values."""

    def __init__(self, values: Callable[[click.Context, str], list[str]]) -> None:
        self._values = values

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        return [CompletionItem(value) for value in self._values(ctx, incomplete)]


def _kinds(_context: click.Context, incomplete: str) -> list[str]:
    from poolmgr.api import KINDS

    plurals = (kind.plural for kind in KINDS.values())
    return [word for word in plurals if word.startswith(incomplete.lower())]


def _names(context: click.Context, incomplete: str) -> list[str]:
    """Complete the name of a resource: its kind is named before it, or goes without saying."""
    if "kind" not in context.params:
        of_pools = context.parent is not None and context.parent.info_name == "ipam"
        return (_pools if of_pools else _nodes)(context, incomplete)
    kind = context.params["kind"]
    given = context.params.get("names") or ()
    found = _stored(context, kind.plural, incomplete) if kind else []
    return [name for name in found if name not in given]


def _pools(context: click.Context, incomplete: str) -> list[str]:
    return _stored(context, "ippools", incomplete)


def _nodes(context: click.Context, incomplete: str) -> list[str]:
    return _stored(context, "nodes", incomplete)


_VALUES: Mapping[str, Callable[[click.Context, str], list[str]]] = {
    "kind": _kinds,
    "name": _names,
    "names": _names,
    "node": _nodes,
    "nodes": _nodes,
    "pool": _pools,
    "pools": _pools,
}
"""What the parameters of all commands complete, by name."""


def _stored(context: click.Context, plural: str, incomplete: str) -> list[str]:
    """List names that are stored and begin so; none if etcd does not answer in time."""
    from poolmgr.core.records import resource_range
    from poolmgr.core.txn import Fetch, Range

    given = context.find_root().params
    session = Session(given.get("config"), given.get("etcd_endpoints"), _TIMEOUT_S)
    range_ = Range.prefix(
        f"{resource_range(plural).start}{incomplete}", limit=_MOST, keys_only=True
    )
    with (
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(PoolmgrError),
        contextlib.closing(session),
    ):
        asked = Fetch(ranges=frozenset({range_}))
        reading = session.store.read(asked, timeout_s=_TIMEOUT_S)
        names = (key.rpartition("/")[2] for key, _ in reading.ranges[range_].items)
        # A shell would take white space for the end of a name.
        return [name for name in names if name.isprintable() and " " not in name]
    return []
