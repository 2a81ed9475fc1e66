"""Reading a tar from a file or a pipe, member by member, with the content of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidTar
from orlop.model.limits import DEFAULT_LIMITS
from orlop.streams.tar_entry import BLOCK
from orlop.streams.tar_header import ZERO_BLOCK, MalformedError, MemberParser, is_pax_sparse
from orlop.streams.tar_sparse import (
    SparseMap,
    check_pieces,
    is_map_in_content,
    pieces_in_header,
    pieces_in_pax,
    too_many,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.limits import Limits
    from orlop.streams.compression import Readable
    from orlop.streams.tar_entry import TarEntry
    from orlop.streams.tar_header import Header
    from orlop.streams.tar_sparse import Piece

__all__ = ["EntryReader", "TarReader"]

_SEEK_FROM: Final = 1 << 16
_SEEK_TO: Final = 1 << 60
_SEEK_CUR: Final = 1


class EntryReader:
    """Reads entries from a stream of headers; a subclass handles the bytes between them."""

    verify = True

    def __init__(self, source: Readable, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._source = source
        self._limits = limits
        self._parser = MemberParser(limits)
        self._offset = 0
        self._ended = False
        self._entry: TarEntry | None = None

    def __iter__(self) -> Iterator[TarEntry]:
        return self

    def __next__(self) -> TarEntry:
        """Return the next entry. Raises InvalidTar, LimitExceeded, and whatever the source raises."""
        if self._ended:
            raise StopIteration
        if self._entry is not None:
            entry, self._entry = self._entry, None
            self._pass_content(entry)
        entry_or_end = self._next_entry()
        if entry_or_end is None:
            self._ended = True
            raise StopIteration
        self._entry = entry_or_end
        return entry_or_end

    def _pass_content(self, entry: TarEntry) -> None:
        """Go to the header after ``entry``."""
        raise NotImplementedError

    def _take_header(self) -> bytes:
        """Read a header block; return b"" at the end of the source."""
        return self._take(BLOCK)

    def _pass_padding(self, size: int) -> None:
        """Skip the padding of an extended header's body."""
        self._take(size)

    def _begin_content(self, entry: TarEntry, pieces: list[Piece], pax: dict[bytes, bytes]) -> None:
        """Prepare reading the content of ``entry``; ``pieces`` is its sparse map in the old GNU format."""

    def _next_entry(self) -> TarEntry | None:
        parser = self._parser
        while True:
            offset = self._offset
            block = self._take_header()
            if not block:
                return None
            if len(block) < BLOCK:
                raise parser.invalid("the stream ends inside its header", offset)
            if block == ZERO_BLOCK:
                self._end(offset)
                return None
            header = parser.begin(block, offset, verify=self.verify)
            if header.is_extension:
                body = self._take(header.size)
                if len(body) < header.size:
                    raise parser.invalid("the stream ends inside its extended header", offset)
                self._pass_padding(-header.size % BLOCK)
                parser.extend(header, body, offset)
                continue
            pieces = self._old_sparse_map(header, block, offset) if header.is_old_sparse else []
            entry, pax = parser.finish(header, self._offset)
            self._begin_content(entry, pieces, pax)
            return entry

    def _end(self, offset: int) -> None:
        """Decide what a zero block means: the end, if another one or nothing follows."""
        second = self._take(BLOCK)
        if 0 < len(second) < BLOCK:
            raise self._parser.invalid("the stream ends inside its header", offset + BLOCK)
        if second and second != ZERO_BLOCK:
            raise self._parser.invalid("one zero block is followed by something else", offset)

    def _old_sparse_map(self, header: Header, block: bytes, offset: int) -> list[Piece]:
        """Read the sparse map that begins in ``block`` and may continue in more blocks."""
        pieces: list[Piece] = []
        table, more = block[386:482], block[482]
        blocks = 1
        while header.gnu:
            try:
                pieces += pieces_in_header(table)
            except MalformedError as error:
                raise self._parser.invalid(str(error), offset) from None
            if not more:
                break
            if (blocks := blocks + 1) * 21 > self._limits.sparse_pieces:
                raise too_many(self._limits, f"tar member {self._parser.count + 1} (at byte {offset})", blocks * 21)
            block = self._take(BLOCK)
            if len(block) < BLOCK:
                raise self._parser.invalid("the stream ends inside its sparse map", offset)
            table, more = block[:504], block[504]
        return pieces

    def _take(self, size: int) -> bytes:
        """Read ``size`` bytes, or fewer at the end of the source."""
        if not size:
            return b""
        data = self._source.read(size)
        if 0 < len(data) < size:
            parts = [data]
            missing = size - len(data)
            while missing and (data := self._source.read(missing)):
                parts.append(data)
                missing -= len(data)
            data = b"".join(parts)
        self._offset += len(data)
        return data


