"""How much of a large request one transaction does."""

import pytest

from poolmgr.cidr import parse_network
from poolmgr.core.parts import first_part


@pytest.mark.parametrize(
    ("cidrs", "count"),
    [
        ([], 0),
        (["10.0.0.0/26", "10.0.1.0/30", "10.0.2.0/26"], 2),
        (["10.0.0.0/25", "10.0.1.0/30"], 1),
        (["10.0.0.0/30", "10.0.1.0/25"], 1),
        (["10.0.0.0/20", "10.0.1.0/30"], 1),
        (["fd00::/122", "fd00::40/122"], 2),
    ],
)
def test_a_part_has_room_for_so_many_usual_blocks_and_for_one_however_large(cidrs, count):
    blocks = [parse_network(cidr) for cidr in cidrs]

    assert blocks[:count] == first_part(blocks, 2)
