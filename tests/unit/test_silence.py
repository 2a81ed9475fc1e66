"""Engines, clients and lines that say nothing: stopped processes, and a line that swallows everything.

The limits are shortened where a test waits for their end. No test depends on how fast something is.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orlop import errors
from orlop.model.digest import Digest, ImageID
from orlop.store.blobs.s3 import client, ingest
from orlop.store.blobs.s3.reclaim import init_bucket
from orlop.store.blobs.s3.store import S3BlobStore
from orlop.store.rows.memory_keys import MemoryKeys
from orlop.store.rows.metadata import ReferenceRow
from orlop.store.rows.postgres import database as database_module
from orlop.store.rows.postgres import pool
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.sessions import Session
from orlop.store.rows.postgres.silence import WatchedConnection
from orlop.testing.blob_store import Opened
from tests.postgres import database, opened, pooled, the_server
from tests.s3_strict import strict_s3
from tests.seaweed import the_server as the_bucket_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.store.rows.postgres.database import PostgresMetadata
    from orlop.store.rows.postgres.silence import Probe
    from tests.postgres import Postgres

PATIENCE = 120
SHORT = "1s"
"""What is set in place of a limit of the server."""
HANGING = f"""
import os, signal, sys
from orlop.store.rows.postgres import database
database._WRITE = database._WRITE.replace("timeout = '{database_module._SILENCE}'", "timeout = '{SHORT}'")
from tests.unit.test_silence import tag
from orlop.errors import StorageError
metadata = database.PostgresMetadata(sys.argv[1])
try:
    with metadata.write() as rows:
        tag(rows, "hung")
        rows.sending.flush()
        os.kill(os.getpid(), signal.SIGSTOP)
except StorageError as error:
    print(error)
"""


def tag(rows: object, suffix: str) -> None:
    assert isinstance(rows, PostgresRows)
    rows.put_reference(ReferenceRow("docker.io/library/a", f":{suffix}", ImageID.of(b"{}"), 1))


def tags(url: str) -> list[str]:
    with opened(url) as metadata, metadata.read() as rows:
        return [row.suffix[1:] for row in rows.references()]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks soon whether a silent server lives."""
    monkeypatch.setattr(WatchedConnection, "patience", 0.3)
    monkeypatch.setattr(WatchedConnection, "asking", 1)
    monkeypatch.setattr(pool, "_CONNECTING", 1)
    monkeypatch.setattr(database_module, "_ASKING", 0.0)


