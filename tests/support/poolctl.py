"""Running poolctl inside the test process."""

import json
from typing import Protocol

from click.testing import CliRunner, Result

from poolctl.config import Session
from poolctl.main import main
from poolmgr.core.records import resource_key
from poolmgr.core.txn import Fetch, Range, Txn
from poolmgr.store.port import Store

EVERYTHING = Range(start="/", end="0")
POOL_A = resource_key("ippools", "pool-a")
CLUSTER = resource_key("clusterinformations", "default")


class Poolctl(Protocol):
    """Runs poolctl with these arguments and this standard input."""

    def __call__(self, *args: str, stdin: str = "") -> Result: ...


def on(store: Store, *, timeout_s: float = 30) -> Poolctl:
    """`poolctl` on any store."""

    def run(*args: str, stdin: str = "") -> Result:
        session = Session(None, None, timeout_s)
        session.store = store
        return CliRunner().invoke(main, args, input=stdin, obj=session)

    return run


def stored(store: Store) -> dict[str, bytes]:
    """Everything that is stored."""
    page = store.read(Fetch(ranges=frozenset({EVERYTHING}))).ranges[EVERYTHING]
    return {key: found.value for key, found in page.items}


def put(store: Store, values: dict[str, bytes]) -> None:
    """Write keys as another program does, before there is an epoch."""
    store.commit(Txn(expect={}, puts=values))


def manifest(kind: str, name: str, spec: dict | None = None, **metadata: object) -> str:
    """A manifest as JSON."""
    return json.dumps(
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec or {},
        }
    )


def pool(name: str = "pool-a", cidr: str = "10.10.0.0/16", **spec: object) -> str:
    """The manifest of a pool."""
    return manifest("IPPool", name, {"cidr": cidr, **spec})
