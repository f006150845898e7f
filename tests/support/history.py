"""
Judging a run by etcd's own history: every revision of what was stored, replayed.

Nothing of the library is asked: keys and values are taken apart here, literally.
"""

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import grpc

from poolmgr.store.etcd3_compat import etcdrpc

IPAM = "/calico/ipam/v2/"
BLOCK = IPAM + "assignment/ipv4/block/"
HANDLE = IPAM + "handle/"
_END = IPAM + "~end"

Changes = dict[str, bytes | None]
"""What one revision made of the keys that it changed; None = deleted."""


def revisions(endpoint: str, first: int) -> Iterator[tuple[int, Changes]]:
    """
    Yield every revision that changed something of IPAM, in order, from `first` up to now.

    Needs a store that was not compacted since.
    """
    channel = grpc.insecure_channel(endpoint, [("grpc.max_receive_message_length", -1)])
    put = etcdrpc.PutRequest(key=_END.encode(), value=b"")
    last = etcdrpc.KVStub(channel).Put(put, timeout=10).header.revision
    create = etcdrpc.WatchCreateRequest(
        key=IPAM.encode(), range_end=(IPAM[:-1] + "0").encode(), start_revision=first
    )
    answers = etcdrpc.WatchStub(channel).Watch(
        iter([etcdrpc.WatchRequest(create_request=create)]), timeout=120
    )
    for answer in answers:
        assert not answer.canceled, answer
        for revision, events in groupby(answer.events, key=lambda event: event.kv.mod_revision):
            if revision == last:
                answers.cancel()
                channel.close()
                return
            yield revision, {each.kv.key.decode(): _value(each) for each in events}


def _value(event: Any) -> bytes | None:
    value: bytes = event.kv.value
    return None if event.type == event.DELETE else value


@dataclass(slots=True)
class History:
    """
    Who held which address, at every revision.

    Attributes:
        owner: Address -> handle, now.
        grants: Handle -> addresses that it was given, in order.
        given: Address -> how often it was given to somebody.
        wrong: What must not have happened.
        passed_on: How often one transaction took an address from one handle and gave it to another.
        busiest: Most addresses held at one revision.
    """

    owner: dict[str, str] = field(default_factory=dict)
    grants: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    given: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    wrong: list[str] = field(default_factory=list)
    passed_on: int = 0
    busiest: int = 0
    _blocks: dict[str, dict[str, str]] = field(default_factory=dict)

    def replay(self, endpoint: str, first: int) -> "History":
        """Take in everything since the revision `first`."""
        for revision, changes in revisions(endpoint, first):
            self.take(revision, changes)
        return self

    def take(self, revision: int, changes: Changes) -> None:
        """Take in one revision."""
        for key, value in changes.items():
            if not key.startswith(BLOCK):
                continue
            before = self._blocks.get(key, {})
            after = {} if value is None else _owners(value)
            self._blocks[key] = after
            for address in before.keys() | after.keys():
                self._change(revision, address, after.get(address), changes)
        self.busiest = max(self.busiest, len(self.owner))

    def _change(self, revision: int, address: str, new: str | None, changes: Changes) -> None:
        # A handle of these runs owns one address, so both come and go in one transaction.
        old = self.owner.get(address)
        if old == new:
            return
        if old is not None:
            if changes.get(HANDLE + old, b"unchanged") is not None:
                self.wrong.append(
                    f"{revision}: {address} taken from {old}, which was not released"
                )
            self.passed_on += new is not None
            self.owner.pop(address)
        if new is not None:
            if not changes.get(HANDLE + new):
                self.wrong.append(
                    f"{revision}: {address} given to {new}, which does not count it"
                )
            self.owner[address] = new
            self.grants[new].append(address)
            self.given[address] += 1


def _owners(raw: bytes) -> dict[str, str]:
    """Return address -> handle of a stored block; cooling addresses have no owner."""
    block = json.loads(raw)
    base = ipaddress.ip_network(block["cidr"]).network_address
    handles = [entry.get("handle_id") for entry in block["attributes"] or ()]
    return {
        str(base + ordinal): handles[index]
        for ordinal, index in enumerate(block["allocations"])
        if index is not None and handles[index] is not None
    }
