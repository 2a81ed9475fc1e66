from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import InvalidCompression, LimitExceeded
from orlop.streams.compression import Compression, decompressed, detect, zstd_module

PACK = {
    Compression.GZIP: lambda data: gzip.compress(data, 1),
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lambda data: lzma.compress(data, preset=0),
    Compression.ZSTD: zstd_module().compress,
}


def read_all(data: bytes, kind: Compression, size: int) -> bytes:
    reader = decompressed(io.BytesIO(data), kind)
    return b"".join(iter(lambda: reader.read(size), b""))


@pytest.mark.sampled(2)
@given(
    kind=st.sampled_from(list(PACK)),
    parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    size=st.integers(1, 4000),
)
def test_a_chain_of_any_contents_comes_out_whole(kind: Compression, parts: list[bytes], size: int) -> None:
    packed = b"".join(map(PACK[kind], parts))
    assert detect(packed[:8]) is kind
    assert read_all(packed, kind, size) == b"".join(parts)


@given(kind=st.sampled_from(list(PACK)), data=st.data())
def test_whatever_comes_in_content_or_a_clear_error_comes_out(kind: Compression, data: st.DataObject) -> None:
    packed = bytearray(PACK[kind](b"some content" * 20))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at:] = data.draw(st.binary(max_size=40)) + packed[at + data.draw(st.integers(0, 9)) :]
    with contextlib.suppress(InvalidCompression, LimitExceeded):
        assert len(read_all(bytes(packed), kind, 1000)) < 1 << 24
