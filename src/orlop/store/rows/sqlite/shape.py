"""Whether a database has the tables, indexes and triggers that its version lays out, and nothing else.

What somebody puts into a database acts with the rights of whoever opens it: a trigger changes rows behind a write, a
view in a table's place answers for it. What is missing makes answers slow, or wrong.
"""

from __future__ import annotations

from contextlib import contextmanager

from orlop.errors import DatabaseDamaged
from orlop.model.regex import regex
from orlop.model.tuples import NamedTuple
from orlop.store.rows.sqlite.tables import SCHEMA, SCHEMA_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from typing import Final

_BY_SQLITE: Final = {("table", "sqlite_sequence"): b"CREATE TABLE sqlite_sequence(name,seq)"}
_STATISTICS: Final = regex(r"sqlite_stat[134]")

Object = tuple[str, str]
"""The type of something in a schema, and its name."""


def _laid_out(statements: tuple[str, ...]) -> dict[Object, bytes]:
    found: dict[Object, bytes] = {}
    for statement in statements:
        _, kind, name, _ = statement.replace("(", " ", 1).split(maxsplit=3)
        found[kind.lower(), name] = statement.encode()
    return found


LAID_OUT: Final[Mapping[int, Mapping[Object, bytes]]] = {SCHEMA_VERSION: _laid_out(SCHEMA)}
"""What each version lays out, with the statements that make it."""


class ShapeFault(NamedTuple):
    """Something that is ``foreign``, ``missing`` or ``changed``."""

    what: str
    type: str
    name: str

    @property
    def message(self) -> str:
        """What is wrong, as a clause."""
        if self.what == "missing":
            return f"the {self.type} {self.name} is missing"
        if self.what == "changed":
            return f"the {self.type} {self.name} is not what this version makes"
        return f"the {self.type} {self.name!r} is not of this version"


def shape_faults(connection: sqlite3.Connection) -> list[ShapeFault]:
    """Return what is wrong with the shape of a database; nothing is known of a version that this orlop does not have.

    Raises:
        sqlite3.Error: the schema cannot be read.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    expected = LAID_OUT.get(version)
    return [] if expected is None else _differences(_objects(connection), expected)


def version_by_shape(connection: sqlite3.Connection) -> int | None:
    """Return the version whose shape a database has, whatever number it states, or None if no known version has it.

    No two versions have one shape, so that this decides where the number and the shape disagree.

    Raises:
        sqlite3.Error: the schema cannot be read.
    """
    found = _objects(connection)
    return next((version for version, expected in LAID_OUT.items() if not _differences(found, expected)), None)


def _objects(connection: sqlite3.Connection) -> dict[Object, bytes | None]:
    # A text that is not UTF-8 must not keep the others from being compared.
    return {
        (_text(kind), _text(name)): sql
        for kind, name, sql in connection.execute(
            "SELECT CAST(type AS BLOB), CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema"
        )
    }


def _differences(found: Mapping[Object, bytes | None], expected: Mapping[Object, bytes]) -> list[ShapeFault]:
    faults = [ShapeFault("missing", *one) for one in expected if one not in found]
    for one, sql in found.items():
        if one in expected or one in _BY_SQLITE:
            if sql != expected.get(one, _BY_SQLITE.get(one)):
                faults.append(ShapeFault("changed", *one))
        elif not _is_of_sqlite(*one, sql):
            faults.append(ShapeFault("foreign", *one))
    return faults


@contextmanager
def reading_schema(path: str) -> Iterator[None]:
    """Turn the one error that Python's module raises as none of SQLite's into `DatabaseDamaged`."""
    try:
        yield
    except UnicodeDecodeError as error:
        msg = (
            f"{path} is damaged ({error.reason} in its schema); run `orlop fsck --repair`, or restore it from a backup"
        )
        raise DatabaseDamaged(msg) from error


def require_shape(connection: sqlite3.Connection, path: str) -> None:
    """Raise `DatabaseDamaged` where the database at ``path`` does not have the shape of its version."""
    faults = shape_faults(connection)
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        msg = f"{path} is damaged ({faults[0].message}{more}); run `orlop fsck --repair`, or restore it from a backup"
        raise DatabaseDamaged(msg)


def moment_of_shape(connection: sqlite3.Connection) -> int:
    """Return a number that changes whenever the shape does."""
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])


def _is_of_sqlite(kind: str, name: str, sql: bytes | None) -> bool:
    """Return whether SQLite makes something by itself, or as it gathers statistics."""
    if kind == "index":
        return sql is None and name.startswith("sqlite_autoindex_")
    return kind == "table" and _STATISTICS.fullmatch(name) is not None


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "backslashreplace")
