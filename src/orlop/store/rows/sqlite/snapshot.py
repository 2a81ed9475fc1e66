"""All rows of one moment, as a database of their own: what a copy of a store begins with."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from orlop.errors import DatabaseDamaged, StorageError, StoreInUse
from orlop.store.rows.file import FileSnapshot
from orlop.store.rows.metadata import LOST_ROWS
from orlop.store.rows.snapshot import SavedRows
from orlop.store.rows.sqlite.doubts import look_through
from orlop.store.rows.sqlite.errors import explaining_sqlite
from orlop.store.rows.sqlite.lineage import set_number, succeed
from orlop.store.rows.sqlite.open import PATIENCE, connect, copy_pages, end_log, make, patiently, wait_by_itself
from orlop.store.rows.sqlite.schema import version_of
from orlop.store.rows.sqlite.tables import LOST_IMAGES, LOST_TOPS, UNNEEDED_BLOB, UNREACHED, itself
from orlop.store.rows.values import blob_row, damaged, diff_row
from orlop.streams.files import explaining
from orlop.streams.interruption import interruptible

if TYPE_CHECKING:
    from orlop.streams.directory import Entry

__all__ = ["SQLiteSnapshot", "claim", "finish_rows", "give_page_size", "take_rows"]

# What only an operation at work needs is not a part of a copy: it ends, and nobody would clean up in the copy.
_TRIM = (
    # What a repair has held is held in the copy, too.
    f"DELETE FROM lease WHERE lease <> '{LOST_ROWS}'",  # noqa: S608 - a constant
    # A name that has lost its image, or its manifest, may lead to any of them.
    f"""WITH RECURSIVE needed (id) AS (
        SELECT chain FROM image WHERE chain IS NOT NULL
        UNION SELECT chain.parent FROM chain JOIN needed ON chain.id = needed.id WHERE chain.parent IS NOT NULL)
    DELETE FROM chain WHERE id NOT IN needed AND NOT EXISTS (SELECT 1 FROM lease) AND NOT {LOST_IMAGES}""",  # noqa: S608 - constants
    f"""DELETE FROM diff WHERE id NOT IN (SELECT diff FROM chain) AND NOT EXISTS (SELECT 1 FROM lease)
        AND NOT {LOST_IMAGES}""",  # noqa: S608 - constants
    f"DELETE FROM manifest WHERE digest IN ({UNREACHED}) AND NOT {LOST_TOPS}",  # noqa: S608 - constants
    f"DELETE FROM blob WHERE {UNNEEDED_BLOB} AND NOT {LOST_TOPS} AND NOT {LOST_IMAGES}",  # noqa: S608 - constants
)


def claim(connection: sqlite3.Connection, root: str, *, seconds: float) -> None:
    """Take a database for one connection alone, and end its log; a signal ends the wait for others.

    Raises StoreInUse where others have it open for longer than so many seconds.
    """

    def take() -> None:
        # SQLite ends the log only if it has the database for itself.
        end_log(connection)
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")

    wait_by_itself(connection)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    try:
        patiently(take, seconds)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise StoreInUse(f"the store at {root} is open in another program; end that first") from error


class SQLiteSnapshot(FileSnapshot):
    """The rows of the moment at which it was made. It lasts as long as the connection.

    Args:
        connection: one of its own.
        path: of the database, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        connection.execute("BEGIN")
        # Only the first look fixes what a transaction sees.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()

    def write(self, file: Entry, *, mode: int) -> None:
        """Write all rows to a new database, page by page, see `FileSnapshot.write`."""
        with explaining("write", file.path):
            make(file, mode)
        try:
            with explaining_sqlite(file.path), closing(connect(file)) as copy:
                copy_pages(self._connection, copy)
                set_number(copy, 0)
                # As yet without a log: what fails when a log is brought to its end, as it is closed, SQLite does not
                # say.
                end_log(copy)
        except DatabaseDamaged as error:
            self.require_sound()
            raise _misread(file) from error

    def require_sound(self) -> None:
        """Raise `DatabaseDamaged` where anything is wrong with the rows, see `Snapshot.require_sound`."""
        with explaining_sqlite(self._path), interruptible(self._connection):
            version_of(self._connection, self._path)
            look_through(lambda: nullcontext(self._connection), self._path).require_none()

    def needs(self) -> SavedRows:
        """Return what the rows need."""
        return _needs(self._connection)


def give_page_size(copy: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Bring a copy of rows to the size of pages of the database that is to take them: SQLite copies no others."""
    wait_by_itself(target, PATIENCE)
    (size,), (wanted,) = (one.execute("PRAGMA page_size").fetchone() for one in (copy, target))
    if size != wanted:
        end_log(copy)
        copy.execute(f"PRAGMA page_size={wanted:d}")
        with interruptible(copy):
            copy.execute("VACUUM")


def take_rows(copy: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Replace the rows of a database by those of a copy, as those that were written last."""
    succeed(copy, target)
    copy_pages(copy, target)


def finish_rows(file: Entry, source: str) -> SavedRows:
    """Make the rows that a snapshot wrote those of a copy, see `RowsFile.finish`.

    Args:
        file: where the rows were written.
        source: the database that they were copied from, for messages.
    """
    try:
        before, after, found = _finished(file, source)
    except DatabaseDamaged as error:
        with explaining_sqlite(file.path), closing(connect(file)) as copy, interruptible(copy):
            is_sound = not look_through(lambda: nullcontext(copy), source)
        # What a device could not read for a moment is right when it is looked at again.
        if is_sound:
            raise _misread(file) from error
        raise
    if after != before:
        raise damaged(source, "a copy of its rows does not hold all of them")
    return found


def _misread(file: Entry) -> StorageError:
    return StorageError(f"cannot read {file.path} as it was written; check the device, and run this again")


def _finished(file: Entry, source: str) -> tuple[list[int], list[int], SavedRows]:
    """Trim a copy of rows, and return what it held before, and holds then, and what it needs."""
    with explaining_sqlite(file.path), closing(connect(file)) as copy, interruptible(copy):
        copy.execute("PRAGMA synchronous=FULL")
        copy.execute("PRAGMA foreign_keys=ON")
        look_through(lambda: nullcontext(copy), source).require_none()
        before = _counted(copy)
        copy.execute("BEGIN IMMEDIATE")
        for statement in _TRIM:
            copy.execute(statement)
        copy.execute("COMMIT")
        look_through(lambda: nullcontext(copy), source, verify=False).require_none()
        after = _counted(copy)
        copy.execute("PRAGMA journal_mode=WAL")
        return before, after, _needs(copy)


def _counted(connection: sqlite3.Connection) -> list[int]:
    """Count what a copy must hold, in the tables themselves."""
    tables = ("image", "image_metadata", "image_labels", "reference", "image_manifest", "top", "event")
    return [int(connection.execute(f"SELECT total(1) FROM {itself(table)}").fetchone()[0]) for table in tables]  # noqa: S608 - constants


def _needs(connection: sqlite3.Connection) -> SavedRows:
    images = int(connection.execute("SELECT count(*) FROM image").fetchone()[0])
    blobs = [blob_row(row) for row in connection.execute("SELECT * FROM blob ORDER BY digest")]
    diffs = [diff_row(row) for row in connection.execute("SELECT * FROM diff ORDER BY id")]
    (lost_some,) = connection.execute("SELECT EXISTS (SELECT 1 FROM lease WHERE lease = ?)", (LOST_ROWS,)).fetchone()
    return SavedRows(images, blobs, diffs, bool(lost_some))
