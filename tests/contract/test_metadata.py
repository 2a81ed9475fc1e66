"""The databases of rows that orlop ships, each under the one contract."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.store.rows.sqlite.memory import MemoryMetadata, MemoryRows
from orlop.streams.directory import Directory
from orlop.testing.metadata import MetadataContract
from tests.postgres import database, pooled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.store.rows.metadata import Metadata


class TestFile(MetadataContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[Metadata]:
        with Directory(str(folder)) as directory:
            metadata = SQLiteMetadata(directory)
            yield metadata
            metadata.end()


class TestMemory(MetadataContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[Metadata]:
        metadata = MemoryMetadata(_KEPT.setdefault(folder, MemoryRows()))
        yield metadata
        metadata.end()


class TestPostgres(MetadataContract):
    @contextmanager
    def open(self, folder: Path) -> Iterator[Metadata]:
        if folder not in _DATABASES:
            _DATABASES[folder] = database()
        metadata = PostgresMetadata(_DATABASES[folder])
        yield metadata
        metadata.end()


class TestPooled(TestPostgres):
    """Through pgbouncer, which gives each transaction another connection of the server's."""

    @contextmanager
    def open(self, folder: Path) -> Iterator[Metadata]:
        if folder not in _DATABASES:
            _DATABASES[folder] = pooled()
        with super().open(folder) as metadata:
            yield metadata


class TestOtherDefaults(TestPostgres):
    """In a database whose settings are for other programs."""

    @contextmanager
    def open(self, folder: Path) -> Iterator[Metadata]:
        if folder not in _DATABASES:
            _DATABASES[folder] = url = database()
            with psycopg.connect(url, autocommit=True) as connection:
                for setting in _OTHERWISE:
                    connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}".encode())
        with super().open(folder) as metadata:
            yield metadata


_OTHERWISE = (
    "default_transaction_isolation = 'repeatable read'",
    "search_path = 'public'",
    "bytea_output = 'escape'",
    "DateStyle = 'German'",
)
_KEPT: dict[Path, MemoryRows] = {}
_DATABASES: dict[Path, str] = {}
