"""The IPAM configuration."""

import pytest

from poolmgr.core.config import DEFAULT_BLOCK_LIMIT, IPAMConfig


def test_the_defaults_are_those_of_an_absent_key():
    config = IPAMConfig()

    assert (False, True, 0, 0) == (
        config.strict_affinity,
        config.auto_allocate_blocks,
        config.max_blocks_per_host,
        config.cooldown_s,
    )


@pytest.mark.parametrize(
    ("requested", "configured", "limit"),
    [
        pytest.param(0, 0, DEFAULT_BLOCK_LIMIT, id="nothing set"),
        pytest.param(3, 0, 3, id="only the request"),
        pytest.param(0, 4, 4, id="only the configuration"),
        pytest.param(3, 4, 3, id="request smaller"),
        pytest.param(5, 4, 4, id="configuration smaller"),
        pytest.param(0, -1, None, id="configured without limit"),
        pytest.param(-1, 0, None, id="requested without limit"),
        pytest.param(-1, -1, None, id="both without limit"),
        pytest.param(-1, 4, 4, id="requested without limit, but configured"),
        pytest.param(30, 0, 30, id="more than the default"),
    ],
)
def test_the_block_limit_is_the_smaller_of_those_that_are_set(requested, configured, limit):
    assert limit == IPAMConfig(max_blocks_per_host=configured).block_limit(requested)
