"""Reading compressed layers from any byte on: points, indexes, where they are kept, and what wrong ones do."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import zlib
from functools import cache
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orlop
from orlop import stores
from orlop.errors import DigestMismatch, InvalidCompression, TocDamaged
from orlop.inside.layer import StoredContent
from orlop.store.seeking import find_index, put_index
from orlop.streams import seek_points, seek_read
from orlop.streams.compression import Compression, decompressed, deflate_decoder, zstd_module
from orlop.streams.seek_index import MAX_POINTS, Borders, packed, read_seek_index
from orlop.streams.seek_points import gzip_index
from orlop.streams.seek_read import chunks_from
from orlop.streams.toc import read_toc
from tests.crash import pace
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.model.digest import DiffID
    from orlop.store.root import Store
    from orlop.store.rows.metadata import BlobRow
    from orlop.streams.seek_index import SeekIndex

_SEED = random.Random(15)
_WORDS = [_SEED.randbytes(6) for _ in range(300)]
_CHUNK = 3_000


def text(size: int, seed: int = 1) -> bytes:
    """Make bytes that gzip makes about half as large, with references all over its window."""
    choose = random.Random(seed)
    return b"".join(choose.choices(_WORDS, k=size // 6 + 1))[:size]


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put points close to each other, so that small inputs have many."""
    monkeypatch.setattr(seek_points, "SPAN", 50_000)


def index_of(blob: bytes, size: int) -> SeekIndex:
    found = gzip_index(io.BytesIO(blob), blob="sha256:one", plain_size=size)
    assert found is not None
    return found


