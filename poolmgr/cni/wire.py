"""
What the CNI executable and a server on its socket send each other.

    call        := version byte | length of environment, u32 big-endian | environment | input
    environment := ("NAME=value" NUL)*
    input       := standard input, up to the half-close
    reply       := status byte | body, up to the close

The executable relays bytes and understands none of them: this is the whole contract of the two.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from poolmgr.errors import InvalidRequestError

VERSION = 1
FRAME_LIMIT_BYTES = 1 << 20
_HEAD = struct.Struct(">BI")


class Status(IntEnum):
    """First byte of a reply."""

    OK = 0
    ERROR = 1
    NOT_MINE = 2
    """The call names another etcd or node. Nothing was done; serve it without a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """
    One CNI call as it came in.

    Attributes:
        env: The `CNI_*` variables.
        conf: Standard input: the network configuration.
    """

    env: Mapping[str, str]
    conf: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer: what goes to standard output, and whether it is an error."""

    status: Status
    body: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """Write a frame."""
    environment = b"".join(f"{name}={value}\0".encode() for name, value in frame.env.items())
    return _HEAD.pack(VERSION, len(environment)) + environment + frame.conf


def decode_frame(data: bytes) -> Frame:
    """
    Read a frame.

    Raises:
        InvalidRequestError: It is too long, cut short, of another version, or its environment
            is not UTF-8 text of the form name=value.
    """
    if len(data) > FRAME_LIMIT_BYTES:
        raise InvalidRequestError(
            f"a frame of {len(data):,} bytes exceeds {FRAME_LIMIT_BYTES:,}"
        )
    if len(data) < _HEAD.size:
        raise InvalidRequestError(f"a frame of {len(data)} bytes is cut short")
    version, length = _HEAD.unpack_from(data)
    if version != VERSION:
        raise InvalidRequestError(
            f"frame version {version} is not {VERSION}; reinstall the CNI executable"
        )
    start, end = _HEAD.size, _HEAD.size + length
    if len(data) < end:
        raise InvalidRequestError(
            f"the environment of {length} bytes is cut short at {len(data) - start}"
        )
    return Frame(env=_environment(data[start:end]), conf=data[end:])


def _environment(block: bytes) -> dict[str, str]:
    if block and not block.endswith(b"\0"):
        raise InvalidRequestError("the environment does not end with a NUL")
    env: dict[str, str] = {}
    for raw in block.split(b"\0")[:-1]:
        try:
            name, equals, value = raw.decode().partition("=")
        except UnicodeDecodeError as err:
            raise InvalidRequestError(f"environment entry {raw[:40]!r} is not UTF-8") from err
        if not name or not equals:
            raise InvalidRequestError(
                f"environment entry {raw[:40]!r} is not of the form name=value"
            )
        if name in env:
            raise InvalidRequestError(f"environment variable {name!r:.60} is given twice")
        env[name] = value
    return env


def encode_reply(reply: Reply) -> bytes:
    """Write a reply."""
    return bytes([reply.status]) + reply.body


def decode_reply(data: bytes) -> Reply:
    """
    Read a reply.

    Raises:
        InvalidRequestError: It is empty, or its status byte is unknown.
    """
    if not data or data[0] not in list(Status):
        raise InvalidRequestError(f"{data[:1]!r} is not the status of a reply")
    return Reply(status=Status(data[0]), body=data[1:])
