"""Stores that are composed of other parts than a directory's."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import ImageNotFound, NotSupported, StoreClosed
from orlop.service.image_service import ImageService
from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.place.copy import back_up_store, copy_store, move_store
from orlop.store.root import Store
from orlop.store.rows.metadata import BlobRow
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.store.rows.sqlite.memory import MemoryMetadata
from orlop.store.upkeep.quarantine import Quarantine
from orlop.streams.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.store.rows.metadata import Metadata


def memory(_: Path) -> Metadata:
    return MemoryMetadata()


def in_a_file(folder: Path) -> Metadata:
    (folder / "rows").mkdir()
    return SQLiteMetadata(Directory(str(folder / "rows")))


@pytest.fixture(params=[memory, in_a_file])
def store(request, tmp_path):
    with Store(request.param(tmp_path), MemoryBlobStore()) as store:
        yield store


@pytest.fixture
def archive(data) -> Path:
    path: Path = data / "dockerd-20.10-overlay2" / "parent-child.tar"
    return path


def tags(images: ImageService) -> list[str]:
    return sorted(name.familiar for image in images.images() for name in image.repo_tags)


def test_images_are_loaded_listed_inspected_saved_and_removed(store, archive, tmp_path):
    with orlop.open(tmp_path / "local") as local:
        local.load(archive)
        expected = io.BytesIO()
        names = tags(local)
        local.save(names, expected)
    images = ImageService(store)
    report = images.load(archive)
    assert tags(images) == names
    saved = io.BytesIO()
    images.save(names, saved)
    assert saved.getvalue() == expected.getvalue()
    for loaded in report.images:
        assert images.inspect(loaded.id).image.id == loaded.id
    assert images.gc().garbage == ()
    assert list(store.blobs.digests())
    for name in names:
        images.remove(name)
    assert list(images.images(all=True)) == []
    assert list(store.blobs.digests()) == []
    assert list(store.blobs.tocs()) == []
    with pytest.raises(ImageNotFound):
        images.inspect(names[0])


def test_an_archive_may_come_through_a_pipe(store, archive):
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self._file = io.BytesIO(archive.read_bytes())

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            return self._file.readinto(buffer)

    assert ImageService(store).load(Stream()).images  # type: ignore[arg-type]


def test_garbage_is_found_and_goes(store, archive):
    images = ImageService(store)
    images.load(archive)
    kept = set(store.blobs.digests())
    with store.blobs.begin() as ingest, store.metadata.write() as rows:
        ingest.write(b"stray")
        ingest.sync()
        digest = ingest.digest
        ingest.commit(rows, BlobRow(digest, 5, "none"))
        rows.put_lease("dead", [digest])
    found = images.gc(dry_run=True)
    assert [(one.kind, one.size) for one in found.garbage] == [("lease", 0), ("stray", 5)]
    assert images.gc().garbage == found.garbage
    assert set(store.blobs.digests()) == kept
    assert images.gc().garbage == ()


def test_what_is_held_stays_until_it_is_released(store, archive):
    images = ImageService(store)
    loaded = images.load(archive).images[-1]
    chain = store.images.get(loaded.id).rootfs.chain_id()
    layer = store.layers.get(chain)
    for name in tags(images):
        images.remove(name)
    assert images.gc().garbage == ()
    assert b"".join(layer.tar_chunks())
    store.layers.release(layer)
    assert list(store.blobs.digests()) == []


NEEDING: dict[str, Callable[[Store, Path], object]] = {
    "quarantine": lambda store, _: Quarantine(store.files),
    "copy": lambda store, path: copy_store(store, path / "copy"),
    "backup": lambda store, path: back_up_store(store, path / "copy"),
    "move": lambda store, path: move_store(store, path / "copy"),
}


@pytest.mark.parametrize("what", NEEDING)
def test_what_needs_local_files_says_so(store, tmp_path, what):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotSupported, match="use one in a directory"):
        NEEDING[what](store, tmp_path)
    assert not (tmp_path / "copy").exists()
    assert [path for path in tmp_path.rglob("*") if path not in before and "rows" not in path.parts] == []


def test_a_store_that_was_closed_says_so(tmp_path):
    store = Store(MemoryMetadata(), MemoryBlobStore())
    store.close()
    with pytest.raises(StoreClosed):
        store.require_writable()
    with pytest.raises(StoreClosed):
        store.images.ids()
