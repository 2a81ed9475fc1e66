"""Files of tar-split, given anything at all: they are read or told to be damaged, and two ways to read a line agree.

`check` is what a fuzzer calls; `mutate` packs what it made, since little that is changed can be unpacked.
`fuzz/run.py` runs both.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

import gzip
import io
import zlib

from orlop.errors import LimitExceeded, RootDamaged
from orlop.foreign import tarsplit
from orlop.foreign.disk import parts_of


def check(data: bytes) -> bool:
    """Return whether it is a file of tar-split. Raises AssertionError where two ways to read a line disagree."""
    for line in _plain(data).split(b"\n"):
        short, full = _part(tarsplit._part, line), _part(tarsplit._any_part, line)  # noqa: SLF001 - the two ways
        assert short == full, (short, full)
    try:
        for part in tarsplit.read(io.BytesIO(data), what="the file"):
            if isinstance(part, tarsplit.Content):
                path = parts_of(part.name)
                assert path is None or not {"", ".", ".."} & set(path), path
    except (RootDamaged, LimitExceeded) as error:
        if not str(error).isprintable():
            raise AssertionError(error) from error
        return False
    return True


def mutate(data: bytes) -> bytes:
    """Return lines as they are in a file, packed."""
    return gzip.compress(_plain(data), 1, mtime=0)


def _plain(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(data, 1 << 20)
    except zlib.error:
        return data


def _part(read: object, line: bytes) -> object:
    assert callable(read)
    try:
        return read(line, "the file")
    except RootDamaged as error:
        return str(error)
