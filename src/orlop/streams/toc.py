r"""The table of contents of a layer: every header of its tar, without the content.

It is made while the layer passes (`TarScanner` hands over the bytes, `TocWriter` writes them), and it is read as the
same entries that the layer itself would return, including offsets. It takes about 14 bytes for each entry.

The format, version 1, is a zstd stream (RFC 8878) that any zstd tool opens:

- a skippable frame whose content is the line ``orlop toc 1\n``, uncompressed;
- a frame with a checksum. It contains, in the order of the tar, each header block without its bytes 148 to 155 (the
  checksum, which was verified), so 504 bytes; after the header of a PAX header or GNU long name its body, without
  padding; and after the header of an old GNU sparse file the blocks that continue it, complete;
- at the end of that frame 504 times the digit 9, then the summary (`TarSummary`) as one line of JSON.

A table without its end is unfinished, and is refused.
"""

from __future__ import annotations

import json
from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import InvalidCompression, InvalidTar, LimitExceeded, TocDamaged
from orlop.model.limits import NO_LIMITS
from orlop.streams.compression import Compression, decompressed, zstd_module
from orlop.streams.tar_common import Known
from orlop.streams.tar_entry import (
    BLOCK,
    NO_XATTRS,
    TYPE_BLOCK,
    TYPE_CHAR,
    TYPE_DIR,
    TYPE_FIFO,
    TYPE_FILE,
    TYPE_HARDLINK,
    TYPE_SYMLINK,
    TarEntry,
)
from orlop.streams.tar_header import MalformedError, parse_header
from orlop.streams.tar_read import EntryReader
from orlop.streams.tar_scan import END_RECORD, TarSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.streams.compression import DecompressingReader, Readable
    from orlop.streams.tar_header import Header

__all__ = ["VERSION", "TocReader", "TocWriter", "read_toc", "toc_records"]

VERSION: Final = 1
"""The version that is written, and the only one that is read."""

_LINE: Final = b"orlop toc %d\n" % VERSION
_PREAMBLE: Final = b"\x50\x2a\x4d\x18" + len(_LINE).to_bytes(4, "little") + _LINE
_LEVEL: Final = 3
_WINDOW: Final = 19
"""A window of 512 KiB, as a power of two. That of the level, 2 MiB, makes tables no smaller, and each writer larger."""
_RECORD: Final = BLOCK - 8
_TRAILER_MAX: Final = 1 << 20
_PARTS: Final = Struct("100s24s12s12s356s")  # name; mode and owners; size; time; what follows the checksum
_COMMON: Final = {
    ord("0"): TYPE_FILE,
    ord("1"): TYPE_HARDLINK,
    ord("2"): TYPE_SYMLINK,
    ord("3"): TYPE_CHAR,
    ord("4"): TYPE_BLOCK,
    ord("5"): TYPE_DIR,
    ord("6"): TYPE_FIFO,
}


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class TocWriter:
    """Write the bytes from a `TarScanner` to a binary file; pass its `add` to the scanner as ``headers``."""

    def __init__(self, sink: _Writable) -> None:
        """Begin a table in ``sink``, which the caller flushes, syncs and closes."""
        zstd = zstd_module()
        options = {
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
            zstd.CompressionParameter.window_log: _WINDOW,
        }
        self._compressor = zstd.ZstdCompressor(options=options)
        self._sink = sink
        self._closed = False
        sink.write(_PREAMBLE)

    def add(self, headers: bytes) -> None:
        """Compress and write the next bytes. Errors of the sink pass through."""
        if data := self._compressor.compress(headers):
            self._sink.write(data)

    def close(self) -> None:
        """Write the rest, after `TarScanner.close`. Idempotent. A table that is not closed is refused when read."""
        if not self._closed:
            self._closed = True
            self._sink.write(self._compressor.flush())