@cache
def dense() -> bytes:
    """Return an index of many points, as it is kept."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(seek_points, "SPAN", 50_000)
        return packed(index_of(_BLOB, len(_PLAIN)))


def first(chunks: Iterator[bytes], size: int) -> bytes:
    got = b""
    while len(got) < size and (chunk := next(chunks, b"")):
        got += chunk
    return got[:size]


# Points.


def _members(plain: bytes) -> bytes:
    return b"".join(gzip.compress(plain[at : at + 70_000], mtime=0) for at in range(0, len(plain), 70_000)) + bytes(9)


def _flushed(plain: bytes) -> bytes:
    out, packer = b"", zlib.compressobj(9, zlib.DEFLATED, 31)
    for at in range(0, len(plain), 9_999):
        out += packer.compress(plain[at : at + 9_999]) + packer.flush(zlib.Z_PARTIAL_FLUSH)
    return out + packer.flush()


def _level(level: int) -> Callable[[bytes], bytes]:
    return lambda plain: gzip.compress(plain, level, mtime=0)


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("near", "each_gzip_reader")
@pytest.mark.parametrize(
    "pack",
    [_level(0), _level(1), _level(6), _level(9), _members, _flushed],
    ids=["stored", "fast", "usual", "best", "members", "flushed"],
)
def test_reading_begins_anywhere(pack: Callable[[bytes], bytes]) -> None:
    plain = text(1_200_000)
    blob = pack(plain)
    index = index_of(blob, len(plain))
    assert len(index.points) >= 5
    file = io.BytesIO(blob)
    offsets = [0, 1, len(plain) - 1, *(one.plain for one in index.points), *(one.plain - 1 for one in index.points[1:])]
    for offset in offsets:
        assert first(chunks_from(file, index, offset), _CHUNK) == plain[offset : offset + _CHUNK]
    assert b"".join(chunks_from(file, index, 12_345)) == plain[12_345:]
    assert b"".join(chunks_from(file, index, len(plain))) == b""


@pytest.mark.usefixtures("each_gzip_reader")
@pytest.mark.parametrize("bits", range(8))
def test_a_point_may_lie_inside_a_byte(bits: int) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = text(5_000)
    whole = int.from_bytes(packer.compress(plain) + packer.flush(), "little")
    before = (whole & ((1 << bits) - 1)) << (8 - bits) | ((1 << (8 - bits)) - 1)
    rest = whole >> bits
    data = seek_read._in_front(bits, before) + rest.to_bytes((rest.bit_length() + 7) // 8, "little")
    decoder, _ = deflate_decoder(b"")
    assert decoder.decompress(data, len(plain) + 1) == plain


@pytest.mark.usefixtures("near")
def test_a_blob_that_is_not_what_it_should_be_has_no_index() -> None:
    plain = text(200_000)
    blob = gzip.compress(plain)
    for wrong in (blob[:-9], blob[: len(blob) // 2], blob[:-8] + b"\1" + blob[-7:], blob + b"rest", b""):
        with pytest.raises(InvalidCompression):
            gzip_index(io.BytesIO(wrong), blob="sha256:one", plain_size=len(plain))
    with pytest.raises(InvalidCompression):
        gzip_index(io.BytesIO(blob), blob="sha256:one", plain_size=len(plain) + 1)


def test_without_the_library_there_is_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seek_points, "_NAMES", ("libnowhere.so",))
    assert gzip_index(io.BytesIO(gzip.compress(b"x")), blob="sha256:one", plain_size=1) is None


def test_an_index_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seek_points, "SPAN", 1)
    monkeypatch.setattr(seek_points, "MAX_POINTS", 10)
    plain = text(3_000_000)
    blob = gzip.compress(plain, 1)
    index = index_of(blob, len(plain))
    assert 5 <= len(index.points) <= 10
    borders = Borders()
    for number in range(5 * MAX_POINTS):
        borders.add(number * 100, number << 20)
    thinned = borders.index("sha256:one", Compression.ZSTD, 5 * MAX_POINTS << 20)
    assert thinned is not None
    assert MAX_POINTS // 4 < len(thinned.points) <= MAX_POINTS
    assert all(point.at * (1 << 20) == point.plain * 100 for point in thinned.points)


# Indexes as bytes.


@pytest.mark.usefixtures("near")
def test_an_index_is_read_back_from_behind_a_table() -> None:
    plain = text(300_000)
    index = index_of(gzip.compress(plain), len(plain))
    file = io.BytesIO(b"some table" + packed(index))
    assert read_seek_index(file, "sha256:one") == index
    assert read_seek_index(file, "sha256:other") is None
    assert read_seek_index(io.BytesIO(b"some table, which is longer than a trailer"), "sha256:one") is None
    assert read_seek_index(io.BytesIO(b""), "sha256:one") is None


_PLAIN = text(400_000, 7)
_BLOB = gzip.compress(_PLAIN, 6, mtime=0)


@settings(max_examples=pace.examples(300), deadline=None)
@given(st.data())
def test_a_damaged_index_never_gives_wrong_bytes(data: st.DataObject) -> None:
    raw = bytearray(dense())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    size = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))
    try:
        index = read_seek_index(io.BytesIO(raw[:size]), "sha256:one")
        if index is not None:
            for offset in range(0, len(_PLAIN), 60_000):
                assert first(chunks_from(io.BytesIO(_BLOB), index, offset), 100) == _PLAIN[offset : offset + 100]
    except TocDamaged:
        pass


@pytest.mark.usefixtures("near", "each_gzip_reader")
def test_an_index_with_right_checksums_and_wrong_facts_never_gives_wrong_bytes() -> None:
    index = index_of(_BLOB, len(_PLAIN))
    points = list(index.points)
    wrong = [
        [points[0], points[2]._replace(plain=points[1].plain), *points[3:]],
        [points[0], points[1]._replace(at=points[1].at + 1), *points[2:]],
        [points[0], points[1]._replace(bits=(points[1].bits or 0) ^ 1), *points[2:]],
        [points[0], points[1]._replace(window=points[2].window), *points[2:]],
        [points[0], points[1]._replace(window=(0, 0)), *points[2:]],
        [points[0], points[1]._replace(plain=points[1].plain + 1), *points[2:]],
    ]
    for some in wrong:
        bad = read_seek_index(io.BytesIO(packed(index._replace(points=tuple(some)))), "sha256:one")
        assert bad is not None
        with pytest.raises(TocDamaged):
            first(chunks_from(io.BytesIO(_BLOB), bad, some[1].plain + 10), _CHUNK)


@pytest.mark.usefixtures("near")
def test_a_segment_that_is_too_large_for_memory_is_verified_before_any_of_it_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seek_read, "_WHOLE", 1_000)
    index = index_of(_BLOB, len(_PLAIN))
    assert b"".join(chunks_from(io.BytesIO(_BLOB), index, 77_777)) == _PLAIN[77_777:]
    point = index.points[1]
    bad = index._replace(points=(index.points[0], point._replace(digest=bytes(31) + b"\1"), *index.points[2:]))
    with pytest.raises(TocDamaged):
        first(chunks_from(io.BytesIO(_BLOB), bad, point.plain), 1)


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("near", "each_gzip_reader")
@pytest.mark.parametrize("zeros", [1, 600, 1 << 18])
def test_zero_bytes_may_come_between_members(zeros: int) -> None:
    parts = [text(size, size) for size in (120_000, 1, 0, 90_000)]
    blob = b"".join(gzip.compress(part, mtime=0) + bytes(zeros) for part in parts)
    plain = b"".join(parts)
    index = index_of(blob, len(plain))
    for offset in (0, 119_999, 120_000, 120_001, len(plain) - 1, len(plain)):
        assert b"".join(chunks_from(io.BytesIO(blob), index, offset)) == plain[offset:]


@pytest.mark.usefixtures("near")
def test_an_index_that_no_pass_makes_is_damaged() -> None:
    index = index_of(_BLOB, len(_PLAIN))
    one, two, *others = index.points
    wrong: list[SeekIndex] = [
        # What is decompressed there could be anything.
        index._replace(points=(one, two._replace(digest=b""), *others)),
        index._replace(points=(one, two._replace(at=(1 << 64) - 1))),
        index._replace(plain_size=two.plain - 1),
        index._replace(plain_size=float("inf")),  # type: ignore[arg-type]
        index._replace(windows=bytes(MAX_POINTS * (33 << 10) + 1)),
    ]
    for bad in wrong:
        with pytest.raises(TocDamaged):
            read_seek_index(io.BytesIO(packed(bad)), "sha256:one")


# Borders, as a layer passes.


def _frames(plain: bytes) -> bytes:
    zstd = zstd_module()
    skippable = b"\x50\x2a\x4d\x18\5\0\0\0hello"
    return b"".join(zstd.compress(plain[at : at + 1_100_000]) + skippable for at in range(0, len(plain), 1_100_000))


def _many_members(plain: bytes) -> bytes:
    return b"".join(gzip.compress(plain[at : at + 300_000], 1) for at in range(0, len(plain), 300_000))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("pack", "kind"), [(_frames, Compression.ZSTD), (_many_members, Compression.GZIP)])
def test_borders_are_where_streams_begin(pack: Callable[[bytes], bytes], kind: Compression) -> None:
    plain = text(7_000_000)
    blob = pack(plain)
    borders = Borders()
    with decompressed(io.BytesIO(blob), kind, border=borders.add) as reader:
        assert b"".join(iter(lambda: reader.read(123_456), b"")) == plain
    index = borders.index("sha256:one", kind, len(plain))
    assert index is not None
    assert len(index.points) >= 5
    for point in index.points:
        assert first(chunks_from(io.BytesIO(blob), index, point.plain + 5), 100) == plain[point.plain + 5 :][:100]


# Layers of a store.

_LAST = "/usr/f29"


@cache
def _files() -> list[tuple[str, bytes]]:
    return [(f"usr/f{number}", text(600_000, number)) for number in range(30)]


@cache
def _layer() -> bytes:
    return layer(*_files())


def loaded(root: Path, compress: Callable[[bytes], bytes] | None = None) -> orlop.ImageService:
    images = orlop.open(root)
    images.load(io.BytesIO(image(_layer(), compress=compress or _level(1))))
    return images


def kept(images: orlop.ImageService) -> tuple[Store, DiffID, BlobRow]:
    store = images._store
    diff_id = images.inspect("made:1").image.rootfs.diff_ids[0]
    return store, diff_id, store.layers.blob_of(diff_id)


def index_in(images: orlop.ImageService) -> SeekIndex | None:
    store, diff_id, blob = kept(images)
    return find_index(store.blobs, diff_id, blob)


def problems(folder: Path) -> list[str]:
    return [one.kind for one in stores.fsck(folder / "root").problems]


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many plain bytes are decompressed from the beginning of blobs, and from points."""
    found: list[int] = []
    whole, from_point = decompressed, seek_read._from_point

    def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            found.append(len(chunk))
            yield chunk

    class Counting:
        def __init__(self, *args: object, **named: object) -> None:
            self._reader = whole(*args, **named)  # type: ignore[arg-type]

        def read(self, size: int) -> bytes:
            data = self._reader.read(size)
            found.append(len(data))
            return data

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._reader.close()

    monkeypatch.setattr("orlop.inside.layer.decompressed", Counting)
    monkeypatch.setattr(seek_read, "_from_point", lambda *args: counted(from_point(*args)))
    return found


