"""Points inside a gzip stream where decompression can begin, found by zlib.

Python's zlib module does not tell where one deflate block ends and the next begins. The C library below it does: with
``Z_BLOCK``, `inflate` returns at each such place, and says how many bits of the last byte it has not used. So this
module, and no other, calls the C library itself, through `ctypes`. Only the layout of ``z_stream`` is relied on, which
is part of the library's stable interface, and is checked by ``inflateInit2_``, which gets the size of the structure.

The library is the one that Python has loaded, or one that the system has. Where none is found there is no index, and
layers are read from their beginning. What this module makes is read again without the C library, by `seek_read`.
"""

from __future__ import annotations

import ctypes
import hashlib
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import InvalidCompression
from orlop.streams.compression import Compression
from orlop.streams.seek_index import MAX_POINTS, SPAN, WINDOW, SeekIndex, SeekPoint
from orlop.streams.zstd_frame import compressed_frame

if TYPE_CHECKING:
    from orlop.streams.compression import Readable

__all__ = ["gzip_index"]

_INPUT: Final = 1 << 18
_OUTPUT: Final = 1 << 20
_GZIP: Final = 31  # a window of 32 KiB, and gzip headers
_OK, _STREAM_END, _BUF_ERROR, _BLOCK = 0, 1, -5, 5
_AT_BLOCK, _LAST_BLOCK, _BITS = 128, 64, 7
_NAMES: Final = ("libz.so.1", "libz.so", "libz.1.dylib", "libz.dylib")


class _Stream(ctypes.Structure):
    """``z_stream``."""

    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


