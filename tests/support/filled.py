"""A datastore with something of everything, made through IPAM, for what copies it."""

from poolmgr.api import IPReservation
from poolmgr.core.records import CONFIG_KEY
from poolmgr.core.request import Attachment, AutoAssign, ReleaseByHandle, Sticky
from poolmgr.core.txn import EPOCH_KEY, Fetch, Txn
from poolmgr.ipam import IPAM
from poolmgr.store.port import Store
from tests.support.assigned import attach
from tests.support.poolctl import manifest, on, pool

NODES = ("node-a", "node-b", "node-c")
FOREIGN = "/calico/felix/v2/no-region/host/node-a/status"


def fill(store: Store, containers: int = 6) -> None:
    """Store pools, nodes, a reservation, a cooldown, and addresses of both families."""
    run = on(store)
    reserved = {"reservedCIDRs": ["10.10.0.0/28"]}
    for text in (
        pool(),
        pool("pool-6", "fd00:10::/64"),
        pool("off", "10.99.0.0/16", disabled=True),
        manifest(IPReservation.kind, "kept", reserved),
        *(manifest("Node", node, labels={"rack": "1e3"}) for node in NODES),
    ):
        assert 0 == run("apply", "-f", "-", stdin=text).exit_code
    _put(store, CONFIG_KEY, b'{"auto_allocate_blocks":true,"ipCooldownSeconds":3600}')
    for number in range(containers):
        attach(store, f"c{number}", node=NODES[number % len(NODES)])
    ipam = IPAM(store)
    ipam.auto_assign(AutoAssign(host="node-b", handle="six", count={4: 0, 6: 3}))
    attach(store, "s1", sticky=Sticky(namespace="web", identity="mail", holder="mail-0"))
    gone = Attachment(network="net-a", container="c0", interface="eth0")
    ipam.release_by_handle(
        ReleaseByHandle(handles=(gone.handle,), host="node-a", attachment=gone)
    )
    _put(store, FOREIGN, b"\xff\x00 no text")


def _put(store: Store, key: str, value: bytes) -> None:
    epoch = store.read(Fetch(keys=frozenset({EPOCH_KEY}))).found[EPOCH_KEY]
    store.commit(Txn(expect={}, epoch=epoch and epoch.value, puts={key: value}))