def test_the_first_far_read_makes_an_index_and_later_ones_read_little(tmp_path: Path, read_bytes: list[int]) -> None:
    with loaded(tmp_path / "root") as images:
        assert index_in(images) is None
        with images.files("made:1") as files:
            assert files.read("/usr/f1") == _files()[1][1]
            assert index_in(images) is None
            assert files.read(_LAST) == _files()[-1][1]
        index = index_in(images)
        assert index is not None
        store, diff_id, _ = kept(images)
        table = store.blobs.open_toc(diff_id)
        assert table is not None
        with table:
            assert [entry.name for entry in read_toc(table)] == [name for name, _ in _files()]
        read_bytes.clear()
        for number in (29, 3, 17, 29):
            with images.files("made:1") as files:
                assert files.read(f"/usr/f{number}") == _files()[number][1]
        assert 0 < sum(read_bytes) < 4 * 10 << 20
        assert problems(tmp_path) == []


def test_many_files_are_read_in_one_pass_without_an_index(tmp_path: Path) -> None:
    with loaded(tmp_path / "root") as images, images.files("made:1") as files:
        nodes = [files.file(f"/{name}") for name, _ in reversed(_files())]
        with files.contents(nodes) as contents:
            for node, (_, content) in zip(nodes, reversed(_files()), strict=True):
                assert b"".join(contents.chunks((node.origin, node.content))) == content
        assert index_in(images) is None


