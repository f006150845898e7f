"""How large a value is at most, told without encoding it."""

from hypothesis import given

from poolmgr.core.affinity import Affinity
from poolmgr.core.block import Attribute, auto_assign
from poolmgr.core.config import IPAMConfig
from poolmgr.core.records import encode_block
from poolmgr.core.values import Encoder
from tests.strategies import QUICK, blocks
from tests.support.facts import block_of


@QUICK
@given(blocks())
def test_the_bound_of_a_block_is_never_below_its_size(block):
    assert len(encode_block(block)) <= Encoder().at_most_bytes(block)


def test_texts_that_json_escapes_stay_within_the_bound():
    odd = Attribute(handle="\x01" * 500, secondary={"\u1234" * 100: "\U0001f600" * 100})
    block, _ = auto_assign(block_of("10.0.0.0/29"), 8, odd)

    assert len(encode_block(block)) <= Encoder().at_most_bytes(block)


def test_a_value_is_encoded_once():
    encoder, value = Encoder(), Affinity()

    assert encoder.encode(value) is encoder.encode(value)


def test_other_values_weigh_what_they_are():
    encoder = Encoder()

    for value in (Affinity(), IPAMConfig()):
        assert len(encoder.encode(value)) == encoder.at_most_bytes(value)
    assert 0 == encoder.at_most_bytes(None)
