"""Rows in a real PostgreSQL: sessions that die, connections that break, answers that are lost, and who may do what."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orlop import errors
from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.leases import Leases
from orlop.store.rows.metadata import BlobRow, DiffRow, Event, ManifestRow, ReferenceRow, TopRow
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.postgres.keys import PostgresKeys
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.postgres.sending import Sending
from orlop.store.rows.postgres.sessions import Session
from orlop.store.sessions import SessionOwners
from tests.postgres import Postgres, database, opened, the_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.store.rows.metadata import Rows

IMAGE = ImageID.of(b"{}")


@pytest.fixture
def url() -> str:
    return database()


@pytest.fixture
def metadata(url: str) -> Iterator[PostgresMetadata]:
    one = PostgresMetadata(url)
    yield one
    one.end()


@pytest.fixture
def own(public: Path) -> Iterator[Postgres]:
    """A server of the test's own, which it may kill."""
    server = Postgres(public, durable=True)
    server.start()
    yield server
    server.stop()


def tag(metadata: PostgresMetadata, suffix: str) -> None:
    with metadata.write() as rows:
        rows.put_reference(ReferenceRow("docker.io/library/a", f":{suffix}", IMAGE, 1))


def tags(metadata: PostgresMetadata) -> list[str]:
    with metadata.read() as rows:
        return [row.suffix[1:] for row in rows.references()]


def sql(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, options="-c search_path=orlop") as connection:
        found = connection.execute(statement.encode(), values or None)
        return found.fetchall() if found.description else []


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
    assert [one.key for one in keys.collect()] == [key]
    # Until somebody says that it is gone, and once more an hour later.
    assert [one.key for one in keys.collect()] == [key]
    keys.deleted([key])
    assert keys.collect() == []
    assert keys.known([key, "other"]) == {key}
    sql(url, "UPDATE deleting SET since = since - interval '2 hours'")
    assert [one.key for one in keys.collect()] == [key]
    keys.deleted([key])
    assert keys.known([key]) == set()


def test_a_child_leaves_the_connections_and_the_session_to_its_parent(metadata: PostgresMetadata) -> None:
    session = Session(metadata)
    name = session.id
    tag(metadata, "parent")
    child = os.fork()
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


class Cutting:
    """What lies between a client and the server, and cuts the connection at a commit: before it, or after it."""

    def __init__(self, folder: Path, server: Postgres) -> None:
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self.cut: str | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                stop = threading.Event()
                for run in (self._forth, self._back):
                    threading.Thread(target=run, args=(client, server, stop), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket, stop: threading.Event) -> None:
        with client, server, suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT\0" in data and self.cut is not None:
                    stop.set()
                    where, self.cut = self.cut, None
                    if where == "after":
                        server.sendall(data)
                        server.settimeout(5)
                        server.recv(1 << 16)
                    server.close()
                    return
                server.sendall(data)

    @staticmethod
    def _back(client: socket.socket, server: socket.socket, stop: threading.Event) -> None:
        with suppress(OSError):
            while not stop.is_set():
                server.settimeout(0.2)
                try:
                    data = server.recv(1 << 16)
                except TimeoutError:
                    continue
                if not data:
                    break
                client.sendall(data)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_lost_answer_to_a_commit_is_asked_for(tmp_path: Path, where: str) -> None:
    postgres = the_server()
    with closing(Cutting(tmp_path, postgres)) as proxy:
        url = postgres.database()
        with opened(make_conninfo(url, host=str(tmp_path))) as metadata:
            tag(metadata, "1")
            proxy.cut = where
            undone: list[str] = []
            try:
                with metadata.write() as rows:
                    rows.put_reference(ReferenceRow("docker.io/library/a", ":2", IMAGE, 1))
                    rows.after_rollback(lambda: undone.append("undone"), if_sure=True)
                    rows.after_commit(lambda: undone.append("done"))
            except errors.StorageError:
                assert where == "before"
            assert undone == (["undone"] if where == "before" else ["done"])
            assert tags(metadata) == (["1"] if where == "before" else ["1", "2"])
            tag(metadata, "3")


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


