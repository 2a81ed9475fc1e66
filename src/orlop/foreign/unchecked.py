"""gzip whose frame is damaged: what was compressed, without a look at sums and sizes.

A bit that has flipped in the sum at the end of a file, or in its header, loses nothing of what was compressed. Whoever
knows by other means whether the content is right, as by the digest of what is made of it, can do without. The stream of
deflate itself has to be whole, as far as it is read.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidCompression
from orlop.streams.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.streams.compression import Readable

_MAGIC: Final = b"\x1f\x8b\x08"
# A header without optional fields, which is what engines write; and what stands behind a member.
_HEADER: Final = 10
_TRAILER: Final = 8
_EXTRA, _NAME, _COMMENT, _SUM = 4, 8, 16, 2
_LONGEST: Final = 1 << 16


class UncheckedGzip:
    """Reads what gzip members hold.

    Args:
        source: the compressed bytes.
        begin: the first byte of what is expected, by which the end of a damaged header is found.
    """

    def __init__(self, source: Readable, begin: bytes) -> None:
        self._source = source
        self._held = b""
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        self._fill(_LONGEST)
        for length in _lengths(self._held):
            if self._gives(length, begin):
                self._held = self._held[length:]
                return
        raise InvalidCompression("it does not begin as gzip")

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, at least one unless there are no more. Raises `InvalidCompression`."""
        while True:
            if self._decoder.eof and not self._go_on():
                return b""
            if not self._held:
                self._fill(CHUNK)
            if not self._held:
                raise InvalidCompression("it ends too early")
            try:
                data = self._decoder.decompress(self._held, size)
            except zlib.error as error:
                raise InvalidCompression(str(error)) from None
            self._held = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if data:
                return data

    def close(self) -> None:
        """Forget what is held."""
        self._held = b""

    def _fill(self, size: int) -> None:
        """Hold so many bytes, if there are as many."""
        while len(self._held) < size and (more := self._source.read(size - len(self._held))):
            self._held += more

    def _gives(self, length: int, begin: bytes) -> bool:
        """Return whether a member with a header of that length begins as is expected."""
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self._held[length:], len(begin)) == begin
        except zlib.error:
            return False

    def _go_on(self) -> bool:
        """Pass over the end of a member, and the header of the next one; return whether there is one."""
        self._fill(_TRAILER + _LONGEST)
        self._held = self._held[_TRAILER:]
        if not self._held.strip(b"\0"):
            return False
        if not self._held.startswith(_MAGIC):
            raise InvalidCompression("something else follows it")
        self._held = self._held[next(_lengths(self._held)) :]
        self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        return True


def _lengths(header: bytes) -> Iterator[int]:
    """Yield how long a header may be: by what it says, and then without optional fields."""
    flags = header[3] if len(header) >= _HEADER else 0
    length = _HEADER
    if flags & _EXTRA:
        length += 2 + int.from_bytes(header[length : length + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            length = header.find(b"\0", length) + 1 or length
    yield length + 2 * bool(flags & _SUM)
    yield _HEADER
