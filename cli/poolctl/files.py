"""Files that are written whole or not at all."""

import contextlib
import gzip
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from poolmgr.errors import InvalidRequestError


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """
    Open a file for writing that takes its name when all is written, and is its owner's only.

    It is packed by gzip where the name ends in ".gz".

    Raises:
        OSError: It cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:  # nobody knows the name that it tried
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with open(handle, "wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as packed:
                    yield cast(BinaryIO, packed)
            else:
                yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a new name last; some file systems have nothing to do for that, and say so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def existing_file(path: Path) -> Iterator[BufferedReader]:
    """
    Open a file for reading; "-" is standard input.

    Raises:
        InvalidRequestError: It cannot be opened.
    """
    if str(path) == "-":
        yield cast(BufferedReader, sys.stdin.buffer)
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - the error of opening it is told from others
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file
