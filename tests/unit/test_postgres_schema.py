"""The tables in a real PostgreSQL: those of older versions, and the roles that use them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from orlop.errors import ReadOnlyStore, StoreTooNew
from orlop.store.rows.postgres.schema import LOCKS, WRITING
from orlop.store.rows.postgres.tables import SCHEMA_VERSION, STEPS
from tests.postgres import database, make_older, opened, tag

if TYPE_CHECKING:
    from collections.abc import Iterator


def sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, options="-c search_path=orlop") as connection:
        found = [connection.execute(statement.encode()) for statement in statements][-1]
        return found.fetchall() if found.description else []


def older(version: int) -> str:
    """Return how to connect to a store of an older version."""
    url = database()
    with psycopg.connect(url, autocommit=True) as connection:
        make_older(connection, version)
    return url


def shape(url: str) -> list[tuple[Any, ...]]:
    """Return all columns and indexes of a store."""
    return sql(
        url,
        """SELECT table_name, column_name, column_default, is_nullable, data_type, collation_name
        FROM information_schema.columns WHERE table_schema = 'orlop'
        UNION ALL SELECT tablename, indexname, indexdef, '', '', '' FROM pg_indexes WHERE schemaname = 'orlop'
        ORDER BY 1, 2""",
    )


@contextmanager
def role(url: str) -> Iterator[str]:
    """Return the name of a new role that may use the schema, for a block."""
    name = f"role_{os.urandom(4).hex()}"
    sql(url, f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA orlop TO {name}")
    try:
        yield name
    finally:
        sql(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("version", sorted(STEPS))
def test_each_older_version_becomes_this_one(version: int) -> None:
    url = older(version)
    assert shape(url) != shape(database())
    with opened(url) as metadata:
        assert metadata.update()[0] in {version, SCHEMA_VERSION}
        tag(metadata, "1")
    assert sorted(shape(url)) == sorted(shape(database()))
    assert sql(url, "SELECT version FROM store") == [(SCHEMA_VERSION,)]


@pytest.mark.sampled(2)
def test_a_process_that_is_older_than_an_upgrade_writes_nothing_more() -> None:
    """It has looked at the version long before, and goes on reading."""
    url = database()
    with opened(url) as metadata:
        tag(metadata, "1")
        sql(url, "UPDATE store SET version = version + 1")
        with pytest.raises(StoreTooNew, match="upgrade orlop"):
            tag(metadata, "2")
        with metadata.read() as rows:
            assert rows.counts()["names"] == 1
        sql(url, "UPDATE store SET version = version - 1")
        tag(metadata, "2")


def test_an_upgrade_waits_for_who_writes() -> None:
    url = older(min(STEPS))
    ended: list[str] = []
    with psycopg.connect(url) as writing, ThreadPoolExecutor() as pool:
        writing.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, WRITING))

        def upgrade() -> None:
            with opened(url) as metadata:
                metadata.update()
            ended.append("upgrade")

        done = pool.submit(upgrade)
        time.sleep(0.5)
        ended.append("write")
        writing.commit()
        done.result()
    assert ended == ["write", "upgrade"]


def test_an_upgrade_keeps_the_rights_of_roles() -> None:
    url = older(2)
    with role(url) as writer, role(url) as reader:
        sql(
            url,
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orlop TO {writer}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA orlop TO {reader}",
            "GRANT SELECT ON image TO PUBLIC",
        )
        with opened(url) as metadata:
            metadata.update()
        with opened(make_conninfo(url, user=writer)) as metadata:
            tag(metadata, "1")
        with opened(make_conninfo(url, user=reader)) as metadata, metadata.read() as rows:
            assert [row.suffix for row in rows.references()] == [":1"]
            assert isinstance(metadata.refusal(), ReadOnlyStore)


def test_the_owner_of_the_tables_writes_after_an_upgrade_by_another_role() -> None:
    url = older(2)
    with role(url) as owner:
        tables = [table for (table,) in sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'orlop'")]
        sql(url, *(f"ALTER TABLE {table} OWNER TO {owner}" for table in tables))
        with opened(url) as metadata:
            metadata.update()
        with opened(make_conninfo(url, user=owner)) as metadata:
            tag(metadata, "1")
            tag(metadata, "2")


def test_who_may_not_upgrade_reads_and_is_told_who_may() -> None:
    url = older(2)
    with role(url) as writer:
        sql(url, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orlop TO {writer}")
        with opened(make_conninfo(url, user=writer)) as metadata:
            # A check takes the lock, too.
            with metadata.lock(), metadata.read() as rows:
                assert rows.references() == []
            with pytest.raises(ReadOnlyStore, match="store init` as their owner"):
                tag(metadata, "1")
