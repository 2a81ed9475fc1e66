"""Path tables, given anything at all: each is read, or refused as damaged; nothing else may happen.

`check` is what a fuzzer calls; `mutate` helps it past the sizes. `fuzz/run.py` runs both.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

import io

from orlop.errors import TocDamaged
from orlop.streams.path_table import MARKER, MEMBER, read_path_table

_LOOKS = ("", "etc", "etc/passwd", "etc/none", "etc/.wh.gone", "usr/lib/a", "z")
_TRAILER = 16


def check(data: bytes) -> bool:
    """Return whether it is a whole path table. Raises whatever reading one should not raise."""
    try:
        table = read_path_table(io.BytesIO(data))
        if table is None:
            return False
        for path in _LOOKS:
            for kind in (MEMBER, MARKER):
                table.at(kind, path)
                table.first_below(kind, path)
        table.check()
    except TocDamaged:
        return False
    return True


def mutate(data: bytes) -> bytes:
    """Return the table with the sizes that it has now at both ends, without which nothing inside is reached."""
    size = len(data) - 8
    if size < _TRAILER:
        return data
    mended = bytearray(data)
    mended[4:8] = size.to_bytes(4, "little")
    mended[-12:-8] = size.to_bytes(4, "little")
    return bytes(mended)
