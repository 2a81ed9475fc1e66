"""Where a request's body ends: after a number of bytes, or in chunks.

A chunk's line may have an extension, and headers may follow the last chunk. Both are thrown away, and both are
bounded as Go's servers bound them: beside its data a body has 16 KiB, and for each chunk 16 bytes and twice its size.
So a client may send a body in tiny chunks, but not something that never becomes a body.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from orlop.api.head import Refused

_MUCH: Final = 64 << 10
_LITTLE: Final = 4 << 10
_TINY: Final = 128
_LONGEST_LINE: Final = 4096
_MOST_BESIDE: Final = 16 << 10
_FREE: Final = 16
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_MALFORMED: Final = "the chunks of the request's body are not valid HTTP"


class Framing(Protocol):
    """A body that comes piece by piece."""

    complete: bool
    """Whether all of it has come."""
    appetite: int
    """How many bytes to give at once."""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the next bytes is the body's, and what follows the body.

        Raises:
            Refused: the bytes are not valid.
        """


class Sized:
    """A body whose length was said."""

    appetite = _MUCH

    def __init__(self, length: int) -> None:
        self.left = length
        """How many bytes have not come."""
        self.complete = not length

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the next bytes is the body's, and what follows the body."""
        if len(data) < self.left:
            self.left -= len(data)
            return data, b""
        end, self.left, self.complete = self.left, 0, True
        return (data, b"") if end == len(data) else (data[:end], data[end:])


class Chunked:
    """A body in chunks."""

    def __init__(self) -> None:
        self.complete = False
        self.appetite = _MUCH
        self._left = 0
        self._line = b""
        self._beside = 0
        self._read = self._size

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the next bytes is the body's, and what follows the body.

        Raises:
            Refused: the chunks are not valid, or have more beside their data than is taken.
        """
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                parts.append(data[at : at + self._left])
                self._left -= len(parts[-1])
                at += len(parts[-1])
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if len(self._line) > _LONGEST_LINE:
                raise Refused(400, _MALFORMED)
            if self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                self._read(line)
        # Tiny chunks take time that others wait for.
        self.appetite = _LITTLE if len(parts) * _TINY > at else _MUCH
        return parts[0] if len(parts) == 1 else b"".join(parts), data[at:]

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise Refused(400, _MALFORMED)
        self._left = int(match[1], 16)
        self._count(len(line) - _FREE - 2 * self._left)
        self._read = self._end if self._left else self._trailer

    def _end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise Refused(400, _MALFORMED)
        self._read = self._size

    def _trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.complete = True
            return
        if not line.endswith(b"\r\n"):
            raise Refused(400, _MALFORMED)
        self._count(len(line))

    def _count(self, size: int) -> None:
        self._beside = max(0, self._beside + size)
        if self._beside > _MOST_BESIDE:
            raise Refused(400, "the request's body has too much besides its data")


def framing(length: int | None) -> Framing:
    """Return the framing of a body of a number of bytes, or of one in chunks."""
    return Chunked() if length is None else Sized(length)
