"""A directory in which another makes a store just now, or from which it moves one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import StoreDamaged, StoreMoved
from orlop.store.rows.sqlite.errors import explaining_sqlite
from orlop.store.trust import DIRECTORIES
from orlop.streams.directory import Directory
from orlop.streams.tar_write import member_header
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("there", range(1, len(DIRECTORIES)))
def test_a_store_that_another_is_just_making_is_no_foreign_directory(
    there: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    for name in DIRECTORIES[:there]:
        (root / name).mkdir()
    listed = Directory.names

    def names(self: Directory) -> list[str]:
        found = listed(self)
        # The other goes on as soon as its directories were looked at.
        for name in DIRECTORIES:
            (root / name).mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(Directory, "names", names)
    with orlop.open(root) as images:
        assert images.images() == []


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "blobs").mkdir(parents=True)
    (root / "trash").mkdir()
    (root / "notes").touch()
    with pytest.raises(StoreDamaged, match="is not empty and holds no store"):
        orlop.open(root)


def test_a_store_that_goes_away_just_before_sqlite_opens_it_was_moved(tmp_path: Path) -> None:
    path = str(tmp_path / "gone" / "metadata.db")
    said = f"the store at {tmp_path / 'gone'} was moved or removed"
    with pytest.raises(StoreMoved, match=said), explaining_sqlite(path), closing(sqlite3.connect(path)):
        pass


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    [
        "trash/letter",
        "ingest/letter",
        "leases/letter",
        "toc/letter",
        "toc/sha256/letter",
        "blobs/letter",
        "partial/letter",
        "ingest/old/letter",
        "photos/ingest",
        "letter",
    ],
)
@pytest.mark.parametrize("beside", ["trash", "ingest", "blobs/sha256"])
def test_a_directory_of_somebody_else_whose_names_a_store_has_is_refused(tmp_path: Path, name: str, beside: str):
    root = tmp_path / "root"
    letter = root / name
    letter.parent.mkdir(parents=True)
    letter.write_text("to keep")
    (root / beside).mkdir(parents=True, exist_ok=True)
    with pytest.raises(StoreDamaged, match="is not empty and holds no store"):
        orlop.open(root)
    assert letter.read_text() == "to keep"


@pytest.mark.parametrize("name", ["metadata.db", "metadata.db-journal", "metadata.db.reserve", "write.lock"])
def test_what_a_command_that_was_killed_has_begun_is_gone_on_with(tmp_path: Path, name: str):
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    for one in DIRECTORIES:
        (root / one).mkdir()
    (root / name).touch()
    with orlop.open(root) as images:
        assert images.images() == []


@pytest.mark.parametrize(
    "name",
    [
        "leases/ea27fde98a177bc9",
        "ingest/ea27fde98a177bc9.12",
        f"partial/sha256-{'0f' * 32}",
        f"trash/sha256-{'0f' * 32}.ea27fde98a177bc9",
        f"incoming/{'0f' * 16}",
        f"incoming/{'0f' * 16}.about",
    ],
)
def test_what_comes_before_the_first_row_makes_no_directory_foreign(tmp_path: Path, name: str):
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    for one in DIRECTORIES:
        (root / one).mkdir()
    (root / name).parent.mkdir(mode=0o700, exist_ok=True)
    (root / name).write_text("begun")
    with orlop.open(root) as images:
        assert images.images() == []


def test_a_first_import_that_is_killed_leaves_a_store(tmp_path: Path):
    command = [sys.executable, "-m", "orlop", "--root", str(tmp_path / "root"), "import", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(member_header("file", size=1 << 20, mode=0o644) + bytes(1 << 16))
    process.stdin.flush()
    until(lambda: any((tmp_path / "root").glob("ingest/*.*")))
    process.kill()
    process.communicate()
    with orlop.open(tmp_path / "root") as images:
        assert images.images() == []
        images.gc()


def test_a_store_that_another_has_made_and_filled_meanwhile_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    listed = Directory.names
    made: list[int] = []

    def names(self: Directory) -> list[str]:
        if not made:
            made.append(1)
            with orlop.open(root) as images:
                images.images()
            (root / "ingest" / "1.new").write_text("begun")
        return listed(self)

    monkeypatch.setattr(Directory, "names", names)
    with orlop.open(root) as images:
        assert images.images() == []
