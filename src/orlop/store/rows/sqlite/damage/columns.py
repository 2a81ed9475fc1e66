"""What each column of each table must hold, and who looks at it.

The tables are strict, but SQLite enforces that only as it writes: a damaged page returns anything. `COLUMNS` names for
every column the kind of its values, which is checked here for every row, and what else must hold of it, with the
kind of the problem by which a look at the rows or at the blobs names it.

| table | column | beside its kind | found as |
|---|---|---|---|
| `image` | `id` | the digest of `config` | `key-invalid`, `config-damaged` |
| | `config` | the bytes that `id` names | `config-damaged`, `config-unreadable` |
| | `chain`, `created`, `created_ns` | as `config` says; the chain is there | `image-wrong`, `layers-missing` |
| | `head` | whether no image has it as its parent | `head-wrong` |
| `image_metadata` | `image` | is there | `database` |
| | `key` = `parent`, `value` | names an image that is there, and no circle | `parent-missing`, `parent-loop` |
| | other values | the user's own; nothing else is known of them | |
| `image_labels` | `image`, `labels` | is there; as its config says | `database`, `image-wrong` |
| `reference` | `name`, `suffix` | a name that can be asked for | `name-invalid` |
| | `image` | a digest, and is there | `value-invalid`, `name-dangling` |
| | `updated` | a time; nothing else is known of it | |
| `blob` | `digest`, `size` | as its file says | `blob-…` |
| | `compression` | one of those that there are, and as its file says | `blob-wrong` |
| `diff` | all | as its blob says | `layer-wrong`, `content-missing` |
| `diff_blob` | `diff`, `blob` | are there; the blob holds the layer | `database`, `form-wrong` |
| `chain` | `id` | what `parent` and `diff` make | `chain-wrong` |
| | `parent`, `diff` | are there | `database` |
| | `size`, `depth` | what the layers add up to | `chain-wrong` |
| | `descriptor` | an object of JSON | |
| `manifest` | `digest`, `content` | one is the digest of the other | `manifest-damaged` |
| | `media_type` | what `content` says | `manifest-wrong` |
| `image_manifest` | `image`, `manifest` | are there | `database` |
| | all | what names of an image mean, and is a manifest of it, is there | `edges-wrong` |
| `edge` | all | what the `content` of the manifest `parent` says | `edges-wrong` |
| `top` | `name`, `suffix` | a name that can be asked for | `name-invalid` |
| | | a name of the image whose manifest it means, if that is there | `name-lost` |
| | `digest` | a digest, and is there | `value-invalid`, `name-dangling` |
| | `updated` | a time; nothing else is known of it | |
| `lease` | all | a digest, or `*` | |
| `event` | all | a time, words, and an object of texts | |
| | `number` | one to which many can be added, as that of the last event, beside the table | |

No size, depth or position is below zero, wherever it stands: else it is a value that the column cannot hold.
Entries of indexes are compared with their tables by `integrity_faults`.
"""

from __future__ import annotations

from orlop.store.rows.values import BOUNDS, CHECKS, COLUMNS, is_count, is_valid

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from orlop.store.rows.values import Column


def raw(column: Column) -> str:
    """Return the expression that has a column's value as it is: of text its bytes, as it may not be UTF-8."""
    return f"CAST({column.name} AS BLOB)" if CHECKS[column.kind][0] == "text" else column.name


def invalid_values(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    """Yield the table, the column and the key of each value that its column cannot hold.

    Raises:
        sqlite3.Error: a table cannot be read.
    """
    for table, columns in COLUMNS.items():
        # Most rows are judged by their types alone, inside SQLite; texts that are free are read.
        free = [one for one in columns if CHECKS[one.kind][0] == "text" or one.kind == "document"]
        typed = " OR ".join(_mistyped(one) for one in columns)
        words = ", ".join(raw(one) for one in free) or "NULL"
        for wrong, key, *values in connection.execute(
            f"SELECT {typed}, CAST({columns[0].name} AS BLOB), {words} FROM {table}"  # noqa: S608 - constants
        ):
            if wrong:
                yield table, _which(connection, table, columns, key), _shown(key)
            else:
                for column, value in zip(free, values, strict=True):
                    if not is_valid(column, value):
                        yield table, column.name, _shown(key)
    yield from _counters(connection)


def _counters(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str]]:
    for name, value in connection.execute("SELECT CAST(name AS BLOB), seq FROM sqlite_sequence"):
        # A database that was made anew may have counted nothing yet.
        if value != 0 and not is_count(value):
            yield "sqlite_sequence", "seq", _shown(name)


def _mistyped(column: Column) -> str:
    right = CHECKS[column.kind][0]
    test = f"typeof({column.name}) <> '{right}'"
    if column.kind in BOUNDS:
        test = f"({test} OR {column.name} {BOUNDS[column.kind]})"
    return f"({column.name} IS NOT NULL AND {test})" if column.optional else test


def _which(connection: sqlite3.Connection, table: str, columns: tuple[Column, ...], key: object) -> str:
    for column in columns:
        statement = f"SELECT 1 FROM {table} WHERE CAST({columns[0].name} AS BLOB) IS ? AND {_mistyped(column)} LIMIT 1"  # noqa: S608 - constants
        if connection.execute(statement, (key,)).fetchone():
            return column.name
    return columns[0].name


def _shown(key: object) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else repr(key)
