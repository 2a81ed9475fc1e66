"""The connections of a process to the database of a store, and the lock of its writers.

One connection belongs to one thread of one process, and is kept; what a thread that has ended has left, the next one
that opens another closes. Whoever opens one first judges the log by its bytes (`damage.gate`) and brings an older
database up to date. Writers wait on ``write.lock`` (``flock``), which covers files as well as rows, since SQLite's own
waiting is unfair.

Another program may move a store while it is open. Its files are then still there for whoever holds them, and a write
would end in a place that nobody looks into any more. So `Place` is asked whether the directory and the database are
still the ones that have their names. Whoever opens a database takes the one that was written last, whose log is whole.
How SQLite is kept inside of the store meanwhile, `orlop.store.rows.sqlite.open` says.

SQLite must not be carried over a fork, see `forks`; a child abandons what it inherited of that.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, nullcontext, suppress

from orlop.errors import StoreClosed, StoreMoved
from orlop.model.logger import Logger
from orlop.store.rows.sqlite.damage.gate import opening, require_whole_log
from orlop.store.rows.sqlite.doubts import NO_DOUBTS, first_look
from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.last_write import LastWrite
from orlop.store.rows.sqlite.open import PATIENCE, SLICE, connect, connect_reading, make, patiently, wait_by_itself
from orlop.store.rows.sqlite.private_copy import CurrentCopy
from orlop.store.rows.sqlite.reserve import Reserve
from orlop.store.rows.sqlite.schema import CURRENT, lay_out, migrate, of_schema, version_of
from orlop.store.rows.sqlite.shape import moment_of_shape, reading_schema, require_shape
from orlop.store.rows.sqlite.sound import Soundness
from orlop.store.rows.sqlite.unopened import close_all, is_open_here
from orlop.streams.file_lock import FileLock
from orlop.streams.files import PRIVATE, explaining
from orlop.streams.forked import notice_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from threading import Thread

    from orlop.errors import StorageError
    from orlop.store.rows.sqlite.rows import SQLiteRows
    from orlop.store.rows.sqlite.schema import Schema
    from orlop.streams.directory import Directory, Entry
    from orlop.streams.files import Modes

_log = Logger(__name__)
# A forked child must not close what it inherited: SQLite would end locks and logs that its parent still uses.
_abandoned: list[sqlite3.Connection] = []


class Connections:
    """The connections to the database ``metadata.db`` of the store at ``root``, by the threads that use them.

    The arguments are those of `SQLiteMetadata`.
    """

    def __init__(
        self,
        root: Directory,
        *,
        refusal: Callable[[], StorageError] | None = None,
        modes: Modes = PRIVATE,
        schema: Schema = CURRENT,
        wary: bool = True,
        beginning: Callable[[], object] = bool,
    ) -> None:
        self._wary = self._updates = wary
        self._root, self._beginning = root, beginning
        self._file = root.at("metadata.db")
        self._path = self._file.path
        self._refusal = refusal
        self._modes, self._schema = modes, schema
        self._place = Place(root, self._file)
        self._last_write = LastWrite(root, self._file, wary=wary)
        self._local = threading.local()
        self._guard = threading.RLock()  # a handler of a signal may fork
        self._connections: dict[Thread, sqlite3.Connection] = {}
        self._pid = os.getpid()
        self._copy = CurrentCopy(root)
        self._reserve = Reserve(root, modes)
        self._has_ended = False
        self._writer: Thread | None = None
        BLOCKS.add(self)

    def close(self) -> None:
        """Close the connections of all threads; their owners must not be inside a block."""
        self._after_fork()
        with BLOCKS.block(), self._guard:
            self._close([*self._connections.values()])
            self._connections, self._local = {}, threading.local()
            self._place.forget()
            self._copy.drop()

    def end(self) -> None:
        """Close everything for good; what is in a block in another thread ends with that block. Idempotent."""
        self._after_fork()
        self._has_ended = True
        self._leave()
        self._copy.drop()

    def require_open(self) -> None:
        """Raise `StoreClosed` after `end`."""
        if self._has_ended:
            raise StoreClosed(f"the store at {self._root.path} was closed; open it again")

    def _leave(self) -> None:
        if self._has_ended:
            with BLOCKS.block():
                self.close_idle(BLOCKS.others())

    def in_block(self) -> bool:
        """Return whether this thread is inside a block, see `Metadata.in_block`."""
        return self._outer() is not None

    def _outer(self) -> SQLiteRows | None:
        self._after_fork()
        return getattr(self._local, "rows", None)

    def _after_fork(self) -> None:
        notice_fork()
        if self._pid != os.getpid():
            _abandoned.extend(self._connections.values())
            self._connections, self._local = {}, threading.local()
            self._guard, self._writer = threading.RLock(), None
            self._copy.forget()
            self._pid = os.getpid()

    def close_idle(self, busy: set[int]) -> None:
        """Close the connections that are in no block, before a fork."""
        if self._pid == os.getpid():
            with self._guard:
                self._close([self._connections.pop(one) for one in [*self._connections] if one.ident not in busy])

    def is_open(self) -> bool:
        """Return whether this process has the database open, see `Forking`."""
        return is_open_here(self._path)

    def _close(self, going: Sequence[sqlite3.Connection]) -> None:
        # A search for damage may have opened one that is not the one that was written last.
        close_all(going, self._path, keeps_log=not self._wary and any(map(self._last_write.is_ahead_of, going[:1])))

    def _connection(self) -> sqlite3.Connection:
        self.require_open()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if threading.current_thread() not in self._connections:
            connection = None  # a fork has closed it
        elif connection is not None and connection.in_transaction and self._outer() is None:
            connection.rollback()  # a signal has interrupted the end of a block
        if connection is not None and self._local.stamp not in {None, self._stamp()}:
            connection.close()
            self._local.connection = connection = None
        if connection is None:
            self._local.stamp = None if self._refusal is None else self._copy.moment()
            connection = self._connect_reading() if self._refusal is not None else self._connect()
            self._local.connection = connection
            with self._guard:
                # What ended threads opened nobody else would close.
                for thread in [thread for thread in self._connections if not thread.is_alive()]:
                    if (left := self._connections.pop(thread, None)) is not None:
                        left.close()
                self._connections[threading.current_thread()] = connection
        return connection

    def _stamp(self) -> tuple[int, ...] | None:
        """Return what changes when rows that were read from a copy are out of date; nothing where none may be read."""
        return None if self._updates and self._refusal is None else self._copy.moment()

    def _require_shape(self, connection: sqlite3.Connection) -> None:
        """Check, whenever it may have changed, that the shape is known, and has the tables and triggers of it alone."""
        moment = (connection, moment_of_shape(connection))
        if getattr(self._local, "shape", None) != moment:
            version_of(connection, self._path, self._schema)
            if self._wary:
                require_shape(connection, self._path)
            self._local.shape = moment

    def _connect(self) -> sqlite3.Connection:
        if self._file.state() is None:
            # Another process may be faster; what cannot be made, SQLite explains.
            with suppress(OSError):
                # For those alone who may use it: SQLite would let everybody read it at first.
                make(self._file, self._modes.file)
        connection = self._connect_newest()
        try:
            version = version_of(connection, self._path, self._schema)
            if not self._updates and version not in {0, self._schema.version}:
                copy = of_schema(connection, self._file, self._schema)
                self._close([connection])
                self._local.doubts, self._local.stamp = NO_DOUBTS, self._copy.moment()
                return copy
            if version != self._schema.version:
                self._update(connection)
            self._place.require_database()
            self._local.doubts = first_look(connection, self._path) if self._wary else NO_DOUBTS
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # Who moves a store, and some tools that copy databases, end the log.
                with self.lock():
                    connection.execute("PRAGMA journal_mode=WAL")
            self._local.sound = Soundness(connection, self._path)
            wait_by_itself(connection)
        except BaseException:
            close_all([connection], self._path, keeps_log=True)
            raise
        return connection

    @contextmanager
    def lock(self, *, rests: bool = False) -> Iterator[None]:
        """Keep every other writer waiting, see `Metadata.lock`; opening the database may take the lock again."""
        self.require_open()
        self._after_fork()
        if self._writer is threading.current_thread():
            yield
            return
        BLOCKS.require_whole(self._root.path)
        lock = FileLock(self._root.at("write.lock"), mode=self._modes.file)
        with self._place.locked(lock, rests=rests), BLOCKS.block(writing=True):
            self._writer = threading.current_thread()
            try:
                yield
            finally:
                # Whichever thread ends a block that was left open, and before the next writer is marked.
                self._writer = None

    def _update(self, connection: sqlite3.Connection) -> None:
        """Lay out an empty database, or bring an older one up to date."""
        with self.lock():
            if version_of(connection, self._path, self._schema) != 0:
                self._last_write.begin(connection)
                kept = migrate(connection, self._file, self._schema)
                if kept is not None:
                    _log.warning("the store at %s has a newer schema now; its old rows are %s", self._root.path, kept)
            else:
                self._beginning()
                # SQLite gives what it makes beside a database the mode that this has at that moment.
                with explaining("write", self._path), suppress(PermissionError):
                    self._file.set_mode(self._modes.file)
                self._last_write.begin_anew()
                lay_out(connection, self._path, self._schema)
            self._last_write.note(connection)

    def _connect_newest(self) -> sqlite3.Connection:
        return connect_newest(self._file, self._last_write)

    def _connect_reading(self) -> sqlite3.Connection:
        noted = self._last_write.read()
        require_whole_log(self._path)
        connection = connect(self._copy.file()) if self._copy.is_needed() else connect_reading(self._file)
        try:
            self._place.require_root()
            with reading_schema(self._path):
                self._last_write.require(connection, noted)
                found = of_schema(connection, self._file, self._schema)
                if found is not connection:
                    connection.close()
                    connection = found
            self._local.doubts = first_look(connection, self._path) if self._wary else NO_DOUBTS
        except BaseException:
            connection.close()
            raise
        return connection


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
