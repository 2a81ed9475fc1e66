"""A database that is not the one that was written last is known by the note of that write, outside of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import orlop
from orlop import errors, stores
from orlop.cli.main import run
from orlop.model.digest import Digest
from orlop.store.local import local_store
from orlop.store.rows.sqlite.damage.gate import log_fault
from orlop.store.rows.sqlite.last_write import LastWrite, fault_of
from orlop.store.rows.sqlite.unopened import close_all
from orlop.streams.directory import Directory
from tests.crash.damaged import spoil_table
from tests.open_files import open_below
from tests.unit.damage import copied
from tests.unit.layouts import Layout, named

NAME = "example/tiny:1.0"
NEWER = "example.com/newer:1"
A, B = 7 << 16, 8 << 16


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and in ``earlier.db`` its database before the last image came."""
    place = tmp_path_factory.mktemp("made")
    layout = Layout()
    layout.top(layout.image("newer", compress=True, **named(NEWER)))
    (place / "newer.tar").write_bytes(layout.pack())
    with orlop.open(place / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    shutil.copyfile(place / "root" / "metadata.db", place / "earlier.db")
    with orlop.open(place / "root") as images:
        images.load(place / "newer.tar")
    return place


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return copied(made / "root", tmp_path / "root")


def noted(root: Path) -> int | None:
    with Directory(os.fspath(root)) as directory:
        return LastWrite(directory, directory.at("metadata.db")).read()


def blobs(root: Path) -> set[str]:
    return {path.name for path in (root / "blobs" / "sha256").iterdir()}


def is_there(images: orlop.ImageService, name: str) -> bool:
    return any(str(one).endswith(name) for image in images.images() for one in image.references)


def put_back(root: Path, made: Path) -> None:
    shutil.copyfile(made / "earlier.db", root / "metadata.db")


def leave_log(root: Path, name: str) -> bytes:
    """Leave a log, as a killed process does, with the last write in it alone."""
    script = "import os, sys, orlop\nimages = orlop.open(sys.argv[1])\nimages.tag(*sys.argv[2:])\nos._exit(0)"
    subprocess.run([sys.executable, "-c", script, root, NAME, name], check=True, timeout=60)
    content = (root / "metadata.db-wal").read_bytes()
    assert content
    return content


def take_log_away(root: Path, _: Path) -> None:
    leave_log(root, "one:1")
    for suffix in ("-wal", "-shm"):
        (root / f"metadata.db{suffix}").unlink()


def put_log_back(root: Path, _: Path) -> None:
    """Put an earlier log back that ends where the database stands."""
    earlier = leave_log(root, "one:1")
    with orlop.open(root) as images:
        images.images()
    leave_log(root, "two:2")
    (root / "metadata.db-shm").unlink()
    (root / "metadata.db-wal").write_bytes(earlier)
    assert log_fault(str(root / "metadata.db")) is None


def put_another(root: Path, made: Path) -> None:
    other = root.with_name("other")
    with orlop.open(other) as images:
        images.load(made / "newer.tar")
    shutil.copyfile(other / "metadata.db", root / "metadata.db")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("spoil", [put_back, take_log_away, put_log_back, put_another])
def test_every_command_refuses_a_database_that_was_not_written_last(made, root, tmp_path, spoil, capsys):
    spoil(root, made)
    before, database = blobs(root), (root / "metadata.db").read_bytes()
    for words in (
        ["images"],
        ["save", "-o", str(tmp_path / "saved"), NAME],
        ["load", "-i", str(made / "newer.tar")],
        ["tag", NAME, "two:2"],
        ["rmi", NAME],
        ["gc"],
        ["prune", "-af"],
        ["store", "copy", str(tmp_path / "copy")],
        ["store", "backup", str(tmp_path / "backup")],
        ["store", "move", str(tmp_path / "moved")],
    ):
        assert run(["--root", str(root), *words]) == 6, words
        assert "orlop fsck --repair" in capsys.readouterr().err
    assert (blobs(root), (root / "metadata.db").read_bytes()) == (before, database)
    assert "earlier" in {one.kind for one in stores.fsck(root).damage}


def test_a_reader_who_may_not_write_refuses_it_too(made, root, monkeypatch):
    put_back(root, made)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode != os.W_OK and real(path, mode, **more))
    with orlop.open(root) as images, pytest.raises(errors.DatabaseDamaged, match="lacks the last 1"):
        images.images()


def test_a_repair_goes_on_from_it_and_loses_none_of_what_came_later(made, root):
    newer = blobs(root)
    put_back(root, made)
    report = stores.fsck(root, repair=True)
    assert (report.state, report.damage) == ("repaired", ())
    aside = {path.name.split("-")[-1].split(".")[0] for path in (root / "quarantine").iterdir()}
    assert aside
    with orlop.open(root) as images:
        assert {one.kind for one in images.gc().garbage} <= {"stray"}
        assert blobs(root) | aside == newer
        images.load(made / "newer.tar")
        assert is_there(images, NEWER)
    assert stores.fsck(root).damage == ()


