"""Requests: what an attachment is called."""

import re
from dataclasses import replace

import pytest

from poolmgr.core.request import Attachment

ATTACHMENT = Attachment(network="k8s-pod-network", container="c1", interface="eth0")


def test_the_handle_is_the_one_calico_ipam_uses():
    assert "k8s-pod-network.c1" == ATTACHMENT.handle
    assert ATTACHMENT.handle == replace(ATTACHMENT, interface="net1").handle


def test_an_attachment_is_written_as_network_container_interface():
    assert "k8s-pod-network/c1/eth0" == str(ATTACHMENT)


def test_a_digest_is_short_and_always_the_same():
    assert re.fullmatch("[0-9a-f]{16}", ATTACHMENT.digest)
    assert ATTACHMENT.digest == replace(ATTACHMENT).digest


@pytest.mark.parametrize("field", ["network", "container", "interface"])
def test_every_part_of_an_attachment_matters_to_its_digest(field):
    assert ATTACHMENT.digest != replace(ATTACHMENT, **{field: "other"}).digest


def test_attachments_that_share_a_handle_have_digests_of_their_own():
    one = Attachment(network="a.b", container="c", interface="eth0")
    other = Attachment(network="a", container="b.c", interface="eth0")

    assert one.handle == other.handle
    assert one.digest != other.digest
