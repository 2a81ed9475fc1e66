"""Connections of one process to one database: opened when they are needed, used again, and left alone by a child.

A connection is used by one block at a time. Nothing of a block stays with it: every setting is local to a transaction,
and nothing is prepared, so that a pooler between may give each transaction another one of the server's.

A forked child has copies of its parent's sockets. To close one in the usual way would tell the server that the parent
leaves. The child puts nothing behind the descriptor instead, and opens connections of its own.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg

from orlop.store.rows.postgres.errors import closed, explain_postgres, is_gone
from orlop.store.rows.postgres.silence import KEEPING, Probe, WatchedConnection
from orlop.streams.forked import in_child, notice_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONNECTING: Final = 10
# What goes wrong is raised; without a handler its warnings would be printed.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

Connection = WatchedConnection


class Pool:
    """The connections. Safe to share between threads.

    Args:
        conninfo: as libpq takes it: a URL or words.
        place: of the database, for messages; without secrets.
        prepare: called with each connection that was opened.
    """

    def __init__(self, conninfo: str, place: str, prepare: Callable[[Connection], object]) -> None:
        self._conninfo = conninfo
        self._prepare = prepare
        self.place = place
        self._guard = threading.Lock()
        self._idle: list[Connection] = []
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._ended = False
        _pools.add(self)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Return a connection for a block. One that is in a transaction or broken afterwards is closed."""
        notice_fork()
        self.require_open()
        with self._guard:
            one = self._idle.pop() if self._idle else None
        if one is None or one.closed:
            one = self._connect()
        try:
            yield one
        finally:
            self._put(one)

    @contextmanager
    def begun(self, begin: str) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        """Return the answers of statements that began a transaction, on a new connection if an old one was lost."""
        with self.connection() as one:
            try:
                cursor = _begun(one, begin)
            except psycopg.Error as error:
                if not is_gone(error):
                    raise explain_postgres(error, self.place) from error
            else:
                yield cursor
                return
        # The server was restarted since: nothing was done yet, and every idle connection is lost as well.
        self.close()
        with self.connection() as one:
            try:
                cursor = _begun(one, begin)
            except psycopg.Error as error:
                raise explain_postgres(error, self.place) from error
            yield cursor

    def _connect(self) -> Connection:
        try:
            one = WatchedConnection.connect(
                self._conninfo,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=_CONNECTING,
                application_name="orlop",
                client_encoding="UTF8",
                **KEEPING,
            )
        except psycopg.Error as error:
            raise explain_postgres(error, self.place) from error
        one.probe = partial(_probe, self._conninfo)
        try:
            self._prepare(one)
        except BaseException:
            one.close()
            raise
        with self._guard:
            self._all.add(one)
        return one

    def _put(self, one: Connection) -> None:
        is_idle = one.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._guard:
            if is_idle and not self._ended and one in self._all:
                self._idle.append(one)
                return
        with suppress(psycopg.Error):
            one.close()

    def require_open(self) -> None:
        """Raise `StoreClosed` after `end`."""
        if self._ended:
            raise closed(self.place)

    def close(self) -> None:
        """Close what is idle; what is used goes on."""
        with self._guard:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def end(self) -> None:
        """Close what is idle, and the rest when its block ends. Idempotent."""
        self._ended = True
        self.close()

    def abandon(self) -> None:
        """Leave every connection, in a forked child, to the parent."""
        self._guard = threading.Lock()
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for one in list(self._all):
            with suppress(OSError, psycopg.Error):
                os.dup2(nothing, one.fileno(), inheritable=False)
                one.close()
        os.close(nothing)
        self._idle = []
        self._all = weakref.WeakSet()


def _begun(one: Connection, begin: str) -> psycopg.Cursor[tuple[Any, ...]]:
    """Execute what may wait for the store's lock. What ends that wait ends the connection."""
    one.is_beginning = True
    try:
        return one.execute(begin.encode())
    finally:
        one.is_beginning = False


def _probe(conninfo: str, silent: psycopg.ConnectionInfo, seconds: int) -> Probe:
    """Connect to the server of a connection, and to no other one of those that are named."""
    return Probe.connect(
        conninfo,
        host=silent.host,
        hostaddr=silent.hostaddr,
        port=silent.port,
        target_session_attrs="any",
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=seconds,
        application_name="orlop",
    )


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _abandon_all() -> None:
    for pool in list(_pools):
        pool.abandon()


in_child(_abandon_all)
