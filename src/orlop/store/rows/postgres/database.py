"""The rows in PostgreSQL.

A read is one transaction that sees the rows of its first moment. A write takes the store's one lock, which ends with
its transaction, so that writers are one after another as in a directory; its statements see what was committed before.
A write of a process that has a session takes that session's row as well: once others have declared the session dead,
nothing it writes commits. Locks are taken in this order: the store's, the session's, then rows. As everyone else waits
meanwhile, a write waits for the server as rarely as it can, see `sending`.

Nothing outlives a transaction that anybody relies on: no setting, no prepared statement, no lock. A server that hears
nothing of a client inside a transaction ends it after a while, which frees its locks.

A write waits for the disk of the server after it has let the lock go: its commit does not wait, and what follows it in
the same message does. So writers share a sync of the server's log, and nobody is told of success before it. Others may
see the rows a moment earlier; what they commit because of them is behind them in the log.

Where the answer to a commit is lost, the server is asked whether the transaction was committed, see `commits`.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from psycopg import sql

from orlop.errors import DatabaseUnavailable, OrlopError, OutcomeUnknown, PermissionDenied, ReadOnlyStore, StorageError
from orlop.store.rows.actions import require_owner, run_all
from orlop.store.rows.metadata import Metadata
from orlop.store.rows.postgres.commits import DURABLE, LAST, Commit
from orlop.store.rows.postgres.errors import (
    explain_postgres,
    explaining_postgres,
    is_gone,
    lease_lost,
    lost_before_commit,
)
from orlop.store.rows.postgres.pool import Pool
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.schema import LOCKS, TTL, WRITING, lay_out, require_known, require_laid, watch
from orlop.store.rows.postgres.sending import BOUND
from orlop.store.rows.postgres.tables import SCHEMA, SCHEMA_VERSION
from orlop.streams.forked import notice_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.store.rows.metadata import RowProblem, Rows, WritableRows
    from orlop.store.rows.postgres.mender import PostgresMender
    from orlop.store.rows.postgres.pool import Connection
    from orlop.store.rows.snapshot import Snapshot

_SILENCE: Final = "20s"
"""How long the server waits for a client inside a transaction before it ends that."""
_PATIENCE: Final = "120s"
"""How long a writer waits for the store's lock."""
_LOCAL: Final = f"SET LOCAL search_path TO {SCHEMA}; SET LOCAL idle_in_transaction_session_timeout = '{_SILENCE}'"
_HELD: Final = f"""SELECT set_config('tcp_keepalives_idle', '10s', true), set_config('tcp_keepalives_count', '3', true),
    set_config('tcp_keepalives_interval', '5s', true), set_config('tcp_user_timeout', '{_SILENCE}', true); {BOUND}"""
"""Ends what holds locks where its client has vanished, takes no answer, or stays silent within a message."""
READ: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_LOCAL}"
SHORT: Final = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LOCAL}; {DURABLE}; {_HELD}; SET LOCAL lock_timeout = '{_SILENCE}'"
)
"""Waits for the disk at its end: objects are deleted because of it, and a crash must not bring their rows back."""
_LOCK: Final = f"SET LOCAL lock_timeout = '{_PATIENCE}'; SELECT pg_advisory_xact_lock({LOCKS}, {WRITING})"
_ALONE: Final = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LOCAL}; SET LOCAL synchronous_commit = off;"
    f" {_LOCK}; SET LOCAL lock_timeout = '{_SILENCE}'; {_HELD}"
)
_WRITE: Final = f"{_ALONE}; SELECT ({LAST}), (SELECT version FROM {SCHEMA}.store)"  # noqa: S608 - constants
_ASK: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LOCAL}; {DURABLE}; {_LOCK}"
_ASKING: Final = 20.0
"""The seconds for which a server that is away is asked again what became of a commit: it may be starting."""
_AGAIN: Final = 0.5
_ALIVE: Final = "SELECT id FROM session WHERE id = ANY({}) AND NOT dead ORDER BY id FOR KEY SHARE"
"""Holds sessions until the transaction ends, and returns those that live."""
_COPY: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO {SCHEMA}"
_WHY_NOT: Final = f"""SELECT current_setting('transaction_read_only') = 'on',
    has_table_privilege('{SCHEMA}.image', 'INSERT') AND has_table_privilege('{SCHEMA}.image', 'DELETE')"""