def test_the_latest_one_may_be_put_back_in_its_place(made, root, tmp_path):
    shutil.copyfile(root / "metadata.db", tmp_path / "latest.db")
    put_back(root, made)
    with pytest.raises(errors.DatabaseDamaged), orlop.open(root) as images:
        images.images()
    shutil.copyfile(tmp_path / "latest.db", root / "metadata.db")
    with orlop.open(root) as images:
        assert is_there(images, NEWER)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("content", [b"", b"        \n", b"\0" * 9, b"00070001", b"no number", b"x" * 5000])
def test_without_a_note_every_database_is_taken(made, root, content):
    (root / "write.lock").write_bytes(content)
    put_back(root, made)
    with orlop.open(root) as images:
        images.tag(NAME, "two:2")
    assert noted(root) is not None


def test_a_note_that_is_older_than_the_database_changes_nothing(root):
    """As a kill after the commit leaves it, or a loss of power: it is never synced."""
    before = (root / "write.lock").read_bytes()
    for name in ("one:1", "two:2", "three:3"):
        with orlop.open(root) as images:
            images.tag(NAME, name)
    (root / "write.lock").write_bytes(before)
    with orlop.open(root) as images:
        assert is_there(images, "three:3")
    assert stores.fsck(root).damage == ()


def test_the_first_write_of_a_copy_need_not_be_noted(root, tmp_path):
    """A copy has no number: its first write draws the name, and may be killed before it notes that."""
    copy = tmp_path / "copy"
    stores.copy(root, copy)
    stores.migrate(copy)
    before = (copy / "write.lock").read_bytes()
    with orlop.open(copy) as images:
        images.tag(NAME, "one:1")
    (copy / "write.lock").write_bytes(before)
    with orlop.open(copy) as images:
        assert is_there(images, "one:1")
    assert stores.fsck(copy).damage == ()


def test_each_write_is_noted_and_a_read_is_not(root, tmp_path):
    before = noted(root)
    assert before is not None
    with orlop.open(root) as images:
        images.images()
        assert noted(root) == before
        images.tag(NAME, "one:1")
        assert noted(root) == before + 1
    stores.copy(root, tmp_path / "copied")
    assert noted(tmp_path / "copied") is None
    stores.backup(root, tmp_path / "backup")
    for number in range(2):
        with orlop.open(root) as images:
            images.tag(NAME, f"more:{number}")
        stores.backup(root, tmp_path / "backup")
        with orlop.open(tmp_path / "backup") as images:
            assert is_there(images, f"more:{number}")
        assert noted(tmp_path / "backup") is not None


def test_a_database_that_a_repair_made_anew_is_the_latest(root):
    spoil_table(root)
    assert stores.fsck(root, repair=True).damage == ()
    with orlop.open(root) as images:
        images.tag(NAME, "one:1")
        assert is_there(images, "one:1")
    assert "earlier" not in {one.kind for one in stores.fsck(root).problems}


def test_blobs_of_later_writes_are_kept_where_an_earlier_database_is_made_anew(made: Path, root: Path) -> None:
    before = blobs(root)
    put_back(root, made)
    spoil_table(root)
    assert stores.fsck(root, repair=True).damage == ()
    assert run(["--root", str(root), "gc"]) == 0
    aside = [path.name for path in (root / "quarantine").rglob("*")]
    gone = before - blobs(root)
    assert gone
    assert all(any(one in name for name in aside) for one in gone)


def test_a_store_may_begin_anew_beside_a_note(tmp_path):
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    (root / "write.lock").write_bytes(b"00070009\n")
    with orlop.open(root) as images:
        assert list(images.images()) == []
    assert noted(root) != 7 << 16 | 9


@pytest.mark.parametrize(
    ("number", "last", "right"),
    [
        (A + 4, A + 4, True),
        (A + 5, A + 4, True),
        (A + 3, A + 4, False),
        (A, A + 4, False),
        (B + 4, A + 4, False),
        (0, A + 4, False),
        # The count begins again, also of a number that SQLite keeps as a negative one.
        (A, A + 65535, True),
        (A + 65535, A, False),
        (-(1 << 31) + 4, (1 << 31) + 4, True),
        (-(1 << 31) + 3, (1 << 31) + 4, False),
    ],
)
def test_a_database_is_as_late_as_the_note_or_later(number, last, right):
    assert (fault_of(number, last) is None) is right


