"""Rows in a real PostgreSQL: sessions that die, connections that break, answers that are lost, and who may do what."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orlop import errors
from orlop.model.digest import Digest, ImageID
from orlop.store.leases import Leases
from orlop.store.rows.keys import Condemned
from orlop.store.rows.metadata import (
    Event,
    ReferenceRow,
)
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.sessions import Session
from orlop.store.sessions import SessionOwners
from tests.postgres import Postgres, database, opened, sql, tag, tags, the_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.store.rows.metadata import Rows

IMAGE = ImageID.of(b"{}")


@pytest.fixture
def own(public: Path) -> Iterator[Postgres]:
    """A server of the test's own, which it may kill."""
    server = Postgres(public, durable=True)
    server.start()
    yield server
    server.stop()


# Sessions.


def test_a_session_that_was_declared_dead_changes_nothing(url: str, metadata: PostgresMetadata) -> None:
    session = Session(metadata)
    keys = PostgresKeys(metadata, session)
    key = keys.begin()
    sql(url, "UPDATE session SET dead = true")
    with pytest.raises(errors.LeaseLost, match="try again"):
        tag(metadata, "1")
    with pytest.raises(errors.LeaseLost):
        keys.multipart(key, "upload")
    assert tags(metadata) == []


def test_who_was_declared_dead_works_on_with_another_session(url: str, metadata: PostgresMetadata) -> None:
    session = Session(metadata)
    keys, name = PostgresKeys(metadata, session), session.id
    key = keys.begin()
    sql(url, "UPDATE session SET dead = true")
    with pytest.raises(errors.LeaseLost):
        tag(metadata, "1")
    tag(metadata, "2")
    assert tags(metadata) == ["2"]
    assert session.id != name
    # What the old one uploaded stays the old one's.
    with pytest.raises(errors.LeaseLost):
        keys.multipart(key, "upload")
    with pytest.raises(errors.LeaseLost), metadata.write() as rows:
        keys.publish(rows, str(IMAGE), key, 1)
    sql(url, "UPDATE session SET dead = true")
    with pytest.raises(errors.LeaseLost):
        keys.begin()
    keys.begin()


