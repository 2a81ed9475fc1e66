"""What is wrong with the rows in SQLite, among each other."""

from __future__ import annotations

import sqlite3
from functools import partial
from itertools import starmap

from orlop.model.regex import regex
from orlop.store.rows.judging import (
    chain_problem,
    image_problem,
    is_lost_name,
    loops_of,
    manifest_problem,
    name_problem,
    structure_checks,
)
from orlop.store.rows.metadata import RowProblem
from orlop.store.rows.sqlite.damage.columns import invalid_values
from orlop.store.rows.sqlite.shape import shape_faults
from orlop.store.rows.sqlite.tables import EDGES, LOST_LINKS, MISFITS, itself

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Final

DATABASE: Final = "metadata.db"
"""The subject of problems with the database as a whole."""
_UNKNOWN: Final = frozenset(("schema", "value-invalid"))
# Nothing else can be wrong with what is only read.
_DAMAGE: Final = frozenset(
    (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_ERROR)
)
_UNREAD: Final = regex(r"failed to get page|error code=(?:10|266|522|8458)\b")
"""What SQLite's checks say of a page for which the device gave an error: that, or one of the codes of such errors."""
_TEXT: Final = (str,)
_PERHAPS: Final = (str, type(None))
_BYTES: Final = (bytes,)
_NUMBER: Final = (int,)
_BATCH: Final = 256
"""Rows whose content is read in one transaction: logs grow as long as one lasts."""


_RECORDED: Final = "SELECT * FROM edge WHERE parent = ? ORDER BY role, position"
_SAID: Final = f"{EDGES.format('?1', '(SELECT content FROM manifest WHERE digest = ?1)')} ORDER BY role, position"  # noqa: S608 - constants
_STATEMENTS: Final = structure_checks(
    nameless="SELECT name || suffix FROM reference WHERE image NOT IN (SELECT id FROM image) ORDER BY 1",
    topless="SELECT name || suffix FROM top WHERE digest NOT IN (SELECT digest FROM manifest) ORDER BY 1",
    layerless="SELECT id FROM image WHERE chain IS NOT NULL AND chain NOT IN (SELECT id FROM chain) ORDER BY 1",
    orphans="""SELECT image FROM image_metadata WHERE key = 'parent' AND image IN (SELECT id FROM image)
        AND value NOT IN (SELECT CAST(id AS BLOB) FROM image) ORDER BY 1""",
    heads="""SELECT id FROM image WHERE head <> NOT EXISTS (
            SELECT 1 FROM image_metadata AS child WHERE child.key = 'parent' AND child.value = CAST(image.id AS BLOB))
        ORDER BY 1""",
    empty="SELECT id FROM diff WHERE id NOT IN (SELECT diff FROM diff_blob) ORDER BY 1",
    misfits=MISFITS,
    links=LOST_LINKS,
)
KEYS: Final = {"image": "id", "diff": "id", "blob": "digest", "chain": "id", "manifest": "digest"}
"""The tables whose rows are named by a digest, and the column that has it."""

PARTIAL: Final = (
    ("image", "image_heads", "head"),
    ("image_metadata", "image_children", "key = 'parent'"),
    ("image_metadata", "image_pinned", "key = 'pinned'"),
)
"""Tables, their indexes of some rows, and which rows these are.

``PRAGMA integrity_check`` looks for an entry of each row; since version 3.46 SQLite no longer looks for a row of each
entry of such an index. A table that has lost a row is known by that alone, so both are counted here.
"""