def with_damaged_log(root: Path) -> dict[Path, bytes]:
    """Make a store whose last commit is damaged in the log, with no index that tells; return the files of its rows."""
    with orlop.open(root) as images:
        images.load(Path(__file__).parents[1] / "data" / "dockerd-29-overlay2" / "multi.tar")
        held = {path: path.read_bytes() for path in (root / "metadata.db", root / "metadata.db-wal")}
        note = (root / "write.lock").read_bytes()
    for path, content in held.items():
        path.write_bytes(content)
    (root / "write.lock").write_bytes(note)
    log = root / "metadata.db-wal"
    damaged = bytearray(held[log])
    damaged[-4120 + 6] ^= 1 << 5  # how large the database is after the last frame
    log.write_bytes(damaged)
    return {path: path.read_bytes() for path in held}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", ["images", "gc", "fsck"])
def test_a_log_whose_last_commit_is_damaged_stays_as_it_is_until_a_repair(tmp_path: Path, command: str) -> None:
    root = tmp_path / "root"
    before = with_damaged_log(root)
    done = subprocess.run([sys.executable, "-m", "orlop", "--root", root, command], capture_output=True, check=False)
    assert done.returncode == 6, done
    assert {path: path.read_bytes() for path in before} == before


def test_a_repair_keeps_the_log_whose_end_it_writes_over(tmp_path: Path) -> None:
    root = tmp_path / "root"
    damaged = with_damaged_log(root)[root / "metadata.db-wal"]
    assert "earlier" in {one.kind for one in stores.fsck(root, repair=True).repairs}
    assert [path.read_bytes() for path in (root / "quarantine").glob("metadata.db-wal.*")] == [damaged]


def test_a_log_stays_as_it_is_whatever_else_of_its_database_is_open(tmp_path: Path) -> None:
    before = with_damaged_log(tmp_path / "root")
    path = str(tmp_path / "root" / "metadata.db")
    first, second = (sqlite3.connect(path) for _ in range(2))
    cursor = first.execute("SELECT name FROM sqlite_schema")
    cursor.fetchone()
    second.execute("SELECT name FROM sqlite_schema").fetchall()
    # SQLite keeps the descriptor of the one while the other has a lock, and the other until its cursor is gone.
    close_all([second], path, keeps_log=True)
    close_all([first], path, keeps_log=True)
    del cursor
    assert {path: path.read_bytes() for path in before} == before
    close_all([], path, keeps_log=False)
    assert open_below(path) == []


def test_a_database_without_a_log_has_none_once_it_is_refused(made: Path, root: Path) -> None:
    put_back(root, made)
    with pytest.raises(errors.DatabaseDamaged), orlop.open(root) as images:
        images.images()
    assert sorted(root.glob("metadata.db-*")) == []


def test_what_a_repair_writes_first_does_not_make_an_earlier_database_the_last(made: Path, root: Path) -> None:
    put_back(root, made)
    with closing(sqlite3.connect(root / "metadata.db")) as database:
        lost = (noted(root) or 0) - database.execute("PRAGMA application_id").fetchone()[0]
    with local_store(root, mending=True) as store:
        for _ in range(lost + 1):
            with store.metadata.write() as rows:
                rows.put_lease("0123456789abcdef", [Digest.parse(f"sha256:{0:064}")])
    with pytest.raises(errors.DatabaseDamaged), orlop.open(root) as images:
        images.images()
    assert "earlier" in {one.kind for one in stores.fsck(root).problems}
    stores.fsck(root, repair=True)
    assert not [one for one in stores.fsck(root).problems if one.level == "damage"]


def older(root: Path, data: Path) -> None:
    """Put a database of the first schema in the place of a store's."""
    with closing(sqlite3.connect(root / "older.db")) as database:
        database.executescript((data / "schemas" / "1.sql").read_text())
    (root / "older.db").rename(root / "metadata.db")


def test_a_search_leaves_an_older_database_as_it_is(root: Path, data: Path) -> None:
    older(root, data)
    before = (root / "metadata.db").read_bytes(), noted(root), {path.name for path in root.iterdir()}
    for _ in range(2):
        assert "earlier" in {one.kind for one in stores.fsck(root).problems}
    assert ((root / "metadata.db").read_bytes(), noted(root), {path.name for path in root.iterdir()}) == before
    assert run(["--root", str(root), "gc"]) == 6


def test_a_search_leaves_a_sound_database_of_an_older_schema_as_it_is(tmp_path: Path, data: Path) -> None:
    root = tmp_path / "root"
    with orlop.open(root):
        pass
    (root / "write.lock").write_bytes(b"")
    older(root, data)
    before = (root / "metadata.db").read_bytes()
    assert stores.fsck(root).problems
    assert (root / "metadata.db").read_bytes() == before
    assert stores.fsck(root, repair=True).repairs
    assert (root / "metadata.db").read_bytes() != before
    assert (root / "metadata.db.schema-1").exists()


def test_a_search_of_an_older_database_sees_what_others_write_meanwhile(root: Path, data: Path) -> None:
    older(root, data)
    (root / "write.lock").write_bytes(b"")
    with local_store(root, mending=True) as searching:
        assert searching.images.map()
        with orlop.open(root) as images:
            for one in images.images():
                images.remove(str(one.id), force=True)
        assert not searching.images.map()
