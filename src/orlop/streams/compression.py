"""Compression of archives and layers: recognised by the first bytes, and decompressed as a stream.

A compressed stream may be a chain of several: gzip members (RFC 1952), bzip2 and xz streams (with xz stream padding),
zstd frames (RFC 8878, including skippable frames). All of them are read to the last, as the tools of each format do.
Memory stays bounded whatever a stream asks for. gzip is read by ISA-L if the package ``isal`` is installed, which is
about twice as fast as zlib. Nothing is imported before a stream needs it.
"""

from __future__ import annotations

import sys
from enum import Enum

from orlop.errors import InvalidCompression, LimitExceeded
from orlop.model.closing import Closing
from orlop.model.generic import Protocol, cast
from orlop.model.limits import DEFAULT_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Final

    from orlop.model.limits import Limits

__all__ = [
    "PREFIX_SIZE", "Compression", "DecompressingReader", "Readable", "decompressed", "deflate_decoder", "detect",
    "zstd_module",
]  # fmt: skip

PREFIX_SIZE: Final = 8
"""The most bytes that :func:`detect` needs."""

_WINDOW_LOGS: Final = (10, 31)
"""The smallest and the largest limit on the window that a zstd decoder accepts, as powers of two."""

_MOST: Final = (1 << 63) - 1
_INPUT_SIZE: Final = 1 << 18
_FIRST_SLICE: Final = 1 << 12
_ENOUGH: Final = 1 << 16
_EMPTY_MAX: Final = 1000
"""How many consecutive streams of a chain may be empty: some writers end with an empty one."""
_XZ_PADDING: Final = 4


class Readable(Protocol):
    """Anything that returns bytes: a file, a pipe, a socket's file, one of our readers."""

    def read(self, size: int, /) -> bytes:
        """Return at least one and at most ``size`` bytes, or ``b""`` at the end."""


class OpenReadable(Readable, Protocol):
    """One that whoever opened it closes."""

    def close(self) -> None:
        """Release what it reads from."""


