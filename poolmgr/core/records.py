"""
Keys and values: the one place that knows where something is stored and how it is written.

Values are Calico's compact JSON, field by field (Calico libcalico-go/lib/backend/model). Go
ignores unknown fields and drops them when it rewrites a value; we keep them in `extra`.

Rules:

1. Integers are written as integers; sequence numbers exceed 2^53.
2. What Calico omits when empty is omitted, what it always writes is written; `deleted` is
   always false.
3. A value that does not decode, or whose free list contradicts its allocations, is a
   `CorruptStateError`.
"""

import re
from functools import lru_cache
from typing import Any, TypeVar

from poolmgr.api import Resource
from poolmgr.cidr import IPNetwork, parse_network
from poolmgr.core.affinity import Affinity, AffinityState
from poolmgr.core.block import Attribute, Block
from poolmgr.core.config import IPAMConfig
from poolmgr.core.fields import checked, dump, load, optional, texts, unknown_fields, zero
from poolmgr.core.handle import Handle
from poolmgr.core.request import Attachment
from poolmgr.core.session import Attached, Session
from poolmgr.core.txn import Range
from poolmgr.errors import CorruptStateError, InvalidRequestError

R = TypeVar("R", bound=Resource)
CONFIG_KEY = "/calico/ipam/v2/config"
HANDLES = Range.prefix("/calico/ipam/v2/handle/")
BLOCKS = {4: Range.prefix("/calico/ipam/v2/assignment/ipv4/block/"),
          6: Range.prefix("/calico/ipam/v2/assignment/ipv6/block/")}  # fmt: skip
AFFINITIES = {kind: Range.prefix(f"/calico/ipam/v2/{kind}/") for kind in ("host", "virtual")}
SESSIONS = Range.prefix("/poolmgr/v1/session/")

_AFFINITY = re.compile(r"/calico/ipam/v2/(host|virtual)/([^/]+)/ipv([46])/block/([^/]+)")
_NOT_IN_SEGMENT = re.compile("[/\x00-\x1f\x7f\ud800-\udfff]")
_FREE_LIST = re.compile(rb'"unallocated":(\[\]|null)?')
_BLOCK = re.compile(r"/calico/ipam/v2/assignment/ipv([46])/block/([^/]+)")


# Keys


def resource_range(plural: str) -> Range:
    """Return the range of all v3 resources of a kind: "ippools", "nodes" ..."""
    return Range.prefix(f"/calico/resources/v3/projectcalico.org/{plural}/")


def resource_key(plural: str, name: str) -> str:
    """Return the key of a v3 resource."""
    return f"/calico/resources/v3/projectcalico.org/{plural}/{_segment('name', name)}"


@lru_cache(maxsize=4096)
def block_key(block: IPNetwork) -> str:
    """Return the key of a block."""
    return f"/calico/ipam/v2/assignment/ipv{block.version}/block/{_dashed(block)}"


