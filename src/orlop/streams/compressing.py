"""Compression that returns equal bytes for equal content, with any number of threads and in whatever pieces it is read.

Programs compress the same bytes differently, and the output of many depends on the number of threads, the pieces in
which content comes, whether its size is known, or the time. This module fixes all of these:

- gzip: blocks of 1 MiB, each compressed by zlib with the 32 KiB before it as its dictionary, and concatenated, as pigz
  does. So blocks can be compressed in parallel, by any thread. The header has no time and no name, and an unknown
  system.
- zstd: always the library's own threads. One thread gives the same bytes as many, but none at all gives other bytes.
  The size is set beforehand and is in the frame, with a checksum at its end.

Only the version of zlib or zstd makes a difference: another version may give other bytes at the same level.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial

from orlop.errors import InvalidInput
from orlop.model.given import check_text
from orlop.model.values import dataclass
from orlop.streams.compression import Compression, zstd_module
from orlop.streams.pipeline import in_order
from orlop.streams.waiting import awaited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import Final, Self

_BLOCK: Final = 1 << 20
_LOOK: Final = 0.2
"""Seconds after which a long step looks whether it is still wanted."""
_QUICK: Final = 6
"""The last level of zstd at which no step takes long: it waits for a job of 8 MiB at most."""
_WINDOW: Final = 1 << 15
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVELS: Final = {Compression.GZIP: (1, 6, 9), Compression.ZSTD: (1, 3, 22)}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How content is to be compressed: a form and its level; the level is ignored if the form is none."""

    form: Compression
    level: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``none``, ``gzip[:LEVEL]`` or ``zstd[:LEVEL]``. Raises `InvalidInput`."""
        check_text(text, "a compression")
        name, colon, number = text.partition(":")
        if text == "none":
            return cls(Compression.NONE)
        form = {"gzip": Compression.GZIP, "zstd": Compression.ZSTD}.get(name)
        if form is None:
            msg = f"{text!r} is not a compression; give none, gzip or zstd, the last two with a level as in zstd:9"
            raise InvalidInput(msg)
        least, usual, most = _LEVELS[form]
        level = int(number) if number.isascii() and number.isdecimal() and len(number) < 3 else -1
        if colon and not least <= level <= most:
            msg = f"{number!r} is not a level of {name}; give a number from {least} to {most}"
            raise InvalidInput(msg)
        return cls(form, level if colon else usual)


def compressed(
    chunks: Iterable[bytes], size: int, recipe: Recipe, *, threads: int, check: Callable[[], object] = lambda: None
) -> Generator[bytes]:
    """Yield content compressed.

    Args:
        chunks: the content, in pieces of any size. Its exceptions pass through.
        size: its number of bytes.
        recipe: the form and level.
        threads: how many may compress at once, at least one; the bytes are the same for any number.
        check: called a few times a second in long steps, and raises what ends them.

    Raises:
        InvalidInput: the content does not have that size.
    """
    blocks = _counted(_blocks(chunks), size)
    if recipe.form is Compression.GZIP:
        return _gzip(blocks, recipe.level, size, threads)
    if recipe.form is Compression.ZSTD:
        return _zstd(blocks, recipe.level, size, threads, check)
    return blocks


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of equal size, except the last."""
    waiting: list[bytes] = []
    have = 0
    for chunk in chunks:
        at = 0
        while have + len(chunk) - at >= _BLOCK:
            end = at + _BLOCK - have
            waiting.append(chunk[at:end])
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, have, at = [], 0, end
        if at < len(chunk):
            waiting.append(chunk[at:])
            have += len(chunk) - at
    if waiting:
        yield b"".join(waiting)


def _counted(blocks: Iterable[bytes], size: int) -> Generator[bytes]:
    found = 0
    for block in blocks:
        found += len(block)
        yield block
    if found != size:
        raise InvalidInput(f"the content has {found} bytes, not the {size} that it should have")


def _gzip(blocks: Iterator[bytes], level: int, size: int, threads: int) -> Generator[bytes]:
    yield _HEADER[:8] + {1: b"\x04", 9: b"\x02"}.get(level, b"\x00") + _HEADER[9:]
    if not size:
        yield _deflate(b"", b"", level, is_last=True)
    crc32, check, left = _crc32(), 0, size

    def parts() -> Iterator[tuple[bytes, bytes, bool]]:
        nonlocal check, left
        before = b""
        for block in blocks:
            left -= len(block)
            check = crc32(block, check)
            yield block, before, left == 0
            before = block[-_WINDOW:]

    yield from in_order(partial(_deflated, level), parts(), workers=threads)
    yield struct.pack("<II", check, size & 0xFFFFFFFF)


def _crc32() -> Callable[[bytes, int], int]:
    """Return the fastest function for the checksum of gzip: that of ISA-L takes a tenth of the time of zlib's."""
    try:
        from isal.isal_zlib import crc32  # noqa: PLC0415 - it may not be installed
    except ImportError:
        return zlib.crc32
    return crc32


def _deflated(level: int, part: tuple[bytes, bytes, bool]) -> bytes:
    block, before, is_last = part
    return _deflate(block, before, level, is_last=is_last)


def _deflate(block: bytes, before: bytes, level: int, *, is_last: bool) -> bytes:
    """Compress one block. Unless it is the last, it ends at a whole byte, so that another one can follow."""
    settings = (level, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY)
    packer = zlib.compressobj(*settings, zdict=before) if before else zlib.compressobj(*settings)
    return packer.compress(block) + packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)


def _zstd(
    blocks: Iterator[bytes], level: int, size: int, threads: int, check: Callable[[], object]
) -> Generator[bytes]:
    zstd = zstd_module()
    parameter = zstd.CompressionParameter
    options = {parameter.compression_level: level, parameter.checksum_flag: 1, parameter.nb_workers: threads}
    packer = zstd.ZstdCompressor(options=options)
    packer.set_pledged_input_size(size)

    def step(work: Callable[[], bytes]) -> bytes:
        if level > _QUICK:
            return awaited(work, check, every=_LOOK)
        check()
        return work()

    try:
        for block in blocks:
            if piece := step(partial(packer.compress, block)):
                yield piece
        yield step(packer.flush)
    except zstd.ZstdError as error:
        raise InvalidInput(f"the content does not have the {size} bytes that it should have") from error