@pytest.mark.sampled(2)
def test_a_beat_finds_out_that_the_session_is_dead(url: str, metadata: PostgresMetadata) -> None:
    session = Session(metadata)
    name = session.id
    sql(url, "UPDATE session SET dead = true")
    until = time.monotonic() + 60
    # Those who only read, and never fail for it, need a pin as well.
    while not sql(url, "SELECT 1 FROM session WHERE NOT dead"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert session.id != name
    tag(metadata, "1")


def test_work_that_relies_on_a_dead_session_fails_as_long_as_it_lasts(url: str, metadata: PostgresMetadata) -> None:
    session, digest = Session(metadata), Digest.of(b"content")
    leases = Leases(metadata, SessionOwners(metadata, session))
    hold, name = leases.hold([digest]), session.id
    sql(url, "UPDATE session SET dead = true")
    for suffix in ("1", "2"):
        with pytest.raises(errors.LeaseLost):
            tag(metadata, suffix)
        with pytest.raises(errors.LeaseLost):
            leases.hold([digest])
    hold.release()
    tag(metadata, "3")
    with leases.hold([digest]):
        assert leases.name() == session.id != name
        assert sql(url, "SELECT lease FROM lease WHERE digest = %s AND lease = %s", str(digest), session.id)
    assert tags(metadata) == ["3"]


def test_a_session_dies_in_the_middle_of_a_write_or_not_at_all(url: str, metadata: PostgresMetadata) -> None:
    session = Session(metadata)
    name = session.id
    session._stop.set()  # no beat comes in between
    silent = "UPDATE session SET seen = seen - interval '1 hour'"
    with opened(url) as other:
        owners = SessionOwners(other, Session(other))
        assert owners.alive() == {name}
        with metadata.write() as rows:
            sql(url, silent)
            # Whoever is just committing is passed over.
            assert owners.alive() == {name}
            rows.put_reference(ReferenceRow("docker.io/library/a", ":1", IMAGE, 1))
        sql(url, silent)
        assert owners.alive() == set()
        with pytest.raises(errors.LeaseLost):
            tag(metadata, "2")
    assert tags(metadata) == ["1"]


def test_what_a_dead_session_held_and_uploaded_goes(url: str, metadata: PostgresMetadata) -> None:
    session, digest = Session(metadata), Digest.of(b"content")
    Leases(metadata, SessionOwners(metadata, session)).hold([digest])
    key = PostgresKeys(metadata, session).begin()
    sql(url, "UPDATE session SET seen = seen - interval '1 hour'")
    with opened(url) as other:
        mine = Session(other)
        keys, leases = PostgresKeys(other, mine), Leases(other, SessionOwners(other, mine))
        assert [one.key for one in keys.uploads()] == [key]
        with other.write() as rows:
            assert leases.drop_dead(rows) == [digest]
        assert [one.key for one in keys.collect()] == [key]


def test_a_session_beats_and_a_reader_keeps_what_it_may_have_found(url: str, metadata: PostgresMetadata) -> None:
    session = Session(metadata)
    keys = PostgresKeys(metadata, session)
    key = keys.begin()
    with metadata.write() as rows:
        assert keys.publish(rows, str(Digest.of(b"")), key, 0)
    before = sql(url, "SELECT seen FROM session")
    with keys.reading(), opened(url) as other:
        others = PostgresKeys(other, Session(other))
        with other.write() as rows:
            others.doom(rows, [str(Digest.of(b""))])
        assert others.collect() == []
        session.beat()
        assert others.collect() == []
    session.beat()
    assert sql(url, "SELECT max(seen) FROM session") > before
    first = keys.collect()
    assert first == [Condemned(key)]
    # Until somebody says that it is gone, and once more an hour later.
    assert keys.collect() == first
    assert keys.known([key, "other"]) == {key}
    keys.deleted(first)
    # Another session deleted it at the same time.
    keys.deleted(first)
    assert keys.collect() == []
    assert keys.known([key, "other"]) == set()
    sql(url, "UPDATE deleting SET since = since - interval '2 hours'")
    # Or hung meanwhile, and reports the first deletion now.
    keys.deleted(first)
    again = keys.collect()
    assert again == [Condemned(key, again=True)]
    keys.deleted(again)
    assert sql(url, "SELECT key FROM deleting") == []


def test_collectors_do_not_wait_for_each_other(url: str, metadata: PostgresMetadata) -> None:
    """What one of them is just moving or reporting is passed over, so that no order of rows can be a deadlock."""
    keys = PostgresKeys(metadata, Session(metadata))
    a, b, c = "a" * 32, "b" * 32, "c" * 32
    sql(
        url,
        "INSERT INTO doomed (key, name, size, stamp) SELECT key, '', 0, 0 FROM unnest(%s::text[]) AS key",
        [a, b, c],
    )
    with psycopg.connect(url, options="-c search_path=orlop") as other:
        other.execute("SELECT 1 FROM doomed WHERE key = %s FOR UPDATE", (b,))
        first = keys.collect()
        assert first == [Condemned(a), Condemned(c)]
        other.execute("SELECT 1 FROM deleting WHERE key = %s FOR UPDATE", (a,))
        keys.deleted(first)
        assert keys.collect() == [Condemned(a)]
    # The other one ended, and left both to be done.
    left = keys.collect()
    assert left == [Condemned(a), Condemned(b)]
    keys.deleted(left)
    assert keys.collect() == []


_TURNS = {"f": "first", "a": "again", "c": "later"}
"""What the keys of the next test begin with."""


def test_many_keys_go_in_turns(url: str, metadata: PostgresMetadata) -> None:
    """A process holds some of them at a time; those of the second time are not forgotten over the first."""
    keys = PostgresKeys(metadata, Session(metadata))
    sql(
        url,
        """INSERT INTO deleting (key, upload_id, since, reported) SELECT lpad('f' || number, 32, 'f'), '', now(), false
        FROM generate_series(1, 5) AS number
        UNION ALL SELECT lpad('a' || number, 32, 'a'), '', now() - interval '2 hours', true
        FROM generate_series(1, 2) AS number
        UNION ALL SELECT lpad('c' || number, 32, 'c'), '', now(), true FROM generate_series(1, 9) AS number""",
    )
    turns = []
    while due := keys.collect(most=3):
        turns.append(sorted(_TURNS[one.key[0]] for one in due))
        keys.deleted(due)
    assert turns == [["first"] * 3, ["again", "first", "first"], ["again"]]
    assert sql(url, "SELECT count(*) FROM deleting WHERE reported") == [(14,)]


@pytest.mark.parametrize("fork", [os.fork, ctypes.PyDLL(None).fork], ids=["told", "in C"])
def test_a_child_leaves_the_connections_and_the_session_to_its_parent(
    metadata: PostgresMetadata, fork: Callable[[], int]
) -> None:
    session = Session(metadata)
    name = session.id
    tag(metadata, "parent")
    child = fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            tag(metadata, "child")
            status = 0 if session.id != name else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    tag(metadata, "again")
    assert tags(metadata) == ["again", "child", "parent"]
    assert session.id == name


# A server that goes, and connections that break.


@pytest.mark.sampled(2)
def test_a_server_that_was_killed_is_used_again(own: Postgres) -> None:
    with opened(own.database()) as metadata:
        tag(metadata, "1")
        own.stop(signal.SIGQUIT)
        with pytest.raises(errors.StorageError, match="cannot reach the database"):
            tags(metadata)
        own.start()
        tag(metadata, "2")
        with pytest.raises(errors.StorageError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            rows.put_reference(ReferenceRow("docker.io/library/a", ":3", IMAGE, 1))
            own.stop(signal.SIGQUIT)
            own.start()
            rows.put_reference(ReferenceRow("docker.io/library/a", ":4", IMAGE, 1))
        assert tags(metadata) == ["1", "2"]


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ("53100", errors.NoSpace, "no space left"),
        ("53300", errors.DatabaseUnavailable, "pgbouncer"),
        ("25006", errors.ReadOnlyStore, "read-only"),
        ("XX001", errors.DatabaseDamaged, "backup"),
        ("42501", errors.PermissionDenied, "role"),
        ("40001", errors.StorageError, "try again"),
        ("40P01", errors.StorageError, "try again"),
        ("57P01", errors.DatabaseUnavailable, "lost before .* nothing was changed"),
        ("22021", errors.InvalidInput, "cannot hold"),
        ("58000", errors.StorageError, "failed"),
    ],
)
def test_an_error_of_the_server_is_one_sentence_and_changes_nothing(
    url: str, metadata: PostgresMetadata, state: str, error: type[errors.OrlopError], says: str
) -> None:
    sql(
        url,
        f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}'; END $$""",
    )
    sql(url, "CREATE TRIGGER failing BEFORE INSERT ON reference EXECUTE FUNCTION fail()")
    with pytest.raises(error, match=says) as told:
        tag(metadata, "1")
    assert type(told.value) is error
    assert "\n" not in str(told.value)
    assert "on purpose" in str(told.value) or error is errors.ReadOnlyStore
    sql(url, "DROP TRIGGER failing ON reference")
    tag(metadata, "2")
    assert tags(metadata) == ["2"]


