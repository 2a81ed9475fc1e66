"""A damaged database put right: its log, its indexes and triggers, or else a new one made of its rows.

The steps, each of which is whole or undone, so that a repair that was killed can be run again:

1. A log that is cut is made whole and takes the name of the old one; one of another database, or of another moment,
   goes where the database is worth more without it. Nobody may have the database open meanwhile: it is
   locked as SQLite locks it, and is not opened before the log is whole. A whole log goes, too, where the database is
   damaged with it and sound without it, unless what can be read of both (`salvage`) is worth more.
2. Triggers, views and indexes that are not of this version go, those of this version are made again, in one
   transaction. It is undone where anything is still wrong with a row then: an index may know what the table has lost.
3. A new database is made beside the old one from what can be read (`salvage`). The old one's log is
   carried into it, so that it is one file, and goes; then the new one takes its name, in one step.

What was there before is copied into the quarantine first: a disk that is full leaves everything as it was.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import DatabaseDamaged, NoSpace, PermissionDenied, ReadOnlyStore, StorageError, StoreInUse
from orlop.store.rows.file import RowRepair
from orlop.store.rows.metadata import EVERYTHING, LOST_ROWS, RowProblem
from orlop.store.rows.sqlite.damage.check import KEYS, integrity_faults, row_problems
from orlop.store.rows.sqlite.damage.gate import journal_fault, log_fault
from orlop.store.rows.sqlite.damage.log import is_own, read_log, read_witness
from orlop.store.rows.sqlite.damage.working import connected, opened
from orlop.store.rows.sqlite.errors import explaining_sqlite
from orlop.store.rows.sqlite.last_write import noted_beside
from orlop.store.rows.sqlite.lineage import number_of
from orlop.store.rows.sqlite.unopened import BESIDE, DATABASE_HEADER, DATABASE_MAGIC, is_open
from orlop.streams.directory import mark_of
from orlop.streams.files import CHUNK, explaining, fsync_directory, has_name
from orlop.streams.interruption import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.store.rows.file import Aside
    from orlop.store.rows.metadata import Metadata
    from orlop.store.rows.sqlite.damage.log import Log
    from orlop.store.rows.sqlite.damage.mender import SQLiteMender
    from orlop.store.rows.sqlite.damage.salvage import Loss
    from orlop.streams.directory import Entry

_LOCKED: Final = 0x40000000
_LENGTH: Final = 512
_NEW: Final = "metadata.db.repair.part"
_COPY: Final = "metadata.db.salvage.part"
_MOST: Final = 400
"""How many logs are tried: a wrong bit may be one of several hundred."""


# A command that is refused ends soon; one that stays, as a server does, has to be ended.
_ATTEMPTS: Final = 40
_PAUSE: Final = 0.05
_WORST: Final = 1 << 20


class _NotEnough(Exception):
    """Something is wrong with rows, so that indexes are not all that is damaged."""


class DatabaseRepair:
    """The repair of one database.

    Args:
        metadata: the database; it can be written, and none of its connections is in use.
        mender: returns its mender, inside a write.
        file: where it lies.
        mode: of its files.
        aside: where the old files are kept.
        replacing: called with the old one's number before a database without one takes its place, see `last_write`.
        done: called with each repair.
        lost: called with each thing that could not be brought back.

    Raises:
        StoreInUse: another process, or another part of this one, has the database open. NoSpace, StorageError: it
        cannot be written; everything is as it was.
    """

    def __init__(
        self,
        metadata: Metadata,
        mender: Callable[[], SQLiteMender],
        file: Entry,
        mode: int,
        aside: Aside,
        *,
        replacing: Callable[[int], object],
        done: Callable[[RowRepair], object],
        lost: Callable[[RowProblem], object],
    ) -> None:
        self._metadata = metadata
        self._mender = mender
        self._aside = aside
        self._replacing = replacing
        self._root = file.directory.path
        self._file = file
        self._path = file.path
        self._mode = mode
        self._done = done
        self._lost = lost

    def run(self) -> None:
        """Do it, as far as it is needed."""
        self._metadata.close()
        with explaining_sqlite(self._path), explaining("repair", self._path):
            is_sound, cut = self._mend_logs()
            if not is_sound and self._is_rid_of_log():
                is_sound = cut = True
            with self._file.kept() as judged:
                is_done = is_sound or self._put_in_order()
                is_another = not is_done and not self._is_salvaged(judged)
            if is_another:
                self.run()
            elif is_done and cut:
                self._hold()

    def _mend_logs(self) -> tuple[bool, bool]:
        """Mend the log and the journal, if need be; return whether all is sound then, and whether a part is lost."""
        while True:
            # These open the database's file themselves, which must not be done once it is locked.
            moment = self._moment()
            log, journal = log_fault(self._path), journal_fault(self._path)
            if not (log or journal):
                return False, False
            with self._alone() as database:
                # Another repair may have been faster, and whole is what others have written since.
                is_same = moment == self._moment()
                cut = is_same and self._mend_log(database, log, journal)
            if is_same:
                return self._is_sound(), cut

    def _moment(self) -> list[tuple[int, ...] | None]:
        """Return what changes when another log or journal is there, or something else in it."""
        states = [self._file.named(f"{self._file.name}{suffix}").state() for suffix in ("-wal", "-journal")]
        return [None if state is None else mark_of(state) for state in states]

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Keep everybody else from the database; return a descriptor of it, by which alone it may be read."""
        self._metadata.close()
        for _ in range(_ATTEMPTS):
            # Whoever waits for the write lock meanwhile has the database open: it is free between two attempts.
            with self._metadata.lock():
                descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if self._is_locked(descriptor):
                        yield descriptor
                        return
                finally:
                    os.close(descriptor)
            time.sleep(_PAUSE)
        msg = f"the store at {self._root} is open in another program; end that, and repair it then"
        raise StoreInUse(msg)

    def _is_locked(self, database: int) -> bool:
        """Lock the database as SQLite does, if nobody has it open; return whether that was so."""
        if is_open(self._path):
            return False
        try:
            fcntl.lockf(database, fcntl.LOCK_EX | fcntl.LOCK_NB, _LENGTH, _LOCKED)
        except (BlockingIOError, PermissionError):
            return False
        return True

    # The log.

    def _mend_log(self, database: int, fault: str | None, journal: str | None, *, best: bytes | None = None) -> bool:
        """Put the log in place with which the database is worth most, if that is not known; the old one is kept.

        Returns:
            whether a part of the log is lost by that, if it is the database's own.
        """
        cut = False
        aside = self._keep(database)
        if journal:
            with suppress(FileNotFoundError):
                os.unlink(f"{self._path}-journal")
        log = read_log(self._path)
        if log is not None and fault:
            best, cut = self._best_log(database, log) if best is None else (best, True)
            self._place(f"{self._path}-wal", best)
        # It says how long the old one was.
        with suppress(FileNotFoundError):
            os.unlink(f"{self._path}-shm")
        fsync_directory(self._root)
        taken = "that was put aside" if best == b"" else "what is whole of it was taken"
        message = f"{fault or journal}: {taken}, and the old files are kept as {', '.join(aside)}"
        self._done(RowRepair("log-cut", "metadata.db-wal", message))
        return cut

    def _is_rid_of_log(self) -> bool:
        """Put a whole log aside with which the database is damaged, and without which it is sound and worth more.

        One that another program wrote for another database has nothing in it by which that is known otherwise.
        """
        log = read_log(self._path)
        if log is None or not log.committed:
            return False
        with self._alone() as database:
            log = read_log(self._path)
            if log is None or not log.committed or self._wrong_with(database, log.data)[0] == 0:
                return False
            wrong, unmatched = self._wrong_with(database, b"")
            if wrong != 0 or self._left_by_salvage(database) <= (unmatched, 0):
                return False
            self._mend_log(database, "the database is sound without its log, and damaged with it", None, best=b"")
        return True

    def _left_by_salvage(self, database: int) -> tuple[int, int]:
        """Return how many blobs what can be read of the database and its log does not match, and what is lost of it."""
        with self._salvaged(database) as (new, losses):
            return self._unmatched(new), len(losses)

    def _best_log(self, database: int, log: Log) -> tuple[bytes, bool]:
        """Return the log with which the database is worth most, and whether a part of its own log is lost by that."""
        from orlop.store.rows.sqlite.damage.cut import mended_logs  # noqa: PLC0415 - few repairs mend a log

        witness = read_witness(self._path)
        header, noted = os.pread(database, DATABASE_HEADER, 0), noted_beside(self._path)
        if log.lost(witness) == 0 and not is_own(header, log, witness, noted):
            # Rows of another database, or moment, may be sound too: what they name tells, and by itself the file.
            best = min((b"", log.data), key=lambda one: self._wrong_with(database, one))
            return (best if self._names_what_is_there(database, best) else b""), False
        page = int.from_bytes(os.pread(database, 2, 16), "big")
        best, least = b"", (-1, 0)
        longest = 32 + log.lost(witness) * (24 + log.page)
        for number, mended in enumerate(mended_logs(log, witness, page if page > 1 else 1 << 16)):
            longest = max(longest, len(mended))
            if number >= _MOST and mended:
                continue
            wrong = self._wrong_with(database, mended)
            if least[0] < 0 or wrong[0] < least[0]:
                best, least = mended, wrong
            if wrong[0] == 0:
                break
        return best, len(best) < longest

    def _wrong_with(self, database: int, log: bytes) -> tuple[int, int]:
        """Return how much is wrong with the database together with a log, and then with the blobs that it names."""
        with self._copied(database, log) as copy:
            return _count_of(copy), self._unmatched(copy)

    @contextmanager
    def _copied(self, database: int, log: bytes) -> Iterator[str]:
        """Yield a copy of the database, beside a log."""
        copy = self._beside(_COPY)
        try:
            self._copy(database, copy)
            _write(f"{copy}-wal", log, self._mode)
            yield copy
        finally:
            self._remove(copy)

    def _names_what_is_there(self, database: int, log: bytes) -> bool:
        """Return whether most blobs that the database names with a log are there: another store has others."""
        with self._copied(database, log) as copy:
            named = _named(copy)
        return named is None or 2 * len(named & self._kept()) >= len(named)

    def _unmatched(self, path: str) -> int:
        """Return how many blobs a database alone names, and how many the store alone has."""
        named = _named(path)
        return _WORST if named is None else len(named ^ self._kept())

    def _kept(self) -> set[str]:
        """Return the digests of all blobs, by the names of their files."""
        blobs = os.path.join(self._root, "blobs")
        folders = [name for name in os.listdir(blobs) if os.path.isdir(os.path.join(blobs, name))]
        return {f"{folder}:{name}" for folder in folders for name in os.listdir(os.path.join(blobs, folder))}

    def _hold(self) -> None:
        """Hold everything: what is lost of a log may have named content that no other row names."""
        with self._metadata.write() as rows:
            rows.put_lease(LOST_ROWS, [EVERYTHING])

    # Indexes and triggers.

    def _put_in_order(self) -> bool:
        """Put everything right that is not rows, and return whether nothing is wrong then."""
        done: list[RowRepair] = []
        try:
            with self._metadata.write():
                mender = self._mender()
                done = [RowRepair("schema", name, message) for name, message in mender.put_shape_right()]
                _require(not mender.has_damaged_rows())
        except (_NotEnough, StorageError, sqlite3.Error, UnicodeDecodeError) as error:
            if isinstance(error, (NoSpace, PermissionDenied, ReadOnlyStore)):
                raise
            return False
        for repair in done:
            self._done(repair)
        return True

    def _is_sound(self) -> bool:
        return _count_of(self._path) == 0

    # Rows.

    def _is_salvaged(self, judged: int) -> bool:
        """Make a new database of what can be read; return False where another one has the name than was judged."""
        with self._alone() as database:
            # Another repair may have been faster.
            is_same = judged >= 0 and has_name(judged, self._file)
            if is_same:
                self._salvage(database)
        return is_same

    def _salvage(self, database: int) -> None:
        """Make a new database of what can be read, and put it in the place of the old one."""
        with self._salvaged(database) as (new, losses):
            if _is_empty(new):
                # In a store without rows every blob is garbage.
                msg = f"nothing can be read of {self._path}; restore it from a backup"
                raise DatabaseDamaged(msg)
            with opened(new) as file:
                os.fchmod(file.fileno(), self._mode)
                os.fsync(file.fileno())
            aside = self._keep(database)
            self._fold_into(database)
            os.fsync(database)
            for suffix in ("-wal", "-shm", "-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._path}{suffix}")
            fsync_directory(self._root)
            header = os.pread(database, DATABASE_HEADER, 0)
            self._replacing(number_of(header) if header.startswith(DATABASE_MAGIC) else 0)
            os.rename(new, self._path)
            fsync_directory(self._root)
        message = f"a new database was made of what could be read; the old one is kept as {', '.join(aside)}"
        self._done(RowRepair("database", "metadata.db", message))
        for loss in losses:
            self._lost(RowProblem("lost", loss.subject, loss.message, harmless=True))

    @contextmanager
    def _salvaged(self, database: int) -> Iterator[tuple[str, list[Loss]]]:
        """Yield a new database of what can be read of the database and its log, and what is lost of them."""
        from orlop.store.rows.sqlite.damage.salvage import salvage  # noqa: PLC0415 - few databases are so damaged

        new, copy = self._beside(_NEW), self._beside(_COPY)
        try:
            self._copy(database, copy)
            self._fold(copy)
            yield new, salvage(copy, new)
        finally:
            self._remove(copy)
            self._remove(new)

    def _fold(self, path: str) -> None:
        """Carry the log of the database into a copy of it."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._fold_into(descriptor)
        finally:
            os.close(descriptor)

    def _fold_into(self, descriptor: int) -> None:
        log = read_log(self._path)
        if log is None or log.committed == 0:
            return
        for frame in range(1, log.committed + 1):
            os.pwrite(descriptor, log.content(frame), (log.number(frame) - 1) * log.page)
        os.ftruncate(descriptor, log.commits(log.committed) * log.page)

    # Files.

    def _keep(self, database: int) -> list[str]:
        """Put copies of the database and of what belongs to it into the quarantine."""
        kept = [self._aside.keep(self._file, database)]
        beside = [self._file.named(f"{self._file.name}{suffix}") for suffix in BESIDE]
        # Whoever had it open a moment ago may have left an empty log, of which there is nothing to keep.
        kept += [self._aside.keep(file) for file in beside if (state := file.state()) and state.st_size]
        self._aside.sync()
        return kept

    def _beside(self, name: str) -> str:
        path = os.path.join(self._root, name)
        self._remove(path)
        return path

    @staticmethod
    def _remove(path: str) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.unlink(f"{path}{suffix}")

    def _copy(self, database: int, target: str) -> None:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._mode)
        with open(descriptor, "wb") as file:
            at = 0
            while chunk := os.pread(database, CHUNK, at):
                file.write(chunk)
                at += len(chunk)

    def _place(self, path: str, content: bytes) -> None:
        """Replace the content of a file, in one step."""
        part = f"{path}.part"
        with suppress(FileNotFoundError):
            os.unlink(part)
        _write(part, content, os.stat(path).st_mode & 0o777)
        with opened(part) as file:
            os.fsync(file.fileno())
        os.rename(part, path)


def _require(enough: bool) -> None:  # noqa: FBT001 - it is what is required
    if not enough:
        raise _NotEnough


def _write(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(content)


def _is_empty(path: str) -> bool:
    """Return whether a database has no row of any content."""
    with closing(connected(path)) as connection:
        tables = " UNION ALL ".join(f"SELECT 1 FROM {table}" for table in KEYS)  # noqa: S608 - constants
        return connection.execute(f"{tables} LIMIT 1").fetchone() is None


def _named(path: str) -> set[str] | None:
    """Return the digests of the blobs that a database names, or nothing where it cannot be read."""
    with suppress(OSError, sqlite3.Error, UnicodeDecodeError), closing(connected(path)) as connection:
        return {digest for (digest,) in connection.execute("SELECT digest FROM blob")}
    return None


def _count_of(path: str) -> int:
    """Return how much is wrong with a database; one that cannot be read is worse than any other."""
    worst = _WORST
    try:
        with closing(connected(path)) as connection, interruptible(connection):
            found = row_problems(lambda: nullcontext(connection), verify=True)
            problems = [one for one in found if not one.harmless]
            if any(one.kind == "database" and one.subject == "metadata.db" for one in problems):
                return worst // 2 + len(integrity_faults(connection)) + len(problems)
            return len(problems)
    except (sqlite3.Error, UnicodeDecodeError):
        return worst
