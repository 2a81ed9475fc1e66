"""Writers that wait for each other in a real PostgreSQL, and what a server may forget of what they did."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orlop.errors import StorageError
from orlop.model.digest import Digest, ImageID
from orlop.store.leases import Leases
from orlop.store.remote import _DatabaseClock
from orlop.store.rows.metadata import ReferenceRow
from orlop.store.rows.postgres.commits import Commit
from orlop.store.rows.postgres.database import _LOCK, _WRITE
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.pool import Pool
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.sessions import Session
from orlop.store.sessions import SessionOwners
from orlop.streams.interruption import hasten, interrupted_by
from tests.postgres import database, opened, pooled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.store.rows.postgres.database import PostgresMetadata
    from orlop.store.rows.postgres.pool import Connection

_PATIENCE = 60
_UNLOCKED = _WRITE.replace(_LOCK, "SELECT 1")


def tag(url: str, suffix: str) -> None:
    with opened(url) as metadata, metadata.write() as rows:
        rows.put_reference(row(suffix))


def row(suffix: str) -> ReferenceRow:
    return ReferenceRow("docker.io/library/a", suffix, ImageID.of(b"{}"), 1)


@pytest.mark.sampled(2)
@pytest.mark.needs("pgbouncer")
def test_a_writer_asks_who_lives_while_others_wait_in_every_connection() -> None:
    url = pooled()
    with opened(url) as metadata:
        session = Session(metadata)
        owners, alive = SessionOwners(metadata, session), {session.id}
        names = [f":{number}" for number in range(6)]
        waiting = [Thread(target=tag, args=(url, name)) for name in names]
        with metadata.write() as rows:
            for thread in waiting:
                thread.start()
            for thread in waiting:
                thread.join(0.2)  # each waits for the lock by now, or for a connection
            assert owners.alive() == alive
            rows.put_reference(row(":first"))
        for thread in waiting:
            thread.join(_PATIENCE)
        with metadata.read() as view:
            assert [one.suffix for one in view.references()] == sorted([*names, ":first"])
        session.end()


def test_who_was_declared_dead_in_a_write_that_was_undone_lives() -> None:
    url = database()
    with opened(url) as metadata, opened(url) as other:
        session, silent = Session(metadata), Session(other)
        owners, both = SessionOwners(metadata, session), {session.id, silent.id}
        with pytest.raises(ZeroDivisionError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            assert isinstance(rows, PostgresRows)
            rows.run("UPDATE session SET seen = seen - interval '1 hour' WHERE id = %s", (silent.id,))
            assert owners.alive() == {session.id}
            raise ZeroDivisionError
        assert owners.alive(sweep=False) == both
        with other.write() as rows:
            rows.put_reference(row(":1"))
        session.end()
        silent.end()


@pytest.mark.parametrize(("setting", "kept"), [("off", "on"), ("local", "local"), ("remote_write", "remote_write")])
def test_a_commit_is_durable_whatever_the_database_says(setting: str, kept: str) -> None:
    url = database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = {setting}".encode())
        connection.execute("DO $$ BEGIN CREATE ROLE worker LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
        connection.execute("GRANT USAGE ON SCHEMA orlop TO worker")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orlop TO worker")
    # A role that may do nothing special.
    with opened(make_conninfo(url, user="worker")) as metadata:
        with metadata.short() as short:
            assert short.value("SHOW synchronous_commit") == kept
        with psycopg.connect(url, autocommit=True) as connection:
            for number in range(20):
                with metadata.write() as rows:
                    assert isinstance(rows, PostgresRows)
                    rows.put_reference(row(f":{number}"))
                    rows.sending.flush()
                    written = rows.value("SELECT pg_current_wal_insert_lsn()")
                durable = connection.execute("SELECT pg_current_wal_flush_lsn() >= %s", (written,)).fetchone()
                assert durable == (True,)


def test_a_write_waits_for_the_disk_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another write is done between the commit and the end of the wait."""
    url = database()
    monkeypatch.setattr(Commit, "waiting", lambda _: ("SELECT pg_advisory_xact_lock(42, 42)", ()))
    asked = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 42 AND NOT granted"

    def first() -> None:
        with opened(url) as metadata, metadata.write() as rows:
            rows.put_reference(row(":1"))

    thread = Thread(target=first)
    with psycopg.connect(url) as disk, psycopg.connect(url, autocommit=True) as connection:
        disk.execute("SELECT pg_advisory_xact_lock(42, 42)")
        thread.start()
        while connection.execute(asked).fetchone() is None:
            assert thread.is_alive()
        monkeypatch.undo()
        tag(url, ":2")
        assert thread.is_alive()
    thread.join(_PATIENCE)
    with opened(url) as metadata, metadata.read() as view:
        assert [one.suffix for one in view.references()] == [":1", ":2"]


