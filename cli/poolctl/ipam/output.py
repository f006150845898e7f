"""
How answers about addresses are written: as a table for people, as a document for programs.

Rules:

1. Field names of documents are stable: programs read them. They are written in ASCII, so that
   nothing that is stored can steer a terminal.
2. A table keeps few rows in memory, however many it has: its columns are as wide as the widest
   cell, which is known in the end only, so that rows wait in a file.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any

import click

from poolctl.report import document, printable

TABLE, JSON, YAML = ("table", "json", "yaml")

_IN_MEMORY_BYTES = 8 * 1024 * 1024
_LINES_AT_ONCE = 1000


def show_document(value: Mapping[str, Any], output: str) -> None:
    """Write a document to stdout, as JSON or YAML."""
    click.echo(document(value, output))


class Table:
    """
    A table with borders, to be filled row by row and then shown.

    Args:
        columns: Their headings.
        right: Headings of columns that are aligned to the right.
    """

    def __init__(self, columns: Sequence[str], *, right: Collection[str] = ()) -> None:
        self._columns = columns
        self._right = [column in right for column in columns]
        self._widths = [*map(len, columns)]
        self._rows = SpooledTemporaryFile(  # noqa: SIM115 - closed by __exit__
            _IN_MEMORY_BYTES, "w+", encoding="utf-8", newline="\n"
        )

    def __enter__(self) -> "Table":
        """Begin."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Forget the rows."""
        self._rows.close()

    def add(self, cells: Iterable[str]) -> None:
        """Add a row; what is not printable in it is escaped."""
        texts = [*map(printable, cells)]
        self._widths = [*map(max, self._widths, map(len, texts))]
        self._rows.write("\t".join(texts) + "\n")

    def show(self) -> None:
        """Write it to stdout."""
        lines = self._lines()
        while part := [*islice(lines, _LINES_AT_ONCE)]:
            click.echo("\n".join(part))

    def _lines(self) -> Iterator[str]:
        border = f"+{'+'.join('-' * (width + 2) for width in self._widths)}+"
        yield from (border, self._line(self._columns), border)
        self._rows.seek(0)
        for row in self._rows:
            yield self._line(row.removesuffix("\n").split("\t"))
        yield border

    def _line(self, cells: Sequence[str]) -> str:
        aligned = [
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(cells, self._widths, self._right, strict=True)
        ]
        return f"| {' | '.join(aligned)} |"
