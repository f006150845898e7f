"""The IPAM configuration: `ipam show --show-configuration` and `ipam configure`."""

import json
from collections.abc import Mapping
from typing import Any

import click

from poolctl.config import Session
from poolctl.ipam.output import TABLE, Table, show_document
from poolctl.report import say, warn
from poolmgr.core.config import IPAMConfig
from poolmgr.core.records import CONFIG_KEY, decode_config
from poolmgr.core.request import ChangeConfig
from poolmgr.core.txn import Fetch
from poolmgr.ipam import IPAM

_PROPERTIES: Mapping[str, tuple[str, str]] = {
    "strict_affinity": ("StrictAffinity", "strictAffinity"),
    "auto_allocate_blocks": ("AutoAllocateBlocks", "autoAllocateBlocks"),
    "max_blocks_per_host": ("MaxBlocksPerHost", "maxBlocksPerHost"),
    "kubevirt_persistence": ("KubeVirtVMAddressPersistence", "kubeVirtVMAddressPersistence"),
    "cooldown_s": ("IPCooldownSeconds", "ipCooldownSeconds"),
}
"""Field -> what people call it, and what documents do; in Calico's order."""


def show_configuration(session: Session, *, output: str) -> int:
    """
    Print the configuration, and whether it is stored; nothing is written.

    Returns:
        The exit status.

    Raises:
        CorruptStateError: What is stored does not decode.
        StoreError: There is no answer.
    """
    fetch = Fetch(keys=frozenset({CONFIG_KEY}))
    reading = session.store.read(fetch, timeout_s=session.left_s)
    stored = reading.found[CONFIG_KEY]
    config = decode_config(stored.value if stored else None)
    if output == TABLE:
        _show_table(config, is_stored=stored is not None)
        return 0
    values = {name: getattr(config, field) for field, (_, name) in _PROPERTIES.items()}
    about = {"revision": reading.revision, "stored": stored is not None}
    show_document({**about, **values, "unknownFields": dict(config.extra)}, output)
    return 0


def configure(session: Session, fields: Mapping[str, Any]) -> int:
    """
    Change what the configuration says, one field or several in one write.

    Args:
        fields: Those of `ChangeConfig`.

    Returns:
        The exit status.

    Raises:
        InvalidRequestError: It would break a rule; nothing was written.
        PoolmgrError: Any other of the library's.
    """
    change = ChangeConfig(**fields)
    if change.cooldown_s:
        warn(
            "Calico's programs before 3.33 do not know that addresses cool down; if any of "
            "them uses this etcd, it leaks such addresses: leave IPCooldownSeconds at 0 then"
        )
    IPAM(session.store).change_config(change, timeout_s=session.left_s)
    for field, (name, _) in _PROPERTIES.items():
        if (value := getattr(change, field)) is not None:
            say(f"{name} is now {_text(value)}")
    return 0


def _show_table(config: IPAMConfig, *, is_stored: bool) -> None:
    known = {name: getattr(config, field) for field, (name, _) in _PROPERTIES.items()}
    with Table(("PROPERTY", "VALUE")) as table:
        for name, value in [*known.items(), *config.extra.items()]:
            table.add((name, _text(value)))
        table.show()
    where = f"Stored under {CONFIG_KEY}." if is_stored else "Nothing is stored: defaults apply."
    click.echo(where)


def _text(value: object) -> str:
    if value is None:
        return "<none>"
    return value if isinstance(value, str) else json.dumps(value)
