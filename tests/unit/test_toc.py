from __future__ import annotations

import errno
import io
import subprocess
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from orlop.errors import IntegrityError, TocDamaged
from orlop.streams.compression import zstd_module
from orlop.streams.tar import END, TarReader, TarScanner, member_header, padding
from orlop.streams.toc import TocWriter, read_toc
from orlop.streams.toc_compare import TocComparer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.streams.tar_entry import TarEntry

LAYER = b"".join(
    member_header(
        f"folder-{number % 40}/file-{number}" + "x" * (number % 120),
        mode=0o644,
        size=number,
        mtime=1_600_000_000 + number,
    )
    + bytes(number)
    + padding(number)
    for number in range(500)
)


def table(layer: bytes) -> bytes:
    sink = io.BytesIO()
    writer = TocWriter(sink)
    scanner = TarScanner(headers=writer.add)
    scanner.feed(layer)
    scanner.close()
    writer.close()
    writer.close()
    return sink.getvalue()


def test_it_gives_the_same_entries_as_the_layer() -> None:
    reader = read_toc(io.BytesIO(table(LAYER + END + b"rest")))
    assert list(reader) == list(TarReader(io.BytesIO(LAYER)))
    assert reader.summary is not None
    assert (reader.summary.entries, reader.summary.tar_size) == (500, len(LAYER) + 1028)
    assert list(reader) == []


def test_an_empty_layer_has_an_empty_table() -> None:
    for layer in (b"", END):
        reader = read_toc(io.BytesIO(table(layer)))
        assert list(reader) == []
        assert reader.summary is not None
        assert reader.summary.tar_size == len(layer)


def test_the_summary_is_known_at_the_end() -> None:
    reader = read_toc(io.BytesIO(table(LAYER)))
    next(reader)
    assert reader.summary is None


def test_iterators_and_single_steps_share_the_entries() -> None:
    """Each entry is returned once and in order, whoever asks for it and whenever."""
    expected = list(TarReader(io.BytesIO(LAYER)))
    made = table(LAYER)
    for seed in range(40):
        random = Random(seed)
        reader = read_toc(io.BytesIO(made))
        asked: list[Iterator[TarEntry]] = [reader]
        found: list[TarEntry] = []
        while len(found) < len(expected):
            if random.random() < 0.1:
                asked.append(iter(reader))
            one = random.choice(asked)
            found += islice(one, random.randrange(100))
        assert found == expected
        assert [next(one, None) for one in asked] == [None] * len(asked)
        assert reader.summary is not None


def test_the_reason_for_being_partial_is_kept() -> None:
    name = "\udcff'\"ä"
    reader = read_toc(io.BytesIO(table(member_header(name, mode=0) * 2)))
    assert [entry.name for entry in reader] == [name] * 2
    assert reader.summary is not None
    assert reader.summary.partial
    assert repr(name) in reader.summary.reason


def test_a_table_that_the_disk_cannot_read_is_not_right_and_lets_the_layer_pass() -> None:
    with Path("/proc/self/mem").open("rb", buffering=0) as unreadable:
        comparer = TocComparer(unreadable)
    assert not comparer.right

    class Torn(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(errno.EIO, "torn")
            return super().read(size)

    for source, right in ((io.BytesIO(table(LAYER)), True), (Torn(table(LAYER)), False)):
        comparer = TocComparer(source)
        scanner = TarScanner(headers=comparer.add)
        scanner.feed(LAYER)
        scanner.close()
        assert comparer.right is right


def test_it_is_small() -> None:
    assert len(table(LAYER)) < 20 * 500


def test_it_is_a_zstd_stream_with_its_kind_and_version_in_clear() -> None:
    data = table(LAYER)
    assert data[8:20] == b"orlop toc 1\n"
    content = zstd_module().decompress(data)
    assert content.startswith(LAYER[:148] + LAYER[156:512])
    assert content.endswith(b"\n")


@pytest.mark.needs("zstd")
def test_it_is_read_by_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "table.zst"
    path.write_bytes(table(LAYER))
    told = subprocess.run(["zstd", "-dcq", str(path)], check=True, capture_output=True).stdout
    assert told == zstd_module().decompress(table(LAYER))


@pytest.mark.parametrize("cut", [1, 2, 5, 30, 500, 2000, -30, -21, -20, -10, 10**6])
def test_a_table_that_is_cut_is_refused(cut: int) -> None:
    with pytest.raises(TocDamaged):
        list(read_toc(io.BytesIO(table(LAYER)[:-cut])))


def test_a_table_that_was_not_finished_is_refused() -> None:
    sink = io.BytesIO()
    writer = TocWriter(sink)
    scanner = TarScanner(headers=writer.add)
    scanner.feed(LAYER)
    writer.close()
    sink.seek(0)
    with pytest.raises(TocDamaged, match="no end"):
        list(read_toc(sink))


def test_damage_is_noticed() -> None:
    data = bytearray(table(LAYER))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(TocDamaged, match="made again"):
        list(read_toc(io.BytesIO(bytes(data))))


@pytest.mark.parametrize("data", [b"", b"orlop toc 1\n", table(LAYER).replace(b"toc 1", b"toc 2")])
def test_something_else_and_other_versions_are_refused_at_once(data: bytes) -> None:
    with pytest.raises(TocDamaged, match="version 1"):
        read_toc(io.BytesIO(data))
    assert issubclass(TocDamaged, IntegrityError)


def with_end(end: bytes) -> io.BytesIO:
    sink = io.BytesIO()
    writer = TocWriter(sink)
    writer.add(end)
    writer.close()
    sink.seek(0)
    return sink


@pytest.mark.parametrize(
    "end", [b"9" * 504, b"9" * 504 + b"[]", b"9" * 504 + b'{"entries": 0}', b"8" * 504, b"9" * 504 + b"\xff"]
)
def test_a_summary_that_cannot_be_read_is_damage(end: bytes) -> None:
    with pytest.raises(TocDamaged):
        list(read_toc(with_end(end)))


def test_a_summary_of_other_entries_is_damage() -> None:
    end = b"9" * 504 + b'{"entries": 1, "content_size": 0, "tar_size": 0, "partial": false, "reason": ""}\n'
    with pytest.raises(TocDamaged, match="summary says 1"):
        list(read_toc(with_end(end)))


def test_a_header_of_zeros_is_no_end() -> None:
    block = bytearray(512)
    block[148:156] = b"000400\0 "
    [entry] = read_toc(io.BytesIO(table(bytes(block) + END)))
    assert (entry.name, entry.type) == ("", "file")


def test_errors_of_the_sink_pass_through() -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, f"no space for {len(data)}")

    with pytest.raises(OSError, match="no space"):
        TocWriter(Full())
