"""Errors of the system that were once lost: each is told, and what it left undone is done by the next try."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.store.backends.fs import FSStoreBackend
from orlop.store.images import ImageStore
from orlop.store.local import UNFINISHED, local_store
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.streams.directory import Directory
from orlop.streams.files import explaining
from tests.invariants import broken
from tests.named import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from orlop.store.root import Store

    Fail = Callable[[str, int, str], list[str]]


@pytest.fixture
def root(data, tmp_path):
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    return tmp_path / "root"


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Make a call of the system fail for names that end in some text, and note which did."""

    def failing(name: str, number: int, end: str) -> list[str]:
        call, failed = getattr(os, name), []

        def refuse(file: str | int, *arguments: object, **options: int) -> object:
            path = named(file, options.get("dir_fd", options.get("src_dir_fd")))
            if path.endswith(end):
                failed.append(path)
                raise OSError(number, os.strerror(number), path)
            return call(file, *arguments, **options)

        monkeypatch.setattr(os, name, refuse)
        return failed

    return failing


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was put on disk, in order."""
    found: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", noted)
    return found


class TestCopies:
    @pytest.fixture
    def far(self, root, tmp_path, monkeypatch):
        """A target on another file system."""
        rename = os.rename

        def other(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            if (named(source, src_dir_fd), named(target, dst_dir_fd)) == (str(root), str(tmp_path / "moved")):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        monkeypatch.setattr(os, "rename", other)
        return tmp_path / "moved"

    def test_a_move_says_what_is_left_of_the_old_store(self, root, far, fail):
        stuck = next((root / "blobs" / "sha256").iterdir()).name
        fail("unlink", errno.EACCES, stuck)
        with pytest.raises(errors.StorageError, match=r"remove .*part yourself: .*permission denied"):
            stores.move(root, far)
        assert broken(far) == []
        (left,) = root.parent.glob(".orlop-store-*/blobs/sha256/*")
        assert left.name == stuck

    def test_a_move_leaves_a_mount_point_as_it_is(self, root, far, fail):
        fail("rename", errno.EBUSY, root.name)
        fail("rmdir", errno.EBUSY, root.name)
        stores.move(root, far)
        assert list(root.iterdir()) == []

    def test_a_copy_that_failed_and_stays_is_told(self, root, tmp_path, fail, caplog):
        fail("unlink", errno.EACCES, UNFINISHED)

        def stop(_: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stores.copy(root, tmp_path / "copy", progress=stop)
        assert "permission denied" in caplog.text

    def test_an_interruption_as_the_copy_gets_its_name_stays_one(self, root, tmp_path, monkeypatch):
        rename = os.rename

        def interrupted(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            if named(target, dst_dir_fd) == str(tmp_path / "copy"):
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stores.copy(root, tmp_path / "copy")
        assert broken(tmp_path / "copy") == []

    def test_the_folders_of_a_quarantine_are_on_disk_before_the_copy_has_its_name(self, root, far, synced):
        (root / "quarantine" / "folder" / "inner").mkdir(parents=True)
        stores.move(root, far)
        inside = [str(path).partition("/quarantine")[2] for path in synced if "quarantine" in path.parts]
        assert set(inside) == {"", "/folder", "/folder/inner"}


class TestRowsThatAreOnlyRead:
    """A log beside the database makes each reader take a copy of both."""

    @pytest.fixture
    def writer(self, root) -> Iterator[Store]:
        with local_store(root) as store, store.metadata.write() as rows:
            del rows
        with local_store(root) as store:
            yield store

    @pytest.fixture
    def change(self, writer) -> Callable[[], None]:
        def change() -> None:
            writer.images.create(b'{"rootfs":{"type":"layers"},"author":"%d"}' % len(list(writer.images.ids())))

        return change

    @pytest.fixture
    def reader(self, root):
        reader = SQLiteMetadata(Directory(str(root)), refusal=errors.ReadOnlyStore)
        yield reader
        reader.close()

    @staticmethod
    def images(reader: SQLiteMetadata) -> int:
        with reader.read() as rows:
            return len(list(rows.image_ids()))

    def test_a_copy_that_failed_once_is_made_again(self, change, reader, monkeypatch):
        copy, failures = shutil.copyfileobj, [1, 1]

        def torn(source: BinaryIO, target: BinaryIO) -> None:
            if named(source.fileno()).endswith("-wal") and failures:
                failures.pop()
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            copy(source, target)

        change()
        monkeypatch.setattr(shutil, "copyfileobj", torn)
        for _ in range(2):
            with pytest.raises(errors.StorageError):
                self.images(reader)
        assert self.images(reader) == 4
        change()
        failures.append(1)
        with pytest.raises(errors.StorageError):
            self.images(reader)
        assert self.images(reader) == 5

    def test_a_child_that_closes_leaves_its_parent_the_copy(self, change, reader):
        change()
        assert self.images(reader) == 4
        for close in (reader.close, lambda: self.images(reader)):
            child = os.fork()
            if child == 0:
                try:
                    close()
                finally:
                    os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            reader._local.connection.close()
            reader._local.connection = None
            assert self.images(reader) == 4


class TestImagesOfADaemon:
    @pytest.fixture
    def backend(self, tmp_path):
        return FSStoreBackend(tmp_path / "imagedb" / "deep")

    def test_the_names_of_new_directories_are_on_disk(self, tmp_path, backend, synced):
        digest = backend.set(b"{}")
        top = tmp_path / "imagedb"
        for folder in (tmp_path, top, top / "deep", top / "deep" / "content", top / "deep" / "content" / "sha256"):
            assert folder in synced
        backend.set_metadata(digest, "parent", b"x")
        assert top / "deep" / "metadata" / "sha256" in synced
        del synced[:]
        backend.delete(digest)
        assert synced == [top / "deep" / "metadata" / "sha256", top / "deep" / "content" / "sha256"]

    def test_metadata_that_cannot_be_removed_keeps_its_image(self, backend, fail):
        digest = backend.set(b"{}")
        backend.set_metadata(digest, "parent", b"x")
        fail("unlink", errno.EACCES, "parent")
        with pytest.raises(errors.PermissionDenied):
            backend.delete(digest)
        assert backend.get(digest) == b"{}"

    @pytest.mark.parametrize("kind", ["content", "metadata"])
    def test_an_image_that_cannot_be_read_now_is_not_taken_for_none(self, backend, root, monkeypatch, kind):
        with local_store(root) as store:
            images = ImageStore(backend, store.layers)
            parent, child = (images.create(b'{"rootfs":{"type":"layers"},"author":"%d"}' % number) for number in (1, 2))
            images.set_parent(child, parent)

            def exhausted(*_: object) -> bytes:
                raise errors.StorageError("too many open files")

            name = "_get" if kind == "content" else "_get_metadata"
            monkeypatch.setattr(backend, name, exhausted)
            ask = (lambda: list(images.map().items())) if kind == "content" else (lambda: images.children(parent))
            with pytest.raises(errors.StorageError, match="too many"):
                ask()
            if kind == "content":
                with pytest.raises(errors.StorageError, match="too many"):
                    images.delete(child)

    def test_a_walk_that_fails_is_told(self, backend, fail):
        backend.set(b"{}")
        fail("listdir", errno.EMFILE, "sha256")
        with pytest.raises(errors.StorageError, match="Too many open files"):
            list(backend.walk())


def test_a_directory_whose_name_could_not_be_put_on_disk_is_made_again(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", once)
    with pytest.raises(OSError, match="Input/output"):
        Directory(str(tmp_path)).make("new", 0o700)
    for _ in range(2):
        Directory(str(tmp_path)).make("new", 0o700)
    assert len(calls) == 2


def test_a_root_whose_path_is_too_long_for_the_database_is_told_so(tmp_path):
    folder = tmp_path.joinpath(*["folder"] * ((600 - len(str(tmp_path))) // 7))
    with pytest.raises(errors.StorageError, match=r"and SQLite takes 504; use a shorter root") as raised:
        orlop.open(folder).images()
    assert raised.type is errors.StorageError
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(errors.StorageError, match=r"and SQLite takes 504"):
        orlop.open(link).images()


@pytest.mark.parametrize(("size", "fits"), [(504, True), (505, False)])
def test_the_longest_path_of_a_database_is_known(tmp_path, size, fits):
    room = size - len(os.fsencode(tmp_path)) - len("//metadata.db")
    folders = [200, 200, 200, 200][: room // 201]
    folders.append(room - sum(folders) - len(folders))
    root = tmp_path.joinpath(*("a" * length for length in folders))
    assert len(os.fsencode(root / "metadata.db")) == size
    if fits:
        with orlop.open(root) as images:
            assert images.images() == []
    else:
        with orlop.open(root) as images, pytest.raises(errors.StorageError, match="505 bytes"):
            images.images()


def test_a_move_to_another_file_system_says_what_a_store_needs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.StorageError, match="a store lies on one, without mounts"), explaining("move", tmp_path):
        (tmp_path / "file").rename("/proc/file")
