"""Reading the content of many files of an image, in any order, in few passes over its layers.

Each layer that is read has a cursor. Where the layer is `seekable` and need not be verified, the cursor goes straight
to each file, or reads on to it if it is near. So it does in a compressed layer with a seek index, which is made first
if need be, where little of the layer is wanted and much lies before that (`_Cursor._may_jump`). Else the layer is a
stream that only goes forward, which costs a decompression (and a digest) from its beginning. Files are mostly asked for
in about the order in which the layer has them, so one pass serves: what is passed over and will be asked for later is
kept in memory as it is in the layer, up to a number of bytes for all layers (`orlop.inside.kept`). Where a file lies
behind the cursor and was not kept, a new pass begins. So a layer in the worst order is read about once for each so many
bytes of it. Most layers are in the order in which they are asked for; then nothing is kept, and no request need be
remembered.

Most files are small, and lie whole in what was read of the layer last. `Contents.whole` returns these without a copy,
which makes the reading of very many files several times cheaper than `Contents.chunks`.

Nothing of a layer that is verified is certain before `Contents.finish`, which reads on to the end of it, and raises
where its bytes are not those of its diff ID. What writes files out tells so by an error, and does not complete what it
writes.

A header is read again before its content, and must be what the table of contents says. So a wrong table gives an error
and never another file's content.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from contextlib import ExitStack, suppress
from io import BytesIO
from itertools import pairwise

from orlop.errors import InvalidTar, TocDamaged
from orlop.inside.kept import Kept
from orlop.inside.layer import ChunkReader, skip
from orlop.model.closing import Closing
from orlop.model.limits import NO_LIMITS
from orlop.streams.tar_entry import BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Final

    from orlop.inside.layer import Layer
    from orlop.streams.compression import Readable
    from orlop.streams.tar_entry import TarEntry
    from orlop.streams.tar_read import TarReader

__all__ = ["Contents", "Place", "joined"]

Place = tuple[int, "TarEntry"]
"""The number of a layer, and an entry of it that has content."""

_NEAR: Final = 4 << 20
"""Bytes that are read and dropped rather than passed over; about what it costs to begin at a point of an index."""

_FAR: Final = 8 << 20
"""Bytes that are decompressed without a thought of making an index."""

_CHUNK: Final = 1 << 20
_NAME_SIZE: Final = 100
_PREFIX: Final = 345  # where the prefix of a name is in a header
_FILES: Final = b"0\0"


class Contents(Closing):
    """The content of files, which are asked for in a known order; a context manager that closes what was opened.

    Args:
        layers: the layers, bottom first.
        wanted: the files in the order in which `chunks` will be called; some may be left out.
        verified: whether the layers are verified; `finish` tells.
        longest_hole: how many zeros `chunks` yields of each hole of a sparse file at most; None for all. A file with
            holes of exabytes is a few bytes in a layer.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        wanted: Iterable[Place],
        *,
        verified: bool = False,
        longest_hole: int | None = None,
    ) -> None:
        self._layers = layers
        self._longest_hole = longest_hole
        self._verified = verified
        self._kept = Kept()
        self._wanted: dict[int, _Requests] = {}
        for moment, (layer, entry) in enumerate(wanted):
            requests = self._wanted.get(layer)
            if requests is None:
                requests = self._wanted[layer] = _Requests()
            requests.entries.append(entry)
            requests.moments.append(moment)
        self._cursors: dict[int, _Cursor] = {}

    def whole(self, place: Place) -> memoryview | None:
        """Return the content of a file if all of it is at hand; if it is None, call `chunks` for the same place.

        The memory is valid as long as the caller keeps it. Raises what reading the layer raises.
        """
        cursor = self._cursors.get(place[0])
        return None if cursor is None else cursor.whole(place[1])

    def chunks(self, place: Place) -> Iterator[bytes]:
        """Yield the content of a file, with zeros in its holes, in pieces of at most about 1 MiB.

        Raises:
            TocDamaged: the layer has something else there than its table of contents says. Beside it, what reading
            the layer raises.
        """
        yield from content_of(self._member(place), place[1], longest_hole=self._longest_hole)

    def located(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """Yield the same as `chunks` with the place of each piece in the content. Raises as `chunks`."""
        yield from located_of(self._member(place), place[1], longest_hole=self._longest_hole)

    def _member(self, place: Place) -> Readable:
        """Return a source that stands at the first header of a file."""
        layer, entry = place
        cursor = self._cursors.get(layer)
        if cursor is None:
            requests = self._wanted.pop(layer, None) or _Requests()
            cursor = _Cursor(
                self._layers[layer],
                requests,
                self._kept,
                verified=self._verified,
            )
            self._cursors[layer] = cursor
        return cursor.member(entry)

    def finish(self) -> None:
        """Read the layers that are verified to their ends. Raises what `Layer.chunks` does."""
        for cursor in self._cursors.values():
            cursor.finish()

    def close(self) -> None:
        """Close what was opened."""
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors.clear()


class _Requests:
    """The files of one layer that are wanted, in the order of the requests, and the moment of each request."""

    __slots__ = ("entries", "moments")

    def __init__(self) -> None:
        self.entries: list[TarEntry] = []
        self.moments = array("q")

    def are_in_order(self) -> bool:
        """Return whether each file lies behind the one before it."""
        return all(one.header_offset < other.header_offset for one, other in pairwise(self.entries))


class _Cursor:
    """Where the reading of one layer stands."""

    def __init__(self, layer: Layer, wanted: _Requests, kept: Kept, *, verified: bool) -> None:
        self._layer = layer
        self._verified = verified
        self._kept = kept
        self._now = 0  # the moment of the last request
        self._entries: dict[int, TarEntry] = {}
        self._moments: dict[int, list[int]] = {}  # of the requests for each file, the next one last
        self._in_order = wanted.are_in_order()
        if not self._in_order:
            for moment, entry in zip(wanted.moments, wanted.entries, strict=True):
                self._entries[entry.header_offset] = entry
                self._moments.setdefault(entry.header_offset, []).append(moment)
            for moments in self._moments.values():
                moments.reverse()
        self._offsets = sorted(self._entries)
        self._stream: ChunkReader | _Counted | None = None
        self._opened = ExitStack()  # what the stream reads from
        self._jumps = not verified and self._may_jump(wanted.entries)
        self._finished = False

    def _may_jump(self, wanted: Sequence[TarEntry]) -> bool:
        """Return whether the cursor goes straight to each file: it costs little, or less than to read all before it."""
        if self._layer.seekable:
            return True
        last = max((entry.header_offset for entry in wanted), default=0)
        # One that is wanted twice is read once.
        different = wanted if self._in_order else self._entries.values()
        if sum(entry.stored_size + _NEAR for entry in different) > last:
            return False
        return self._layer.indexed(make=last >= _FAR)

    def whole(self, entry: TarEntry) -> memoryview | None:
        """Return a content that is all in what was read last, and pass over it; None if that is not simple."""
        stream = self._stream
        if not self._in_order or entry.sparse or not isinstance(stream, ChunkReader):
            return None
        if entry.offset - entry.header_offset != BLOCK:
            return None
        member = stream.at_hand(entry.header_offset, BLOCK + entry.size)
        if member is None or not _is_header_of(bytes(member[:BLOCK]), entry):
            return None
        stream.pass_to(entry.offset + entry.size)
        return member[BLOCK:]

    def member(self, entry: TarEntry) -> Readable:
        """Return a source that stands at the first header of a file."""
        start = entry.header_offset
        self._now = self._next_moment(start) or self._now
        if moments := self._moments.get(start):
            moments.pop()
        following = self._next_moment(start)
        data = self._kept.take((self, start), following)
        if data is None:
            stream = self._to(start)
            size = _size_in_layer(entry)
            if following is None or not self._kept.has_room(size, following, self._now):
                return stream
            data = self._kept.put((self, start), following, _pieces(stream, size))
        return BytesIO(data)

    def _next_moment(self, start: int) -> int | None:
        """Return when a file will be requested next; None if it will not."""
        moments = self._moments.get(start, [])
        while moments and moments[-1] < self._now:
            moments.pop()  # it was left out
        return moments[-1] if moments else None

    def _to(self, start: int) -> ChunkReader | _Counted:
        """Return the stream at a file."""
        stream = self._stream
        if self._jumps:
            if stream is None or not 0 <= start - stream.position <= _NEAR:
                return self._jump(start)
        elif stream is None:
            stream = self._begin()
        elif stream.position > start:
            self.finish()
            stream = self._begin()
        if not self._jumps:
            self._keep_up_to(start, stream)
        skip(stream, start - stream.position)
        return stream

    def _keep_up_to(self, start: int, stream: ChunkReader | _Counted) -> None:
        """Read on to a file, and keep what comes before it and will be requested."""
        for place in range(bisect_left(self._offsets, stream.position), bisect_left(self._offsets, start)):
            offset = self._offsets[place]
            moment, entry = self._next_moment(offset), self._entries[offset]
            if moment is None or (self, offset) in self._kept:
                continue
            size = _size_in_layer(entry)
            if self._kept.has_room(size, moment, self._now):
                skip(stream, offset - stream.position)
                self._kept.put((self, offset), moment, _pieces(stream, size))

    def _begin(self) -> ChunkReader | _Counted:
        if not self._verified:
            return self._jump(0)
        self.close()
        self._finished = False
        self._stream = ChunkReader(self._layer.chunks())
        return self._stream

    def _jump(self, start: int) -> _Counted:
        self.close()
        source = self._opened.enter_context(self._layer.at(start))
        self._stream = _Counted(source, start)
        return self._stream

    def finish(self) -> None:
        if self._stream is not None and self._verified and not self._finished:
            while self._stream.read(_CHUNK):
                pass
            self._finished = True

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._opened.close()


class _Counted:
    """A source, and its `position`."""

    def __init__(self, source: Readable, position: int) -> None:
        self._source = source
        self.position = position

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Do nothing: whoever opened the source closes it."""


class _Again:
    """A source whose first bytes have been read already. It reads on no further than it is asked to."""

    def __init__(self, first: bytes, source: Readable) -> None:
        self._first = first
        self._source = source

    def read(self, size: int, /) -> bytes:
        if not self._first:
            return self._source.read(size)
        piece, self._first = self._first[:size], self._first[size:]
        return piece


def content_of(source: Readable, entry: TarEntry, *, longest_hole: int | None = None) -> Iterator[bytes]:
    """Yield the content of the member at whose first header a source stands; of each hole, so many zeros at most.

    Raises:
        TocDamaged: it is another member. InvalidTar: the source ends too early.
    """
    reader = _reader_of(source, entry, longest_hole)
    if reader is None:
        yield from _stored(source, entry)
        return
    yield from joined(reader.chunks(_CHUNK))


def joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a content in few chunks; a sparse file may have very many small pieces."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > _CHUNK and waiting:
            yield b"".join(waiting)
            waiting, size = [], 0
        waiting.append(piece)
        size += len(piece)
    if waiting:
        yield b"".join(waiting)


def located_of(source: Readable, entry: TarEntry, *, longest_hole: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the same as `content_of` with the place of each piece in the content. Raises as `content_of`."""
    reader = _reader_of(source, entry, longest_hole)
    if reader is not None:
        yield from reader.located(_CHUNK)
        return
    at = 0
    for chunk in _stored(source, entry):
        yield at, chunk
        at += len(chunk)


def _reader_of(source: Readable, entry: TarEntry, longest_hole: int | None) -> TarReader | None:
    """Return a reader of a member at its content; None if the source stands there, and the content is as it is stored.

    Raises:
        TocDamaged: it is another member.
    """
    if not entry.sparse and entry.offset - entry.header_offset == BLOCK:
        block = _exactly(source, BLOCK)
        if _is_header_of(block, entry):
            return None
        source = _Again(block, source)
    from orlop.streams.tar_read import TarReader  # noqa: PLC0415 - most headers are of the common kind

    tar = TarReader(source, limits=NO_LIMITS, longest_hole=longest_hole)
    found = None
    with suppress(InvalidTar):
        found = next(tar, None)
    if found is None or (found.name, found.type, found.size, found.stored_size) != (
        entry.name,
        entry.type,
        entry.size,
        entry.stored_size,
    ):
        raise TocDamaged(
            f"a layer has not {entry.name!r} at byte {entry.header_offset}, as its table of contents says;"
            " run `orlop fsck --repair`"
        )
    return tar


def _size_in_layer(entry: TarEntry) -> int:
    """Return how many bytes of a layer a member takes, from its first header to the end of its content."""
    return entry.offset + entry.stored_size - entry.header_offset


def _pieces(source: Readable, size: int) -> Iterator[bytes]:
    """Yield the next bytes of a source, so many, or fewer where it ends."""
    while size and (piece := source.read(min(size, _CHUNK))):
        size -= len(piece)
        yield piece


def _is_header_of(block: bytes, entry: TarEntry) -> bool:
    """Return whether a header of the common kind, without extensions, is that of a file; others are parsed."""
    end = len(entry.name)
    if (
        end < _NAME_SIZE
        and entry.name.isascii()
        and not block[end]
        and not block[_PREFIX]
        and block.startswith(entry.name.encode())
        and block[124:136] == b"%011o\0" % entry.size
        and block[156] in _FILES
    ):
        return entry.stored_size == entry.size
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    name = block[:100].partition(b"\0")[0]
    digits = block[124:135]
    return (
        (prefix + b"/" + name if prefix else name) == entry.name.encode("utf-8", "surrogateescape")
        and block[156] in _FILES
        and len(digits) == 11
        and not digits.translate(None, b"01234567")
        and int(digits, 8) == entry.stored_size == entry.size
    )


def _stored(source: Readable, entry: TarEntry) -> Iterator[bytes]:
    left = entry.size
    while left:
        chunk = source.read(min(left, _CHUNK))
        if not chunk:
            raise InvalidTar(f"the layer ends inside the content of {entry.name!r}; run `orlop fsck --repair`")
        left -= len(chunk)
        yield chunk


def _exactly(source: Readable, size: int) -> bytes:
    data = source.read(size)
    while 0 < len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data
