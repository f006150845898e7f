"""Pictures of pages, by a browser that nobody sees."""

import struct
import subprocess
import zlib
from pathlib import Path
from shutil import which

import pytest


def screenshot(page: Path, *, size: tuple[int, int] = (1200, 900)) -> bytes:
    """Render a file; return the PNG. Skips the test where there is no Chromium."""
    program = which("chromium") or which("chromium-browser") or which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here (./dev prepare installs it)")
    target = page.with_suffix(".png")
    subprocess.run(
        [
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={page.parent / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={target}",
            page.as_uri(),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    return target.read_bytes()


def colours(png: bytes) -> set[tuple[int, int, int]]:
    """Return all colours of a PNG of 8 bits a channel that is not interlaced."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data, header = 8, b"", b""
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        data += body if kind == b"IDAT" else b""
        at += length + 12
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0)
    step = {2: 3, 6: 4}[kind]
    raw, stride = zlib.decompress(data), width * step
    found: set[tuple[int, int, int]] = set()
    above = bytearray(stride)
    for row in range(height):
        start = row * (stride + 1)
        above = _unfiltered(
            raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above, step
        )
        found.update(zip(above[::step], above[1::step], above[2::step], strict=True))
    return found


def _unfiltered(kind: int, line: bytearray, above: bytearray, step: int) -> bytearray:
    """Undo the filter of a row (PNG specification, 9.2)."""
    for n in range(len(line)) if kind else ():
        left = line[n - step] if n >= step else 0
        corner, up = (above[n - step] if n >= step else 0), above[n]
        if kind == 4:
            near = left + up - corner
            guess = min((left, up, corner), key=lambda each: abs(near - each))
        else:
            guess = {1: left, 2: up, 3: (left + up) // 2}[kind]
        line[n] = (line[n] + guess) & 255
    return line