class Compression(Enum):
    """The compression of a stream; the value is the name of the format."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


_MAGIC: Final = {
    Compression.GZIP: b"\x1f\x8b\x08",
    Compression.BZIP2: b"BZh",
    Compression.XZ: b"\xfd7zXZ\x00",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
}


def detect(prefix: bytes) -> Compression:
    """Return the compression of a stream by its first :data:`PREFIX_SIZE` bytes (fewer if it is shorter).

    The rule is that of the Docker daemons: only magic numbers decide, never names or media types, and a stream without
    a magic number is plain. A zstd stream may also begin with a skippable frame.
    """
    for compression, magic in _MAGIC.items():
        if prefix.startswith(magic):
            return compression
    if len(prefix) >= PREFIX_SIZE and prefix[1:4] == b"\x2a\x4d\x18" and prefix[0] & 0xF0 == 0x50:
        return Compression.ZSTD
    return Compression.NONE


def decompressed(
    source: Readable,
    compression: Compression,
    *,
    limit: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    border: Callable[[int, int], object] | None = None,
) -> DecompressingReader:
    """Return a reader of the content of ``source``, which must be at its first byte; the caller closes it.

    ``limit`` is the most bytes that may come out (LimitExceeded beyond it), or None. ``limits`` bounds the memory.
    ``border`` is called where each member, stream or frame of a chain begins, with its position in ``source`` and in
    the content. This function itself raises nothing: ``read`` reports damage, an early end, an unknown variant and
    excessive memory needs.
    """
    return DecompressingReader(source, compression, limit=limit, limits=limits, border=border)


class _Decompressor(Protocol):
    """One member, stream or frame: the interface that the standard library's decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class DecompressingReader(Closing):
    """Read the content of a compressed stream; see :func:`decompressed`. Also a context manager."""

    def __init__(
        self,
        source: Readable,
        compression: Compression,
        *,
        limit: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        border: Callable[[int, int], object] | None = None,
    ) -> None:
        """Read from ``source``, whose compression is ``compression``; return at most ``limit`` bytes."""
        self._source = source
        self._compression = compression
        self._limit = limit
        self._limits = limits
        self._border = border
        self._given = 0
        self._taken = 0  # bytes of the source before the block
        self._made = 0  # bytes of content that the decoders returned
        self._decoder: _Decompressor | None = None
        self._block = memoryview(b"")  # what was read of the source
        self._at = 0  # how much of that the decoder has got
        self._slice = 0  # how much it gets next
        self._empty = 0  # how many streams in a row were empty
        self._started = self._finished = False
        self._closed = False
        if compression is not Compression.NONE:
            self._make, self._errors = _FORMATS[compression](limits.window_size)

    @property
    def compression(self) -> Compression:
        """The compression that is undone."""
        return self._compression

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False: a compressed stream is read once, forward."""
        return False

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at least one and at most ``size`` bytes of content, or ``b""`` at its end.

        Raises InvalidCompression if the stream is damaged, ends too early or is followed by something else;
        LimitExceeded if it needs more memory than allowed, or the content is longer than the limit. Errors of the
        source pass through. Do not use the reader after an error.
        """
        if self._closed:
            raise ValueError("read from a closed decompressing reader")
        if size <= 0:
            return b""
        data = self._source.read(size) if self._compression is Compression.NONE else self._next(size)
        self._given += len(data)
        if self._limit is not None and self._given > self._limit:
            raise LimitExceeded(f"the decompressed content is longer than the limit of {self._limit} bytes")
        return data

    def close(self) -> None:
        """Free the decompressor's memory. Idempotent; the source is left open."""
        self._closed = True
        self._decoder = None
        self._block = memoryview(b"")

    def _next(self, size: int) -> bytes:
        # Pieces are joined at once: each comes in a buffer that is much larger than a small piece.
        small = bytearray()
        while size and not self._finished:
            decoder = self._decoder
            if decoder is None or decoder.eof:
                self._next_stream(decoder)
                continue
            data = self._take() if decoder.needs_input else b""
            try:
                content = decoder.decompress(data, size)
            except self._errors as error:
                if any(words in str(error) for words in _MEMORY):
                    found = f"the {self._compression.value} stream asks for a larger window"
                    raise self._limits.exceeded("window_size", found) from error
                raise self._damaged(str(error)) from error
            if content:
                size -= len(content)
                self._made += len(content)
                self._empty = 0
                # Many small streams give many small pieces: those that are ready are returned together.
                if len(content) >= _ENOUGH or self._at == len(self._block):
                    return b"".join((small, content)) if small else content
                small += content
        return bytes(small)

    def _take(self) -> memoryview:
        """Return the decoder's next input: little at first, since the rest after a small stream is copied."""
        if not self._fill():
            raise InvalidCompression(
                f"the {self._compression.value} stream ends too early (after {self._given} bytes of content)"
            )
        data = self._block[self._at : self._at + self._slice]
        self._at += len(data)
        self._slice = min(2 * self._slice, _INPUT_SIZE)
        return data

    def _fill(self) -> bool:
        """Read more of the source if nothing is left of the last block; return whether there is any input."""
        if self._at == len(self._block):
            self._taken += len(self._block)
            self._block, self._at = memoryview(self._source.read(_INPUT_SIZE)), 0
        return len(self._block) > 0

    def _next_stream(self, ended: _Decompressor | None) -> None:
        """Begin the first member of the chain, or the one after ``ended``, or find the end."""
        if ended is not None:
            # A decoder that still has input gets no more: what it leaves is the end of the last piece.
            self._at -= len(ended.unused_data)
            self._decoder = None
            self._empty += 1
            if self._empty > _EMPTY_MAX:
                raise self._damaged(f"more than {_EMPTY_MAX} empty streams follow one another")
        if self._started:
            self._skip_padding()
        if not self._fill() and self._started:
            self._finished = True
            return
        # There are several kinds of zstd frames, and the decoder itself recognises what is not a frame.
        if self._started and self._compression is not Compression.ZSTD and not self._continues():
            raise self._damaged("something else follows it")
        self._started = True
        self._slice = _FIRST_SLICE
        self._decoder = self._make()
        if self._border is not None:
            self._border(self._taken + self._at, self._made)

    def _continues(self) -> bool:
        """Return whether the next bytes, as far as they are read, begin a stream of this compression."""
        magic = _MAGIC[self._compression]
        found = self._block[self._at : self._at + len(magic)]
        return found == magic[: len(found)]

    def _skip_padding(self) -> None:
        """Skip zero bytes between and after members: xz has them in fours, gzip files on block devices end in them."""
        if self._compression not in (Compression.XZ, Compression.GZIP):
            return
        skipped = 0
        while self._fill() and self._block[self._at] == 0:
            rest = bytes(self._block[self._at : self._at + _INPUT_SIZE])
            count = len(rest) - len(rest.lstrip(b"\0"))
            skipped += count
            self._at += count
            if skipped > self._limits.trailing_size:
                found = f"the {self._compression.value} stream has {skipped} bytes or more of padding"
                raise self._limits.exceeded("trailing_size", found)
        if self._compression is Compression.XZ and skipped % _XZ_PADDING:
            raise self._damaged(f"its padding is {skipped} bytes, which is not a multiple of {_XZ_PADDING}")

    def _damaged(self, reason: str) -> InvalidCompression:
        where = f"after {self._given} bytes of content"
        return InvalidCompression(f"the {self._compression.value} stream cannot be read {where}: {reason}")


