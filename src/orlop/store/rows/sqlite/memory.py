"""The rows in SQLite in memory: for tests, and for programs that keep nothing.

`MemoryRows` is one database of this process, and every `MemoryMetadata` an opening of it. One guard keeps all blocks of
all openings apart, reads too: there is no log beside which a reader could go on while somebody writes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreClosed
from orlop.store.rows.actions import require_owner, run_all
from orlop.store.rows.metadata import Metadata
from orlop.store.rows.sqlite.damage.check import row_problems
from orlop.store.rows.sqlite.doubts import look_through, moment_of
from orlop.store.rows.sqlite.errors import explaining_sqlite, require_sqlite
from orlop.store.rows.sqlite.forks import BLOCKS
from orlop.store.rows.sqlite.open import copy_pages
from orlop.store.rows.sqlite.rows import SQLiteRows
from orlop.store.rows.sqlite.schema import CURRENT, lay_out
from orlop.store.rows.sqlite.snapshot import SQLiteSnapshot
from orlop.store.rows.sqlite.sound import Soundness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.store.rows.metadata import RowProblem, Rows, WritableRows
    from orlop.store.rows.snapshot import Snapshot
    from orlop.store.rows.sqlite.damage.mender import SQLiteMender

_NAME: Final = "the database in memory"


class MemoryRows:
    """One database in the memory of this process, as long as anybody refers to it."""

    def __init__(self) -> None:
        self._name = os.urandom(8).hex()
        self.guard = threading.RLock()
        # SQLite forgets a database in memory with its last connection.
        self._kept = self.connect()
        weakref.finalize(self, _close, self._kept)
        with BLOCKS.block(), explaining_sqlite(_NAME):
            lay_out(self._kept, _NAME)

    def connect(self) -> sqlite3.Connection:
        """Return one more connection to it."""
        require_sqlite()
        with BLOCKS.block(), explaining_sqlite(_NAME):
            # No thread waits in SQLite: whoever would have to, waits for the guard.
            uri = f"file:/orlop-{self._name}?vfs=memdb"
            connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA foreign_keys=ON")
            except BaseException:
                connection.close()
                raise
            return connection


def _close(connection: sqlite3.Connection) -> None:
    with BLOCKS.block():
        connection.close()


class MemoryMetadata(Metadata):
    """An opening of rows in memory. Safe to share between threads; a forked child cannot use it.

    Args:
        rows: the database; by default a new one, that nobody else opens.
    """

    def __init__(self, rows: MemoryRows | None = None) -> None:
        self._shared = MemoryRows() if rows is None else rows
        self._guard = self._shared.guard
        self._connection = self._shared.connect()
        weakref.finalize(self, _close, self._connection)
        with BLOCKS.block():
            self._sound = Soundness(self._connection, _NAME)
        self._looked_at: tuple[int, int] | None = None
        self._local = threading.local()
        self._pid = os.getpid()
        self._has_ended = False

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """Return a consistent view, see `Metadata.read`."""
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        with self._block(SQLiteRows(self._connection), "BEGIN") as rows:
            yield rows

    @contextmanager
    def write(self) -> Iterator[WritableRows]:
        """Return rows that may be changed, see `Metadata.write`."""
        outer = self._outer()
        if outer is not None:
            if not outer.writable:
                msg = "a write cannot begin inside a read of the same thread"
                raise RuntimeError(msg)
            yield outer
            return
        rows = SQLiteRows(self._connection, writable=True, has_lost=self._sound.has_lost)
        done = False
        try:
            with self._block(rows, "BEGIN IMMEDIATE"):
                try:
                    self._sound.begin()
                    yield rows
                    require_owner(self._pid, _NAME)
                    if rows.gone is not None:
                        self._sound.require_unneeded(rows.gone)
                    for action in rows.preparations:
                        action()
                    self._connection.execute("COMMIT")
                    done = True
                    self._sound.committed()
                except BaseException:
                    if not done and self._pid == os.getpid():
                        self._connection.execute("ROLLBACK")
                        run_all(action for action, _ in reversed(rows.rollback_actions))
                    raise
        finally:
            if done:
                run_all(rows.commit_actions)
        with self._guard, BLOCKS.block():
            self._sound.look()

    @contextmanager
    def _block(self, rows: SQLiteRows, begin: str) -> Iterator[SQLiteRows]:
        self.require_open()
        with self._guard, BLOCKS.block(), explaining_sqlite(_NAME):
            self._connection.execute(begin)
            self._local.rows = rows
            try:
                yield rows
            finally:
                self._local.rows = None
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")

    def _outer(self) -> SQLiteRows | None:
        return getattr(self._local, "rows", None)

    def in_block(self) -> bool:
        """Return whether this thread is inside a block."""
        return self._outer() is not None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other thread waiting, see `Metadata.lock`."""
        self.require_open()
        with self._guard:
            yield

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Return, for a block, all rows as they are now: a copy, so that nobody waits for its end."""
        self.require_open()
        with ExitStack() as stack:
            with self._guard, explaining_sqlite(_NAME):
                stack.enter_context(BLOCKS.block())
                copy = stack.enter_context(closing(sqlite3.connect(":memory:", isolation_level=None)))
                if self._connection.in_transaction:
                    msg = "a snapshot cannot begin inside a block of the same thread"
                    raise RuntimeError(msg)
                copy_pages(self._connection, copy)
            yield SQLiteSnapshot(copy, _NAME)

    def refusal(self) -> None:
        """Return nothing: memory can be written."""

    def require_sound(self, *, but: Iterable[str] = ()) -> None:
        """Look through all rows, see `Metadata.require_sound`."""
        with self._reading() as connection:
            moment = moment_of(connection)
            if moment != self._looked_at:
                doubts = look_through(self._reading, _NAME)
                doubts.require_none(but=but)
                self._looked_at = None if doubts else moment

    def problems(self, *, verify: bool) -> Sequence[RowProblem]:
        """Look through all rows for what is wrong, see `Metadata.problems`."""
        return list(row_problems(self._reading, verify=verify))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self.read():
            yield self._connection

    def mender(self) -> SQLiteMender:
        """Return what only a repair asks and does, inside a read or a write of this thread."""
        from orlop.store.rows.sqlite.damage.mender import SQLiteMender  # noqa: PLC0415 - few programs repair memory

        return SQLiteMender(self._connection)

    def update(self) -> tuple[int, None]:
        """Return the schema of this orlop: no older one lasts in memory."""
        return CURRENT.version, None

    def keep_reserve(self) -> None:
        """Do nothing: there is no disk to be full."""

    def give_up_reserve(self) -> bool:
        """Return False: there is no reserve."""
        return False

    def close(self) -> None:
        """Do nothing: what is in memory stays until `end`."""

    def end(self) -> None:
        """Close this opening for good; what is in a block in another thread ends first. Idempotent."""
        self._has_ended = True
        if self._pid == os.getpid():
            with self._guard:
                _close(self._connection)

    def require_open(self) -> None:
        """Raise `StoreClosed` after `end`, and in a child that was forked from the process that has the rows."""
        if self._has_ended:
            raise StoreClosed(f"{_NAME} was closed; open a store again")
        if self._pid != os.getpid():
            raise StoreClosed(f"{_NAME} stays with the process that made it; make another one in this process")

    def facts(self) -> Mapping[str, str]:
        """Return what kind of database this is."""
        schema = str(CURRENT.version)
        return {"kind": "sqlite", "sqlite": sqlite3.sqlite_version, "schema": schema, "path": ":memory:"}
