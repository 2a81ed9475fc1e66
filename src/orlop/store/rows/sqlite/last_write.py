"""The number of a database's last write, outside of the database: in the file that writers lock.

Each write leaves a number in the database (`lineage`). An earlier copy of a database, or one whose log was removed, is
as sound as any other: nothing in it says that there were later writes, and to a collection everything that these
brought is garbage. So whoever has written notes the number here as well, after the commit is durable.

The note of a write is never synced and may be lost, or be older than the database: by a kill, a loss of power, or an
orlop that makes none. It is never newer, unless the database is an earlier one or another. So whoever opens a database
reads the note first, and then the number. Where a database takes the place of a later one on purpose, by a repair, the
note is made anew, and synced. Until a repair has come to that, whatever it writes in such a database before, the note
is one that no database has.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress

from orlop.store.rows.sqlite.unopened import read_file
from orlop.store.rows.values import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.streams.directory import Directory, Entry

_NAME: Final = "write.lock"
_LENGTH: Final = len("0123abcd\n")
_MASK: Final = (1 << 32) - 1
_COUNTS: Final = 1 << 16
_NO_DATABASE: Final = 1 << 31
"""Makes the name of a database in a number one that none has."""


class LastWrite:
    """The note beside a database.

    Args:
        root: the store's directory.
        database: the database in it.
        wary: open only the one that was written last.
    """

    def __init__(self, root: Directory, database: Entry, *, wary: bool = True) -> None:
        self._file = root.at(_NAME)
        self._database = database
        self._wary = wary

    def read(self) -> int | None:
        """Return the number that was noted last, or nothing where none is known."""
        with suppress(OSError, ValueError):
            descriptor = self._file.open()
            try:
                # What is being written may be read half old and half new.
                noted, again = (os.pread(descriptor, _LENGTH, 0) for _ in range(2))
            finally:
                os.close(descriptor)
            return noted_in(noted) if noted == again else None
        return None

    def require(self, connection: sqlite3.Connection, noted: int | None) -> None:
        """Raise `DatabaseDamaged` where the database is not the one that was written last."""
        fault = fault_in(connection, noted) if self._wary else None
        if fault is not None:
            raise damaged(self._database.path, fault)

    def is_ahead_of(self, connection: sqlite3.Connection) -> bool:
        """Return whether a database is not the one that was written last, or cannot be read."""
        try:
            return fault_in(connection, self.read()) is not None
        except sqlite3.Error:
            return True

    def begin(self, connection: sqlite3.Connection) -> None:
        """Keep it known, before a write, that the database is not the one that was written last; with the write lock.

        A repair writes more than once before it is done, and an older database is brought up to date before that.
        """
        noted = None if self._wary else self.read()
        if noted is not None and not noted & _NO_DATABASE and fault_in(connection, noted) is not None:
            self._write(b"%08x\n" % (noted | _NO_DATABASE), durable=True)

    def note(self, connection: sqlite3.Connection) -> None:
        """Note the number of a write that is durable, unless `begin` has found the database; with the write lock."""
        if not self._wary and (self.read() or 0) & _NO_DATABASE:
            return
        # The write is done, whatever happens here.
        with suppress(sqlite3.Error):
            self._write(b"%08x\n" % (_number(connection) & _MASK))

    def replace(self, number: int) -> None:
        """Note, durably, that a database without a number takes the place of one of a ``number``; with the write lock.

        Where that was not the one that was written last, neither is the new one.
        """
        noted = self.read()
        if noted is not None and number and fault_of(number, noted) is not None:
            self._write(b"%08x\n" % (noted | _NO_DATABASE), durable=True)
        else:
            self.begin_anew()

    def begin_anew(self, connection: sqlite3.Connection | None = None) -> None:
        """Note the number of an earlier or another database, durably, or that none is known; with the write lock."""
        if connection is None and self.read() is None:
            return
        content = b"%8s\n" % b"" if connection is None else b"%08x\n" % (_number(connection) & _MASK)
        self._write(content, durable=True)

    def _write(self, content: bytes, *, durable: bool = False) -> None:
        # Without a note less is noticed, and nothing is wrong.
        with suppress(OSError):
            descriptor = self._file.open(os.O_WRONLY)
            try:
                os.pwrite(descriptor, content, 0)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _number(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("PRAGMA application_id").fetchone()
    return int(number)


def noted_in(content: bytes) -> int | None:
    """Return the number that the beginning of the file notes, or nothing where it is none."""
    with suppress(ValueError):
        if len(content) == _LENGTH and content.endswith(b"\n"):
            # A database without a number gets one, and with it a name, by its first write.
            return int(content, 16) or None
    return None


def noted_beside(database: str) -> int | None:
    """Return the number that is noted beside the database at a path, or nothing where none is known. Raises OSError."""
    return noted_in(read_file(os.path.join(os.path.dirname(database), _NAME), _LENGTH) or b"")


def fault_in(connection: sqlite3.Connection, noted: int | None) -> str | None:
    """Return what is wrong with a database, by what was ``noted`` before it was opened, as a clause, or nothing."""
    if noted is None or not connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").fetchone()[0]:
        return None
    return fault_of(_number(connection), noted)


def fault_of(number: int, noted: int) -> str | None:
    """Return what is wrong with a database of a ``number``, by what was ``noted``, as a clause, or nothing."""
    if (number & _MASK) // _COUNTS != noted // _COUNTS:
        return "it is not the database that was written last in this store"
    # The counts begin again after the last one.
    missing = (noted - number) % _COUNTS
    if 0 < missing < _COUNTS // 2:
        return f"it is an earlier one, which lacks the last {missing} writes of this store"
    return None
