"""A log that is cut is known before SQLite opens it; what a crash or a failed commit leaves is not a cut."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors
from orlop.cli.main import run
from orlop.store.rows.sqlite import unopened
from orlop.store.rows.sqlite.damage import log as wal
from orlop.store.rows.sqlite.damage.gate import journal_fault, log_fault
from orlop.store.rows.sqlite.damage.log import Log, read_log, read_witness
from orlop.store.rows.sqlite.open import connect
from orlop.streams.directory import Directory, Entry
from tests.invariants import HELD, broken
from tests.unit.damage import copied

if TYPE_CHECKING:
    from orlop.store.rows.sqlite.damage.log import Witness

LEAVE = """
import os, sys, orlop
images = orlop.open(sys.argv[1])
for archive in sys.argv[2:]:
    images.load(archive)
images.tag(str(images.images()[0].references[0]), "another:name")
os._exit(0)
"""


@pytest.fixture(scope="module")
def left(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a killed process leaves it: with a log of several transactions, and the index of it."""
    root = tmp_path_factory.mktemp("left") / "root"
    archives = [data / "dockerd-29-overlay2" / "multi.tar", data / "dockerd-20.10-overlay2" / "parent-child.tar"]
    subprocess.run([sys.executable, "-c", LEAVE, root, *archives], check=True, timeout=60)
    assert (root / "metadata.db-wal").stat().st_size > 1 << 16
    return root


@pytest.fixture
def root(left: Path, tmp_path: Path) -> Path:
    return copied(left, tmp_path / "root")


def names(root: Path) -> list[str]:
    with orlop.open(root) as images:
        return sorted(str(name) for image in images.images() for name in image.references)


def flipped(root: Path, at: int, bit: int = 4) -> None:
    path = root / "metadata.db-wal"
    content = bytearray(path.read_bytes())
    content[at] ^= bit
    path.write_bytes(content)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".reserve"
    }


def log_of(root: Path) -> tuple[Log, Witness]:
    log, witness = read_log(str(root / "metadata.db")), read_witness(str(root / "metadata.db"))
    assert log is not None
    assert witness is not None
    return log, witness


def test_what_a_killed_process_leaves_is_whole(root):
    log, witness = log_of(root)
    assert len(log) >= log.valid >= log.committed == witness.frames > 0
    assert log.salts == witness.salts
    assert log_fault(str(root / "metadata.db")) is None
    assert "docker.io/library/another:name" in names(root)
    assert not (root / "metadata.db-wal").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", ["page number", "size", "salt", "checksum", "content", "header", "its first byte"])
@pytest.mark.parametrize("index", [True, False])
def test_every_command_refuses_a_cut_log_and_leaves_all_as_it_was(root, part, index):
    log, _ = log_of(root)
    frame = log.committed // 2
    start = 32 + (frame - 1) * (24 + log.page)
    places = {"page number": 3, "size": 7, "salt": 9, "checksum": 17, "content": 1000}
    flipped(root, start + places[part] if part in places else {"header": 17, "its first byte": 0}[part])
    if not index:
        (root / "metadata.db-shm").unlink()
    before = files(root)
    for act in (lambda images: images.images(), lambda images: images.gc()):
        with pytest.raises(errors.DatabaseDamaged, match="fsck --repair"), orlop.open(root) as images:
            act(images)
    assert files(root) == before


@pytest.mark.parametrize("size", [0, 20, 32, 5000])
def test_a_log_that_is_short_or_gone_is_known_by_the_index(root, size):
    os.truncate(root / "metadata.db-wal", size)
    with pytest.raises(errors.DatabaseDamaged, match="log"):
        names(root)
    (root / "metadata.db-wal").unlink()
    with pytest.raises(errors.DatabaseDamaged, match="missing"):
        names(root)


def test_damage_of_the_last_transaction_is_known_by_the_index_alone(root):
    log, witness = log_of(root)
    flipped(root, 32 + (log.committed - 1) * (24 + log.page) + 500)
    damaged, _ = log_of(root)
    assert damaged.lost(witness) == log.committed
    # Without it, that is what a loss of power in the last commit leaves.
    assert damaged.lost(None) == 0


