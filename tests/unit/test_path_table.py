"""Path tables and seek indexes in a store: made once, at first need, kept together, not used when they are damaged."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import stores
from orlop.errors import PathNotFound
from orlop.inside.export import export_chunks
from orlop.store.seeking import find_index, find_paths, make_index
from orlop.streams import seek_points, toc
from orlop.streams.path_table import path_table_start
from orlop.streams.seek_points import gzip_index
from orlop.streams.toc import read_toc
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from orlop.model.digest import DiffID
    from orlop.streams.compression import Readable
    from orlop.streams.seek_index import SeekIndex

COUNT = 1_200
BASE = layer(
    "etc/", *((f"etc/f{number:04}", b"%d" % number) for number in range(COUNT)), "link->etc", "hard=>etc/f0007"
)
NEXT = layer("etc/.wh.f0001", ("etc/f0002", b"new"))


def loaded(root: Path) -> orlop.ImageService:
    images = orlop.open(root)
    images.load(io.BytesIO(image(BASE, NEXT, compressed=True)))
    return images


def base_of(images: orlop.ImageService) -> DiffID:
    with images.files("made:1") as files:
        return files.layers[0].diff_id


def toc_of(root: Path, diff_id: DiffID) -> Path:
    return root / "toc" / "sha256" / f"{diff_id.hex}.zst"


def check(images: orlop.ImageService) -> None:
    with images.files("made:1") as files:
        assert files.read("/etc/f0002") == b"new"
        assert files.read("/link/f0003") == b"3"
        assert files.stat("/hard").links == files["/etc/f0007"].links == 2
        assert files.stat("/hard").inode == files["/etc/f0007"].inode != files["/etc/f0008"].inode
        assert "/etc/f0001" not in files
        with pytest.raises(PathNotFound):
            files.stat("/etc/f0001")
        assert [one.action for one in files.trace("/etc/f0001")] == ["added", "removed"]
        assert len(files.listdir("/etc")) == COUNT - 1


def test_a_path_table_is_made_at_first_need_and_then_no_table_of_contents_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loaded(tmp_path) as images:
        diff_id = base_of(images)
        assert find_paths(images.store.blobs, diff_id) is None
        check(images)
        paths = find_paths(images.store.blobs, diff_id)
        assert paths is not None
        assert paths.plain
        read: list[int] = []

        def counted(source: BinaryIO) -> object:
            entries = list(read_toc(source))
            read.append(len(entries))
            return entries

        monkeypatch.setattr(toc, "read_toc", counted)
        with images.files("made:1") as files:
            assert files.read("/link/f0003") == b"3"
            assert files.trace("/etc/f0002")[-1].action == "replaced"
        assert sum(read) == 2  # those of the small layer
    assert not stores.fsck(tmp_path).problems


def test_looking_at_all_paths_makes_no_path_table(tmp_path: Path) -> None:
    with loaded(tmp_path) as images:
        diff_id = base_of(images)
        for look in ("walk", "listdir", "below", "node", "real_path"):
            with images.files("made:1") as files:
                assert getattr(files, look)("/")
                assert len(list(files.walk("/etc"))) == COUNT
        with images.files("made:1") as files:
            assert b"".join(export_chunks(files))
        assert find_paths(images.store.blobs, diff_id) is None


def test_a_path_table_and_a_seek_index_are_kept_together(tmp_path: Path) -> None:
    with loaded(tmp_path) as images:
        diff_id, store = base_of(images), images.store
        blob = store.layers.blob_of(diff_id)
        check(images)
        assert make_index(store.layers, store.blobs, diff_id, blob) is not None
        assert find_paths(store.blobs, diff_id) is not None
        assert find_index(store.blobs, diff_id, blob) is not None
        check(images)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", ["first block", "directory", "trailer"])
def test_a_damaged_path_table_is_not_used_and_is_found(tmp_path: Path, where: str) -> None:
    with loaded(tmp_path) as images:
        diff_id = base_of(images)
        check(images)
        toc = toc_of(tmp_path, diff_id)
        data = bytearray(toc.read_bytes())
        with toc.open("rb") as file:
            start = path_table_start(file)
        place = {"first block": start + 8 + 14 + 20, "directory": len(data) - 40, "trailer": len(data) - 10}[where]
        data[place] ^= 0x55
        toc.chmod(0o600)
        toc.write_bytes(data)
    assert [one.kind for one in stores.fsck(tmp_path).problems] == ["toc-damaged"]
    with orlop.open(tmp_path) as images:
        check(images)
    stores.fsck(tmp_path, repair=True)
    assert not stores.fsck(tmp_path).problems
    with orlop.open(tmp_path) as images:
        check(images)


def one_block(*parts: bytes | int) -> bytes:
    """Make a gzip member of one deflate block with fixed codes: of bytes, and of runs of 258 zeros after a zero."""
    bits = ["110"]
    size, check = 0, 0
    for part in parts:
        plain = part if isinstance(part, bytes) else bytes(258 * part)
        size, check = size + len(plain), zlib.crc32(plain, check)
        bits.append("".join(f"{48 + byte:08b}" for byte in part) if isinstance(part, bytes) else "1100010100000" * part)
    text = "".join([*bits, "0000000"])
    text += "0" * (-len(text) % 8)
    data = int(text[::-1], 2).to_bytes(len(text) // 8, "little")
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + data + struct.pack("<II", check, size)


def test_the_index_of_a_layer_of_one_block_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 40_000  # 10 MB
    raw = layer(("big", b"\0" + bytes(258 * runs)), ("small", b"at the end"))
    end = 512 + 1 + 258 * runs
    packed = one_block(raw[:513], runs, raw[end:])
    assert gzip.decompress(packed) == raw
    made: list[str] = []

    def counted(source: Readable, *, blob: str, plain_size: int) -> SeekIndex | None:
        made.append(blob)
        return gzip_index(source, blob=blob, plain_size=plain_size)

    monkeypatch.setattr(seek_points, "gzip_index", counted)
    with orlop.open(tmp_path) as images:
        images.load(io.BytesIO(image(raw, compress=lambda _: packed)))
        for _ in range(3):
            with images.files("made:1") as files:
                assert files.read("/small") == b"at the end"
    assert len(made) == 1
