"""The rows in SQLite: reads and writes, and what SQLite's errors mean.

A block is a read or a write; one inside another one of the same thread joins it. Readers never wait, as the database is
in WAL mode. A commit is durable (``synchronous=FULL``) before it returns. A write ends in one of three ways, and each
runs its own actions of `WritableRows`. It is committed, or undone, with the last action first; or it is unsure: the
commit failed, but a crash could bring its bytes in the log back. Then an empty commit is written over it, and where
that fails too, only actions run that do no harm if the rows come back.

Before anything is read, the tables must be those of the version. Whose connection it is read by, and which lock writers
take, `connections` says.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress

from orlop.errors import DatabaseDamaged, NoSpace, StoreDamaged
from orlop.model.logger import Logger
from orlop.store.rows.actions import require_owner, run_all
from orlop.store.rows.metadata import Metadata
from orlop.store.rows.sqlite.connections import Connections, connect_newest
from orlop.store.rows.sqlite.damage.gate import journal_fault, log_fault
from orlop.store.rows.sqlite.doubts import look_through, moment_of
from orlop.store.rows.sqlite.errors import explaining_sqlite, is_undone
from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.last_write import fault_in
from orlop.store.rows.sqlite.open import beside, connect, patiently
from orlop.store.rows.sqlite.rows import SQLiteRows
from orlop.store.rows.sqlite.schema import migrate, version_of
from orlop.store.rows.values import damaged
from orlop.streams.files import explaining
from orlop.streams.interruption import interruptible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orlop.errors import StorageError
    from orlop.store.rows.file import Aside, FileSnapshot, RowRepair
    from orlop.store.rows.metadata import RowProblem, Rows, WritableRows
    from orlop.store.rows.snapshot import SavedRows
    from orlop.store.rows.sqlite.damage.mender import SQLiteMender
    from orlop.store.rows.sqlite.doubts import Doubts
    from orlop.store.rows.sqlite.sound import Soundness
    from orlop.streams.directory import Entry

_log = Logger(__name__)
_WAIT_FOR_OTHERS = 2


class SQLiteMetadata(Connections, Metadata):
    """The rows of the store at ``root``, in ``metadata.db``. Safe to share between threads and across a fork.

    Args:
        root: the store's directory.
        refusal: makes the error that a write raises. With one, nothing is ever written there, nor beside the database.
        modes: who may use the database.
        schema: the shape of the rows; an older database is brought to it as soon as it is used.
        wary: refuse a damaged database: true for all but the search for damage, which changes nothing before a write.
        beginning: called before an empty database becomes that of a store, and raises where it had rows.
    """

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

    def refusal(self) -> StorageError | None:
        """Return the error that every write raises, if any does."""
        return None if self._refusal is None else self._refusal()

    def keep_reserve(self) -> None:
        """Keep the space that a removal needs, see `Reserve.keep`."""
        self._reserve.keep()

    def give_up_reserve(self) -> bool:
        """Release that space for a removal, see `Reserve.give_up`."""
        return self._reserve.give_up()

    def require_sound(self, *, but: Iterable[str] = ()) -> None:
        """Look through all rows before something is done because of all of them, see `Metadata.require_sound`."""
        with self._reading() as connection:
            known: Doubts = self._local.doubts
            is_current = known.moment == moment_of(connection)
        (known if is_current else look_through(self._reading, self._path)).require_none(but=but)

    def log_fault(self) -> str | None:
        """Return what is wrong with the log, or with the journal, beside the database, as a clause, or nothing."""
        with explaining("read", self._path):
            return log_fault(self._path) or journal_fault(self._path)

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