def gzip_index(source: Readable, *, blob: str, plain_size: int) -> SeekIndex | None:
    """Read a gzip blob to its end, and return a seek index of it.

    Args:
        source: the blob from its first byte; it raises where the bytes are not those of its digest.
        blob: its digest.
        plain_size: how many plain bytes it must have.

    Returns:
        The index; None if the C library cannot be used.

    Raises:
        InvalidCompression: the blob is damaged, or has another number of plain bytes. What ``source`` raises.
    """
    library = _library()
    if library is None:
        return None
    with _Inflater(library) as inflater:
        scan = _Scan(inflater, max(SPAN, plain_size // MAX_POINTS + 1))
        scan.run(source)
    if scan.plain != plain_size:
        raise InvalidCompression(f"the gzip stream has {scan.plain} bytes of content instead of {plain_size}")
    return SeekIndex(blob, Compression.GZIP, plain_size, tuple(scan.points), b"".join(scan.windows))


class _Scan:
    """One pass over a blob."""

    def __init__(self, inflater: _Inflater, span: int) -> None:
        self._inflater = inflater
        self._span = span
        self._at = 0  # of the blob, how much was read before the current input
        self._hash = hashlib.sha256()
        self._place = 0  # where the next window goes
        self.plain = 0
        self.points: list[SeekPoint] = []
        self.windows: list[bytes] = []
        self._open: tuple[int, int, int, tuple[int, int]] | None = None

    def run(self, source: Readable) -> None:
        inflater = self._inflater
        ended = False
        while data := source.read(_INPUT):
            inflater.feed(data)
            while inflater.waiting:
                if ended:
                    # Zero bytes may follow a member; anything else begins the next one.
                    inflater.skip_zeros()
                    if not inflater.waiting:
                        break
                    inflater.reset()
                ended = inflater.step()
                self._take(inflater.output())
                if not ended and inflater.at_block:
                    self._consider(self._at + inflater.used)
            self._at += len(data)
        if not ended:
            raise InvalidCompression(f"the gzip stream ends too early (after {self.plain} bytes of content)")
        self._close()

    def _take(self, data: memoryview) -> None:
        self._hash.update(data)
        self.plain += len(data)

    def _consider(self, at: int) -> None:
        """Note a point between two blocks if the last one is far enough away, in the blob or in the plain bytes."""
        if self._open is not None:
            plain, before = self._open[:2]
            if self.plain == plain or (self.plain - plain < self._span and at - before < self._span):
                return
            if len(self.points) + 1 >= MAX_POINTS:
                return
        self._close()
        window = self._inflater.window()
        compressed = compressed_frame(window) if window else b""
        self.windows.append(compressed)
        self._open = (self.plain, at, self._inflater.bits, (self._place if window else 0, len(compressed)))
        self._place += len(compressed)

    def _close(self) -> None:
        if self._open is not None:
            plain, at, bits, window = self._open
            self.points.append(SeekPoint(plain, at, bits, window, self._hash.digest()))
        self._hash = hashlib.sha256()


class _Inflater:
    """zlib's ``inflate`` of gzip members, which stops between blocks."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._stream = _Stream()
        self._data = b""
        self._input: ctypes.Array[ctypes.c_char] | None = None
        self._buffer = ctypes.create_string_buffer(_OUTPUT)
        self._window = ctypes.create_string_buffer(WINDOW)
        self._view = memoryview(self._buffer)
        version = library.zlibVersion()
        self._check(library.inflateInit2_(ctypes.byref(self._stream), _GZIP, version, ctypes.sizeof(_Stream)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.inflateEnd(ctypes.byref(self._stream))

    @property
    def waiting(self) -> int:
        """How many bytes of the input are not used."""
        return int(self._stream.avail_in)

    @property
    def used(self) -> int:
        """How many bytes of the input are used."""
        return len(self._data) - self.waiting

    @property
    def at_block(self) -> bool:
        """Whether the last step has ended between two blocks."""
        kind = int(self._stream.data_type)
        return bool(kind & _AT_BLOCK) and not kind & _LAST_BLOCK

    @property
    def bits(self) -> int:
        """How many bits of the last byte that was used are not."""
        return int(self._stream.data_type) & _BITS

    def feed(self, data: bytes) -> None:
        self._data = data
        self._input = ctypes.create_string_buffer(data, len(data))
        self._stream.next_in = ctypes.addressof(self._input)
        self._stream.avail_in = len(data)

    def skip_zeros(self) -> None:
        rest = self._data[self.used :]
        zeros = len(rest) - len(rest.lstrip(b"\0"))
        self._stream.next_in = (self._stream.next_in or 0) + zeros
        self._stream.avail_in -= zeros

    def reset(self) -> None:
        self._check(self._library.inflateReset(ctypes.byref(self._stream)))

    def step(self) -> bool:
        """Decompress up to the end of a block, of the input or of the output; return whether a member has ended."""
        self._stream.next_out = ctypes.addressof(self._buffer)
        self._stream.avail_out = _OUTPUT
        code = self._library.inflate(ctypes.byref(self._stream), _BLOCK)
        if code == _BUF_ERROR:
            return False
        self._check(code)
        return bool(code == _STREAM_END)

    def output(self) -> memoryview:
        return self._view[: _OUTPUT - self._stream.avail_out]

    def window(self) -> bytes:
        size = ctypes.c_uint(0)
        self._check(self._library.inflateGetDictionary(ctypes.byref(self._stream), self._window, ctypes.byref(size)))
        return self._window.raw[: size.value]

    def _check(self, code: int) -> None:
        if code not in {_OK, _STREAM_END}:
            reason = (self._stream.msg or b"").decode("ascii", "replace") or f"zlib reports {code}"
            raise InvalidCompression(f"the gzip stream cannot be read: {reason}")


def _library() -> ctypes.CDLL | None:
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
            library.zlibVersion.restype = ctypes.c_char_p
            library.inflateInit2_.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
            for function in (library.inflate, library.inflateGetDictionary, library.inflateReset, library.inflateEnd):
                function.restype = ctypes.c_int
        except (OSError, AttributeError):
            continue
        return library
    return None
