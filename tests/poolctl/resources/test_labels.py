"""Labels on a command line."""

import re

import pytest

from poolctl.resources.labels import labelled, relabelled, wanted
from poolmgr.api import Node
from poolmgr.api.meta import ObjectMeta
from poolmgr.errors import InvalidRequestError, RefusedError


@pytest.mark.parametrize(
    ("words", "remove", "labels"),
    [
        (["rack=r1", "zone="], False, {"rack": "r1", "zone": ""}),
        (["rack-"], False, {"rack": None}),
        (["rack=r2", "k8s.io/zone-"], False, {"rack": "r2", "k8s.io/zone": None}),
        (["rack", "zone"], True, {"rack": None, "zone": None}),
    ],
)
def test_words_say_what_is_set_and_what_goes(words, remove, labels):
    assert labels == wanted(words, remove=remove)


@pytest.mark.parametrize(
    ("words", "remove", "why"),
    [
        (["rack"], False, "'rack' is not KEY=VALUE or KEY-"),
        (["rack=r1"], True, "'rack=r1' is not KEY"),
        (["a=1", "a=2"], False, "label 'a' is named twice"),
        (["a=1", "a-"], False, "label 'a' is named twice"),
    ],
)
def test_another_word_is_refused(words, remove, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        wanted(words, remove=remove)


@pytest.mark.parametrize("word", ["a b=c", "=c", "a=b c", "-"])
def test_a_key_or_value_that_no_label_has_is_refused(word):
    with pytest.raises(InvalidRequestError, match=r"metadata\.labels"):
        wanted([word])


def test_another_value_is_kept_unless_it_may_be_overwritten():
    old = {"rack": "r1", "zone": "a"}

    assert old == labelled(old, {"rack": "r1"}, overwrite=False)
    assert {**old, "rack": "r2"} == labelled(old, {"rack": "r2"}, overwrite=True)
    with pytest.raises(RefusedError, match=r"label rack is 'r1'; say --overwrite"):
        labelled(old, {"rack": "r2"}, overwrite=False)


def test_only_a_label_that_is_there_can_be_removed():
    assert {"zone": "a"} == labelled(
        {"rack": "r1", "zone": "a"}, {"rack": None}, overwrite=False
    )
    with pytest.raises(RefusedError, match="there is no label tier"):
        labelled({"rack": "r1"}, {"tier": None}, overwrite=True)


def test_the_rest_of_a_resource_stays():
    node = Node(metadata=ObjectMeta(name="n", uid="u", labels={"rack": "r1"}))

    after = relabelled(node, {"zone": "a"}, overwrite=False)

    assert {"rack": "r1", "zone": "a"} == after.metadata.labels
    assert node.metadata.model_copy(update={"labels": after.metadata.labels}) == after.metadata