@pytest.mark.sampled(3)
def test_each_byte_that_is_flipped_before_the_last_transactions_is_known_without_the_index(root):
    log, _ = log_of(root)
    commits = [frame for frame in range(1, log.committed + 1) if log.commits(frame)]
    assert len(commits) >= 3
    end = 32 + commits[-2] * (24 + log.page)
    # What SQLite does not read it does not miss: a count of checkpoints, and half of a size that is not a power of two.
    for at in range(0, end, 1009):
        content = bytearray(log.data)
        content[at] ^= 1 << at % 8
        damaged = Log(bytes(content))
        assert damaged.lost(None) == commits[-1], at


def test_sums_are_those_of_sqlite(root):
    log, _ = log_of(root)
    before = log.stored(0)
    assert before == log.sums((0, 0), log.data[:24])
    for frame in range(1, log.committed + 1):
        before = log.computed(frame, before)
        assert before == log.stored(frame)
        assert log.follows(frame)


class TestWhatIsNoCut:
    @pytest.fixture
    def database(self, tmp_path):
        path = tmp_path / "some.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, content)")
            yield path, connection

    @staticmethod
    def kept(path: Path) -> str:
        """Copy the files as a crash would leave them."""
        target = path.with_name("left.db")
        for suffix in ("", "-wal", "-shm"):
            shutil.copyfile(f"{path}{suffix}", f"{target}{suffix}")
        return str(target)

    @staticmethod
    def add(connection: sqlite3.Connection, rows: int) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t (content) VALUES (?)", [(b"x" * 3000,)] * rows)
        connection.execute("COMMIT")

    def test_a_transaction_that_was_undone(self, database):
        path, connection = database
        connection.execute("PRAGMA cache_size=5")
        self.add(connection, 3)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t (content) VALUES (?)", [(b"x" * 3000,)] * 40)
        connection.execute("ROLLBACK")
        log = read_log(self.kept(path))
        assert log is not None
        assert len(log) > log.committed + 10
        assert log_fault(self.kept(path)) is None
        self.add(connection, 1)
        log = read_log(self.kept(path))
        assert log is not None
        assert len(log) > log.valid
        assert any(log.is_ours(frame) for frame in range(log.valid + 1, len(log) + 1))
        assert log_fault(self.kept(path)) is None

    def test_a_log_that_was_begun_again(self, database):
        path, connection = database
        for _ in range(5):
            self.add(connection, 4)
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        self.add(connection, 1)
        log = read_log(self.kept(path))
        assert log is not None
        assert len(log) > log.valid > 0
        assert log_fault(self.kept(path)) is None
        assert log.lost(None) == 0

    def test_several_commits_that_failed_and_that_shorter_ones_wrote_over(self, database):
        path, connection = database
        self.add(connection, 1)
        stale = {}
        for rows in (9, 5):
            # As if the sync had failed: the frames stay, and the next commit begins where they began.
            copy = self.kept(path)
            with closing(sqlite3.connect(copy, isolation_level=None)) as other:
                self.add(other, rows)
                stale[rows] = Path(f"{copy}-wal").read_bytes()
        self.add(connection, 1)
        good = Path(f"{path}-wal").read_bytes()
        assert len(good) < len(stale[5]) < len(stale[9])
        mixed = good + stale[5][len(good) :] + stale[9][len(stale[5]) :]
        log = Log(mixed)
        assert log.valid == len(Log(good))
        assert sum(1 for frame in range(log.valid + 1, len(log) + 1) if log.commits(frame)) == 2
        assert log.lost(None) == 0

    def test_a_last_commit_that_was_not_wholly_synced(self, database):
        path, connection = database
        for _ in range(3):
            self.add(connection, 4)
        copy = self.kept(path)
        log = read_log(copy)
        assert log is not None
        before = max(frame for frame in range(1, log.committed) if log.commits(frame))
        Path(f"{copy}-shm").unlink()
        for frame in range(before + 1, log.committed + 1):
            content = bytearray(log.data)
            start = 32 + (frame - 1) * (24 + log.page)
            content[start + 512 : start + 1024] = bytes(512)
            Path(f"{copy}-wal").write_bytes(content)
            assert log_fault(copy) is None

    def test_one_that_somebody_works_with_is_not_read(self, database, monkeypatch):
        path, connection = database
        self.add(connection, 4)
        # The same process, whose locks reading and closing the file would end.
        monkeypatch.setattr(wal, "read_file", lambda *given: pytest.fail(f"read {given}"))
        assert log_fault(str(path)) is None
        script = "import sys\nfrom orlop.store.rows.sqlite.damage.gate import log_fault, is_open\n"
        script += "assert is_open(sys.argv[1])\nassert log_fault(sys.argv[1]) is None"
        subprocess.run([sys.executable, "-c", script, path], check=True, timeout=60)

    def test_a_journal_that_its_writer_removes_while_the_database_is_opened(self, database, monkeypatch):
        path, _ = database
        monkeypatch.setattr(Entry, "is_file", lambda entry: entry.name.endswith("-journal"))
        with closing(connect(Directory(str(path.parent)).at(path.name))) as connection:
            assert connection.execute("PRAGMA user_version").fetchone()

    def test_an_index_that_the_last_user_removes_while_it_is_looked_at(self, database, monkeypatch):
        path, connection = database
        self.add(connection, 4)
        copy = self.kept(path)

        def removed(state: os.stat_result) -> bool:
            index = Path(f"{copy}-shm")
            assert index.stat() == state
            index.unlink()
            return False

        monkeypatch.setattr(unopened, "_is_open_here", removed)
        assert not unopened.is_open(copy)

    def test_an_index_that_an_exclusive_process_left_beside_no_log(self, database):
        path, connection = database
        self.add(connection, 4)
        copy = self.kept(path)
        with closing(sqlite3.connect(copy, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
            assert other.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        shutil.copyfile(f"{path}-shm", f"{copy}-shm")
        assert log_fault(copy) is None


class TestAJournal:
    @pytest.fixture
    def path(self, tmp_path):
        """A database that is not in WAL mode, and what a process left that was killed as it changed it."""
        path = str(tmp_path / "moved.db")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE t (content)")
            connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 3000,)] * 20)
            connection.execute("PRAGMA cache_size=2")
            connection.execute("BEGIN")
            connection.execute("UPDATE t SET content = ?", (b"y" * 3000,))
            for suffix in ("", "-journal"):
                shutil.copyfile(f"{path}{suffix}", f"{path}.left{suffix}")
            connection.execute("ROLLBACK")
        return f"{path}.left"

    @staticmethod
    def last(content: bytes) -> int:
        """Where the first record after the last header begins that counts any."""
        starts = range(0, len(content), 512)
        magic = content[:8]
        return [at for at in starts if content[at : at + 8] == magic and any(content[at + 8 : at + 12])][-1] + 512

    def test_a_hot_one_is_whole_or_said_to_be_damaged(self, path):
        journal = Path(f"{path}-journal")
        content = journal.read_bytes()
        assert struct.unpack_from(">I", content, 8)[0] > 0
        assert journal_fault(path) is None
        for at in (3, 512 + 4 + 96, self.last(content) + 4 + 96):
            damaged = bytearray(content)
            damaged[at] ^= 1
            journal.write_bytes(damaged)
            assert journal_fault(path) is not None, at
        journal.write_bytes(content[:2000])
        assert journal_fault(path) is not None

    @pytest.mark.parametrize("content", [b"", bytes(512)])
    def test_one_that_is_not_hot_is_no_concern(self, path, content):
        Path(f"{path}-journal").write_bytes(content)
        assert journal_fault(path) is None
        Path(f"{path}-journal").unlink()
        assert journal_fault(path) is None


