"""Reading a compressed blob from a plain byte on, by its seek index.

A segment with a digest is verified before any of it is returned. One that is too large for memory is decompressed
twice, the first time only to be verified. A segment without a digest is returned as it is decompressed.

A point inside a gzip member may lie inside a byte. Python's decoders cannot begin there, but they can begin with
another block in front: empty blocks that end at the same bit as the byte before the point (`_in_front`). An empty block
with fixed codes has 10 bits, and the shortest way to an odd number of bits is one with codes of its own, of 93 bits.
"""

from __future__ import annotations

from itertools import chain

from orlop.errors import InvalidCompression, TocDamaged
from orlop.model.hashing import sha256
from orlop.model.limits import NO_LIMITS
from orlop.streams.compression import decompressed, deflate_decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Final

    from orlop.streams.compression import Compression
    from orlop.streams.seek_index import SeekIndex, SeekPoint

__all__ = ["chunks_from"]

_CHUNK: Final = 1 << 20
_INPUT: Final = 1 << 17
_WHOLE: Final = 16 << 20  # the largest segment that is verified before it is returned
_TRAILER: Final = 8  # of a gzip member: checksum and size
_FIXED: Final = (0b010, 10)
"""An empty block with fixed codes, and its size in bits: not the last one, the kind, and the end of the block."""


def _dynamic() -> tuple[int, int]:
    """Return an empty block with codes of its own, and its size in bits.

    The only code of a literal is that of the end of the block, of one bit, after 256 literals without a code.
    """
    value = size = 0

    def put(bits: int, width: int) -> None:
        nonlocal value, size
        value |= bits << size
        size += width

    put(0b100, 3)  # not the last block; with codes of its own
    put(0, 5)  # 257 codes of literals
    put(0, 5)  # 1 code of distances
    put(15, 4)  # 19 codes of lengths, of which 18 (repeat zero) and 1 have one bit each
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15):
        put(1 if symbol in {1, 18} else 0, 3)
    for zeros in (138, 118):
        put(1, 1)
        put(zeros - 11, 7)
    put(0, 1)  # the end of the block has a code of one bit
    put(0, 1)  # and so has the distance that nothing uses
    put(0, 1)  # the end of the block
    return value, size


def _in_front(bits: int, byte: int) -> bytes:
    """Return empty blocks that end with the last ``bits`` bits of a byte."""
    value = size = 0
    if (8 - bits) % 2:
        value, size = _dynamic()
    while (size + bits) % 8:
        value |= _FIXED[0] << size
        size += _FIXED[1]
    value |= (byte >> (8 - bits)) << size
    return value.to_bytes((size + bits) // 8, "little")


def chunks_from(file: BinaryIO, index: SeekIndex, offset: int) -> Iterator[bytes]:
    """Yield the plain bytes of a blob from one of them on, to the end.

    Args:
        file: the blob, which can seek. It is not closed.
        index: its index.
        offset: the first byte.

    Raises:
        TocDamaged: the index and the blob do not fit; nothing that is wrong was returned. InvalidCompression: the blob
        cannot be decompressed.
    """
    number = index.place(offset)
    while number < len(index.points):
        point, end = index.points[number], index.end(number)
        skipped = max(offset - point.plain, 0)
        if not point.digest:
            yield from _dropped(_from_point(file, index, point), skipped)
            return
        size = end - point.plain
        pieces = _verified(_segment(file, index, point, size), point)
        if size <= _WHOLE:
            whole = b"".join(pieces)
            pieces = (whole[start : start + _CHUNK] for start in range(0, len(whole), _CHUNK))
        else:
            for _ in pieces:
                pass
            pieces = _segment(file, index, point, size)
        yield from _dropped(pieces, skipped)
        number += 1


def _dropped(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        if size >= len(piece):
            size -= len(piece)
            continue
        yield piece[size:] if size else piece
        size = 0


def _verified(pieces: Iterator[bytes], point: SeekPoint) -> Iterator[bytes]:
    """Yield the pieces of a segment. Raises TocDamaged behind the last where they are not those of its digest."""
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    if digest.digest() != point.digest:
        raise TocDamaged(
            f"what the blob holds from byte {point.at} on is not what its seek index says; run `orlop fsck`"
        )


def _segment(file: BinaryIO, index: SeekIndex, point: SeekPoint, size: int) -> Iterator[bytes]:
    """Yield the bytes up to the next point. Raises TocDamaged where there are fewer, or they cannot be read."""
    if not size:
        return
    try:
        for piece in _from_point(file, index, point):
            yield piece[:size]
            size -= len(piece)
            if size <= 0:
                return
    except InvalidCompression as error:
        raise TocDamaged(f"the blob cannot be read from byte {point.at} on, as its seek index says: {error}") from error


def _from_point(file: BinaryIO, index: SeekIndex, point: SeekPoint) -> Iterator[bytes]:
    """Yield the plain bytes from a point to the end of the blob."""
    if point.bits is None:
        file.seek(point.at)
        yield from _rest(file, index.compression)
        return
    file.seek(point.at - 1)
    before = file.read(1)
    if not before:
        raise TocDamaged(f"the blob ends before byte {point.at}, which its seek index names; run `orlop fsck`")
    decoder, errors = deflate_decoder(index.window(point))
    data = _in_front(point.bits, before[0])
    while not decoder.eof:
        if not data and decoder.needs_input and not (data := file.read(_INPUT)):
            raise InvalidCompression("the gzip stream ends too early")
        try:
            plain = decoder.decompress(data, _CHUNK)
        except errors as error:
            raise InvalidCompression(f"the gzip stream cannot be read from byte {point.at} on: {error}") from error
        data = b""
        if plain:
            yield plain
    # The checksum of the member covers also what was not read; a segment has its own digest.
    rest = decoder.unused_data
    while len(rest) < _TRAILER and (more := file.read(_INPUT)):
        rest += more
    following = rest[_TRAILER:].lstrip(b"\0")
    # Zero bytes may come between members.
    while not following and (more := file.read(_INPUT)):
        following = more.lstrip(b"\0")
    if following:
        yield from _rest(_Joined(following, file), index.compression)


def _rest(source: BinaryIO | _Joined, compression: Compression) -> Iterator[bytes]:
    with decompressed(source, compression, limits=NO_LIMITS) as reader:
        while data := reader.read(_CHUNK):
            yield data


class _Joined:
    """Bytes that were read already, and the file that they come from."""

    def __init__(self, first: bytes, file: BinaryIO) -> None:
        self._parts = chain((first,), iter(lambda: file.read(_INPUT), b""))
        self._part = b""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        part = self._part or next(self._parts, b"")
        self._part = part[size:]
        return part[:size]
