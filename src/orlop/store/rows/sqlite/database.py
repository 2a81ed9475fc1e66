"""The rows in SQLite: connections, the write lock, schema versions and what SQLite's errors mean.

One connection belongs to one thread of one process, and is kept. A block is a read or a write; one inside another one
of the same thread joins it. Readers never wait, as the database is in WAL mode. Writers wait on ``write.lock``
(``flock``), which covers files as well as rows, since SQLite's own waiting is unfair. A commit is durable
(``synchronous=FULL``) before it returns. A write ends in one of three ways, and each runs its own actions of
`WritableRows`. It is committed, or undone, with the last action first; or it is unsure: the commit failed, but a crash
could bring its bytes in the log back. Then an empty commit is written over it, and where that fails too, only actions
run that do no harm if the rows come back.

Before anything is read, the log is judged by its bytes (`damage.gate`) and the tables must be those of the version.

SQLite must not be carried over a fork, see `forks`; a child abandons what it inherited of that.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress

from orlop.errors import DatabaseDamaged, NoSpace, StoreClosed, StoreDamaged
from orlop.model.logger import Logger
from orlop.store.rows.actions import require_owner, run_all
from orlop.store.rows.metadata import Metadata
from orlop.store.rows.sqlite.damage.gate import journal_fault, log_fault, require_whole_log
from orlop.store.rows.sqlite.doubts import NO_DOUBTS, first_look, look_through, moment_of
from orlop.store.rows.sqlite.errors import explaining_sqlite, is_undone
from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.last_write import LastWrite, fault_in
from orlop.store.rows.sqlite.open import beside, connect, connect_reading, make, patiently, wait_by_itself
from orlop.store.rows.sqlite.place import Place, connect_newest
from orlop.store.rows.sqlite.private_copy import CurrentCopy
from orlop.store.rows.sqlite.reserve import Reserve
from orlop.store.rows.sqlite.rows import SQLiteRows
from orlop.store.rows.sqlite.schema import CURRENT, lay_out, migrate, of_schema, version_of
from orlop.store.rows.sqlite.shape import moment_of_shape, reading_schema, require_shape
from orlop.store.rows.sqlite.sound import Soundness
from orlop.store.rows.sqlite.unopened import close_all, is_open_here
from orlop.store.rows.values import damaged
from orlop.streams.file_lock import FileLock
from orlop.streams.files import PRIVATE, explaining
from orlop.streams.interruption import interruptible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from threading import Thread

    from orlop.errors import StorageError
    from orlop.store.rows.file import Aside, FileSnapshot, RowRepair
    from orlop.store.rows.metadata import RowProblem, Rows, WritableRows
    from orlop.store.rows.snapshot import SavedRows
    from orlop.store.rows.sqlite.damage.mender import SQLiteMender
    from orlop.store.rows.sqlite.doubts import Doubts
    from orlop.store.rows.sqlite.schema import Schema
    from orlop.streams.directory import Directory, Entry
    from orlop.streams.files import Modes

_log = Logger(__name__)
_WAIT_FOR_OTHERS = 2
# A forked child must not close what it inherited: SQLite would end locks and logs that its parent still uses.
_abandoned: list[sqlite3.Connection] = []


class SQLiteMetadata(Metadata):
    """The rows of the store at ``root``, in ``metadata.db``. Safe to share between threads and across a fork.

    Args:
        root: the store's directory.
        refusal: makes the error that a write raises. With one, nothing is ever written there, nor beside the database.
        modes: who may use the database.
        schema: the shape of the rows; an older database is brought to it as soon as it is used.
        wary: refuse a damaged database: true for all but the search for damage, which changes nothing before a write.
        beginning: called before an empty database becomes that of a store, and raises where it had rows.
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

    def facts(self) -> Mapping[str, str]:
        """Return what kind of database this is."""
        version = str(self._schema.version)
        return {"kind": "sqlite", "sqlite": sqlite3.sqlite_version, "schema": version, "path": self._path}

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """Return a consistent view, see `Metadata.read`."""
        if (outer := self._outer()) is not None:
            yield outer
            return
        try:
            with BLOCKS.block():
                yield from self._read()
        finally:
            self._leave()

    def _read(self) -> Iterator[Rows]:
        try:
            with explaining_sqlite(self._path):
                connection, own = self._connection(), False
        except NoSpace as full:
            # Where there is no room for the file that SQLite's processes share, nobody writes either.
            try:
                with explaining_sqlite(self._path):
                    connection, own = self._connect_reading(), True
            except DatabaseDamaged:
                raise
            except StoreDamaged:
                # A store that could not be laid out holds nothing because the disk is full.
                raise full from None
        rows = SQLiteRows(connection, doubts=self._local.doubts)
        try:
            with explaining_sqlite(self._path), interruptible(connection):
                connection.execute("BEGIN")
                patiently(lambda: self._require_shape(connection))
                self._local.rows = rows
                yield rows
        finally:
            self._local.rows = None
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if own:
                connection.close()

    def in_block(self) -> bool:
        """Return whether this thread is inside a block, see `Metadata.in_block`."""
        return self._outer() is not None

    @contextmanager
    def write(self) -> Iterator[WritableRows]:
        """Return rows that may be changed, see `Metadata.write`."""
        if (outer := self._outer()) is not None:
            if not outer.writable:
                msg = "a write cannot begin inside a read of the same thread"
                raise RuntimeError(msg)
            yield outer
            return
        if self._refusal is not None:
            raise self._refusal()
        try:
            with BLOCKS.block():
                yield from self._write()
        finally:
            self._leave()

    def _write(self) -> Iterator[WritableRows]:
        self._updates = True
        with explaining_sqlite(self._path):
            self._connection()
        committing, durable, owner = False, False, os.getpid()
        try:
            with self.lock(rests=True), explaining_sqlite(self._path):
                # A fork may have closed it.
                connection = self._connection()
                sound: Soundness = self._local.sound
                rows = SQLiteRows(connection, writable=True, doubts=self._local.doubts, has_lost=sound.has_lost)
                try:
                    patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
                    # Another process may be of a newer orlop.
                    version_of(connection, self._path, self._schema)
                    self._require_shape(connection)
                    self._last_write.begin(connection)
                    sound.begin()
                    self._local.rows = rows
                    before = connection.total_changes
                    yield rows
                    require_owner(owner, self._root.path)
                    if rows.gone is not None:
                        sound.require_unneeded(rows.gone)
                    for action in rows.preparations:
                        action()
                    if connection.total_changes != before:
                        from orlop.store.rows.sqlite.lineage import advance  # noqa: PLC0415 - most commands only read

                        advance(connection)
                    committing = True
                    connection.execute("COMMIT")
                    durable = True
                    if connection.total_changes != before:
                        self._last_write.note(connection)
                    sound.committed()
                except BaseException as error:
                    # A signal may interrupt just as COMMIT returns: then only the connection knows that it is done.
                    durable |= committing and not isinstance(error, sqlite3.Error) and not connection.in_transaction
                    # In a forked child the transaction, and what its end does to files, are the parent's.
                    if not durable and os.getpid() == owner:
                        with suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                        sure = not committing or is_undone(connection, error)
                        run_all(action for action, if_sure in reversed(rows.rollback_actions) if sure or not if_sure)
                    raise
                finally:
                    self._local.rows = None
        finally:
            if durable:
                run_all(rows.commit_actions)
        sound.look()

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

    def refusal(self) -> StorageError | None:
        """Return the error that every write raises, if any does."""
        return None if self._refusal is None else self._refusal()

    def keep_reserve(self) -> None:
        """Keep the space that a removal needs, see `Reserve.keep`."""
        self._reserve.keep()

    def give_up_reserve(self) -> bool:
        """Release that space for a removal, see `Reserve.give_up`."""
        return self._reserve.give_up()

    def _leave(self) -> None:
        if self._has_ended:
            with BLOCKS.block():
                self.close_idle(BLOCKS.others())

    def _outer(self) -> SQLiteRows | None:
        self._after_fork()
        return getattr(self._local, "rows", None)

    def _after_fork(self) -> None:
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

    def require_sound(self, *, but: Iterable[str] = ()) -> None:
        """Look through all rows before something is done because of all of them, see `Metadata.require_sound`."""
        with self._reading() as connection:
            known: Doubts = self._local.doubts
            is_current = known.moment == moment_of(connection)
        (known if is_current else look_through(self._reading, self._path)).require_none(but=but)

    def _require_shape(self, connection: sqlite3.Connection) -> None:
        """Check, whenever it may have changed, that the shape is known, and has the tables and triggers of it alone."""
        moment = (connection, moment_of_shape(connection))
        if getattr(self._local, "shape", None) != moment:
            version_of(connection, self._path, self._schema)
            if self._wary:
                require_shape(connection, self._path)
            self._local.shape = moment

    def log_fault(self) -> str | None:
        """Return what is wrong with the log, or with the journal, beside the database, as a clause, or nothing."""
        with explaining("read", self._path):
            return log_fault(self._path) or journal_fault(self._path)

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

    def problems(self, *, verify: bool) -> list[RowProblem]:
        """Look through all rows for what is wrong, see `Metadata.problems`."""
        from orlop.store.rows.sqlite.damage.check import earlier, row_problems  # noqa: PLC0415 - few commands do that

        noted = self._last_write.read()
        with self._reading() as connection:
            fault = fault_in(connection, noted)
        return [*([earlier(fault)] if fault else []), *row_problems(self._reading, verify=verify)]

    def take_as_last(self) -> None:
        """Take the rows that are there for what was written last, see `RowsFile.take_as_last`."""
        with self.write():
            self._last_write.begin_anew(self._local.rows.connection)

    def mender(self) -> SQLiteMender:
        """Return what only a repair asks and does, inside a read or a write of this thread."""
        from orlop.store.rows.sqlite.damage.mender import SQLiteMender  # noqa: PLC0415 - few commands repair

        return SQLiteMender(self._local.rows.connection)

    def repair(
        self, aside: Aside, *, done: Callable[[RowRepair], object], lost: Callable[[RowProblem], object]
    ) -> None:
        """Put a damaged database right, see `RowsFile.repair`."""
        from orlop.store.rows.sqlite.damage.rebuild import DatabaseRepair  # noqa: PLC0415 - most databases are whole

        old, mode = self._last_write.replace, self._modes.file
        with BLOCKS.block():
            DatabaseRepair(self, self.mender, self._file, mode, aside, replacing=old, done=done, lost=lost).run()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self.read(), explaining_sqlite(self._path):
            yield self._local.rows.connection

    @contextmanager
    def snapshot(self) -> Iterator[FileSnapshot]:
        """Return, for a block, all rows as they are now, see `Metadata.snapshot`."""
        from orlop.store.rows.sqlite.snapshot import SQLiteSnapshot  # noqa: PLC0415 - few processes copy a store

        self.require_open()
        with BLOCKS.block(), explaining_sqlite(self._path):
            connection = self._connect_newest() if self._refusal is None else self._connect_reading()
            try:
                yield SQLiteSnapshot(connection, self._path)
            finally:
                connection.close()

    def finish(self, file: Entry) -> SavedRows:
        """Make rows that a snapshot wrote those of a copy, see `RowsFile.finish`."""
        from orlop.store.rows.sqlite.snapshot import finish_rows  # noqa: PLC0415 - as above

        with BLOCKS.block():
            return finish_rows(file, self._path)

    def beside(self, file: Entry) -> Sequence[Entry]:
        """Return the names that SQLite uses beside a database: its journal, its log, its shared memory."""
        return beside(file)

    def damaged(self, what: str) -> DatabaseDamaged:
        """Make the error for rows that are found damaged, see `RowsFile.damaged`."""
        return damaged(self._path, what)

    def replace(self, file: Entry) -> None:
        """Replace all rows by those of another database. Atomic, durable."""
        if self._refusal is not None:
            raise self._refusal()
        from orlop.store.rows.sqlite.snapshot import give_page_size, take_rows  # noqa: PLC0415 - only for backups

        try:
            with BLOCKS.block(), explaining_sqlite(self._path), closing(connect(file)) as source:
                connection = self._connection()
                give_page_size(source, connection)
                with self.lock():
                    take_rows(source, connection)
                    self._last_write.note(connection)
        finally:
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[FileSnapshot]:
        """Return all rows for a block in which nobody else has the database open, see `RowsFile.alone`."""
        from orlop.store.rows.sqlite.snapshot import SQLiteSnapshot, claim  # noqa: PLC0415 - few processes move a store

        if self._refusal is not None:
            raise self._refusal()
        self.close()
        with self.lock(), explaining_sqlite(self._path):
            connection = connect_newest(self._file, self._last_write, timeout=_WAIT_FOR_OTHERS)
            try:
                claim(connection, self._root.path, seconds=_WAIT_FOR_OTHERS)
                yield SQLiteSnapshot(connection, self._path)
            finally:
                connection.close()

    def update(self) -> tuple[int, str | None]:
        """Bring an older database to this orlop's schema, see `Metadata.update`."""
        if self._refusal is not None:
            raise self._refusal()
        with BLOCKS.block(), explaining_sqlite(self._path), closing(self._connect_newest()) as connection, self.lock():
            version = version_of(connection, self._path, self._schema)
            kept = migrate(connection, self._file, self._schema)
            self._last_write.note(connection)
            return version, kept

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
