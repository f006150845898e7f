"""Block affinities as resources, made of the keys of address management."""

from collections.abc import Sequence

from poolctl.config import Session
from poolmgr.api import BlockAffinity
from poolmgr.api.blockaffinity import block_affinity
from poolmgr.core.records import AFFINITIES, block_of_key, decode_affinity, host_of_key
from poolmgr.core.txn import Fetch, KeyValue
from poolmgr.errors import PoolmgrError, RefusedError


def read_affinities(
    session: Session, names: Sequence[str]
) -> tuple[list[BlockAffinity], list[PoolmgrError], int]:
    """
    Read the affinities of all hosts, in the order of their keys, or those of certain names.

    Returns:
        The affinities, what is wrong with others, and the revision of both.
    """
    fetch = Fetch(ranges=frozenset(AFFINITIES.values()))
    reading = session.store.read(fetch, timeout_s=session.left_s)
    found: list[BlockAffinity] = []
    wrong: list[PoolmgrError] = []
    for range_ in AFFINITIES.values():
        for key, stored in reading.ranges[range_].items:
            try:
                found += _affinity(key, stored)
            except PoolmgrError as error:
                wrong.append(error)
    if names:
        found = [each for each in found if each.metadata.name in names]
        known = {each.metadata.name for each in found}
        absent = [name for name in dict.fromkeys(names) if name not in known]
        wrong = [RefusedError(f"blockaffinity/{name} does not exist") for name in absent]
    return found, wrong, reading.revision


def _affinity(key: str, stored: KeyValue) -> list[BlockAffinity]:
    """Show an affinity key; others beside it, such as a host's own, are no affinities."""
    owner, block = host_of_key(key), block_of_key(key)
    if owner is None or block is None:
        return []
    kind, host = owner
    state = decode_affinity(key, stored.value).state
    revision = stored.mod_revision
    return [block_affinity(host, block, state=state, type_=kind, revision=revision)]
