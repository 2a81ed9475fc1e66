"""Where a store was opened: whether its directory and its database are still the ones that have their names.

Another program may move a store while it is open. Its files are then still there for whoever holds them, and a write
would end in a place that nobody looks into any more.

Whoever opens a database takes the one that was written last, whose log is whole. How SQLite is kept inside of the store
meanwhile, `orlop.store.rows.sqlite.open` says.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext, suppress

from orlop.errors import StoreMoved
from orlop.store.rows.sqlite.damage.gate import opening
from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.open import PATIENCE, SLICE, connect, patiently, wait_by_itself
from orlop.store.rows.sqlite.shape import reading_schema
from orlop.store.rows.sqlite.unopened import close_all
from orlop.streams.files import explaining

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from orlop.store.rows.sqlite.last_write import LastWrite
    from orlop.streams.directory import Directory, Entry
    from orlop.streams.file_lock import FileLock


class Place:
    """The place of a store.

    Args:
        root: its directory.
        file: its database.
    """

    def __init__(self, root: Directory, file: Entry) -> None:
        self._root = root
        self._file = file
        self._database: tuple[int, int] | None = None

    def forget(self) -> None:
        """Take whatever has the database's name for it the next time."""
        self._database = None

    def require(self) -> None:
        """Raise `StoreMoved` where the directory is another one now, or the database, once it is known."""
        self.require_root()
        if self._database is not None:
            self.require_database()

    @contextmanager
    def locked(self, lock: FileLock, *, rests: bool) -> Iterator[None]:
        """Hold the lock of the writers; where this thread ``rests``, a fork may close its connection meanwhile.

        Raises `StoreMoved` as `require`, and where the lock's file is gone.
        """
        try:
            with explaining("lock", self._root.path):
                with suppress(FileNotFoundError), BLOCKS.rest() if rests else nullcontext():
                    lock.acquire()
                if not lock.is_current():
                    raise self.moved()
                self.require()
            yield
        finally:
            try:
                lock.release()
            except BaseException:
                # A signal may have interrupted it before it did anything.
                lock.release()
                raise

    def require_database(self) -> None:
        """Raise `StoreMoved` where the database is not there, or another one; note which one it is."""
        self.require_root()
        state = self._file.state()
        found = None if state is None else (state.st_dev, state.st_ino)
        self._database = self._database or found
        if found is None or found != self._database:
            raise self.moved()

    def require_root(self) -> None:
        """Raise `StoreMoved` where something else has the path of the directory."""
        try:
            state = os.stat(self._root.path)
        except (FileNotFoundError, NotADirectoryError):
            raise self.moved() from None
        if not os.path.samestat(state, self._root.state()):
            raise self.moved()

    def moved(self) -> StoreMoved:
        """Return the error that says so."""
        return StoreMoved(
            f"the store at {self._root.path} was moved or removed while it was open; open it where it is now"
        )


def connect_newest(file: Entry, last_write: LastWrite, *, timeout: float = PATIENCE) -> sqlite3.Connection:
    """Open a database that was written last, whose log is whole, and which has its name still, to be read and written.

    A repair may put a new file in the place of one that is being opened, and that waits for its lock.

    Args:
        file: the database.
        last_write: the number of its last write, which is read before it is opened.
        timeout: how many seconds to wait for others who have it locked.

    Raises:
        DatabaseDamaged: its log is cut or another's, its schema cannot be read, or it is an earlier one. As `connect`
        does.
    """
    while True:
        with explaining("open", file.path), file.kept() as before:
            try:
                connection = _connect_last(file, last_write, timeout)
            except Exception:
                # What lies beside a database that was replaced is of the new one, so SQLite may say anything of it.
                if _is_named(file, before):
                    raise
                continue
            try:
                if _is_named(file, before):
                    return connection
            except BaseException:
                close_all([connection], file.path, keeps_log=True)
                raise
            connection.close()


def _is_named(file: Entry, before: int) -> bool:
    """Return whether what had the database's name, if anything had, has it still."""
    after = file.state()
    return before < 0 or after is None or os.path.samestat(os.fstat(before), after)


def _connect_last(file: Entry, last_write: LastWrite, timeout: float) -> sqlite3.Connection:
    noted = last_write.read()
    connection = _connected(file, timeout)
    try:
        last_write.require(connection, noted)
    except BaseException:
        close_all([connection], file.path, keeps_log=True)
        raise
    return connection


def _connected(file: Entry, timeout: float) -> sqlite3.Connection:
    with opening(file.path), reading_schema(file.path):
        connection = connect(file, timeout=min(timeout, SLICE))
        try:
            patiently(lambda: connection.execute("SELECT count(*) FROM sqlite_schema").fetchone(), timeout)
            wait_by_itself(connection, timeout)
            # What a large write may have to undo would else lie in a file outside of the store.
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        except BaseException:
            close_all([connection], file.path, keeps_log=True)
            raise
        return connection
