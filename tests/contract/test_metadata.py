"""The databases of rows that orlop ships, each under the one contract."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

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


_KEPT: dict[Path, MemoryRows] = {}
_DATABASES: dict[Path, str] = {}