def read_toc(source: Readable) -> TocReader:
    """Iterate over the entries of the table of contents in ``source``, which the caller closes.

    Raises TocDamaged: at once if it is not a table of this version, else during the iteration, at its end at the
    latest.
    """
    return TocReader(source)


def toc_records(source: Readable) -> DecompressingReader:
    """Return the bytes in the table of contents in ``source``, as `TocWriter.add` got them.

    Raises TocDamaged if it is not a table of this version; its reader raises InvalidCompression if it is damaged.
    """
    preamble = source.read(len(_PREAMBLE))
    if preamble != _PREAMBLE:
        raise TocDamaged(
            f"no table of contents of version {VERSION} (it begins with {preamble[8:]!r}); it must be made again"
        )
    return decompressed(source, Compression.ZSTD)


class TocReader(EntryReader):
    """The entries of a table of contents, with the offsets that they have in the layer's tar; see `read_toc`.

    `summary` is None until the iteration has ended, and then the result of the scanner.
    """

    verify = False

    def __init__(self, source: Readable) -> None:
        # Everything that the layer's scanner accepted is read, whatever the limits were.
        buffered = _Buffered(toc_records(source))
        super().__init__(buffered, limits=NO_LIMITS)
        self._buffered = buffered
        self.summary: TarSummary | None = None
        self._owners = Known(_ids, 1 << 12)
        self._sizes = Known(_number, 1 << 14)
        self._times = Known(_moment, 1 << 14)
        self._rests = Known(_rest, 1 << 10)
        self._batch: Iterator[TarEntry] = iter(())

    def __iter__(self) -> Iterator[TarEntry]:
        """Return an iterator over the entries that are left; see `read_toc`."""
        return chain.from_iterable(self._batches())

    def __next__(self) -> TarEntry:
        """Return the next entry; see `read_toc`."""
        for entry in self._batch:
            return entry
        try:
            return super().__next__()
        except (InvalidTar, InvalidCompression, LimitExceeded) as error:
            raise TocDamaged(f"the table of contents is damaged and must be made again: {error}") from error

    def _batches(self) -> Iterator[Iterable[TarEntry]]:
        """Yield the entries that are left, several at a time; what is not taken of a batch comes first in the next.

        Several iterators share the entries: whatever another one has read ahead meanwhile comes before more is read.
        """
        batch: Iterator[TarEntry] | None = None
        while True:
            while batch is not self._batch:
                batch = self._batch
                yield batch
            if found := self._common():
                self._batch = iter(found)
                continue
            # What is not of the common kind is read as the layer itself is.
            try:
                entry = next(self)
            except StopIteration:
                return
            yield (entry,)

    def _common(self) -> list[TarEntry]:
        """Return the next entries as long as their headers are common and were read ahead; there may be none.

        A common header is read by its parts, nearly all of which have occurred before.
        """
        found: list[TarEntry] = []
        if self._entry is not None:
            self._pass_content(self._entry)
            self._entry = None
        if self._ended:
            return found
        owners, sizes, times, rests = self._owners, self._sizes, self._times, self._rests
        new, kind_of_file, add = tuple.__new__, TYPE_FILE, found.append
        last, facts = b"", None
        start = self._offset
        for name, owner, size, time, rest in _PARTS.iter_unpack(self._buffered.ahead(_RECORD)):
            ids, stored, mtime = owners[owner], sizes[size], times[time]
            if rest != last:
                # To compare it is cheaper than to look it up, and it rarely changes.
                last, facts = rest, rests[rest]
            if ids is None or stored is None or mtime is None or facts is None or not name[0]:
                break
            kind, prefix, linkname, uname, gname, devmajor, devminor = facts
            mode, uid, gid = ids
            content = stored if kind == kind_of_file else 0
            text = prefix + name[: end if (end := name.find(0)) >= 0 else len(name)]
            path = text.decode("utf-8", "surrogateescape")
            # In the order of the fields, and without the call that would look for defaults.
            # fmt: off
            fields = (
                path, kind, mode, uid, gid, content, mtime, linkname, uname, gname, devmajor, devminor, NO_XATTRS,
                start, BLOCK, content, False,
            )
            # fmt: on
            add(new(TarEntry, fields))
            start += BLOCK + content + -content % BLOCK
        self._offset = start
        self._buffered.at += _RECORD * len(found)
        self._parser.count += len(found)
        return found

    def _take_header(self) -> bytes:
        record = self._take(_RECORD)
        if record == END_RECORD:
            self._read_summary()
            return b""
        if len(record) < _RECORD:
            raise TocDamaged("the table of contents has no end and must be made again")
        self._offset += BLOCK - _RECORD
        return record[:148] + b"        " + record[148:]

    def _read_summary(self) -> None:
        try:
            self.summary = TarSummary(**json.loads(self._take(_TRAILER_MAX)))
        except (ValueError, TypeError) as error:
            raise TocDamaged(f"the summary of the table of contents cannot be read: {error}") from error
        if self.summary.entries != self._parser.count:
            raise TocDamaged(
                f"the table of contents has {self._parser.count} entries, but its summary says {self.summary.entries}"
            )

    def _pass_padding(self, size: int) -> None:
        self._offset += size

    def _pass_content(self, entry: TarEntry) -> None:
        self._offset += entry.stored_size + -entry.stored_size % BLOCK

    def _old_sparse_map(self, header: Header, block: bytes, offset: int) -> list[tuple[int, int]]:
        more = block[482] if header.gnu else 0
        while more:
            block = self._take(BLOCK)
            if len(block) < BLOCK:
                raise self._parser.invalid("it ends inside a sparse map", offset)
            more = block[504]
        return []


