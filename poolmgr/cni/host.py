"""Which node this is: what the network configuration says, else what the host says."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from poolmgr.cni.result import CallError, Code

NODENAME_FILE = Path("/var/lib/calico/nodename")
_LIMIT_BYTES = 1024


def node_name(naming: Mapping[str, str], *, default_file: Path = NODENAME_FILE) -> str:
    """
    Return the node's name: `nodename`, the node name file, `hostname`, or the host's own.

    A file's content counts as it stands, because calico-ipam takes it so; a line end would be
    part of the name, and is refused.

    Raises:
        CallError: With code 7: the name is not usable, or the file named cannot be read.
    """
    if naming.get("nodename"):
        return _checked(naming["nodename"], "nodename")
    if naming.get("nodename_file"):
        return _from_file(Path(naming["nodename_file"]))
    if default_file.exists():
        return _from_file(default_file)
    if naming.get("hostname"):
        return _checked(naming["hostname"], "hostname")
    return _checked(os.uname().nodename.lower(), "the host's name")


def _from_file(path: Path) -> str:
    text, why = None, "it is not a regular file"
    try:
        if stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for a writer
            with path.open("rb") as file:
                text = file.read(_LIMIT_BYTES).decode()
    except OSError as err:
        why = err.strerror or str(err)
    except ValueError as err:  # not UTF-8, or a path with a null character
        why = str(err)
    if text is None:
        raise CallError(
            Code.INVALID_CONFIG,
            f"node name file {path} is not readable: {why}; write the node's name into it",
            field="nodename_file",
        )
    return _checked(text, f"node name file {path}")


def _checked(name: str, source: str) -> str:
    if not name or "/" in name or not name.isprintable() or len(name) > 253:
        raise CallError(
            Code.INVALID_CONFIG,
            f"{source}: {name!r:.80} is not a node name: 1 to 253 characters, "
            "no slash, no control character and no line end",
            field="nodename",
        )
    return name
