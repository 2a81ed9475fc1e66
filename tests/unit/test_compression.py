from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidCompression, LimitExceeded
from orlop.model.limits import NO_LIMITS, Limits
from orlop.streams import compression
from orlop.streams.compression import PREFIX_SIZE, Compression, decompressed, detect, zstd_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

zstd = zstd_module()

COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: gzip.compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}
KINDS = list(COMPRESS)
CONTENT = b"".join(zlib.crc32(bytes([n % 251, n // 251])).to_bytes(4, "little") for n in range(20_000)) + bytes(300_000)


class Dribble:
    """A source that gives few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int) -> None:
        self.file, self.most = io.BytesIO(data), most

    def read(self, size: int, /) -> bytes:
        return self.file.read(min(size, self.most))


def read_all(data: bytes, kind: Compression, size: int = 1 << 20) -> bytes:
    def pieces() -> Iterator[bytes]:
        with decompressed(io.BytesIO(data), kind) as reader:
            while piece := reader.read(size):
                assert len(piece) <= size
                yield piece
            assert reader.read(size) == b""

    return b"".join(pieces())


@pytest.mark.parametrize("kind", KINDS)
def test_magic_numbers_tell_the_compression(kind: Compression) -> None:
    assert detect(COMPRESS[kind](b"content")[:PREFIX_SIZE]) is kind


@pytest.mark.parametrize(
    "prefix", [b"", b"\x1f", b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"(\xb5/", bytes(8), b"usr/bin/", b"PK\3\4abcd"]
)
def test_what_has_no_magic_number_is_plain(prefix: bytes) -> None:
    assert detect(prefix) is Compression.NONE


@pytest.mark.parametrize("first", range(0x50, 0x60))
def test_a_zstd_stream_may_begin_with_a_skippable_frame(first: int) -> None:
    frame = bytes([first]) + b"\x2a\x4d\x18\x03\0\0\0abc"
    assert detect(frame[:8]) is Compression.ZSTD
    assert read_all(frame + COMPRESS[Compression.ZSTD](b"x") + frame, Compression.ZSTD) == b"x"


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [777, 1 << 16, 1 << 24])
def test_content_comes_out_in_pieces_of_any_size(kind: Compression, size: int) -> None:
    assert read_all(COMPRESS[kind](CONTENT), kind, size) == CONTENT


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 7, 5000])
def test_a_source_may_give_less_than_is_asked(kind: Compression, most: int) -> None:
    data = CONTENT[:3000]
    packed = COMPRESS[kind](data) + COMPRESS[kind](data)
    reader = decompressed(Dribble(packed, most), kind)
    assert b"".join(iter(lambda: reader.read(999), b"")) == data * 2


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
def test_chains_are_read_to_the_last(kind: Compression) -> None:
    pack = COMPRESS[kind]
    assert read_all(pack(b"") + pack(CONTENT) + pack(b"") + pack(b"tail"), kind) == CONTENT + b"tail"
    assert read_all(pack(b""), kind) == b""


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 5, 9, 1000])
def test_an_early_end_is_an_error(kind: Compression, cut: int) -> None:
    with pytest.raises(InvalidCompression, match="ends too early"):
        read_all(COMPRESS[kind](CONTENT)[:-cut], kind)


@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_all_is_an_error(kind: Compression) -> None:
    with pytest.raises(InvalidCompression, match="ends too early"):
        read_all(b"", kind)


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [0.3, 0.7])
def test_damage_is_an_error(kind: Compression, at: float) -> None:
    packed = bytearray(COMPRESS[kind](CONTENT))
    packed[int(len(packed) * at)] ^= 0x55
    with pytest.raises(InvalidCompression, match=f"the {kind.value} stream"):
        read_all(bytes(packed), kind)


@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("at", [-1, -5])
def test_size_and_checksum_at_the_end_of_gzip_count(at: int) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[at] ^= 1
    with pytest.raises(InvalidCompression):
        read_all(bytes(packed), Compression.GZIP)


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("kind", KINDS)
def test_something_else_behind_the_end_is_an_error(kind: Compression) -> None:
    with pytest.raises(InvalidCompression, match="cannot be read"):
        read_all(COMPRESS[kind](CONTENT) + b"something else", kind)


@pytest.mark.usefixtures("each_gzip_reader")
def test_zeros_behind_gzip_are_ignored_as_gzip_does() -> None:
    packed = gzip.compress(b"one") + bytes(700) + gzip.compress(b"two") + bytes(2 << 20)
    assert read_all(packed, Compression.GZIP) == b"onetwo"


def test_xz_padding_comes_in_fours() -> None:
    packed = lzma.compress(b"one")
    assert read_all(packed + bytes(8) + packed + bytes(4), Compression.XZ) == b"oneone"
    with pytest.raises(InvalidCompression, match="padding"):
        read_all(packed + bytes(6), Compression.XZ)


def test_a_zstd_window_beyond_the_limit_is_refused() -> None:
    head = b"\x28\xb5\x2f\xfd\x00"  # no single segment, so a window descriptor follows: exponent in its upper five bits
    allowed, refused = bytes([(27 - 10) << 3]), bytes([(28 - 10) << 3])
    empty_block = b"\x01\x00\x00"
    assert read_all(head + allowed + empty_block, Compression.ZSTD) == b""
    with pytest.raises(LimitExceeded, match="window-size is 134217728"):
        read_all(head + refused + empty_block, Compression.ZSTD)
    wider = decompressed(io.BytesIO(head + refused + empty_block), Compression.ZSTD, limits=Limits(window_size=1 << 28))
    assert wider.read(1) == b""


def test_xz_that_asks_for_too_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    packed = lzma.compress(b"x", filters=filters)
    with pytest.raises(LimitExceeded, match=r"xz .*window-size"):
        decompressed(io.BytesIO(packed), Compression.XZ, limits=Limits(window_size=1 << 19)).read(1)
    assert decompressed(io.BytesIO(packed), Compression.XZ, limits=NO_LIMITS).read(1) == b"x"


@pytest.mark.parametrize("kind", [Compression.NONE, *KINDS])
def test_the_limit_is_on_what_comes_out(kind: Compression) -> None:
    packed = COMPRESS.get(kind, bytes)(CONTENT)
    exact = decompressed(io.BytesIO(packed), kind, limit=len(CONTENT))
    assert sum(map(len, iter(lambda: exact.read(4096), b""))) == len(CONTENT)
    short = decompressed(io.BytesIO(packed), kind, limit=len(CONTENT) - 1)
    with pytest.raises(LimitExceeded):
        list(iter(lambda: short.read(4096), b""))


def test_a_plain_stream_passes_through() -> None:
    assert read_all(CONTENT, Compression.NONE, 1000) == CONTENT


def test_errors_of_the_source_pass_through() -> None:
    class Failing:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, f"cannot read {size}")

    for kind in Compression:
        with pytest.raises(OSError, match="cannot read"):
            decompressed(Failing(), kind).read(1)


def test_close_leaves_the_source_open_and_ends_reading() -> None:
    source = io.BytesIO(gzip.compress(b"x"))
    reader = decompressed(source, Compression.GZIP)
    assert reader.read(0) == b""
    reader.close()
    reader.close()
    assert not source.closed
    assert (reader.readable(), reader.seekable(), reader.compression) == (True, False, Compression.GZIP)
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


def test_importing_it_imports_no_decompressor() -> None:
    code = """if True:
        import sys, orlop.streams.compression
        print([name for name in ('isal', 'bz2', 'lzma', 'backports.zstd') if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("each_gzip_reader")
def test_a_chain_of_many_small_streams_is_read(kind: Compression, monkeypatch: pytest.MonkeyPatch) -> None:
    # Less than a stream is given to its decoder at first, and less than the chain is read at once.
    monkeypatch.setattr(compression, "_FIRST_SLICE", 5)
    monkeypatch.setattr(compression, "_INPUT_SIZE", 999)
    one, empty = COMPRESS[kind](b"x"), COMPRESS[kind](b"")
    assert read_all((one * 9 + empty) * 50, kind) == b"x" * 450


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_of_streams_that_hold_nothing_is_refused_at_some_point(kind: Compression) -> None:
    empty = COMPRESS[kind](b"")
    assert read_all(empty * 1000 + COMPRESS[kind](b"x"), kind) == b"x"
    with pytest.raises(InvalidCompression, match="1000 empty streams"):
        read_all(empty * 1001, kind)