def _number(field: bytes) -> int | None:
    """Return the number in a field; nothing where it is not written in the common way."""
    digits = field[:-1]
    return int(digits, 8) if field[-1:] in {b"\0", b" "} and digits.isdigit() and _is_octal(digits) else None


def _moment(field: bytes) -> tuple[int, int] | None:
    """Return the time in a field, with its nanoseconds."""
    seconds = _number(field)
    return None if seconds is None else (seconds, 0)


def _ids(fields: bytes) -> tuple[int, int, int] | None:
    """Return mode, owner and group."""
    mode, uid, gid = (_number(fields[at : at + 8]) for at in (0, 8, 16))
    return None if mode is None or uid is None or gid is None else (mode, uid, gid)


def _is_octal(digits: bytes) -> bool:
    return not digits.translate(None, b"01234567")


def _rest(rest: bytes) -> tuple[str, bytes, str, str, str, int, int] | None:
    """Return what follows the checksum: type, prefix, texts and device; nothing where the type is not a common one."""
    if rest[0] not in _COMMON:
        return None
    try:
        header = parse_header(bytes(156) + rest)
    except MalformedError:
        return None
    link, uname, gname = (
        text.decode("utf-8", "surrogateescape") for text in (header.linkname, header.uname, header.gname)
    )
    return _COMMON[rest[0]], header.name, link, uname, gname, header.devmajor, header.devminor


class _Buffered:
    """Many small reads out of a few large ones."""

    _SIZE: Final = 1 << 18

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._data = b""
        self.at = 0
        """Where the next byte is in what was read ahead."""

    def ahead(self, size: int) -> memoryview:
        """Return what was read ahead, as far as it makes records of a size; whoever takes some of it moves `at`."""
        left = len(self._data) - self.at
        return memoryview(self._data)[self.at : self.at + left - left % size]

    def read(self, size: int, /) -> bytes:
        at, end = self.at, self.at + size
        if end > len(self._data):
            if at < len(self._data):
                self.at = len(self._data)
                return self._data[at:]
            self._data, at, end = self._source.read(self._SIZE), 0, size
        self.at = end
        return self._data[at:end]
