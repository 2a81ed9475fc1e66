"""All rows of one moment, as a database of their own: what a copy of a store begins with."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from orlop.model.digest import DiffID, Digest
from orlop.store.metadata import BlobRow
from orlop.store.metadata_sqlite_errors import explaining_sqlite
from orlop.store.metadata_sqlite_open import connect, make
from orlop.streams.files import explaining

if TYPE_CHECKING:
    import sqlite3

    from orlop.streams.directory import Entry

# What only an operation at work needs is no part of a copy: it ends, and nobody would clean up in the copy.
_TRIM = (
    "DELETE FROM lease",
    """WITH RECURSIVE needed (id) AS (
        SELECT chain FROM image WHERE chain IS NOT NULL
        UNION SELECT chain.parent FROM chain JOIN needed ON chain.id = needed.id WHERE chain.parent IS NOT NULL)
    DELETE FROM chain WHERE id NOT IN needed""",
    "DELETE FROM diff WHERE id NOT IN (SELECT diff FROM chain)",
    "DELETE FROM blob WHERE digest NOT IN (SELECT blob FROM diff_blob)",
    "DELETE FROM manifest WHERE digest NOT IN (SELECT manifest FROM image_manifest)",
)


class SavedRows(NamedTuple):
    """What the rows of a snapshot need: the number of images, and the blobs and layers that must lie beside them."""

    images: int
    blobs: list[BlobRow]
    diffs: list[DiffID]


class Snapshot:
    """The rows of the moment at which it was made, whoever changes them since. Logs grow meanwhile: be quick.

    Made by ``SQLiteMetadata.snapshot``; belongs to one thread, and lasts as long as the connection.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("BEGIN")
        # Only the first look fixes what a transaction sees.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()

    def save(self, file: Entry, *, mode: int) -> SavedRows:
        """Write what images need to a new database, durably, and say what that is.

        Args:
            file: where; nothing is there.
            mode: of the new file.

        Raises:
            NoSpace, PermissionDenied, StorageError: it cannot be written.
        """
        with explaining("write", file.path):
            make(file, mode)
        with explaining_sqlite(file.path), closing(connect(file)) as copy:
            self._connection.backup(copy)
            # As yet without a log: what fails when a log is brought to its end, as it is closed, SQLite does not say.
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("PRAGMA synchronous=FULL")
            copy.execute("PRAGMA foreign_keys=ON")
            copy.execute("BEGIN IMMEDIATE")
            for statement in _TRIM:
                copy.execute(statement)
            copy.execute("COMMIT")
            copy.execute("PRAGMA journal_mode=WAL")
            return _needs(copy)

    def needs(self) -> SavedRows:
        """Say what the rows need, without writing them."""
        return _needs(self._connection)


def _needs(connection: sqlite3.Connection) -> SavedRows:
    images = int(connection.execute("SELECT count(*) FROM image").fetchone()[0])
    blobs = [
        BlobRow(Digest.unchecked(digest), size, compression)
        for digest, size, compression in connection.execute(
            "SELECT digest, size, compression FROM blob ORDER BY digest"
        )
    ]
    diffs = [DiffID.unchecked(text) for (text,) in connection.execute("SELECT id FROM diff ORDER BY id")]
    return SavedRows(images, blobs, diffs)