@pytest.mark.sampled(2)
@pytest.mark.parametrize("pack", [_frames, _many_members])
def test_a_layer_of_many_streams_is_seekable_once_it_is_loaded(
    pack: Callable[[bytes], bytes], tmp_path: Path, read_bytes: list[int]
) -> None:
    with loaded(tmp_path / "root", pack) as images, images.files("made:1") as files:
        index = index_in(images)
        assert index is not None
        assert index.windows == b""
        assert files.read(_LAST) == _files()[-1][1]
        assert 0 < sum(read_bytes) < 4 << 20
        assert index_in(images) == index
        assert problems(tmp_path) == []


def test_members_that_are_far_from_each_other_get_points_between_them(tmp_path: Path) -> None:
    half = len(_layer()) - 1_500_000
    with loaded(tmp_path / "root", lambda one: gzip.compress(one[:half], 1) + gzip.compress(one[half:], 1)) as images:
        index = index_in(images)
        assert index is not None
        assert len(index.points) == 2
        with images.files("made:1") as files:
            assert files.read("/usr/f26") == _files()[26][1]
        index = index_in(images)
        assert index is not None
        assert index.windows


def test_a_wrong_index_is_dropped_and_the_content_is_right(tmp_path: Path) -> None:
    with loaded(tmp_path / "root") as images:
        with images.files("made:1") as files:
            files.read(_LAST)
        index = index_in(images)
        assert index is not None
        store, diff_id, _ = kept(images)
        points = [one._replace(window=(0, 0)) for one in index.points]
        put_index(store.layers, store.blobs, diff_id, index._replace(points=tuple(points)))
        with images.files("made:1") as files:
            assert files.read(_LAST) == _files()[-1][1]
        assert index_in(images) is None
        with images.files("made:1") as files:
            assert files.read(_LAST) == _files()[-1][1]
        assert index_in(images) == index