@pytest.mark.sampled(2)
@pytest.mark.needs("pgbouncer")
def test_who_has_the_lock_reads_while_others_wait_in_every_connection() -> None:
    url = pooled()
    with opened(url) as metadata:
        names = [f":{number}" for number in range(6)]
        waiting = [Thread(target=tag, args=(url, name)) for name in names]
        with metadata.lock():
            for thread in waiting:
                thread.start()
            for thread in waiting:
                thread.join(0.2)  # as above
            # The server would end this transaction before the second one could begin.
            with metadata.read() as rows:
                assert next(rows.image_ids(), None) is None
                assert list(rows.references()) == []
        for thread in waiting:
            thread.join(_PATIENCE)
        with metadata.read() as rows:
            assert [one.suffix for one in rows.references()] == names
        # Under a lock a second read, which needs another connection, is one of its own.
        with metadata.lock():
            for _ in range(2):
                with metadata.read() as rows:
                    assert rows.last_event() == 0


@pytest.mark.sampled(2)
@pytest.mark.needs("pgbouncer")
def test_a_writer_asks_for_the_time_while_others_wait_in_every_connection() -> None:
    url = pooled()
    with opened(url) as metadata:
        waiting = [Thread(target=tag, args=(url, f":{number}")) for number in range(6)]
        with metadata.write() as rows:
            for thread in waiting:
                thread.start()
            for thread in waiting:
                thread.join(0.2)
            assert _DatabaseClock(metadata)() > 0
            rows.put_reference(row(":first"))
        for thread in waiting:
            thread.join(_PATIENCE)


def test_a_write_and_an_upload_need_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(database()) as metadata:
        session = Session(metadata)
        leases, keys = Leases(metadata, SessionOwners(metadata, session)), PostgresKeys(metadata, session)
        used = []

        @contextmanager
        def counted(self: Pool) -> Iterator[Connection]:
            used.append(1)
            try:
                with unchanged(self) as one:
                    yield one
            finally:
                used.pop()
            most.append(len(used) + 1)

        unchanged, most = Pool.connection, [0]
        monkeypatch.setattr(Pool, "connection", counted)
        with metadata.write():
            leases.hold([Digest.of(b"{}")])
        session.end()
        given_up, kept = keys.begin(), keys.begin()
        with metadata.write():
            keys.discard(given_up)
        with pytest.raises(ZeroDivisionError), metadata.write():  # noqa: PT012 - the block is what is tested
            keys.discard(kept)
            assert max(most) == 1
            raise ZeroDivisionError
        # Undone with the write, and done again.
        assert {one.key for one in keys.doomed()} == {given_up, kept}
        session.end()


def test_what_fails_behind_a_commit_does_not_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may be told to cancel the wait for its disk: it is then asked what became of the commit, and waits."""
    done: list[str] = []
    with opened(database()) as metadata:
        monkeypatch.setattr(Commit, "waiting", lambda _: ("SELECT 1 / 0", ()))
        _write(metadata, done)
        assert done == ["done"]
        with metadata.read() as rows:
            assert rows.references() == [row(":1")]


def test_a_commit_of_what_has_failed_is_an_error() -> None:
    """The server would answer it with ROLLBACK, and with no error."""
    done: list[str] = []
    with opened(database()) as metadata:
        with pytest.raises(StorageError, match="nothing was changed"):
            _write(metadata, done, "SELECT 1 / 0")
        assert done == ["perhaps undone", "surely undone"]
        with metadata.read() as rows:
            assert rows.references() == []


class Enough(Exception):
    """What ends a wait here."""


def test_a_writer_that_waits_for_another_one_may_stop_waiting() -> None:
    url = database()
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise Enough

    with opened(url) as metadata, opened(url) as other:
        with metadata.write() as rows:
            rows.put_reference(row(":1"))
            with interrupted_by(look), pytest.raises(Enough), other.write():
                pytest.fail("the lock is taken twice")
        # Nothing of that wait is left, here or at the server.
        with interrupted_by(look), other.write() as rows:
            rows.put_reference(row(":2"))
        with metadata.read() as view:
            assert [one.suffix for one in view.references()] == [":1", ":2"]


def test_a_process_in_haste_learns_the_outcome_or_that_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question what became of a commit waits for the lock as well."""
    url = database()
    done: list[str] = []

    def interrupted(*_: object) -> None:
        hasten(0)
        raise KeyboardInterrupt

    try:
        with opened(url) as metadata, opened(url) as other, other.write():
            monkeypatch.setattr(metadata, "_commit", interrupted)
            monkeypatch.setattr("orlop.store.rows.postgres.database._WRITE", _UNLOCKED)
            with pytest.raises(KeyboardInterrupt):
                _write(metadata, done)
    finally:
        hasten(None)
    assert done == ["perhaps undone"]


def _write(metadata: PostgresMetadata, done: list[str], failing: str = "") -> None:
    with metadata.write() as rows:
        assert isinstance(rows, PostgresRows)
        rows.put_reference(row(":1"))
        rows.after_commit(partial(done.append, "done"))
        rows.after_rollback(partial(done.append, "surely undone"), if_sure=True)
        rows.after_rollback(partial(done.append, "perhaps undone"))
        if failing:
            rows.sending.flush()
            with suppress(psycopg.Error):
                rows.sending.execute(failing, None)
