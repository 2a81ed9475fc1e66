"""A tar whose contents are all zeros, to read its headers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.foreign.tarsplit import Segment
from orlop.streams.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.foreign.tarsplit import Content


class Skeleton:
    """A tar as it would be if all contents were zeros; to pass over them costs nothing, however many there are."""

    def __init__(self, parts: Iterator[Segment | Content]) -> None:
        self._parts = parts
        self._data = b""
        self._zeros = 0

    def seekable(self) -> bool:
        """Return that `seek` passes over bytes."""
        return True

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes."""
        if not self._fill():
            return b""
        if self._data:
            data, self._data = self._data[:size], self._data[size:]
            return data
        count = min(size, self._zeros, CHUNK)
        self._zeros -= count
        return bytes(count)

    def seek(self, count: int, whence: int, /) -> None:
        """Pass over bytes from here on; others than these are not asked for."""
        del whence
        while count and self._fill():
            if self._data:
                passed = min(count, len(self._data))
                self._data = self._data[passed:]
            else:
                passed = min(count, self._zeros)
                self._zeros -= passed
            count -= passed

    def _fill(self) -> bool:
        """Take the next part where nothing is left of the last one, and return whether there is something."""
        while not self._data and not self._zeros:
            part = next(self._parts, None)
            if part is None:
                return False
            if isinstance(part, Segment):
                self._data = part.data
            elif part.is_stored:
                self._zeros = part.size if part.pieces is None else sum(length for _, length in part.pieces)
        return True
