"""Versions of the rows' shape in SQLite, and the steps from each released one to the next.

A database says its version in ``user_version``. A step that is released never changes; a new shape is a new version,
with a step that leads to it, and a new version has a new shape: a number that the shape contradicts is damage.
``tests/data/schemas`` keeps a database of every released version.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

from orlop.errors import StoreDamaged, StoreTooNew
from orlop.model.values import dataclass, field
from orlop.store.rows.sqlite.open import beside, connect, copy_pages, end_log, make
from orlop.store.rows.sqlite.shape import version_by_shape
from orlop.store.rows.sqlite.tables import EDGE_TABLE, EDGES, PINNED_INDEX, SCHEMA, SCHEMA_VERSION, TOP_TABLE
from orlop.store.rows.values import damaged
from orlop.streams.files import explaining, remove_leftover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from orlop.streams.directory import Entry


@dataclass(frozen=True, slots=True)
class Schema:
    """A shape of the rows: its ``version``, the ``statements`` that lay it out, and how older versions come to it.

    ``steps`` has, for each older version, what makes the next one of it, inside a transaction of the connection that
    it is given. It may rebuild tables: foreign keys are checked at the end of all steps only.
    """

    version: int
    statements: tuple[str, ...]
    steps: Mapping[int, Callable[[sqlite3.Connection], object]] = field(default_factory=dict)


_NO_VERSION: Final = 1 << 16
_VERSION: Final = "SELECT user_version, EXISTS(SELECT 1 FROM sqlite_schema) FROM pragma_user_version"


_TOPS: Final = """INSERT INTO top SELECT name, suffix, digest, updated FROM (
    SELECT tag.name, tag.suffix, tag.updated, substr(told.suffix, 2) AS digest, max(told.updated)
    FROM reference AS tag JOIN reference AS told
        ON told.name = tag.name AND told.image = tag.image AND told.suffix GLOB '@*'
    JOIN image_manifest ON image_manifest.image = tag.image AND image_manifest.manifest = substr(told.suffix, 2)
    WHERE tag.suffix GLOB ':*' GROUP BY tag.name, tag.suffix)"""
"""What tags meant before that was recorded: the newest digest by which their repository named the same image."""


def _add_content(connection: sqlite3.Connection) -> None:
    """Bring version 1 to 2: record where manifests lead. No layer is read, and no file."""
    for statement in (*EDGE_TABLE, *TOP_TABLE):
        connection.execute(statement)
    for (digest,) in connection.execute("SELECT digest FROM manifest").fetchall():
        content = "(SELECT content FROM manifest WHERE digest = ?1)"
        connection.execute(f"INSERT INTO edge {EDGES.format('?1', content)}", (digest,))
    connection.execute(_TOPS)


def _add_pins(connection: sqlite3.Connection) -> None:
    """Bring version 2 to 3: record pins once more."""
    connection.execute(PINNED_INDEX)


CURRENT: Final = Schema(SCHEMA_VERSION, SCHEMA, {1: _add_content, 2: _add_pins})
"""What this orlop writes. Version 1 is the first."""


def version_of(connection: sqlite3.Connection, path: str, schema: Schema = CURRENT) -> int:
    """Return the version of a database, 0 for an empty one.

    Raises:
        StoreTooNew: a newer orlop wrote it. DatabaseDamaged: it has a version that none has, or one that its shape
        contradicts.
    """
    # In one statement, as another process may lay the database out between two.
    version: int
    version, has_tables = connection.execute(_VERSION).fetchone()
    if not 0 <= version < _NO_VERSION or (version == 0 and has_tables):
        raise damaged(path, f"it says that its schema is {version}")
    if version != schema.version and has_tables and (shape := version_by_shape(connection)) not in {None, version}:
        # One wrong bit makes another number, which no other orlop would write beside the shape of this version.
        raise damaged(path, f"it says that its schema is {version}, and has the tables of {shape}")
    if version > schema.version:
        msg = f"{path} was written by a newer orlop (schema {version}, this one knows {schema.version}); upgrade orlop"
        raise StoreTooNew(msg)
    return version


def lay_out(connection: sqlite3.Connection, path: str, schema: Schema = CURRENT) -> bool:
    """Make the tables of an empty database, under the write lock; return whether it was empty."""
    from orlop.store.rows.sqlite.lineage import advance  # noqa: PLC0415 - most databases are there

    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been first.
        empty = version_of(connection, path, schema) == 0
        if empty:
            for statement in schema.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={schema.version}")
            advance(connection)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return empty


def migrate(
    connection: sqlite3.Connection, file: Entry, schema: Schema = CURRENT, *, is_copy: bool = False
) -> str | None:
    """Bring an older database to a schema, under the write lock: wholly, durably, or not at all.

    Args:
        connection: to the database, outside a transaction.
        file: where it lies.
        schema: the version to reach.
        is_copy: it is a copy in memory, which keeps the number of the last write. Of any other, a copy is put beside it
            first, as ``<path>.schema-<old version>``.

    Returns the path of that copy, or nothing where none was made.

    Raises:
        StoreTooNew: the database is newer. StoreDamaged: it cannot be brought there; it is as it was.
    """
    from orlop.store.rows.sqlite.damage.check import integrity_faults  # noqa: PLC0415 - most databases are of this schema
    from orlop.store.rows.sqlite.lineage import advance  # noqa: PLC0415

    path = file.path
    version = version_of(connection, path, schema)
    if version in {0, schema.version}:
        return None
    if not all(number in schema.steps for number in range(version, schema.version)):
        msg = f"{path} has the schema {version}, which this orlop cannot upgrade; use the orlop that wrote it"
        raise StoreDamaged(msg)
    if faults := integrity_faults(connection):
        raise damaged(path, f"{faults[0]}; it stays at schema {version}")
    kept = None if is_copy else _kept(connection, file, version)
    # Inside a transaction this setting has no effect.
    connection.execute("PRAGMA foreign_keys=OFF")
    try:
        connection.execute("BEGIN IMMEDIATE")
        _take_steps(connection, path, schema, version)
        connection.execute(f"PRAGMA user_version={schema.version}")
        if not is_copy:
            advance(connection)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("PRAGMA foreign_keys=ON")
    return kept


def of_schema(connection: sqlite3.Connection, file: Entry, schema: Schema) -> sqlite3.Connection:
    """Return a connection to rows of a schema: the same one, or, of an older database, one to a copy in memory.

    Raises:
        StoreTooNew: the database is newer. StoreDamaged: it holds nothing.
    """
    version = version_of(connection, file.path, schema)
    if version == schema.version:
        return connection
    if version == 0:
        msg = f"{file.path} holds no store; check the root that was given"
        raise StoreDamaged(msg)
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        copy_pages(connection, copy)
        migrate(copy, file, schema, is_copy=True)
    except BaseException:
        copy.close()
        raise
    return copy


def _take_steps(connection: sqlite3.Connection, path: str, schema: Schema, version: int) -> None:
    for number in range(version, schema.version):
        schema.steps[number](connection)
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        msg = f"{path} holds rows that refer to missing ones, and stays at schema {version}; restore it from a backup"
        raise StoreDamaged(msg)


def _kept(connection: sqlite3.Connection, file: Entry, version: int) -> str:
    kept = file.named(f"{file.name}.schema-{version}")
    part = file.named(f"{kept.name}.part")
    parts = (part, *beside(part))
    state = file.state()
    with explaining("write", kept.path):
        for leftover in parts:
            with suppress(FileNotFoundError):
                leftover.unlink()
        make(part, 0o600 if state is None else state.st_mode & 0o777)
    try:
        with closing(connect(part)) as copy:
            copy_pages(connection, copy)
            # A single file, without a log beside it.
            end_log(copy)
        with explaining("write", kept.path):
            part.sync()
            part.rename(kept)
            kept.directory.sync()
    except BaseException:
        for leftover in parts:
            remove_leftover(leftover)
        raise
    return kept.path
