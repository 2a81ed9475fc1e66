"""BoltDB files, given anything at all: what can be read of one is read, damage is noted, and the reading ends.

`check` is what a fuzzer calls; `mutate` helps it past the checksums of the metas. `fuzz/run.py` runs both.
"""

# ruff: noqa: INP001 -- a script beside its seeds, loaded by its path

from __future__ import annotations

from orlop.errors import RootDamaged
from orlop.foreign.bolt import Bolt, Bucket, fnv1a

_MOST = 1000
# What is whole is read a few times, and what leads in circles ends at a limit that grows with the file.
_OFTEN = 64
_SPARE = 17 << 20


def check(data: bytes) -> bool:
    """Return whether it is read without damage. Raises AssertionError where it takes too long or nothing is said."""
    read = 0

    def at(offset: int, count: int) -> bytes:
        nonlocal read
        assert offset >= 0, offset
        assert count >= 0, count
        read += min(count, max(len(data) - offset, 0))
        return data[offset : offset + count]

    try:
        file = Bolt(at, len(data), "the file", most=_MOST)
    except RootDamaged:
        return False
    keys = sum(_keys(bucket, data) for bucket in file.roots())
    assert keys <= 3 * _MOST, keys
    assert read <= _OFTEN * len(data) + _SPARE, read
    assert all(damage.isprintable() for damage in file.damage), file.damage
    return not file.damage


def mutate(data: bytes) -> bytes:
    """Return the metas with the right checksums, without which nothing behind them is reached."""
    mended = bytearray(data)
    for page in (0, 512, 4096):
        meta = mended[page + 16 : page + 72]
        if meta[:4] == b"\xed\xda\x0c\xed" and len(meta) == 56:
            mended[page + 72 : page + 80] = fnv1a(bytes(meta)).to_bytes(8, "little")
    return bytes(mended)


def _keys(bucket: Bucket, data: bytes) -> int:
    """Return how many keys lie in a bucket, and check that each is bytes of the file."""
    count = 0
    for key, value in bucket.items():
        count += 1
        assert key in data, key
        if isinstance(value, Bucket):
            count += _keys(value, data)
        else:
            assert value in data, value
    return count
