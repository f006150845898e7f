"""
Splitting a pool into parts of equal size.

Theory: blocks, affinities and handles know nothing of pools, so that they stay as they are, and
addresses go on being served by the part they lie in. What a part changes is what is made of a
pool's *range*: its prefix and its first address, where a main plugin takes these from the pool
(core/link.py).

Rules:

1. The parts are what the pool was, but for name and CIDR: spec, labels, annotations and status,
   so that a disabled pool has disabled parts (Calico enables them).
2. An annotation that means the pool's range by a word ("pool", "first-of-pool") gets the number
   or address that it meant: pods go on with the prefix and gateway that they have.
3. All parts are written in one transaction, with what that can hold: there may be no moment in
   which an address has no pool, or two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from poolmgr.api import IPPool
from poolmgr.core.link import (
    GATEWAY,
    PREFIX_LENGTH,
    Link,
    LinkError,
    LinkPolicy,
    MainPlugin,
    resolve,
)
from poolmgr.errors import InvalidRequestError, RefusedError

MOST_PARTS = 64
"""What fits into a transaction besides the deletion of the old pool."""

_LONGEST_NAME = 253
_WITHOUT_GATEWAY = ("host", "block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """
    What the parts shall name, as the pool has it and nobody has said so.

    Attributes:
        prefix: The pool's prefix length.
        gateway: The first address of the pool, and so its prefix length too.
    """

    prefix: bool = False
    gateway: bool = False


def split(pool: IPPool, number: int, keep: Keep) -> tuple[IPPool, ...]:
    """
    Return the parts of a pool, as manifests.

    Args:
        number: How many.

    Raises:
        InvalidRequestError: No pool can be split into so many.
        RefusedError: This one cannot.
    """
    if number < 2 or number & (number - 1):
        raise InvalidRequestError(
            f"a pool is split into a power of two, such as 2, 4 or 8, not into {number:,}",
            field="number",
        )
    name, cidr = pool.metadata.name, pool.spec.cidr
    longer = number.bit_length() - 1
    if cidr.prefixlen + longer > pool.spec.block_size:
        most = 1 << max(0, pool.spec.block_size - cidr.prefixlen)
        blocks = f"{most:,} block{'s' if most > 1 else ''} of /{pool.spec.block_size}"
        raise RefusedError(f"{cidr} has {blocks}: too few for {number:,} parts")
    if number > MOST_PARTS:
        raise RefusedError(
            f"{number:,} parts do not fit into one transaction of etcd; split the pool into "
            f"{MOST_PARTS} or less, and then its parts"
        )
    if pool.metadata.deletion_timestamp:
        raise RefusedError("it is being deleted")
    annotations = _annotations(pool, keep)
    return tuple(
        pool.model_copy(
            update={
                "metadata": pool.metadata.model_copy(
                    update={"name": _name(name, at), "annotations": annotations}
                ),
                "spec": pool.spec.model_copy(update={"cidr": part}),
            }
        )
        for at, part in enumerate(cidr.subnets(prefixlen_diff=longer))
    )


def is_link_kept(part: IPPool) -> bool:
    """Tell whether every main plugin finds the prefix and gateway in it that the pool had."""
    annotations = part.metadata.annotations
    length = annotations.get(PREFIX_LENGTH)
    return length in _WITHOUT_GATEWAY or (length is not None and GATEWAY in annotations)


def _annotations(pool: IPPool, keep: Keep) -> Mapping[str, str]:
    found = dict(pool.metadata.annotations)
    gateway, length = found.get(GATEWAY), found.get(PREFIX_LENGTH)
    if keep.gateway and gateway is None:
        gateway = str(_link(pool, MainPlugin.BRIDGE_GATEWAY).gateway)
    elif gateway not in (None, "none"):
        gateway = str(_link(pool, MainPlugin.FLAT).gateway)
    if length == "pool" or (
        length is None and (keep.prefix or keep.gateway or gateway not in (None, "none"))
    ):
        length = str(pool.spec.cidr.prefixlen)
    both = {GATEWAY: gateway, PREFIX_LENGTH: length}
    return found | {name: text for name, text in both.items() if text is not None}


def _link(pool: IPPool, main: MainPlugin) -> Link:
    try:
        return resolve(pool.spec.cidr, pool.metadata.annotations, LinkPolicy(main=main))
    except LinkError as error:
        raise RefusedError(f"its annotations do not fit it: {error}") from error


def _name(pool: str, at: int) -> str:
    room = _LONGEST_NAME - len(f"split--{at}")
    return f"split-{pool[:room].rstrip('.-')}-{at}"
