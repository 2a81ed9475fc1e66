r"""Where reading a compressed layer can begin, beside at its start.

A seek index is derived from one blob and kept at the end of the table of contents of its layer. It has points, each
with a position in the plain bytes and one in the blob. There are two kinds:

- The border of a gzip member, zstd frame, xz or bzip2 stream: decompression starts there as at the start of the blob.
  Borders are found in the pass that brings a layer in, and cost nothing.
- A place inside a gzip member, between two deflate blocks. There decompression needs the 32 KiB before it, the window,
  and up to 7 bits of the byte before it. `orlop.streams.seek_points` makes such points, in a pass of its own, and
  hashes the plain bytes from each point to the next, which is a segment.

What must never happen: that an index gives wrong bytes. It names its blob, and its parts have checksums, so an index
that is damaged, or of another blob, is not used. A segment with a digest is verified before any of it is returned
(`orlop.streams.seek_read`). A reader that begins at a border compares the tar header that must be there.

The format, version 1, is one skippable zstd frame, so that whatever reads the table of contents passes over it:

- the line ``orlop seek 1\n``;
- the windows, each a zstd frame with a checksum;
- the points, a zstd frame with a checksum: a line of JSON, then a record for each point (`_POINT`);
- the trailer (`_TRAILER`): the sizes of the points and of the content of the skippable frame, and a mark.

It is found from the end of the file. At most `MAX_POINTS` points are kept, so an index has at most 33 MB, and usually
half a percent of the plain bytes.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from itertools import pairwise

from orlop.errors import TocDamaged
from orlop.model import plain_json
from orlop.model.tuples import NamedTuple
from orlop.streams.compression import Compression
from orlop.streams.zstd_frame import compressed_frame, exactly, frame_content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO, Final

__all__ = [
    "MAX_POINTS",
    "SPAN",
    "WINDOW",
    "Borders",
    "SeekIndex",
    "SeekPoint",
    "packed",
    "read_seek_index",
    "seek_index_start",
]

SPAN: Final = 4 << 20
"""How many plain bytes lie between two points, about."""

_BORDER_SPAN: Final = 1 << 20  # borders have no windows, so they may be closer

MAX_POINTS: Final = 1024
"""The most points of an index; in a layer that would have more, they are farther apart."""

WINDOW: Final = 1 << 15
"""The most bytes that a deflate block may refer back."""

_LINE: Final = b"orlop seek 1\n"
_MAGIC: Final = b"\x50\x2a\x4d\x18"
_MARK: Final = b"orlopsek"
_TRAILER: Final = struct.Struct("<II8s")
_POINT: Final = struct.Struct("<QQBII32s")  # plain, at, bits, place and size of the window, digest
_NO_DIGEST: Final = bytes(32)
_BORDER: Final = 0xFF  # in the place of the bits
_POINTS_MAX: Final = 1 << 20
_WINDOWS_MAX: Final = MAX_POINTS * (WINDOW + 1024)
_LARGEST: Final = (1 << 63) - 1
_DAMAGE: Final = "the seek index of a layer is damaged; it is made again when it is needed"


class SeekPoint(NamedTuple):
    """A place where decompression can begin.

    Attributes:
        plain: its position in the plain bytes.
        at: its position in the blob.
        bits: how many bits of the byte before ``at`` belong to what follows; None at a border.
        window: the place and size of the compressed window in the index; both 0 if none is needed.
        digest: SHA-256 of the plain bytes up to the next point; empty if it is not known.
    """

    plain: int
    at: int
    bits: int | None
    window: tuple[int, int]
    digest: bytes


class SeekIndex(NamedTuple):
    """The seek index of a blob.

    Attributes:
        blob: the digest of the blob, as text.
        compression: how the blob is compressed.
        plain_size: how many plain bytes it has.
        points: at least one, ascending; the first is at the first plain byte.
        windows: the compressed windows, which the points refer to.
    """

    blob: str
    compression: Compression
    plain_size: int
    points: Sequence[SeekPoint]
    windows: bytes

    def place(self, offset: int) -> int:
        """Return the number of the last point that is not behind a plain byte."""
        return max(bisect_right(self.points, offset, key=lambda point: point.plain) - 1, 0)

    def end(self, number: int) -> int:
        """Return the plain byte where the segment of a point ends."""
        return self.points[number + 1].plain if number + 1 < len(self.points) else self.plain_size

    def window(self, point: SeekPoint) -> bytes:
        """Return the plain bytes before a point. Raises TocDamaged."""
        start, size = point.window
        return frame_content(self.windows[start : start + size], WINDOW, _DAMAGE) if size else b""

    def gap(self) -> int:
        """Return the most plain bytes between two points, or a point and the end."""
        places = [*(point.plain for point in self.points), self.plain_size]
        return max(later - earlier for earlier, later in pairwise(places))

    def check(self) -> None:
        """Read every window. Raises TocDamaged if one is damaged."""
        for point in self.points:
            self.window(point)


class Borders:
    """Collects the borders that a `DecompressingReader` meets; pass `add` to it. Keeps at most `MAX_POINTS`."""

    def __init__(self) -> None:
        self._span = _BORDER_SPAN
        self._points: list[SeekPoint] = []

    def add(self, at: int, plain: int) -> None:
        """Take the next border: its position in the blob and in the plain bytes."""
        points = self._points
        if points and plain - points[-1].plain < self._span:
            return
        points.append(SeekPoint(plain, at, None, (0, 0), b""))
        if len(points) > MAX_POINTS:
            self._span *= 2
            kept = points[:1]
            for point in points[1:]:
                if point.plain - kept[-1].plain >= self._span:
                    kept.append(point)
            self._points = kept

    def index(self, blob: str, compression: Compression, plain_size: int) -> SeekIndex | None:
        """Return the index of a blob that was read to its end; None if reading can only begin at its start."""
        if len(self._points) < 2:
            return None
        return SeekIndex(blob, compression, plain_size, tuple(self._points), b"")


def packed(index: SeekIndex) -> bytes:
    """Return an index as bytes, which are written behind a table of contents."""
    from json import dumps  # noqa: PLC0415 - made once for a layer, and read often

    facts = {"blob": index.blob, "compression": index.compression.value, "plain_size": index.plain_size}
    records = b"".join(
        _POINT.pack(
            point.plain,
            point.at,
            _BORDER if point.bits is None else point.bits,
            *point.window,
            point.digest or _NO_DIGEST,
        )
        for point in index.points
    )
    points = compressed_frame(dumps(facts).encode() + b"\n" + records)
    size = len(_LINE) + len(index.windows) + len(points) + _TRAILER.size
    trailer = _TRAILER.pack(len(points), size, _MARK)
    return b"".join((_MAGIC, size.to_bytes(4, "little"), _LINE, index.windows, points, trailer))


def read_seek_index(file: BinaryIO, blob: str | None = None) -> SeekIndex | None:
    """Return the seek index at the end of a table of contents.

    Args:
        file: the table of contents, which can seek; the caller closes it.
        blob: the digest of the blob that is to be read; None for whichever it is.

    Returns:
        The index; None if there is none, or it is of another blob.

    Raises:
        TocDamaged: there is one, and it is damaged. OSError: the file cannot be read.
    """
    end = file.seek(0, 2)
    if end < _TRAILER.size:
        return None
    file.seek(end - _TRAILER.size)
    points_size, size, mark = _TRAILER.unpack(exactly(file, _TRAILER.size, _DAMAGE))
    if mark != _MARK:
        return None
    windows_size = size - len(_LINE) - points_size - _TRAILER.size
    if size + 8 > end or not 0 <= windows_size <= _WINDOWS_MAX or points_size > _POINTS_MAX:
        raise TocDamaged(_DAMAGE)
    file.seek(end - size - 8)
    head = _MAGIC + size.to_bytes(4, "little") + _LINE
    if exactly(file, len(head), _DAMAGE) != head:
        raise TocDamaged(_DAMAGE)
    windows = exactly(file, windows_size, _DAMAGE)
    line, _, records = frame_content(exactly(file, points_size, _DAMAGE), _POINTS_MAX, _DAMAGE).partition(b"\n")
    index = _parsed(line, records, windows)
    return index if blob in {None, index.blob} else None


def seek_index_start(file: BinaryIO) -> int:
    """Return where the seek index at the end of a table of contents begins; the end of the file if there is none.

    Raises:
        TocDamaged: its size cannot be right. OSError: the file cannot be read.
    """
    end = file.seek(0, 2)
    if end < _TRAILER.size:
        return end
    file.seek(end - _TRAILER.size)
    _, size, mark = _TRAILER.unpack(exactly(file, _TRAILER.size, _DAMAGE))
    if mark != _MARK:
        return end
    if size + 8 > end:
        raise TocDamaged(_DAMAGE)
    return end - int(size) - 8


def _parsed(line: bytes, records: bytes, windows: bytes) -> SeekIndex:
    try:
        facts = plain_json.loads(line)
        points = tuple(_point(records[at : at + _POINT.size]) for at in range(0, len(records), _POINT.size))
        index = SeekIndex(
            str(facts["blob"]), Compression(facts["compression"]), int(facts["plain_size"]), points, windows
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, struct.error) as error:
        raise TocDamaged(_DAMAGE) from error
    ascend = all(one.plain < two.plain and one.at < two.at for one, two in pairwise(points))
    inside = all(sum(point.window) <= len(windows) and (point.bits or 0) < 8 for point in points)
    if not points or points[0].plain or not ascend or not inside or len(points) > MAX_POINTS:
        raise TocDamaged(_DAMAGE)
    if points[-1].at > _LARGEST or not points[-1].plain <= index.plain_size <= _LARGEST:
        raise TocDamaged(_DAMAGE)
    # What is decompressed from inside a member on has nothing else that tells whether it is right.
    between = [point for point in points if point.bits is not None]
    if any(index.compression is not Compression.GZIP or not point.at or not point.digest for point in between):
        raise TocDamaged(_DAMAGE)
    return index


def _point(record: bytes) -> SeekPoint:
    plain, at, bits, start, size, digest = _POINT.unpack(record)
    return SeekPoint(
        plain, at, None if bits == _BORDER else bits, (start, size), b"" if digest == _NO_DIGEST else digest
    )