def test_a_cut_log_of_a_store_that_cannot_be_written_is_refused_too(root, monkeypatch):
    flipped(root, 32 + 10 * 4120 + 500)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: mode != os.W_OK and real(path, mode, **more))
    with pytest.raises(errors.DatabaseDamaged, match="damaged at frame 11"):
        names(root)


def test_an_open_database_is_known_without_proc_where_very_many_descriptors_are_allowed(tmp_path, monkeypatch):
    """A container or a chroot may lack `/proc`, and allow a billion descriptors."""
    tried: list[int] = []
    stat_of = os.fstat

    def counted(descriptor):
        tried.append(descriptor)
        return stat_of(descriptor)

    def absent(path):
        raise FileNotFoundError(path)

    path = str(tmp_path / "metadata.db")
    index = tmp_path / "metadata.db-shm"
    index.write_bytes(bytes(512))
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", absent)
        patch.setattr(os, "fstat", counted)
        patch.setattr(os, "sysconf", lambda _: 1 << 20)
        assert not unopened.is_open(path)
        assert len(tried) < 100_000
        with index.open("rb") as file:
            held = os.dup2(file.fileno(), 900)
        try:
            assert unopened.is_open(path)
        finally:
            os.close(held)


def test_a_repair_puts_a_log_aside_that_another_program_wrote_for_another_database(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for place, archive in ((root, "dockerd-29-overlay2/multi.tar"), (other, "dockerd-20.10-overlay2/tiny.tar")):
        with orlop.open(place) as images:
            images.load(data / archive)
    before = names(root)
    with closing(sqlite3.connect(other / "metadata.db", isolation_level=None)) as database:
        database.execute("PRAGMA wal_autocheckpoint=0")
        database.execute("INSERT INTO lease VALUES ('x', '*')")
        shutil.copy(other / "metadata.db-wal", root / "metadata.db-wal")
    # Nothing in it says whose it is.
    assert log_fault(str(root / "metadata.db")) is None
    with pytest.raises(errors.DatabaseDamaged):
        names(root)
    assert run(["--root", str(root), "fsck", "--repair"]) == 8
    assert "sound without its log" in capsys.readouterr().out
    assert names(root) == before
    assert [line for line in broken(root) if HELD not in line] == []
    kept = [path.name for path in (root / "quarantine").iterdir()]
    assert any(name.startswith("metadata.db-wal.") for name in kept)


SPOILING = """
import os, sqlite3, sys, orlop
images = orlop.open(sys.argv[1])
images.load(sys.argv[2])
database = sqlite3.connect(os.path.join(sys.argv[1], "metadata.db"), isolation_level=None)
database.execute("PRAGMA writable_schema=ON")
database.execute("UPDATE sqlite_schema SET rootpage = 99999 WHERE name = ?", sys.argv[3:])
os._exit(0)
"""


@pytest.mark.parametrize("name", ["image_chain", "event"])
def test_a_repair_keeps_a_log_of_which_more_can_be_read_than_of_the_database_alone(
    name: str, data: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
    before = names(root)
    archive = data / "dockerd-29-overlay2" / "multi.tar"
    subprocess.run([sys.executable, "-c", SPOILING, root, archive, name], check=True, timeout=60)
    assert (root / "metadata.db-wal").stat().st_size > 1 << 15
    assert run(["--root", str(root), "fsck", "--repair"]) == 8
    with orlop.open(tmp_path / "sound") as images:
        images.load(data / "dockerd-20.10-overlay2" / "tiny.tar")
        images.load(archive)
    assert names(root) == names(tmp_path / "sound") != before
    assert [line for line in broken(root) if HELD not in line and "/leases/" not in line] == []


def test_a_repair_tells_whether_a_part_of_a_log_was_taken(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, _ = log_of(root)
    flipped(root, 32 + (log.committed - 1) * (24 + log.page) + 1000)
    assert run(["--root", str(root), "fsck", "--repair"]) == 8
    assert "what is whole of it was taken" in capsys.readouterr().out
