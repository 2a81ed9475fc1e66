"""Equal content gives equal compressed bytes, whatever the threads and the pieces; an error ends all threads."""

from __future__ import annotations

import gzip
import random
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import InvalidInput
from orlop.streams.compressing import Recipe, compressed
from orlop.streams.compression import Compression, zstd_module

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPES = ("none", "gzip:1", "gzip", "gzip:9", "zstd", "zstd:12")
MIB = 1 << 20


class Unwanted(Exception):
    """Ends a compression."""


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


def packed(data: bytes, text: str, *, threads: int = 1, sizes: list[int] | None = None) -> bytes:
    return b"".join(compressed(pieces(data, sizes or []), len(data), Recipe.parse(text), threads=threads))


def content(seed: int, size: int) -> bytes:
    """Return what compresses to about the half, with repetitions near and far."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randrange(3, 12)) for _ in range(500)]
    return b"".join(chance.choice(words) for _ in range(size // 7 + 1))[:size]


def plain(data: bytes, text: str) -> bytes:
    if text == "none":
        return data
    return gzip.decompress(data) if text.startswith("gzip") else bytes(zstd_module().decompress(data))


@pytest.mark.sampled(4)
@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    size=st.one_of(st.integers(0, 100), st.integers(MIB - 3, MIB + 3), st.integers(0, 5 * MIB)),
    sizes=st.lists(st.integers(0, 2 * MIB), max_size=6),
    threads=st.integers(1, 5),
    text=st.sampled_from(RECIPES),
)
def test_neither_threads_nor_pieces_make_a_difference(
    seed: int, size: int, sizes: list[int], threads: int, text: str
) -> None:
    data = content(seed, size)
    once = packed(data, text)
    assert packed(data, text, threads=threads, sizes=sizes) == once
    assert plain(once, text) == data


@pytest.mark.parametrize(("text", "level"), [("gzip:1", 4), ("gzip", 0), ("gzip:6", 0), ("gzip:9", 2)])
def test_a_gzip_header_tells_nothing_of_time_name_and_system(text: str, level: int) -> None:
    assert packed(b"content", text)[:10] == bytes([31, 139, 8, 0, 0, 0, 0, 0, level, 255])


def test_a_zstd_frame_has_its_size_and_a_checksum() -> None:
    frame = packed(b"content" * 100, "zstd")
    assert zstd_module().get_frame_info(frame).decompressed_size == 700
    assert frame[4] & 4


@pytest.mark.sampled(3)
@pytest.mark.parametrize("text", RECIPES)
@pytest.mark.parametrize("told", [-1, 1, MIB])
def test_content_of_another_size_is_refused(text: str, told: int) -> None:
    data = content(2, MIB)
    with pytest.raises(InvalidInput, match="should have"):
        list(compressed([data], len(data) + told, Recipe.parse(text), threads=2))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("text", RECIPES)
def test_an_error_of_the_source_is_raised_and_all_threads_end(text: str) -> None:
    def torn() -> Iterator[bytes]:
        yield content(3, 2 * MIB)
        raise OSError("torn")

    with pytest.raises(OSError, match="torn"):
        list(compressed(torn(), 4 * MIB, Recipe.parse(text), threads=3))


def test_words_for_recipes() -> None:
    assert Recipe.parse("none") == Recipe(Compression.NONE)
    assert Recipe.parse("gzip") == Recipe.parse("gzip:6") == Recipe(Compression.GZIP, 6)
    assert Recipe.parse("zstd:19") == Recipe(Compression.ZSTD, 19)
    for wrong in ("", "xz", "gzip:", "gzip:0", "gzip:10", "zstd:-1", "zstd:23", "none:1", "zstd:x", "GZIP", "gzip:²"):
        with pytest.raises(InvalidInput):
            Recipe.parse(wrong)


@pytest.mark.sampled(4)
def test_the_last_step_of_zstd_ends_when_it_is_not_wanted_any_more() -> None:
    """All content is handed over by then, and what the library does with it takes seconds."""
    data = content(1, 2 * MIB)
    handed_over = False

    def chunks() -> Iterator[bytes]:
        nonlocal handed_over
        yield data
        handed_over = True

    def check() -> None:
        if handed_over:
            raise Unwanted

    with pytest.raises(Unwanted):
        list(compressed(chunks(), len(data), Recipe.parse("zstd:19"), threads=2, check=check))
    assert handed_over
    for thread in threading.enumerate():
        if thread.name == "orlop-awaited":
            thread.join()