@pytest.fixture
def curious(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks as soon, and has time for the answer of a server that lives."""
    monkeypatch.setattr(WatchedConnection, "asking", 60)
    monkeypatch.setattr(pool, "_CONNECTING", 60)


# A client that hangs.


@pytest.mark.sampled(3)
def test_a_client_that_hangs_in_a_write_loses_the_lock_and_commits_nothing() -> None:
    url = database()
    child = subprocess.Popen([sys.executable, "-c", HANGING, url], stdout=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        with opened(url) as metadata, metadata.write() as rows:
            tag(rows, "other")
    finally:
        os.kill(child.pid, signal.SIGCONT)
    assert "nothing was changed, try again" in child.communicate(timeout=PATIENCE)[0]
    assert tags(url) == ["other"]


@pytest.mark.sampled(2)
def test_a_client_that_hangs_within_a_message_loses_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server waits for the rest of it, and no limit of silence counts meanwhile."""
    monkeypatch.setattr(database_module, "_WRITE", database_module._WRITE.replace("'300s'", f"'{SHORT}'"))
    url = database()
    with opened(url) as metadata, opened(url) as other:
        with pytest.raises(errors.StorageError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            assert isinstance(rows, PostgresRows)
            with suppress(psycopg.Error), rows.connection.pipeline():
                rows.connection.execute("INSERT INTO lease VALUES ('a', 'b')")
                rows.connection.pgconn.send_flush_request()
                rows.connection.pgconn.flush()
                with other.write() as view:
                    tag(view, "other")
            tag(rows, "hung")
        assert tags(url) == ["other"]


@pytest.mark.sampled(3)
def test_a_write_goes_on_as_long_as_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit begins anew with what is sent."""
    from orlop.store.rows.postgres import sending

    monkeypatch.setattr(database_module, "_WRITE", database_module._WRITE.replace("'300s'", "'2s'"))
    monkeypatch.setattr(sending, "BOUND", sending.BOUND.replace("'300s'", "'2s'"))
    monkeypatch.setattr(sending, "_RENEWING", 0.0)
    url = database()
    with opened(url) as metadata, metadata.write() as rows:
        assert isinstance(rows, PostgresRows)
        for number in range(5):
            rows.run("SELECT pg_sleep(0.6)")
            tag(rows, str(number))
    assert tags(url) == [str(number) for number in range(5)]


# A server that hangs.


@pytest.mark.sampled(4)
def test_a_database_that_hangs_is_one_error_and_works_when_it_goes_on(hasty: None) -> None:
    server, url = the_server(), database()
    with opened(url) as metadata:
        with metadata.write() as rows:
            tag(rows, "1")
        with server.hanging():
            for block in (metadata.read, metadata.write):
                with pytest.raises(errors.StorageError, match="cannot reach"), block():
                    pass
        with pytest.raises(errors.StorageError, match=r"cannot reach .* silent"), metadata.write() as rows:  # noqa: PT012
            tag(rows, "2")
            with server.hanging():
                rows.references()
        with metadata.write() as rows:
            tag(rows, "3")
    assert tags(url) == ["1", "3"]


@pytest.mark.sampled(4)
def test_a_database_that_hangs_at_a_commit_leaves_it_unknown(hasty: None) -> None:
    server, url = the_server(), database()
    with opened(url) as metadata:
        with pytest.raises(errors.OutcomeUnknown), hanging_from(server) as hang, metadata.write() as rows:  # noqa: PT012
            tag(rows, "1")
            rows.sending.flush()  # type: ignore[attr-defined]  # those of PostgreSQL
            hang()
        with metadata.write() as rows:
            tag(rows, "2")
    assert tags(url) in (["1", "2"], ["2"])


@contextmanager
def hanging_from(server: Postgres) -> Iterator[Callable[[], None]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(server.hanging())


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """Stop one process of a server for a block; the others go on."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def process_of(metadata: PostgresMetadata) -> int:
    with metadata.read() as rows:
        assert isinstance(rows, PostgresRows)
        return rows.connection.info.backend_pid


@pytest.mark.sampled(3)
def test_one_process_of_the_server_that_hangs_is_one_error(hasty: None) -> None:
    """The server lives, and is asked what its process does: nothing."""
    url = database()
    with opened(url) as metadata:
        # A block that has not begun begins on another connection.
        with stopped(process_of(metadata)), metadata.write() as rows:
            tag(rows, "begun")
        with pytest.raises(errors.StorageError, match=r"process .* silent"), metadata.write() as rows:  # noqa: PT012
            tag(rows, "1")
            assert isinstance(rows, PostgresRows)
            rows.sending.flush()
            with stopped(rows.connection.info.backend_pid):
                rows.references()
        with metadata.write() as rows:
            tag(rows, "2")
    assert tags(url) == ["2", "begun"]


@pytest.mark.sampled(3)
def test_a_process_that_hangs_at_work_is_given_up_at_last(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedConnection, "most", 2.0)
    with opened(database()) as metadata, metadata.read() as rows:
        assert isinstance(rows, PostgresRows)
        with pytest.raises(errors.DatabaseUnavailable, match=r"process .* silent"):
            rows.run("SELECT pg_sleep(600)")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("pooler", [False, pytest.param(True, marks=pytest.mark.needs("pgbouncer"))])
def test_a_process_that_is_at_work_is_waited_for(curious: None, *, pooler: bool) -> None:
    with opened(pooled() if pooler else database()) as metadata, metadata.read() as rows:
        assert isinstance(rows, PostgresRows)
        assert rows.value("SELECT 7 FROM pg_sleep(2)") == 7


def test_who_waits_for_others_waits_on(curious: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long silence is right where the server lives; it was asked."""
    url, asked = database(), threading.Event()
    unchanged = pool._probe

    def probe(conninfo: str, silent: psycopg.ConnectionInfo, seconds: int) -> Probe:
        asked.set()
        return unchanged(conninfo, silent, seconds)

    monkeypatch.setattr(pool, "_probe", probe)

    def second() -> None:
        with opened(url) as other, other.write() as rows:
            tag(rows, "2")

    waiting = threading.Thread(target=second)
    with opened(url) as metadata, metadata.write() as rows:
        tag(rows, "1")
        waiting.start()
        assert asked.wait(PATIENCE)
    waiting.join(PATIENCE)
    assert tags(url) == ["1", "2"]


# A line that swallows everything.


class Swallowing:
    """A line to a server that can be told to swallow everything in both directions, and never to end.

    Connections that are ``swallowed`` never end either; later ones are carried.
    """

    def __init__(self, folder: Path, server: Postgres) -> None:
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self.swallows = False
        self.swallowed: set[socket.socket] = set()
        self._sockets, self._threads = [self._listener], list[threading.Thread]()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                other = socket.socket(socket.AF_UNIX)
                other.connect(self._target)
                self._sockets += [one, other]
                for ends in ((one, other), (other, one)):
                    self._threads.append(threading.Thread(target=self._carry, args=ends, daemon=True))
                    self._threads[-1].start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.swallows and source not in self.swallowed:
                    target.sendall(data)
            if source not in self.swallowed:
                target.shutdown(socket.SHUT_RDWR)


@pytest.mark.sampled(2)
def test_a_line_that_swallows_everything_is_one_error(tmp_path: Path, hasty: None) -> None:
    server, url = the_server(), database()
    place = make_conninfo(url, host=str(tmp_path))
    with closing(Swallowing(tmp_path, server)) as line, opened(place) as metadata:
        with metadata.write() as rows:
            tag(rows, "1")
        line.swallows = True
        with pytest.raises(errors.StorageError, match="cannot reach"), metadata.read():
            pass
        line.swallows = False
        with metadata.write() as rows:
            tag(rows, "2")
    assert tags(url) == ["1", "2"]


@pytest.mark.sampled(2)
def test_another_server_that_answers_says_nothing_of_a_silent_one(
    tmp_path: Path, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several are named, what lives is one of the others, and may have a process of the same number at work."""
    monkeypatch.setattr(WatchedConnection, "most", 8.0)
    server, url = the_server(), database()
    place = make_conninfo(url, host=f"{tmp_path},{server.folder}")
    with closing(Swallowing(tmp_path, server)) as line, opened(place) as metadata:
        with pytest.raises(errors.DatabaseUnavailable, match=r": it has been silent"), metadata.read() as rows:  # noqa: PT012
            assert isinstance(rows, PostgresRows)
            line.swallows = True
            rows.run("SELECT pg_sleep(60)")
        # The next one is asked where it answers.
        with metadata.write() as rows:
            tag(rows, "2")
    assert tags(url) == ["2"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_line_that_swallows_one_connection_is_one_error(tmp_path: Path, hasty: None, *, is_gone: bool) -> None:
    """Others get through meanwhile, such as the question whether the server lives."""
    server, url = the_server(), database()
    with closing(Swallowing(tmp_path, server)) as line, opened(make_conninfo(url, host=str(tmp_path))) as metadata:
        with pytest.raises(errors.DatabaseUnavailable, match=r"process .* silent"), metadata.read() as rows:  # noqa: PT012
            assert isinstance(rows, PostgresRows)
            line.swallowed.update(line._sockets)
            if is_gone:
                with psycopg.connect(url, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", (rows.connection.info.backend_pid,))
            rows.references()
        with metadata.write() as rows:
            tag(rows, "2")
        line.swallowed.update(line._sockets)
        with metadata.read() as rows:
            assert [row.suffix for row in rows.references()] == [":2"]


# The session of somebody who was silent.


def test_who_was_silent_asks_whether_the_session_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(database()) as metadata:
        session = Session(metadata)
        keys, name = PostgresKeys(metadata, session), session.id
        session._stop.set()
        session._heard -= 1000
        keys.require(name)
        with metadata.short() as rows:
            rows.run("UPDATE session SET dead = true")
        # Heard of just now: nobody is asked.
        keys.require(name)
        session._heard -= 1000
        with pytest.raises(errors.LeaseLost):
            keys.require(name)
        session.renew()
        keys.require(session.id)
        with pytest.raises(errors.LeaseLost):
            keys.require(name)
        session.end()


def test_nothing_more_is_sent_for_a_session_that_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1000
    monkeypatch.setattr(ingest, "part_size", lambda number, first, *, equal: size)  # noqa: ARG005 - its names
    with strict_s3(smallest=size) as s3:
        keys = MemoryKeys()
        blobs = S3BlobStore(s3.settings(patience=0.0), keys)
        init_bucket(blobs.bucket, keys)
        with blobs.begin() as content:
            content.write(bytes(3 * size))
            keys._all.declare_dead(keys.session)
            with pytest.raises(errors.LeaseLost):
                content.write(bytes(3 * size))
        blobs.close()


# Readers and their pins.


@pytest.mark.parametrize("begun", [True, False])
def test_what_a_view_names_stays_as_long_as_the_view(*, begun: bool) -> None:
    """A view that was taken before there was a session names nothing that has gone since."""
    url, digest = database(), Digest.of(b"content")
    with opened(url) as metadata, opened(url) as other:
        mine, theirs = (PostgresKeys(one, Session(one)) for one in (metadata, other))
        with other.write() as rows:
            pass
        key = theirs.begin()
        with other.write() as rows:
            theirs.publish(rows, str(digest), key, 7)
        if begun:
            assert mine.session
        with metadata.read() as rows:
            rows.references()  # only the first look fixes what a transaction sees
            mine._session.beat()
            with other.write() as changed:
                theirs.doom(changed, [str(digest)])
            theirs.collect()
            mine._session.beat()
            gone = {one.key for one in theirs.collect()}
            with mine.reading():
                found = mine.find(str(digest))
            assert (key in gone) is (found is None) is not begun
        for keys in (mine, theirs):
            keys._session.end()


# An object store that hangs.


@pytest.mark.sampled(3)
def test_a_bucket_that_hangs_keeps_no_writer_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of it inside a block is given up before the database ends the block."""
    monkeypatch.setattr(client, "_HASTE", 0.3)
    server, url = the_bucket_server(), database()
    server.bucket("hanging").make()
    with opened(url) as metadata:
        keys = PostgresKeys(metadata, Session(metadata))
        blobs = S3BlobStore(server.settings("hanging", prefix=os.urandom(8).hex()), keys, doubting=True)
        init_bucket(blobs.bucket, keys)
        row = Opened(blobs, metadata).keep(b"content")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for look in (blobs.has, lambda row: blobs.read_range(row, 0, 7)):
                with pytest.raises(errors.BucketUnavailable, match="silent"), metadata.write():
                    look(row)
            with metadata.write() as rows:
                tag(rows, "1")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        with metadata.write():
            assert blobs.has(row)
        assert blobs.read_range(row, 0, 7) == b"content"
        keys._session.end()
        blobs.close()


def test_what_ends_a_wait_is_set() -> None:
    """Each limit that the documentation states is in force inside a write, whatever the server's own are."""
    with opened(database()) as metadata, metadata.write() as rows:
        assert isinstance(rows, PostgresRows)
        limits = {
            "idle_in_transaction_session_timeout": "20s",
            "lock_timeout": "20s",
            "transaction_timeout": "5min",
        }
        for name, value in limits.items():
            assert rows.value(f"SHOW {name}") == value
        assert re.search("tcp_user_timeout=.?20000", rows.connection.info.dsn)
