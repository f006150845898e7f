"""Addresses of attachments, as an ADD assigns them."""

import time

from poolmgr.cni.verbs import timestamp
from poolmgr.core.request import Attachment, AutoAssign, ReleaseByHandle
from poolmgr.ipam import IPAM
from poolmgr.store.port import Store
from tests.support.facts import SECOND


def attach(
    store: Store,
    container: str,
    *,
    network: str = "net-a",
    interface: str = "eth0",
    node: str = "node-a",
    age_s: int = 3600,
    family: int = 4,
    **more,
) -> str:
    """Assign an address, some time ago, and return it; options are those of `AutoAssign`."""
    at = Attachment(network=network, container=container, interface=interface)
    request = AutoAssign(
        host=node,
        handle=at.handle,
        count={family: 1},
        attachment=at,
        attributes={
            "node": node,
            "timestamp": timestamp(time.time_ns() - age_s * SECOND),
            "network": network,
            "interface": interface,
        },
        **more,
    )
    return str(IPAM(store).auto_assign(request).allocations[0].address)


def detach(
    store: Store,
    container: str,
    *,
    network: str = "net-a",
    interface: str = "eth0",
    node: str = "node-a",
) -> None:
    """Release what an attachment holds, as its DEL does."""
    at = Attachment(network=network, container=container, interface=interface)
    request = ReleaseByHandle(handles=(at.handle,), attachment=at, host=node)
    IPAM(store).release_by_handle(request)