# Who may do what.


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("LOGIN CONNECTION LIMIT 0", errors.StorageError, "no connection left .*pgbouncer"),
        ("NOLOGIN", errors.PermissionDenied, "refuses this user: role .* not permitted to log in; check the role"),
        (None, errors.PermissionDenied, 'refuses this user: role "refused" does not exist; check the role'),
    ],
)
def test_a_connection_that_is_refused_says_why(given: str | None, error: type[Exception], says: str) -> None:
    """The client passes on the words of such a refusal, and no code."""
    url = database()
    sql(url, "DROP ROLE IF EXISTS refused")
    if given is not None:
        sql(url, f"CREATE ROLE refused {given}")
    with opened(url.replace("user=orlop", "user=refused")) as metadata:
        with pytest.raises(error, match=says) as caught:
            tags(metadata)
        assert "connection failed" not in str(caught.value)


def test_a_role_that_may_only_read_reads(url: str) -> None:
    sql(url, "DROP ROLE IF EXISTS reader")
    sql(url, "CREATE ROLE reader LOGIN")
    try:
        sql(url, "GRANT USAGE ON SCHEMA orlop TO reader")
        sql(url, "GRANT SELECT ON ALL TABLES IN SCHEMA orlop TO reader")
        with opened(make_conninfo(url, user="reader")) as metadata:
            assert tags(metadata) == []
            assert isinstance(metadata.refusal(), errors.ReadOnlyStore)
            with pytest.raises(errors.ReadOnlyStore, match="role"):
                tag(metadata, "1")
    finally:
        sql(url, "DROP OWNED BY reader")
        sql(url, "DROP ROLE reader")


