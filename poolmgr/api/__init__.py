"""
What users write: Calico's v3 resources as frozen models, their rules, and their stored form.

This layer knows no store; rules between resources take the others as arguments.
"""

from collections.abc import Mapping

from poolmgr.api.blockaffinity import BlockAffinity
from poolmgr.api.clusterinformation import ClusterInformation
from poolmgr.api.ipamconfiguration import IPAMConfiguration
from poolmgr.api.ippool import IPPool
from poolmgr.api.ipreservation import IPReservation
from poolmgr.api.meta import Resource
from poolmgr.api.node import Node
from poolmgr.errors import InvalidRequestError

__all__ = [
    "KINDS",
    "BlockAffinity",
    "ClusterInformation",
    "IPAMConfiguration",
    "IPPool",
    "IPReservation",
    "Node",
    "Resource",
    "resource_type",
]

KINDS: Mapping[str, type[Resource]] = {
    kind.kind: kind
    for kind in (
        IPPool,
        IPReservation,
        Node,
        ClusterInformation,
        IPAMConfiguration,
        BlockAffinity,
    )
}
"""Resource types by kind."""

_WORDS = {
    word: kind
    for kind in KINDS.values()
    for word in (kind.kind.lower(), kind.plural, *kind.aliases)
}


def resource_type(word: str) -> type[Resource]:
    """
    Return the resource type that `word` means: kind, plural or a short form, in any case.

    Raises:
        InvalidRequestError: There is none; the message names the nearest, or all there are.
    """
    kind = _WORDS.get(word.lower())
    if kind is None:
        import difflib  # agentless calls make no such mistakes

        known = ", ".join(kind.plural for kind in KINDS.values())
        begun = [each for each in _WORDS if word and each.startswith(word.lower())]
        cutoff = 0.0 if begun else 0.6
        near = difflib.get_close_matches(word.lower(), begun or _WORDS, n=1, cutoff=cutoff)
        hint = f"did you mean {near[0]}?" if near else f"there are {known}"
        raise InvalidRequestError(f"{word!r} is not a kind of resource; {hint}")
    return kind
