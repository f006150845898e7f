"""
Gives nodes other names, in everything that is stored about their addresses.

Source: what calicoctl datastore migrate export does where nodes are called otherwise by
Kubernetes; it leaves out the handles of IPv6 tunnels, we do not.
"""

from collections.abc import Mapping
from typing import Any

from poolmgr.copies.order import SESSIONS
from poolmgr.core.records import AFFINITIES, HANDLES, resource_range
from poolmgr.errors import InvalidRequestError

_NODES = resource_range("nodes")
_HOSTS = AFFINITIES["host"]
_TUNNELS = tuple(
    f"{kind}-tunnel-addr-"
    for kind in ("ipip", "vxlan", "vxlan-v6", "wireguard", "wireguard-v6")
)


class Rename:
    """
    New names of nodes.

    Args:
        names: Old -> new; the same name = it stays.

    Raises:
        InvalidRequestError: Two nodes would have one name.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {old: new for old, new in names.items() if old != new}
        by_new: dict[str, str] = {}
        for old, new in names.items():
            if new in by_new:
                raise InvalidRequestError(
                    f"nodes {by_new[new]} and {old} would both be called {new}"
                )
            by_new[new] = old
        self._handles = {
            tunnel + old: tunnel + new
            for old, new in self._names.items()
            for tunnel in _TUNNELS
        }

    def __bool__(self) -> bool:
        """Tell whether any name changes."""
        return bool(self._names)

    def host(self, name: str) -> str:
        """Return the new name of a node."""
        return self._names.get(name, name)

    def key(self, key: str) -> str:
        """Return where the same is stored under the new names."""
        if key in HANDLES:
            handle = key.removeprefix(HANDLES.start)
            return HANDLES.start + self._handles.get(handle, handle)
        for start in (_NODES.start, SESSIONS.start):
            if key.startswith(start):
                return start + self.host(key.removeprefix(start))
        if key in _HOSTS:
            host, slash, rest = key.removeprefix(_HOSTS.start).partition("/")
            return f"{_HOSTS.start}{self.host(host)}{slash}{rest}"
        return key

    def block(self, block: dict[str, Any]) -> None:
        """Rename in a block's JSON."""
        kind, colon, host = str(block.get("affinity") or "").partition(":")
        if kind == "host":
            block["affinity"] = f"{kind}{colon}{self.host(host)}"
        for attribute in block.get("attributes") or ():
            handle = attribute.get("handle_id")
            if handle in self._handles:
                attribute["handle_id"] = self._handles[handle]
            for owner in ("secondary", "alternateOwnerAttrs"):
                if node := (attribute.get(owner) or {}).get("node"):
                    attribute[owner]["node"] = self.host(node)