def test_a_database_without_a_store_and_one_that_is_too_new_are_told(url: str) -> None:
    with opened(database(empty=True)) as metadata, pytest.raises(errors.StoreNotFound, match="store init"):
        tags(metadata)
    sql(url, "UPDATE store SET version = 99")
    with opened(url) as metadata, pytest.raises(errors.StoreTooNew, match="99"):
        tags(metadata)
    with pytest.raises(errors.StoreTooNew):
        PostgresMetadata.make(url)


def test_making_a_store_twice_or_twice_at_once_makes_one() -> None:
    url = database(empty=True)
    threads = [threading.Thread(target=PostgresMetadata.make, args=(url,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    ((name, version),) = sql(url, "SELECT id, version FROM store")
    PostgresMetadata.make(url)
    assert sql(url, "SELECT id, version FROM store") == [(name, version)]


def test_a_database_that_does_not_keep_utf_8_is_refused() -> None:
    postgres = the_server()
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(errors.InvalidInput, match="UTF8"):
        PostgresMetadata.make(postgres.url("latin"))


def test_values_that_a_text_cannot_hold_are_told(metadata: PostgresMetadata) -> None:
    with pytest.raises(errors.InvalidInput, match="cannot hold"):
        tag(metadata, "a\0b")
    assert tags(metadata) == []


# How it is asked.


def test_readers_write_nothing(url: str, metadata: PostgresMetadata) -> None:
    tag(metadata, "1")
    for _ in range(20):
        assert tags(metadata) == ["1"]
    with metadata.read() as rows:
        assert _writes_of(rows) == 0


def _writes_of(rows: Rows) -> int:
    """Return how many rows the transactions of a connection have written that has only read."""
    assert isinstance(rows, PostgresRows)
    return int(rows.value("SELECT coalesce(pg_current_xact_id_if_assigned()::text, '0')::bigint"))


def test_events_are_numbered_in_the_order_of_commits(url: str) -> None:
    def add(number: int) -> None:
        with opened(url) as metadata:
            for turn in range(10):
                with metadata.write() as rows:
                    rows.put_event(Event(0, turn, "image", "tag", str(number), {}), keep=1000)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    with opened(url) as metadata:
        seen: list[int] = []
        while len(seen) < 40:
            with metadata.read() as rows:
                found = [event.number for event in rows.events(seen[-1] if seen else 0)]
            seen += found
    for one in threads:
        one.join()
    assert seen == list(range(1, 41))


def test_a_write_inside_the_lock_does_not_wait_for_itself(metadata: PostgresMetadata) -> None:
    with metadata.lock():
        with pytest.raises(RuntimeError, match="inside a lock of the same thread"), metadata.write():
            pass
        assert tags(metadata) == []
    tag(metadata, "1")
    assert tags(metadata) == ["1"]
