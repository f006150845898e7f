"""How to reach the API, and what may be asked for there."""

import pytest

from poolmgr.errors import InvalidRequestError
from poolmgr.kube.access import Access, check_names


def test_secrets_are_not_shown():
    assert "hidden" not in repr(Access(token="hidden"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a?watch=1", "a#b", "a%2Fb", "a\n"])
def test_a_name_that_would_become_another_path_is_refused(name):
    with pytest.raises(InvalidRequestError, match="is not a Kubernetes name"):
        check_names("fine", name)
