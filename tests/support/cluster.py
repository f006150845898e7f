"""What tests put into an etcd and find there, in words of pools and addresses."""

from collections.abc import Mapping, Sequence

from poolmgr.core import records
from poolmgr.core.audit import invariants
from poolmgr.core.block import Block
from poolmgr.core.flaws import Finding
from tests.support.rawetcd import RawEtcd
from tests.support.world import stored_resource


class Cluster:
    def __init__(self, raw: RawEtcd) -> None:
        self._raw = raw

    def pool(
        self,
        name: str,
        cidr: str,
        block_size: int,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        spec = {"cidr": cidr, "blockSize": block_size, "nodeSelector": "all()"}
        metadata = {"annotations": dict(annotations)} if annotations else {}
        self._raw.put(*stored_resource("ippools", "IPPool", name, spec, **metadata))

    def reserve(self, name: str, cidrs: Sequence[str]) -> None:
        spec = {"reservedCIDRs": list(cidrs)}
        self._raw.put(*stored_resource("ipreservations", "IPReservation", name, spec))

    def content(self) -> dict[str, bytes]:
        """Return every key and its value."""
        return self._raw.dump()

    def owners(self) -> dict[str, str | None]:
        """Return the owner of every block."""
        return {str(block.cidr): block.affinity for block in self._blocks()}

    def assigned(self) -> dict[str, str | None]:
        """Return the handle of every assigned address."""
        return {
            str(block.cidr.network_address + ordinal): attribute.handle
            for block in self._blocks()
            for ordinal in range(block.size)
            if (attribute := block.attribute_at(ordinal)) is not None
        }

    def handles(self) -> set[str]:
        start = records.HANDLES.start
        return {key.removeprefix(start) for key in self.content() if key.startswith(start)}

    def findings(self) -> tuple[Finding, ...]:
        return invariants(self.content().items())

    def _blocks(self) -> list[Block]:
        return [
            records.decode_block(key, value)
            for key, value in self.content().items()
            if any(key in range_ for range_ in records.BLOCKS.values())
        ]
