"""Reading the content of many files of an image, in any order, in few passes over its layers.

Each layer that is read has a cursor. Where the layer is `seekable` and need not be verified, the cursor goes straight
to each file, or reads on to it if it is near. So it does in a compressed layer with a seek index, which is made first
if need be, where little of the layer is wanted and much lies before that (`_Cursor._may_jump`). Else the layer is a
stream that only goes forward, which costs a decompression (and a digest) from its beginning. Files are mostly asked for
in the order in which the layer has them, so one pass serves. Where a file lies behind the cursor, a new pass begins,
and takes along as many of the files that will be asked for next as fit into `_KEPT` bytes: so a layer in the worst
order is read once for each `_KEPT` bytes of it, and memory stays bounded.

Nothing of a layer that is verified is certain before `Contents.finish`, which reads on to the end of it, and raises
where its bytes are not those of its diff ID. What writes files out tells so by an error, and does not complete what it
writes.

A header is read again before its content, and must be what the table of contents says. So a wrong table gives an error
and never another file's content.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidTar, TocDamaged
from orlop.inside.layer import ChunkReader, skip
from orlop.model.limits import NO_LIMITS
from orlop.streams.tar_header import BLOCK
from orlop.streams.tar_read import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from orlop.inside.layer import Layer
    from orlop.streams.compression import Readable
    from orlop.streams.tar_header import TarEntry

__all__ = ["Contents", "Place"]

Place = tuple[int, "TarEntry"]
"""The number of a layer, and an entry of it that has content."""

_KEPT: Final = 32 << 20
_NEAR: Final = 4 << 20
"""Bytes that are read and dropped rather than passed over; about what it costs to begin at a point of an index."""

_FAR: Final = 8 << 20
"""Bytes that are decompressed without a thought of making an index."""

_CHUNK: Final = 1 << 20


class Contents:
    """The content of files, which are asked for in a known order; a context manager that closes what was opened.

    Args:
        layers: the layers, bottom first.
        wanted: the files in the order in which `chunks` will be called; some may be left out.
        verified: whether the layers are verified; `finish` tells.
    """

    def __init__(self, layers: Sequence[Layer], wanted: Iterable[Place], *, verified: bool = False) -> None:
        self._layers = layers
        self._verified = verified
        self._wanted: dict[int, list[TarEntry]] = {}
        for layer, entry in wanted:
            self._wanted.setdefault(layer, []).append(entry)
        self._cursors: dict[int, _Cursor] = {}

    def chunks(self, place: Place) -> Iterator[bytes]:
        """Yield the content of a file, with zeros in its holes, in pieces of at most about 1 MiB.

        Raises:
            TocDamaged: the layer has something else there than its table of contents says. Beside it, what reading
            the layer raises.
        """
        layer, entry = place
        cursor = self._cursors.get(layer)
        if cursor is None:
            cursor = _Cursor(self._layers[layer], self._wanted.get(layer, []), verified=self._verified)
            self._cursors[layer] = cursor
        return cursor.chunks(entry)

    def finish(self) -> None:
        """Read the layers that are verified to their ends. Raises what `Layer.chunks` does."""
        for cursor in self._cursors.values():
            cursor.finish()

    def close(self) -> None:
        """Close what was opened."""
        for cursor in self._cursors.values():
            cursor.close()
        self._cursors.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(slots=True)
class _Kept:
    """A content that was taken along, and how often it will be asked for: once for each of its hard links."""

    data: bytes
    often: int


class _Cursor:
    """Where the reading of one layer stands."""

    def __init__(self, layer: Layer, wanted: list[TarEntry], *, verified: bool) -> None:
        self._layer = layer
        self._verified = verified
        self._wanted = wanted
        self._next = 0  # the first of those wanted that was not asked for
        self._kept: dict[int, _Kept] = {}
        self._stream: ChunkReader | _Counted | None = None
        self._opened = ExitStack()  # what the stream reads from
        self._jumps = not verified and self._may_jump()
        self._finished = False

    def _may_jump(self) -> bool:
        """Return whether the cursor goes straight to each file: it costs little, or less than to read all before it."""
        if self._layer.seekable:
            return True
        sizes = {entry.header_offset: entry.size for entry in self._wanted}
        last = max(sizes, default=0)
        if sum(sizes.values()) + _NEAR * len(sizes) > last:
            return False
        return self._layer.indexed(make=last >= _FAR)

    def chunks(self, entry: TarEntry) -> Iterator[bytes]:
        start = entry.header_offset
        if self._next < len(self._wanted) and self._wanted[self._next] is entry:
            self._next += 1
        if start in self._kept:
            yield self._kept_one(start)
            return
        stream = self._stream
        if self._jumps:
            if stream is None or not 0 <= start - stream.position <= _NEAR:
                stream = self._jump(start)
        elif stream is None:
            stream = self._begin()
        elif stream.position > start:
            self.finish()
            stream = self._begin()
            taken = self._next_ones(entry)
            if len(taken) > 1:
                self._take(stream, taken)
                yield self._kept_one(start)
                return
        skip(stream, start - stream.position)
        yield from content_of(stream, entry)

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

    def _next_ones(self, entry: TarEntry) -> list[TarEntry]:
        """Return a file and those that will be asked for after it, as many as may be kept."""
        size = entry.size
        found = [entry]
        known = {entry.header_offset}
        for one in islice(self._wanted, self._next, None):
            size += 0 if one.header_offset in known else one.size
            if size > _KEPT:
                break
            known.add(one.header_offset)
            found.append(one)
        return found

    def _take(self, stream: ChunkReader | _Counted, entries: list[TarEntry]) -> None:
        often = Counter(one.header_offset for one in entries)
        for entry in sorted({one.header_offset: one for one in entries}.values(), key=lambda one: one.header_offset):
            skip(stream, entry.header_offset - stream.position)
            data = b"".join(content_of(stream, entry))
            self._kept[entry.header_offset] = _Kept(data, often[entry.header_offset])

    def _kept_one(self, start: int) -> bytes:
        """Return a content that was taken along, and let go of it where its last name was asked for."""
        kept = self._kept[start]
        kept.often -= 1
        if not kept.often:
            del self._kept[start]
        return kept.data

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


def content_of(source: Readable, entry: TarEntry) -> Iterator[bytes]:
    """Yield the content of the member at whose first header a source stands.

    Raises:
        TocDamaged: it is another member. InvalidTar: the source ends too early.
    """
    if not entry.sparse and entry.offset - entry.header_offset == BLOCK:
        block = _exactly(source, BLOCK)
        if _is_header_of(block, entry):
            yield from _stored(source, entry)
            return
        source = ChunkReader(chain([block], iter(partial(source.read, _CHUNK), b"")))
    tar = TarReader(source, limits=NO_LIMITS)
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
    yield from tar.chunks(_CHUNK)


def _is_header_of(block: bytes, entry: TarEntry) -> bool:
    """Return whether a header of the common kind, without extensions, is that of a file; others are parsed."""
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    name = block[:100].partition(b"\0")[0]
    digits = block[124:135]
    return (
        (prefix + b"/" + name if prefix else name) == entry.name.encode("utf-8", "surrogateescape")
        and block[156:157] in {b"0", b"\0"}
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
