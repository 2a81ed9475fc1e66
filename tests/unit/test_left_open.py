"""What fails while it is opened, or closed, leaves nothing open: neither connections to databases nor files."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import tarfile
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.inside.extract import extract
from orlop.store.blobs.files import FileBlobStore
from orlop.store.local import local_store
from orlop.store.rows.sqlite.errors import explaining_sqlite
from orlop.store.rows.sqlite.unopened import read_file
from orlop.streams.waiting import content_of
from tests.open_files import open_below

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_store_that_cannot_be_recovered_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    local_store(root).close()
    (root / "trash" / "left").write_bytes(b"")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(FileBlobStore, "put_back", fail)
    # What is raised holds on to all that was there.
    with pytest.raises(errors.StorageError) as raised:
        local_store(root)
    assert open_below(root / "metadata.db") == []
    del raised


def test_an_error_that_somebody_keeps_does_not_keep_the_database_open(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    database = sqlite3.connect(path)
    database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE one (number); INSERT INTO one VALUES (1), (2)")

    def fail() -> None:
        found = database.execute("SELECT number FROM one")
        next(found)
        database.execute("SELECT nothing FROM one")

    with pytest.raises(errors.StorageError, match="nothing") as kept, explaining_sqlite(str(path)):
        fail()
    database.close()
    assert (open_below(tmp_path), type(kept.value)) == ([], errors.StorageError)


def test_a_store_is_closed_whatever_one_of_its_parts_raises(tmp_path: Path) -> None:
    store = local_store(tmp_path / "root")
    with store.metadata.write():
        pass
    closed: list[str] = []
    store.before_close(lambda: closed.append("the last"))

    def fail() -> None:
        raise RuntimeError("it does not close")

    store.before_close(fail)
    with pytest.raises(RuntimeError, match="does not close"):
        store.close()
    assert closed == ["the last"]
    assert open_below(tmp_path / "root") == []
    with pytest.raises(errors.StoreClosed):
        store.metadata.require_open()


@pytest.mark.parametrize(
    "read", [lambda path: content_of(str(path), 10), lambda path: read_file(str(path))], ids=["content_of", "read_file"]
)
def test_a_directory_in_the_place_of_a_file_is_not_open_below(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    assert open_below(tmp_path) == []


@pytest.mark.parametrize("owner", [1 << 40, (1 << 32) - 1])
def test_a_copy_of_what_nobody_can_own_is_refused_and_leaves_no_directory_open(tmp_path: Path, owner: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a", "a/b", "a/b/c"):
            member = tarfile.TarInfo(name)
            member.type, member.uid = tarfile.DIRTYPE, owner
            tar.addfile(member)
    (tmp_path / "to").mkdir()
    with orlop.open(tmp_path / "root") as images:
        images.import_image(io.BytesIO(out.getvalue()), "a:1")
        with images.files("a:1") as files, pytest.raises(errors.StorageError, match=f"the user {owner}"):
            extract(files, "/a", str(tmp_path / "to"), owners=True)
        assert open_below(tmp_path / "to") == []
