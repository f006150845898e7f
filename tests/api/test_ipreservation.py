"""IPReservations: stored form and verdicts as recorded from calicoctl."""

import pytest

from poolmgr.api import IPReservation
from poolmgr.errors import InvalidRequestError


def manifest(spec: object) -> dict:
    return {"metadata": {"name": "first"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "stored"),
    [
        (
            {"reservedCIDRs": ["10.20.0.8/31", "10.20.0.9/32", "fd00::/64"]},
            b'{"reservedCIDRs":["10.20.0.8/31","10.20.0.9/32","fd00::/64"]}',
        ),
        ({"reservedCIDRs": ["10.20.0.9/24"]}, b'{"reservedCIDRs":["10.20.0.9/24"]}'),
        ({}, b"{}"),
        (None, b"{}"),
        ({"reservedCIDRs": []}, b"{}"),
    ],
    ids=["entries", "host bits", "empty spec", "no spec", "empty list"],
)
def test_entries_are_stored_as_written(spec, stored):
    created = IPReservation.from_manifest(manifest(spec)).created(uid="u", now="t")

    assert (
        b'{"kind":"IPReservation","apiVersion":"projectcalico.org/v3",'
        b'"metadata":{"name":"first","uid":"u","creationTimestamp":"t"},"spec":'
        + stored + b"}"
        == created.to_stored()
    )


@pytest.mark.parametrize("entry", ["10.20.0.0/99", "10.20.0.9", "nonsense", "", 7])
def test_an_entry_that_is_no_cidr_is_refused(entry):
    with pytest.raises(InvalidRequestError, match=r"spec\.reservedCIDRs\[1\]: ") as caught:
        IPReservation.from_manifest(manifest({"reservedCIDRs": ["10.0.0.0/8", entry]}))

    assert f'"{entry}"' in str(caught.value)


def test_a_stored_entry_may_be_anything():
    raw = b'{"metadata":{"name":"a"},"spec":{"reservedCIDRs":["10.0.0.1","junk"]}}'

    assert IPReservation.from_stored(raw, 3).spec.reserved_cidrs == ("10.0.0.1", "junk")
