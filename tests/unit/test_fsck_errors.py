"""Errors while a store is looked through or repaired: what is not the fault of a file is not damage, and is told."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop import errors, stores
from orlop.cli.main import run
from orlop.store.upkeep import fsck_content
from orlop.streams.directory import outside
from tests.named import named
from tests.unit.damage import ask, blobs, copied, delete, digest, empty, found, sql, tocs
from tests.unit.layouts import everything

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "root")


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, str], None]:
    """Make a call of the system fail for files whose path holds some text."""

    def failing(name: str, number: int, where: str) -> None:
        call = getattr(os, name)

        def refuse(file: str | int, *arguments: object, **options: int) -> object:
            path = named(file, options.get("dir_fd", options.get("src_dir_fd")))
            if where in path:
                raise OSError(number, os.strerror(number), path)
            return call(file, *arguments, **options)

        monkeypatch.setattr(os, name, refuse)

    return failing


def plain_of_two(root: Path) -> Path:
    """The file of a plain blob whose layer is there in a compressed form, too."""
    statement = """SELECT plain.blob FROM diff_blob AS plain JOIN diff_blob AS packed ON packed.diff = plain.diff
        WHERE plain.blob = plain.diff AND packed.blob <> plain.blob"""
    return root / "blobs" / str(ask(root, statement)[0][0]).replace(":", "/")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), errors.InvalidInput("odd"), ValueError("odd")])
def test_what_progress_raises_ends_a_look_and_harms_no_blob(root, repair, error):
    told: list[object] = []

    def progress(event: object) -> None:
        told.append(event)
        if len(told) == 1:
            raise error

    before = everything(root)
    with pytest.raises((type(error), errors.StorageError)):
        stores.fsck(root, repair=repair, progress=progress)
    assert everything(root) == before


@pytest.mark.parametrize("damage", [delete, empty])
def test_what_progress_raises_ends_a_repair_of_tables_of_contents(root, damage):
    told: list[object] = []
    for path in tocs(root):
        damage(path)

    def progress(event: object) -> None:
        told.append(event)
        if "repair" in str(event):
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(errors.StorageError):
        stores.fsck(root, repair=True, progress=progress)
    assert len([event for event in told if "repair" in str(event)]) == 1
    assert not (root / "quarantine").exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_process_that_can_open_no_more_files_takes_no_blob_for_damaged(root, fail, number):
    path = blobs(root)[0]
    before = everything(root)
    fail("open", number, path.name)
    with pytest.raises(errors.StorageError, match=os.strerror(number)):
        stores.fsck(root, repair=True)
    assert everything(root) == before


@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG, errno.EUCLEAN])
def test_a_blob_that_the_disk_cannot_read_may_be_whole_and_stays(root, fail, monkeypatch, capsys, number):
    before = {path: path.read_bytes() for path in blobs(root)}
    path = blobs(root)[0]
    fail("open", number, f"blobs/sha256/{path.name}")
    for repair in (False, True):
        report = stores.fsck(root, repair=repair)
        assert found(report.damage) == found(report.unread) == [("device-failed", digest(path))]
        assert (report.state, report.repairs) == ("unreadable", ())
    assert run(["--root", str(root), "fsck", "--repair"]) == 7
    assert f"{os.strerror(number)}; check the device" in capsys.readouterr().out
    # What else is wrong is damage, and put right.
    tocs(root)[1].write_bytes(b"")
    assert stores.fsck(root).state == "damaged"
    assert stores.fsck(root, repair=True).state == "unreadable"
    monkeypatch.undo()
    assert stores.fsck(root).state == "clean"
    assert {path: path.read_bytes() for path in blobs(root)} == before


def test_a_file_that_cannot_be_read_tells_why(root):
    with pytest.raises(fsck_content.Unreadable, match="Input/output error"):
        fsck_content.examine(outside("/proc/self/mem"))


def test_a_table_of_contents_that_others_may_read_is_no_fault_of_its_blob(root, fail):
    path = tocs(root)[0]
    fail("open", errno.EACCES, path.name)
    assert found(stores.fsck(root).damage) == [("toc-damaged", digest(path))]


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], None]:
    """Make reads of a table of contents fail, by a text in its path, from some byte on."""

    def failing(where: str, number: int, good: int) -> None:
        def piece(file: io.FileIO, path: str, size: int) -> bytes:
            if where in path and file.tell() >= good:
                raise OSError(number, os.strerror(number), path)
            return io.FileIO.read(file, min(size, 64) if where in path and size > 0 else size)

        class Raw(io.FileIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return piece(self, str(Path(f"/proc/self/fd/{self.fileno()}").readlink()), -1 if size is None else size)

        def read(self: fsck_content.ContentFile, size: int = -1, /) -> bytes:
            with fsck_content._reading(self._path):
                return piece(self, self._path, size)

        monkeypatch.setattr(fsck_content, "open", lambda file, *_, **_options: Raw(file), raising=False)
        monkeypatch.setattr(fsck_content.ContentFile, "read", read)

    return failing


@pytest.mark.sampled(4)
@pytest.mark.parametrize("good", [0, 64, 200])
@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG])
def test_a_table_of_contents_that_the_disk_cannot_read_may_be_right_and_stays(
    root, bad, monkeypatch, capsys, number, good
):
    before = {path: path.read_bytes() for path in tocs(root)}
    path = tocs(root)[0]
    bad(f"toc/sha256/{path.name}", number, good)
    for repair in (False, True):
        report = stores.fsck(root, repair=repair)
        assert found(report.damage) == found(report.unread) == [("device-failed", digest(path))]
        assert (report.state, report.repairs) == ("unreadable", ())
    assert run(["--root", str(root), "fsck", "--repair"]) == 7
    assert f"{os.strerror(number)}; check the device" in capsys.readouterr().out
    monkeypatch.undo()
    assert stores.fsck(root).state == "clean"
    assert {path: path.read_bytes() for path in tocs(root)} == before


def test_a_table_of_contents_that_cannot_be_opened_is_told_in_the_same_way(root, fail):
    path = tocs(root)[0]
    fail("open", errno.EIO, path.name)
    report = stores.fsck(root, repair=True)
    assert (found(report.damage), report.state) == ([("device-failed", digest(path))], "unreadable")
    # The way back, where the device has lost it for good.
    path.unlink()
    assert [one.kind for one in stores.fsck(root).notes] == ["toc-missing"]


@pytest.mark.parametrize(("call", "number"), [("write", errno.ENOSPC), ("fsync", errno.EDQUOT)])
@pytest.mark.parametrize("what", [plain_of_two, lambda root: tocs(root)[0]])
def test_a_disk_that_is_full_in_a_repair_is_told_as_that(root, fail, what, call, number):
    path = what(root)
    path.unlink()
    fail(call, number, "/ingest/")
    with pytest.raises(errors.NoSpace):
        stores.fsck(root, repair=True)
    assert not path.exists()
    assert list((root / "ingest").iterdir()) == []


def test_a_form_in_an_unknown_compression_is_passed_over(root):
    path = plain_of_two(root)
    path.unlink()
    sql(root, "UPDATE blob SET compression = 'lzip' WHERE compression <> 'none'")
    stores.fsck(root, quick=True, repair=True)
    assert not path.exists()


def test_a_table_of_contents_is_on_disk_before_it_gets_its_name(root, monkeypatch):
    path = tocs(root)[0]
    path.unlink()
    synced: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def checked(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert named(target, dst_dir_fd) != str(path) or named(source, src_dir_fd) in synced
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "rename", checked)
    assert stores.fsck(root, repair=True).state == "repaired"
    assert path.exists()


def test_a_form_that_is_lost_stays_recorded_if_the_other_one_may_not_be_read(root, fail):
    plain = plain_of_two(root)
    ((packed,),) = ask(root, f"SELECT blob FROM diff_blob WHERE diff = '{digest(plain)}' AND blob <> '{digest(plain)}'")
    sql(root, "DELETE FROM image_manifest", "DELETE FROM manifest")
    (root / "blobs" / str(packed).replace(":", "/")).unlink()
    fail("open", errno.EACCES, plain.name)
    stores.fsck(root, repair=True)
    assert ask(root, f"SELECT count(*) FROM blob WHERE digest = '{packed}'") == [(1,)]