def blocks_within(network: IPNetwork) -> Range:
    """
    Return a keys-only range that holds every block inside `network`, and perhaps others.

    Keys are text, so only octets and hextets that the prefix fixes whole can narrow it; a zero
    hextet may be compressed away and ends the common text.
    """
    if network.version == 4:
        separator, parts, width = ".", str(network.network_address).split("."), 8
    else:
        separator, width = ":", 16
        parts = [part.lstrip("0") for part in network.network_address.exploded.split(":")]
    fixed = parts[: network.prefixlen // width]
    known = fixed[: fixed.index("")] if "" in fixed else fixed
    text = "".join(part + separator for part in known[: len(parts) - 1])
    return Range.prefix(BLOCKS[network.version].start + text, keys_only=True)


@lru_cache(maxsize=4096)
def affinity_key(host: str, block: IPNetwork, kind: str = "host") -> str:
    """Return the key of a host's affinity for a block."""
    return f"{affinity_range(host, block.version, kind).start}{_dashed(block)}"


@lru_cache(maxsize=4096)
def affinity_range(host: str, family: int, kind: str = "host") -> Range:
    """Return the range of a host's affinities of one family."""
    return Range.prefix(f"/calico/ipam/v2/{kind}/{_segment('host', host)}/ipv{family}/block/")


@lru_cache(maxsize=4096)
def handle_key(handle: str) -> str:
    """Return the key of a handle."""
    return HANDLES.start + _segment("handle", handle)


def legacy_host_key(host: str) -> str:
    """Return the key under which old versions of Calico noted that a host exists."""
    return AFFINITIES["host"].start + _segment("host", host)


def attachment_key(attachment: Attachment) -> str:
    """Return the key that tells what sticky address an attachment holds."""
    parts = (attachment.network, attachment.container, attachment.interface)
    return "/poolmgr/v1/attachment/" + "/".join(_segment("attachment", part) for part in parts)


def session_key(host: str) -> str:
    """Return the key of a node's session fence."""
    return SESSIONS.start + _segment("host", host)


@lru_cache(maxsize=4096)
def block_of_key(key: str) -> IPNetwork | None:
    """Return the block that a block or affinity key names; None = the key is malformed."""
    match = _BLOCK.fullmatch(key)
    if match:
        return _undashed(int(match[1]), match[2])
    match = _AFFINITY.fullmatch(key)
    return _undashed(int(match[3]), match[4]) if match else None


def host_of_key(key: str) -> tuple[str, str] | None:
    """Return kind and host of an affinity key; None = the key is malformed."""
    match = _AFFINITY.fullmatch(key)
    return (match[1], match[2]) if match else None


def is_segment(text: str) -> bool:
    """Tell whether a text can be a part of a key between slashes."""
    return bool(text) and not _NOT_IN_SEGMENT.search(text)


def _segment(what: str, text: str) -> str:
    if not is_segment(text):
        raise InvalidRequestError(
            f"{what} {text!r} must not be empty, nor contain '/' or control characters",
            field=what,
        )
    return text


def _dashed(block: IPNetwork) -> str:
    return f"{block.network_address}-{block.prefixlen}"


def _undashed(family: int, text: str) -> IPNetwork | None:
    try:
        network = parse_network(text.replace("-", "/", 1))
    except ValueError:
        return None
    return network if network.version == family and _dashed(network) == text else None


# Values


def encode_block(block: Block) -> bytes:
    """Write a block."""
    value: dict[str, Any] = {"cidr": str(block.cidr), "affinity": block.affinity}
    if block.claimed_at is not None:
        value["affinity_claim_time"] = block.claimed_at
    value |= {
        "allocations": block.allocations,
        "unallocated": block.unallocated,
        "attributes": [_attribute_json(a) for a in block.attributes],
        "sequenceNumber": block.sequence_number,
        "sequenceNumberForAllocation": {
            str(n): block.sequence_numbers[n] for n in sorted(block.sequence_numbers, key=str)
        },
        "deleted": False,
    }
    return dump(value, block.extra)


def is_full(raw: bytes) -> bool:
    """
    Tell from its text that a block has no free ordinal, and none that will be free by itself.

    Neither text can stand in a JSON string, where quotes are escaped; as the name of a field
    that we do not know it can. False = decode it.
    """
    free = _FREE_LIST.findall(raw)
    waits = b'"releasedAt"' in raw or b'"poolmgr-sticky"' in raw
    return bool(free) and all(free) and not waits


@lru_cache(maxsize=256)
def decode_block(key: str, raw: bytes) -> Block:
    """
    Read the block stored under `key`.

    Raises:
        CorruptStateError: It does not decode, is another block, or breaks the invariant of
            core/block.py.
    """
    value = load(key, raw)
    try:
        cidr = parse_network(value.pop("cidr"))
        block = Block(
            cidr=cidr,
            affinity=optional(value.pop("affinity", None), str),
            claimed_at=optional(value.pop("affinity_claim_time", None), str),
            allocations=tuple(optional(index, int) for index in value.pop("allocations")),
            unallocated=tuple(
                checked(ordinal, int) for ordinal in value.pop("unallocated") or ()
            ),
            attributes=tuple(_attribute(a) for a in value.pop("attributes", None) or ()),
            sequence_number=zero(value, "sequenceNumber", int),
            sequence_numbers={
                int(ordinal): checked(number, int)
                for ordinal, number in (
                    value.pop("sequenceNumberForAllocation", None) or {}
                ).items()
            },
            extra=unknown_fields(value),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptStateError(key, f"not a block ({error})") from error
    why = _block_key_mismatch(key, block) or broken(block)
    if why:
        raise CorruptStateError(key, why)
    return block


def _block_key_mismatch(key: str, block: Block) -> str:
    return "" if key == block_key(block.cidr) else f"it holds block {block.cidr}"


def broken(block: Block) -> str:
    """Say how free list and allocations of a block contradict each other; "" = they do not."""
    if block.size != block.cidr.num_addresses:
        return f"{block.size} allocations for {block.cidr.num_addresses} addresses"
    free = set(block.unallocated)
    if len(free) != len(block.unallocated):
        return "an ordinal is in the free list twice"
    allocated = {n for n, index in enumerate(block.allocations) if index is not None}
    if free & allocated:
        return f"ordinal {min(free & allocated)} is both free and allocated"
    if free | allocated != set(range(block.size)):
        wrong = min((free | allocated) ^ set(range(block.size)))
        return f"ordinal {wrong} is neither free nor allocated, or out of range"
    dangling = [
        i for i in block.allocations if i is not None and not 0 <= i < len(block.attributes)
    ]
    return (
        f"an allocation refers to attribute {dangling[0]}, which does not exist"
        if dangling
        else ""
    )


def _attribute_json(attribute: Attribute) -> dict[str, Any]:
    value: dict[str, Any] = {}
    if attribute.handle is not None:
        value["handle_id"] = attribute.handle
    if attribute.secondary:
        value["secondary"] = dict(sorted(attribute.secondary.items()))
    if attribute.alternate:
        value["alternateOwnerAttrs"] = dict(sorted(attribute.alternate.items()))
    if attribute.released_at is not None:
        value["releasedAt"] = attribute.released_at
    return {**value, **attribute.extra}


def _attribute(value: dict[str, Any]) -> Attribute:
    value = dict(value)
    return Attribute(
        handle=optional(value.pop("handle_id", None), str),
        secondary=texts(value.pop("secondary", None)),
        alternate=texts(value.pop("alternateOwnerAttrs", None)),
        released_at=optional(value.pop("releasedAt", None), str),
        extra=value,
    )


def encode_affinity(affinity: Affinity) -> bytes:
    """Write an affinity."""
    return dump({"state": str(affinity.state), "deleted": False}, affinity.extra)


def decode_affinity(key: str, raw: bytes) -> Affinity:
    """Read an affinity; an empty value is an old form of a confirmed one."""
    value = load(key, raw or b"{}")
    try:
        return Affinity(
            state=AffinityState(zero(value, "state", str)), extra=unknown_fields(value)
        )
    except (TypeError, ValueError) as error:
        raise CorruptStateError(key, str(error)) from error


def encode_handle(handle: Handle) -> bytes:
    """Write a handle, which is not empty."""
    assert handle.blocks
    blocks = sorted((str(cidr), n) for cidr, n in handle.blocks.items())  # as Go writes a map
    return dump({"block": dict(blocks), "deleted": False}, handle.extra)


def decode_handle(key: str, raw: bytes) -> Handle:
    """Read a handle."""
    value = load(key, raw)
    try:
        blocks = {
            parse_network(cidr): checked(n, int)
            for cidr, n in (value.pop("block", None) or {}).items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise CorruptStateError(key, f"not a handle ({error})") from error
    return Handle(blocks=blocks, extra=unknown_fields(value))


def encode_config(config: IPAMConfig) -> bytes:
    """Write the IPAM configuration; booleans that are true are always explicit."""
    fields: dict[str, Any] = {
        "strict_affinity": config.strict_affinity,
        "auto_allocate_blocks": config.auto_allocate_blocks,
        "maxBlocksPerHost": config.max_blocks_per_host,
        "kubeVirtVMAddressPersistence": config.kubevirt_persistence,
        "ipCooldownSeconds": config.cooldown_s,
    }
    return dump({name: value for name, value in fields.items() if value}, config.extra)


def decode_config(raw: bytes | None) -> IPAMConfig:
    """Read the IPAM configuration; None = the key is absent, which alone means the defaults."""
    if raw is None:
        return IPAMConfig()
    value = load(CONFIG_KEY, raw)
    try:
        return IPAMConfig(
            strict_affinity=zero(value, "strict_affinity", bool),
            auto_allocate_blocks=zero(value, "auto_allocate_blocks", bool),
            max_blocks_per_host=zero(value, "maxBlocksPerHost", int),
            kubevirt_persistence=optional(value.pop("kubeVirtVMAddressPersistence", None), str),
            cooldown_s=zero(value, "ipCooldownSeconds", int),
            extra=value,
        )
    except TypeError as error:
        raise CorruptStateError(CONFIG_KEY, str(error)) from error


def encode_session(session: Session) -> bytes:
    """Write a session fence."""
    return dump({"n": session.n, "deleted": session.deleted}, session.extra)


def decode_session(key: str, raw: bytes | None) -> Session:
    """Read a session fence; None = no DEL has happened on the node yet."""
    if raw is None:
        return Session()
    value = load(key, raw)
    try:
        return Session(
            n=checked(value.pop("n"), int),
            deleted=tuple(checked(text, str) for text in value.pop("deleted")),
            extra=value,
        )
    except (KeyError, TypeError) as error:
        raise CorruptStateError(key, f"not a session ({error})") from error


def encode_attached(attached: Attached) -> bytes:
    """Write what an attachment holds."""
    return dump({"handle": attached.handle, "addresses": attached.addresses}, attached.extra)


def decode_attached(key: str, raw: bytes) -> Attached:
    """Read what an attachment holds."""
    value = load(key, raw)
    try:
        return Attached(
            handle=checked(value.pop("handle"), str),
            addresses=tuple(checked(text, str) for text in value.pop("addresses")),
            extra=value,
        )
    except (KeyError, TypeError) as error:
        raise CorruptStateError(key, f"not an attachment ({error})") from error


def decode_resource(kind: type[R], key: str, raw: bytes, mod_revision: int = 0) -> R:
    """Read a v3 resource; its resource version becomes `mod_revision`."""
    try:
        resource = kind.from_stored(raw, mod_revision)
    except ValueError as error:
        raise CorruptStateError(key, str(error)) from error
    for name in (key.removeprefix(resource_range(kind.plural).start), resource.metadata.name):
        if not is_segment(name):  # nobody could compare or change it under such a name
            raise CorruptStateError(key, f"{name!r:.80} is no name")
    return resource
