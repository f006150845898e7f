"""
A node that runs calico-ipam: literal JSON, one key at a time, in the order Calico writes.

Claim: affinity `pending`, block, affinity `confirmed`. Assign: handle, then block. Release: block,
then handle. Every write compares the revision that was read, and nothing else. Before each write
the node may stop for ever.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Network
from typing import Any
from zlib import crc32

import grpc

from poolmgr.store.etcd3_compat import etcdrpc

IPAM = "/calico/ipam/v2"
CLAIMED_AT = "2026-01-01T00:00:00Z"
"""Long ago: an empty block may be reclaimed at once."""

Json = dict[str, Any]


class StoppedError(Exception):
    """The node crashed, or its plugin was killed."""


class LostError(Exception):
    """A compare failed; the caller reads again."""


class Calico:
    """
    Args:
        before_write: Called before each write; may wait, or raise `StoppedError`.
    """

    def __init__(
        self, endpoint: str, host: str, pool: str, size: int, before_write: Callable[[], None]
    ) -> None:
        self._channel = grpc.insecure_channel(endpoint)
        self._kv = etcdrpc.KVStub(self._channel)
        self._host, self._pool, self._size = host, IPv4Network(pool), size
        self._before_write = before_write

    def close(self) -> None:
        self._channel.close()

    def assign(self, handle: str) -> str | None:
        """Return the address assigned to a handle; None = the pool is full."""
        for cidr in self._own():
            usable = self._again(partial(self._from_affinity, cidr))
            if usable and (address := self._take(cidr, handle)):
                return address
        while (cidr := self._usable()) is not None:
            claimed = self._again(partial(self._claim, cidr))
            if claimed and (address := self._take(cidr, handle)):
                return address
        taken = (self._take(cidr, handle) for cidr in self._walk())
        return next((address for address in taken if address), None)

    def release(self, handle: str) -> None:
        """Release what a handle holds."""
        stored, _ = self._get(_handle_key(handle))
        for cidr in stored["block"] if stored else ():
            while (count := self._free(cidr, handle)) is None:
                continue
            if count:
                self._count(handle, cidr, -count)

    def release_affinity(self, cidr: str, host: str, *, only_empty: bool) -> bool:
        """Take a block from a host, in three writes."""
        affinity, affinity_revision = self._get(_affinity_key(host, cidr))
        block, revision = self._get(_block_key(cidr))
        if affinity is None or block is None:
            return False
        if block["affinity"] not in (None, f"host:{host}"):
            self._write(_affinity_key(host, cidr), None, affinity_revision)
            return False
        empty = all(index is None for index in block["allocations"])
        if only_empty and not empty:
            return False
        affinity["state"] = "pendingDeletion"
        affinity_revision = self._write(_affinity_key(host, cidr), affinity, affinity_revision)
        block |= {"affinity": None, "sequenceNumber": block["sequenceNumber"] + 1}
        block.pop("affinity_claim_time", None)
        self._write(_block_key(cidr), None if empty else block, revision)
        self._write(_affinity_key(host, cidr), None, affinity_revision)
        return True

    def claim(self) -> None:
        """Claim a block, as `assign` does first."""
        if (cidr := self._usable()) is not None:
            self._again(partial(self._claim, cidr))

    def give_up_blocks(self) -> None:
        """Release every affinity of the host."""
        for cidr in self._own():
            give_up = partial(self.release_affinity, cidr, self._host, only_empty=False)
            self._again(give_up)

    # Blocks of the host

    def _own(self) -> list[str]:
        prefix = f"{IPAM}/host/{self._host}/ipv4/block/"
        request = etcdrpc.RangeRequest(
            key=prefix.encode(), range_end=prefix[:-1].encode() + b"0", keys_only=True
        )
        found = self._kv.Range(request, timeout=5).kvs
        return [kv.key.decode().removeprefix(prefix).replace("-", "/") for kv in found]

    def _walk(self) -> Iterator[str]:
        blocks = [str(cidr) for cidr in self._pool.subnets(new_prefix=self._size)]
        start = crc32(self._host.encode()) % len(blocks)
        return iter((*blocks[start:], *blocks[:start]))

    def _usable(self) -> str | None:
        """Return a block that nobody has, or one of another host that is empty and now free."""
        blocks = {cidr: self._get(_block_key(cidr))[0] for cidr in self._walk()}
        for cidr, block in blocks.items():
            if block is None:
                return cidr
        for cidr, block in blocks.items():
            owner = (block["affinity"] or "").removeprefix("host:")
            empty = all(index is None for index in block["allocations"])
            if not empty or owner in ("", self._host):
                continue
            try:
                if self.release_affinity(cidr, owner, only_empty=True):
                    return cidr
            except LostError:
                continue
        return None

    def _claim(self, cidr: str) -> bool:
        """Make the affinity `pending`, and go on from there."""
        key = _affinity_key(self._host, cidr)
        stored, revision = self._get(key)
        if stored is None or stored["state"] != "confirmed":
            self._write(key, {"state": "pending", "deleted": False}, revision)
        return self._from_affinity(cidr)

    def _from_affinity(self, cidr: str) -> bool:
        """Make the block or repair it; False = it is another's, and the affinity is gone."""
        key = _affinity_key(self._host, cidr)
        affinity, revision = self._get(key)
        if affinity is None:
            return False
        block, block_revision = self._get(_block_key(cidr))
        if block is None:
            pending = {"state": "pending", "deleted": False}
            revision = self._write(key, pending, revision)
            self._write(_block_key(cidr), self._new_block(cidr), 0)
        elif block["affinity"] != f"host:{self._host}":
            self._write(key, None, revision)
            return False
        elif affinity["state"] == "confirmed":
            return True
        else:
            pending = {"state": "pending", "deleted": False}
            revision = self._write(key, pending, revision)
            block["sequenceNumber"] += 1
            self._write(_block_key(cidr), block, block_revision)
        self._write(key, {"state": "confirmed", "deleted": False}, revision)
        return True

    def _new_block(self, cidr: str) -> Json:
        size = IPv4Network(cidr).num_addresses
        return {
            "cidr": cidr,
            "affinity": f"host:{self._host}",
            "affinity_claim_time": CLAIMED_AT,
            "allocations": [None] * size,
            "unallocated": [*range(size)],
            "attributes": None,
            "sequenceNumber": 1_795_461_196_871_449_249,
            "sequenceNumberForAllocation": {},
            "deleted": False,
        }

    # Addresses

    def _take(self, cidr: str, handle: str) -> str | None:
        while True:
            block, revision = self._get(_block_key(cidr))
            if block is None or not block["unallocated"]:
                return None
            self._count(handle, cidr, 1)
            ordinal = block["unallocated"].pop(0)
            entry = {"handle_id": handle, "secondary": {"node": self._host}}
            attributes = block["attributes"] = block["attributes"] or []
            if entry not in attributes:
                attributes.append(entry)
            block["allocations"][ordinal] = attributes.index(entry)
            block["sequenceNumberForAllocation"][str(ordinal)] = block["sequenceNumber"]
            block["sequenceNumber"] += 1
            try:
                self._write(_block_key(cidr), block, revision)
            except LostError:
                self._count(handle, cidr, -1)
                continue
            return str(IPv4Network(cidr)[ordinal])

    def _free(self, cidr: str, handle: str) -> int | None:
        """Return how many addresses were freed; None = somebody else was faster."""
        block, revision = self._get(_block_key(cidr))
        attributes = (block and block["attributes"]) or []
        theirs = {i for i, a in enumerate(attributes) if a.get("handle_id") == handle}
        if block is None or not theirs:
            return 0
        allocations = block["allocations"]
        ordinals = [n for n, index in enumerate(allocations) if index in theirs]
        kept = [i for i in range(len(attributes)) if i not in theirs]
        block["attributes"] = [attributes[i] for i in kept]
        block["allocations"] = [kept.index(i) if i in kept else None for i in allocations]
        block["unallocated"] += ordinals
        block["sequenceNumber"] += 1
        for ordinal in ordinals:
            block["sequenceNumberForAllocation"].pop(str(ordinal), None)
        gone = not kept and block["affinity"] is None
        try:
            self._write(_block_key(cidr), None if gone else block, revision)
        except LostError:
            return None
        return len(ordinals)

    def _count(self, handle: str, cidr: str, amount: int) -> None:
        """Count for a handle; what cannot be taken off is left, as Calico only logs it."""
        while True:
            stored, revision = self._get(_handle_key(handle))
            stored = stored or {"block": {}, "deleted": False}
            count = stored["block"].pop(cidr, 0) + amount
            if count < 0:
                return
            if count:
                stored["block"][cidr] = count
            try:
                self._write(_handle_key(handle), stored if stored["block"] else None, revision)
            except LostError:
                continue
            return

    # Keys

    def _again(self, attempt: Callable[[], bool]) -> bool:
        for _ in range(100):
            try:
                return attempt()
            except LostError:
                continue
        return False

    def _get(self, key: str) -> tuple[Any, int]:
        found = self._kv.Range(etcdrpc.RangeRequest(key=key.encode()), timeout=5).kvs
        return (json.loads(found[0].value), found[0].mod_revision) if found else (None, 0)

    def _write(self, key: str, value: Json | None, revision: int) -> int:
        """Put or delete a key that is still as it was read, and return the new revision."""
        self._before_write()
        name = key.encode()
        if value is None:
            delete = etcdrpc.DeleteRangeRequest(key=name)
            change = etcdrpc.RequestOp(request_delete_range=delete)
        else:
            text = json.dumps(value, separators=(",", ":")).encode()
            put = etcdrpc.PutRequest(key=name, value=text)
            change = etcdrpc.RequestOp(request_put=put)
        same = etcdrpc.Compare(
            key=name, target=etcdrpc.Compare.MOD, result=0, mod_revision=revision
        )
        answer = self._kv.Txn(etcdrpc.TxnRequest(compare=[same], success=[change]), timeout=5)
        if not answer.succeeded:
            raise LostError(key)
        return int(answer.header.revision)


def _block_key(cidr: str) -> str:
    return f"{IPAM}/assignment/ipv4/block/{cidr.replace('/', '-')}"


def _affinity_key(host: str, cidr: str) -> str:
    return f"{IPAM}/host/{host}/ipv4/block/{cidr.replace('/', '-')}"


def _handle_key(handle: str) -> str:
    return f"{IPAM}/handle/{handle}"
