"""Values that their columns cannot hold, as a damaged page returns them: fsck ends, and so does a repair."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop import errors, stores
from orlop.store.rows.values import COLUMNS
from tests.crash.pace import turn
from tests.unit.damage import ask, copied

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.store.rows.values import Column

WRONG = {"bytes": b"\xff\x00", "text": "no such thing", "number": 7, "nothing": None}
TYPES = {"text": ("text", "texts", "digest"), "blob": ("bytes", "document"), "integer": ("number", "size", "count")}
"""What SQLite calls the kinds of columns."""


def put(root: Path, table: str, column: str, value: object) -> None:
    """Put a value into a column of each row of a strict table, as only a damaged page can have it."""
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        (right,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        # SQLite would make a text of a number, and a number of a text.
        lax = re.sub(r"\)\s*STRICT,?", ")", right).replace("NOT NULL", "")
        lax = re.sub(rf"\b({column}) (TEXT|INTEGER(?! PRIMARY)|BLOB)\b", r"\1", lax)
    _write(root, "UPDATE sqlite_schema SET sql = ? WHERE name = ?", (lax, table))
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        database.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
        for _, statement in triggers:
            database.execute(statement)
    _write(root, "UPDATE sqlite_schema SET sql = ? WHERE name = ?", (right, table))


def _write(root: Path, statement: str, values: tuple[str, str]) -> None:
    with closing(sqlite3.connect(root / "metadata.db", isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute(statement, values)
        (version,) = database.execute("PRAGMA schema_version").fetchone()
        database.execute(f"PRAGMA schema_version={version + 1}")


def is_wrong(root: Path, table: str, column: Column) -> bool:
    """Return whether a column holds something that it cannot hold."""
    (right,) = {kind for kind, words in TYPES.items() if column.kind in words}
    found = {kind for (kind,) in ask(root, f"SELECT typeof({column.name}) FROM {table}")}
    return bool(found - {right} - ({"null"} if column.optional else set()))


def test_the_type_of_each_column_is_known() -> None:
    kinds = {column.kind for columns in COLUMNS.values() for column in columns}
    assert kinds <= {word for words in TYPES.values() for word in words}


@pytest.mark.sampled(16)
@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("table", COLUMNS)
def test_what_has_the_wrong_type_is_damage_and_nothing_unexpected(whole, tmp_path, table, value):
    columns = [column for column in COLUMNS[table] if turn(1, f"{table} {column.name} {value}")]
    for column in columns:
        root = copied(whole, tmp_path / column.name)
        with suppress(sqlite3.IntegrityError):
            put(root, table, column.name, WRONG[value])
        if is_wrong(root, table, column):
            assert stores.fsck(root).damage, column
            with pytest.raises(errors.DatabaseDamaged), orlop.open(root) as images:
                images.images(all=True)
            stores.fsck(root, repair=True)
            assert not [one for one in stores.fsck(root).damage if one.kind in {"database", "value-invalid"}], column
