import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.cni.wire import (
    FRAME_LIMIT_BYTES,
    Frame,
    Reply,
    Status,
    decode_frame,
    decode_reply,
    encode_frame,
    encode_reply,
)
from poolmgr.errors import InvalidRequestError

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
names = text.filter(lambda name: name != "" and "=" not in name)


@given(env=st.dictionaries(names, text), conf=st.binary())
def test_a_frame_survives_the_wire(env, conf):
    frame = Frame(env=env, conf=conf)

    assert frame == decode_frame(encode_frame(frame))


@given(status=st.sampled_from(Status), body=st.binary())
def test_a_reply_survives_the_wire(status, body):
    reply = Reply(status=status, body=body)

    assert reply == decode_reply(encode_reply(reply))


def test_a_frame_has_the_documented_layout():
    frame = Frame(env={"CNI_COMMAND": "ADD", "CNI_ARGS": ""}, conf=b"{}")

    assert encode_frame(frame) == b"\x01\x00\x00\x00\x1aCNI_COMMAND=ADD\0CNI_ARGS=\0{}"


def test_a_frame_of_the_largest_size_is_read():
    data = b"\x01\0\0\0\0" + b" " * (FRAME_LIMIT_BYTES - 5)

    assert len(decode_frame(data).conf) == FRAME_LIMIT_BYTES - 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a frame of 0 bytes is cut short"),
        (b"\x01\0\0\0", "a frame of 4 bytes is cut short"),
        (b"\x02\0\0\0\0{}", "frame version 2 is not 1; reinstall the CNI executable"),
        (b"\x01\0\0\0\x05A=\0", "the environment of 5 bytes is cut short at 3"),
        (b"\x01\xff\xff\xff\xffA=\0", "the environment of 4294967295 bytes is cut short at 3"),
        (b"\x01\0\0\0\x03A=B{}", "the environment does not end with a NUL"),
        (b"\x01\0\0\0\x02A\0{}", "environment entry b'A' is not of the form name=value"),
        (b"\x01\0\0\0\x03=B\0{}", "environment entry b'=B' is not of the form name=value"),
        (b"\x01\0\0\0\x01\0{}", "environment entry b'' is not of the form name=value"),
        (b"\x01\0\0\0\x04A=\xff\0{}", "environment entry b'A=\\xff' is not UTF-8"),
        (b"\x01\0\0\0\x06A=\0A=\0{}", "environment variable 'A' is given twice"),
        (b"\x01" * (FRAME_LIMIT_BYTES + 1), "a frame of 1,048,577 bytes exceeds 1,048,576"),
    ],
)
def test_a_malformed_frame_is_refused(data, message):
    with pytest.raises(InvalidRequestError, match=f"^{re.escape(message)}$"):
        decode_frame(data)


@pytest.mark.parametrize("data", [b"", b"\x03", b"\xffbody"])
def test_a_malformed_reply_is_refused(data):
    with pytest.raises(InvalidRequestError, match="is not the status of a reply"):
        decode_reply(data)