_TEXT = "'sha256:' || encode(sha256(number::text::bytea), 'hex')"
_SERIES = "FROM generate_series(1, 5000) AS number"
FILLING = (
    f"INSERT INTO image SELECT {_TEXT}, 'c', {_TEXT}, number, 0 {_SERIES}",
    f"INSERT INTO image_metadata SELECT {_TEXT}, 'parent', ({_TEXT})::bytea {_SERIES}",
    f"INSERT INTO image_labels SELECT {_TEXT}, '{{}}' {_SERIES}",
    f"INSERT INTO reference SELECT 'r.test/' || number % 500, ':' || number, {_TEXT}, 1 {_SERIES}",
    f"INSERT INTO blob SELECT {_TEXT}, 1, 'none' {_SERIES}",
    f"INSERT INTO diff SELECT {_TEXT}, 1, 1, 1 {_SERIES}",
    f"INSERT INTO diff_blob SELECT {_TEXT}, {_TEXT} {_SERIES}",
    f"INSERT INTO chain SELECT {_TEXT}, NULL, {_TEXT}, 1, 1 {_SERIES}",
    f"INSERT INTO manifest SELECT {_TEXT}, 'm', 'c' {_SERIES}",
    f"INSERT INTO image_manifest SELECT {_TEXT}, {_TEXT} {_SERIES}",
    f"INSERT INTO edge SELECT {_TEXT}, 'layer', 0, {_TEXT}, '', 1 {_SERIES}",
    f"INSERT INTO edge SELECT {_TEXT}, 'child', 0, {_TEXT}, '', 1 {_SERIES}",
    f"INSERT INTO top SELECT 'r.test/' || number % 500, ':' || number, {_TEXT}, 1 {_SERIES}",
    f"INSERT INTO lease SELECT number % 50, {_TEXT} {_SERIES}",
    f"INSERT INTO event SELECT number + 100, 1, '', '', '', '{{}}' {_SERIES}",
    "UPDATE store SET last_event = 6000",
    "VACUUM ANALYZE",
)
"""A store of some size: with few rows a scan is the best plan of all."""


def _questions(rows: PostgresRows) -> None:
    """Ask everything that is asked with a name or a digest."""
    digest, diff, chain = Digest.of(b"1"), DiffID.of(b"1"), None
    assert chain is None
    rows.image_ids_with_prefix("sha256:abc", 2)
    rows.config(IMAGE), rows.image_row(IMAGE), rows.labels([IMAGE], most=100)
    rows.children(IMAGE), rows.has_children(IMAGE), rows.metadata(IMAGE, "parent")
    rows.reference("a", ":1"), rows.references(image=IMAGE), rows.references(name="a")
    rows.chain(digest), rows.diff(diff), rows.blobs_of(diff), rows.blob(digest), rows.diffs_of(digest)  # type: ignore[arg-type]
    rows.leases_of(digest), rows.leases(), rows.lease_digests("one"), rows.events(5, most=100), rows.last_event()
    rows.manifests(IMAGE), rows.manifest_digests(IMAGE), rows.manifest(digest), rows.images_of(digest)
    rows.edges(digest), rows.edges_to(digest), rows.top("a", ":1"), rows.tops(digest)
    rows.repositories("r.test", most=10), rows.tags("r.test/a", most=10), rows.has_names("r.test/a")
    (
        rows.holds_manifest("r.test/a", digest),
        rows.holds_blob("r.test/a", digest),
        rows.loose_of([digest]),
        rows.standing([ChainID.of(b"1")]),
    )


def _changes(rows: PostgresRows) -> None:
    """Change what is named, and remove it again."""
    blob, diff = BlobRow(Digest.of(b"1"), 1, "none"), DiffID.of(b"1")
    rows.put_image(IMAGE, b"{}", chain_id=None, created=(1, 1), labels={"a": "b"})
    rows.set_metadata(IMAGE, "parent", str(IMAGE).encode())
    rows.put_reference(ReferenceRow("a", ":1", IMAGE, 1))
    rows.put_diff(DiffRow(diff, 1, 1, 1), blob)
    rows.put_manifest(ManifestRow(Digest.of(b"m"), "m", b'{"layers": []}'), [IMAGE])
    rows.put_top(TopRow("a", ":1", Digest.of(b"m"), 1))
    rows.put_lease("one", [blob.digest])
    rows.put_event(Event(0, 1, "image", "tag", "a", {}), keep=5)
    rows.delete_lease("one")
    rows.delete_top("a", ":1")
    rows.drop_manifest(Digest.of(b"m"))
    rows.delete_reference("a", ":1")
    rows.delete_metadata(IMAGE, "parent")
    rows.delete_image(IMAGE)
    rows.prune_diff(diff)
    rows.prune_freed()


@pytest.mark.parametrize("ask", [_questions, _changes])
def test_there_is_an_index_for_every_question(url: str, metadata: PostgresMetadata, ask: Any) -> None:
    asked: list[tuple[str, Any]] = []

    class Recording(Sending):
        def execute(self, statement: str, values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
            asked.append((statement, values))
            return super().execute(statement, values)

    with metadata.short() as rows:
        rows.sending = Recording(rows.connection)
        ask(rows)
        rows.sending.flush()
        rows.sending = Sending(rows.connection)
    assert len(asked) > 15
    for statement in FILLING:
        sql(url, statement)
    with metadata.short() as rows:
        for statement, values in asked:
            plan = "\n".join(line for (line,) in rows.rows(f"EXPLAIN {statement}", values))
            scans = [line for line in plan.splitlines() if "Seq Scan on" in line and "Seq Scan on store" not in line]
            assert scans == [], f"{statement}\n{plan}"


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
