"""Whole zstd frames that are small: the parts of what stands behind a table of contents.

Each function takes the sentence that `TocDamaged` has where the bytes are not what was written.
"""

from __future__ import annotations

from orlop.errors import TocDamaged
from orlop.streams.compression import zstd_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def compressed_frame(data: bytes) -> bytes:
    """Return a frame with a checksum."""
    zstd = zstd_module()
    compressed: bytes = zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})
    return compressed


def frame_content(data: bytes, most: int, damage: str) -> bytes:
    """Return the content of one frame of at most ``most`` plain bytes.

    Raises:
        TocDamaged: it is not one whole frame, or is larger.
    """
    zstd = zstd_module()
    decoder = zstd.ZstdDecompressor()
    try:
        plain: bytes = decoder.decompress(data, most + 1)
    except (zstd.ZstdError, EOFError) as error:
        raise TocDamaged(damage) from error
    if not decoder.eof or decoder.unused_data or len(plain) > most:
        raise TocDamaged(damage)
    return plain


def exactly(file: BinaryIO, size: int, damage: str) -> bytes:
    """Return the next ``size`` bytes of a file.

    Raises:
        TocDamaged: it has fewer. OSError: it cannot be read.
    """
    parts: list[bytes] = []
    while size and (data := file.read(size)):
        parts.append(data)
        size -= len(data)
    if size:
        raise TocDamaged(damage)
    return b"".join(parts)
