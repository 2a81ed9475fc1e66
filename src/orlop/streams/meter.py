"""The bytes that were read of an archive, and those that came out of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orlop.model.limits import Limits


class Readable(Protocol):
    """Anything that returns bytes: at most ``n`` at once, none at the end."""

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""


class Meter:
    """Counts the bytes of one archive, at every level, and compares them with the limits. Threads may share it.

    The bytes that come out of a compressed archive, and those that come out of compressed layers in it, are each
    compared with the bytes of the outermost stream. So a bomb inside a bomb counts as one, and so do many small ones.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._turn = threading.Lock()
        self._read = self._unpacked = self._plain = 0

    def counted(self, source: Readable) -> Counted:
        """Return a reader of the outermost stream, whose bytes are counted."""
        return Counted(source, self)

    def read(self, count: int) -> None:
        """Count bytes of the outermost stream."""
        with self._turn:
            self._read += count

    def claimed(self, size: int, stored: int) -> None:
        """Check the bytes that a sparse member claims to have against those that are stored of it.

        Raises:
            LimitExceeded: it claims too many; nothing needs to be read to find out.
        """
        with self._turn:
            if size - stored > self.limits.plain_size:
                raise self.limits.exceeded(
                    "plain_size", f"a member claims to have {size} bytes, nearly all of them holes"
                )
            self._check_ratio(size - stored, self._read + stored)

    def unpacked(self, count: int) -> None:
        """Count bytes that came out of an archive that is compressed as a whole. Raises `LimitExceeded`."""
        with self._turn:
            self._unpacked += count
            self._check(self._unpacked)

    def plain(self, count: int) -> None:
        """Count bytes of a layer's uncompressed tar. Raises `LimitExceeded`."""
        with self._turn:
            self._plain += count
            self._check(self._plain)

    def _check(self, size: int) -> None:
        limits = self.limits
        if size > limits.plain_size:
            raise limits.exceeded("plain_size", f"{size} bytes come out of the archive")
        self._check_ratio(size, self._read)

    def _check_ratio(self, size: int, read: int) -> None:
        if size > self.limits.ratio_floor and size > self.limits.ratio * read:
            found = f"{size} bytes come out of {read} bytes of the archive, {size // max(1, read)} times as many"
            raise self.limits.exceeded("ratio", found)


class Counted:
    """A reader of the outermost stream, see `Meter.counted`."""

    def __init__(self, source: Readable, meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes."""
        data = self._source.read(n)
        self._meter.read(len(data))
        return data