class TarReader(EntryReader):
    """Iterate over the entries of a tar; between two steps, read the content of the current entry.

    Content that is not read is skipped: by seeking if the source can seek, else by reading. The source is read from its
    current position, and not beyond the end of the archive (`drain` does that); the caller closes it. Offsets of
    entries count from that position. Memory is bounded by the limits and by the size that is passed to `read`.

    Args:
        source: the tar.
        limits: of headers and sparse files.
        longest_hole: how many zeros are read of each hole of a sparse file at most; None for all.
    """

    def __init__(self, source: Readable, *, limits: Limits = DEFAULT_LIMITS, longest_hole: int | None = None) -> None:
        super().__init__(source, limits=limits)
        self._longest_hole = longest_hole
        seekable = getattr(source, "seekable", None)
        self._seek = getattr(source, "seek", None) if seekable is not None and seekable() else None
        self._stored = 0  # bytes of the entry that are still in the source
        self._logical = 0  # bytes of content already returned
        self._pieces: list[Piece] | None = None
        self._piece = 0

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at least one and at most ``size`` bytes of the current entry's content, or ``b""`` at its end.

        The holes of a sparse file are zeros. Raises InvalidTar if the source ends before the content does.
        """
        entry = self._entry
        if entry is None:
            return b""
        if self._pieces is not None:
            return self._read_sparse(entry, self._pieces, size)
        size = min(size, self._stored)
        data = self._read_stored(entry, size) if size > 0 else b""
        self._logical += len(data)
        return data

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the rest of the current entry's content in pieces of at most ``size`` bytes; raises as `read`."""
        while data := self.read(size):
            yield data

    def located(self, size: int = 1 << 20) -> Iterator[tuple[int, bytes]]:
        """Yield the same as `chunks` with the place of each; zeros of holes may be missing between them."""
        while data := self.read(size):
            yield self._logical - len(data), data

    def drain(self) -> int:
        """Read the source to its end and return how many bytes came after the last entry's content.

        Programs that write into a pipe pad archives at their end, and fail if that is not read. Call it after the
        iteration.
        """
        count = 0
        while data := self._source.read(1 << 20):
            count += len(data)
        return count

    def _pass_content(self, entry: TarEntry) -> None:
        padding = -entry.stored_size % BLOCK
        if self._seek is not None and _SEEK_FROM < self._stored < _SEEK_TO:
            # The last byte is read, since a seek beyond the end of a file succeeds. No file has a place beyond
            # 1 EiB.
            self._seek(self._stored - 1, _SEEK_CUR)
            self._offset += self._stored - 1
            self._stored = 1
        while self._stored:
            self._read_stored(entry, min(self._stored, 1 << 20))
        self._take(padding)

    def _begin_content(self, entry: TarEntry, pieces: list[Piece], pax: dict[bytes, bytes]) -> None:
        self._stored = entry.stored_size
        self._logical = self._piece = 0
        self._pieces = None
        if not entry.sparse:
            return
        where = f"tar member {self._parser.count} (at byte {entry.header_offset})"
        try:
            if is_map_in_content(pax):
                sparse_map = SparseMap(entry, self._limits, where)
                while not sparse_map.take(lambda: self._read_block(entry)):
                    pass
                pieces = sparse_map.pieces
            else:
                if is_pax_sparse(pax):
                    pieces = pieces_in_pax(pax, self._limits, where)
                check_pieces(pieces, entry.size, entry.stored_size)
        except MalformedError as error:
            raise self._invalid(entry, str(error)) from None
        self._pieces = pieces

    def _read_block(self, entry: TarEntry) -> bytes:
        block = b""
        while len(block) < BLOCK:
            block += self._read_stored(entry, BLOCK - len(block))
        return block

    def _read_stored(self, entry: TarEntry, size: int) -> bytes:
        data = self._source.read(size)
        if not data:
            raise self._invalid(entry, "the stream ends inside its content")
        self._offset += len(data)
        self._stored -= len(data)
        return data

    def _read_sparse(self, entry: TarEntry, pieces: list[Piece], size: int) -> bytes:
        at = self._logical
        # Empty pieces are holes, too.
        while self._piece < len(pieces) and (at >= sum(pieces[self._piece]) or not pieces[self._piece][1]):
            self._piece += 1
        start, length = pieces[self._piece] if self._piece < len(pieces) else (entry.size, 0)
        if self._longest_hole is not None:
            at = max(at, start - self._longest_hole)
        if at < start:
            data = bytes(max(0, min(size, start - at)))
        else:
            size = min(size, start + length - at)
            data = self._read_stored(entry, size) if size > 0 else b""
        self._logical = at + len(data)
        return data

    def _invalid(self, entry: TarEntry, reason: str) -> InvalidTar:
        return InvalidTar(f"tar member {self._parser.count} (at byte {entry.header_offset}): {reason}")
