"""Block affinities as resources, made of the keys of address management."""

from poolmgr.api import BlockAffinity
from poolmgr.api.blockaffinity import block_affinity
from poolmgr.core.records import block_of_key, decode_affinity, host_of_key
from poolmgr.core.txn import KeyValue


def affinity_at(key: str, stored: KeyValue) -> list[BlockAffinity]:
    """
    Show an affinity key; others beside it, such as a host's own, are no affinities.

    Raises:
        CorruptStateError: Its value cannot be understood.
    """
    owner, block = host_of_key(key), block_of_key(key)
    if owner is None or block is None:
        return []
    kind, host = owner
    state = decode_affinity(key, stored.value).state
    revision = stored.mod_revision
    return [block_affinity(host, block, state=state, type_=kind, revision=revision)]
