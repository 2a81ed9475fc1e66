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
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import InvalidCompression, InvalidTar, LimitExceeded, TocDamaged
from orlop.model.limits import NO_LIMITS
from orlop.streams.compression import Compression, decompressed, zstd_module
from orlop.streams.tar_header import BLOCK
from orlop.streams.tar_read import EntryReader
from orlop.streams.tar_scan import END_RECORD, TarSummary

if TYPE_CHECKING:
    from orlop.streams.compression import DecompressingReader, Readable
    from orlop.streams.tar_header import Header, TarEntry

__all__ = ["VERSION", "TocReader", "TocWriter", "read_toc", "toc_records"]

VERSION: Final = 1
"""The version that is written, and the only one that is read."""

_LINE: Final = b"orlop toc %d\n" % VERSION
_PREAMBLE: Final = b"\x50\x2a\x4d\x18" + len(_LINE).to_bytes(4, "little") + _LINE
_LEVEL: Final = 3
_RECORD: Final = BLOCK - 8
_TRAILER_MAX: Final = 1 << 20


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
            f"no table of contents of version {VERSION} (it begins with {preamble[8:]!r}); it must be made anew"
        )
    return decompressed(source, Compression.ZSTD)


class TocReader(EntryReader):
    """The entries of a table of contents, with the offsets that they have in the layer's tar; see `read_toc`.

    `summary` is None until the iteration has ended, and then the result of the scanner.
    """

    verify = False

    def __init__(self, source: Readable) -> None:
        # Everything that the layer's scanner accepted is read, whatever the limits were.
        super().__init__(_Buffered(toc_records(source)), limits=NO_LIMITS)
        self.summary: TarSummary | None = None

    def __next__(self) -> TarEntry:
        try:
            return super().__next__()
        except (InvalidTar, InvalidCompression, LimitExceeded) as error:
            raise TocDamaged(f"the table of contents is damaged and must be made anew: {error}") from error

    def _take_header(self) -> bytes:
        record = self._take(_RECORD)
        if record == END_RECORD:
            self._read_summary()
            return b""
        if len(record) < _RECORD:
            raise TocDamaged("the table of contents has no end and must be made anew")
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


class _Buffered:
    """Many small reads out of a few large ones."""

    _SIZE: Final = 1 << 18

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._data = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        at, end = self._at, self._at + size
        if end > len(self._data):
            if at < len(self._data):
                self._at = len(self._data)
                return self._data[at:]
            self._data, at, end = self._source.read(self._SIZE), 0, size
        self._at = end
        return self._data[at:end]
