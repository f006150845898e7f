"""
IPReservation: addresses that automatic assignment skips.

Source: Calico api/pkg/apis/projectcalico/v3/ipreservation.go;
verdicts as recorded from calicoctl.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from poolmgr.api.ippool import parse_cidr
from poolmgr.api.meta import Model, Resource, Texts
from poolmgr.api.violations import Violation, shown


class IPReservationSpec(Model):
    """
    What is reserved.

    Attributes:
        reserved_cidrs: CIDRs as written; host bits and overlaps are allowed. Older clients
            stored bare addresses too.
    """

    reserved_cidrs: Texts = ()


class IPReservation(Resource):
    """Addresses kept from automatic assignment."""

    kind: ClassVar[str] = "IPReservation"
    plural: ClassVar[str] = "ipreservations"
    aliases: ClassVar[tuple[str, ...]] = ("reservation", "reservations")

    spec: IPReservationSpec = Field(default_factory=IPReservationSpec)

    def violations(self) -> Iterator[Violation]:
        """Check that every entry is a CIDR."""
        for index, text in enumerate(self.spec.reserved_cidrs):
            try:
                parse_cidr(text, strict=False)
            except ValueError:
                why = f"{shown(text)} is not a network of the form address/length"
                yield f"spec.reservedCIDRs[{index}]", why