class Fence(Protocol):
    """What transactions ask of the session of their process."""

    def pinned(self) -> AbstractContextManager[bool]:
        """Pin the epoch for a block, and return whether that was done: not where no session has begun."""

    def ready(self) -> None:
        """Begin the session unless it has begun, anew if it is dead. Raises errors of storage."""

    def lose(self, names: Container[str]) -> None:
        """Note that the session is dead, if it is among some."""


class PostgresMetadata(Metadata):
    """An opening of the rows in one database. Safe to share between threads, and used after a fork anew.

    Args:
        conninfo: how to connect, as libpq takes it.
        place: what the database is called in messages; nothing secret.
    """

    def __init__(self, conninfo: str, place: str = "the database") -> None:
        self.place = place
        self.sessions: set[str] = set()
        """The sessions of this process: once one of them is dead, no write commits."""
        self.session: Callable[[], Fence | None] = _none
        """Returns the session that a write begins before itself, so that it needs no second connection for it."""
        self.blobs = ""
        """Where the bytes are, once that is known; see `ObjectKeys.settle`."""
        self._is_known = False
        self._refusal: StorageError | None = None
        self.pool = Pool(conninfo, place, self._check)
        self._local = threading.local()
        self._pid = os.getpid()

    @staticmethod
    def make(conninfo: str, place: str = "the database", *, ttl: float = TTL) -> None:
        """Lay out a store in a database, or bring it to this version, see `lay_out`."""
        pool = Pool(conninfo, place, lambda _: None)
        try:
            with pool.connection() as connection:
                lay_out(connection, place, ttl=ttl)
        finally:
            pool.end()

    def _check(self, connection: Connection) -> None:
        """Look once at a database: whether it is a store of this version, and whether it can be changed."""
        if self._is_known:
            watch(connection, self.place)
            return
        version, self.blobs = require_laid(connection, self.place)
        with explaining_postgres(self.place):
            is_read_only, may_write = connection.execute(_WHY_NOT.encode()).fetchone() or (False, True)
        if is_read_only:
            self._refusal = ReadOnlyStore(f"cannot change {self.place}: it is read-only; use the primary server")
        elif not may_write:
            self._refusal = ReadOnlyStore(f"cannot change {self.place}: this role may only read; use another role")
        elif version < SCHEMA_VERSION:
            try:
                lay_out(connection, self.place)
            except PermissionDenied:
                self._refusal = ReadOnlyStore(
                    f"cannot change {self.place}: its tables are older than this orlop, and this role may not upgrade"
                    " them; run `orlop --root URL store init` as their owner"
                )
        self._is_known = True

    # Blocks.

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """Return a consistent view, see `Metadata.read`.

        What it names stays as long, where the process has a session: it is pinned before the view is taken.
        """
        outer = self._outer()
        if outer is not None:
            yield outer
            return
        session = self.session()
        with nullcontext(False) if session is None else session.pinned() as pinned, self._viewing() as connection:
            rows = PostgresRows(connection, self.place)
            rows.pinned = pinned
            with self._block(rows):
                yield rows

    @contextmanager
    def _viewing(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Return a connection that sees one state of the rows: that of the lock, which nobody changes meanwhile.

        It serves one read. A second connection may be one that others wait with, behind a pooler, for the lock.
        """
        locked: psycopg.Connection[tuple[Any, ...]] | None = getattr(self._local, "locked", None)
        if locked is not None:
            self._local.locked = None
            yield locked
            return
        with self._transaction(READ) as begun:
            yield begun.connection

    @contextmanager
    def latest(self) -> Iterator[PostgresRows]:
        """Return rows that name nothing which may be gone, for somebody who pins the epoch.

        That is the view of the block that the thread is in, unless that was taken before there was a pin.
        """
        outer = self._outer()
        if outer is not None and not outer.writable and not outer.pinned:
            with self._transaction(READ) as begun:
                yield PostgresRows(begun.connection, self.place)
            return
        with self.read() as rows:
            assert isinstance(rows, PostgresRows)
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
        if self._is_alone():
            msg = "a write cannot begin inside a lock of the same thread"
            raise RuntimeError(msg)
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        session = self.session()
        if session is not None:
            session.ready()
        names = sorted(self.sessions)
        # One message for all: what is asked on the way is asked while others wait for the lock.
        begin = f"{_WRITE}; {sql.SQL(_ALIVE).format(names).as_string()}"
        owner = os.getpid()
        with self._transaction(begin) as begun:
            rows = PostgresRows(begun.connection, self.place, writable=True)
            commit: Commit | None = None
            try:
                (last, version), *alive = _last_rows(begun)
                require_known(version, self.place)
                self._require_all(names, alive)
                with self._block(rows):
                    yield rows
                    require_owner(owner, self.place)
                    self._prepare(rows)
                commit = Commit.after(last)
                self._commit(rows, commit)
            except BaseException as error:
                # In a forked child the transaction, and what its end does to files, are the parent's.
                if os.getpid() != owner:
                    raise
                with suppress(psycopg.Error):
                    begun.connection.execute("ROLLBACK")
                outcome = False if commit is None else self._outcome(rows, commit, error)
                if outcome:
                    run_all(rows.commit_actions)
                else:
                    undone = outcome is False
                    run_all(action for action, if_sure in reversed(rows.rollback_actions) if undone or not if_sure)
                raise
        run_all(rows.commit_actions)

    def _require_all(self, names: Sequence[str], alive: Sequence[Sequence[Any]]) -> None:
        if len(alive) != len(names):
            session = self.session()
            if session is not None:
                session.lose(names)
            raise lease_lost(self.place)

    def _prepare(self, rows: PostgresRows) -> None:
        if rows.gone is not None:
            from orlop.store.rows.postgres.going import require_unneeded  # noqa: PLC0415 - few commands remove anything

            with explaining_postgres(self.place):
                rows.sending.flush()
                require_unneeded(rows.gone, rows.connection, self.place)
        for action in rows.preparations:
            action()

    def _commit(self, rows: PostgresRows, commit: Commit) -> None:
        rows.later(*commit.recording())
        try:
            rows.sending.commit(*commit.waiting())
        except psycopg.Error as error:
            # What is behind the commit may fail as well: then it was made, and has to be made durable.
            if not rows.sending.is_committed and not is_gone(error):
                raise explain_postgres(error, self.place) from error
            if not self._was_committed(rows, commit, error):
                raise lost_before_commit(error, self.place) from error

    def _outcome(self, rows: PostgresRows, commit: Commit, error: BaseException) -> bool | None:
        """Return whether a commit that ended in an error was made, or nothing where that cannot be known."""
        if isinstance(error, OrlopError):
            return None if isinstance(error, OutcomeUnknown) else False
        # Whoever interrupts a commit may come too late, and may interrupt this question as well.
        try:
            return self._was_committed(rows, commit, error)
        except Exception:  # noqa: BLE001 - as above, with whatever ends waits
            return None

    def _was_committed(self, rows: PostgresRows, commit: Commit, lost: BaseException) -> bool:
        """Return whether a commit whose answer was lost, or not waited for, was made. Raises `OutcomeUnknown`."""
        # The server ends what is still at work when it finds its client gone.
        rows.connection.close()
        self.pool.close()
        until = time.monotonic() + _ASKING
        made: bool | None = None
        while True:
            try:
                with self._transaction(_ASK) as begun, explaining_postgres(self.place):
                    made = commit.was_made(begun.connection)
                    begun.connection.execute("COMMIT")
                break
            except StorageError as error:
                if not isinstance(error, DatabaseUnavailable) or time.monotonic() > until:
                    raise _unknown(self.place) from error
                time.sleep(_AGAIN)
        if made is None:
            raise _unknown(self.place) from lost
        return made

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        """Return what began a transaction, which is rolled back at the end unless it was committed."""
        with self.pool.begun(begin) as begun:
            connection = begun.connection
            try:
                yield begun
            finally:
                if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    with suppress(psycopg.Error):
                        connection.execute("ROLLBACK")

    @contextmanager
    def _block(self, rows: PostgresRows) -> Iterator[PostgresRows]:
        self._local.rows = rows
        try:
            yield rows
        finally:
            self._local.rows = None

    def _outer(self) -> PostgresRows | None:
        notice_fork()
        if self._pid != os.getpid():
            self._local = threading.local()
            self._pid = os.getpid()
            self.sessions = set()
        return getattr(self._local, "rows", None)

    def in_block(self) -> bool:
        """Return whether this thread is inside a block."""
        return self._outer() is not None

    @contextmanager
    def short(self) -> Iterator[PostgresRows]:
        """Return rows for a transaction of its own that takes no lock of the store, whatever block the thread is in.

        The block's end commits. For what belongs to sessions and keys alone.
        """
        with self._transaction(SHORT) as begun:
            rows = PostgresRows(begun.connection, self.place, writable=True)
            yield rows
            rows.run("COMMIT")

    @contextmanager
    def joined(self) -> Iterator[PostgresRows]:
        """Return the rows of the write that this thread is in, and outside of one what `short` returns.

        A write then needs no second connection, which a pooler may have given to writers that wait for this one.
        """
        outer = self._outer()
        if outer is not None and outer.writable:
            yield outer
        else:
            with self.short() as rows:
                yield rows

    def clock(self) -> int:
        """Return the microseconds since 1970 by the clock of the server; inside a block on its connection."""
        with self.read() as rows:
            assert isinstance(rows, PostgresRows)
            return int(rows.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other writer waiting for a block, see `Metadata.lock`."""
        outer = self._outer()
        if self._is_alone() or (outer is not None and outer.writable):
            yield
            return
        with self._transaction(_ALONE) as begun:
            self._local.locked, self._local.alone = begun.connection, True
            try:
                yield
            finally:
                self._local.locked, self._local.alone = None, False

    def _is_alone(self) -> bool:
        """Return whether this thread is inside a block of `lock`, which keeps its own writes waiting, too."""
        return getattr(self._local, "alone", False)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Return, for a block, all rows as they are now. The server keeps them as long as the block lasts."""
        from orlop.store.rows.postgres.snapshot import PostgresSnapshot  # noqa: PLC0415 - only for copies

        if self.in_block():
            msg = "a snapshot cannot begin inside a block of the same thread"
            raise RuntimeError(msg)
        with self._transaction(_COPY) as begun:
            rows = PostgresRows(begun.connection, self.place)
            rows.last_event()  # only the first look fixes what a transaction sees
            yield PostgresSnapshot(rows)

    # The database as a whole.

    def refusal(self) -> StorageError | None:
        """Return the error that every write raises, or nothing where rows can be changed."""
        if not self._is_known:
            with self.pool.connection():
                pass
        return self._refusal

    def require_sound(self, *, but: Iterable[str] = ()) -> None:
        """Look through all rows, see `Metadata.require_sound`."""
        from orlop.store.rows.postgres.check import require_sound  # noqa: PLC0415 - only before a removal of much

        with self.read() as rows:
            assert isinstance(rows, PostgresRows)
            require_sound(rows, but=but, verify=True)

    def problems(self, *, verify: bool) -> Sequence[RowProblem]:
        """Look through all rows for what is wrong, see `Metadata.problems`."""
        from orlop.store.rows.postgres.check import row_problems  # noqa: PLC0415 - only for fsck

        with self.read() as rows:
            assert isinstance(rows, PostgresRows)
            return list(row_problems(rows, verify=verify))

    def mender(self) -> PostgresMender:
        """Return what only a repair asks and does, inside a read or a write of this thread."""
        from orlop.store.rows.postgres.mender import PostgresMender  # noqa: PLC0415 - few commands repair

        rows = self._outer()
        if rows is None:
            msg = "a mender works inside a block"
            raise RuntimeError(msg)
        return PostgresMender(rows)

    def update(self) -> tuple[int, str | None]:
        """Bring older rows to this orlop's schema, see `Metadata.update`; no copy of them is kept."""
        with self.pool.connection() as connection:
            return lay_out(connection, self.place), None

    def keep_reserve(self) -> None:
        """Do nothing: the disk is the server's."""

    def give_up_reserve(self) -> bool:
        """Return False: there is no reserve."""
        return False

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self.pool.close()

    def end(self) -> None:
        """Close everything for good; what is in a block in another thread ends with it. Idempotent."""
        self.pool.end()

    def require_open(self) -> None:
        """Raise `StoreClosed` after `end`."""
        self.pool.require_open()

    def facts(self) -> Mapping[str, str]:
        """Return what kind of database this is."""
        with self.read() as rows:
            assert isinstance(rows, PostgresRows)
            version, schema = rows.row("SELECT current_setting('server_version'), version FROM store") or ("", 0)
        return {"kind": "postgresql", "postgresql": str(version), "schema": str(schema), "path": self.place}


def _none() -> None:
    """Return nothing: no session has begun."""


def _unknown(place: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the connection to {place} was lost as the changes were being committed, and it cannot say whether they were;"
        " look when it is back, or do the same again: what is there already stays"
    )


def _last_rows(begun: psycopg.Cursor[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the rows of the last two statements: the last commit with the version, and the sessions that live."""
    answers: list[list[tuple[Any, ...]]] = []
    more: bool | None = True
    while more:
        answers.append(begun.fetchall() if begun.description else [])
        more = begun.nextset()
    return [row for answer in answers[-2:] for row in answer]
