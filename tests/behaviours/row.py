"""What the tables of this folder share."""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Row:
    """
    One row of Calico's suites as data of a test; each table adds the columns it needs.

    Attributes:
        id: As in rows.txt, "PS-01".
    """

    id: str


def each(rows):
    """Parametrise a test by `row`, named after the rows."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.id)
