"""Who holds which addresses, taken from the stored text."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

from poolmgr.cidr import IPAddress, contains, parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.block import WINDOWS_RESERVED_HANDLE
from poolmgr.core.request import Attachment

Owner = Attachment | str
"""An attachment, or a handle of the library's."""

NOBODY = "nobody"
"""Owner of addresses that are assigned without a handle."""

BLOCKS = "/calico/ipam/v2/assignment/"
POOLS, RESERVATIONS = map(records.resource_range, ("ippools", "ipreservations"))
SESSIONS = "/poolmgr/v1/session/"


def held(values: Iterable[bytes]) -> Mapping[Owner, set[IPAddress]]:
    """Return who holds which addresses."""
    found: dict[Owner, set[IPAddress]] = defaultdict(set)
    for raw in values:
        for address, owner in owners(raw).items():
            found[_owner(owner)].add(parse_address(address))
    return found


def owners(raw: bytes) -> dict[str, str]:
    """Return address -> owner of a stored block; of anything else, nothing."""
    if not raw.startswith(b'{"cidr"'):
        return {}
    block = json.loads(raw)
    base = parse_network(block["cidr"]).network_address
    texts = [_owner_text(attribute) for attribute in block["attributes"] or ()]
    pairs = ((base + n, i) for n, i in enumerate(block["allocations"]) if i is not None)
    return {str(address): texts[index] for address, index in pairs if texts[index]}


def _owner_text(attribute: dict) -> str:
    """Write it as handle/network/interface; "" = it cools down, or the host keeps it."""
    if "releasedAt" in attribute or attribute.get("handle_id") == WINDOWS_RESERVED_HANDLE:
        return ""
    named = attribute.get("secondary", {})
    parts = (named.get("network", ""), named.get("interface", ""))
    return "/".join((attribute.get("handle_id", NOBODY), *parts))


def _owner(text: str) -> Owner:
    handle, network, interface = text.split("/")
    if not interface:
        return handle
    container = handle.removeprefix(f"{network}.")
    return Attachment(network=network, container=container, interface=interface)


def check_change(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> None:
    """Nothing is taken from its owner, made outside enabled pools, or given while reserved."""
    changed = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    old = {a: o for key in changed for a, o in owners(before.get(key, b"")).items()}
    new = {a: o for key in changed for a, o in owners(now.get(key, b"")).items()}
    given = {address: owner for address, owner in new.items() if old.get(address) != owner}
    if not any(key.startswith(SESSIONS) for key in changed):  # no DEL is part of it
        assert set() == given.keys() & old.keys(), f"{given} belonged to {old}"
    pools = {
        parse_network(spec["cidr"]): spec["blockSize"]
        for key, raw in before.items()
        if key in POOLS
        if not (spec := json.loads(raw)["spec"])["disabled"]
    }
    addresses = [parse_address(address) for address in given]
    for address in addresses:
        assert any(address in pool for pool in pools), f"{address} left no enabled pool"
    for key in changed:
        block = records.block_of_key(key)
        if key.startswith(BLOCKS) and key not in before and block is not None:
            sizes = [size for pool, size in pools.items() if contains(pool, block)]
            assert [block.prefixlen] == sizes, f"{block} was made where there is {pools}"
    for key, raw in before.items():
        if key in RESERVATIONS:
            for cidr in map(parse_network, json.loads(raw)["spec"]["reservedCIDRs"]):
                assert [] == [address for address in addresses if address in cidr]
