"""The readers of tars, given anything at all: the scanner, the pulling reader and the table of contents must agree.

`check` is what a fuzzer calls; `mutate` helps it past the checksums. `fuzz/run.py` runs both.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import InvalidTar, LimitExceeded
from orlop.streams.tar import TarReader, TarScanner
from orlop.streams.toc import TocWriter, read_toc

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.streams.tar import TarEntry

_CONTENT_MAX = 1 << 16  # a sparse member may claim any number of bytes: enough of each is read
_PIECES = (700, 1 << 20)
_Verdict = tuple[str, list["TarEntry"]]


def check(data: bytes) -> bool:
    """Return whether it is a tar. Raises AssertionError where the readers disagree, and whatever they should not."""
    expected = _verdict(lambda: list(TarReader(io.BytesIO(data))))
    for piece in _PIECES:
        found = _verdict(partial(_scanned, data, piece))
        if found != expected:
            raise AssertionError(f"in pieces of {piece}, the scanner says {found!r}, the reader {expected!r}")
    return _verdict(lambda: _read(data))[0] == "fine"


def mutate(data: bytes) -> bytes:
    """Return every block that looks like a header the right checksum, without which nothing behind it is reached."""
    mended = bytearray(data)
    for start in range(0, len(data) - 511, 512):
        block = mended[start : start + 512]
        if block[257:262] == b"ustar" or (block[148:154].isdigit() and block[0]):
            block[148:156] = b"        "
            mended[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(mended)


def _verdict(attempt: Callable[[], list[TarEntry]]) -> _Verdict:
    try:
        return "fine", attempt()
    except (InvalidTar, LimitExceeded) as error:
        return type(error).__name__, []


def _scanned(data: bytes, piece: int) -> list[TarEntry]:
    """Scan in pieces, and return the entries of the table of contents that comes of it."""
    table = io.BytesIO()
    writer = TocWriter(table)
    scanner = TarScanner(headers=writer.add)
    for start in range(0, len(data), piece):
        scanner.feed(data[start : start + piece])
    summary = scanner.close()
    writer.close()
    table.seek(0)
    entries = list(read_toc(table))
    if (summary.entries, summary.tar_size) != (len(entries), len(data)):
        raise AssertionError(f"{summary} of {len(entries)} entries in {len(data)} bytes")
    return entries


def _read(data: bytes) -> list[TarEntry]:
    """Read the contents too, which may be refused later than the headers."""
    entries = []
    reader = TarReader(io.BytesIO(data))
    for entry in reader:
        entries.append(entry)
        left = min(entry.size, _CONTENT_MAX)
        while left:
            content = reader.read(left)
            if not 0 < len(content) <= left:
                raise AssertionError(f"{len(content)} bytes of {entry}, where {left} are left")
            left -= len(content)
    return entries
