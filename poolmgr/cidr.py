"""
Addresses, blocks and ordinals.

A *block* is an aligned subnet of a pool; an *ordinal* is the offset of an address in its block.
Text forms are the canonical ones (RFC 5952 for IPv6), which are also the forms inside Calico's
keys.
"""

import hashlib
import ipaddress
from collections.abc import Iterator

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

HOST_PREFIX = {4: 32, 6: 128}


def parse_address(text: str) -> IPAddress:
    """
    Parse an address strictly: no leading zeros, no scope id, no IPv4-mapped IPv6.

    Raises:
        ValueError: `text` is not such an address; the message names it.
    """
    address = ipaddress.ip_address(text)
    if address.version == 6 and (
        address.scope_id is not None or address.ipv4_mapped is not None
    ):
        raise ValueError(f"{text!r} is not a plain IPv6 address")
    return address


def parse_network(text: str, *, strict: bool = True) -> IPNetwork:
    """
    Parse `address/length`; a bare address is refused.

    Args:
        strict: Refuse host bits; otherwise they are dropped.

    Raises:
        ValueError: `text` is not a network; the message names it.
    """
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r} is not of the form address/length")
    parse_address(address)
    return ipaddress.ip_network(text, strict=strict)


def network(address: IPAddress, prefix_length: int) -> IPNetwork:
    """Return the network of `prefix_length` that contains `address`: for one, its block."""
    size = HOST_PREFIX[address.version] - prefix_length
    return network_at(address.version, int(address) >> size << size, prefix_length)


def network_at(family: int, first: int, prefix_length: int) -> IPNetwork:
    """Return the network whose first address is the integer `first`."""
    if family == 4:
        return ipaddress.IPv4Network((first, prefix_length))
    return ipaddress.IPv6Network((first, prefix_length))


def contains(outer: IPNetwork, inner: IPNetwork | IPAddress) -> bool:
    """Tell whether `inner` lies wholly in `outer`; different families never do."""
    if outer.version != inner.version:
        return False
    if isinstance(inner, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        first, length = int(inner.network_address), inner.prefixlen
    else:
        first, length = int(inner), inner.max_prefixlen
    return length >= outer.prefixlen and first & int(outer.netmask) == int(
        outer.network_address
    )


def ordinal_of(block: IPNetwork, address: IPAddress) -> int:
    """
    Return the offset of `address` in `block`.

    Raises:
        ValueError: The address lies outside the block.
    """
    if not contains(block, address):
        raise ValueError(f"{address} is not in block {block}")
    return int(address) - int(block.network_address)


def address_at(block: IPNetwork, ordinal: int) -> IPAddress:
    """
    Return the address at `ordinal` of `block`.

    Raises:
        ValueError: The ordinal lies outside the block.
    """
    if not 0 <= ordinal < block.num_addresses:
        raise ValueError(f"block {block} has no ordinal {ordinal}")
    return block.network_address + ordinal


def walk_blocks(pool: IPNetwork, block_size: int, host: str) -> Iterator[IPNetwork]:
    """
    Walk every block of `pool` once, from a place and in strides that depend on `host`.

    Hosts start at different places, so that they seldom compete for the same block; a host
    always takes the same way, so that it finds its own unfinished work. The stride, near the
    golden section of the pool, leads out of any area that is full, and hosts that meet part
    again: with three quarters of the blocks taken, wherever they lie, 50 steps find a free one.

    Args:
        block_size: Prefix length of the blocks, >= the pool's.

    Source: Calico's randomBlockGenerator; the start index differs from Go's generator, which
        nothing depends on.
    """
    count = 1 << (block_size - pool.prefixlen)
    step = 1 << (HOST_PREFIX[pool.version] - block_size)
    first = int(pool.network_address)
    start = walk_start(host, count)
    # Odd, so that it meets every one of 2^n blocks; 77/128 is 0.60, and a 32nd is for the host.
    stride = (count * 77 // 128 + walk_start(f"{host} ", max(1, count // 32))) | 1
    for i in range(count):
        at = first + (start + i * stride) % count * step
        yield network_at(pool.version, at, block_size)


def walk_start(host: str, count: int) -> int:
    """Return the index, below `count`, where the walk of `host` starts."""
    return int.from_bytes(hashlib.sha256(host.encode()).digest(), "big") % count
