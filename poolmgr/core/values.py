"""
The values that a draft writes: how each is encoded, and how large it becomes at most.

Values do not change, so what is known of one is kept by its identity; an entry keeps its value
alive. A batch encodes a value once, not once per request.
"""

from typing import assert_never

from poolmgr.core import records
from poolmgr.core.affinity import Affinity
from poolmgr.core.block import Attribute, Block
from poolmgr.core.config import IPAMConfig
from poolmgr.core.handle import Handle
from poolmgr.core.session import Attached, Session

Value = Block | Affinity | Handle | Session | Attached | IPAMConfig


class Encoder:
    """Encodes values, each once."""

    def __init__(self) -> None:
        self._encoded: dict[int, tuple[Value, bytes]] = {}
        self._weights: dict[int, tuple[Value | Attribute, int]] = {}

    def encode(self, value: Value) -> bytes:
        """Return what is stored."""
        if id(value) not in self._encoded:
            self._encoded[id(value)] = (value, _encode(value))
        return self._encoded[id(value)][1]

    def at_most_bytes(self, value: Value | Attribute | None) -> int:
        """Return a size that a value does not exceed; for blocks, cheaper than encoding."""
        if value is None:
            return 0
        if id(value) not in self._weights:
            self._weights[id(value)] = (value, self._weigh(value))
        return self._weights[id(value)][1]

    def _weigh(self, value: Value | Attribute) -> int:
        match value:
            case Block():
                return 1000 + 80 * value.size + sum(map(self.at_most_bytes, value.attributes))
            case Attribute():
                return 100 + 6 * len(repr(value))  # an escaped character takes six bytes
            case _:
                return len(self.encode(value))


def _encode(value: Value) -> bytes:
    match value:
        case Block():
            return records.encode_block(value)
        case Affinity():
            return records.encode_affinity(value)
        case Handle():
            return records.encode_handle(value)
        case Session():
            return records.encode_session(value)
        case Attached():
            return records.encode_attached(value)
        case IPAMConfig():
            return records.encode_config(value)
        case _:
            assert_never(value)
