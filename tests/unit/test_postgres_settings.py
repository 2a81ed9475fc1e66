"""Roles, databases and schemas of a real PostgreSQL that are set otherwise than by default."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orlop.errors import DatabaseUnavailable, PermissionDenied, ReadOnlyStore, StorageError
from orlop.model.digest import Digest, ImageID
from orlop.store.rows.metadata import ManifestRow, ReferenceRow
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.postgres.sessions import Session
from tests.postgres import database, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IMAGE = ImageID.of(b"\xff{}")
MANIFEST = b'{"schemaVersion": 2, "layers": [{"digest": "sha256:%s", "size": 1}]}' % (b"0" * 64)


def sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = [connection.execute(statement.encode()) for statement in statements][-1]
        return found.fetchall() if found.description else []


@contextmanager
def role(url: str, grants: Sequence[str] = (), rights: str = "LOGIN") -> Iterator[str]:
    """Return how a new role connects, for a block."""
    name = f"role_{os.urandom(4).hex()}"
    sql(url, f"CREATE ROLE {name} {rights}", *(f"GRANT {grant} TO {name}" for grant in grants))
    try:
        yield make_conninfo(url, user=name)
    finally:
        sql(url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


WRITER = ("USAGE ON SCHEMA orlop", "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orlop")


def name_of(conninfo: str) -> str:
    return conninfo.partition("user=")[2].partition(" ")[0]


def use(metadata: PostgresMetadata) -> None:
    """Write and read rows of many kinds, and compare them."""
    session = Session(metadata)
    assert session.id
    row = ReferenceRow("docker.io/library/ä'\\", ":1", IMAGE, 1)
    with metadata.write() as rows:
        rows.put_image(IMAGE, b"\xff{}", chain_id=None, created=(-5, 7), labels={"a\\'": "ü\n"})
        rows.put_manifest(ManifestRow(Digest.of(MANIFEST), "application/x", MANIFEST), [IMAGE])
        rows.put_reference(row)
    with metadata.read() as rows:
        assert rows.config(IMAGE) == b"\xff{}"
        assert [one.created for one in rows.image_rows(listed_only=True)] == [(-5, 7)]
        assert rows.labels([IMAGE]) == {IMAGE: {"a\\'": "ü\n"}}
        assert [one.raw for one in rows.manifests(IMAGE)] == [MANIFEST]
        assert rows.references() == [row]
    session.end()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "setting",
    [
        "search_path = other, public",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "bytea_output = 'escape'",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
        "escape_string_warning = off",
        "datestyle = 'German, DMY'",
        "intervalstyle = 'iso_8601'",
        "timezone = 'Pacific/Kiritimati'",
        "extra_float_digits = -15",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "statement_timeout = '60s'",
        "transaction_timeout = '60s'",
        "synchronous_commit = off",
        "row_security = off",
        "enable_seqscan = off",
        "plan_cache_mode = 'force_generic_plan'",
        "lc_messages = 'C'",
        "quote_all_identifiers = on",
        "transform_null_equals = on",
    ],
)
def test_a_role_may_have_any_setting(setting: str) -> None:
    url = database()
    with role(url, WRITER) as conninfo:
        sql(
            url,
            "CREATE SCHEMA other",
            f"GRANT USAGE ON SCHEMA other TO {name_of(conninfo)}",
            *(f"CREATE TABLE other.{table} (id integer)" for table in ("image", "store", "reference", "session")),
            f"ALTER ROLE {name_of(conninfo)} SET {setting}",
        )
        with opened(conninfo) as metadata:
            use(metadata)
        assert sql(url, "SELECT count(*) FROM other.image") == [(0,)]


def test_a_statement_that_the_role_bounds_is_one_clear_error() -> None:
    url = database()
    with role(url, WRITER) as conninfo:
        sql(url, f"ALTER ROLE {name_of(conninfo)} SET statement_timeout = '50ms'")
        told = pytest.raises(StorageError, match=r"statement timeout.*nothing was changed, try again")
        with opened(url) as other, opened(conninfo) as metadata, other.write(), told, metadata.write():
            pass
        with opened(conninfo) as metadata:
            use(metadata)


def test_a_role_that_is_read_only_by_default_is_told() -> None:
    """As a standby is; lists work."""
    url = database()
    with role(url, WRITER) as conninfo:
        sql(url, f"ALTER ROLE {name_of(conninfo)} SET default_transaction_read_only = on")
        with opened(conninfo) as metadata:
            with metadata.read() as rows:
                assert rows.references() == []
            assert isinstance(metadata.refusal(), ReadOnlyStore)
            with pytest.raises(ReadOnlyStore, match="use the primary server"):
                use(metadata)


def test_a_role_that_has_no_connection_left_is_told() -> None:
    url = database()
    with role(url, WRITER, "LOGIN CONNECTION LIMIT 1") as conninfo, opened(conninfo) as metadata:
        told = pytest.raises(DatabaseUnavailable, match=r"too many connections.*pgbouncer")
        with metadata.read(), opened(conninfo) as other, told:
            other.refusal()
        use_one(metadata)


def use_one(metadata: PostgresMetadata) -> None:
    with metadata.write() as rows:
        rows.put_reference(ReferenceRow("a", ":1", IMAGE, 1))


@pytest.mark.parametrize("prepared", [False, True])
def test_the_owner_of_a_store_is_an_ordinary_role(*, prepared: bool) -> None:
    """With the right to make a schema, or with one that somebody has made for it."""
    url = database(empty=True)
    name = sql(url, "SELECT current_database()")[0][0]
    with role(url, () if prepared else (f"CREATE ON DATABASE {name}",)) as conninfo:
        if prepared:
            with pytest.raises(PermissionDenied):
                PostgresMetadata.make(conninfo)
            sql(url, f"CREATE SCHEMA orlop AUTHORIZATION {name_of(conninfo)}")
        PostgresMetadata.make(conninfo)
        with opened(conninfo) as metadata:
            use(metadata)


def test_every_text_that_is_compared_is_compared_by_its_bytes() -> None:
    """Whatever the language of the database: orders are those of SQLite, and no upgrade of a C library breaks them."""
    found = sql(
        database(),
        """SELECT c.relname, a.attname, l.collname FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = c.oid
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_collation l ON l.oid = a.attcollation
        WHERE n.nspname = 'orlop'""",
    )
    assert len(found) > 20
    assert [row for row in found if row[2] != "C"] == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PGSSLMODE", "always", "invalid sslmode value"),
        ("PGSERVICE", "none", "definition of service"),
        ("PGOPTIONS", "-c none=1", "unrecognized configuration parameter"),
        ("PGTARGETSESSIONATTRS", "standby", "standby mode"),
    ],
)
def test_a_variable_that_cannot_be_met_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """The server runs, and to look after it would be of no use."""
    url = database()
    monkeypatch.setenv(name, value)
    advice = rf"{words}.*; check what PG… variables say"
    with opened(url) as metadata, pytest.raises(DatabaseUnavailable, match=advice):
        metadata.refusal()


def test_a_server_looks_after_a_client_that_does_nothing() -> None:
    """One that vanishes between two transactions would have its connection for two hours, and others none left."""
    url = database()
    with opened(url) as metadata:
        metadata.refusal()
        # A thread that comes later has a connection of its own.
        with metadata.pool.connection() as first, metadata.pool.connection() as second:
            asked = "SELECT count(*) FROM pg_settings WHERE name LIKE 'tcp_keepalives_%' AND source = 'session'"
            for connection in (first, second):
                assert connection.execute(asked.encode()).fetchone() == (3,)