def row_problems(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]], *, verify: bool
) -> Iterator[RowProblem]:
    """Look through all rows; with ``verify`` also at what their content says.

    Args:
        reading: gives a connection inside a transaction, for a block.
        verify: hash and read what the rows hold.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    with reading() as connection:
        database = list(_database(connection, verify=verify))
        yield from database
        if any(one.kind in _UNKNOWN for one in database):
            return
        yield from _readable(_structure(connection), connection)
        if verify:
            yield from _readable(_chain_ids(connection), connection)
            yield from _readable(_names(connection), connection)
    if verify:
        yield from _readable(_contents(reading), connection)


def earlier(fault: str) -> RowProblem:
    """Return the problem of a database that is not what was written last, which is a ``fault`` as a clause."""
    advice = "put back the one that was, or repair the store, which then goes on from here"
    return RowProblem("earlier", DATABASE, f"{DATABASE} is not the latest: {fault}; {advice}")


def _contents(reading: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> Iterator[RowProblem]:
    for statement, look in (
        ("SELECT id FROM image ORDER BY id", _images),
        ("SELECT digest FROM manifest ORDER BY digest", _manifests),
    ):
        with reading() as connection:
            keys = [key for (key,) in connection.execute(statement)]
        for start in range(0, len(keys), _BATCH):
            with reading() as connection:
                yield from look(connection, keys[start : start + _BATCH])


def _readable(problems: Iterator[RowProblem], connection: sqlite3.Connection) -> Iterator[RowProblem]:
    """Yield problems; where the database cannot be read any further that is one, and the last.

    Raises:
        sqlite3.OperationalError: the device could not be read.
    """
    try:
        yield from problems
    except (sqlite3.Error, UnicodeDecodeError) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code not in _DAMAGE:
            raise
        if _is_away(connection, is_malformed=code == sqlite3.SQLITE_CORRUPT):
            raise _unread() from error
        yield RowProblem(
            "database", DATABASE, f"the database is damaged ({error}); repair it, or restore it from a backup"
        )


def _database(connection: sqlite3.Connection, *, verify: bool) -> Iterator[RowProblem]:
    """Look at what there must be before rows can be compared with each other."""
    faults = list(_readable(_integrity(connection, verify=verify), connection))
    yield from faults
    yield from _readable(_shape(connection), connection)
    if not faults:
        # Where pages are in two places there may be more rows than can ever be read.
        yield from _readable(_values(connection), connection)


def _integrity(connection: sqlite3.Connection, *, verify: bool) -> Iterator[RowProblem]:
    faults = integrity_faults(connection) if verify else _quick_faults(connection)
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        message = f"the database is damaged ({faults[0]}{more}); repair it, or restore it from a backup"
        yield RowProblem("database", DATABASE, message)


def integrity_faults(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with a database as a whole, a clause each; nothing where all is well.

    The whole database is read.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return _faults(connection, "integrity_check") or _miscounted(connection)


def _faults(connection: sqlite3.Connection, check: str) -> list[str]:
    """Return what one of SQLite's checks finds. Raises `sqlite3.OperationalError` where the device could not be read.

    SQLite reports a page that it cannot read like one that is damaged. What cannot be read at the moment may be whole,
    and must not be taken for lost.
    """
    lines = [line for (line,) in connection.execute(f"PRAGMA {check}")]
    if lines == ["ok"]:
        return []
    if any(_UNREAD.search(line) for line in lines) or _is_away(connection, is_malformed=True):
        raise _unread()
    return lines


def _is_away(connection: sqlite3.Connection, *, is_malformed: bool) -> bool:
    """Return whether the device of a database, or of what belongs to it, cannot be read; see `read_error`."""
    from orlop.store.rows.sqlite.device import read_error  # noqa: PLC0415 - few databases are damaged

    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    return bool(path) and read_error(path, is_malformed=is_malformed) is not None


def _unread() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def _miscounted(connection: sqlite3.Connection) -> list[str]:
    return [
        f"wrong # of entries in index {index}"
        for table, index, rows in PARTIAL
        if _is_laid_out(connection, index, rows) and has_lost_rows(connection, table, index, rows)
    ]


def _is_laid_out(connection: sqlite3.Connection, index: str, rows: str) -> bool:
    """Return whether an index is there, and of these rows; else the schema is at fault, or older."""
    statement = "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ? AND sql LIKE '% WHERE ' || ?"
    return connection.execute(statement, (index, rows)).fetchone() is not None


def has_lost_rows(connection: sqlite3.Connection, table: str, index: str, rows: str) -> bool:
    """Return whether an index has more of these rows than its table."""
    (known,), (there,) = (
        connection.execute(f"SELECT total(1) FROM {one} WHERE {rows}").fetchone()  # noqa: S608 - constants
        for one in (f"{table} INDEXED BY {index}", itself(table))
    )
    return bool(known > there)


def _quick_faults(connection: sqlite3.Connection) -> list[str]:
    return _faults(connection, "quick_check")


def _shape(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for fault in shape_faults(connection):
        yield RowProblem("schema", fault.name, f"{fault.message}; a repair puts that right")


def _values(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for table, column, key in invalid_values(connection):
        message = f"the row {key} of the table {table} holds something in {column} that it cannot hold"
        yield RowProblem("value-invalid", f"{table} {key}", message)


def _structure(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    leading = ((str(table), str(parent)) for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"))
    for table, parent in sorted(set(leading)):
        yield RowProblem("database", table, f"rows of the table {table} lead to nothing in {parent}")
    invalid = list(_invalid_keys(connection))
    yield from invalid
    # What else there is to say of a row without a digest says the same.
    known = {one.subject for one in invalid}
    for kind, statement, sentence in _STATEMENTS:
        for (subject,) in _typed(connection.execute(statement), _TEXT):
            if subject not in known and (kind != "name-lost" or is_lost_name(subject)):
                yield RowProblem(kind, subject, sentence.format(subject))
    yield from _loops(connection)


def _invalid_keys(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for table, key in KEYS.items():
        for (subject,) in connection.execute(f"SELECT {key} FROM {table} WHERE {no_digest(key)} ORDER BY 1"):  # noqa: S608 - constants
            message = f"the table {table} has a row for {subject!r}, which is not a digest"
            yield RowProblem("key-invalid", subject if isinstance(subject, str) else repr(subject), message)


def no_digest(column: str) -> str:
    """Return the test that a column holds no digest."""
    lengths = " OR ".join(
        f"{column} GLOB '{algorithm}:*' AND length({column}) = {len(algorithm) + 1 + digits}"
        for algorithm, digits in (("sha256", 64), ("sha384", 96), ("sha512", 128))
    )
    return f"NOT (({lengths}) AND substr({column}, 8) NOT GLOB '*[^0-9a-f]*')"


def _loops(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    for loop in parent_loops(connection):
        yield RowProblem("parent-loop", loop[0], f"the parents of the image {loop[0]} form a loop")


def parent_loops(connection: sqlite3.Connection) -> list[list[str]]:
    """Return each circle of images that are each other's parents, see `loops_of`."""
    found = connection.execute("SELECT image, value FROM image_metadata WHERE key = 'parent' ORDER BY image")
    return loops_of({image: value.decode("ascii", "replace") for image, value in _typed(found, _TEXT, _BYTES)})


