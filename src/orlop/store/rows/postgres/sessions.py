"""The processes that use a store, as the database sees them: a row each, with a heartbeat.

A session is alive until others declare it dead, which they do when the database's clock, and no machine's, has seen no
beat of it for as long as the store says. A session that was declared dead stays dead: what it held is released, what it
uploads is doomed, and no write of it commits any more (`PostgresMetadata.write`). A process that hangs and returns
finds that out at its next write or beat. It goes on with a new session as soon as nothing relies on the old one any
more: work that was under way fails, and what begins later succeeds.

A session pins an epoch: the one that was current before the oldest block of `reading` began that is still open, or one
that its last beat has read. What is doomed after that stays until the pin moves on. Every read of rows is such a block
too, and pins before its view is taken: what a view names may be looked for as long as it lasts.

A process that was silent for as long as others wait, because it or its machine has hung, asks whether its session lives
before it sends more of an upload (`require`). That spares work; what is right does not depend on it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.store.rows.postgres.errors import lease_lost
from orlop.store.rows.postgres.passing import PassingRows
from orlop.store.rows.postgres.schema import TTL
from orlop.store.rows.postgres.tables import IS_TTL
from orlop.streams.forked import in_child, notice_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from orlop.store.rows.postgres.database import PostgresMetadata
    from orlop.store.rows.postgres.rows import PostgresRows

_BEATS: Final = 6
"""How often a session is heard of in the time after which it would count as dead."""

_ALIVE: Final = "SELECT id FROM session WHERE NOT dead"
REAP: Final = """WITH silent AS (
        SELECT id FROM session WHERE NOT dead
        AND seen < clock_timestamp() - (SELECT ttl FROM store) * interval '1 second' FOR UPDATE SKIP LOCKED),
    died AS (UPDATE session SET dead = true WHERE id IN (SELECT id FROM silent) RETURNING id),
    lost AS (DELETE FROM upload WHERE session IN (SELECT id FROM died) RETURNING key, upload_id)
    INSERT INTO doomed (key, name, size, upload_id) SELECT key, '', 0, upload_id FROM lost"""
"""Declares silent sessions dead, with what they upload. One that is just committing is passed over."""
DISCARD: Final = """WITH mine AS (SELECT key FROM upload WHERE key = ANY(%s) FOR UPDATE SKIP LOCKED),
    lost AS (DELETE FROM upload WHERE key = ANY(ARRAY(SELECT key FROM mine)) RETURNING key, upload_id)
    INSERT INTO doomed (key, name, size, upload_id) SELECT key, '', 0, upload_id FROM lost"""
"""Dooms the keys of uploads that are given up, but for those that a write is just publishing."""


class Session:
    """The session of this process over one database, begun when it is first needed. Safe to share between threads.

    A forked child begins one of its own; that of its parent goes on with the parent.
    """

    def __init__(self, metadata: PostgresMetadata) -> None:
        self._metadata = metadata
        self._guard = threading.Lock()
        self._let_go = _at_once
        self._reset()
        metadata.session = weakref.ref(self)
        _sessions.add(self)

    def _reset(self) -> None:
        self._id = ""
        self._lost = ""
        self._heard = self._ttl = 0.0
        self._epoch = 0
        self._readers: dict[object, int] = {}
        self._given_up: set[str] = set()
        self._stop = threading.Event()
        self._pid = os.getpid()

    @property
    def id(self) -> str:
        """The name of the session; the first to ask begins it. Raises errors of storage."""
        notice_fork()
        with self._guard:
            if not self._id:
                self._begin()
            return self._id

    def _begin(self) -> None:
        name = os.urandom(8).hex()
        now = _now()
        with self._metadata.short() as rows:
            asked = f"SELECT coalesce(epoch, 0), ttl, {IS_TTL} FROM store"  # noqa: S608 - a constant
            self._epoch, ttl, is_ttl = rows.row(asked) or (0, 0.0, False)
            # A store that says something else is damaged, and a repair needs a session.
            ttl = ttl if is_ttl else TTL
            rows.run("INSERT INTO session (id, pin) VALUES (%s, %s)", (name, self._epoch))
        self._id, self._heard, self._ttl = name, now, ttl
        self._metadata.sessions.add(name)
        beating = threading.Thread(
            target=_beat, args=(weakref.ref(self), self._stop, ttl / _BEATS), name="orlop-heartbeat", daemon=True
        )
        beating.start()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Pin, for a block, the epoch of its beginning, or an earlier one."""
        _ = self.id
        with self.pinned():
            yield

    @contextmanager
    def pinned(self) -> Iterator[bool]:
        """Do as `reading` does where the session has begun, and return whether it has."""
        reader = object()
        with self._guard:
            begun = bool(self._id)
            if begun:
                self._readers[reader] = self._epoch
        try:
            yield begun
        finally:
            with self._guard:
                self._readers.pop(reader, None)

    def beat(self) -> None:
        """Record that the session lives, and move its pin on. Raises errors of storage."""
        with self._guard:
            name = self._id
        if not name:
            return
        now, given_up = _now(), sorted(self._given_up)
        with self._metadata.short() as rows:
            rows.run("SET LOCAL synchronous_commit = off")
            epoch = int(rows.value("SELECT coalesce(epoch, 0) FROM store"))
            with self._guard:
                # Whoever begins to read from here on finds nothing that was doomed before this epoch.
                self._epoch = epoch
                pin = min(self._readers.values(), default=epoch)
            beat = "UPDATE session SET seen = clock_timestamp(), pin = %s WHERE id = %s AND NOT dead"
            if rows.run(beat, (pin, name)).rowcount == 0:
                self.lose({name})
            if given_up:
                rows.run(DISCARD, (given_up,))
        with self._guard:
            self._heard = max(self._heard, now)
            self._given_up.difference_update(given_up)

    def give_up(self, key: str) -> None:
        """Have the next beat discard the key of an upload, as that has failed or may have."""
        with self._guard:
            self._given_up.add(key)

    def require(self, name: str) -> None:
        """Raise `LeaseLost` where a session of this process is known to be dead.

        The database is asked where it has heard nothing for as long as others wait. Raises errors of storage.
        """
        if name == self._id and _now() - self._heard > self._ttl:
            self.beat()
        if name != self._id or name == self._lost:
            raise lease_lost(self._metadata.place)

    def require_alive(self, rows: PostgresRows) -> str:
        """Hold the session until the transaction of some rows ends, and return its name.

        Raises `LeaseLost` where it is dead.
        """
        name = self.id
        if rows.row("SELECT 1 FROM session WHERE id = %s AND NOT dead FOR KEY SHARE", (name,)) is None:
            self.lose({name})
            raise lease_lost(self._metadata.place)
        return name

    def ready(self) -> None:
        """Begin the session unless it has begun, anew if it is dead. Raises errors of storage."""
        self.renew()
        _ = self.id

    # After death.

    def lose(self, names: Container[str]) -> None:
        """Note that the session is dead, if it is among some."""
        with self._guard:
            if self._id in names:
                self._lost = self._id

    def renew(self) -> None:
        """Begin a new session where this one is dead, if nothing relies on it. Raises errors of storage."""
        if self._lost:
            self._let_go(self._forget)
            if not self._lost:
                _ = self.id

    def ask(self, let_go: Callable[[Callable[[], None]], None]) -> None:
        """Ask, before a session that died is replaced, what may rely on it.

        Args:
            let_go: calls what it is given once nothing relies on the session, or does nothing. A bound method, which
                is not kept alive.
        """
        asked = weakref.WeakMethod(let_go)

        def ask(forget: Callable[[], None]) -> None:
            (asked() or _at_once)(forget)

        self._let_go = ask

    def _forget(self) -> None:
        with self._guard:
            name, stop = self._lost, self._stop
            if name:
                self._metadata.sessions.discard(name)
                stop.set()
                self._reset()

    def end(self) -> None:
        """End the session: it is forgotten, and what it uploads is doomed. Raises nothing; others do it later."""
        with self._guard:
            name, stop = self._id, self._stop
            self._reset()
        stop.set()
        if name:
            self._metadata.sessions.discard(name)
            with suppress(OrlopError), self._metadata.short() as rows:
                rows.run(
                    """WITH lost AS (DELETE FROM upload WHERE session = %s RETURNING key, upload_id)
                    INSERT INTO doomed (key, name, size, upload_id) SELECT key, '', 0, upload_id FROM lost""",
                    (name,),
                )
                rows.run("DELETE FROM session WHERE id = %s", (name,))

    def abandon(self) -> None:
        """Leave the session, in a forked child, to its parent."""
        self._guard = threading.Lock()
        self._metadata.sessions = set()
        self._reset()


def _now() -> float:
    """Return seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _at_once(forget: Callable[[], None]) -> None:
    forget()


def _beat(session: weakref.ref[Session], stop: threading.Event, seconds: float) -> None:
    """Beat until a session ends. A beat that fails is repeated at the next turn: the store says for how long it may."""
    while not stop.wait(seconds):
        one = session()
        if one is None:
            return
        with suppress(OrlopError):
            one.beat()
            one.renew()
        del one


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _abandon_all() -> None:
    for session in list(_sessions):
        session.abandon()


in_child(_abandon_all)


def alive_sessions(metadata: PostgresMetadata, *, reap: bool) -> set[str]:
    """Return the sessions that live, whatever block the thread is in; first declare silent ones dead, if wanted.

    Inside a write that is a part of it, and undone with it; inside a read it is what that sees.
    """
    if reap and metadata.refusal() is None:
        with metadata.joined() as rows:
            rows.run(REAP)
            return {name for (name,) in rows.rows(_ALIVE)}
    with metadata.read() as seen:
        assert isinstance(seen, PassingRows)
        return {name for (name,) in seen.rows(_ALIVE)}
