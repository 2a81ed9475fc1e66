"""A log or a journal of another database, or of another moment, is known before SQLite applies it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.store.rows.sqlite.damage.gate import log_fault
from orlop.store.rows.sqlite.damage.log import read_log
from orlop.store.rows.sqlite.lineage import belongs, number_of
from tests.unit.damage import ask, copied, rows_of

if TYPE_CHECKING:
    from pathlib import Path

NAME = "example/tiny:1.0"
KILLED = """
import os, sys, orlop
images = orlop.open(sys.argv[1])
for name in sys.argv[2:]:
    images.tag("example/tiny:1.0", name)
os._exit(0)
"""


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path / "root")


def number(root: Path) -> int:
    return number_of((root / "metadata.db").read_bytes())


def killed(root: Path, *names: str) -> Path:
    subprocess.run([sys.executable, "-c", KILLED, root, *names], check=True, timeout=60)
    return root


def refused(root: Path) -> None:
    """See that nobody opens it, and that what is there stays what it is."""
    before = (root / "metadata.db").read_bytes()
    for act in (lambda images: images.images(), lambda images: images.gc(), lambda images: images.tag(NAME, "some:1")):
        with pytest.raises(errors.DatabaseDamaged, match="not of this database"), orlop.open(root) as images:
            act(images)
    assert [one.kind for one in stores.fsck(root).damage] == ["log-cut"]
    assert (root / "metadata.db").read_bytes() == before


def test_each_write_has_the_next_number_and_a_read_has_none(root):
    seen = [number(root)]
    for act in (
        lambda images: images.tag(NAME, "one:1"),
        lambda images: images.images(),
        lambda images: (images.pin(NAME), images.unpin(NAME)),
        lambda images: images.gc(),
    ):
        with orlop.open(root) as images:
            act(images)
        seen.append(number(root))
    assert [after - before for before, after in pairwise(seen)] == [1, 0, 2, 0]


def test_each_commit_in_a_log_has_its_number(root):
    before = number(root)
    log = read_log(str(killed(root, "one:1", "two:2", "three:3") / "metadata.db"))
    assert log is not None
    found = [number_of(log.content(frame)) for frame in range(1, log.committed + 1) if log.number(frame) == 1]
    assert found == [before + 1, before + 2, before + 3]
    assert log_fault(str(root / "metadata.db")) is None


def test_a_log_of_an_earlier_moment_is_refused_and_goes_to_the_quarantine(root, tmp_path):
    left = copied(killed(root, "one:1"), tmp_path / "left")
    for name in ("two:2", "three:3"):
        with orlop.open(root) as images:
            images.tag(NAME, name)
    rows = rows_of(copied(root, tmp_path / "before"))
    shutil.copyfile(left / "metadata.db-wal", root / "metadata.db-wal")
    refused(root)
    report = stores.fsck(root, repair=True)
    assert (report.state, report.damage) == ("repaired", ())
    assert rows_of(root) == rows
    assert any("metadata.db-wal" in path.name for path in (root / "quarantine").iterdir())


def test_a_log_of_another_store_is_refused_although_what_it_says_is_sound(root, data, tmp_path):
    other = tmp_path / "other"
    with orlop.open(other) as images:
        images.load(data / "dockerd-20.10-overlay2" / "multi.tar")
        images.load(data / "dockerd-29-overlay2" / "multi.tar")
    killed(other, "one:1")
    rows = rows_of(copied(root, tmp_path / "before"))
    shutil.copyfile(other / "metadata.db-wal", root / "metadata.db-wal")
    refused(root)
    assert stores.fsck(root, repair=True).state == "repaired"
    assert rows_of(root) == rows


def test_a_database_of_an_earlier_moment_under_a_later_log_is_refused(root, tmp_path):
    left = copied(root, tmp_path / "left")
    for name in ("one:1", "two:2"):
        with orlop.open(root) as images:
            images.tag(NAME, name)
    killed(root, "three:3")
    shutil.copyfile(left / "metadata.db", root / "metadata.db")
    (root / "metadata.db-shm").unlink()
    refused(root)
    assert stores.fsck(root, repair=True).state == "repaired"
    assert stores.fsck(root).damage == ()


def test_a_header_that_a_loss_of_power_took_comes_back_from_the_log(root, data):
    with closing(sqlite3.connect(root / "metadata.db")) as kept:
        kept.execute("SELECT 1 FROM image").fetchone()
        with orlop.open(root) as images:
            images.load(data / "dockerd-20.10-overlay2" / "parent-child.tar")
        left = copied(root, root.with_name("left"))
    (left / "metadata.db-shm").unlink()
    with (left / "metadata.db").open("r+b") as file:
        file.write(bytes(4096))
    assert log_fault(str(left / "metadata.db")) is None
    assert stores.fsck(left).damage == ()


def test_an_index_of_a_later_log_is_believed(root, tmp_path):
    killed(root, "one:1")
    left = copied(root, tmp_path / "left")
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        # As a server does in the midst of its work: the next log has the salts of this one, counted up.
        database.execute("SELECT count(*) FROM image").fetchone()
        database.execute("PRAGMA wal_checkpoint(RESTART)")
        database.execute("PRAGMA user_version=1")
        for suffix in ("", "-shm"):
            shutil.copyfile(root / f"metadata.db{suffix}", left / f"metadata.db{suffix}")
    refused(left)


def test_a_copy_is_another_database_and_a_backup_goes_on_with_its_own(root, tmp_path):
    stores.copy(root, tmp_path / "copied")
    assert number(tmp_path / "copied") == 0
    with orlop.open(tmp_path / "copied") as images:
        images.tag(NAME, "one:1")
    assert number(tmp_path / "copied") >> 16 != number(root) >> 16
    stores.backup(root, tmp_path / "backup")
    before = number(tmp_path / "backup")
    with orlop.open(root) as images:
        for name in ("one:1", "two:2", "three:3"):
            images.tag(NAME, name)
    with closing(sqlite3.connect(tmp_path / "backup" / "metadata.db")) as kept:
        kept.execute("SELECT 1 FROM image").fetchone()
        stores.backup(root, tmp_path / "backup")
        left = copied(tmp_path / "backup", tmp_path / "left")
    assert number(left) == before
    (left / "metadata.db-shm").unlink()
    assert log_fault(str(left / "metadata.db")) is None
    assert len(ask(left, "SELECT * FROM reference")) > 3


A, B = 7 << 16, 8 << 16


@pytest.mark.parametrize(
    ("database", "commits", "own"),
    [
        (A + 4, [A + 5, A + 6], True),
        (A + 5, [A + 5, A + 6], True),
        (A + 6, [A + 5, A + 6], True),
        (A + 7, [A + 5, A + 6], False),
        (A + 3, [A + 5, A + 6], False),
        (B + 4, [A + 5, A + 6], False),
        (A + 5, [], True),
        (A + 5, [0, 0], True),
        # Other programs leave the number as it is.
        (A + 4, [A + 4, A + 5], True),
        # The first writes of a database.
        (0, [A + 1], True),
        (0, [0, A + 1], True),
        (0, [A + 2], False),
        # The count begins again.
        (A + 65535, [A, A + 1], True),
        (A + 1, [A + 65534, A + 65535, A], False),
    ],
)
def test_the_database_is_of_a_moment_that_the_log_goes_through(database, commits, own):
    assert belongs(database, commits) is own


class TestAJournal:
    """The database is in WAL mode, where only the change of the mode has a journal."""

    @pytest.fixture
    def journal(self, root, tmp_path):
        """What a change of everything leaves, by a process that is killed, in a database without a log."""
        path = tmp_path / "other.db"
        shutil.copyfile(root / "metadata.db", path)
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode=DELETE")
            database.execute("PRAGMA cache_size=1")
            database.execute("BEGIN")
            for table, column in (("image", "created"), ("chain", "size"), ("reference", "updated")):
                database.execute(f"UPDATE {table} SET {column} = {column} + 1")
            content = path.with_name("other.db-journal").read_bytes()
            assert any(content[8:12])
            database.execute("ROLLBACK")
        return content

    def test_one_that_would_put_older_pages_back_is_refused(self, root, journal, tmp_path):
        with orlop.open(root) as images:
            images.tag(NAME, "one:1")
        rows = rows_of(copied(root, tmp_path / "before"))
        (root / "metadata.db-journal").write_bytes(journal)
        refused(root)
        assert stores.fsck(root, repair=True).state == "repaired"
        assert rows_of(root) == rows

    @pytest.mark.parametrize("pages", [0, 1, 5])
    def test_one_that_would_cut_the_database_is_refused(self, root, journal, pages):
        # A header alone: SQLite cuts the database to the size that it states.
        (root / "metadata.db-journal").write_bytes(
            journal[:8] + bytes(4) + journal[12:16] + pages.to_bytes(4, "big") + journal[20:512]
        )
        refused(root)

    @pytest.mark.sampled(4, daily=False)
    @pytest.mark.needs("tracing")
    @pytest.mark.parametrize("change", [["WAL", "DELETE"], ["DELETE", "WAL"]])
    def test_that_of_the_change_of_the_mode_is_its_own(self, root, change, tmp_path):
        script = "import os, sqlite3, sys\nd = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        script += "".join(f"d.execute('PRAGMA journal_mode={mode}').fetchall()\n" for mode in change)
        left = 0
        for step in range(1, 40):
            place = copied(root, tmp_path / str(step))
            kill = f"inject=fsync,fdatasync,pwrite64,unlink:signal=KILL:when={step}"
            command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", kill, sys.executable, "-c", script]
            done = subprocess.run([*command, place / "metadata.db"], check=False, timeout=60)
            if done.returncode == 0:
                break
            left += (place / "metadata.db-journal").exists()
            assert stores.fsck(place).damage == (), step
            with orlop.open(place) as images:
                assert images.images()
        assert left > 1