@pytest.mark.sampled(3)
def test_an_index_of_another_blob_is_not_used(tmp_path: Path) -> None:
    with loaded(tmp_path / "root") as images:
        store, diff_id, blob = kept(images)
        other = index_of(_level(9)(_layer()), len(_layer()))
        put_index(store.layers, store.blobs, diff_id, other)
        assert index_in(images) is None
        with images.files("made:1") as files:
            assert files.read(_LAST) == _files()[-1][1]
        index = index_in(images)
        assert index is not None
        assert index.blob == str(blob.digest)


def test_a_damaged_blob_is_noticed_where_there_is_an_index(tmp_path: Path) -> None:
    with loaded(tmp_path / "root", _level(0)) as images:
        with images.files("made:1") as files:
            files.read(_LAST)
        _, _, blob = kept(images)
        path = tmp_path / "root" / "blobs" / "sha256" / blob.digest.hex
        raw = bytearray(path.read_bytes())
        # Stored blocks have no redundancy: only a digest tells.
        raw[-100_000] ^= 1
        path.chmod(0o600)
        path.write_bytes(raw)
        with images.files("made:1") as files, pytest.raises(DigestMismatch):
            files.read(_LAST)


@pytest.mark.sampled(2)
def test_fsck_finds_a_damaged_index_and_makes_the_table_again(tmp_path: Path) -> None:
    with loaded(tmp_path / "root") as images:
        with images.files("made:1") as files:
            files.read(_LAST)
        _, diff_id, _ = kept(images)
        path = tmp_path / "root" / "toc" / "sha256" / f"{diff_id.hex}.zst"
        raw = bytearray(path.read_bytes())
        raw[-3_000] ^= 1
        path.write_bytes(raw)
        assert problems(tmp_path) == ["toc-damaged"]
        stores.fsck(tmp_path / "root", repair=True)
        assert problems(tmp_path) == []
        with images.files("made:1") as files:
            assert files.read(_LAST) == _files()[-1][1]
        assert index_in(images) is not None


def test_an_index_goes_with_its_layer(tmp_path: Path) -> None:
    with loaded(tmp_path / "root") as images:
        with images.files("made:1") as files:
            files.read(_LAST)
        images.remove("made:1")
        images.gc()
        assert not any((tmp_path / "root" / "toc" / "sha256").iterdir())


def test_a_layer_without_its_table_is_read_all_the_same(tmp_path: Path) -> None:
    with loaded(tmp_path / "root") as images:
        store, diff_id, _ = kept(images)
        layers = StoredContent(store.layers, store.blobs, diff_id)
        (tmp_path / "root" / "toc" / "sha256" / f"{diff_id.hex}.zst").unlink()
        with images.files("made:1") as files:
            assert files.read(_LAST) == _files()[-1][1]
        assert [entry.name for entry in layers.entries()] == [name for name, _ in _files()]
        assert index_in(images) is None


@pytest.mark.needs("mounts")
def test_a_store_that_cannot_be_written_is_read_all_the_same(tmp_path: Path) -> None:
    loaded(tmp_path / "root").close()
    view = tmp_path / "view"
    view.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", tmp_path / "root", view], check=True)
    try:
        with orlop.open(view) as images:
            with images.files("made:1") as files:
                assert files.read(_LAST) == _files()[-1][1]
            assert index_in(images) is None
    finally:
        subprocess.run(["umount", "-l", view], check=True)