def _chain_ids(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    found = connection.execute("SELECT id, parent, diff FROM chain ORDER BY id")
    yield from filter(None, starmap(chain_problem, _typed(found, _TEXT, _PERHAPS, _TEXT)))


def _names(connection: sqlite3.Connection) -> Iterator[RowProblem]:
    found = connection.execute(
        "SELECT name, suffix, image FROM reference UNION SELECT name, suffix, digest FROM top ORDER BY name, suffix"
    )
    yield from filter(None, starmap(name_problem, _typed(found, _TEXT, _TEXT, _TEXT)))


def _images(connection: sqlite3.Connection, ids: Sequence[str]) -> Iterator[RowProblem]:
    marks = ", ".join("?" * len(ids))
    found = connection.execute(
        f"""SELECT id, config, chain, created, created_ns, labels FROM image
        LEFT JOIN image_labels ON image_labels.image = image.id WHERE id IN ({marks}) ORDER BY id""",  # noqa: S608 - marks
        ids,
    )
    rows = _typed(found, _TEXT, _BYTES, _PERHAPS, _NUMBER, _NUMBER, _PERHAPS)
    yield from filter(None, starmap(image_problem, rows))


def _manifests(connection: sqlite3.Connection, digests: Sequence[str]) -> Iterator[RowProblem]:
    marks = ", ".join("?" * len(digests))
    found = connection.execute(
        f"SELECT digest, media_type, content FROM manifest WHERE digest IN ({marks}) ORDER BY digest",  # noqa: S608 - marks
        digests,
    )
    for digest, media_type, content in _typed(found, _TEXT, _TEXT, _BYTES):
        problem = manifest_problem(digest, media_type, content, partial(edges_differ, connection, digest))
        if problem is not None:
            yield problem


def _typed(rows: Iterable[tuple[Any, ...]], *types: tuple[type, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows with values of these types: a page that is damaged returns anything, and is known as that."""
    for row in rows:
        if all(map(isinstance, row, types)):
            yield row


def edges_differ(connection: sqlite3.Connection, digest: str) -> bool:
    """Return whether other edges of a manifest are recorded than its bytes say."""
    return connection.execute(_RECORDED, (digest,)).fetchall() != connection.execute(_SAID, (digest,)).fetchall()