# The messages of the decoders of xz and zstd if they would need more memory than allowed.
_MEMORY: Final = ("Memory usage limit exceeded", "requires too much memory")

_Format = tuple["Callable[[], _Decompressor]", tuple[type[Exception], ...]]


def _gzip(_: int) -> _Format:
    try:
        from isal import igzip_lib  # noqa: PLC0415
    except ImportError:
        import zlib  # noqa: PLC0415

        return lambda: _ZlibDecompressor(16 + zlib.MAX_WBITS), (zlib.error,)
    return lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), (_isal_error(), EOFError)


def deflate_decoder(window: bytes) -> tuple[_Decompressor, tuple[type[Exception], ...]]:
    """Return what reads a raw deflate stream from a block on, and the errors with which it says that it cannot.

    Args:
        window: the plain bytes before the block, at most 32 KiB.
    """
    try:
        from isal import igzip_lib  # noqa: PLC0415
    except ImportError:
        import zlib  # noqa: PLC0415

        return _ZlibDecompressor(-zlib.MAX_WBITS, window), (zlib.error,)
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE, zdict=window), (_isal_error(), EOFError)


def _isal_error() -> type[Exception]:
    from isal.igzip_lib import IsalError  # noqa: PLC0415

    return cast("type[Exception]", IsalError)  # its type hints call the class an instance


def _bzip2(_: int) -> _Format:
    import bz2  # noqa: PLC0415

    return bz2.BZ2Decompressor, (OSError, EOFError)


def _xz(window: int) -> _Format:
    import lzma  # noqa: PLC0415

    # Its limit is on all its memory, most of which is the window.
    memory = min(window + window // 2, _MOST)
    return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory), (lzma.LZMAError, EOFError)


def zstd_module() -> ModuleType:
    """Return the standard library's zstd module if there is one (Python 3.14), else its backport."""
    from importlib import import_module  # noqa: PLC0415 - few streams are of zstd

    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _zstd(window: int) -> _Format:
    zstd = zstd_module()
    least, most = _WINDOW_LOGS
    options = {zstd.DecompressionParameter.window_log_max: min(max(window.bit_length() - 1, least), most)}
    return lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError, EOFError)


_FORMATS: Final[dict[Compression, Callable[[int], _Format]]] = {
    Compression.GZIP: _gzip,
    Compression.BZIP2: _bzip2,
    Compression.XZ: _xz,
    Compression.ZSTD: _zstd,
}


class _ZlibDecompressor:
    """zlib's reader with the interface of the others; waiting input is cut, since zlib copies it at each call."""

    _SLICE: Final = 1 << 16

    def __init__(self, wbits: int, window: bytes = b"") -> None:
        import zlib  # noqa: PLC0415

        self._zlib = zlib.decompressobj(wbits, zdict=window)
        self._waiting = memoryview(b"")
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self.eof or self._full or self._waiting or self._zlib.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data + bytes(self._waiting)

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        if data:
            self._waiting = memoryview(bytes(self._waiting) + data if self._waiting else data)
        piece: bytes | memoryview = self._zlib.unconsumed_tail
        if not piece:
            piece, self._waiting = self._waiting[: self._SLICE], self._waiting[self._SLICE :]
        content = self._zlib.decompress(piece, max_length)
        self._full = len(content) == max_length
        return content
